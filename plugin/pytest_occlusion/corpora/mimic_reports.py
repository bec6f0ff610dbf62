"""The reports of MIMIC-CXR: in the zip file, in folders, or cut into sections, in a table.

The table is what MIT-LCP's own splitter writes. Who has it has taken its sections, so they are left
as they are; the sections that :mod:`.sections` finds in the same reports are other texts.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pytest_occlusion.corpora.base import Study
from pytest_occlusion.corpora.files import first_place, is_file, is_folder, report_text
from pytest_occlusion.corpora.progress import Progress
from pytest_occlusion.corpora.radiographs import Wanted
from pytest_occlusion.corpora.sections import parse_sections
from pytest_occlusion.corpora.tables import Table, refuse_listed
from pytest_occlusion.errors import OcclusionError

REPORTS_ZIP = "mimic-cxr-reports.zip"
SECTIONED = "mimic_cxr_sectioned.csv"
COLUMNS = ("study", "impression", "findings", "last_paragraph", "comparison")
HOLDS_NONE = "holds no report of the split"
REMEDY = (
    f"put {REPORTS_ZIP} (of the MIMIC-CXR release) beside files/, or name it, a folder of reports "
    f"or {SECTIONED} with reports=PATH"
)
DAMAGE = (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error)

Place = Path | zipfile.Path
"""A folder or file, on the disk or in a zip file."""

Reports = tuple[dict[str, Study], list[Wanted], int]


def folder_of(study: Study) -> str:
    """Its folder below ``files/``, with forward slashes; its report has ``.txt`` after it."""
    return f"p{study.patient[:2]}/p{study.patient}/s{study.key}"


def find_reports(root: Path, asked: Path | None, rows: Sequence[Wanted]) -> Path:
    """The place that was asked for, or else the first in the root: zip file, folder, table."""
    usual = (root / REPORTS_ZIP, root / "mimic-cxr-reports", root / "reports")
    place = first_place(asked, usual, f"{REPORTS_ZIP}, a folder of reports or {SECTIONED}")
    tables = filter(is_file, (root / SECTIONED, root / f"{SECTIONED}.gz"))
    if place is None and (table := next(tables, None)) and _layout(root, _firsts(rows)) is None:
        return table
    return place or root


def is_sectioned(place: Path) -> bool:
    """Whether reports lie in a table that has them in sections."""
    return place.name.lower().endswith((".csv", ".csv.gz")) and not is_folder(place)


def read_reports(place: Path, rows: Sequence[Wanted], say: Callable[[str], None] | None) -> Reports:
    """Read the report of every study, and find its sections unless a table has them.

    Reports that are not kept are forgotten at once: of a large split that is half of the memory.

    Returns:
        By key, the studies whose reports have findings or an impression; the first row of each
        that has no report; and how many reports have text but no heading.
    """
    firsts = _firsts(rows)
    return _read_table(place, firsts) if is_sectioned(place) else _read_files(place, firsts, say)


def _firsts(rows: Sequence[Wanted]) -> list[Wanted]:
    """The first row of each study."""
    return list({row.study.key: row for row in reversed(rows)}.values())


def _read_table(path: Path, rows: Sequence[Wanted]) -> Reports:
    table = Table(path, COLUMNS)
    cells = table.required(COLUMNS[:3], COLUMNS[3:])
    wanted = {row.study.key: row.study for row in rows}
    kept: dict[str, Study] = {}
    seen: dict[str, int] = {}
    headless = 0
    for number, (name, impression, findings, *others) in enumerate(cells, start=1):
        study = wanted.get(name.removeprefix("s"))
        if study is None:
            continue
        first = seen.setdefault(study.key, number)
        if first != number:
            table.bad(number, f"the study of row {first}")
        elif findings or impression:
            text = "\n".join(filter(None, (findings, impression)))
            kept[study.key] = Study(study.key, study.patient, text, findings, impression)
        else:
            headless += any(others)
    refuse_listed(
        f"{path}: {len(table.faults)} faulty rows",
        table.faults,
        "write the table again; row 1 is the first after the header",
    )
    if not seen:
        raise OcclusionError(f"{path}: {HOLDS_NONE}", remedy=REMEDY)
    return kept, [row for row in rows if row.study.key not in seen], headless


def _read_files(place: Path, rows: Sequence[Wanted], say: Callable[[str], None] | None) -> Reports:
    kept: dict[str, Study] = {}
    without: list[Wanted] = []
    faults: list[str] = []
    headless = 0
    progress = Progress("corpus: reading", len(rows), "reports", say)
    with progress, _opened(place) as root:
        path = _layout(root, rows)
        if path is None:
            raise OcclusionError(f"{place}: {HOLDS_NONE}", remedy=REMEDY)
        for row in rows:
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


def _layout(root: Place, rows: Sequence[Wanted]) -> Callable[[Study], Place] | None:
    """Where each report lies, in the first layout that any report follows."""
    layouts: tuple[Callable[[Study], str], ...] = (
        lambda study: f"files/{folder_of(study)}.txt",
        lambda study: f"{folder_of(study)}.txt",
        lambda study: f"s{study.key}.txt",
    )
    prefix = os.path.join(root, "") if isinstance(root, Path) else ""  # noqa: PTH118

    def is_report(name: str) -> bool:
        # A path of its own for each of half a million names takes longer than to look for it.
        return is_file(prefix + name) if prefix else (root / name).is_file()

    for name in layouts:
        if any(is_report(name(row.study)) for row in rows):
            return lambda study: root / name(study)
    return None
