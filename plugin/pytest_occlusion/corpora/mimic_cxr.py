"""MIMIC-CXR as PhysioNet ships it: tables, reports and images, read where they lie.

Works with MIMIC-CXR-JPG, with the DICOM release, and with downloads of a part of either. Nothing
is unpacked and nothing is written there. This is credentialed data: messages name rows of the
split table, never patients, studies or images.
"""

from __future__ import annotations

import contextlib
import csv
import gc
import gzip
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple
from zipfile import BadZipFile, ZipFile

from pytest_occlusion.corpora.base import Corpus, Radiograph, Step, Study
from pytest_occlusion.corpora.contents import FileState, Memory, content_digests
from pytest_occlusion.corpora.images import ImageFault, open_image
from pytest_occlusion.corpora.sections import Sections, parse_sections
from pytest_occlusion.errors import MissingError, OcclusionError, listed
from pytest_occlusion.paths import expanded, is_file, is_folder

if TYPE_CHECKING:
    from PIL import Image

NAME = "mimic-cxr"
SPLITS = ("train", "validate", "test")
DEFAULT_SPLIT = "validate"
VIEWS: dict[str, tuple[str, ...] | None] = {"all": None, "frontal": ("PA", "AP")}
"""Value of ``views`` -> ViewPositions that are kept; ``None`` keeps every one."""

PER_STUDY = ("all", "one")
IMAGES = {"auto": (".jpg", ".dcm"), "jpg": (".jpg",), "dicom": (".dcm",)}
"""Value of ``images`` -> endings to look for; the first that occurs is used for all."""

REPORTS_ZIP = "mimic-cxr-reports.zip"
REPORT_LIMIT = 1 << 20
"""Bytes. Real reports have a few thousand."""

PAPER = (994, 1770)
"""Studies and radiographs of the validate split that Deanda et al. 2025 count."""

LICENCE = "MIMIC-CXR: credentialed data of PhysioNet; nothing of it may be passed on"
EXAMPLE = "mimic-cxr:ROOT?views=frontal&per-study=one&missing=0.1"
LATERAL = ("LATERAL", "LL", "XTABLE LATERAL")

_DICOM_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,12}", re.ASCII)
_ROOT_REMEDY = (
    "ROOT is the folder that holds files/ and mimic-cxr-2.0.0-split.csv.gz (MIMIC-CXR-JPG); "
    "tables=FOLDER and reports=PATH name other places"
)


@dataclass(frozen=True)
class Choice:
    """What of MIMIC-CXR to take, and where it lies.

    Attributes:
        root: Folder with ``files/``.
        split: A name of :data:`SPLITS`.
        views: A name of :data:`VIEWS`.
        per_study: ``"all"`` radiographs of a study, or ``"one"``: PA before AP before others, then
            the one that the split table names first.
        missing: How many image files, and how many reports, may be missing: a share below 1, or a
            number.
        images: A name of :data:`IMAGES`.
        reports: ``mimic-cxr-reports.zip`` or a folder of reports; looked for in the root if
            ``None``.
        tables: Folder of the tables; the root if ``None``.
    """

    root: Path
    split: str = DEFAULT_SPLIT
    views: str = "all"
    per_study: str = "all"
    missing: float = 0.0
    images: str = "auto"
    reports: Path | None = None
    tables: Path | None = None


class _Row(NamedTuple):
    """One line of the split table."""

    number: int
    dicom: str
    study: str
    subject: str

    @property
    def folder(self) -> str:
        return f"p{self.subject[:2]}/p{self.subject}/s{self.study}"


# What is asked for -------------------------------------------------------------------------------


