"""The tables of MIMIC-CXR: which images a split has, and how each was taken."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from pytest_occlusion.corpora.mimic_choice import ROOT_REMEDY, SPLITS, Choice
from pytest_occlusion.corpora.paths import is_file
from pytest_occlusion.errors import OcclusionError, listed

_DICOM_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,12}", re.ASCII)


class Row(NamedTuple):
    """One line of the split table.

    Attributes:
        number: Place in the table; 1 is the first after the header. Messages name rows by it.
        dicom: Identifier of the image.
        study: Identifier of the study, digits only.
        subject: Identifier of the patient, digits only.
    """

    number: int
    dicom: str
    study: str
    subject: str

    @property
    def folder(self) -> str:
        """The study below ``files/``, with forward slashes; its report has ``.txt`` after it."""
        return f"p{self.subject[:2]}/p{self.subject}/s{self.study}"


def read_rows(choice: Choice) -> list[Row]:
    """Read the split table.

    Args:
        choice: Which split, and where the tables lie.

    Returns:
        Rows of the split, ordered by patient and study, then as the table has them; at least one.

    Raises:
        OcclusionError: No table or a damaged one, faulty rows (listed), or no row of the split.
    """
    path = _table(choice, "split")
    rows: list[Row] = []
    faults: list[str] = []
    seen: dict[str, int] = {}
    subjects: dict[str, tuple[str, int]] = {}
    unknown = 0
    for number, cells in _read_table(path, ("dicom_id", "study_id", "subject_id", "split")):
        dicom, study, subject, split = cells
        if split != choice.split:
            unknown += split not in SPLITS
            continue
        if not (_DICOM_ID.fullmatch(dicom) and _NUMBER.fullmatch(study)):
            faults.append(f"row {number}: dicom_id or study_id is empty or no identifier")
            continue
        if not _NUMBER.fullmatch(subject):
            faults.append(f"row {number}: subject_id is empty or no identifier")
            continue
        if dicom in seen:
            faults.append(f"row {number}: the same dicom_id as in row {seen[dicom]}")
        seen[dicom] = number
        patient, first = subjects.setdefault(study, (subject, number))
        if patient != subject:
            faults.append(f"row {number}: the study of row {first}, with another subject_id")
        # One string per study and patient, however many rows name them.
        rows.append(Row(number, dicom, study, patient))
    if faults:
        raise OcclusionError(
            f"{path}: {len(faults)} faulty rows in the {choice.split} split:\n{listed(faults)}",
            remedy="fetch the table again; row 1 is the first after the header",
        )
    if not rows:
        raise OcclusionError(
            f"{path}: no row is in the {choice.split} split"
            + (f" ({unknown} rows are in none of {', '.join(SPLITS)})" if unknown else ""),
            remedy="fetch the table again, or choose another split",
        )
    return sorted(rows, key=lambda row: (row.subject, row.study))


def read_views(choice: Choice, wanted: set[str]) -> dict[str, str]:
    """Read how images were taken from the metadata table.

    Args:
        choice: Whether views are needed at all, and where the tables lie.
        wanted: DICOM ids.

    Returns:
        DICOM id -> ViewPosition, in capitals, of every wanted image that the table knows; nothing
        where there is no table and the choice needs none.

    Raises:
        OcclusionError: A damaged table, or none although views are to be chosen.
    """
    needed = choice.views != "all" or choice.per_study != "all"
    path = _table(choice, "metadata") if needed else _find_table(choice, "metadata")
    if path is None:
        return {}
    known: dict[str, str] = {}
    spelled: dict[str, str] = {}
    for _, (dicom, view) in _read_table(path, ("dicom_id", "ViewPosition")):
        if dicom in wanted:
            known[dicom] = spelled.setdefault(view, view.strip().upper())
    return known


def _find_table(choice: Choice, kind: str) -> Path | None:
    found = sorted(
        path
        for path in (choice.tables or choice.root).glob(f"mimic-cxr-*-{kind}.csv*")
        if path.name.endswith((".csv", ".csv.gz")) and is_file(path)
    )
    return found[-1] if found else None


def _table(choice: Choice, kind: str) -> Path:
    path = _find_table(choice, kind)
    if path is None:
        raise OcclusionError(
            f"{choice.tables or choice.root}: there is no mimic-cxr-2.0.0-{kind}.csv.gz",
            remedy=ROOT_REMEDY,
        )
    return path


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _read_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Number and wanted cells of every row; nothing of the table is kept."""
    try:
        with _opened(path) as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            absent = [name for name in columns if name not in header]
            if absent:
                raise OcclusionError(
                    f"{path}: missing columns {', '.join(absent)}", remedy="fetch the table again"
                )
            places = [header.index(name) for name in columns]
            last = max(places)
            for number, cells in enumerate(reader, start=1):
                if len(cells) <= last:
                    if not cells:
                        continue
                    raise OcclusionError(
                        f"{path}: row {number} has {len(cells)} cells, not {len(header)}",
                        remedy="fetch the table again",
                    )
                yield number, [cells[place] for place in places]
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else ""
        raise OcclusionError(
            f"{path}: cannot be read ({reason or type(fault).__name__})",
            remedy="fetch the table again",
        ) from None
