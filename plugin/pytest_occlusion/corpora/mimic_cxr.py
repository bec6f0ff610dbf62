"""MIMIC-CXR as PhysioNet ships it: tables, reports and images, read where they lie.

Works with MIMIC-CXR-JPG, with the DICOM release, with copies of another size or format, and with
downloads of a part of any. Nothing is unpacked and nothing is written there. This is credentialed
data: messages name rows of tables, never patients, studies or images.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_occlusion.corpora.attributes import read_attributes
from pytest_occlusion.corpora.base import Corpus, Request, Step, Study
from pytest_occlusion.corpora.files import is_file, needs_folder
from pytest_occlusion.corpora.mimic_reports import (
    find_reports,
    folder_of,
    is_sectioned,
    read_reports,
)
from pytest_occlusion.corpora.options import CollectionOptions, read_options
from pytest_occlusion.corpora.radiographs import Selection, Wanted, file_radiographs, number_of
from pytest_occlusion.corpora.tables import Table, refuse_listed
from pytest_occlusion.errors import OcclusionError

NAME = "mimic-cxr"
EXAMPLE = "mimic-cxr:ROOT?views=frontal&per-study=one&missing=0.1"
PAPER = (994, 1770)
"""Studies and radiographs of the validate split that Deanda et al. 2025 count."""

LICENCE = "MIMIC-CXR: credentialed data of PhysioNet; nothing of it may be passed on"
SPLITS = ("train", "validate", "test")
FRONTAL = ("PA", "AP")
VIEWS = {
    **{view: view for view in FRONTAL},
    **dict.fromkeys(("LATERAL", "LL", "XTABLE LATERAL"), "lateral"),
}
ENDINGS = {"jpg": ".jpg", "png": ".png", "dicom": ".dcm"}
"""Value of ``images`` -> ending to look for; of all of them, the first that occurs is used."""

ROOT_REMEDY = (
    "ROOT is the folder that holds files/ and mimic-cxr-2.0.0-split.csv.gz (MIMIC-CXR-JPG); "
    "tables=FOLDER and reports=PATH name other places"
)
AGAIN = "fetch the table again"
NOT_COMPARABLE = "other texts than this tool finds in the reports: numbers are not comparable"
_DICOM_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,12}", re.ASCII)


@dataclass(frozen=True)
class MimicOptions(CollectionOptions):
    """Which part, how many radiographs of a study, of which kind, and what else is known of them.

    The published tables may lie elsewhere than in the root.
    """

    split: str = ""
    per_study: Literal["all", "one"] = "all"
    images: Literal["auto", "jpg", "png", "dicom"] = "auto"
    tables: Path | None = None
    attributes: tuple[Path, ...] = ()


def load(asked: Request) -> Corpus:
    """Read the studies of a split that have findings or an impression, by patient and study.

    Raises:
        MissingError: There is no such folder.
        OcclusionError: Two splits; a missing or damaged table, faulty rows (listed), no reports,
            damaged ones, or more missing files than were allowed (listed).
    """
    root, options = read_options(asked, MimicOptions, EXAMPLE, needs="folder")
    split = options.split or "validate"
    if split not in SPLITS:
        known = f"known: {', '.join(SPLITS)}"
        raise OcclusionError(f"corpus '{NAME}': split is {split!r}", remedy=known)
    needs_folder(root, ROOT_REMEDY)
    tables = options.tables or root
    selection = Selection(_read_rows(tables, split))
    selection.count(f"in the {split} split")
    needed = options.views != "all" or options.per_study != "all"
    views = _read_views(tables, {one.key for one in selection.wanted}, needed=needed)
    selection.wanted = [one._replace(view=views.get(one.key, "")) for one in selection.wanted]
    if options.views == "frontal":
        selection.keep_frontal(FRONTAL)
    selection.wanted, notes = read_attributes(options.attributes, selection.wanted)
    source = find_reports(root, options.reports, selection.wanted)
    if is_sectioned(source):
        notes += (f"texts are the sections of {source.name}, {NOT_COMPARABLE}",)
    studies, unreported, headless = read_reports(source, selection.wanted, asked.say)
    expected = len({one.study.key for one in selection.wanted})
    without = {one.study.key for one in unreported}
    selection.keep("with a report", lambda one: one.study.key not in without)
    selection.wanted = [
        one._replace(study=studies.get(one.study.key, one.study)) for one in selection.wanted
    ]
    selection.keep_sections()
    if options.per_study == "one":
        selection.keep_one_each(FRONTAL)
    selection.find(root, _layouts(root, selection.wanted, options.images))
    partial, missing = selection.keep_found(
        [one.where for one in sorted(unreported, key=number_of)],
        expected,
        options.missing,
        kind=NAME,
        head=f"{root}: of the {split} split, ",
        remedy="rows are those of the split table",
    )
    present, radiographs = file_radiographs(root, selection.found, asked, options.max_pixels)
    return Corpus(
        name=NAME,
        studies=present,
        radiographs=radiographs,
        notes=(LICENCE, *partial, *notes),
        fields={
            "split": split,
            "views": options.views,
            "per_study": options.per_study,
            "images": _kind_of(selection),
            "listed_studies": selection.steps[0].studies,
            "listed_radiographs": selection.steps[0].radiographs,
            "without_headings": headless,
            **missing,
        },
        steps=tuple(selection.steps),
        published=Step("Deanda et al. 2025, validate", *PAPER) if split == "validate" else None,
    )


def _layouts(root: Path, wanted: Sequence[Wanted], images: str) -> Iterator[list[str]]:
    """Names of the files: as published, else all in the root or in one of its folders."""
    endings = ENDINGS.values() if images == "auto" else (ENDINGS[images],)
    stems = [f"files/{folder_of(one.study)}/{one.key}" for one in wanted]
    yield from ([stem + ending for stem in stems] for ending in endings)
    keys = {one.key for one in wanted}
    folders = (root, *sorted(root.glob("*/")))
    for ending in endings:
        for folder in folders:
            if any(path.stem in keys for path in folder.glob(f"*{ending}")):
                yield [f"{folder.relative_to(root)}/{one.key}{ending}" for one in wanted]


def _kind_of(selection: Selection) -> str:
    """The kind of image files that were found."""
    ending = Path(selection.found[0][1].name).suffix if selection.found else ".jpg"
    return next(kind for kind, of in ENDINGS.items() if of == ending)


def _read_rows(folder: Path, split: str) -> list[Wanted]:
    """Rows of a split, at least one, ordered by patient and study, then as the table has them.

    Their studies have no text yet.
    """
    table = _table(folder, "split", ("dicom_id", "study_id", "subject_id", "split"))
    rows: list[Wanted] = []
    seen: dict[str, int] = {}
    studies: dict[str, tuple[Study, int]] = {}
    unknown = 0
    for number, (dicom, key, subject, named) in enumerate(table.required(table.known), start=1):
        if named != split:
            unknown += named not in SPLITS
            continue
        if not (_DICOM_ID.fullmatch(dicom) and _NUMBER.fullmatch(key)):
            table.bad(number, "dicom_id or study_id is empty or no identifier")
            continue
        if not _NUMBER.fullmatch(subject):
            table.bad(number, "subject_id is empty or no identifier")
            continue
        if dicom in seen:
            table.bad(number, f"the same dicom_id as in row {seen[dicom]}")
        seen[dicom] = number
        # One record per study, however many rows name it.
        study, first = studies.setdefault(key, (Study(key, subject, ""), number))
        if study.patient != subject:
            table.bad(number, f"the study of row {first}, with another subject_id")
        rows.append(Wanted(dicom, study, "", f"row {number}"))
    refuse_listed(
        f"{table.path}: {len(table.faults)} faulty rows in the {split} split",
        table.faults,
        f"{AGAIN}; row 1 is the first after the header",
    )
    if not rows:
        raise OcclusionError(
            f"{table.path}: no row is in the {split} split"
            + (f" ({unknown} rows are in none of {', '.join(SPLITS)})" if unknown else ""),
            remedy=f"{AGAIN}, or choose another split",
        )
    return sorted(rows, key=lambda one: (one.study.patient, one.study.key))


def _read_views(folder: Path, wanted: set[str], *, needed: bool) -> dict[str, str]:
    """DICOM id -> view, of the wanted images that the metadata table knows."""
    if not needed and _find(folder, "metadata") is None:
        return {}
    table = _table(folder, "metadata", ("dicom_id", "ViewPosition"))
    rows = table.required(table.known)
    known = {dicom: VIEWS.get(view.upper(), "") for dicom, view in rows if dicom in wanted}
    refuse_listed(f"{table.path}: {len(table.faults)} faulty rows", table.faults, AGAIN)
    return known


def _find(folder: Path, kind: str) -> Path | None:
    names = folder.glob(f"mimic-cxr-*-{kind}.csv*")
    found = [path for path in names if path.name.endswith((".csv", ".csv.gz")) and is_file(path)]
    return max(found, default=None)


def _table(folder: Path, kind: str, columns: Sequence[str]) -> Table:
    path = _find(folder, kind)
    if path is None:
        problem = f"{folder}: there is no mimic-cxr-2.0.0-{kind}.csv.gz"
        raise OcclusionError(problem, remedy=ROOT_REMEDY)
    return Table(path, columns, remedy=AGAIN, whole=True)
