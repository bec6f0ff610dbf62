"""Which of the red tests is told whole, and the table in which the others stand.

New weights turn many cells red at once, for one reason: the worst cell of a model is explained, and
the rest of it is numbers.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from pytest_occlusion.gate.verdicts import IMPROVED, NEW, REGRESSED
from pytest_occlusion.occlusion.levels import axis_name, level_text
from pytest_occlusion.reporting import views
from pytest_occlusion.reporting.page import counted
from pytest_occlusion.reporting.views import Cell

COLUMN = 8
ORDER = (REGRESSED, IMPROVED, NEW)
"""Verdicts, the one to explain first."""


@dataclass(frozen=True)
class Red:
    """Why one test is red, in short."""

    model: str  # whose result was not accepted; empty of a fault
    text: str  # of a fault all of it, of a result one line
    cell: Cell | None = None  # its record, where the test is of one

    @property
    def reason(self) -> Hashable:
        """The same for tests of which one is told whole: of one model, or with one fault."""
        return self.model, "" if self.model else self.text


def told(reds: Sequence[Red]) -> int:
    """The place of the one to explain: the cell of the worst verdict that moved furthest."""

    def urgency(at: int) -> tuple[float, ...]:
        cell = reds[at].cell
        if cell is None:  # of a sample, the text of any cell is that of the model
            return len(ORDER) - (not reds[at].text), 0.0, at
        return ORDER.index(cell["verdict"]), -abs(views.moved(cell)), at

    return min(range(len(reds)), key=urgency)


def others(reds: Sequence[Red], width: int) -> tuple[str, list[str]]:
    """Title and lines that stand for all tests of one reason, the explained one among them."""
    if not reds[0].model:
        return f"the same in {counted(len(reds) - 1, 'test')} more", []
    cells = [red.cell for red in reds if red.cell is not None]
    counts = Counter(cell["verdict"] for cell in cells)
    kinds = [f"{counted(counts[kind], 'cell')} {kind}" for kind in ORDER if kind in counts]
    if sampled := sum(not red.text for red in reds if red.cell is None):
        kinds.append(f"{counted(sampled, 'cell')} {REGRESSED} in a sample")
    rest = Counter(red.text.startswith("curve ") for red in reds if red.cell is None and red.text)
    kinds += [counted(rest[True], "curve")] * (True in rest)
    kinds += [f"{counted(rest[False], 'test')} of groups"] * (False in rest)
    moved = [cell for cell in cells if cell["verdict"] != NEW]
    lines = ["change of recall in points; blank where the test passed"] if moved else []
    for group in views.grouped(moved, "direction", "occluder").values():
        lines += _table(group, width)
    for red in reds:
        if red.cell is None:
            lines += textwrap.wrap(red.text, width, subsequent_indent="  ")
    return f"all {len(reds)} of {reds[0].model}: {', '.join(kinds)} (-vv: whole)", lines


def _table(cells: Sequence[Cell], width: int) -> list[str]:
    """A row per level, a column per k."""
    occluder, ks = cells[0]["occluder"], views.ks_of(cells)
    title = views.Condition(cells[0]["direction"], occluder).short
    rows, label = views.by_level(cells, "k", ks), max(len(axis_name(occluder)), len(title)) + 2
    room = max(1, (width - label) // COLUMN)
    lines: list[str] = []
    for start in range(0, len(ks), room):
        heads = "".join(f"{f'R@{k}':>{COLUMN}}" for k in ks[start : start + room])
        lines.append(f"{title:<{label}}{heads}")
        for level, row in rows.items():
            entries = "".join(f"{_entry(cell):>{COLUMN}}" for cell in row[start : start + room])
            lines.append(f"{level_text(occluder, level):>{label}}{entries}".rstrip())
    return lines


def _entry(cell: Cell | None) -> str:
    return "" if cell is None else f"{100 * views.moved(cell):+.1f}"


def red_of(sent: Mapping[str, str], cell: Cell | None) -> Red:
    """From what a test sent (see :func:`pytest_occlusion.hooks.properties.sent_of`)."""
    return Red(sent["model"], sent["text"], cell if sent["model"] and not sent["text"] else None)
