"""Recall and rank statistics from :class:`Ranks`, with ties counted at their expectation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.retrieval.ranks import IntArray, Ranks

FloatArray = NDArray[np.float64]


def hit_probability(ranks: Ranks, k: int) -> FloatArray:
    """Probability of each query that a positive is among the first ``k``, ties in random order.

    With ``a`` negatives above, ``t`` negatives and ``g`` positives at the best positive's score and
    ``r = k - a`` places left for them, the chance that none of the ``g`` gets a place is
    ``C(t, r) / C(t + g, r)`` (hypergeometric). A collapsed encoder, for which everything ties,
    therefore scores exactly chance; where nothing ties it is exactly 0 or 1.

    Raises:
        OcclusionError: ``k`` outside [1, candidates].
    """
    if not 1 <= k <= ranks.candidates:
        raise OcclusionError(
            f"k = {k} for {ranks.candidates} candidates",
            remedy=f"k must lie between 1 and {ranks.candidates}; choose smaller ks or a larger "
            "corpus",
        )
    return _hits(ranks.above, ranks.tied, ranks.tied_positives, k)


def _hits(above: IntArray, tied: IntArray, tied_positives: IntArray, k: int) -> FloatArray:
    places = (k - above).astype(np.float64)
    if tied_positives.max(initial=0) <= 1:  # the usual case; r / (t + 1), and free of rounding
        return np.clip(places / (tied + 1), 0.0, 1.0)
    missed = np.ones(len(above))
    for i in range(1, int(tied_positives.max(initial=0)) + 1):
        factor = np.clip((tied - places + i) / (tied + i), 0.0, 1.0)
        missed = np.where(i <= tied_positives, missed * factor, missed)
    # C(t, r) is 0 once there are more places than tied negatives.
    missed = np.where(places > tied, 0.0, missed)
    return np.where(places <= 0, 0.0, 1.0 - missed)


def recall_at_k(ranks: Ranks, ks: Sequence[int]) -> dict[int, float]:
    """Share of queries with a positive among the first k (Recall@k), for every k.

    Raises:
        OcclusionError: A k outside [1, candidates].
    """
    return {int(k): float(hit_probability(ranks, k).mean()) for k in ks}


def chance_recall(ranks: Ranks, k: int) -> float:
    """Expected Recall@k of a random ranking of the same candidates, exactly."""
    zero = np.zeros(len(ranks), dtype=np.int64)
    negatives = ranks.candidates - ranks.positives
    return float(_hits(zero, negatives, ranks.positives, k).mean())


def constant_recall(query_groups: NDArray[np.integer], k: int) -> float:
    """Recall@k of the best ranking that ignores the query: the k commonest groups first.

    Texts that many radiographs share make this floor several times chance, so a model must beat it
    before its recall says anything about the images.
    """
    counts = np.unique(query_groups, return_counts=True)[1]
    return float(np.sort(counts)[::-1][:k].sum() / len(query_groups))


def middle_rank(ranks: Ranks) -> FloatArray:
    """float64 ``[N]``: mean of the best and the worst rank of each query."""
    return (ranks.best + ranks.worst) / 2


def mean_reciprocal_rank(ranks: Ranks) -> float:
    """Mean of 1 / rank of the best positive, ties in random order (exact expectation)."""
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, ranks.candidates + 1))])
    last = np.minimum(ranks.worst, ranks.candidates)
    values = (harmonic[last] - harmonic[ranks.above]) / (ranks.tied + 1)
    for row in np.flatnonzero(ranks.tied_positives > 1):
        block = (ranks.above[row], ranks.tied[row], ranks.tied_positives[row])
        values[row] = _reciprocal(*map(int, block))
    return float(values.mean())


def _reciprocal(above: int, tied: int, tied_positives: int) -> float:
    """Expectation of 1 / rank of the first of several positives inside one block of ties."""
    expected, none_before = 0.0, 1.0
    for place in range(1, tied + 2):
        left = tied + tied_positives - place + 1
        here = none_before * tied_positives / left
        expected += here / (above + place)
        none_before -= here
    return expected
