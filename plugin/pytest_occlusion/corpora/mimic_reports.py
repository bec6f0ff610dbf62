"""The reports of MIMIC-CXR, from the zip file they come in or from a folder."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from pytest_occlusion.corpora.base import Study
from pytest_occlusion.corpora.faults import refuse_listed
from pytest_occlusion.corpora.files import is_folder, read_report
from pytest_occlusion.corpora.mimic_tables import Row
from pytest_occlusion.corpora.progress import Progress
from pytest_occlusion.corpora.sections import parse_sections
from pytest_occlusion.errors import OcclusionError

REPORTS_ZIP = "mimic-cxr-reports.zip"

Reader = Callable[[str], bytes | None]
"""Gives the bytes of a report by its path below ``files/``; ``None`` where there is none."""


def read_reports(
    place: Path, rows: Sequence[Row], say: Callable[[str], None] | None
) -> tuple[dict[str, Study], set[str], int]:
    """Read and parse the report of every study, from the zip file or a folder of reports.

    Reports that are not kept are forgotten at once: of a large split that is half of the memory.

    Returns:
        The studies whose reports have findings or an impression; those that have no report; and how
        many reports have text but no heading.
    """
    kept: dict[str, Study] = {}
    without: set[str] = set()
    faults: list[str] = []
    headless = 0
    studies = list({row.study: row for row in reversed(rows)}.values())
    progress = Progress("corpus: reading", len(studies), "reports", say or (lambda _: None))
    with progress, _opened(place, studies) as read:
        for row in studies:
            progress.add(1)
            try:
                payload = read(f"{row.folder}.txt")
            except (OSError, BadZipFile, EOFError, RuntimeError, zlib.error, ValueError) as fault:
                faults.append(f"row {row.number}: its report is damaged ({type(fault).__name__})")
                continue
            if payload is None:
                without.add(row.study)
                continue
            text = _decoded(payload)
            found = parse_sections(text)
            if found.findings or found.impression:
                sections = _joined(found.findings), _joined(found.impression)
                kept[row.study] = Study(row.study, row.subject, text, *sections)
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


def _decoded(payload: bytes) -> str:
    try:
        return payload.decode("utf-8-sig")
    except UnicodeDecodeError:
        return payload.decode("latin-1")


@contextlib.contextmanager
def _opened(place: Path, studies: Sequence[Row]) -> Iterator[Reader]:
    """The reports of a place, for as long as they are read."""
    if is_folder(place):
        yield _folder(place, studies)
        return
    try:
        archive = ZipFile(place)
    except (OSError, BadZipFile, ValueError) as fault:
        problem = f"{place}: not a zip file that can be read ({type(fault).__name__})"
        raise OcclusionError(problem, remedy="fetch it again; it need not be unpacked") from None
    with archive:
        yield _zip(archive)


def _folder(place: Path, studies: Sequence[Row]) -> Reader:
    layouts: tuple[Callable[[str], Path], ...] = (
        lambda name: place / "files" / name,
        lambda name: place / name,
        lambda name: place / name.rpartition("/")[2],
    )
    for path in layouts:
        if any(path(f"{row.folder}.txt").is_file() for row in studies):
            break
    else:
        raise OcclusionError(
            f"{place}: holds no report of the split",
            remedy=f"put {REPORTS_ZIP} (of the MIMIC-CXR release) beside files/, or name it or "
            "a folder of reports with reports=PATH",
        )

    def read(name: str) -> bytes | None:
        try:
            with path(name).open("rb") as file:
                return read_report(file)
        except FileNotFoundError:
            return None

    return read


def _zip(archive: ZipFile) -> Reader:
    names = archive.NameToInfo
    first = next((name for name in names if name.endswith(".txt")), "")
    prefix, found, _ = first.rpartition("files/p")
    if not found:
        raise OcclusionError(
            f"{archive.filename}: holds no reports (files/p10/.../s....txt)",
            remedy=f"name the {REPORTS_ZIP} of PhysioNet",
        )

    def read(name: str) -> bytes | None:
        info = names.get(f"{prefix}files/{name}")
        if info is None:
            return None
        with archive.open(info) as file:
            return read_report(file)

    return read
