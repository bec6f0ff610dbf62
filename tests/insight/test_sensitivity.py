"""Sensitivity: maps and worst placements against loops, and the job that measures them."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pytest_occlusion.insight.sensitivity import (
    QUANTITIES,
    UNKNOWN,
    Losses,
    Sample,
    placements,
    view_maps,
)
from pytest_occlusion.retrieval.intervals import draw_resamples


def sample(draw: np.random.Generator, queries: int) -> Sample:
    return Sample(
        draw.normal(size=queries).round(1),
        draw.integers(1, 6, queries).astype(np.float64),
        draw.integers(0, 3, queries) / 2,
    )


def slow_interval(values: list[float], patients: list[str]) -> tuple[float, float]:
    """Resample patients one by one, with the draws of the fast way."""
    drawn = draw_resamples(patients)
    means = []
    for weights in drawn.weights:
        pooled: list[float] = []
        for number, name in enumerate(sorted(set(patients))):
            own = [v for v, patient in zip(values, patients, strict=True) if patient == name]
            pooled += own * int(weights[number])
        means.append(sum(pooled) / len(pooled))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 99), st.integers(2, 3), st.integers(1, 9))
def test_maps_equal_a_loop_over_places_and_queries(seed: int, grid: int, queries: int) -> None:
    draw, dice = np.random.default_rng(seed), random.Random(seed)
    whole = sample(draw, queries)
    tiles = [sample(draw, queries) for _ in range(grid * grid)]
    views = [dice.choice(["PA", "lateral", ""]) for _ in range(queries)]
    patients = [dice.choice("abcd") for _ in range(queries)]
    found = view_maps(whole, tiles, grid=grid, views=views, patients=patients)
    named = [view or UNKNOWN for view in views]
    assert {one.view: one.queries for one in found} == {v: named.count(v) for v in set(named)}
    assert [one.queries for one in found] == sorted((o.queries for o in found), reverse=True)
    for one in found:
        rows = [row for row, view in enumerate(named) if view == one.view]
        own = [patients[row] for row in rows]
        assert one.patients == len(set(own))
        assert set(one.losses) == set(QUANTITIES)
        place = dice.randrange(grid * grid)
        tile = tiles[place]
        lost = {
            "similarity": [float(whole.similarity[r] - tile.similarity[r]) for r in rows],
            "rank": [float(tile.rank[r] - whole.rank[r]) for r in rows],
            "recall": [float(whole.hit[r] - tile.hit[r]) for r in rows],
        }
        for name, values in lost.items():
            losses, at = one.losses[name], divmod(place, grid)
            assert losses.value[at] == pytest.approx(sum(values) / len(values), abs=1e-12)
            low, high = slow_interval(values, own)
            assert losses.low[at] == pytest.approx(low, abs=1e-9)
            assert losses.high[at] == pytest.approx(high, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.integers(1, 9), st.integers(1, 9))
def test_the_worst_placement_equals_a_loop(seed: int, count: int, queries: int) -> None:
    draw = np.random.default_rng(seed)
    tiles = [sample(draw, queries) for _ in range(count)]
    patients = [f"p{row // 2}" for row in range(queries)]
    found = placements(tiles, ratio=0.25, achieved=0.24, resamples=draw_resamples(patients))
    mean, by_similarity, by_rank = [], [], []
    for row in range(queries):
        mean.append(sum(float(tile.hit[row]) for tile in tiles) / count)
        least = min(tiles, key=lambda tile: float(tile.similarity[row]))
        last = max(tiles, key=lambda tile: float(tile.rank[row]))
        by_similarity.append(float(least.hit[row]))
        by_rank.append(float(last.hit[row]))
    gap = [one - other for one, other in zip(mean, by_similarity, strict=True)]
    for spread, values in (
        (found.mean, mean),
        (found.worst_similarity, by_similarity),
        (found.worst_rank, by_rank),
        (found.gap, gap),
    ):
        assert spread.value == pytest.approx(sum(values) / queries, abs=1e-12)
        assert (spread.low, spread.high) == pytest.approx(slow_interval(values, patients), abs=1e-9)
    assert (found.ratio, found.achieved) == (0.25, 0.24)


def test_the_peak_is_the_first_of_the_largest() -> None:
    value: NDArray[np.float64] = np.zeros((3, 3))
    value[1, 2] = value[2, 0] = 5.0
    assert Losses(value, value, value).peak == (1, 2)
