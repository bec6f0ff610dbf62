"""Groups: whom a model fails, and whether blocking makes it worse for some than for others.

The candidates are the same for all; a group only chooses whose queries count. Every interval is of
the same resamples of patients, so that differences are paired.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np

from pytest_occlusion.corpora.groups import Grouping
from pytest_occlusion.engine.session import Session
from pytest_occlusion.retrieval.intervals import Spread, resampled_sums
from pytest_occlusion.retrieval.recall import FloatArray, hit_probability
from pytest_occlusion.retrieval.significance import holm
from pytest_occlusion.suite.grid import Cell, Curve

ROUNDING = 1e-9
"""What is less is no difference of recalls: one query of a million is a thousand times as much."""


@dataclass(frozen=True)
class GroupResult:
    """One cell, asked of one group only."""

    cell: Cell
    attribute: str
    group: str
    queries: int  # counted once per mask seed
    patients: int
    hits: int  # expected ones, rounded
    recall: Spread
    retention: float | None  # of the group's own recall with nothing blocked
    gap: Spread | None  # to all other queries of whom the attribute is known
    widening: Spread | None  # of the gap, against the one with nothing blocked
    widening_p: float | None  # two-sided, of no widening
    widening_p_adjusted: float | None  # Holm's, over the groups


def group_results(session: Session, curve: Curve, grouping: Grouping) -> list[GroupResult]:
    """Results of every cell of a curve for every group, groups within cells."""
    grid, ks = session.settings.grid, session.settings.grid.ks
    names = list(grouping.members)
    if not names:
        return []
    resamples, seeds = session.resamples(curve.direction), len(session.settings.seeds)
    members = np.stack([grouping.members[name] for name in names], axis=1).astype(np.float64)
    # One column more: all of whom the attribute is known.
    inside = np.column_stack([members, grouping.known])
    sizes = _with_resamples(inside.sum(0), resampled_sums(resamples, inside))
    found: list[GroupResult] = []
    before: FloatArray | None = None  # recall of groups and rest with nothing blocked
    for level in grid.levels(curve.occluder):
        cells = [Cell(curve.model, curve.direction, curve.occluder, level, k) for k in ks]
        session.result(cells[0])
        chances = [
            [hit_probability(one.ranks, k) for k in ks] for one in session.measured(cells[0])
        ]
        by_query = np.mean(chances, axis=0).T  # ``[N, ks]``
        hits = inside[:, :, None] * by_query[:, None, :]
        sums = _with_resamples(hits.sum(0), resampled_sums(resamples, hits))
        own, rest = sums[:, :-1], sums[:, -1:] - sums[:, :-1]
        recall = _means(own, sizes[:, :-1])
        gap = recall - _means(rest, sizes[:, -1:] - sizes[:, :-1])
        wider = np.full_like(gap, np.nan) if before is None else gap - before[1]
        if level == 0:  # the levels ascend
            before = np.stack([recall, gap])
        spreads = [_spreads(samples) for samples in (recall, gap, wider)]
        p_values = _p_values(wider)
        for at, cell in enumerate(cells):
            adjusted = holm([row[at] for row in p_values])
            for place, name in enumerate(names):
                own_spread, gap_spread, wider_spread = (rows[place][at] for rows in spreads)
                clean = None if before is None else float(before[0, 0, place, at])
                found.append(
                    GroupResult(
                        cell=cell,
                        attribute=grouping.attribute,
                        group=name,
                        queries=int(sizes[0, place]) * seeds,
                        patients=grouping.patients[name],
                        hits=round(float(own[0, place, at]) * seeds),
                        recall=own_spread or Spread(0.0, 0.0, 0.0),
                        retention=float(recall[0, place, at]) / clean if clean else None,
                        gap=gap_spread,
                        widening=wider_spread,
                        widening_p=p_values[place][at],
                        widening_p_adjusted=adjusted[place],
                    )
                )
    return found


def _with_resamples(whole: FloatArray, resampled: FloatArray) -> FloatArray:
    """Of the sample itself first, then of every resample: ``[1 + B, ...]``."""
    return np.concatenate([whole[None], resampled])


def _means(sums: FloatArray, sizes: FloatArray) -> FloatArray:
    """Sums ``[1 + B, G, K]`` over so many queries ``[1 + B, G]``: not a number where none are.

    A difference of sums may be rounding there instead of 0, of which division would make infinity.
    """
    there = np.broadcast_to(sizes[:, :, None], sums.shape)
    return np.divide(sums, there, out=np.full_like(sums, np.nan), where=there > 0)


def _spreads(samples: FloatArray) -> list[list[Spread | None]]:
    """Of the whole sample and its resamples ``[1 + B, G, K]``; those without a group are left out.

    ``None`` where the sample itself has no number.
    """
    ends = np.nanquantile if np.isnan(samples).any() else np.quantile
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without any number
        low, high = ends(samples[1:], [0.025, 0.975], axis=0)
    return [
        [
            None if math.isnan(one[0]) else Spread(*map(float, one))
            for one in zip(*rows, strict=True)
        ]
        for rows in zip(samples[0], low, high, strict=True)
    ]


def _p_values(samples: FloatArray) -> list[list[float | None]]:
    """Of no difference, by group and k: normal, with the standard error of the bootstrap."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        errors = np.nanstd(samples[1:], axis=0, ddof=1)
    return [
        [_p_value(float(value), float(error)) for value, error in zip(*row, strict=True)]
        for row in zip(samples[0], errors, strict=True)
    ]


def _p_value(value: float, error: float) -> float | None:
    if math.isnan(value) or math.isnan(error):
        return None
    if error < ROUNDING:
        return float(abs(value) < ROUNDING)
    return math.erfc(abs(value) / error / math.sqrt(2))
