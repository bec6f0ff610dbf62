"""How reports name levels: a blocked share for occluders, a severity for corruptions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pytest_occlusion.occlusion.levels import axis_value, is_corruption, level_text

Cell = Mapping[str, Any]


def axis_words(occluder: str) -> str:
    """What its levels are, in a sentence."""
    return "severity" if is_corruption(occluder) else "blocked share"


def half_text(occluder: str, level: float | None) -> str:
    """The level at which half is gone: ``26 %``, ``severity 1.3``, or nothing."""
    if level is None:
        return ""
    value = axis_value(occluder, level)
    return f"severity {value:.1f}" if is_corruption(occluder) else f"{value:.0f} %"


def levels_of(cells: Iterable[Cell]) -> dict[str, dict[float, str]]:
    """``blocked share`` and ``severity``, those that a run has -> its levels and their texts."""
    found: dict[str, dict[float, str]] = {}
    for cell in sorted(cells, key=lambda cell: float(cell["ratio"])):
        texts = found.setdefault(axis_words(cell["occluder"]), {})
        texts[cell["ratio"]] = level_text(cell["occluder"], cell["ratio"])
    return dict(sorted(found.items()))


def counted(cells: Iterable[Cell]) -> str:
    """How many blocked shares and severities: ``8 blocked shares, 6 severities``."""
    plural = {"blocked share": "blocked shares", "severity": "severities"}
    return ", ".join(
        f"{len(texts):,} {name if len(texts) == 1 else plural[name]}"
        for name, texts in levels_of(cells).items()
    )


def choices(cells: Iterable[Cell]) -> list[tuple[str, str]]:
    """(value, text) for a filter by level; one level may be both a share and a severity."""
    texts: dict[float, list[str]] = {}
    for name, found in levels_of(cells).items():
        for level, text in found.items():
            texts.setdefault(level, []).append(f"severity {text}" if name == "severity" else text)
    return [(json.dumps(level), ", ".join(texts[level])) for level in sorted(texts)]
