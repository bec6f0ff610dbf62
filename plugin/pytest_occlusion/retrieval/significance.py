"""Paired tests: did the same queries fare differently, more than chance explains?

Not by scipy.stats: importing it takes six times as long as numpy, which every warm run would feel,
and it has neither Holm's adjustment nor patients that flip together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.retrieval.recall import FloatArray

FLIPS = 10_000
"""Random sign flips of a permutation test; the smallest p value it can give is 1 / (FLIPS + 1)."""


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided McNemar test: are losses and gains as likely as each other?

    Twice the smaller binomial tail at one half (McNemar 1947, in its exact form), at most 1.
    """
    flipped = lost + gained
    tail, ways = 0, 1
    for i in range(min(lost, gained) + 1):
        tail += ways
        ways = ways * (flipped - i) // (i + 1)  # from C(n, i) to C(n, i + 1), exactly
    return min(1.0, float(2 * tail / 2**flipped))


def holm(
    p_values: Sequence[float | None], families: Sequence[str] | None = None
) -> list[float | None]:
    """Holm-adjusted p values of each family, in the order given (Holm 1979, step-down).

    Rejecting where the adjusted value is below alpha keeps the chance of any false alarm in a
    family below alpha, whatever their dependence.

    Args:
        p_values: ``None`` where there is none, and so it stays.
        families: Of each value; one of all when ``None``.
    """
    names = families or [""] * len(p_values)
    adjusted = list(p_values)
    ascending = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    left = Counter(names[place] for _, place in ascending)
    highest = dict.fromkeys(left, 0.0)
    for p, place in ascending:
        name = names[place]
        highest[name] = adjusted[place] = max(highest[name], min(1.0, left[name] * p))
        left[name] -= 1
    return adjusted


def sign_flip(
    differences: FloatArray,
    clusters: NDArray[np.int64] | None = None,
    *,
    flips: int = FLIPS,
    seed: int = 0,
) -> float:
    """Two-sided sign-flip permutation test of a mean difference of zero: p value.

    Under the null hypothesis old and new are exchangeable, so each patient's differences may change
    sign together.

    Args:
        differences: float64 ``[N]``, new minus old for each query.
        clusters: int64 ``[N]``, the patient of each query; each query by itself when ``None``.
        flips: Random sign patterns.
        seed: Seed of the patterns.
    """
    totals = differences if clusters is None else np.bincount(clusters, weights=differences)
    totals = totals[totals != 0]
    if not len(totals):
        return 1.0
    generator = np.random.Generator(np.random.PCG64(seed))
    observed = abs(totals.sum())
    extreme = 0
    for start in range(0, flips, 1000):  # in pieces: a large corpus has many patients
        signs = generator.integers(0, 2, (min(1000, flips - start), len(totals))) * 2 - 1
        extreme += int((np.abs(signs @ totals) >= observed - 1e-9).sum())
    return (extreme + 1) / (flips + 1)


EXACT = 2_000
"""Clusters up to which the sign-flip test is exact.

With more the sum is normal: within a hundredth of a p value of 1 in 10,000."""


def loss_p_value(totals: NDArray[np.int64]) -> float:
    """One-sided sign-flip test: how often would coins for signs give a sum as low as this?

    Exact, from the distribution of the sum of all that is lost: a binomial for each magnitude,
    convolved. Beyond :data:`EXACT` clusters the normal approximation, with half a step.

    Args:
        totals: int64 ``[C]``, gains less losses of each cluster (patient).

    Returns:
        The p value in (0, 1]; 1 where nothing changed.
    """
    changed = totals[totals != 0]
    if not len(changed):
        return 1.0
    lost = int(-changed[changed < 0].sum())
    if len(changed) > EXACT:
        step = int(np.gcd.reduce(np.abs(changed)))
        distance = (2 * lost - step - np.abs(changed).sum()) / math.sqrt((changed**2.0).sum())
        return _at_most_one(math.erfc(distance / math.sqrt(2)) / 2)
    chances = np.ones(1)
    for size, count in zip(*np.unique(np.abs(changed), return_counts=True), strict=True):
        known, chances = chances, np.zeros(len(chances) + int(size * count))
        for losses, chance in enumerate(_coins(int(count))):
            if chance:
                chances[losses * size : losses * size + len(known)] += chance * known
    return _at_most_one(float(chances[lost:].sum()))


def _at_most_one(p_value: float) -> float:
    return min(1.0, max(p_value, float(np.finfo(float).tiny)))


def _coins(count: int) -> FloatArray:
    """Chance of 0, 1 ... ``count`` tails of so many coins: float64 ``[count + 1]``."""
    numbers = np.arange(1, count + 1)
    ways = np.concatenate([[0.0], np.cumsum(np.log(numbers[::-1]) - np.log(numbers))])
    chances: FloatArray = np.exp(ways - count * math.log(2))
    return chances
