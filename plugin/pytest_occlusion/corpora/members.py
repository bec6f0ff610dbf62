"""Pictures inside larger files: members of a tar, cells of Parquet and Arrow tables.

A member says where its bytes are in plain numbers and names, so that processes that decode can be
told. Reading goes forward in batches: what a process holds does not grow with the file.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

ROWS = 32
"""Rows of a table read at once: 32 radiographs of full size are half a gigabyte."""

STREAMS = 3
"""Places of a table that are read forward at once."""


class Member(NamedTuple):
    """Where a picture is in its file.

    Attributes:
        at: Bytes from the start of a tar, or the row of a table.
        size: Bytes, 0 in a table.
        column: Of a table; empty in a tar.
        place: Position in a cell that holds a list of pictures.
    """

    at: int
    size: int = 0
    column: str = ""
    place: int = 0


def read_member(path: Path, member: Member) -> bytes:
    """The bytes of a picture.

    Raises:
        OSError: The file cannot be read, or ends before the member does.
    """
    if member.column:
        try:
            cells = _cells(path, member.column, path.stat().st_mtime_ns)
            found = cells.at(member.at)[member.place]
        except (ValueError, LookupError, StopIteration):  # of pyarrow, for damage of any kind
            found = None
        if found is None:
            raise OSError(errno.EIO, "the table is damaged")
        return found
    with path.open("rb") as file:
        file.seek(member.at)
        payload = file.read(member.size)
    if len(payload) < member.size:
        raise OSError(errno.EIO, "the file ends before the picture does")
    return payload


def _pictures(cell: object) -> Sequence[bytes | None]:
    """The bytes of each picture in a cell: bytes, a struct of bytes and path, or a list."""
    items: list[Any] = cell if isinstance(cell, list) else [cell]
    return [item.get("bytes") if isinstance(item, dict) else item for item in items]


@dataclass
class _Stream:
    """Cells that are read forward: the next row, the one after the last, and the last that came."""

    rows: Iterator[object]
    next: int
    end: int
    last: Sequence[bytes | None] = ()


class _Cells:
    """A column of pictures in a table, read forward a few rows at a time, in several places.

    The radiographs of a study are asked for one after the other, wherever their rows are.
    """

    def __init__(self, path: Path, column: str) -> None:
        self._path, self._column = path, column
        self._streams: list[_Stream] = []  # the one that was used last comes last
        self._lock = Lock()

    def at(self, row: int) -> Sequence[bytes | None]:
        """The pictures of a row; best one soon after a row that was asked for lately."""
        with self._lock:
            if found := [one for one in self._streams if row == one.next - 1 and one.last]:
                return found[0].last
            ahead = [one for one in self._streams if one.next <= row < one.end]
            if ahead:
                stream = min(ahead, key=lambda one: row - one.next)
                self._streams.remove(stream)
            else:
                read = _parquet_rows if self._path.suffix == ".parquet" else _arrow_rows
                stream = _Stream(*read(self._path, self._column, row))
            stream.last = _pictures(next(islice(stream.rows, row - stream.next, None)))
            stream.next = row + 1
            self._streams = [*self._streams, stream][-STREAMS:]
            return stream.last


def _parquet_rows(path: Path, column: str, row: int) -> tuple[Iterator[object], int, int]:
    """The cells of the row group that holds a row, its first row and the one after its last."""
    file = open_parquet(path)
    start = end = group = 0
    for group in range(file.num_row_groups):
        start, end = end, end + file.metadata.row_group(group).num_rows
        if row < end:
            break
    batches = file.iter_batches(batch_size=ROWS, row_groups=[group], columns=[column])
    return (cell for batch in batches for cell in batch.column(0).to_pylist()), start, end


def _arrow_rows(path: Path, column: str, row: int) -> tuple[Iterator[object], int, int]:
    """The cells from a row on; the file is mapped into memory, not read."""
    cells = arrow_table(path).column(column)
    return (cells[at].as_py() for at in range(row, len(cells))), row, len(cells)


def open_parquet(path: Path) -> Any:
    """A Parquet file that is read page by page, where pyarrow would take whole row groups."""
    from pyarrow.parquet import ParquetFile

    return ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)


def arrow_table(path: Path) -> Any:
    """The table of an Arrow stream, as ``datasets`` writes it, mapped into memory."""
    import pyarrow

    return pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))).read_all()


@lru_cache(maxsize=2)
def _cells(path: Path, column: str, changed: int) -> _Cells:
    return _Cells(path, column)
