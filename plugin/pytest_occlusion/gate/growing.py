"""Did a growing sample of a model's passes lose hits? Knows of bits and patients, of no session.

It looks for losses and nothing else. Each look at the sample has a share of the one chance of a
false alarm, and so have the whole of each curve, and its levels and ks by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.engine.sampling import Passes, doublings
from pytest_occlusion.retrieval.significance import holm, loss_p_value
from pytest_occlusion.suite.grid import Cell

WHOLE_SHARE = 0.9
"""Of a model's chance, what curves as a whole have; levels and ks by themselves have the rest."""

POWER = 4.0
"""A look at a share t of the budget has spent t to this power of the chance.

Kim & DeMets (1987), Biometrika 74:149: first looks see only what nobody can miss, and the last has
nearly all. Each look is held to what is spent since the one before, which keeps the sum whatever
the dependence between looks.
"""

EARLIEST, LAST_BUT_ONE = 1 / 8, 1 / 2
"""Shares of the budget between which the sample is looked at each time it has doubled."""

FINEST = 4
"""Largest weight of a level; whole numbers, so that the test stays exact."""

MISSED = 0.025
"""Chance that a loss lies above its interval of 95 %; the looks spend it like the other one."""

Bits = NDArray[np.bool_]
Ints = NDArray[np.int64]
Counts = dict[tuple[float, int], tuple[int, int]]
"""(ratio, k) -> hits that were lost, and gained."""


