"""Manifests: a table of a team's own radiographs and reports (CSV, JSON lines or Parquet).

Columns: ``image`` (path, relative to the table), ``study_id``, and ``report`` or ``findings``
and/or ``impression``; optionally ``patient_id`` and ``view``. Other columns are ignored.

The whole table is checked before anything else happens, and every fault is listed with its row.
Rows are named by number only: paths and identifiers may point to a patient.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from pytest_occlusion.corpora.base import Corpus, Radiograph, Study
from pytest_occlusion.corpora.images import open_image
from pytest_occlusion.digests import file_digest
from pytest_occlusion.errors import MissingError, OcclusionError, listed
from pytest_occlusion.paths import expanded, is_file, is_folder

REQUIRED = ("image", "study_id")
TEXT_COLUMNS = ("report", "findings", "impression")
COLUMNS = (*REQUIRED, "patient_id", "view", *TEXT_COLUMNS)

HALF_CHARACTER = re.compile("[\ud800-\udfff]")
"""JSON can spell half of a surrogate pair, which UTF-8 cannot."""

Row = dict[str, str]
Record = dict[Any, object]
"""What a reader gives: column -> value, and surplus cells of a CSV row under ``None``."""


def load_manifest(path: Path) -> Corpus:
    """Read and check a manifest.

    Args:
        path: ``.csv``, ``.jsonl``/``.ndjson`` or ``.parquet`` (needs pyarrow).

    Returns:
        A corpus in the table's order of studies; every image file exists and was hashed.

    Raises:
        OcclusionError: A missing or malformed table, missing columns, or faulty rows (listed).
    """
    faults: list[str] = []
    rows = list(_read(path, faults))
    if not rows:
        raise OcclusionError(
            f"{path}: the table has no rows", remedy="give it one row per radiograph"
        )
    faults += [fault for check in CHECKS for fault in check(rows, path)]
    _refuse(faults, rows, path)
    return _corpus(rows, _contents(rows, path), path)


def _refuse(faults: list[str], rows: list[Row], path: Path) -> None:
    if faults:
        raise OcclusionError(
            f"{path}: {len(faults)} faults in {len(rows)} rows:\n{listed(faults)}",
            remedy="correct these rows; row 1 is the first after the header",
        )


def _image_file(row: Row, path: Path) -> Path:
    return path.parent / expanded(row["image"])


def _contents(rows: list[Row], path: Path) -> list[str]:
    """The digest of each row's image file."""

    def digest(row: Row) -> str | OSError:
        try:
            return file_digest(_image_file(row, path))
        except OSError as fault:
            return fault

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(digest, rows))
    faults = [
        f"row {number}: its image file cannot be read ({one.strerror})"
        for number, one in enumerate(found, start=1)
        if isinstance(one, OSError)
    ]
    _refuse(faults, rows, path)
    return [str(one) for one in found]


def _corpus(rows: list[Row], contents: list[str], path: Path) -> Corpus:
    studies: dict[tuple[str, ...], Study] = {}
    variants: dict[str, int] = {}
    for row in rows:
        text = _study(row)
        if text in studies:
            continue
        study_id = row["study_id"]
        number = variants[study_id] = variants.get(study_id, 0) + 1
        sections = [row["findings"], row["impression"]]
        report = row["report"] or "\n".join(section for section in sections if section)
        key = study_id if number == 1 else f"{study_id}\x1f{number}"
        studies[text] = Study(key, row["patient_id"] or study_id, report, *sections)
    position = {text: index for index, text in enumerate(studies)}
    several = len(studies) - len(variants)
    notes = (
        (f"{several} texts differ from their study's first; each counts as a study of its own",)
        if several
        else ()
    )
    radiographs = [
        Radiograph(
            key=row["image"],
            study=position[_study(row)],
            view=row["view"],
            content=content,
            where=f"row {number}",
            open=partial(open_image, _image_file(row, path)),
        )
        for number, (row, content) in enumerate(zip(rows, contents, strict=True), start=1)
    ]
    radiographs.sort(key=lambda radiograph: radiograph.study)  # stable: keeps the table's order
    return Corpus("manifest", tuple(studies.values()), tuple(radiographs), notes)


def _study(row: Row) -> tuple[str, ...]:
    """What makes rows one study: the same study_id and the same text.

    In collections of published cases one study_id may stand for several images that are each
    described by a text of their own.
    """
    return (row["study_id"], *(row[name] for name in TEXT_COLUMNS))


def _read(path: Path, faults: list[str]) -> Iterator[Row]:
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
                faults.append(f"row {number}: more cells than columns; quote texts with commas")
            if number == 1:
                _check_columns(path, record)
            faults += [
                f"row {number}: {name} is not a text"
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


def _empty_cells(rows: list[Row], path: Path) -> Iterator[str]:
    for number, row in enumerate(rows, start=1):
        for name in REQUIRED:
            if not row[name]:
                yield f"row {number}: {name} is empty"
        if not any(row[name] for name in TEXT_COLUMNS):
            yield f"row {number}: the report is empty"


def _duplicate_images(rows: list[Row], path: Path) -> Iterator[str]:
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        image = row["image"]
        if image and image in seen:
            yield f"row {number}: duplicate image, also in row {seen[image]}"
        seen.setdefault(image, number)


def _missing_files(rows: list[Row], path: Path) -> Iterator[str]:
    for number, row in enumerate(rows, start=1):
        if row["image"] and not is_file(_image_file(row, path)):
            yield f"row {number}: its image file does not exist"


def _disagreeing_patients(rows: list[Row], path: Path) -> Iterator[str]:
    first: dict[str, tuple[int, str]] = {}
    for number, row in enumerate(rows, start=1):
        earlier, patient = first.setdefault(row["study_id"], (number, row["patient_id"]))
        if row["study_id"] and row["patient_id"] != patient:
            yield (
                f"row {number}: patient_id differs from that of row {earlier}, which has the same "
                "study_id"
            )


CHECKS: tuple[Callable[[list[Row], Path], Iterator[str]], ...] = (
    _empty_cells,
    _duplicate_images,
    _missing_files,
    _disagreeing_patients,
)
