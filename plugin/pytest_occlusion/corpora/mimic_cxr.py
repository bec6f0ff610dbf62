"""MIMIC-CXR as PhysioNet ships it: tables, reports and images, read where they lie.

Works with MIMIC-CXR-JPG, with the DICOM release, and with downloads of a part of either. Nothing
is unpacked and nothing is written there. This is credentialed data: messages name rows of the
split table, never patients, studies or images.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from pytest_occlusion.corpora.base import Corpus, Radiograph, Step, Study
from pytest_occlusion.corpora.contents import Memory, Say, image_digests
from pytest_occlusion.corpora.images import open_radiograph
from pytest_occlusion.corpora.mimic_choice import NAME, ROOT_REMEDY, VIEWS, Choice
from pytest_occlusion.corpora.mimic_images import find_images, refuse_missing
from pytest_occlusion.corpora.mimic_reports import read_reports
from pytest_occlusion.corpora.mimic_tables import Row, read_rows, read_views
from pytest_occlusion.corpora.paths import is_folder
from pytest_occlusion.errors import MissingError

__all__ = ["LICENCE", "NAME", "PAPER", "load_mimic_cxr"]

PAPER = (994, 1770)
"""Studies and radiographs of the validate split that Deanda et al. 2025 count."""

LICENCE = "MIMIC-CXR: credentialed data of PhysioNet; nothing of it may be passed on"
LATERAL = ("LATERAL", "LL", "XTABLE LATERAL")


def load_mimic_cxr(
    choice: Choice, *, memory: Memory | None = None, contents: bool = True, say: Say | None = None
) -> Corpus:
    """Read the studies of a split that have findings or an impression.

    Args:
        choice: What to take.
        memory: Where digests of images are remembered.
        contents: Whether to digest images at all; without, the fingerprint means nothing.
        say: Where progress lines go, if anywhere.

    Returns:
        Studies ordered by patient and study, radiographs by row, with the count of every step.

    Raises:
        MissingError: There is no such folder.
        OcclusionError: A missing or damaged table, faulty rows (listed), no reports, damaged ones,
            or more missing files than were allowed (listed).
    """
    if not is_folder(choice.root):
        raise MissingError(f"{choice.root}: no such folder", remedy=ROOT_REMEDY)
    with _no_collecting():
        return _load(choice, memory, contents=contents, say=say)


@contextlib.contextmanager
def _no_collecting() -> Iterator[None]:
    """Keep Python from looking for circles in millions of new objects, all of which are kept."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _load(choice: Choice, memory: Memory | None, *, contents: bool, say: Say | None) -> Corpus:
    rows = read_rows(choice)
    steps = [_step(f"in the {choice.split} split", rows)]
    views = read_views(choice, {row.dicom for row in rows})
    kept_views = VIEWS[choice.views]
    if kept_views is not None:
        rows = [row for row in rows if views.get(row.dicom, "") in kept_views]
        steps.append(_step(f"{choice.views} ({', '.join(kept_views)})", rows))
    reports, without, headless = read_reports(choice, rows, say=say)
    listed_studies = len({row.study for row in rows})
    lacking = [row for row in rows if row.study in without]
    rows = [row for row in rows if row.study not in without]
    steps.append(_step("with a report", rows))
    rows = [row for row in rows if row.study in reports]
    for name in ("findings", "impression"):
        having = {study for study, (_, found) in reports.items() if getattr(found, name)}
        steps.append(_step(f"  with {name}", [row for row in rows if row.study in having]))
    steps.append(_step("with findings or impression", rows))
    if choice.per_study == "one":
        rows = _one_each(rows, views)
        steps.append(_step("one radiograph per study", rows))
    files, faults = find_images(choice, rows)
    missing_reports = {row.study: row.number for row in reversed(lacking)}
    refuse_missing(choice, len(rows), faults, listed_studies, sorted(missing_reports.values()))
    wanted = len(rows)
    rows = [row for row in rows if row.dicom in files]
    steps.append(_step("with an image file", rows))
    states = [files[row.dicom] for row in rows]
    digests = [""] * len(rows)
    if contents:
        named = [f"row {row.number}" for row in rows]
        digests = image_digests(choice.root, states, named, memory, say=say)
    position: dict[str, int] = {}
    studies: list[Study] = []
    radiographs: list[Radiograph] = []
    for row, state, digest in zip(rows, states, digests, strict=True):
        if row.study not in position:
            position[row.study] = len(studies)
            text, found = reports[row.study]
            studies.append(
                Study(
                    key=row.study,
                    patient=row.subject,
                    report=text,
                    findings=_joined(found.findings),
                    impression=_joined(found.impression),
                )
            )
        where = f"row {row.number}"
        radiographs.append(
            Radiograph(
                key=row.dicom,
                study=position[row.study],
                view=_view(views.get(row.dicom, "")),
                content=digest,
                where=where,
                open=partial(open_radiograph, choice.root, state.name, where, choice.max_pixels),
            )
        )
    dicom = any(state.name.endswith(".dcm") for state in states)
    notes = [LICENCE]
    if wanted > len(rows) or missing_reports:
        notes.append(
            f"a partial download: {wanted - len(rows):,} of {wanted:,} image files and "
            f"{len(missing_reports):,} of {listed_studies:,} reports are missing"
        )
    return Corpus(
        name=NAME,
        studies=tuple(studies),
        radiographs=tuple(radiographs),
        notes=tuple(notes),
        fields={
            "split": choice.split,
            "views": choice.views,
            "per_study": choice.per_study,
            "images": "dicom" if dicom else "jpg",
            "listed_studies": steps[0].studies,
            "listed_radiographs": steps[0].radiographs,
            "without_headings": headless,
            "missing_images": wanted - len(rows),
            "missing_reports": len(missing_reports),
        },
        steps=tuple(steps),
    )


def _step(name: str, rows: Sequence[Row]) -> Step:
    return Step(name, len({row.study for row in rows}), len(rows))


def _joined(pieces: Sequence[str]) -> str:
    """One text; line breaks of a report are where its typist's screen ended."""
    return " ".join(" ".join(pieces).split())


def _view(position: str) -> str:
    if position in LATERAL:
        return "lateral"
    return position if position in ("PA", "AP") else ""


def _one_each(rows: Sequence[Row], views: Mapping[str, str]) -> list[Row]:
    rank = {"PA": 0, "AP": 1}
    best: dict[str, Row] = {}
    for row in rows:  # in the order of the table, so that the first of equals stays
        held = best.setdefault(row.study, row)
        if rank.get(views.get(row.dicom, ""), 2) < rank.get(views.get(held.dicom, ""), 2):
            best[row.study] = row
    return list(best.values())
