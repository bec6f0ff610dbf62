"""Intervals: reproducible, equal to a loop, wider for clustered queries, and about right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.retrieval.intervals import (
    draw_resamples,
    interval,
    intervals,
    repeated,
    resampled_means,
    resampled_sums,
)


@given(
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=12),
    st.integers(1, 20),
    st.integers(0, 9),
)
def test_equals_resampling_patients_one_by_one(
    patients: list[str], resamples: int, seed: int
) -> None:
    drawn = draw_resamples(patients, resamples=resamples, seed=seed)
    values = np.random.default_rng(seed).random((len(patients), 3))
    names = sorted(set(patients))
    fast = resampled_means(drawn, values)
    assert fast.shape == (resamples, 3)
    for b in range(resamples):
        pooled = []
        for column, name in enumerate(names):
            own = [values[i] for i, patient in enumerate(patients) if patient == name]
            pooled += own * int(drawn.weights[b, column])
        assert int(drawn.weights[b].sum()) == len(names)
        assert drawn.sizes[b] == len(pooled)
        np.testing.assert_allclose(fast[b], np.mean(pooled, axis=0), rtol=1e-12)


def test_one_column_is_that_column_of_many() -> None:
    drawn = draw_resamples(np.arange(30) // 2, resamples=50)
    values = np.random.default_rng(1).random((30, 4))
    many = resampled_means(drawn, values)
    for column in range(4):
        alone = resampled_means(drawn, values[:, column])
        assert alone.shape == (50,)
        np.testing.assert_allclose(alone, many[:, column], rtol=1e-12)


def test_reproducible_and_seeded() -> None:
    patients = [f"p{i // 3}" for i in range(60)]
    first, again, other = (draw_resamples(patients, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.weights, again.weights)
    assert not np.array_equal(first.weights, other.weights)


def test_names_of_patients_do_not_matter_only_who_belongs_together() -> None:
    by_number = draw_resamples(np.repeat(np.arange(10), 3), resamples=20)
    by_name = draw_resamples([f"p{i}" for i in np.repeat(np.arange(10), 3)], resamples=20)
    assert np.array_equal(by_number.weights, by_name.weights)
    assert np.array_equal(by_number.cluster, by_name.cluster)


def test_clusters_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    values = np.repeat(rng.random(100) < 0.4, 5).astype(np.float64)
    patients = np.repeat(np.arange(100), 5)
    low, high = interval(resampled_means(draw_resamples(patients), values))
    narrow_low, narrow_high = interval(resampled_means(draw_resamples(np.arange(500)), values))
    assert low < narrow_low < float(values.mean()) < narrow_high < high
    assert (high - low) / (narrow_high - narrow_low) == pytest.approx(5**0.5, rel=0.2)


def test_one_patient_has_no_interval_to_speak_of() -> None:
    drawn = draw_resamples(["p"] * 8, resamples=10)
    low, high = interval(resampled_means(drawn, np.arange(8) / 8))
    assert low == high == pytest.approx(3.5 / 8)


def test_equal_values_give_that_value() -> None:
    drawn = draw_resamples(["a", "b", "b", "c"], resamples=200)
    assert interval(resampled_means(drawn, np.ones(4))) == (1.0, 1.0)


def test_levels() -> None:
    samples = np.linspace(0, 1, 1001)
    assert interval(samples) == pytest.approx((0.025, 0.975))
    assert interval(samples, level=0.5) == pytest.approx((0.25, 0.75))


def test_coverage_is_near_the_level() -> None:
    """Patients of 1 to 4 queries with a common effect; 300 corpora of 80 patients."""
    rng = np.random.default_rng(7)
    truth, covered = 0.3, 0
    for trial in range(300):
        sizes = rng.integers(1, 5, 80)
        chances = rng.beta(1.5, 3.5, 80)
        patients = np.repeat(np.arange(80), sizes)
        hits = (rng.random(len(patients)) < chances[patients]).astype(np.float64)
        drawn = draw_resamples(patients, resamples=200, seed=trial)
        low, high = interval(resampled_means(drawn, hits))
        covered += low <= truth <= high
    assert 0.90 <= covered / 300 <= 0.985


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), min_size=1, max_size=10).filter(
        lambda queries: any(asked for _, asked in queries)
    ),
    st.integers(1, 3),
    st.integers(0, 9),
)
def test_some_of_the_queries_asked_several_times(
    queries: list[tuple[str, bool]], times: int, seed: int
) -> None:
    """Each resample as one would write it down; those that hold no such query are left out."""
    drawn = draw_resamples([patient for patient, _ in queries], resamples=15, seed=seed)
    rows = np.array([asked for _, asked in queries])
    values = np.random.default_rng(seed).random(times * int(rows.sum()))
    sums = []
    for weights in drawn.weights:
        again = [
            value * int(weights[drawn.cluster[at]])
            for value, at in zip(values, [*np.flatnonzero(rows)] * times, strict=True)
        ]
        count = times * sum(int(weights[drawn.cluster[at]]) for at in np.flatnonzero(rows))
        sums += [(sum(again), count)] if count else []
    own = repeated(drawn, rows, times)
    assert own.sizes.tolist() == [count for _, count in sums]
    np.testing.assert_allclose(resampled_sums(own, values), [total for total, _ in sums])
    np.testing.assert_allclose(resampled_means(own, values), [a / n for a, n in sums])


def test_sums_keep_the_shape_of_what_is_summed() -> None:
    drawn = draw_resamples(np.arange(30) // 2, resamples=50)
    values = np.random.default_rng(1).random((30, 2, 3))
    sums = resampled_sums(drawn, values)
    assert sums.shape == (50, 2, 3)
    np.testing.assert_allclose(sums[:, 1, 2], resampled_sums(drawn, values[:, 1, 2]))


def test_intervals_are_those_of_each_column() -> None:
    samples = np.random.default_rng(2).random((200, 3, 2))
    low, high = intervals(samples)
    assert low.shape == high.shape == (3, 2)
    assert (low[2, 1], high[2, 1]) == interval(samples[:, 2, 1])
