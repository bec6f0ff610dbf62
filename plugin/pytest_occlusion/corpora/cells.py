"""Columns of pictures in Parquet and Arrow tables: which they are, and what is in each row.

A picture is a struct of ``bytes`` and ``path``, as Hugging Face's libraries write it, plain bytes,
or a list of either. Where the bytes are null, the path names a file. Nothing here reads the bytes
where the file's own statistics tell that none is missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_occlusion.corpora.columns import NAMES
from pytest_occlusion.corpora.members import ROWS, arrow_table, open_parquet
from pytest_occlusion.corpora.words import spelling
from pytest_occlusion.errors import OcclusionError


def picture_column(path: Path, asked: str) -> str:
    """The column that holds pictures; empty where none does, or the one asked for does not.

    Raises:
        OcclusionError: Several hold pictures, and none is called like one.
    """
    with reading(path):
        schema = _schema(path)
    pictures = [field.name for field in schema if _is_struct(_inner(field.type))]
    plain = [field.name for field in schema if _is_binary(_inner(field.type))]
    if asked:
        return asked if asked in pictures + plain else ""
    usual = [*map(spelling, NAMES["image"])]
    named = [name for name in pictures + plain if spelling(name) in usual]
    if not named and len(pictures) > 1:
        remedy = "say which are the radiographs: image=COLUMN"
        raise OcclusionError(f"{path}: pictures in {', '.join(pictures)}", remedy=remedy)
    return next(iter(named or pictures), "")


def pictures_in(path: Path, column: str) -> Iterator[list[str]]:
    """The pictures of each row: empty for one whose bytes are in the table, else its file's name.

    A row without a picture has none.
    """
    with reading(path):
        yield from _pictures_in(path, column)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say of a damaged table what is wrong in one way."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError) as fault:
        problem = f"{path}: cannot be read ({str(fault).partition('.')[0]})"
        raise OcclusionError(problem, remedy="fetch or write the table again") from None


def _pictures_in(path: Path, column: str) -> Iterator[list[str]]:
    if path.suffix != ".parquet":
        for chunk in arrow_table(path).column(column).chunks:
            yield from _rows(chunk)
        return
    with open_parquet(path) as file:
        paths = [file.schema.column(at).path for at in range(len(file.schema))]
        leaves = [at for at, name in enumerate(paths) if name.split(".")[0] == column]
        holds = next((at for at in leaves if paths[at].endswith(".bytes")), leaves[0])
        groups = [file.metadata.row_group(at) for at in range(file.num_row_groups)]
        stats = [group.column(holds).statistics for group in groups]
        whole = all(one is not None and one.has_null_count and not one.null_count for one in stats)
        if whole and not _is_list(file.schema_arrow.field(column).type):
            yield from ([""] for _ in range(file.metadata.num_rows))
            return
        read = [paths[at] for at in leaves if not whole or at != holds or len(leaves) == 1]
        for batch in file.iter_batches(batch_size=ROWS, columns=read):
            yield from _rows(batch.column(0))


def _schema(path: Path) -> Any:
    if path.suffix != ".parquet":
        return arrow_table(path).schema
    from pyarrow.parquet import read_schema

    return read_schema(path)


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _inner(kind: Any) -> Any:
    return kind.value_type if _is_list(kind) else kind


def _is_struct(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_struct(kind)) and {"bytes", "path"} <= {field.name for field in kind}


def _is_binary(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _rows(cells: Any) -> Iterator[list[str]]:
    """What :func:`pictures_in` tells of the rows of an array."""
    from pyarrow import compute

    lengths = [1] * len(cells)
    if _is_list(cells.type):
        lengths = [length or 0 for length in compute.list_value_length(cells).to_pylist()]
        cells = cells.flatten()
    fields = {field.name for field in cells.type} if not _is_binary(cells.type) else set()
    null = [False] * len(cells)
    if not fields or "bytes" in fields:
        payload = compute.struct_field(cells, "bytes") if fields else cells
        null = payload.is_null().to_pylist()
    nameless = [None] * len(cells)
    names = compute.struct_field(cells, "path").to_pylist() if "path" in fields else nameless
    found = iter([(name or None) if gone else "" for gone, name in zip(null, names, strict=True)])
    for length in lengths:
        yield [name for name in (next(found) for _ in range(length)) if name is not None]
