"""The reports of MIMIC-CXR, from the zip file they come in or from a folder."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pytest_occlusion.corpora.base import Study
from pytest_occlusion.corpora.faults import refuse_listed
from pytest_occlusion.corpora.files import is_folder, read_report
from pytest_occlusion.corpora.progress import Progress
from pytest_occlusion.corpora.radiographs import Wanted
from pytest_occlusion.corpora.sections import parse_sections
from pytest_occlusion.errors import OcclusionError

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
                    text = _decoded(read_report(file))
            except FileNotFoundError:
                without.append(row)
                continue
            except DAMAGE as fault:
                faults.append(f"{row.where}: its report is damaged ({type(fault).__name__})")
                continue
            found = parse_sections(text)
            if found.findings or found.impression:
                key, patient = row.study.key, row.study.patient
                sections = _joined(found.findings), _joined(found.impression)
                kept[key] = Study(key, patient, text, *sections)
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
