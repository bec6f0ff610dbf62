"""A progress line for long work, sparing in logs: one every few seconds, with the time left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

QUIET_SECONDS = 5.0
"""Work that ends sooner prints nothing; longer work prints a line this often."""


@dataclass
class Progress:
    """Counts finished items of one job and reports now and then.

    Attributes:
        label: What is being done.
        total: Items to do.
        unit: What an item is called.
        write: Where lines go.
        every: Seconds between lines, and before the first.
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
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._start = self._last = self.clock()

    def add(self, items: int) -> None:
        """Report finished items; safe from several threads."""
        with self._lock:
            self.done += items
            now = self.clock()
            if now - self._last < self.every:
                return
            self._last = now
            line = self.line(now - self._start)
        self.write(line)

    def line(self, seconds: float) -> str:
        """The line after so many seconds."""
        rate = self.done / seconds if seconds > 0 else 0.0
        left = (self.total - self.done) / rate if rate > 0 else float("inf")
        share = 100 * self.done / self.total if self.total else 100.0
        return (
            f"{self.label}: {self.done:,} of {self.total:,} {self.unit} ({share:.0f} %), "
            f"{rate:,.0f}/s, {duration(left)} left"
        )


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
