"""Relevance by label, against lists that are gone through by hand and every possible ranking."""

from __future__ import annotations

from itertools import permutations
from math import e, log2
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pytest_occlusion.retrieval import relevance
from pytest_occlusion.retrieval.relevance import (
    MEASURES,
    label_sets,
    relevance_at_k,
    relevance_floors,
)

Labels = NDArray[np.bool_]


def members(row: Labels) -> set[int]:
    """No label is a label of its own."""
    return set(np.flatnonzero(row).tolist()) or {-1}


def jaccard(a: Labels, b: Labels) -> float:
    return len(members(a) & members(b)) / len(members(a) | members(b))


def by_hand(query: Labels, candidates: Labels, ranking: list[int], k: int) -> dict[str, float]:
    """All measures of one query, from a whole ranking."""
    gains = [jaccard(query, row) for row in candidates]
    same = [members(candidates[c]) == members(query) for c in ranking[:k]]
    shared = [gains[c] > 0 for c in ranking[:k]]
    relevant = sum(gain > 0 for gain in gains)
    precision = sum(sum(shared[: place + 1]) / (place + 1) for place in range(k) if shared[place])
    dcg, ideal = (
        sum(gain / log2(place + 2) for place, gain in enumerate(order[:k]))
        for order in ([gains[c] for c in ranking], sorted(gains, reverse=True))
    )
    return {
        "precision_same": sum(same) / k,
        "precision_shared": sum(shared) / k,
        "hit_same": float(any(same)),
        "hit_shared": float(any(shared)),
        "map": precision / min(relevant, k) if relevant else 0.0,
        "ndcg": dcg / ideal if ideal else 0.0,
    }


def table(rows: int, labels: int) -> st.SearchStrategy[Labels]:
    row = st.lists(st.booleans(), min_size=labels, max_size=labels)
    return st.lists(row, min_size=rows, max_size=rows).map(lambda t: np.array(t, dtype=bool))


CASES = st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 9)).flatmap(
    lambda size: st.tuples(table(size[0], size[2]), table(size[1], size[2]), st.integers(0, 999))
)


@given(CASES, st.sampled_from([1, 7, 1 << 22]))
@settings(max_examples=150, deadline=None)
def test_equals_lists_gone_through_by_hand(case: tuple[Labels, Labels, int], block: int) -> None:
    queries, candidates, seed = case
    rng = np.random.default_rng(seed)
    best = np.array([rng.permutation(len(candidates)) for _ in queries], dtype=np.int32)
    ks = sorted({1, (len(candidates) + 1) // 2, len(candidates)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relevance, "BLOCK", block)
        found = relevance_at_k(best, label_sets(queries, candidates), ks)
    assert tuple(found) == MEASURES
    for row, query in enumerate(queries):
        for column, k in enumerate(ks):
            for name, value in by_hand(query, candidates, best[row].tolist(), k).items():
                assert found[name][row, column] == pytest.approx(value, abs=1e-12), (name, k)


@given(CASES)
def test_sets_are_the_labels(case: tuple[Labels, Labels, int]) -> None:
    queries, candidates, _ = case
    labels = label_sets(queries, candidates)
    assert np.array_equal(labels.sets[labels.query], queries)
    assert np.array_equal(labels.sets[labels.candidate], candidates)
    assert len({tuple(row) for row in labels.sets.tolist()}) == len(labels.sets)


TINY = st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4)).flatmap(
    lambda size: st.tuples(table(size[0], size[2]), table(size[1], size[2]))
)


