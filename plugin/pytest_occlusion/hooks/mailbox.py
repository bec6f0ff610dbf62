"""Progress of xdist's workers: they leave notes in files, the controller alone shows them.

A worker that wrote to the terminal itself would do so in the middle of a line of pytest's. Notes
are lines of JSON in a file per worker, in a folder that the controller makes and removes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pytest_occlusion.corpora.progress import QUIET_SECONDS, Update
from pytest_occlusion.hooks.display import Screen, several_lines

LOOK_SECONDS = 0.25
"""Seconds between two looks of the controller."""

NOTE_SECONDS = 0.5
"""Seconds between two notes of a worker to a controller that draws a bar."""


@dataclass
class Mailbox:
    """A worker's display.

    Attributes:
        path: Where its notes go.
        live: Whether the controller draws a bar.
    """

    path: Path
    live: bool
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    @property
    def every(self) -> float:
        """Seconds between updates."""
        return NOTE_SECONDS if self.live else QUIET_SECONDS

    def __call__(self, line: str) -> None:
        """Send a line."""
        self._send({"line": line})

    def show(self, update: Update) -> None:
        """Send how far a job is."""
        self._send(asdict(update))

    def _send(self, note: dict[str, object]) -> None:
        with self._lock, self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(note) + "\n")


@dataclass
class Watch:
    """The controller's end: a thread that reads notes and shows them.

    Attributes:
        screen: Where they are shown.
        live: Whether a bar is drawn; else every note is a line.
        width: Columns there are.
        folder: Where the notes are.
    """

    screen: Screen
    live: bool
    width: Callable[[], int]
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="occlusion-")))
    _read: dict[Path, int] = field(default_factory=dict, init=False)
    _latest: dict[str, Update] = field(default_factory=dict, init=False)
    _stop: threading.Event = field(default_factory=threading.Event, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)

    def start(self) -> None:
        """Begin to look, if that has not been done."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="occlusion-progress", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Look a last time, take the bar away, and remove the folder."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.look()
        if self.live:
            self.screen.draw("")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """Read new notes and show them."""
        news = False
        for path in sorted(self.folder.glob("*.jsonl")):
            for note in self._notes(path):
                news = True
                if "line" in note:
                    self.screen.line(f"[{path.stem}] {note['line']}")
                    continue
                update = Update(**note)
                if not self.live:
                    self.screen.line(f"[{path.stem}] {update.line}")
                elif update.done < update.total:
                    self._latest[path.stem] = update
                else:
                    self._latest.pop(path.stem, None)
        if self.live and (news or (self._latest and not self.screen.passing)):
            shown = sorted(self._latest.items())
            self.screen.draw(several_lines(shown, self.width()) if shown else "")

    def _notes(self, path: Path) -> list[dict[str, Any]]:
        """Whole lines that have come since the last look."""
        start = self._read.get(path, 0)
        with path.open("rb") as file:
            file.seek(start)
            whole, end, _ = file.read().rpartition(b"\n")
        self._read[path] = start + len(whole) + len(end)
        return [json.loads(line) for line in whole.splitlines()]
