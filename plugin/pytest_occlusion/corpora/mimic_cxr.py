"""MIMIC-CXR as PhysioNet ships it: tables, reports and images, read where they lie.

Works with MIMIC-CXR-JPG, with the DICOM release, and with downloads of a part of either. Nothing
is unpacked and nothing is written there. This is credentialed data: messages name rows of the
split table, never patients, studies or images.
"""

from __future__ import annotations

import contextlib
import gc
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_occlusion.corpora.base import Corpus, Request, Step, Study
from pytest_occlusion.corpora.files import first_place, is_file, is_folder, report_text
from pytest_occlusion.corpora.options import CollectionOptions, read_options
from pytest_occlusion.corpora.progress import Progress
from pytest_occlusion.corpora.radiographs import Selection, Wanted, file_radiographs, number_of
from pytest_occlusion.corpora.sections import parse_sections
from pytest_occlusion.corpora.tables import Table, refuse_listed
from pytest_occlusion.errors import MissingError, OcclusionError

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
ENDINGS = {"auto": (".jpg", ".dcm"), "jpg": (".jpg",), "dicom": (".dcm",)}
"""Value of ``images`` -> endings to look for; the first that occurs is used for all."""

ROOT_REMEDY = (
    "ROOT is the folder that holds files/ and mimic-cxr-2.0.0-split.csv.gz (MIMIC-CXR-JPG); "
    "tables=FOLDER and reports=PATH name other places"
)
AGAIN = "fetch the table again"
_DICOM_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,12}", re.ASCII)


@dataclass(frozen=True)
class MimicOptions(CollectionOptions):
    """How many radiographs of a study, of which kind, and where tables lie if not in the root."""

    per_study: Literal["all", "one"] = "all"
    images: Literal["auto", "jpg", "dicom"] = "auto"
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
    tables = options.tables or root
    selection = Selection(_read_rows(tables, split))
    selection.count(f"in the {split} split")
    needed = options.views != "all" or options.per_study != "all"
    views = _read_views(tables, {one.key for one in selection.wanted}, needed=needed)
    selection.wanted = [one._replace(view=views.get(one.key, "")) for one in selection.wanted]
    if options.views == "frontal":
        selection.keep_frontal(FRONTAL)
    usual = (root / REPORTS_ZIP, root / "mimic-cxr-reports", root / "reports")
    source = first_place(options.reports, usual, f"{REPORTS_ZIP} or a folder of reports")
    studies, unreported, headless = read_reports(source or root, selection.wanted, asked.say)
    expected = len({one.study.key for one in selection.wanted})
    without = {one.study.key for one in unreported}
    selection.keep("with a report", lambda one: one.study.key not in without)
    selection.wanted = [
        one._replace(study=studies.get(one.study.key, one.study)) for one in selection.wanted
    ]
    selection.keep_sections()
    if options.per_study == "one":
        _keep_one_each(selection)
    stems = [f"files/{folder_of(one.study)}/{one.key}" for one in selection.wanted]
    endings = ENDINGS[options.images]
    selection.find(root, ([stem + ending for stem in stems] for ending in endings))
    notes, missing = selection.keep_found(
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
        notes=(LICENCE, *notes),
        fields={
            "split": split,
            "views": options.views,
            "per_study": options.per_study,
            "images": "dicom" if selection.is_dicom else "jpg",
            "listed_studies": selection.steps[0].studies,
            "listed_radiographs": selection.steps[0].radiographs,
            "without_headings": headless,
            **missing,
        },
        steps=tuple(selection.steps),
        published=Step("Deanda et al. 2025, validate", *PAPER) if split == "validate" else None,
    )


def _keep_one_each(selection: Selection) -> None:
    """The first in the order PA, AP, other of each study; of equals, the first of the table."""
    rank = {view: at for at, view in enumerate(FRONTAL)}
    ranked = sorted(selection.wanted, key=lambda one: rank.get(one.view, len(rank)))
    best = {one.study.key: one for one in reversed(ranked)}
    selection.keep("one radiograph per study", lambda one: best[one.study.key] is one)


