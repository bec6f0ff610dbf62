"""Recall, its floors and reciprocal ranks against enumeration of every order."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations, permutations
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.retrieval.ranks import Ranks, rank_candidates
from pytest_occlusion.retrieval.recall import (
    chance_recall,
    constant_recall,
    hit_probability,
    mean_reciprocal_rank,
    middle_rank,
    recall_at_k,
)

Row = tuple[int, int, int, int]
"""Above, tied, tied positives, positives below the best one."""


def ranks_of(rows: Sequence[Row], extra: int = 0) -> Ranks:
    above, tied, level, below = (
        np.array(column, dtype=np.int64) for column in zip(*rows, strict=True)
    )
    candidates = int((above + tied + level + below).max()) + extra
    return Ranks(above, tied, level, level + below, candidates)


def first_places(row: Row) -> list[int]:
    """Rank of the first positive in every order of the block of ties."""
    above, tied, level, _ = row
    return [
        above + 1 + order.index(True) for order in permutations([False] * tied + [True] * level)
    ]


rows = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(1, 3), st.integers(0, 2)),
    min_size=1,
    max_size=5,
)
single = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 5), st.just(1), st.just(0)), min_size=1, max_size=6
)


@given(st.one_of(rows, single), st.integers(0, 3))
def test_hit_probability_equals_enumeration(given_rows: list[Row], extra: int) -> None:
    ranks = ranks_of(given_rows, extra)
    orders = [first_places(row) for row in given_rows]
    for k in range(1, ranks.candidates + 1):
        exact = [float(Fraction(sum(p <= k for p in places), len(places))) for places in orders]
        np.testing.assert_allclose(hit_probability(ranks, k), exact, atol=1e-12)
        assert recall_at_k(ranks, [k])[k] == pytest.approx(sum(exact) / len(exact), abs=1e-12)


@given(st.one_of(rows, single), st.integers(0, 3))
def test_reciprocal_rank_equals_enumeration(given_rows: list[Row], extra: int) -> None:
    exact = [
        sum(Fraction(1, place) for place in places) / len(places)
        for places in map(first_places, given_rows)
    ]
    found = mean_reciprocal_rank(ranks_of(given_rows, extra))
    assert found == pytest.approx(float(sum(exact) / len(exact)), abs=1e-12)


@given(st.one_of(rows, single), st.integers(0, 3))
def test_chance_equals_enumeration(given_rows: list[Row], extra: int) -> None:
    ranks = ranks_of(given_rows, extra)
    for k in range(1, ranks.candidates + 1):
        exact = []
        for positives in ranks.positives.tolist():
            places = list(combinations(range(1, ranks.candidates + 1), positives))
            exact.append(Fraction(sum(p[0] <= k for p in places), len(places)))
        assert chance_recall(ranks, k) == pytest.approx(float(sum(exact) / len(exact)), abs=1e-12)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=14), st.integers(1, 8))
def test_constant_equals_the_best_of_all_fixed_lists(groups: list[int], k: int) -> None:
    names = sorted(set(groups))
    lists = combinations(names, min(k, len(names)))
    best = max(sum(group in chosen for group in groups) for chosen in lists)
    assert constant_recall(np.array(groups), k) == best / len(groups)


def test_chance_of_one_positive_is_a_plain_share() -> None:
    ranks = rank_candidates(torch.eye(8), torch.eye(8), range(8))
    assert [chance_recall(ranks, k) for k in (1, 2, 4, 8)] == [1 / 8, 2 / 8, 4 / 8, 1.0]


def test_constant_is_several_times_chance_when_texts_repeat() -> None:
    groups = np.array([0] * 50 + list(range(1, 51)))
    assert constant_recall(groups, 1) == 0.5
    assert constant_recall(groups, 51) == 1.0


@given(st.one_of(rows, single), st.integers(0, 3))
def test_monotone_in_k_and_whole_at_the_end(given_rows: list[Row], extra: int) -> None:
    ranks = ranks_of(given_rows, extra)
    table = np.stack([hit_probability(ranks, k) for k in range(1, ranks.candidates + 1)])
    assert (np.diff(table, axis=0) >= -1e-15).all()
    assert ((table >= 0) & (table <= 1)).all()
    assert (table[-1] == 1).all()


@given(st.lists(st.integers(0, 30), min_size=1, max_size=9))
def test_without_ties_every_probability_is_exactly_zero_or_one(above: list[int]) -> None:
    ranks = ranks_of([(a, 0, 1, 0) for a in above], extra=2)
    for k in range(1, ranks.candidates + 1):
        assert hit_probability(ranks, k).tolist() == [float(a < k) for a in above]


def test_recall_is_that_of_topk_when_nothing_ties() -> None:
    generator = torch.Generator().manual_seed(3)
    images = torch.nn.functional.normalize(torch.randn(150, 32, generator=generator), dim=1)
    texts = torch.nn.functional.normalize(torch.randn(80, 32, generator=generator), dim=1)
    positives = torch.randint(0, 80, (150,), generator=generator)
    ranks = rank_candidates(images, texts, positives)
    assert not ranks.tied.any()
    for k in (1, 5, 10, 79, 80):
        retrieved = (images @ texts.T).topk(k, dim=1).indices
        hits = (retrieved == positives[:, None]).any(dim=1)
        assert hit_probability(ranks, k).tolist() == hits.double().tolist()
        assert recall_at_k(ranks, [k])[k] == pytest.approx(float(hits.double().mean()))


def test_large_blocks_of_ties_stay_exact() -> None:
    """Products of thousands of factors would drift; compared with exact binomials."""
    ranks = ranks_of([(10, 4000, 6, 0)], extra=100)
    for k in (5, 11, 100, 2000, 4000, 4014, 4016):
        places = max(0, k - 10)
        missed = Fraction(comb(4000, places), comb(4006, places)) if places <= 4006 else 0
        assert hit_probability(ranks, k)[0] == pytest.approx(float(1 - missed), rel=1e-9)


def test_middle_rank_is_between_best_and_worst() -> None:
    assert middle_rank(ranks_of([(0, 0, 1, 0), (3, 4, 1, 0)])).tolist() == [1.0, 6.0]


def test_several_ks_at_once() -> None:
    ranks = ranks_of([(0, 0, 1, 0), (5, 0, 1, 0)], extra=4)
    assert recall_at_k(ranks, [1, 5, 6]) == {1: 0.5, 5: 0.5, 6: 1.0}
    assert all(type(key) is int for key in recall_at_k(ranks, np.array([1, 5])))  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [0, -1, 11])
def test_k_out_of_range(k: int) -> None:
    ranks = ranks_of([(9, 0, 1, 0)])
    for call in (lambda: hit_probability(ranks, k), lambda: recall_at_k(ranks, [1, k])):
        with pytest.raises(OcclusionError) as caught:
            call()
        assert f"k = {k} for 10 candidates" in str(caught.value)
        assert "between 1 and 10" in caught.value.remedy
