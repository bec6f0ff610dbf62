"""Selective retrieval, against every order that confidence allows."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_occlusion.retrieval import selective as module
from pytest_occlusion.retrieval.intervals import draw_resamples, interval
from pytest_occlusion.retrieval.selective import COVERAGES, selective

QUERIES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.2, 0.3]), st.sampled_from([0.0, 1.0, 0.25])),
    min_size=1,
    max_size=6,
)


def area_of(errors: list[float]) -> float:
    """Mean of the risks after 1, 2, ... queries, in this order."""
    return sum(sum(errors[:n]) / n for n in range(1, len(errors) + 1)) / len(errors)


def orders(confidence: list[float]) -> list[tuple[int, ...]]:
    """Every order in which confidence never rises."""
    return [
        order
        for order in permutations(range(len(confidence)))
        if all(confidence[a] >= confidence[b] for a, b in pairwise(order))
    ]


def expected_area(confidence: list[float], errors: list[float]) -> float:
    """Block by block, each error in a block that of its mean."""
    in_order: list[float] = []
    for level in sorted(set(confidence), reverse=True):
        block = [e for c, e in zip(confidence, errors, strict=True) if c == level]
        in_order += [sum(block) / len(block)] * len(block)
    return area_of(in_order)


@given(QUERIES)
@settings(max_examples=150, deadline=None)
def test_equals_the_mean_over_every_order(queries: list[tuple[float, float]]) -> None:
    confidence, hits = map(list, zip(*queries, strict=True))
    errors = [1 - hit for hit in hits]
    resamples = draw_resamples(np.arange(len(hits)), resamples=3)
    found = selective(np.array(confidence), np.array(hits), resamples)
    allowed = orders(confidence)
    areas = [area_of([errors[i] for i in order]) for order in allowed]
    assert found.area == pytest.approx(np.mean(areas))
    assert found.area == pytest.approx(expected_area(confidence, errors))
    every = [area_of([errors[i] for i in one]) for one in permutations(range(len(hits)))]
    assert found.random == pytest.approx(np.mean(every))
    assert found.best == pytest.approx(min(every))
    assert found.confidence == pytest.approx(np.mean(confidence))
    if len(set(errors)) == 1:
        assert found.gain is None
    else:
        gain = (np.mean(every) - np.mean(areas)) / (np.mean(every) - min(every))
        assert found.gain == pytest.approx(gain)
    for coverage, risk in zip(COVERAGES, found.risks, strict=True):
        answered = coverage * len(hits)
        whole = int(answered + 1e-9)
        values = []
        for order in allowed:
            in_order = [errors[i] for i in order] + [0.0]
            values.append((sum(in_order[:whole]) + (answered - whole) * in_order[whole]) / answered)
        assert risk == pytest.approx(np.mean(values))


@given(QUERIES, st.integers(0, 9), st.sampled_from([1, 20, 1 << 17]))
@settings(max_examples=80, deadline=None)
def test_interval_equals_resampling_patients_one_by_one(
    queries: list[tuple[float, float]], seed: int, block: int
) -> None:
    queries = queries * 2
    patients = np.random.default_rng(seed).integers(0, 4, len(queries))
    drawn = draw_resamples(patients, resamples=15, seed=seed)
    areas = []
    for weights in drawn.weights:
        pooled = [
            one
            for one, cluster in zip(queries, drawn.cluster, strict=True)
            for _ in range(int(weights[cluster]))
        ]
        areas.append(expected_area([c for c, _ in pooled], [1 - h for _, h in pooled]))
    confidence, hits = np.array(queries).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        found = selective(confidence, hits, drawn)
    assert (found.low, found.high) == pytest.approx(interval(np.array(areas)))


def test_extremes() -> None:
    hits = np.array([1.0] * 30 + [0.0] * 70)
    resamples = draw_resamples(np.arange(100))
    sure, blind, wrong = (
        selective(confidence, hits, resamples)
        for confidence in (np.linspace(1, 0, 100), np.zeros(100), np.linspace(0, 1, 100))
    )
    assert sure.gain == pytest.approx(1.0)
    assert blind.gain == pytest.approx(0.0)
    assert wrong.gain is not None
    assert wrong.gain < -0.5
    assert sure.risks[:3] == (0.0, 0.0, 0.0)
    assert blind.risks == pytest.approx([0.7] * 10)
    assert wrong.risks[:7] == (1.0,) * 7
    for one in (sure, blind, wrong):
        assert one.low < one.area < one.high
        assert one.risks[-1] == pytest.approx(one.random) == 0.7


def test_single_precision_and_seeds_of_a_pool() -> None:
    """Levels of one occluder in a row: the patients of the queries repeat, the weights do not."""
    rng = np.random.default_rng(0)
    confidence = rng.random(400).astype(np.float32)
    hits = (rng.random(400) < confidence).astype(np.float64)
    resamples = draw_resamples(np.tile(np.arange(100), 4))
    found = selective(confidence, hits, resamples)
    assert found.area < found.random
    assert found.gain is not None
    assert 0.3 < found.gain < 1
    assert found.low < found.area < found.high
