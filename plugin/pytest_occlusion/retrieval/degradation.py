"""Degradation: what a recall curve over the blocked share says in a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_occlusion.retrieval.recall import FloatArray


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
    share = r / whole if whole > 0 else None
    above = retained(r, chance) if whole > chance else None
    slope = r_squared = None
    if len(p) > 1:
        fitted, explained = line_through(p, r)
        slope = float(fitted)
        # The variance of a flat curve may be a rounding error above zero: nothing to explain.
        r_squared = float(explained) if len(p) > 2 and np.ptp(r) > 0 else None
    return Degradation(
        retention=() if share is None else tuple(share.tolist()),
        above_chance=() if above is None else tuple(above.tolist()),
        area=float(area_under(p, share)) if share is not None and len(p) > 1 else None,
        half_ratio=_crossing(p, above, 0.5) if above is not None else None,
        slope=slope,
        r_squared=r_squared,
    )


def retained(curves: FloatArray, chance: float) -> FloatArray:
    """Share of the recall above chance that is left: float64 ``[ratios, ...]``, first ratio 0."""
    share: FloatArray = (curves - chance) / (curves[0] - chance)
    return share


def area_under(ratios: Sequence[float] | FloatArray, curves: FloatArray) -> FloatArray:
    """Trapezoid area of curves ``[ratios, ...]`` over the span of two ratios or more: ``[...]``."""
    p = np.asarray(ratios, dtype=np.float64)
    steps = np.diff(p).reshape(-1, *[1] * (curves.ndim - 1))
    area: FloatArray = ((curves[1:] + curves[:-1]) / 2 * steps).sum(0) / (p[-1] - p[0])
    return area


def line_through(
    ratios: Sequence[float] | FloatArray, curves: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Least-squares line through curves ``[ratios, ...]`` over two ratios or more.

    Returns:
        Slope and R², float64 ``[...]`` each; R² is 1 for a curve without any variance.
    """
    p = np.asarray(ratios, dtype=np.float64)
    x, y = p - p.mean(), curves - curves.mean(0)
    products, spread = np.tensordot(x, y, axes=1), (x**2).sum()
    total = np.asarray((y**2).sum(0))
    explained: FloatArray = np.divide(
        products**2 / spread, total, out=np.ones_like(total), where=total > 0
    )
    return products / spread, explained


def _crossing(p: FloatArray, values: FloatArray, level: float) -> float | None:
    below = np.flatnonzero(values <= level)
    if not len(below):
        return None
    at = int(below[0])
    if at == 0:
        return float(p[0])
    share = (values[at - 1] - level) / (values[at - 1] - values[at])
    return float(p[at - 1] + share * (p[at] - p[at - 1]))
