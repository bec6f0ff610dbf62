"""MIMIC-CXR as PhysioNet ships it: tables, reports and images, read where they lie.

Works with MIMIC-CXR-JPG, with the DICOM release, and with downloads of a part of either. Nothing
is unpacked and nothing is written there. This is credentialed data: messages name rows of the
split table, never patients, studies or images.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_occlusion.corpora.base import Corpus, Request, Step
from pytest_occlusion.corpora.files import Missing, first_place, is_folder
from pytest_occlusion.corpora.images import is_dicom
from pytest_occlusion.corpora.mimic_reports import REPORTS_ZIP, read_reports
from pytest_occlusion.corpora.mimic_tables import ROOT_REMEDY, SPLITS, Row, read_rows, read_views
from pytest_occlusion.corpora.options import Options, read_options
from pytest_occlusion.corpora.radiographs import Wanted, file_radiographs, find_images
from pytest_occlusion.errors import MissingError, OcclusionError

NAME = "mimic-cxr"
EXAMPLE = "mimic-cxr:ROOT?views=frontal&per-study=one&missing=0.1"
PAPER = (994, 1770)
"""Studies and radiographs of the validate split that Deanda et al. 2025 count."""

LICENCE = "MIMIC-CXR: credentialed data of PhysioNet; nothing of it may be passed on"
FRONTAL = ("PA", "AP")
LATERAL = ("LATERAL", "LL", "XTABLE LATERAL")
ENDINGS = {"auto": (".jpg", ".dcm"), "jpg": (".jpg",), "dicom": (".dcm",)}
"""Value of ``images`` -> endings to look for; the first that occurs is used for all."""


@dataclass(frozen=True)
class MimicOptions(Options):
    """What of MIMIC-CXR to take, and where reports and tables lie if not in the root."""

    views: Literal["all", "frontal"] = "all"
    per_study: Literal["all", "one"] = "all"
    missing: float = 0.0
    images: Literal["auto", "jpg", "dicom"] = "auto"
    reports: Path | None = None
    tables: Path | None = None


def load(asked: Request) -> Corpus:
    """Read the studies of a split that have findings or an impression, by patient and study.

    Raises:
        MissingError: There is no such folder.
        OcclusionError: A missing or damaged table, faulty rows (listed), no reports, damaged ones,
            or more missing files than were allowed (listed).
    """
    root, options = read_options(asked, MimicOptions, EXAMPLE, needs="folder")
    split = asked.split or "validate"
    if split not in SPLITS:
        known = f"known: {', '.join(SPLITS)}"
        raise OcclusionError(f"corpus '{NAME}': split is {split!r}", remedy=known)
    if not is_folder(root):
        raise MissingError(f"{root}: no such folder", remedy=ROOT_REMEDY)
    collecting = gc.isenabled()
    gc.disable()  # or it looks for circles in millions of new objects, all of which are kept
    try:
        return _load(root, split, options, asked)
    finally:
        if collecting:
            gc.enable()


def _load(root: Path, split: str, options: MimicOptions, asked: Request) -> Corpus:
    steps: list[Step] = []

    def count(name: str, studies: Iterable[object]) -> None:
        steps.append(Step.of(name, studies))

    tables = options.tables or root
    rows = read_rows(tables, split)
    count(f"in the {split} split", [row.study for row in rows])
    needed = options.views != "all" or options.per_study != "all"
    views = read_views(tables, {row.dicom for row in rows}, needed=needed)
    if options.views == "frontal":
        rows = [row for row in rows if views.get(row.dicom) in FRONTAL]
        count(f"frontal ({', '.join(FRONTAL)})", [row.study for row in rows])
    usual = (root / REPORTS_ZIP, root / "mimic-cxr-reports", root / "reports")
    source = first_place(options.reports, usual, f"{REPORTS_ZIP} or a folder of reports")
    studies, without, headless = read_reports(source or root, rows, asked.say)
    expected = len({row.study for row in rows})
    unreported = {row.study: row.number for row in reversed(rows) if row.study in without}
    count("with a report", [row.study for row in rows if row.study not in without])
    rows = [row for row in rows if row.study in studies]
    kept = [studies[row.study] for row in rows]
    count("  with findings", [study for study in kept if study.findings])
    count("  with impression", [study for study in kept if study.impression])
    count("with findings or impression", kept)
    if options.per_study == "one":
        rows = _one_each(rows, views)
        count("one radiograph per study", [row.study for row in rows])
    wanted = [
        Wanted(row.dicom, studies[row.study], _view(views.get(row.dicom, "")), f"row {row.number}")
        for row in rows
    ]
    stems = [f"files/{row.folder}/{row.dicom}" for row in rows]
    layouts = ([stem + ending for stem in stems] for ending in ENDINGS[options.images])
    found, lost = find_images(root, wanted, layouts)
    missing = Missing(
        sorted(lost, key=lambda line: int(line.split(":")[0].removeprefix("row "))),
        len(wanted),
        [f"row {number}" for number in sorted(unreported.values())],
        expected,
    )
    remedy = "rows are those of the split table"
    missing.refuse(f"{root}: of the {split} split, ", NAME, options.missing, remedy)
    count("with an image file", [one.study for one, _ in found])
    present, radiographs = file_radiographs(root, found, asked, options.max_pixels)
    return Corpus(
        name=NAME,
        studies=present,
        radiographs=radiographs,
        notes=(LICENCE, *missing.notes),
        fields={
            "split": split,
            "views": options.views,
            "per_study": options.per_study,
            "images": "dicom" if found and is_dicom(found[0][1].name) else "jpg",
            "listed_studies": steps[0].studies,
            "listed_radiographs": steps[0].radiographs,
            "without_headings": headless,
            **missing.fields,
        },
        steps=tuple(steps),
        published=Step("Deanda et al. 2025, validate", *PAPER) if split == "validate" else None,
    )


def _view(position: str) -> str:
    if position in LATERAL:
        return "lateral"
    return position if position in FRONTAL else ""


def _one_each(rows: Sequence[Row], views: Mapping[str, str]) -> list[Row]:
    rank = {"PA": 0, "AP": 1}
    studies: dict[str, list[Row]] = {}
    for row in rows:
        studies.setdefault(row.study, []).append(row)
    # The first of equals is taken, which is the first of the table.
    return [min(s, key=lambda row: rank.get(views.get(row.dicom, ""), 2)) for s in studies.values()]
