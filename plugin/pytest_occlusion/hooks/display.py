"""Progress on the terminal: a bar that draws over itself, or plain lines where there is none.

The bar shares pytest's own output file. Whatever pytest writes goes through :class:`Screen`, which
takes the bar away first, so the two cannot get into one line, from whichever thread they come.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TextIO

from pytest_occlusion.corpora.progress import QUIET_SECONDS, Update

BAR = 24
"""Columns of the bar itself."""

REDRAW_SECONDS = 0.2
"""Seconds between two drawings: smooth to the eye, and nothing beside a forward pass."""

ERASE = "\r\x1b[K"
"""Back to the first column, and clear to the end of the line."""


@dataclass
class Screen:
    """A text file with, now and then, a passing last line.

    Attributes:
        file: Where everything goes.
        at_start: Whether the cursor stands at the beginning of a line.
        passing: Whether a passing line is on the screen.
    """

    file: TextIO
    at_start: bool = True
    passing: bool = False
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    def write(self, text: str) -> int:
        """Write for good; a passing line goes away first."""
        with self._lock:
            self._erase()
            if text:
                self.at_start = text.endswith("\n")
            return self.file.write(text)

    def flush(self) -> None:
        """Flush the file."""
        with self._lock:
            self.file.flush()

    def line(self, text: str) -> None:
        """A whole line for good, on a line of its own."""
        with self._lock:
            self.write(text + "\n" if self.at_start else f"\n{text}\n")
            self.file.flush()

    def draw(self, text: str) -> None:
        """A passing line; an empty text takes it away. It must fit into the terminal's width."""
        with self._lock:
            if not text:
                self._erase()
            else:
                self.file.write(f"{'' if self.at_start else chr(10)}{ERASE}{text}")
                self.at_start = self.passing = True
            self.file.flush()

    def _erase(self) -> None:
        if self.passing:
            self.file.write(ERASE)
            self.passing = False

    def __getattr__(self, name: str) -> Any:
        """Everything else is the file's."""
        return getattr(self.file, name)


@dataclass
class Bar:
    """Display of a serial run on a terminal.

    Attributes:
        screen: Where it draws.
        width: Columns there are.
        uncaptured: Suspends pytest's capture while it draws.
    """

    screen: Screen
    width: Callable[[], int]
    uncaptured: Callable[[], AbstractContextManager[None]]
    live: bool = True

    @property
    def every(self) -> float:
        """Seconds between drawings."""
        return REDRAW_SECONDS

    def __call__(self, line: str) -> None:
        """Show a line for good."""
        with self.uncaptured():
            self.screen.line(line)

    def show(self, update: Update) -> None:
        """Draw the bar, or take it away at the end."""
        with self.uncaptured():
            ended = update.done >= update.total
            self.screen.draw("" if ended else bar_line(update, self.width()))


@dataclass
class Lines:
    """Display of a serial run in a log: a line every few seconds."""

    write: Callable[[str], None]
    live: bool = False

    @property
    def every(self) -> float:
        """Seconds between lines."""
        return QUIET_SECONDS

    def __call__(self, line: str) -> None:
        """Show a line."""
        self.write(line)

    def show(self, update: Update) -> None:
        """Show how far a job is."""
        self.write(update.line)


def bar_line(update: Update, width: int) -> str:
    """Label, bar, share, rate and time left, in fewer than ``width`` columns."""
    numbers = f" {100 * update.share:3.0f} %, {update.rate:,.0f}/s, {update.left} left"
    room = width - 1 - len(numbers) - 1
    label = update.label if len(update.label) <= room else update.label[: max(0, room)]
    columns = min(BAR, room - len(label) - 1)
    bar = f" {_bar(update.share, columns)}" if columns >= 4 else ""
    return f"{label}{bar}{numbers}"[: None if bar else max(0, width - 1)]


def several_lines(updates: Sequence[tuple[str, Update]], width: int) -> str:
    """How far several workers are, in one line of fewer than ``width`` columns."""
    if len(updates) == 1:
        worker, update = updates[0]
        named = Update(f"{worker} {update.label}", *_rest(update))
        return bar_line(named, width)
    parts = [
        f"{worker} {update.label} {100 * update.share:.0f} %, {update.left} left"
        for worker, update in updates
    ]
    return " | ".join(parts)[: max(0, width - 1)]


def _rest(update: Update) -> tuple[int, int, str, float]:
    return update.done, update.total, update.unit, update.seconds


def _bar(share: float, columns: int) -> str:
    """Rich's bar where rich is installed, else one of plain characters."""
    share = min(1.0, max(0.0, share))
    try:
        from rich.console import Console
        from rich.progress_bar import ProgressBar
    except ImportError:
        full = round(share * (columns - 2))
        return f"[{'#' * full}{'-' * (columns - 2 - full)}]"
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=columns, color_system="standard")
    console.print(ProgressBar(total=1.0, completed=share, width=columns), end="")
    return text.getvalue().rstrip("\n")
