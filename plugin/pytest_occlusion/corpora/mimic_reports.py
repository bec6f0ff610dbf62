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
from pytest_occlusion.corpora.mimic_tables import Row
from pytest_occlusion.corpora.progress import Progress
from pytest_occlusion.corpora.sections import parse_sections
from pytest_occlusion.errors import OcclusionError

REPORTS_ZIP = "mimic-cxr-reports.zip"
DAMAGE = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)

Place = Path | zipfile.Path
"""A folder or file, on the disk or in a zip file."""


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
    with progress, _opened(place) as root:
        path = _layout(root, place, studies)
        for row in studies:
            progress.add(1)
            try:
                with path(row).open("rb") as file:
                    text = _decoded(read_report(file))
            except FileNotFoundError:
                without.add(row.study)
                continue
            except DAMAGE as fault:
                faults.append(f"row {row.number}: its report is damaged ({type(fault).__name__})")
                continue
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


def _layout(root: Place, place: Path, studies: Sequence[Row]) -> Callable[[Row], Place]:
    """Where each report lies, in the first layout that any report follows."""
    layouts: tuple[Callable[[Row], Place], ...] = (
        lambda row: root / f"files/{row.folder}.txt",
        lambda row: root / f"{row.folder}.txt",
        lambda row: root / f"s{row.study}.txt",
    )
    for path in layouts:
        if any(path(row).is_file() for row in studies):
            return path
    raise OcclusionError(
        f"{place}: holds no report of the split",
        remedy=f"put {REPORTS_ZIP} (of the MIMIC-CXR release) beside files/, or name it or a "
        "folder of reports with reports=PATH",
    )
