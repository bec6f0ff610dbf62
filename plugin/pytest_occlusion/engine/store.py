"""What is kept on disk between runs: canvases, embeddings, ranks, and what is known of files.

An entry is a safetensors file named by the digest of everything that its numbers depend on. It is
written under a temporary name and renamed, carries a checksum that is verified on every read, and
is dropped and rebuilt when that fails. Several workers and several runs may share one store.

Keys are digests and values are numbers: no text and no identifier is ever stored in the clear.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from pytest_occlusion.errors import OcclusionError, unwritable

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

SCHEMA = 1
"""Part of every file; entries of another schema are treated as absent."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""A full disk, and a used up share of it."""

log = logging.getLogger("pytest_occlusion.engine.store")


@dataclass(frozen=True)
class Entry:
    """One stored record."""

    arrays: Mapping[str, NDArray[Any]]  # read-only
    fields: Mapping[str, Any]  # plain data that belongs to them (timings, counts)


@dataclass(frozen=True)
class Store:
    """A folder of entries, or nothing at all without a root (``--occlusion-no-store``)."""

    root: Path | None  # made on the first write, readable by its owner only
    forgiving: bool = False  # whether work goes on where there is no room, and nothing is kept
    notes: list[str] = field(default_factory=list)  # a line per damaged entry; that it is full
    _full: list[int] = field(default_factory=list)  # the error, once one was forgiven
    _verified: set[Path] = field(default_factory=set)  # entries of which rows were asked for

    def path(self, kind: str, key: str) -> Path:
        """Where the entry of this key lies (whether it exists or not)."""
        if self.root is None:
            raise OcclusionError(
                "there is no store in this run", remedy="drop --occlusion-no-store"
            )
        return self.root / f"v{SCHEMA}" / kind / key[:2] / f"{key}.safetensors"

    def has(self, kind: str, key: str) -> bool:
        """Whether there is an entry of this key; it may yet turn out to be damaged."""
        return self.root is not None and self._readable(self.path(kind, key).exists)

    def any(self, kind: str) -> bool:
        """Whether there is an entry of this kind."""
        if self.root is None:
            return False
        place = self.root / f"v{SCHEMA}" / kind
        return self._readable(lambda: any(place.glob("*")))

    def _readable(self, look: Callable[[], T]) -> T:
        """What is found in the store.

        Raises:
            OcclusionError: It may not be read, as one that another user made.
        """
        try:
            return look()
        except PermissionError as fault:
            raise unwritable(cast("Path", self.root), fault, what="read") from fault

    def read(self, kind: str, key: str) -> Entry | None:
        """The entry, verified; ``None`` when it is absent or was damaged (then it is removed)."""
        if not self.has(kind, key):
            return None
        path = self.path(kind, key)
        try:
            return self._readable(partial(_load, path))
        except OcclusionError:
            raise
        except Exception as fault:  # whatever a damaged file makes the reader raise
            reason = f"{kind} entry {key[:12]} was damaged ({type(fault).__name__}) and is rebuilt"
            self._note(reason)
            with contextlib.suppress(OSError):
                path.unlink()
            return None

    def rows(self, kind: str, key: str, rows: Sequence[int]) -> NDArray[Any] | None:
        """Some rows of an entry's array that is called as its kind; ``None`` as :meth:`read`.

        The entry is read whole and verified where it is asked for first; then only its rows are.
        """
        import numpy as np

        path = self.path(kind, key)
        if path in self._verified:
            with contextlib.suppress(OSError, LookupError, ValueError), path.open("rb") as file:
                start, told = _head(file)
                shape, first = tuple(told[kind]["shape"]), start + told[kind]["data_offsets"][0]
                kept = np.memmap(file, _dtype(told[kind]["dtype"]), "r", first, shape)
                return np.array(kept[rows])
        if not (entry := self.read(kind, key)) or max(rows) >= len(entry.arrays[kind]):
            return None
        self._verified.add(path)
        return np.array(entry.arrays[kind][rows])

    def write(
        self,
        kind: str,
        key: str,
        arrays: Mapping[str, NDArray[Any]],
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Write an entry atomically; an entry of the same key is replaced.

        Raises:
            OcclusionError: The folder cannot be written, and that is not forgiven.
        """
        if self.root is None or self._full:
            return
        import numpy as np
        from safetensors.numpy import save

        path = self.path(kind, key)
        text = json.dumps(dict(fields or {}), sort_keys=True)
        contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        payload = save(contiguous, {"fields": text, "sha256": _checksum(contiguous, text)})
        try:
            _make_private(self.root, path.parent)
            # Should the machine lose power, the checksum tells what never reached the disk.
            write_atomically(path, payload, mode=0o600, durable=False)
        except OSError as fault:
            self._refused(fault)

    def _refused(self, fault: OSError) -> None:
        """Go on without keeping anything, if that is allowed and there is no room; else raise."""
        root = cast("Path", self.root)
        if not self.forgiving or fault.errno not in NO_ROOM:
            raise unwritable(root, fault) from fault
        if not self._full:
            self._full.append(fault.errno)
            self._note(
                f"the store {root} is full ({fault.strerror}): what came later was measured and "
                "not kept; make room, or choose another folder with --occlusion-store DIR"
            )

    def _note(self, text: str) -> None:
        self.notes.append(text)
        log.warning("%s", text)

    def kept(self, kind: str, key: str, make: Callable[[], Entry]) -> Entry:
        """The entry; made, by one process only, where there is none."""
        if entry := self.read(kind, key):  # a lock has to be written, and there is no need to
            return entry
        with self.lock(key):
            if not (entry := self.read(kind, key)):
                entry = make()
                self.write(kind, key, entry.arrays, entry.fields)
        return entry

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold the key, across processes, so that two workers never do the same work twice."""
        if self.root is None or self._full:
            yield
            return
        from filelock import FileLock

        folder = self.root / f"v{SCHEMA}" / "locks"
        lock = FileLock(folder / f"{key}.lock")
        try:
            _make_private(self.root, folder)
            lock.acquire()
        except OSError as fault:
            self._refused(fault)
        try:
            yield
        finally:
            lock.release()


def default_root() -> Path:
    """The user's cache directory for this tool (``OCCLUSION_STORE`` overrides it)."""
    if named := os.environ.get("OCCLUSION_STORE"):
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("pytest-occlusion")


def _make_private(root: Path, folder: Path) -> None:
    """Make a folder of the store; every one made here, the root too, is its owner's alone.

    ``mkdir(parents=True, mode=...)`` would give the mode to the last one only.
    """
    if folder.is_dir():
        return
    root.parent.mkdir(parents=True, exist_ok=True)
    for one in (*reversed(folder.relative_to(root).parents), folder.relative_to(root)):
        (root / one).mkdir(exist_ok=True, mode=0o700)


def _checksum(arrays: Mapping[str, NDArray[Any]], fields: str) -> str:
    import numpy as np

    digest = hashlib.sha256(fields.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}:{array.dtype.str}:{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
    return digest.hexdigest()


def write_atomically(
    path: Path, payload: bytes, *, mode: int = 0o666, durable: bool = True
) -> None:
    """Write a whole file or nothing: a temporary name beside it, flushed, then renamed.

    Args:
        path: The file; its folder exists.
        payload: All of its bytes.
        mode: Permissions, less the user's umask.
        durable: Whether it has to be on the disk, so that it outlasts a power cut, when it ends.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(temporary, flags, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(payload)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _load(path: Path) -> Entry:
    """Read a safetensors file with Python's lock let go: its own reader holds it all the time.

    Shards of canvases are read while another thread gives a GPU its work, and that needs the lock.
    """
    import numpy as np

    with path.open("rb") as file:
        start, header = _head(file)
        body = np.empty(os.fstat(file.fileno()).st_size - start, dtype=np.uint8)
        if file.readinto(body.data) != len(body):
            raise ValueError("length")
    metadata = header.pop("__metadata__")
    arrays = {}
    for name, told in header.items():
        first, last = told["data_offsets"]
        arrays[name] = body[first:last].view(_dtype(told["dtype"])).reshape(told["shape"])
    if sum(array.nbytes for array in arrays.values()) != len(body):
        raise ValueError("length")
    if _checksum(arrays, metadata["fields"]) != metadata["sha256"]:
        raise ValueError("checksum")
    for array in arrays.values():
        array.flags.writeable = False
    return Entry(arrays, json.loads(metadata["fields"]))


def _head(file: BinaryIO) -> tuple[int, dict[str, Any]]:
    """Where the arrays of a safetensors file begin, and what is told of them."""
    length = int.from_bytes(file.read(8), "little")
    if length > os.fstat(file.fileno()).st_size - 8:
        raise ValueError("header")
    return 8 + length, json.loads(file.read(length))


def _dtype(name: str) -> str:
    """Numpy's name of a type of safetensors': ``F32`` -> ``<f4``."""
    return "?" if name == "BOOL" else f"<{name[0].lower()}{int(name[1:]) // 8}"
