"""How far long work is: a bar on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TextIO

FIRST, EVERY = 5.0, 30.0
"""Work that ends before the first of these seconds prints no line; longer work one this often."""

REDRAW = 0.2
"""Seconds between two drawings of a bar."""

BAR = "{desc} {bar} {percentage:3.0f} %, {rate_noinv_fmt}, {remaining} left"
LINE = "{desc}: {n:,} of {total:,}{unit} ({percentage:.0f} %), {rate_noinv_fmt}, {remaining} left"


@dataclass(frozen=True)
class Terminal:
    """Shows lines, and a bar that draws over itself.

    ``opened`` gives the file to write to, with the cursor at the beginning of a line.
    """

    opened: Callable[[], AbstractContextManager[TextIO]]

    def __call__(self, line: str) -> None:
        """Show a line for good."""
        with self.opened() as file:
            file.write(f"{line}\n")
            file.flush()

    def draw(self, text: Callable[[int], str]) -> None:
        """Show, until the next call, what a text for so many columns says."""
        with self.opened() as file:  # else the width is not that of the terminal
            file.write(f"\r\x1b[K{text(shutil.get_terminal_size().columns - 1)}")
            file.flush()


@dataclass
class Progress:
    """Counts the finished ones of so many items; a context, at whose end no bar is left.

    Lines go where ``say`` takes them, if anywhere; a :class:`Terminal` is drawn a bar.
    """

    label: str
    total: int
    unit: str
    say: Callable[[str], None] | None
    done: int = 0
    _start: float = field(default_factory=lambda: time.monotonic(), init=False)
    _told: float | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __enter__(self) -> Progress:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        if self._told is not None and isinstance(self.say, Terminal):
            self.say.draw(lambda _: "")

    def add(self, items: int) -> None:
        """Count finished items; safe from several threads."""
        # Locked to the end: two threads that suspend pytest's capture at once would each resume it
        # under the other.
        with self._lock:
            self.done += items
            seconds = time.monotonic() - self._start
            if isinstance(self.say, Terminal):
                if seconds - (self._told or 0.0) >= REDRAW:
                    self._told = seconds
                    self.say.draw(lambda width: self._text(BAR, seconds, width))
            elif self.say and seconds >= (FIRST if self._told is None else self._told + EVERY):
                self._told = seconds
                self.say(self._text(LINE, seconds))

    def _text(self, form: str, seconds: float, width: int | None = None) -> str:
        from tqdm import tqdm  # type: ignore[import-untyped]

        shown = {"prefix": self.label, "unit": f" {self.unit}", "bar_format": form}
        return str(tqdm.format_meter(self.done, self.total, seconds, width, **shown))
