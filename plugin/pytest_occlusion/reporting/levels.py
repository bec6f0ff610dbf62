"""How reports name levels: a blocked share for occluders, a severity for corruptions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_occlusion.occlusion.levels import axis_value, is_corruption, level_text

Cell = Mapping[str, Any]


def any_corrupted(cells: Iterable[Cell]) -> bool:
    """Whether any cell is of a corruption."""
    return any(is_corruption(cell["occluder"]) for cell in cells)


def axis_words(occluder: str) -> str:
    """What its levels are, in a sentence."""
    return "severity" if is_corruption(occluder) else "blocked share"


def half_text(occluder: str, level: float | None) -> str:
    """The level at which half is gone: ``26 %``, ``severity 1.3``, or nothing."""
    if level is None:
        return ""
    value = axis_value(occluder, level)
    return f"severity {value:.1f}" if is_corruption(occluder) else f"{value:.0f} %"


def measured(cells: Iterable[Cell]) -> dict[str, str]:
    """``ratios`` and ``severities``, those that a run has, for lists of what was measured."""
    found: dict[str, dict[float, str]] = {}
    for cell in cells:
        kind = "severities" if is_corruption(cell["occluder"]) else "ratios"
        found.setdefault(kind, {})[cell["ratio"]] = level_text(cell["occluder"], cell["ratio"])
    return {
        kind: ", ".join(texts[level] for level in sorted(texts))
        for kind, texts in sorted(found.items())
    }


def counted(cells: Iterable[Cell]) -> str:
    """How many blocked shares and severities: ``8 blocked shares, 6 severities``."""
    found: dict[bool, set[float]] = {}
    for cell in cells:
        found.setdefault(is_corruption(cell["occluder"]), set()).add(cell["ratio"])
    names = {False: ("blocked share", "blocked shares"), True: ("severity", "severities")}
    return ", ".join(
        f"{len(levels):,} {names[kind][len(levels) != 1]}" for kind, levels in sorted(found.items())
    )


def choices(cells: Iterable[Cell]) -> list[tuple[str, str]]:
    """(value, text) for a filter by level; one level may be both a share and a severity."""
    texts: dict[float, dict[str, None]] = {}
    for cell in cells:
        text = level_text(cell["occluder"], cell["ratio"])
        text = f"severity {text}" if is_corruption(cell["occluder"]) else text
        texts.setdefault(cell["ratio"], {})[text] = None
    return [(json.dumps(level), ", ".join(texts[level])) for level in sorted(texts)]