def _read_rows(folder: Path, split: str) -> list[Wanted]:
    """Rows of a split, at least one, ordered by patient and study, then as the table has them.

    Their studies have no text yet.
    """
    table = _table(folder, "split", ("dicom_id", "study_id", "subject_id", "split"))
    rows: list[Wanted] = []
    seen: dict[str, int] = {}
    studies: dict[str, tuple[Study, int]] = {}
    unknown = 0
    for number, (dicom, key, subject, named) in enumerate(table.rows(), start=1):
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
    rows = table.rows()
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
    return Table(path, columns, [(name,) for name in columns], AGAIN, AGAIN, whole=True)


REPORTS_ZIP = "mimic-cxr-reports.zip"
DAMAGE = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)

Place = Path | zipfile.Path
"""A folder or file, on the disk or in a zip file."""


def folder_of(study: Study) -> str:
    """Its folder below ``files/``, with forward slashes; its report has ``.txt`` after it."""
    return f"p{study.patient[:2]}/p{study.patient}/s{study.key}"


def read_reports(
    place: Path, rows: Sequence[Wanted], say: Callable[[str], None] | None
) -> tuple[dict[str, Study], list[Wanted], int]:
    """Read and parse the report of every study, from the zip file or a folder of reports.

    Reports that are not kept are forgotten at once: of a large split that is half of the memory.

    Returns:
        By key, the studies whose reports have findings or an impression; the first row of each
        that has no report; and how many reports have text but no heading.
    """
    kept: dict[str, Study] = {}
    without: list[Wanted] = []
    faults: list[str] = []
    headless = 0
    firsts = list({row.study.key: row for row in reversed(rows)}.values())
    progress = Progress("corpus: reading", len(firsts), "reports", say)
    with progress, _opened(place) as root:
        path = _layout(root, place, firsts)
        for row in firsts:
            progress.add(1)
            try:
                with path(row.study).open("rb") as file:
                    text = report_text(file)
            except FileNotFoundError:
                without.append(row)
                continue
            except DAMAGE as fault:
                faults.append(f"{row.where}: its report is damaged ({type(fault).__name__})")
                continue
            found = parse_sections(text)
            if found.findings or found.impression:
                sections = _joined(found.findings), _joined(found.impression)
                kept[row.study.key] = Study(row.study.key, row.study.patient, text, *sections)
            else:
                headless += bool(found.narrative)
    refuse_listed(
        f"{len(faults)} reports of the corpus 'mimic-cxr' cannot be read",
        faults,
        "fetch the reports again; rows are those of the split table",
    )
    return kept, without, headless


def _joined(pieces: Sequence[str]) -> str:
    """One text; line breaks of a report are where its typist's screen ended."""
    return " ".join(" ".join(pieces).split())


@contextlib.contextmanager
def _opened(place: Path) -> Iterator[Place]:
    """The folder that the reports are in, for as long as they are read."""
    if is_folder(place):
        yield place
        return
    try:
        archive = zipfile.ZipFile(place)
    except (OSError, zipfile.BadZipFile, ValueError) as fault:
        problem = f"{place}: not a zip file that can be read ({type(fault).__name__})"
        raise OcclusionError(problem, remedy="fetch it again; it need not be unpacked") from None
    with archive:
        first = next((name for name in archive.namelist() if name.endswith(".txt")), "")
        prefix, found, _ = first.rpartition("files/p")
        if not found:
            raise OcclusionError(
                f"{place}: holds no reports (files/p10/.../s....txt)",
                remedy=f"name the {REPORTS_ZIP} of PhysioNet",
            )
        yield zipfile.Path(archive, prefix)


def _layout(root: Place, place: Path, rows: Sequence[Wanted]) -> Callable[[Study], Place]:
    """Where each report lies, in the first layout that any report follows."""
    layouts: tuple[Callable[[Study], Place], ...] = (
        lambda study: root / f"files/{folder_of(study)}.txt",
        lambda study: root / f"{folder_of(study)}.txt",
        lambda study: root / f"s{study.key}.txt",
    )
    for path in layouts:
        if any(path(row.study).is_file() for row in rows):
            return path
    raise OcclusionError(
        f"{place}: holds no report of the split",
        remedy=f"put {REPORTS_ZIP} (of the MIMIC-CXR release) beside files/, or name it or a "
        "folder of reports with reports=PATH",
    )
