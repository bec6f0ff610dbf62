"""The reports of MIMIC-CXR, from the zip file they come in or from a folder."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from pytest_occlusion.corpora.mimic_choice import NAME, Choice
from pytest_occlusion.corpora.mimic_tables import Row
from pytest_occlusion.corpora.paths import is_file, is_folder
from pytest_occlusion.corpora.progress import Progress
from pytest_occlusion.corpora.sections import Sections, parse_sections
from pytest_occlusion.errors import MissingError, OcclusionError, listed

REPORTS_ZIP = "mimic-cxr-reports.zip"
REPORT_LIMIT = 1 << 20
"""Bytes. Real reports have a few thousand."""

Reader = Callable[[Row], bytes | None]
"""Gives the bytes of a study's report, or ``None`` where there is none."""


def read_reports(
    choice: Choice, rows: Sequence[Row], *, say: Callable[[str], None] | None = None
) -> tuple[dict[str, tuple[str, Sections]], set[str], int]:
    """Read and parse the report of every study.

    Reports that are not kept are forgotten at once: of a large split that is half of the memory.

    Args:
        choice: Where the reports lie.
        rows: Rows of the split table; a study that several name is read once.
        say: Where progress lines go, if anywhere.

    Returns:
        Text and sections, by study, of the reports that have findings or an impression; the
        studies that have no report; and how many reports have text but no heading.

    Raises:
        MissingError: There is nothing at the place that was named.
        OcclusionError: No report of the split, no zip file that can be read, or damaged reports
            (listed).
    """
    kept: dict[str, tuple[str, Sections]] = {}
    without: set[str] = set()
    faults: list[str] = []
    headless = 0
    studies = {row.study: row for row in reversed(rows)}.values()
    progress = Progress("corpus: reading", len(studies), "reports", say or (lambda _: None))
    with progress, _ReportSource(choice, rows) as read:
        for row in studies:
            progress.add(1)
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

    def __init__(self, choice: Choice, rows: Sequence[Row]) -> None:
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
        layouts: tuple[Callable[[Row], str], ...] = (
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

        def read(row: Row) -> bytes | None:
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

        def read(row: Row) -> bytes | None:
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
