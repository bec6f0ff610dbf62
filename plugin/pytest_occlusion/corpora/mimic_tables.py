"""The tables of MIMIC-CXR: which images a split has, and how each was taken."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

from pytest_occlusion.corpora.faults import refuse_listed
from pytest_occlusion.corpora.files import is_file
from pytest_occlusion.corpora.tables import Table
from pytest_occlusion.errors import OcclusionError

SPLITS = ("train", "validate", "test")
ROOT_REMEDY = (
    "ROOT is the folder that holds files/ and mimic-cxr-2.0.0-split.csv.gz (MIMIC-CXR-JPG); "
    "tables=FOLDER and reports=PATH name other places"
)
AGAIN = "fetch the table again"
_DICOM_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,12}", re.ASCII)


class Row(NamedTuple):
    """One line of the split table: its number, which messages name it by, and its identifiers."""

    number: int
    dicom: str
    study: str
    subject: str

    @property
    def folder(self) -> str:
        """The study below ``files/``, with forward slashes; its report has ``.txt`` after it."""
        return f"p{self.subject[:2]}/p{self.subject}/s{self.study}"


def read_rows(folder: Path, split: str) -> list[Row]:
    """Rows of a split, at least one, ordered by patient and study, then as the table has them."""
    table = _table(folder, "split", "dicom_id", "study_id", "subject_id", "split")
    rows: list[Row] = []
    faults: list[str] = []
    seen: dict[str, int] = {}
    subjects: dict[str, tuple[str, int]] = {}
    unknown = 0
    for number, (dicom, study, subject, named) in enumerate(table.rows(), start=1):
        if dicom is None or study is None or subject is None or named is None:
            faults.append(f"row {number}: fewer cells than columns")
            continue
        if named != split:
            unknown += named not in SPLITS
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
    refuse_listed(
        f"{table.path}: {len(faults)} faulty rows in the {split} split",
        faults,
        f"{AGAIN}; row 1 is the first after the header",
    )
    if not rows:
        raise OcclusionError(
            f"{table.path}: no row is in the {split} split"
            + (f" ({unknown} rows are in none of {', '.join(SPLITS)})" if unknown else ""),
            remedy=f"{AGAIN}, or choose another split",
        )
    return sorted(rows, key=lambda row: (row.subject, row.study))


def read_views(folder: Path, wanted: set[str], *, needed: bool) -> dict[str, str]:
    """DICOM id -> ViewPosition, in capitals, of the wanted images that the metadata table knows."""
    if not needed and _find(folder, "metadata") is None:
        return {}
    table = _table(folder, "metadata", "dicom_id", "ViewPosition")
    known: dict[str, str] = {}
    faults = []
    for number, (dicom, view) in enumerate(table.rows(), start=1):
        if dicom is None or view is None:
            faults.append(f"row {number}: fewer cells than columns")
        elif dicom in wanted:
            known[dicom] = sys.intern(view.upper())  # one string, however many rows have it
    refuse_listed(f"{table.path}: {len(faults)} faulty rows", faults, AGAIN)
    return known


def _find(folder: Path, kind: str) -> Path | None:
    found = sorted(
        path
        for path in folder.glob(f"mimic-cxr-*-{kind}.csv*")
        if path.name.endswith((".csv", ".csv.gz")) and is_file(path)
    )
    return found[-1] if found else None


def _table(folder: Path, kind: str, *columns: str) -> Table:
    path = _find(folder, kind)
    if path is None:
        raise OcclusionError(
            f"{folder}: there is no mimic-cxr-2.0.0-{kind}.csv.gz", remedy=ROOT_REMEDY
        )
    return Table(path, columns, [(name,) for name in columns], AGAIN, AGAIN)
