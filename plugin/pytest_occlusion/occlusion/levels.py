"""Levels: how strongly an occluder or a corruption acts, as one number in [0, 1].

For an occluder it is the blocked share, for a corruption its severity over the highest there is. So
both lie on one axis of the grid, and only what people read tells them apart.
"""

from __future__ import annotations

from pytest_occlusion.occlusion.names import CORRUPTIONS

WORST = 5
"""Highest severity: five of them, as in Hendrycks & Dietterich 2019 (arXiv 1903.12261)."""

SEVERITIES = tuple(range(WORST + 1))
"""All severities; 0 is the untouched picture."""


def is_corruption(name: str) -> bool:
    """Whether a name of the grid is a corruption and not an occluder."""
    return name in CORRUPTIONS


def severity_level(severity: int) -> float:
    """The level of a severity: ``3`` -> ``0.6``."""
    return severity / WORST


def severity_of(name: str, level: float) -> int | None:
    """The severity behind a level, 0 to 5; ``None`` for an occluder, whose level is a share."""
    return round(level * WORST) if is_corruption(name) else None


def level_tag(name: str, level: float) -> str:
    """For ids: ``block`` at 0.49 -> ``r49``, ``blur`` at 0.6 -> ``s3``."""
    severity = severity_of(name, level)
    return ratio_tag(level) if severity is None else f"s{severity}"


def ratio_tag(ratio: float) -> str:
    """``0.49`` -> ``r49``, ``0.125`` -> ``r12p5``."""
    text = f"{100 * ratio:.4f}".rstrip("0").rstrip(".")
    return f"r{text.replace('.', 'p'):0>2}"


def axis_name(name: str) -> str:
    """What the levels of an occluder or corruption are called: ``blocked`` or ``severity``."""
    return "severity" if is_corruption(name) else "blocked"


def axis_title(name: str) -> str:
    """The same for the axis of a chart, with its unit."""
    return f"severity, 0 to {WORST}" if is_corruption(name) else "blocked, % of the image"


def axis_value(name: str, level: float) -> float:
    """Where a level lies on that axis: a percentage, or a severity."""
    return level * WORST if is_corruption(name) else 100 * level


def level_text(name: str, level: float) -> str:
    """For tables: ``49 %`` or ``3``."""
    severity = severity_of(name, level)
    return f"{round(100 * level, 2):g} %" if severity is None else str(severity)


def level_sentence(name: str, level: float) -> str:
    """For sentences: ``49 % blocked (block)`` or ``severity 3 (blur)``."""
    text = level_text(name, level)
    return f"severity {text} ({name})" if is_corruption(name) else f"{text} blocked ({name})"
