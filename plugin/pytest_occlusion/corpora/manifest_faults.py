"""What is wrong with the rows of a manifest: found, grouped, shown, and written to a file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from pytest_occlusion.errors import SHOWN, OcclusionError, listed

Row = dict[str, str]
"""Column -> text."""


@dataclass(frozen=True)
class Fault:
    """One fault of one row; names neither a path nor an identifier.

    Attributes:
        row: Number of the row; 1 is the first after the header.
        column: Where to look; empty for the row as a whole.
        problem: What is wrong.
        remedy: What to do about it.
    """

    row: int
    column: str
    problem: str
    remedy: str


def refuse(faults: Sequence[Fault], rows: int, path: Path, file: Path | None) -> None:
    """Stop if anything is wrong.

    Args:
        faults: Everything that is.
        rows: How many rows there are.
        path: The manifest.
        file: Where to write all faults, as a CSV table; without faults it has a header only.

    Raises:
        OcclusionError: There are faults; grouped by column and remedy, the first 20 of each group.
    """
    if file is not None:
        _write(faults, file)
    if not faults:
        return
    groups: dict[tuple[str, str], list[Fault]] = {}
    for fault in sorted(faults, key=lambda fault: (fault.row, fault.column)):
        groups.setdefault((fault.column, fault.remedy), []).append(fault)
    lines = [
        f" {column or 'row'} ({len(group)}): {remedy}\n"
        + listed([f"row {fault.row}: {fault.problem}" for fault in group])
        for (column, remedy), group in groups.items()
    ]
    if file is not None:
        all_of_them = f"; all faults are in {file}"
    elif max(map(len, groups.values())) > SHOWN:
        all_of_them = f"; manifest:{path.name}?faults=FILE writes all faults to a table"
    else:
        all_of_them = ""
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
