"""What is wrong with the rows of a table: found, grouped, shown, and written to a file.

Rows are named by number only: paths and identifiers may point to a patient.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from pytest_occlusion.errors import SHOWN, OcclusionError, listed


@dataclass(frozen=True)
class Fault:
    """One fault of one row, 1 being the first after the header; no column is the row as a whole."""

    row: int
    column: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        """As lists have it."""
        return f"row {self.row}: {self.problem}"


def refuse_listed(problem: str, faults: Sequence[object], remedy: str) -> None:
    """Raise an error that lists the faults, if there are any."""
    if faults:
        raise OcclusionError(f"{problem}:\n{listed([*map(str, faults)])}", remedy=remedy)


def refuse_rows(faults: Sequence[Fault], rows: int, path: Path, file: Path | None) -> None:
    """Raise an error if anything is wrong with the rows of a table, grouped by column and remedy.

    A message shows the first 20 of each group; all faults are written to the file, if one is named,
    as a CSV table that has only a header where there are none.
    """
    if file is not None:
        _write(faults, file)
    if not faults:
        return
    groups: dict[tuple[str, str], list[str]] = {}
    for fault in sorted(faults, key=lambda fault: (fault.row, fault.column)):
        groups.setdefault((fault.column, fault.remedy), []).append(str(fault))
    lines = [
        f" {column or 'row'} ({len(group)}): {remedy}\n{listed(group)}"
        for (column, remedy), group in groups.items()
    ]
    all_of_them = f"; all faults are in {file}" if file else ""
    if file is None and max(map(len, groups.values())) > SHOWN:
        all_of_them = f"; manifest:{path.name}?faults=FILE writes all faults to a table"
    raise OcclusionError(
        f"{path}: {len(faults)} faults in {rows} rows:\n" + "\n".join(lines),
        remedy=f"correct these rows; row 1 is the first after the header{all_of_them}",
    )


def _write(faults: Sequence[Fault], file: Path) -> None:
    try:
        with file.open("w", newline="", encoding="utf-8") as table:
            writer = csv.writer(table)
            writer.writerow([field.name for field in fields(Fault)])
            writer.writerows(astuple(fault) for fault in sorted(faults, key=lambda one: one.row))
    except (OSError, ValueError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else str(fault)
        raise OcclusionError(
            f"{file}: cannot be written ({reason})", remedy="name another file with ?faults=FILE"
        ) from fault
