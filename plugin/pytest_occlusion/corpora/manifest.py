"""Manifests: a table of a team's own radiographs and reports (CSV, JSON lines or Parquet).

Columns: ``image`` (path, relative to the table), ``study_id``, and ``report`` or ``findings``
and/or ``impression``; optionally ``patient_id`` and ``view``. Other columns are ignored.

The whole table is checked before anything else happens, and every fault is listed with its row.
Rows are named by number only: paths and identifiers may point to a patient.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from pytest_occlusion.corpora.base import Corpus, Radiograph, Study
from pytest_occlusion.corpora.images import open_image
from pytest_occlusion.digests import file_digest
from pytest_occlusion.errors import OcclusionError, listed

REQUIRED = ("image", "study_id")
TEXT_COLUMNS = ("report", "findings", "impression")
COLUMNS = (*REQUIRED, "patient_id", "view", *TEXT_COLUMNS)

Row = dict[str, str]


def load_manifest(path: Path) -> Corpus:
    """Read and check a manifest.

    Args:
        path: ``.csv``, ``.jsonl``/``.ndjson`` or ``.parquet`` (needs pyarrow).

    Returns:
        A corpus in the table's order of studies; every image file exists and was hashed.

    Raises:
        OcclusionError: A missing or malformed table, missing columns, or faulty rows (listed).
    """
    rows = list(_read(path))
    if not rows:
        raise OcclusionError(
            f"{path}: the table has no rows", remedy="give it one row per radiograph"
        )
    faults = [fault for check in CHECKS for fault in check(rows, path)]
    if faults:
        raise OcclusionError(
            f"{path}: {len(faults)} faults in {len(rows)} rows:\n{listed(faults)}",
            remedy="correct these rows; row 1 is the first after the header",
        )
    return _corpus(rows, path)


def _corpus(rows: list[Row], path: Path) -> Corpus:
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
    files = [path.parent / Path(row["image"]).expanduser() for row in rows]
    with ThreadPoolExecutor() as pool:
        contents = list(pool.map(file_digest, files))
    radiographs = [
        Radiograph(
            key=row["image"],
            study=position[_study(row)],
            view=row["view"],
            content=content,
            where=f"row {number}",
            open=partial(open_image, file),
        )
        for number, (row, file, content) in enumerate(
            zip(rows, files, contents, strict=True), start=1
        )
    ]
    radiographs.sort(key=lambda radiograph: radiograph.study)  # stable: keeps the table's order
    return Corpus("manifest", tuple(studies.values()), tuple(radiographs), notes)


def _study(row: Row) -> tuple[str, ...]:
    """What makes rows one study: the same study_id and the same text.

    In collections of published cases one study_id may stand for several images that are each
    described by a text of their own.
    """
    return (row["study_id"], *(row[name] for name in TEXT_COLUMNS))


def _read(path: Path) -> Iterator[Row]:
    readers: dict[str, Callable[[Path], Iterator[dict[str, object]]]] = {
        ".csv": _read_csv,
        ".jsonl": _read_json_lines,
        ".ndjson": _read_json_lines,
        ".parquet": _read_parquet,
    }
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise OcclusionError(f"{path}: {what}", remedy="name the manifest file itself")
    if path.suffix not in readers:
        raise OcclusionError(
            f"{path}: unknown kind of table {path.suffix!r}",
            remedy=f"known: {', '.join(readers)}",
        )
    try:
        for number, record in enumerate(readers[path.suffix](path), start=1):
            if number == 1:
                _check_columns(path, record)
            yield {
                name: "" if record.get(name) is None else str(record[name]).strip()
                for name in COLUMNS
            }
    except UnicodeDecodeError as fault:
        raise OcclusionError(
            f"{path}: not UTF-8 (byte {fault.start})", remedy="save the table as UTF-8"
        ) from fault


def _check_columns(path: Path, record: dict[str, object]) -> None:
    missing = [name for name in REQUIRED if name not in record]
    if not any(name in record for name in TEXT_COLUMNS):
        missing.append("report")
    if missing:
        raise OcclusionError(
            f"{path}: missing columns {', '.join(missing)} (found: "
            f"{', '.join(str(name) for name in record)})",
            remedy="a manifest has image, study_id and report (or findings/impression), and "
            "optionally patient_id and view",
        )


def _read_csv(path: Path) -> Iterator[dict[str, object]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            for row in csv.DictReader(file, strict=True):
                yield dict(row)
        except csv.Error as fault:
            raise OcclusionError(
                f"{path}: not a CSV table ({fault})", remedy="quote texts that hold commas"
            ) from fault


def _read_json_lines(path: Path) -> Iterator[dict[str, object]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as fault:
                raise OcclusionError(
                    f"{path}: line {number} is not JSON ({fault.msg})",
                    remedy="one JSON object per line",
                ) from fault
            if not isinstance(record, dict):
                raise OcclusionError(
                    f"{path}: line {number} is not a JSON object",
                    remedy='one object per line: {"image": ..., "study_id": ..., "report": ...}',
                )
            yield record


def _read_parquet(path: Path) -> Iterator[dict[str, object]]:
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
    except arrow.ArrowException as fault:
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
        image = path.parent / Path(row["image"]).expanduser()
        if row["image"] and not image.is_file():
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