def parse_choice(place: str, base: Path, split: str) -> Choice:
    """Read what follows ``mimic-cxr:`` in a corpus specification.

    Args:
        place: ``ROOT`` or ``ROOT?name=value&name=value``.
        base: Folder that relative paths start from.
        split: The split, or ``""`` for the default one.

    Raises:
        OcclusionError: No root, an unknown option, split or value.
    """
    root, _, query = place.partition("?")
    if not root:
        raise OcclusionError(f"corpus '{NAME}' names no folder", remedy=f"for example {EXAMPLE}")
    values: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        if name not in ("views", "per-study", "missing", "images", "reports", "tables"):
            raise OcclusionError(
                f"corpus '{NAME}': unknown option {name!r}",
                remedy="known: views, per-study, missing, images, reports, tables; "
                f"for example {EXAMPLE}",
            )
        if name in values or not value:
            raise OcclusionError(
                f"corpus '{NAME}': option {name} is given {'twice' if value else 'no value'}",
                remedy=f"once each, for example {EXAMPLE}",
            )
        values[name] = value
    known = {"split": SPLITS, "views": VIEWS, "per-study": PER_STUDY, "images": IMAGES}
    for name, value in (*values.items(), ("split", split or DEFAULT_SPLIT)):
        if name in known and value not in known[name]:
            raise OcclusionError(
                f"corpus '{NAME}': {name} is {value!r}", remedy=f"known: {', '.join(known[name])}"
            )
    return Choice(
        root=base / expanded(root),
        split=split or DEFAULT_SPLIT,
        views=values.get("views", "all"),
        per_study=values.get("per-study", "all"),
        missing=_allowance(values.get("missing", "0")),
        images=values.get("images", "auto"),
        reports=base / expanded(values["reports"]) if "reports" in values else None,
        tables=base / expanded(values["tables"]) if "tables" in values else None,
    )


