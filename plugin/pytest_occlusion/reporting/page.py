"""What the page's template asks for: numbers in words, and the contents of its larger tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_occlusion.gate.verdicts import CHANGED, IMPROVED, NEW, REGRESSED, SAME, WITHIN
from pytest_occlusion.occlusion.levels import axis_name, level_text
from pytest_occlusion.reporting import views
from pytest_occlusion.reporting.charts import Panel
from pytest_occlusion.reporting.views import Cell, Condition, Results

if TYPE_CHECKING:
    from pytest_occlusion.reporting.maps import Map

SIGNS = {REGRESSED: "\u25bc", IMPROVED: "\u25b2", NEW: "+", SAME: "=", WITHIN: "\u2248"}
"""So that a verdict is never told by colour alone."""

ORDER = (REGRESSED, IMPROVED, NEW, WITHIN, SAME)

HEAT = 10
"""Steps of the heat scale in the style sheet."""

WIDEST, LISTED = 12, 30
"""Places per side up to which a table has the shape of the grid; beyond, it lists the largest."""

MOVED = 25
"""Cells of one verdict that the verdict list names; the cell table has all."""

OUTCOMES = {"supported": "\u2713", "contradicted": "\u2717"}


def thousands(number: float | None, digits: int = 0) -> str:
    """``1,770``, empty where there is none."""
    return "" if number is None else f"{number:,.{digits}f}"


def counted(count: int, what: str) -> str:
    """A number with what it counts."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent, empty where there is none."""
    return "" if share is None else f"{100 * share:.{digits}f}"


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign, none at zero."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "\u2212") if float(text) else text[1:]


def plain(value: Any) -> str:
    """A setting's value for people."""
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(one)}" for name, one in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def counts(cells: Iterable[Cell]) -> dict[str, int]:
    """How many cells have which verdict, the gravest first, then whatever else there is."""
    found = Counter(cell["verdict"] for cell in cells)
    kinds = [*(kind for kind in ORDER if kind in found), *sorted(found.keys() - {*ORDER})]
    return {kind: found[kind] for kind in kinds}


def protocol(document: Results) -> dict[str, Any]:
    """The protocol with what was measured."""
    cells = document["cells"]
    names = {"blocked share": "ratios", "severity": "severities"}
    found = views.levels_of(cells).items()
    return {
        **document["protocol"],
        **{names[name]: ", ".join(texts.values()) for name, texts in found},
        "ks": views.ks_of(cells),
        "occluders": views.every(cells, "occluder"),
    }


def heat_tables(document: Results, condition: Condition) -> Iterator[tuple[Any, ...]]:
    """Per model: its name, headings, (level, entries) of every row, and the floors."""
    cells = views.of_condition(document["cells"], condition)
    for (model,), own in views.grouped(cells, "model").items():
        ks = views.ks_of(own)
        levels = views.by_level(own, "k", ks)
        whole = levels.get(0.0, [None] * len(ks))
        rows = [
            (level_text(condition.occluder, level), map(_heat_entry, row, whole))
            for level, row in levels.items()
        ]
        floors = [(name, map(percent, values)) for name, values in views.floor_rows(levels)]
        yield model, [axis_name(condition.occluder), *(f"R@{k}" for k in ks)], rows, floors


def _heat_entry(cell: Cell | None, whole: Cell | None) -> tuple[int, str, str, str, str]:
    """Step of the scale, sign and name of the verdict, recall, change against nothing blocked."""
    if cell is None:
        return 0, "", "", "", ""
    kind, drop = cell["verdict"], views.drop(cell, whole)
    step = min(HEAT - 1, max(0, int(cell["recall"] * HEAT)))
    sign = SIGNS[kind] if kind in CHANGED else ""
    return step, sign, kind, percent(cell["recall"]), "" if drop is None else signed(drop, 0)


def grid_heads(one: Map) -> Sequence[str]:
    """Of a table in the shape of its grid."""
    return ["row", *(f"column {number}" for number in range(1, one.grid + 1))]


def by_share(panel: Panel) -> Iterator[tuple[float, list[tuple[float, ...] | None]]]:
    """Every blocked share with value, low and high of each line, ``None`` where it has none."""
    lines = [
        {x: (y, *ends) for (x, y), ends in zip(line.points, line.band, strict=True)}
        for line in panel.lines
    ]
    for share in sorted({x for line in lines for x in line}):
        yield share, [line.get(share) for line in lines]


def filters(cells: Sequence[Cell]) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """(field, label, (value, text) of its choices) of the table of all cells."""
    labels = {
        "model": "Model",
        "occluder": "Occluder",
        "direction": "Direction",
        "ratio": "Severity or blocked" if "severity" in views.levels_of(cells) else "Blocked",
        "k": "k",
        "verdict": "Verdict",
    }
    for field, label in labels.items():
        values: Iterable[Any] = views.every(cells, field)
        if field in ("k", "verdict"):
            values = views.ks_of(cells) if field == "k" else counts(cells)
        options = [(str(value), str(value)) for value in values]
        if field != "direction" or len(options) > 1:
            yield field, label, views.choices(cells) if field == "ratio" else options
