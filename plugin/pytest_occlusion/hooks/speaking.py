"""Which display a process speaks through: a bar, plain lines, or notes to xdist's controller."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_occlusion.hooks.display import Screen
    from pytest_occlusion.hooks.mailbox import Watch

SCREEN_KEY: pytest.StashKey[Screen] = pytest.StashKey()
WATCH_KEY: pytest.StashKey[Watch] = pytest.StashKey()


def speaker(config: pytest.Config) -> Callable[[str], None]:
    """The display of this process: a worker's, or that of a serial run."""
    from pytest_occlusion.hooks.display import Bar, Lines

    capture = config.pluginmanager.getplugin("capturemanager")
    terminal = config.pluginmanager.getplugin("terminalreporter")
    uncaptured: Callable[[], AbstractContextManager[None]] = (
        nullcontext if capture is None else capture.global_and_fixture_disabled
    )
    given = getattr(config, "workerinput", None)
    if given is not None:
        return _worker_display(given, uncaptured)
    if terminal is not None and is_live(config):
        return Bar(_shared_screen(config), lambda: terminal._tw.fullwidth, uncaptured)

    def write(line: str) -> None:
        if terminal is not None:
            with uncaptured():
                terminal.ensure_newline()
                terminal.write_line(line)

    return Lines(write)


def _worker_display(
    given: dict[str, Any], uncaptured: Callable[[], AbstractContextManager[None]]
) -> Callable[[str], None]:
    from pytest_occlusion.hooks.display import Lines
    from pytest_occlusion.hooks.mailbox import Mailbox

    worker, folder = str(given["workerid"]), given.get("occlusion_progress")
    if folder and Path(folder).is_dir():
        return Mailbox(Path(folder) / f"{worker}.jsonl", bool(given["occlusion_live"]))

    def write(line: str) -> None:  # on another machine: at least whole lines, with the name
        with uncaptured():
            sys.stderr.write(f"[{worker}] {line}\n")
            sys.stderr.flush()

    return Lines(write)


def is_live(config: pytest.Config) -> bool:
    """Whether the output is a terminal that a bar can be drawn on."""
    terminal = config.pluginmanager.getplugin("terminalreporter")
    file = getattr(getattr(terminal, "_tw", None), "_file", None)
    return bool(file is not None and file.isatty() and os.environ.get("TERM", "") != "dumb")


def _shared_screen(config: pytest.Config) -> Screen:
    """Pytest's own output file, from now on written through a screen."""
    from pytest_occlusion.hooks.display import Screen

    if SCREEN_KEY not in config.stash:
        writer = config.pluginmanager.getplugin("terminalreporter")._tw
        # What pytest has begun on this line is not known; a line of our own starts a new one.
        config.stash[SCREEN_KEY] = writer._file = Screen(writer._file, at_start=False)
    return config.stash[SCREEN_KEY]


def watch_workers(config: pytest.Config, given: dict[str, Any]) -> None:
    """Show what workers send, and tell this worker where to send it.

    Args:
        config: The controller's.
        given: The worker's input; plain data is added.
    """
    from pytest_occlusion.hooks.mailbox import Watch

    terminal = config.pluginmanager.getplugin("terminalreporter")
    if terminal is None:
        return
    if WATCH_KEY not in config.stash:
        live = is_live(config)
        watch = Watch(_shared_screen(config), live, lambda: terminal._tw.fullwidth)
        config.stash[WATCH_KEY] = watch
        watch.start()
    given["occlusion_progress"] = str(config.stash[WATCH_KEY].folder)
    given["occlusion_live"] = config.stash[WATCH_KEY].live


def end(config: pytest.Config) -> None:
    """Stop watching and give pytest its file back; may be called twice."""
    if WATCH_KEY in config.stash:
        config.stash[WATCH_KEY].stop()
        del config.stash[WATCH_KEY]
    if SCREEN_KEY in config.stash:
        terminal = config.pluginmanager.getplugin("terminalreporter")
        config.stash[SCREEN_KEY].draw("")
        if terminal is not None:
            terminal._tw._file = config.stash[SCREEN_KEY].file
        del config.stash[SCREEN_KEY]
