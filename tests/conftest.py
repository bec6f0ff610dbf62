"""What all tests share: hypothesis without clocks, and runs of pytest that know of no outer one."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("repository", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("explore", deadline=None, max_examples=500)
settings.load_profile("repository")


@pytest.fixture(autouse=True)
def _no_outer_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of pytest inside a test prints the same wherever the outer one runs.

    Under ``-n`` it would take itself for an outer worker; in CI pytest shows messages whole.
    """
    for name in (
        *("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"),
        *("CI", "BUILD_NUMBER", "FORCE_COLOR", "PY_COLORS", "OCCLUSION_STORE"),
    ):
        monkeypatch.delenv(name, raising=False)
