"""Digests of many image files, remembered from run to run by size and time of change.

A large collection is read once; later runs only look at its folder entries. What is remembered
holds no names: a file is known by a keyed hash of its path, size and time.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pytest_occlusion.corpora.base import Request
from pytest_occlusion.corpora.digests import file_digest, read_key, settings_digest
from pytest_occlusion.corpora.files import FileState
from pytest_occlusion.corpora.progress import Progress
from pytest_occlusion.errors import OcclusionError

KIND = "contents"
BATCH = 8192
"""Files between two writes: what an interruption makes the next run read again."""

SETTLED = 2.0
"""Seconds. A file changed more recently than this is read but not remembered: a second change
within the resolution of the file system's clock would not show."""

STAMP = 16
DIGEST = 32


def content_digests(
    root: Path, files: Sequence[FileState], asked: Request
) -> tuple[list[str], list[tuple[int, str]]]:
    """Digest every file below a root, reading only those that are new or have changed.

    Returns:
        For each file its SHA-256 (hex), and the positions of those that cannot be read, with what
        is wrong. Where no digests are asked for they are empty, and nothing is read.
    """
    if not asked.contents:
        return [""] * len(files), []
    memory = asked.memory if asked.memory is not None and asked.memory.root is not None else None
    place = str(root.resolve())
    key = settings_digest([KIND, place])
    secret = read_key(memory.root if memory else None)
    stamps = [_stamp(place, file, secret) for file in files]
    faults: list[tuple[int, str]] = []
    digests: dict[int, str] = {}
    with contextlib.ExitStack() as held:
        remembers = memory is not None
        if memory is not None:
            try:
                held.enter_context(memory.lock(key))
            except OcclusionError:
                if memory.root is None or not memory.root.is_dir():
                    raise
                remembers = False  # on a read-only disk; what is there may be all that is needed
        known = _known(memory.read(KIND, key)) if memory else {}
        new = [at for at, stamp in enumerate(stamps) if stamp not in known]
        progress = Progress("corpus: reading", len(new), "image files", asked.say)
        held.enter_context(progress)

        def digest(at: int) -> str | OSError:
            try:
                return file_digest(root / files[at].name)
            except OSError as fault:
                return fault
            finally:
                progress.add(1)

        pool = held.enter_context(ThreadPoolExecutor())
        for start in range(0, len(new), BATCH):
            places = new[start : start + BATCH]
            settled = time.time_ns() - int(SETTLED * 1e9)
            for at, found in zip(places, pool.map(digest, places), strict=True):
                if isinstance(found, OSError):
                    faults.append((at, f"its image file cannot be read ({found.strerror})"))
                    continue
                digests[at] = found
                if files[at].changed <= settled:
                    known[stamps[at]] = bytes.fromhex(found)
            if memory is not None and remembers:
                memory.write(KIND, key, _arrays(known))
    readable = (
        known[s].hex() if s in known else digests.get(at, "") for at, s in enumerate(stamps)
    )
    return list(readable), faults


def _stamp(place: str, file: FileState, secret: bytes) -> bytes:
    text = f"{place}\0{file.name}\0{file.size}\0{file.changed}".encode(errors="surrogateescape")
    return hashlib.blake2b(text, digest_size=STAMP, key=secret).digest()


def _known(kept: Any) -> dict[bytes, bytes]:
    if kept is None:
        return {}
    stamps, digests = kept.arrays["stamps"], kept.arrays["digests"]
    return dict(zip(map(bytes, stamps), map(bytes, digests), strict=True))


def _arrays(known: Mapping[bytes, bytes]) -> dict[str, Any]:
    import numpy as np

    return {
        "stamps": np.frombuffer(b"".join(known), dtype=np.uint8).reshape(-1, STAMP),
        "digests": np.frombuffer(b"".join(known.values()), dtype=np.uint8).reshape(-1, DIGEST),
    }
