"""The files of a corpus: paths as users write them, what is there, and what is missing.

``pathlib`` raises for names that are too long, hold a null byte or ask for nobody's home, and a
table with two columns swapped has many of them. Here such a name is simply not there.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pytest_occlusion.errors import MissingError

LONGEST_REPORT = 1 << 20
"""Bytes. Real reports have a few thousand."""

is_file, is_folder, is_there = os.path.isfile, os.path.isdir, os.path.exists


def expanded(text: str) -> Path:
    """The path with ``~`` replaced, or as it is where nobody has that home."""
    path = Path(text)
    with contextlib.suppress(RuntimeError, ValueError):
        path = path.expanduser()
    return path


def first_place(asked: Path | None, usual: Iterable[Path], remedy: str) -> Path | None:
    """The place that was asked for, which must be there, or the first of the usual ones that is."""
    if asked is None:
        return next(filter(is_there, usual), None)
    if not is_there(asked):
        raise MissingError(f"{asked}: no such file or folder", remedy=f"reports= names {remedy}")
    return asked


def read_report(file: IO[bytes]) -> bytes:
    """The bytes of an open file; a :class:`ValueError` if they are too many for a report."""
    payload = file.read(LONGEST_REPORT + 1)
    if len(payload) > LONGEST_REPORT:
        raise ValueError("too long for a report")
    return payload


@dataclass(frozen=True)
class FileState:
    """A file as its folder lists it: path (below the root), bytes, nanoseconds of last change."""

    name: str = field(repr=False)
    size: int
    changed: int


def file_states(root: Path, names: Sequence[str]) -> list[FileState | None]:
    """The file of each name below the root, following links; ``None`` where there is none."""
    prefix = str(root)

    def look(name: str) -> FileState | None:
        try:
            entry = os.stat(os.path.join(prefix, name))  # noqa: PTH116, PTH118 - half a million
        except (OSError, ValueError):
            return None
        regular = stat.S_ISREG(entry.st_mode)
        return FileState(name, entry.st_size, entry.st_mtime_ns) if regular else None

    # Several at once: on a network drive each look takes a trip.
    pieces = [names[at : at + 1024] for at in range(0, len(names), 1024)]
    with ThreadPoolExecutor() as pool:
        looked = pool.map(lambda piece: [look(name) for name in piece], pieces)
        return [state for piece in looked for state in piece]


def lacking(state: FileState | None) -> str:
    """What is wrong with an image file as its folder lists it, if anything."""
    if state is None:
        return "its image file does not exist"
    return "" if state.size else "its image file is empty"
