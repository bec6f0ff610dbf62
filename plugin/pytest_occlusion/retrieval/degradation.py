"""Degradation: what a recall curve over the blocked share says in a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Degradation:
    """Summary of one curve (model, occluder, k).

    Attributes:
        retention: R(p) / R(0) for every ratio; empty where R(0) is 0 or was not measured.
        above_chance: (R(p) - chance) / (R(0) - chance) for every ratio; empty where R(0) does not
            exceed chance.
        area: Area under ``retention`` over the ratios, divided by their span: 1 loses nothing.
        half_ratio: Blocked share at which half of the recall above chance is gone, linearly
            interpolated; ``None`` when the curve never falls that far.
        slope: Recall lost per unit of blocked share, by least squares.
        r_squared: Share of the curve's variance that the straight line explains ("proportional to
            the blocked area", Deanda et al. 2025); ``None`` for a flat curve or under 3 ratios.
    """

    retention: tuple[float, ...]
    above_chance: tuple[float, ...]
    area: float | None
    half_ratio: float | None
    slope: float | None
    r_squared: float | None


def degradation(ratios: Sequence[float], recalls: Sequence[float], *, chance: float) -> Degradation:
    """Summarise a curve.

    Args:
        ratios: Blocked shares in ascending order.
        recalls: Recall at each ratio, in [0, 1].
        chance: Recall of a random ranking, in [0, 1].
    """
    p, r = np.asarray(ratios, dtype=np.float64), np.asarray(recalls, dtype=np.float64)
    whole = r[0] if len(p) and p[0] == 0 else 0.0
    retention = tuple((r / whole).tolist()) if whole > 0 else ()
    above = tuple(((r - chance) / (whole - chance)).tolist()) if whole > chance else ()
    slope, r_squared = _line(p, r)
    return Degradation(
        retention=retention,
        above_chance=above,
        area=_area(p, np.asarray(retention)) if retention else None,
        half_ratio=_crossing(p, np.asarray(above), 0.5) if above else None,
        slope=slope,
        r_squared=r_squared,
    )


def _area(p: np.ndarray, values: np.ndarray) -> float | None:
    """Trapezoid area over the span of the ratios."""
    if len(p) < 2:
        return None
    return float(((values[1:] + values[:-1]) / 2 * np.diff(p)).sum() / (p[-1] - p[0]))


def _crossing(p: np.ndarray, values: np.ndarray, level: float) -> float | None:
    below = np.flatnonzero(values <= level)
    if not len(below):
        return None
    at = int(below[0])
    if at == 0:
        return float(p[0])
    share = (values[at - 1] - level) / (values[at - 1] - values[at])
    return float(p[at - 1] + share * (p[at] - p[at - 1]))


def _line(p: np.ndarray, r: np.ndarray) -> tuple[float | None, float | None]:
    if len(p) < 2:
        return None, None
    centred = p - p.mean()
    slope = float((centred * (r - r.mean())).sum() / (centred**2).sum())
    total = float(((r - r.mean()) ** 2).sum())
    if len(p) < 3 or np.ptp(r) == 0:  # total may be a rounding error above zero
        return slope, None
    residual = float(((r - r.mean() - slope * centred) ** 2).sum())
    return slope, 1 - residual / total
