"""The files of a corpus: paths as users write them, what is there, and what is missing.

``pathlib`` raises for names that are too long, hold a null byte or ask for nobody's home, and a
table with two columns swapped has many of them. Here such a name is simply not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pytest_occlusion.corpora.base import Request
from pytest_occlusion.corpora.digests import file_digest, read_key, settings_digest
from pytest_occlusion.corpora.members import Member, read_member
from pytest_occlusion.corpora.progress import Progress
from pytest_occlusion.errors import MissingError, OcclusionError

LONGEST_REPORT = 1 << 20
"""Bytes. Real reports have a few thousand."""

is_file, is_folder, is_there = os.path.isfile, os.path.isdir, os.path.exists


def expanded(text: str) -> Path:
    """The path with ``~`` replaced, or as it is where nobody has that home."""
    path = Path(text)
    if text.startswith("~"):
        with contextlib.suppress(RuntimeError, ValueError):
            path = path.expanduser()
    return path


def needs_folder(root: Path, remedy: str) -> None:
    """Raise :class:`MissingError` where there is no such folder."""
    if not is_folder(root):
        raise MissingError(f"{root}: no such folder", remedy=remedy)


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


def report_text(file: IO[bytes]) -> str:
    """The text of an open file, as UTF-8 or else Latin-1; errors as of :func:`read_report`."""
    payload = read_report(file)
    try:
        return payload.decode("utf-8-sig")
    except UnicodeDecodeError:
        return payload.decode("latin-1")


TWICE = "an object has a name twice"


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(TWICE)
    return found


def read_json(file: Path) -> object:
    """The content of a JSON file; a bare ``NaN``, which stands for nothing, is allowed.

    Raises:
        OcclusionError: No such file, or one that is not JSON.
    """
    if is_folder(file):
        raise OcclusionError(f"{file}: is a folder", remedy="name the JSON file in it")
    if not is_file(file):
        raise MissingError(f"{file}: no such file", remedy="name the JSON file itself")
    try:
        with file.open(encoding="utf-8-sig") as opened:
            return json.load(opened, object_pairs_hook=_once)
    except OSError as fault:
        problem = f"{file}: cannot be read ({fault.strerror})"
        raise OcclusionError(problem, remedy="see to it that you may read it") from None
    except (ValueError, RecursionError) as fault:
        at = f" (line {fault.lineno})" if isinstance(fault, json.JSONDecodeError) else ""
        twice = type(fault) is ValueError and fault.args == (TWICE,)
        problem = f"{file}: {TWICE}" if twice else f"{file}: not JSON{at}"
        raise OcclusionError(problem, remedy="fetch the file again") from None


@dataclass(frozen=True)
class FileState:
    """A file as its folder lists it: path (below the root), bytes, nanoseconds of last change.

    Where several radiographs are in one file, the member says which of them is meant.
    """

    name: str = field(repr=False)
    size: int
    changed: int
    member: Member | None = None


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
            member = files[at].member
            try:
                if member is not None:
                    return hashlib.sha256(read_member(root / files[at].name, member)).hexdigest()
                return file_digest(root / files[at].name)
            except OSError as fault:
                return fault
            finally:
                progress.add(1)

        # Tables are read forward, by one thread.
        threads = 1 if any(file.member for file in files) else None
        pool = held.enter_context(ThreadPoolExecutor(threads))
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
    member = f"\0{tuple(file.member)}" if file.member else ""
    text = f"{place}\0{file.name}\0{file.size}\0{file.changed}{member}"
    payload = text.encode(errors="surrogateescape")
    return hashlib.blake2b(payload, digest_size=STAMP, key=secret).digest()


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
