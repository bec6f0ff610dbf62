"""Where lines and bars of a run go: the terminal, or from xdist's workers to their controller."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TextIO

import pytest

from pytest_occlusion.corpora.progress import Terminal
from pytest_occlusion.hooks.properties import SAID


def speaker(config: pytest.Config) -> Callable[[str], None]:
    """What shows lines in this process."""
    if hasattr(config, "workerinput"):
        return partial(_send, config)
    terminal = config.pluginmanager.getplugin("terminalreporter")
    if terminal is None:
        return lambda line: None
    capture = config.pluginmanager.getplugin("capturemanager")
    uncaptured = nullcontext if capture is None else capture.global_and_fixture_disabled

    @contextmanager
    def opened() -> Iterator[TextIO]:
        with uncaptured():
            terminal.ensure_newline()  # which knows nothing of xdist's dots
            if config.get_terminal_writer().width_of_current_line:
                config.get_terminal_writer().line()
            yield sys.stdout

    shown = Terminal(opened)
    with uncaptured():
        live = sys.stdout.isatty() and os.environ.get("TERM", "") != "dumb"
    return shown if live else lambda line: shown(line)


def _send(config: pytest.Config, line: str) -> None:
    """Let the controller show a line: with a report, the one thing that is sent during a test."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    if test:
        report = pytest.TestReport(
            test,
            location=("", None, test),
            keywords={},
            outcome="passed",
            longrepr=None,
            when="setup",
            user_properties=[(SAID, f"[{config.workerinput['workerid']}] {line}")],  # type: ignore[attr-defined]
        )
        config.hook.pytest_runtest_logreport(report=report)
