"""Digests of many image files, remembered from run to run by size and time of change.

A large collection is read once; later runs only look at its folder entries. What is remembered
holds no names: a file is known by a keyed hash of its path, size and time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pytest_occlusion.digests import file_digest, settings_digest
from pytest_occlusion.opaque import read_key

KIND = "contents"
BATCH = 8192
"""Files between two writes: what an interruption makes the next run read again."""

SETTLED = 2.0
"""Seconds. A file changed more recently than this is read but not remembered: a second change
within the resolution of the file system's clock would not show."""

STAMP = 16
DIGEST = 32


class Kept(Protocol):
    """What a memory gives back."""

    @property
    def arrays(self) -> Mapping[str, Any]:
        """Name -> array."""


class Memory(Protocol):
    """Where digests are remembered; the store of :mod:`pytest_occlusion.store` is one."""

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
        name: Path below the root of the collection, with forward slashes.
        size: Bytes.
        changed: Time of the last change, in nanoseconds.
    """

    name: str = field(repr=False)
    size: int
    changed: int


def content_digests(
    root: Path, files: Sequence[FileState], memory: Memory | None
) -> list[str | OSError]:
    """Digest every file, reading only those that are new or have changed.

    Args:
        root: Folder of the collection.
        files: The files below it.
        memory: Where digests are remembered; ``None`` reads every file.

    Returns:
        For each file its SHA-256 (hex), or why it cannot be read.
    """
    if memory is None or memory.root is None:
        return list(_read(root, files))
    place = str(root.resolve())
    key = settings_digest([KIND, place])
    secret = read_key(memory.root)
    stamps = [_stamp(place, file, secret) for file in files]
    with memory.lock(key):
        known = _known(memory.read(KIND, key))
        new = [at for at, stamp in enumerate(stamps) if stamp not in known]
        faults: dict[int, OSError] = {}
        passing: dict[int, bytes] = {}
        for start in range(0, len(new), BATCH):
            places = new[start : start + BATCH]
            settled = time.time_ns() - int(SETTLED * 1e9)
            for at, found in zip(places, _read(root, [files[at] for at in places]), strict=True):
                if isinstance(found, OSError):
                    faults[at] = found
                elif files[at].changed > settled:
                    passing[at] = bytes.fromhex(found)
                else:
                    known[stamps[at]] = bytes.fromhex(found)
            memory.write(KIND, key, _arrays(known))
    return [
        faults[at] if at in faults else (passing.get(at) or known[stamp]).hex()
        for at, stamp in enumerate(stamps)
    ]


def _read(root: Path, files: Sequence[FileState]) -> list[str | OSError]:
    def digest(file: FileState) -> str | OSError:
        try:
            return file_digest(root / file.name)
        except OSError as fault:
            return fault

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
