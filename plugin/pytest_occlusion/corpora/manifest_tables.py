"""The tables that manifests are kept in: CSV, JSON lines and Parquet, read row by row."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pytest_occlusion.corpora.manifest_faults import Fault, Row
from pytest_occlusion.corpora.paths import is_file, is_folder
from pytest_occlusion.errors import MissingError, OcclusionError

REQUIRED = ("image", "study_id")
TEXT_COLUMNS = ("report", "findings", "impression")
COLUMNS = (*REQUIRED, "patient_id", "view", *TEXT_COLUMNS)

HALF_CHARACTER = re.compile("[\ud800-\udfff]")
"""JSON can spell half of a surrogate pair, which UTF-8 cannot."""

Record = dict[Any, object]
"""What a reader gives: column -> value, and surplus cells of a CSV row under ``None``."""


def read_rows(path: Path, faults: list[Fault]) -> Iterator[Row]:
    """Read a manifest row by row.

    Args:
        path: ``.csv``, ``.jsonl``/``.ndjson`` or ``.parquet`` (needs pyarrow).
        faults: Takes what is wrong with single rows.

    Yields:
        Column -> text without white space around it, for every column of :data:`COLUMNS`.

    Raises:
        OcclusionError: A missing or malformed table, or missing columns.
    """
    readers: dict[str, Callable[[Path], Iterator[Record]]] = {
        ".csv": _read_csv,
        ".jsonl": _read_json_lines,
        ".ndjson": _read_json_lines,
        ".parquet": _read_parquet,
    }
    if is_folder(path):
        raise OcclusionError(f"{path}: is a folder", remedy="name the manifest file itself")
    if not is_file(path):
        raise MissingError(f"{path}: no such file", remedy="name the manifest file itself")
    if path.suffix.lower() not in readers:
        raise OcclusionError(
            f"{path}: unknown kind of table {path.suffix!r}",
            remedy=f"known: {', '.join(readers)}",
        )
    try:
        for number, record in enumerate(readers[path.suffix.lower()](path), start=1):
            surplus = record.pop(None, None)
            if isinstance(surplus, list) and any(cell.strip() for cell in surplus):
                faults.append(
                    Fault(number, "", "more cells than columns", "quote texts that hold commas")
                )
            if number == 1:
                _check_columns(path, record)
            faults += [
                Fault(number, name, f"{name} is not a text", "write one text or number")
                for name in COLUMNS
                if not _is_text(record.get(name))
            ]
            yield {
                name: "" if record.get(name) is None else str(record[name]).strip()
                for name in COLUMNS
            }
    except OSError as fault:
        raise OcclusionError(
            f"{path}: cannot be read ({fault.strerror})", remedy="see to it that you may read it"
        ) from fault
    except UnicodeDecodeError as fault:
        raise OcclusionError(
            f"{path}: not UTF-8 (byte {fault.start})", remedy="save the table as UTF-8"
        ) from fault


def _is_text(value: object) -> bool:
    """Whether a cell holds one value that can be written as UTF-8."""
    if isinstance(value, str):
        return value.isascii() or not HALF_CHARACTER.search(value)
    return not isinstance(value, (bytes, list, tuple, dict))


def _spelling(name: object) -> str:
    return re.sub(r"[\W_]+", "", str(name)).casefold()


def _check_columns(path: Path, record: Record) -> None:
    missing = [name for name in REQUIRED if name not in record]
    if not any(name in record for name in TEXT_COLUMNS):
        missing.append("report")
    if missing:
        # Other names are not shown: without a header, the first row's cells are the names.
        meant = {_spelling(name) for name in COLUMNS}
        close = [repr(name) for name in record if _spelling(name) in meant and name not in COLUMNS]
        raise OcclusionError(
            f"{path}: missing columns {', '.join(missing)}"
            + (f" (spelled otherwise: {', '.join(close)})" if close else ""),
            remedy="a manifest has image, study_id and report (or findings/impression), and "
            "optionally patient_id and view; the first line of a CSV table names them",
        )


def _read_csv(path: Path) -> Iterator[Record]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            for row in csv.DictReader(file, strict=True):
                yield dict(row)
        except csv.Error as fault:
            raise OcclusionError(
                f"{path}: not a CSV table ({fault})", remedy="quote texts that hold commas"
            ) from fault


def _read_json_lines(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as fault:  # endless digits, endless brackets
                reason = getattr(fault, "msg", "beyond all bounds")
                raise OcclusionError(
                    f"{path}: line {number} is not JSON ({reason})",
                    remedy="one JSON object per line",
                ) from fault
            if not isinstance(record, dict):
                raise OcclusionError(
                    f"{path}: line {number} is not a JSON object",
                    remedy='one object per line: {"image": ..., "study_id": ..., "report": ...}',
                )
            yield record


def _read_parquet(path: Path) -> Iterator[Record]:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise OcclusionError(
            f"{path}: reading Parquet needs pyarrow",
            remedy='pip install "pytest-occlusion[parquet]"',
        ) from None
    try:
        yield from parquet.read_table(path).to_pylist()
    except (arrow.ArrowException, OSError) as fault:  # both, for damage of different kinds
        raise OcclusionError(
            f"{path}: not a Parquet file ({fault})", remedy="write the table again"
        ) from fault
