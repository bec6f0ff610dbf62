"""Paths as users write them: a name that no file can have is simply not there.

``pathlib`` raises for names that are too long, hold a null byte or ask for nobody's home; a table
with two columns swapped has many of them.
"""

from __future__ import annotations

import contextlib
from pathlib import Path


def is_file(path: Path) -> bool:
    """Whether there is such a file."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is such a folder."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def expanded(text: str) -> Path:
    """The path with ``~`` replaced, or as it is where nobody has that home."""
    path = Path(text)
    with contextlib.suppress(RuntimeError, ValueError):
        path = path.expanduser()
    return path
