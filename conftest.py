"""This repository's wiring only: what users need is in the plugin."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let a worker that crashed stay down: a new one would be brought down by the same test.

    Not in ``addopts``: without xdist the option is unknown, and ``-p no:xdist`` has to work.
    """
    if getattr(config.option, "maxworkerrestart", "") is None:
        config.option.maxworkerrestart = "0"
