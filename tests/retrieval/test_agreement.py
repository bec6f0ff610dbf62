"""Agreement of labels, counted by hand and by an independent library."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pytest_occlusion.retrieval.agreement import FIVE, agreement
from pytest_occlusion.retrieval.intervals import draw_resamples, interval
from pytest_occlusion.retrieval.relevance import label_sets

Labels = NDArray[np.bool_]
NAMES = [*reversed(FIVE), "Fracture", "Support Devices"]


def ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def f1_by_hand(true: Labels, told: NDArray[np.float64] | Labels) -> tuple[float, float]:
    """Micro and macro; what is told may be a probability."""
    counts = [(0.0, 0.0, 0.0)] * true.shape[1]
    for is_true, is_told in zip(true, told, strict=True):
        for label, (t, p) in enumerate(zip(is_true, is_told.astype(float), strict=True)):
            tp, fp, fn = counts[label]
            counts[label] = (tp + (p if t else 0), fp + (0 if t else p), fn + (1 - p if t else 0))
    f1 = [ratio(2 * tp, 2 * tp + fp + fn) for tp, fp, fn in counts]
    tp, fp, fn = (sum(one) for one in zip(*counts, strict=True))
    return ratio(2 * tp, 2 * tp + fp + fn), sum(f1) / len(f1)


CASES = st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(0, 999), st.floats(0, 1))


@given(CASES, st.permutations(NAMES), st.integers(1, len(NAMES)))
@settings(max_examples=100, deadline=None)
def test_equals_counting_by_hand(
    case: tuple[int, int, int, float], order: list[str], count: int
) -> None:
    queries, candidates, seed, share = case
    names, rng = order[:count], np.random.default_rng(seed)
    true, pool = (rng.random((rows, count)) < share for rows in (queries, candidates))
    first = rng.integers(0, candidates, queries)
    drawn = draw_resamples(rng.integers(0, 3, queries), resamples=9, seed=seed)
    found = agreement(first, label_sets(true, pool), names, drawn)
    assert list(found.scores) == ["micro", "macro", "micro_5", "macro_5"]

    def check(columns: Sequence[int], keys: tuple[str, str]) -> None:
        right, told = true[:, columns], pool[first][:, columns]
        resampled = []
        for weights in drawn.weights:
            rows = [q for q in range(queries) for _ in range(weights[drawn.cluster[q]])]
            resampled.append(f1_by_hand(right[rows], told[rows]))
        everywhere = [np.tile(row[columns], (queries, 1)) for row in pool]
        chance = f1_by_hand(right, np.mean(everywhere, axis=0))
        constant = [f1_by_hand(right, one) for one in everywhere]
        for at, key in enumerate(keys):
            score = found.scores[key]
            assert score is not None
            assert score.value == pytest.approx(f1_by_hand(right, told)[at])
            ends = interval(np.array([one[at] for one in resampled]))
            assert (score.low, score.high) == pytest.approx(ends)
            assert score.chance == pytest.approx(chance[at])
            assert score.constant == pytest.approx(max(one[at] for one in constant))

    check(range(count), ("micro", "macro"))
    if set(FIVE) <= set(names):
        check([names.index(name) for name in FIVE], ("micro_5", "macro_5"))
    else:
        assert found.scores["micro_5"] is found.scores["macro_5"] is None
    assert [one.label for one in found.classes] == names
    for label, one in enumerate(found.classes):
        right, told = true[:, label].tolist(), pool[first][:, label].tolist()
        tp = sum(r and t for r, t in zip(right, told, strict=True))
        assert one.positives == sum(right)
        assert one.precision == pytest.approx(ratio(tp, sum(told)))
        assert one.recall == pytest.approx(ratio(tp, sum(right)))
        assert one.f1 == pytest.approx(ratio(2 * tp, sum(right) + sum(told)))


def test_the_five_are_found_however_they_are_written() -> None:
    names = [name.lower().replace(" ", "_") for name in FIVE]
    labels = np.eye(5, dtype=bool)
    found = agreement(
        np.arange(5), label_sets(labels, labels), names, draw_resamples(np.arange(5), resamples=5)
    )
    for score in found.scores.values():
        assert score is not None
        assert score.value == 1.0
    assert found.scores["micro_5"] == found.scores["micro"]


def test_an_independent_library_agrees() -> None:
    pytest.importorskip("torchmetrics")
    import torch
    from torchmetrics.functional.classification import (
        multilabel_f1_score,
        multilabel_precision,
        multilabel_recall,
    )

    rng = np.random.default_rng(0)
    pool = rng.random((90, len(NAMES))) < 0.2
    true = pool[rng.integers(0, 90, 300)]
    first = rng.integers(0, 90, 300)
    found = agreement(first, label_sets(true, pool), NAMES, draw_resamples(np.arange(300)))
    five = [NAMES.index(name) for name in FIVE]
    for end, columns in (("", list(range(len(NAMES)))), ("_5", five)):
        told, right = (torch.from_numpy(one[:, columns]).int() for one in (pool[first], true))
        for average in ("micro", "macro"):
            score = found.scores[average + end]
            assert score is not None
            theirs = multilabel_f1_score(told, right, len(columns), average=average)
            assert score.value == pytest.approx(theirs.item(), abs=1e-6)
            assert score.chance < score.constant
            assert score.low < score.value < score.high
    told, right = (torch.from_numpy(one).int() for one in (pool[first], true))
    for measure, name in (
        (multilabel_precision, "precision"),
        (multilabel_recall, "recall"),
        (multilabel_f1_score, "f1"),
    ):
        theirs = measure(told, right, len(NAMES), average="none").tolist()
        assert [getattr(one, name) for one in found.classes] == pytest.approx(theirs, abs=1e-6)