@given(TINY, st.sampled_from([1, 5, 1 << 22]))
@settings(max_examples=60, deadline=None)
def test_floors_equal_every_possible_ranking(tables: tuple[Labels, Labels], block: int) -> None:
    queries, candidates = tables
    ks = list(range(1, len(candidates) + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relevance, "BLOCK", block)
        floors = relevance_floors(label_sets(queries, candidates), ks)
    rankings = [list(one) for one in permutations(range(len(candidates)))]
    means = {name: np.empty((len(rankings), len(ks))) for name in MEASURES}
    for row, ranking in enumerate(rankings):
        for column, k in enumerate(ks):
            values = [by_hand(query, candidates, ranking, k) for query in queries]
            for name in MEASURES:
                means[name][row, column] = np.mean([one[name] for one in values])
    for name, (chance, constant) in floors.items():
        np.testing.assert_allclose(chance, means[name].mean(axis=0), atol=1e-12, err_msg=name)
        most = means[name].max(axis=0)
        assert (constant >= chance - 1e-12).all()
        if name not in {"hit_shared", "map"}:
            np.testing.assert_allclose(constant, most, atol=1e-12, err_msg=name)
        else:
            assert (constant <= most + 1e-12).all()
    hits = means["hit_shared"].max(axis=0)
    assert (floors["hit_shared"][1] >= hits * (1 - 1 / e)).all()
    assert floors["hit_shared"][1][0] == pytest.approx(hits[0])
    precision = means["precision_shared"]
    chosen = np.isclose(precision, precision.max(axis=0)).all(axis=1)
    chance, constant = floors["map"]
    reached = np.maximum(means["map"][chosen], chance)
    assert np.isclose(reached, constant).all(axis=1).any()


def test_greedy_hits_take_what_is_still_open() -> None:
    """Two common findings that never meet: the second list place goes to the other one."""
    queries = np.array([[1, 0, 0]] * 5 + [[0, 1, 0]] * 4 + [[0, 0, 0]], dtype=bool)
    candidates = np.array([[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 0]], dtype=bool)
    floors = relevance_floors(label_sets(queries, candidates), [1, 2, 3, 4])
    assert floors["hit_shared"][1].tolist() == pytest.approx([0.5, 0.9, 1.0, 1.0])
    assert floors["hit_same"][1].tolist() == pytest.approx([0.5, 0.9, 1.0, 1.0])


@pytest.mark.parametrize("filled", [False, True])
def test_where_all_have_the_same_labels_every_list_is_perfect(filled: bool) -> None:
    labels = label_sets(np.full((3, 2), filled), np.full((4, 2), filled))
    found = relevance_at_k(np.tile(np.arange(4), (3, 1)), labels, [1, 4])
    for name, (chance, constant) in relevance_floors(labels, [1, 4]).items():
        for values in (found[name], chance, constant):
            np.testing.assert_allclose(values, 1.0)


def test_a_query_without_any_relevant_candidate_has_nothing() -> None:
    labels = label_sets(np.array([[True, False]]), np.array([[False, True], [False, False]]))
    found = relevance_at_k(np.array([[0, 1]]), labels, [1, 2])
    floors = relevance_floors(labels, [1, 2])
    for name in MEASURES:
        assert not found[name].any()
        assert not np.any(floors[name])


def test_random_rankings_come_to_chance() -> None:
    rng = np.random.default_rng(3)
    candidates = rng.random((60, 6)) < 0.2
    queries = candidates[rng.integers(0, 60, 4000)]
    labels, ks = label_sets(queries, candidates), [1, 5, 20]
    best = np.argsort(rng.random((4000, 60)), axis=1)[:, :20].astype(np.int32)
    found = relevance_at_k(best, labels, ks)
    for name, (chance, constant) in relevance_floors(labels, ks).items():
        np.testing.assert_allclose(found[name].mean(axis=0), chance, atol=0.02)
        assert (constant > chance).all()


def test_lists_that_are_too_short() -> None:
    labels = label_sets(np.ones((1, 1), bool), np.ones((9, 1), bool))
    with pytest.raises(ValueError, match="lists of 5 candidates for k = 9"):
        relevance_at_k(np.arange(5)[None], labels, [1, 9])


def test_an_independent_library_agrees() -> None:
    ir_measures = pytest.importorskip("ir_measures")
    rng = np.random.default_rng(0)
    candidates = rng.random((120, 5)) < 0.15
    queries = candidates[rng.integers(0, 120, 80)]
    best = np.argsort(rng.random((80, 120)), axis=1).astype(np.int32)
    ks = [1, 5, 10, 100]
    found = relevance_at_k(best, label_sets(queries, candidates), ks)
    run = [
        ir_measures.ScoredDoc(f"q{q}", f"c{c}", -place)
        for q, ranking in enumerate(best)
        for place, c in enumerate(ranking)
    ]

    def judged(gain: NDArray[np.float64] | Labels) -> list[object]:
        whole = np.rint(gain).astype(int)
        assert np.allclose(whole, gain)  # it takes whole numbers only
        return [
            ir_measures.Qrel(f"q{q}", f"c{c}", int(value))
            for (q, c), value in np.ndenumerate(whole)
        ]

    gains = np.array([[jaccard(query, row) for row in candidates] for query in queries])
    relevant = (gains > 0).sum(axis=1)
    same = (gains == 1).astype(float)
    # Gains are shares with denominators up to 5: whole numbers in sixtieths.
    for qrels, names in (
        (judged(same), {"P": "precision_same", "Success": "hit_same"}),
        (judged(gains > 0), {"P": "precision_shared", "Success": "hit_shared", "AP": "map"}),
        (judged(gains * 60), {"nDCG": "ndcg"}),
    ):
        for theirs, ours in names.items():
            for column, k in enumerate(ks):
                measure = getattr(ir_measures, theirs) @ k
                values = {
                    int(one.query_id[1:]): one.value
                    for one in ir_measures.iter_calc([measure], qrels, run)
                }
                expected = np.array([values[q] for q in range(len(queries))])
                if ours == "map":  # theirs is a share of all that are relevant, however many
                    expected *= relevant / np.minimum(relevant, k)
                np.testing.assert_allclose(found[ours][:, column], expected, atol=1e-9)


def test_the_page_of_measures_has_them_all() -> None:
    page = Path(__file__).parents[2] / "docs" / "measures.md"
    text = page.read_text(encoding="utf-8")
    assert {name for name in MEASURES if f"`{name}`" in text} == set(MEASURES)
