"""How far long work is: counted here, shown by whatever display it is given."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

QUIET_SECONDS = 5.0
"""Work that ends sooner prints nothing; longer work prints a line this often."""


@dataclass(frozen=True)
class Update:
    """How far one job is.

    Attributes:
        label: What is being done.
        done: Items that are finished.
        total: Items to do.
        unit: What an item is called.
        seconds: Since the job began.
    """

    label: str
    done: int
    total: int
    unit: str
    seconds: float

    @property
    def share(self) -> float:
        """Share that is done, in [0, 1]."""
        return self.done / self.total if self.total else 1.0

    @property
    def rate(self) -> float:
        """Items per second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def left(self) -> str:
        """Time left, for people."""
        rate = self.rate
        return duration((self.total - self.done) / rate if rate > 0 else float("inf"))

    @property
    def line(self) -> str:
        """Everything in one line of a log."""
        return (
            f"{self.label}: {self.done:,} of {self.total:,} {self.unit} "
            f"({100 * self.share:.0f} %), {self.rate:,.0f}/s, {self.left} left"
        )


@runtime_checkable
class Display(Protocol):
    """Something that shows updates, and whole lines when it is called."""

    @property
    def every(self) -> float:
        """Seconds between the updates that it wants."""

    @property
    def live(self) -> bool:
        """Whether it draws over itself, and so has to be told of the end."""

    def __call__(self, line: str) -> None:
        """Show a line for good."""

    def show(self, update: Update) -> None:
        """Show how far a job is; from any thread."""


@dataclass
class Progress:
    """Counts finished items of one job and reports now and then.

    Attributes:
        label: What is being done.
        total: Items to do.
        unit: What an item is called.
        write: Where lines go, or a display.
        every: Seconds between lines, and before the first; a display has its own.
        clock: Seconds since anywhere.
    """

    label: str
    total: int
    unit: str
    write: Callable[[str], None]
    every: float = QUIET_SECONDS
    clock: Callable[[], float] = time.monotonic
    done: int = 0
    _start: float = field(default=0.0, init=False)
    _last: float = field(default=0.0, init=False)
    _display: Display | None = field(default=None, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._start = self._last = self.clock()
        if isinstance(self.write, Display):
            self._display = self.write
            self.every = self.write.every

    def add(self, items: int) -> None:
        """Report finished items; safe from several threads."""
        with self._lock:
            self.done += items
            now = self.clock()
            ended = self._display is not None and self._display.live and self.done >= self.total
            if now - self._last < self.every and not ended:
                return
            self._last = now
            update = self.update(now - self._start)
            # Still locked: two threads that suspend pytest's capture at once would each resume it
            # under the other, and an older update could be drawn over the last one.
            if self._display is None:
                self.write(update.line)
            else:
                self._display.show(update)

    def update(self, seconds: float) -> Update:
        """How far the job is after so many seconds."""
        return Update(self.label, self.done, self.total, self.unit, seconds)

    def line(self, seconds: float) -> str:
        """The line after so many seconds."""
        return self.update(seconds).line


def duration(seconds: float) -> str:
    """``95`` -> ``1 min 35 s``."""
    if seconds == float("inf"):
        return "unknown time"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