@dataclass(frozen=True)
class Part:
    """What was found of a curve: of the whole, of one level, or of one k at all levels."""

    occluder: str
    ratio: float | None  # ``None`` for all levels
    k: int | None  # ``None`` for all ks
    passes: int
    asked: int  # hits that there could be
    lost: int  # hits of the baseline that are gone
    gained: int
    tolerance: float  # loss that is allowed, a share of what was asked
    p_value: float  # one-sided: is nothing lost on balance, patient by patient?
    highest: float  # upper end of the 95 % interval of the loss, whichever look it is of
    p_adjusted: float = 1.0  # Holm's, over the like parts of a model
    regressed: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether it is all of a curve."""
        return self.ratio is None and self.k is None

    @property
    def loss(self) -> float:
        """Share of what was asked that was lost on balance."""
        return (self.lost - self.gained) / self.asked if self.asked else 0.0

    def covers(self, cell: Cell) -> bool:
        """Whether a cell is a part of it."""
        return (
            cell.occluder == self.occluder
            and self.ratio in (None, cell.ratio)
            and self.k in (None, cell.k)
        )


@dataclass(frozen=True)
class Side:
    """A curve's baselines, as passes are compared with them.

    Attributes:
        occluder: The curve's.
        ratios: Levels, ``[L]``.
        ks: Lengths of lists, ``[K]``.
        level: int64 ``[S]``, place of the level of each shown condition; -1 where it has none.
        offset: int64 ``[S]``, where the bits of that condition's mask seed begin.
        before: bool ``[L, queries, K]``, stored hits.
        asked: bool ``[L, K]``, cells that are looked at; of the others nothing is counted.
        allowed: float64 ``[L, K]``, loss that each cell tolerates, as a share.
        allowed_whole: The same of the whole curve, in the mean.
        weights: int64 ``[L]``, what a hit at each level counts in the whole.
    """

    occluder: str
    ratios: Sequence[float]
    ks: Sequence[int]
    level: Ints
    offset: Ints
    before: Bits
    asked: Bits
    allowed: NDArray[np.float64]
    allowed_whole: float
    weights: Ints


def level_weights(before: Bits, asked: Bits, ks: Sequence[int], candidates: int) -> Ints:
    """What a hit at each level counts in the whole: the more, the more there is to lose.

    Where the baseline itself stands at chance, hits come and go and nothing can be lost. The square
    root of recall above chance lies between a loss that is the same at all levels and one that is a
    share of what is there; both are caught (``benchmarks/quick_rates.py``).

    Args:
        before: bool ``[L, queries, K]``.
        asked: bool ``[L, K]``, cells that are looked at; at least one of each level.
        ks: ``[K]``.
        candidates: How many there are.

    Returns:
        int64 ``[L]`` from 0 to :data:`FINEST`; all 1 where no level stands above chance.
    """
    recall = before.mean(axis=1) - np.array(ks) / candidates
    above = recall.mean(axis=1, where=asked).clip(0.0)
    if not above.any():
        return np.ones(len(before), np.int64)
    weights: Ints = np.rint(FINEST * np.sqrt(above / above.max())).astype(np.int64)
    return weights


def find_parts(
    side: Side, passes: Passes, now: Bits, patients: Ints, missed: float = MISSED
) -> tuple[list[Part], Counts]:
    """What a sample says of one curve.

    Args:
        side: Its baselines.
        passes: The sample.
        now: bool ``[n, K]``, what hit.
        patients: int64 ``[N]``, of each radiograph.
        missed: Chance that a loss lies above the upper end of its interval.

    Returns:
        The whole, every level, every k; and (ratio, k) -> lost and gained.
    """
    (own,) = np.nonzero(side.level[passes.shown] >= 0)
    shown, rows = passes.shown[own], passes.rows[own]
    level = side.level[shown]
    before = side.before[level, side.offset[shown] + rows]
    counting = side.asked[level]
    lost, gained = before & ~now[own] & counting, ~before & now[own] & counting
    change, whose = gained.astype(np.int64) - lost, patients[rows]

    def part(ratio: float | None, k: int | None) -> Part:
        columns = np.array([k in (None, one) for one in side.ks])
        levels = np.array([ratio in (None, one) for one in side.ratios])
        inside = side.asked & np.outer(levels, columns)
        at = np.flatnonzero(inside[level].any(axis=1))
        whole, asked = ratio is None and k is None, int(inside[level].sum())
        moved, patient = change[at][:, columns].sum(axis=1), whose[at]
        totals = _totals(moved, patient)
        weighted = _totals(moved * side.weights[level[at]], patient) if whole else totals
        # In the middle: a level that may lose much does not speak for the others of a k.
        allowed = side.allowed_whole if whole else np.median(side.allowed[inside])
        of_patient = asked / max(1, len(np.unique(patient)))
        return Part(
            occluder=side.occluder,
            ratio=ratio,
            k=k,
            passes=len(at),
            asked=asked,
            lost=int(lost[at][:, columns].sum()),
            gained=int(gained[at][:, columns].sum()),
            tolerance=float(allowed),
            p_value=loss_p_value(weighted),
            highest=_highest(totals, asked, of_patient, missed),
        )

    parts = [part(None, None)]
    parts += [part(ratio, None) for ratio in side.ratios]
    parts += [part(None, k) for k in side.ks]
    counts = {
        (ratio, k): (int(lost[level == at, column].sum()), int(gained[level == at, column].sum()))
        for at, ratio in enumerate(side.ratios)
        for column, k in enumerate(side.ks)
        if side.asked[at, column]
    }
    return parts, counts


def _totals(change: Ints, patients: Ints) -> Ints:
    totals: Ints = np.bincount(patients, weights=change).astype(np.int64)
    return totals


def _highest(totals: Ints, asked: int, of_patient: float, missed: float) -> float:
    """Upper end of the interval of a loss, from what each patient lost on balance.

    One patient like the others is added who lost all: of no change at all little can be concluded
    from few.
    """
    if not asked:
        return 1.0
    squares = float((totals.astype(float) ** 2).sum()) + of_patient**2
    lost = of_patient - float(totals.sum())
    bound = NormalDist().inv_cdf(1 - missed)
    return min(1.0, (lost + bound * math.sqrt(squares)) / (asked + of_patient))


def judged(parts: Sequence[Part], alpha: float) -> list[Part]:
    """The parts of a model with the verdict of one look that has so much chance of a false alarm.

    A part regressed if it lost more than it may, and significantly lost anything: after Holm, over
    the curves as a whole, and over all levels and ks.
    """
    families = ["whole" if part.is_whole else "parts" for part in parts]
    found = []
    for part, adjusted in zip(parts, holm([one.p_value for one in parts], families), strict=True):
        p, share = adjusted or 0.0, WHOLE_SHARE if part.is_whole else 1 - WHOLE_SHARE
        red = p < alpha * share and part.loss > part.tolerance
        found.append(replace(part, p_adjusted=p, regressed=red))
    return found


def spent(share: float) -> float:
    """Of the chance of a false alarm, what looks up to a share of the budget have used."""
    return float(share**POWER)


@dataclass(frozen=True)
class Grown:
    """What a sample came to when it was decided."""

    parts: Sequence[Part]  # of all curves
    counts: Sequence[Counts]  # of each curve
    passes: int
    looks: int


def grow(
    sides: Sequence[Side],
    passes: Passes,
    hits: Callable[[int, int], Bits],
    patients: Ints,
    *,
    budget: int,
    alpha: float,
) -> Grown:
    """Look at a growing sample until it is decided, or the budget is spent.

    Decided is a loss, and that the intervals of all curves end below twice what these may lose in
    the mean, which is what one of their cells may lose.

    Args:
        sides: Baselines of each curve.
        passes: All of them, in order.
        hits: What passes first up to last hit: bool ``[n, K]``.
        patients: int64 ``[N]``, of each radiograph.
        budget: Passes at most.
        alpha: Chance of a false alarm.
    """
    early = [end for end in doublings(budget) if EARLIEST <= end / budget <= LAST_BUT_ONE]
    ends = [*early, budget]
    now = np.zeros((0, len(sides[0].ks)), np.bool_)
    looks, before = 0, 0.0
    for end in ends:
        looks += 1
        now = np.concatenate([now, hits(len(now), end)])
        share, before = spent(end / budget) - before, spent(end / budget)
        shown, missed = passes.part(0, end), MISSED * share
        found = [find_parts(side, shown, now, patients, missed) for side in sides]
        parts = judged([part for some, _ in found for part in some], alpha * share)
        safe = all(part.highest <= 2 * part.tolerance for part in parts if part.is_whole)
        if safe or any(part.regressed for part in parts):
            break
    return Grown(parts, [counts for _, counts in found], end, looks)
