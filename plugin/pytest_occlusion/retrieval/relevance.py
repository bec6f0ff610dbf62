"""Relevance by label: a report may be right without being the one of the same study.

Everything goes by distinct sets of labels, in blocks: nothing of size queries x candidates is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.retrieval.ranks import IntArray
from pytest_occlusion.retrieval.recall import FloatArray

MEASURES = ("precision_same", "precision_shared", "hit_same", "hit_shared", "map", "ndcg")
"""Precision and hit by equal label sets and by a shared label, average precision by a shared label,
discounted gain by overlap."""

BLOCK = 1 << 22
"""Numbers in one block of a table: 32 MB of float64, of which a few are held at once."""


@dataclass(frozen=True, eq=False)  # by identity, so that what follows from the labels is kept
class LabelSets:
    """The distinct sets of positive labels, and which one each query and candidate has.

    No label at all is taken for a label of its own: such a set equals itself and shares with
    itself only.

    Attributes:
        sets: bool ``[S, L]``.
        query: int64 ``[N]``, rows of ``sets``.
        candidate: int64 ``[M]``, rows of ``sets``.
    """

    sets: NDArray[np.bool_]
    query: IntArray
    candidate: IntArray

    @cached_property
    def candidates(self) -> IntArray:
        """int64 ``[S]``: how many candidates have each set."""
        return np.bincount(self.candidate, minlength=len(self.sets))

    @cached_property
    def queries(self) -> IntArray:
        """int64 ``[S]``: how many queries have each set."""
        return np.bincount(self.query, minlength=len(self.sets))

    @cached_property
    def _members(self) -> FloatArray:
        """float64 ``[S, L + 1]``: ones and zeros, the last column for no label."""
        return np.column_stack([self.sets, ~self.sets.any(axis=1)]).astype(np.float64)

    def overlap(self, rows: IntArray | slice) -> FloatArray:
        """Jaccard index of some sets with all: float64 ``[rows, S]``, 0 where nothing is shared."""
        some = self._members[rows]
        both = some @ self._members.T
        union = some.sum(axis=1)[:, None] + self._members.sum(axis=1) - both
        both /= union
        return both


def label_sets(query_labels: NDArray[np.bool_], candidate_labels: NDArray[np.bool_]) -> LabelSets:
    """Find the distinct sets of positive labels.

    Args:
        query_labels: ``[N, L]``, true where a query has a label.
        candidate_labels: ``[M, L]``.
    """
    labels = np.concatenate([query_labels, candidate_labels])
    _, first, which = np.unique(
        np.packbits(labels, axis=1), axis=0, return_index=True, return_inverse=True
    )
    which = which.reshape(-1).astype(np.int64)
    return LabelSets(labels[first], which[: len(query_labels)], which[len(query_labels) :])


def relevance_at_k(
    best: NDArray[np.integer], labels: LabelSets, ks: Sequence[int]
) -> dict[str, FloatArray]:
    """Measure, for every query, how relevant its first k candidates are.

    A query that no candidate shares a label with has average precision and discounted gain 0.

    Args:
        best: ``[N, K]``, candidates of each query, best first; K is at least the largest k.
        labels: Of the same queries and candidates.
        ks: List lengths.

    Returns:
        For each of :data:`MEASURES` float64 ``[N, len(ks)]`` in [0, 1].

    Raises:
        ValueError: Lists shorter than the largest k.
    """
    if best.shape[1] < max(ks):
        raise ValueError(f"lists of {best.shape[1]} candidates for k = {max(ks)}")
    survey = _survey(labels, tuple(ks))
    values = {name: np.empty((len(best), len(ks))) for name in MEASURES}
    step = max(1, BLOCK // max(best.shape[1], len(labels.sets)))
    order = np.argsort(labels.query, kind="stable")
    for rows in (order[start : start + step] for start in range(0, len(order), step)):
        sets, at = np.unique(labels.query[rows], return_inverse=True)
        listed = labels.candidate[best[rows, : max(ks)]]
        gains = labels.overlap(sets)[at.reshape(-1, 1), listed]
        own = labels.query[rows]
        found = _measured(
            listed == own[:, None], gains, survey.relevant[own], survey.ideal[own], ks
        )
        for name, value in found.items():
            values[name][rows] = value
    return values


def relevance_floors(
    labels: LabelSets, ks: Sequence[int]
) -> dict[str, tuple[FloatArray, FloatArray]]:
    """What a ranking reaches that does not look at the query.

    Chance is the expectation of a random ranking, exactly. The constant is the best one list for
    all queries, exactly where a measure is a sum over places (precision, discounted gain) and for
    hits by equal sets. For hits by a shared label it is found greedily (at least 1 - 1/e of the
    best); for average precision it is what the list of the best ``precision_shared`` reaches. Both
    of these count as chance where they fall below it, because some one list reaches chance.

    Returns:
        For each of :data:`MEASURES` chance and constant, float64 ``[len(ks)]`` each.
    """
    survey, k = _survey(labels, tuple(ks)), np.asarray(ks)
    chance, constant = _chance(labels, survey, k), _constant(labels, survey, k)
    for name in ("hit_shared", "map"):
        constant[name] = np.maximum(constant[name], chance[name])
    return {name: (chance[name], constant[name]) for name in MEASURES}


def _measured(
    same: NDArray[np.bool_],
    gains: FloatArray,
    relevant: FloatArray,
    ideal: FloatArray,
    ks: Sequence[int] | IntArray,
) -> dict[str, FloatArray]:
    """Every measure of lists ``[n, K]`` with candidates of the same set, and of these gains."""
    k = np.asarray(ks)
    places = np.arange(1, gains.shape[1] + 1)
    shared = gains > 0
    equal, some = (one.cumsum(axis=1) for one in (same, shared))
    precisions = np.where(shared, some / places, 0.0).cumsum(axis=1)
    discounted = (gains / np.log2(1 + places)).cumsum(axis=1)
    equal, some, precisions, discounted = (
        one[:, k - 1] for one in (equal, some, precisions, discounted)
    )
    return {
        "precision_same": equal / k,
        "precision_shared": some / k,
        "hit_same": (equal > 0).astype(np.float64),
        "hit_shared": (some > 0).astype(np.float64),
        "map": shares(precisions, np.minimum(relevant[:, None], k)),
        "ndcg": shares(discounted, ideal),
    }


@dataclass(frozen=True)
class _Survey:
    """What follows from the labels alone, for every set taken as a query or as a candidate."""

    relevant: FloatArray  # ``[S]``, candidates that share a label with a query of this set
    gain: FloatArray  # ``[S]``, the sum of their overlaps
    ideal: FloatArray  # ``[S, len(ks)]``, discounted gain of the best list
    sharing: FloatArray  # ``[S]``, queries that share a label with a candidate of this set
    gained: FloatArray  # ``[len(ks), S]``, the sum of what it gains them, in shares of the ideal


@lru_cache(maxsize=4)
def _survey(labels: LabelSets, ks: tuple[int, ...]) -> _Survey:
    """Go through all pairs of sets once: every condition of a corpus asks for the same."""
    count = len(labels.sets)
    relevant, gain, ideal = np.empty(count), np.empty(count), np.empty((count, len(ks)))
    sharing, gained = np.zeros(count), np.zeros((len(ks), count))
    step = max(1, BLOCK // count)
    for rows in (slice(start, start + step) for start in range(0, count, step)):
        gains = labels.overlap(rows)
        shared, asked = (gains > 0).astype(np.float64), labels.queries[rows]
        relevant[rows] = shared @ labels.candidates
        gain[rows] = gains @ labels.candidates
        ideal[rows] = _ideal(gains, labels.candidates, ks)
        sharing += asked @ shared
        gained += shares(np.broadcast_to(asked, (len(ks), len(asked))), ideal[rows].T) @ gains
    return _Survey(relevant, gain, ideal, sharing, gained)


def _ideal(gains: FloatArray, candidates: IntArray, ks: tuple[int, ...]) -> FloatArray:
    """Discounted gain of the best lists ``[n, len(ks)]``, from the gain of every set ``[n, S]``."""
    held = np.flatnonzero(candidates)
    few = min(max(ks), len(held))  # as many sets fill any list
    gains = gains[:, held]
    first = np.argpartition(-gains, few - 1, axis=1)[:, :few]
    first = np.take_along_axis(
        first, np.argsort(-np.take_along_axis(gains, first, axis=1), axis=1), axis=1
    )
    until = candidates[held][first].cumsum(axis=1)
    steps = np.take_along_axis(gains, first, axis=1)
    steps[:, :-1] -= steps[:, 1:].copy()  # by how much the gain falls after each set
    sums = np.concatenate([[0.0], (1 / np.log2(1 + np.arange(1, max(ks) + 1))).cumsum()])
    return np.column_stack([(steps * sums[np.minimum(until, k)]).sum(axis=1) for k in ks])


def _chance(labels: LabelSets, survey: _Survey, k: IntArray) -> dict[str, FloatArray]:
    """The expectation of every measure under a random ranking."""
    many, deepest = len(labels.candidate), np.arange(k.max())
    weights = labels.queries / len(labels.query)

    def hit(positives: FloatArray | IntArray) -> FloatArray:
        """One less the chance that each place in turn goes to one of the others."""
        others = np.maximum(many - positives[:, None] - deepest, 0)
        missed = (others / np.maximum(many - deepest, 1)).cumprod(axis=1)
        expected: FloatArray = weights @ (1 - missed[:, k - 1])
        return expected

    harmonic = (1 / (1 + deepest)).cumsum()[k - 1]
    relevant = survey.relevant[:, None]
    # A relevant candidate at place i has i - 1 others before it, each relevant with this share.
    other = (relevant - 1) / max(1, many - 1)
    precisions = relevant / many * (harmonic + other * (k - harmonic))
    discounts = (1 / np.log2(2 + deepest)).cumsum()[k - 1]
    return {
        "precision_same": np.full(len(k), weights @ labels.candidates / many),
        "precision_shared": np.full(len(k), weights @ survey.relevant / many),
        "hit_same": hit(labels.candidates),
        "hit_shared": hit(survey.relevant),
        "map": weights @ shares(precisions, np.minimum(relevant, k)),
        "ndcg": weights @ shares(survey.gain[:, None] / many * discounts, survey.ideal),
    }


def _constant(labels: LabelSets, survey: _Survey, k: IntArray) -> dict[str, FloatArray]:
    """Every measure of the best list that is the same for all queries."""
    total, deepest = len(labels.query), int(k.max())
    discounts = 1 / np.log2(2 + np.arange(deepest))
    equal = labels.queries[_best_list(labels, labels.queries, deepest)].cumsum()
    commonest = np.sort(labels.queries[labels.candidates > 0])[::-1].cumsum()
    covered = np.asarray(_covered(labels, deepest))
    shown = _best_list(labels, survey.sharing, deepest)
    sharing = survey.sharing[shown].cumsum()
    gained = [
        (worth[_best_list(labels, worth, int(one))] * discounts[:one]).sum()
        for worth, one in zip(survey.gained, k, strict=True)
    ]
    precision = np.empty((len(labels.sets), len(k)))
    step = max(1, BLOCK // len(labels.sets))
    for start in range(0, len(precision), step):
        rows = slice(start, start + step)
        gains = labels.overlap(rows)[:, shown]
        lists = _measured(gains > 0, gains, survey.relevant[rows], survey.ideal[rows], k)
        precision[rows] = lists["map"]
    return {
        "precision_same": equal[k - 1] / k / total,
        "precision_shared": sharing[k - 1] / k / total,
        "hit_same": commonest[np.minimum(k, len(commonest)) - 1] / total,
        "hit_shared": covered[np.minimum(k, len(covered)) - 1] / total,
        "map": labels.queries @ precision / total,
        "ndcg": np.asarray(gained) / total,
    }


def _best_list(labels: LabelSets, worth: FloatArray | IntArray, length: int) -> IntArray:
    """Sets of the candidates worth most ``[length]``, from what one of each set is worth."""
    held = np.flatnonzero(labels.candidates)
    order = held[np.argsort(-worth[held], kind="stable")][:length]
    return np.repeat(order, np.minimum(labels.candidates[order], length))[:length]


def _covered(labels: LabelSets, length: int) -> list[int]:
    """Queries that share a label with any of the first 1, 2, ... candidates, each chosen greedily.

    Ends where nothing more is to be had: every useful candidate adds a label, so that is soon.
    """
    left = labels.queries.copy()
    step = max(1, BLOCK // len(left))
    covered: list[int] = []
    while len(covered) < length:
        open_sets, found = np.flatnonzero(left), np.zeros(len(left))
        for start in range(0, len(open_sets), step):
            rows = open_sets[start : start + step]
            found += left[rows] @ (labels.overlap(rows) > 0)
        chosen = np.argmax(np.where(labels.candidates > 0, found, -1))
        if covered and found[chosen] == 0:
            break
        covered.append(int(found[chosen]) + (covered[-1] if covered else 0))
        left[labels.overlap(np.asarray([chosen]))[0] > 0] = 0
    return covered


def shares(part: FloatArray | IntArray, whole: FloatArray | IntArray) -> FloatArray:
    """The quotient of two arrays that go together, 0 where there is no whole."""
    found = np.zeros(np.broadcast_shapes(part.shape, whole.shape))
    return np.divide(part, whole, out=found, where=whole > 0)
