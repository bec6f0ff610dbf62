"""Manifests: a table of a team's own radiographs and reports (CSV, JSON lines or Parquet).

Columns: ``image`` (path, relative to the table), ``study_id``, and ``report`` or ``findings``
and/or ``impression``; optionally ``patient_id`` and ``view``. Other columns are ignored.

The whole table is checked before anything else happens, and every fault is listed with its row.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from pytest_occlusion.corpora.base import Corpus, Request, Study
from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.corpora.files import (
    FileState,
    expanded,
    file_states,
    is_file,
    is_folder,
    lacking,
)
from pytest_occlusion.corpora.options import Options, read_options
from pytest_occlusion.corpora.radiographs import Wanted, file_radiographs
from pytest_occlusion.corpora.tables import Fault, Table, refuse_rows
from pytest_occlusion.errors import MissingError, OcclusionError

EXAMPLE = "manifest:path/to/manifest.csv?outside=allow&faults=faults.csv"
TEXTS = ("report", "findings", "impression")
COLUMNS = ("image", "study_id", "patient_id", "view", *TEXTS)
SHAPE = (
    "a manifest has image, study_id and report (or findings/impression), and optionally patient_id "
    "and view; the first line of a CSV table names them"
)

Row = dict[str, str]


@dataclass(frozen=True)
class ManifestOptions(Options):
    """Whether images may lie outside the folder of the table, and where to write all faults."""

    outside: Literal["refuse", "allow"] = "refuse"
    faults: Path | None = None


def load(asked: Request) -> Corpus:
    """Read and check a manifest; studies come in the table's order, and every image file exists.

    Raises:
        OcclusionError: A missing or malformed table, missing columns, faulty rows (listed), or
            images that cannot be read (listed).
    """
    file, options = read_options(asked, ManifestOptions, EXAMPLE, needs="file")
    itself = "name the manifest file itself"
    if is_folder(file):
        raise OcclusionError(f"{file}: is a folder", remedy=itself)
    if not is_file(file):
        raise MissingError(f"{file}: no such file", remedy=itself)
    table = Table(file, COLUMNS, (("image",), ("study_id",), TEXTS), SHAPE)
    rows = [dict(zip(COLUMNS, cells, strict=True)) for cells in table.rows()]
    if not rows:
        remedy = "give it one row per radiograph"
        raise OcclusionError(f"{file}: the table has no rows", remedy=remedy)
    refuse = partial(refuse_rows, rows=len(rows), path=file, file=options.faults)
    names = [str(expanded(row["image"])) for row in rows]
    files = file_states(file.parent, names)
    folders: set[str] = set()
    if options.outside == "refuse":
        folders = {os.path.abspath(file.parent), os.path.realpath(file.parent)}  # noqa: PTH100
    refuse([*table.faults, *_cell_faults(rows), *_file_faults(rows, names, files, folders)])
    studies, notes = _studies(rows)
    wanted = [
        Wanted(row["image"], study, row["view"], f"row {number}")
        for number, (row, study) in enumerate(zip(rows, studies, strict=True), start=1)
    ]
    found = [(one, state) for one, state in zip(wanted, files, strict=True) if state]

    def unreadable(faults: Sequence[tuple[int, str]]) -> None:
        remedy = "see to it that you may read it"
        refuse([Fault(at + 1, "image", problem, remedy) for at, problem in faults])

    limit = options.max_pixels
    present, radiographs = file_radiographs(file.parent, found, asked, limit, unreadable)
    return Corpus("manifest", present, radiographs, notes)


def _studies(rows: Sequence[Row]) -> tuple[list[Study], tuple[str, ...]]:
    """The study of each row, and notes on study_ids that have several texts.

    Rows are one study if they have the same study_id and the same text: in collections of
    published cases one study_id may stand for several images that are each described by a text of
    their own.
    """
    identities = [(row["study_id"], *(row[name] for name in TEXTS)) for row in rows]
    texts = Counter(study_id for study_id, *_ in dict.fromkeys(identities))
    studies = []
    for row, identity in zip(rows, identities, strict=True):
        key, report, findings, impression = identity
        if texts[key] > 1:
            # By its text, not by its place: sorting the table must not make it another corpus.
            key = f"{key}\x1f{settings_digest(list(identity))[:16]}"
        report = report or "\n".join(text for text in (findings, impression) if text)
        patient = row["patient_id"] or row["study_id"]
        studies.append(Study(key, patient, report, findings, impression))
    several = texts.total() - len(texts)
    note = f"{several} texts differ from their study's first; each counts as a study of its own"
    return studies, (note,) if several else ()


def _cell_faults(rows: Sequence[Row]) -> Iterator[Fault]:
    """Cells that are empty, and patients that two rows of a study disagree on."""
    first: dict[str, tuple[int, str]] = {}
    for number, row in enumerate(rows, start=1):
        for name in ("image", "study_id"):
            if not row[name]:
                remedy = "fill it in, or leave the row out"
                yield Fault(number, name, f"{name} is empty", remedy)
        if not any(row[name] for name in TEXTS):
            remedy = "give a report, findings or an impression, or leave the row out"
            yield Fault(number, "report", "the report is empty", remedy)
        earlier, patient = first.setdefault(row["study_id"], (number, row["patient_id"]))
        if row["study_id"] and row["patient_id"] != patient:
            problem = f"patient_id differs from that of row {earlier}, which has the same study_id"
            yield Fault(number, "patient_id", problem, "a study has one patient")


def _file_faults(
    rows: Sequence[Row],
    names: Sequence[str],
    files: Sequence[FileState | None],
    folders: set[str],
) -> Iterator[Fault]:
    """Images that are named twice, are not there, or lie outside these folders (if any)."""
    missing = "correct the path, which starts at the folder of the table, or fetch the file"
    allow = "move the files there, or allow this: manifest:FILE?outside=allow"
    seen: dict[str, int] = {}
    for number, (row, name, state) in enumerate(zip(rows, names, files, strict=True), start=1):
        if not row["image"]:
            continue
        earlier = seen.setdefault(os.path.normpath(name), number)
        if earlier != number:
            problem = f"duplicate image, also in row {earlier}"
            yield Fault(number, "image", problem, "leave one of the two rows out")
        if state is None and "\\" in name:
            problem = f"{lacking(state)}: its path has backslashes"
            yield Fault(number, "image", problem, "write / in their place")
        elif problem := lacking(state):
            yield Fault(number, "image", problem, missing)
        elif folders and not any(_is_inside(name, root) for root in folders):
            problem = "its image file is outside the folder of the table"
            yield Fault(number, "image", problem, allow)


def _is_inside(name: str, root: str) -> bool:
    place = os.path.normpath(os.path.join(root, name))  # noqa: PTH118 - links are not followed
    return place.startswith(os.path.join(root, ""))  # noqa: PTH118
