"""Digests of many image files, remembered from run to run by size and time of change.

A large collection is read once; later runs only look at its folder entries. What is remembered
holds no names: a file is known by a keyed hash of its path, size and time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pytest_occlusion.corpora.digests import file_digest, settings_digest
from pytest_occlusion.corpora.opaque import read_key
from pytest_occlusion.corpora.progress import Progress
from pytest_occlusion.errors import OcclusionError, listed

KIND = "contents"
BATCH = 8192
"""Files between two writes: what an interruption makes the next run read again."""

SETTLED = 2.0
"""Seconds. A file changed more recently than this is read but not remembered: a second change
within the resolution of the file system's clock would not show."""

Say = Callable[[str], None]
"""Where a progress line goes."""

STAMP = 16
DIGEST = 32


class Kept(Protocol):
    """What a memory gives back."""

    @property
    def arrays(self) -> Mapping[str, Any]:
        """Name -> array."""


class Memory(Protocol):
    """Where digests are remembered; the store of :mod:`pytest_occlusion.engine.store` is one."""

    @property
    def root(self) -> Path | None:
        """The user's store folder; ``None`` remembers nothing."""

    def read(self, kind: str, key: str) -> Kept | None:
        """What was written under a key."""

    def write(self, kind: str, key: str, arrays: Mapping[str, Any]) -> None:
        """Replace what is under a key."""

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Keep other processes from working on the same key."""


@dataclass(frozen=True)
class FileState:
    """A file as its folder lists it.

    Attributes:
        name: Path below the root of the collection, with forward slashes, or an absolute one.
        size: Bytes.
        changed: Time of the last change, in nanoseconds.
    """

    name: str = field(repr=False)
    size: int
    changed: int


def file_states(root: Path, names: Sequence[str]) -> list[FileState | None]:
    """Look for files, following links.

    Args:
        root: Folder of the collection.
        names: Paths below it, or absolute ones.

    Returns:
        For each name its file, or ``None`` where there is no regular file.
    """
    prefix = str(root)

    def look(piece: Sequence[str]) -> list[FileState | None]:
        states: list[FileState | None] = []
        for name in piece:
            try:
                entry = os.stat(os.path.join(prefix, name))  # noqa: PTH116, PTH118 - half a million
            except (OSError, ValueError):
                states.append(None)
                continue
            regular = stat.S_ISREG(entry.st_mode)
            states.append(FileState(name, entry.st_size, entry.st_mtime_ns) if regular else None)
        return states

    # Several at once: on a network drive each look takes a trip.
    pieces = [names[at : at + 1024] for at in range(0, len(names), 1024)]
    with ThreadPoolExecutor() as pool:
        return [state for piece in pool.map(look, pieces) for state in piece]


def image_digests(
    root: Path,
    files: Sequence[FileState],
    named: Sequence[str],
    memory: Memory | None,
    *,
    say: Say | None = None,
) -> list[str]:
    """Digest image files.

    Args:
        root: Folder of the collection.
        files: The files below it.
        named: What messages call each, e.g. ``"row 3"``.
        memory: Where digests are remembered; ``None`` reads every file.
        say: Where progress lines go, if anywhere.

    Returns:
        For each file its SHA-256 (hex).

    Raises:
        OcclusionError: Files that cannot be read (listed).
    """
    digests = content_digests(root, files, memory, say=say)
    faults = [
        f"{name}: its image file cannot be read ({digest.strerror})"
        for name, digest in zip(named, digests, strict=True)
        if isinstance(digest, OSError)
    ]
    if faults:
        raise OcclusionError(
            f"{root}: {len(faults)} image files cannot be read:\n{listed(faults)}",
            remedy="see to it that you may read them",
        )
    return [str(digest) for digest in digests]


def content_digests(
    root: Path, files: Sequence[FileState], memory: Memory | None, *, say: Say | None = None
) -> list[str | OSError]:
    """Digest every file, reading only those that are new or have changed.

    Args:
        root: Folder of the collection.
        files: The files below it.
        memory: Where digests are remembered; ``None`` reads every file.
        say: Where progress lines go, if anywhere.

    Returns:
        For each file its SHA-256 (hex), or why it cannot be read.
    """
    if memory is None or memory.root is None:
        with _progress(len(files), say) as progress:
            return _read(root, files, progress)
    place = str(root.resolve())
    key = settings_digest([KIND, place])
    secret = read_key(memory.root)
    stamps = [_stamp(place, file, secret) for file in files]
    with contextlib.ExitStack() as held:
        remembers = True
        try:
            held.enter_context(memory.lock(key))
        except OcclusionError:
            if not memory.root.is_dir():
                raise
            remembers = False  # on a read-only disk; what is there may be all that is needed
        known = _known(memory.read(KIND, key))
        new = [at for at, stamp in enumerate(stamps) if stamp not in known]
        faults: dict[int, OSError] = {}
        passing: dict[int, bytes] = {}
        with _progress(len(new), say) as progress:
            for start in range(0, len(new), BATCH):
                places = new[start : start + BATCH]
                settled = time.time_ns() - int(SETTLED * 1e9)
                read = _read(root, [files[at] for at in places], progress)
                for at, found in zip(places, read, strict=True):
                    if isinstance(found, OSError):
                        faults[at] = found
                    elif files[at].changed > settled:
                        passing[at] = bytes.fromhex(found)
                    else:
                        known[stamps[at]] = bytes.fromhex(found)
                if remembers:
                    memory.write(KIND, key, _arrays(known))
    return [
        faults[at] if at in faults else (passing.get(at) or known[stamp]).hex()
        for at, stamp in enumerate(stamps)
    ]


def _progress(total: int, say: Say | None) -> Progress:
    return Progress("corpus: reading", total, "image files", say or (lambda _: None))


def _read(root: Path, files: Sequence[FileState], progress: Progress) -> list[str | OSError]:
    def digest(file: FileState) -> str | OSError:
        try:
            return file_digest(root / file.name)
        except OSError as fault:
            return fault
        finally:
            progress.add(1)

    with ThreadPoolExecutor() as pool:
        return list(pool.map(digest, files))


def _stamp(place: str, file: FileState, secret: bytes) -> bytes:
    text = f"{place}\0{file.name}\0{file.size}\0{file.changed}".encode(errors="surrogateescape")
    return hashlib.blake2b(text, digest_size=STAMP, key=secret).digest()


def _known(kept: Kept | None) -> dict[bytes, bytes]:
    if kept is None:
        return {}
    stamps, digests = kept.arrays["stamps"].tobytes(), kept.arrays["digests"].tobytes()
    return {
        stamps[at * STAMP : (at + 1) * STAMP]: digests[at * DIGEST : (at + 1) * DIGEST]
        for at in range(len(stamps) // STAMP)
    }


def _arrays(known: Mapping[bytes, bytes]) -> dict[str, Any]:
    import numpy as np

    return {
        "stamps": np.frombuffer(b"".join(known), dtype=np.uint8).reshape(-1, STAMP),
        "digests": np.frombuffer(b"".join(known.values()), dtype=np.uint8).reshape(-1, DIGEST),
    }