def _allowance(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e9 or (number >= 1 and number != int(number)):
        raise OcclusionError(
            f"corpus '{NAME}': missing is {text!r}",
            remedy="a share below 1 (missing=0.1) or a whole number of files (missing=25)",
        )
    return number


# The corpus --------------------------------------------------------------------------------------


def load_mimic_cxr(
    choice: Choice, *, memory: Memory | None = None, contents: bool = True
) -> Corpus:
    """Read the studies of a split that have findings or an impression.

    Args:
        choice: What to take.
        memory: Where digests of images are remembered.
        contents: Whether to digest images at all; without, the fingerprint means nothing.

    Returns:
        Studies ordered by patient and study, radiographs by row, with the count of every step.

    Raises:
        MissingError: There is no such folder.
        OcclusionError: A missing or damaged table, faulty rows (listed), no reports, damaged ones,
            or more missing files than were allowed (listed).
    """
    if not is_folder(choice.root):
        raise MissingError(f"{choice.root}: no such folder", remedy=_ROOT_REMEDY)
    with _no_collecting():
        return _load(choice, memory, contents=contents)


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


def _load(choice: Choice, memory: Memory | None, *, contents: bool) -> Corpus:
    rows = _rows(choice)
    steps = [_step(f"in the {choice.split} split", rows)]
    views = _views(choice, {row.dicom for row in rows})
    kept_views = VIEWS[choice.views]
    if kept_views is not None:
        rows = [row for row in rows if views.get(row.dicom, "") in kept_views]
        steps.append(_step(f"{choice.views} ({', '.join(kept_views)})", rows))
    reports, without, headless = _reports(choice, rows)
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
    files, faults = _image_files(choice, rows)
    missing_reports = {row.study: row.number for row in reversed(lacking)}
    _refuse(choice, len(rows), faults, listed_studies, sorted(missing_reports.values()))
    wanted = len(rows)
    rows = [row for row in rows if row.dicom in files]
    steps.append(_step("with an image file", rows))
    states = [files[row.dicom] for row in rows]
    digests = _contents(choice.root, rows, states, memory) if contents else [""] * len(rows)
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
        radiographs.append(
            Radiograph(
                key=row.dicom,
                study=position[row.study],
                view=_view(views.get(row.dicom, "")),
                content=digest,
                where=f"row {row.number}",
                open=partial(open_radiograph, choice.root, state.name),
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


def _step(name: str, rows: Sequence[_Row]) -> Step:
    return Step(name, len({row.study for row in rows}), len(rows))


def _joined(pieces: Sequence[str]) -> str:
    """One text; line breaks of a report are where its typist's screen ended."""
    return " ".join(" ".join(pieces).split())


def _view(position: str) -> str:
    if position in LATERAL:
        return "lateral"
    return position if position in ("PA", "AP") else ""


def _one_each(rows: Sequence[_Row], views: Mapping[str, str]) -> list[_Row]:
    rank = {"PA": 0, "AP": 1}
    best: dict[str, _Row] = {}
    for row in rows:  # in the order of the table, so that the first of equals stays
        held = best.setdefault(row.study, row)
        if rank.get(views.get(row.dicom, ""), 2) < rank.get(views.get(held.dicom, ""), 2):
            best[row.study] = row
    return list(best.values())


def open_radiograph(root: Path, name: str) -> Image.Image:
    """Decode one image of the collection.

    Raises:
        ImageFault: As the decoders', without the name of the file: it is an identifier.
    """
    try:
        if name.endswith(".dcm"):
            from pytest_occlusion.corpora.dicom import open_dicom

            return open_dicom(root / name)
        return open_image(root / name)
    except ImageFault as fault:
        raise ImageFault(
            f"an image of the corpus '{NAME}': {fault.reason}",
            remedy=fault.remedy,
            reason=fault.reason,
        ) from None


# Tables ------------------------------------------------------------------------------------------


def _rows(choice: Choice) -> list[_Row]:
    """Rows of the split, ordered by patient and study, then as the table has them."""
    path = _table(choice, "split")
    rows: list[_Row] = []
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
        rows.append(_Row(number, dicom, study, patient))
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


def _views(choice: Choice, wanted: set[str]) -> dict[str, str]:
    """ViewPosition of every wanted image that the metadata table knows."""
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
            remedy=_ROOT_REMEDY,
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


# Reports -----------------------------------------------------------------------------------------

Reader = Callable[[_Row], bytes | None]
"""Gives the bytes of a study's report, or ``None`` where there is none."""


def _reports(
    choice: Choice, rows: Sequence[_Row]
) -> tuple[dict[str, tuple[str, Sections]], set[str], int]:
    """Reports with a section, studies that have no report, and how many reports have no heading.

    Reports that are not kept are forgotten at once: of a large split that is half of the memory.
    """
    kept: dict[str, tuple[str, Sections]] = {}
    without: set[str] = set()
    faults: list[str] = []
    headless = 0
    with _ReportSource(choice, rows) as read:
        for row in {row.study: row for row in reversed(rows)}.values():
            try:
                payload = read(row)
            except (OSError, BadZipFile, EOFError, RuntimeError, zlib.error, ValueError) as fault:
                faults.append(f"row {row.number}: its report is damaged ({type(fault).__name__})")
                continue
            if payload is None:
                without.add(row.study)
                continue
            text = _decoded(payload)
            found = parse_sections(text)
            if found.findings or found.impression:
                kept[row.study] = (text, found)
            else:
                headless += bool(found.narrative)
    if faults:
        raise OcclusionError(
            f"{len(faults)} reports of the corpus '{NAME}' cannot be read:\n{listed(faults)}",
            remedy="fetch the reports again; rows are those of the split table",
        )
    return kept, without, headless


def _decoded(payload: bytes) -> str:
    try:
        return payload.decode("utf-8-sig")
    except UnicodeDecodeError:
        return payload.decode("latin-1")


class _ReportSource:
    """Reports in a zip file or a folder, wherever they lie; open as long as they are read."""

    def __init__(self, choice: Choice, rows: Sequence[_Row]) -> None:
        self.choice = choice
        self.rows = rows
        self.archive: ZipFile | None = None

    def __enter__(self) -> Reader:
        place = self._place()
        if is_folder(place):
            return self._folder(place)
        try:
            self.archive = ZipFile(place)
        except (OSError, BadZipFile, ValueError) as fault:
            raise OcclusionError(
                f"{place}: not a zip file that can be read ({type(fault).__name__})",
                remedy="fetch it again; it need not be unpacked",
            ) from None
        return self._zip(self.archive)

    def __exit__(self, *_: object) -> None:
        if self.archive is not None:
            self.archive.close()

    def _place(self) -> Path:
        asked, root = self.choice.reports, self.choice.root
        if asked is not None:
            if not is_file(asked) and not is_folder(asked):
                raise MissingError(
                    f"{asked}: no such file or folder",
                    remedy=f"reports= names {REPORTS_ZIP} or a folder of reports",
                )
            return asked
        for place in (root / REPORTS_ZIP, root / "mimic-cxr-reports", root / "reports"):
            if is_file(place) or is_folder(place):
                return place
        return root

    def _folder(self, place: Path) -> Reader:
        layouts: tuple[Callable[[_Row], str], ...] = (
            lambda row: f"files/{row.folder}.txt",
            lambda row: f"{row.folder}.txt",
            lambda row: f"s{row.study}.txt",
        )
        studies = {row.study: row for row in self.rows}.values()
        for layout in layouts:
            if any((place / layout(row)).is_file() for row in studies):
                break
        else:
            raise OcclusionError(
                f"{place}: holds no report of the {self.choice.split} split",
                remedy=f"put {REPORTS_ZIP} (of the MIMIC-CXR release) beside files/, or name it or "
                "a folder of reports with reports=PATH",
            )

        def read(row: _Row) -> bytes | None:
            try:
                with (place / layout(row)).open("rb") as file:
                    return _limited(file.read(REPORT_LIMIT + 1))
            except FileNotFoundError:
                return None

        return read

    def _zip(self, archive: ZipFile) -> Reader:
        names = archive.NameToInfo
        first = next((name for name in names if name.endswith(".txt")), None)
        at = -1 if first is None else first.rfind("files/p")
        if first is None or at < 0:
            raise OcclusionError(
                f"{archive.filename}: holds no reports (files/p10/.../s....txt)",
                remedy=f"name the {REPORTS_ZIP} of PhysioNet",
            )
        prefix = first[:at]

        def read(row: _Row) -> bytes | None:
            info = names.get(f"{prefix}files/{row.folder}.txt")
            if info is None:
                return None
            _limited(b"", info.file_size)
            return archive.read(info)

        return read


def _limited(payload: bytes, size: int = 0) -> bytes:
    if max(size, len(payload)) > REPORT_LIMIT:
        raise ValueError("too long for a report")
    return payload


# Images ------------------------------------------------------------------------------------------


def _image_files(
    choice: Choice, rows: Sequence[_Row]
) -> tuple[dict[str, FileState], list[tuple[int, str]]]:
    """The image file of each row, by DICOM id, and (row, what is wrong) for those that lack one."""
    found: dict[str, FileState] = {}
    faults: list[tuple[int, str]] = []
    for suffix in IMAGES[choice.images]:
        names = [f"files/{row.folder}/{row.dicom}{suffix}" for row in rows]
        states = _states(choice.root, names)
        found = {
            row.dicom: state
            for row, state in zip(rows, states, strict=True)
            if state is not None and state.size
        }
        faults = [
            (row.number, "does not exist" if state is None else "is empty")
            for row, state in zip(rows, states, strict=True)
            if state is None or not state.size
        ]
        if found:
            break
    if found and suffix == ".dcm":
        from pytest_occlusion.corpora.dicom import check_reader

        check_reader()
    return found, faults


def _states(root: Path, names: Sequence[str]) -> list[FileState | None]:
    prefix = str(root)

    def look(piece: Sequence[str]) -> list[FileState | None]:
        states: list[FileState | None] = []
        for name in piece:
            try:
                entry = os.stat(f"{prefix}/{name}")  # noqa: PTH116 - half a million paths
            except (OSError, ValueError):
                states.append(None)
                continue
            regular = stat.S_ISREG(entry.st_mode)
            states.append(FileState(name, entry.st_size, entry.st_mtime_ns) if regular else None)
        return states

    # Several at once: on a network drive each look takes a trip.
    pieces = [names[at : at + 1024] for at in range(0, len(names), 1024)]
    with ThreadPoolExecutor() as pool:
        return [state for piece in pool.map(look, pieces) for state in piece]


def _refuse(
    choice: Choice,
    images: int,
    image_faults: Sequence[tuple[int, str]],
    reports: int,
    report_rows: Sequence[int],
) -> None:
    """Stop where more is missing than the user said may be."""

    def allowed(count: int, total: int) -> bool:
        return count <= (choice.missing if choice.missing >= 1 else choice.missing * total)

    if allowed(len(image_faults), images) and allowed(len(report_rows), reports):
        return
    lines = [f"row {number}: its report does not exist" for number in report_rows]
    lines += [f"row {number}: its image file {what}" for number, what in sorted(image_faults)]
    needed = max(len(image_faults), len(report_rows))
    raise OcclusionError(
        f"{choice.root}: of the {choice.split} split, {len(image_faults):,} of {images:,} image "
        f"files and {len(report_rows):,} of {reports:,} reports are missing:\n{listed(lines)}",
        remedy="finish the download, or say how many may be missing: "
        f"mimic-cxr:ROOT?missing={needed} (or a share below 1); rows are those of the split table",
    )


def _contents(
    root: Path, rows: Sequence[_Row], states: Sequence[FileState], memory: Memory | None
) -> list[str]:
    digests = content_digests(root, states, memory)
    faults = [
        f"row {row.number}: its image file cannot be read ({digest.strerror})"
        for row, digest in zip(rows, digests, strict=True)
        if isinstance(digest, OSError)
    ]
    if faults:
        raise OcclusionError(
            f"{root}: {len(faults)} image files cannot be read:\n{listed(faults)}",
            remedy="see to it that you may read them",
        )
    return [str(digest) for digest in digests]
