"""Ranks against oracles that sort everything; whole numbers, so that ties are exact."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.retrieval import ranks as module
from pytest_occlusion.retrieval.lists import highest
from pytest_occlusion.retrieval.ranks import (
    Ranks,
    _counter,
    rank_candidates,
    rank_groups,
)
from pytest_occlusion.retrieval.recall import chance_recall, hit_probability, recall_at_k
from pytest_occlusion.retrieval.tiles import distinct_rows

Whole = NDArray[np.int64]

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


# The dumb way ------------------------------------------------------------------------------------


def sorted_ranks(queries: Whole, candidates: Whole, positives: Sequence[int]) -> list[list[int]]:
    """Best and worst rank of each positive, read off a fully sorted list."""
    found = []
    for query, positive in zip(queries, positives, strict=True):
        scores = candidates @ query
        order = np.argsort(-scores, kind="stable")
        level = [place for place, row in enumerate(order, 1) if scores[row] == scores[positive]]
        found.append([level[0], level[-1]])
    return found


def brute_groups(
    queries: Whole, candidates: Whole, query_groups: Sequence[int], candidate_groups: Sequence[int]
) -> list[list[int]]:
    """Above, tied, tied positives and positives of each query, counted one by one."""
    found = []
    for query, group in zip(queries, query_groups, strict=True):
        scores = [
            sum(int(a) * int(b) for a, b in zip(query, row, strict=True)) for row in candidates
        ]
        own = [s for s, g in zip(scores, candidate_groups, strict=True) if g == group]
        others = [s for s, g in zip(scores, candidate_groups, strict=True) if g != group]
        best = max(own)
        found.append([sum(s > best for s in others), others.count(best), own.count(best), len(own)])
    return found


def columns(ranks: Ranks) -> list[list[int]]:
    table = [ranks.above, ranks.tied, ranks.tied_positives, ranks.positives]
    return [list(row) for row in np.stack(table, axis=1).tolist()]


@st.composite
def whole_tables(draw: st.DrawFn, dimensions: int, *, most: int = 12) -> Whole:
    """Rows of small whole numbers, many of them equal, none of them zero."""
    row = st.lists(st.integers(-2, 2), min_size=dimensions, max_size=dimensions).filter(any)
    few = draw(st.lists(row, min_size=1, max_size=5))
    rows = draw(st.lists(st.one_of(st.sampled_from(few), row), min_size=1, max_size=most))
    return np.array(rows, dtype=np.int64)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Whole, Whole, list[int]]:
    dimensions = draw(st.integers(1, 5))
    queries = draw(whole_tables(dimensions))
    candidates = draw(whole_tables(dimensions))
    place = st.integers(0, len(candidates) - 1)
    positives = draw(st.lists(place, min_size=len(queries), max_size=len(queries)))
    return queries, candidates, positives


tiles = st.sampled_from([1, 4, 12, 40, 100, 1 << 20])
blocks = st.sampled_from([1, 2, 3, 5, 1 << 20])
dtypes = st.sampled_from(DTYPES)


# One positive ------------------------------------------------------------------------------------


@given(problems(), dtypes)
def test_equals_sorting(problem: tuple[Whole, Whole, list[int]], dtype: torch.dtype) -> None:
    queries, candidates, positives = problem
    ranks = rank_candidates(
        torch.tensor(queries, dtype=dtype), torch.tensor(candidates, dtype=dtype), positives
    )
    found = np.stack([ranks.best, ranks.worst], axis=1).tolist()
    assert found == sorted_ranks(queries, candidates, positives)
    assert ranks.candidates == len(candidates)
    assert len(ranks) == len(queries)
    assert set(ranks.tied_positives.tolist()) == set(ranks.positives.tolist()) == {1}
    for part in (ranks.above, ranks.tied, ranks.tied_positives, ranks.positives):
        assert part.shape == (len(queries),)
        assert part.dtype == np.int64


@given(problems(), st.randoms(use_true_random=False))
def test_order_does_not_matter(problem: tuple[Whole, Whole, list[int]], shuffler: Any) -> None:
    queries, candidates, positives = problem
    before = rank_candidates(torch.tensor(queries) * 1.0, torch.tensor(candidates) * 1.0, positives)
    by_row = shuffler.sample(range(len(queries)), len(queries))
    by_column = shuffler.sample(range(len(candidates)), len(candidates))
    after = rank_candidates(
        torch.tensor(queries[by_row]) * 1.0,
        torch.tensor(candidates[by_column]) * 1.0,
        [by_column.index(positives[row]) for row in by_row],
    )
    assert columns(after) == [columns(before)[row] for row in by_row]


@pytest.mark.parametrize("kind", ["list", "array", "int32 array", "tensor"])
def test_positives_may_come_in_any_shape(kind: str) -> None:
    positives: Any = {
        "list": [1, 0],
        "array": np.array([1, 0]),
        "int32 array": np.array([1, 0], dtype=np.int32),
        "tensor": torch.tensor([1, 0]),
    }[kind]
    assert rank_candidates(torch.eye(2), torch.eye(2), positives).best.tolist() == [2, 2]


def test_mixed_precision_is_compared_in_the_wider_one() -> None:
    queries = torch.eye(2, dtype=torch.float64)
    assert rank_candidates(queries, torch.eye(2), [0, 1]).best.tolist() == [1, 1]


def test_half_precision_scores_are_not_rounded_to_halves() -> None:
    """2048 + 1 is 2048 in float16: summed there, the two candidates would tie."""
    queries = torch.tensor([[64.0, 1.0]], dtype=torch.float16)
    candidates = torch.tensor([[32.0, 1.0], [32.0, 0.0]], dtype=torch.float16)
    ranks = rank_candidates(queries, candidates, [1])
    assert columns(ranks) == [[1, 0, 1, 1]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dimensions", [3, 64, 512])
def test_copies_of_a_text_tie_whatever_the_product_rounds(
    dtype: torch.dtype, dimensions: int
) -> None:
    generator = torch.Generator().manual_seed(dimensions)
    distinct = torch.randn(61, dimensions, generator=generator)
    distinct = torch.nn.functional.normalize(distinct, dim=1).to(dtype)
    copies = torch.randint(0, 61, (301,), generator=generator)
    queries = torch.randn(47, dimensions, generator=generator).to(dtype)
    positives = torch.randint(0, 301, (47,), generator=generator)
    ranks = rank_candidates(queries, distinct[copies], positives)
    # The same question with the next copy of the same text as the positive.
    twins = torch.tensor([int((copies == copies[p]).nonzero()[-1]) for p in positives])
    assert columns(rank_candidates(queries, distinct[copies], twins)) == columns(ranks)
    expected = [int((copies == copies[p]).sum()) - 1 for p in positives]
    assert ranks.tied.tolist() == expected


@pytest.mark.parametrize("candidates", [2, 3, 9, 17, 33, 61, 1001])
@pytest.mark.parametrize("dimensions", [3, 100, 512, 513])
def test_copies_tie_for_a_single_query_too(candidates: int, dimensions: int) -> None:
    """A product of a vector rounds its last columns in another way than the first."""
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        text = torch.nn.functional.normalize(torch.randn(1, dimensions, generator=generator))
        query = torch.randn(1, dimensions, generator=generator)
        ranks = rank_candidates(query, text.repeat(candidates, 1), [candidates // 2])
        assert columns(ranks) == [[0, candidates - 1, 1, 1]]


@given(st.data(), dtypes)
def test_distinct_rows_equal_a_set(data: st.DataObject, dtype: torch.dtype) -> None:
    table = data.draw(whole_tables(3))
    rows, row_of, copies = distinct_rows(torch.tensor(table, dtype=dtype))
    assert rows[row_of].tolist() == table.tolist()
    wanted = {tuple(row) for row in table.tolist()}
    assert {tuple(row) for row in rows.tolist()} == wanted
    if len(wanted) < len(table):
        assert len(rows) == len(wanted)
    assert [int(copies[i]) for i in row_of] == [table.tolist().count(row) for row in table.tolist()]


@given(st.data())
def test_rows_of_several_blocks_stand_as_they_first_occur(data: st.DataObject) -> None:
    table = data.draw(whole_tables(3)).tolist()
    rows, row_of, copies = distinct_rows(torch.tensor(table), 1)
    assert rows.tolist() == [row for at, row in enumerate(table) if row not in table[:at]]
    assert rows[row_of].tolist() == table
    assert copies.tolist() == [table.count(row) for row in rows.tolist()]


def test_minus_zero_is_zero() -> None:
    candidates = torch.tensor([[1.0, 0.0], [1.0, -0.0]])
    assert len(distinct_rows(candidates)[0]) == 1
    assert columns(rank_candidates(torch.tensor([[1.0, 1.0]]), candidates, [0])) == [[0, 1, 1, 1]]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_a_collapsed_encoder_scores_exactly_chance(queries: int, candidates: int, d: int) -> None:
    ranks = rank_candidates(
        torch.ones(queries, d), torch.ones(candidates, d), [i % candidates for i in range(queries)]
    )
    assert ranks.tied.tolist() == [candidates - 1] * queries
    for k in range(1, candidates + 1):
        assert recall_at_k(ranks, [k]) == {k: pytest.approx(k / candidates, abs=1e-15)}
        assert chance_recall(ranks, k) == recall_at_k(ranks, [k])[k]


# Several positives -------------------------------------------------------------------------------


@given(st.data(), tiles, blocks, dtypes)
def test_groups_equal_counting(
    data: st.DataObject, tile_bytes: int, columns_at_once: int, dtype: torch.dtype
) -> None:
    dimensions = data.draw(st.integers(1, 5))
    queries = data.draw(whole_tables(dimensions, most=9))
    candidates = data.draw(whole_tables(dimensions, most=16))
    names = st.integers(-3, 3)
    candidate_groups = data.draw(
        st.lists(names, min_size=len(candidates), max_size=len(candidates))
    )
    query_groups = data.draw(
        st.lists(st.sampled_from(candidate_groups), min_size=len(queries), max_size=len(queries))
    )
    ranks = rank_groups(
        torch.tensor(queries, dtype=dtype),
        torch.tensor(candidates, dtype=dtype),
        np.array(query_groups),
        np.array(candidate_groups),
        tile_bytes=tile_bytes,
        columns=columns_at_once,
    )
    assert columns(ranks) == brute_groups(queries, candidates, query_groups, candidate_groups)


def test_a_collapsed_encoder_scores_chance_with_several_positives() -> None:
    groups = np.array([0, 0, 0, 1, 2, 2])
    ranks = rank_groups(torch.ones(3, 4), torch.ones(6, 4), np.array([0, 1, 2]), groups)
    for k in range(1, 7):
        assert float(hit_probability(ranks, k).mean()) == pytest.approx(chance_recall(ranks, k))


@pytest.mark.parametrize("tile_bytes", [1, 50, 999, 4096, 1 << 25])
def test_tiles_do_not_show(tile_bytes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randint(-3, 4, (37, 6), generator=generator).double()
    candidates = torch.randint(-3, 4, (53, 6), generator=generator).double()
    queries[:, 0], candidates[:, 0] = 4, 4
    groups = np.arange(53) % 7
    wanted = np.arange(37) % 7
    whole = columns(rank_groups(queries, candidates, wanted, groups))
    for width in (1, 7, 52, 53):
        sizes = {"tile_bytes": tile_bytes, "columns": width}
        assert columns(rank_groups(queries, candidates, wanted, groups, **sizes)) == whole


@given(st.data(), st.sampled_from([torch.float32, torch.float64]))
def test_counts_equal_sums_of_booleans(data: st.DataObject, score_type: torch.dtype) -> None:
    width = data.draw(st.integers(1, 9))
    copies = torch.tensor(data.draw(st.lists(st.integers(1, 4), min_size=width, max_size=width)))
    value = st.lists(st.integers(-2, 2), min_size=width, max_size=width)
    scores = torch.tensor(data.draw(st.lists(value, min_size=1, max_size=7)), dtype=score_type)
    best = scores[:, :1].clone()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_BYTES", data.draw(st.sampled_from([1, 100, 1 << 20])))
        higher, level = _counter(copies, score_type)(scores, best)
    assert higher.tolist() == ((scores > best) * copies).sum(dim=1).tolist()
    assert level.tolist() == ((scores == best) * copies).sum(dim=1).tolist()


def test_counts_beyond_what_float32_holds_are_exact() -> None:
    """2**24 + 1 is no float32: a table with more copies than that is counted in float64."""
    copies = torch.tensor([1 << 24, 1, 1])
    higher, level = _counter(copies, torch.float32)(
        torch.tensor([[2.0, 2.0, 1.0]]), torch.tensor([[1.0]])
    )
    assert (higher.tolist(), level.tolist()) == ([(1 << 24) + 1], [1])


def test_embeddings_that_carry_gradients_are_ranked() -> None:
    table = torch.eye(3, requires_grad=True)
    assert rank_candidates(table, table, [0, 1, 1]).best.tolist() == [1, 1, 2]


MEMORY = """
import sys
from pathlib import Path
import numpy as np, torch
from pytest_occlusion.retrieval.ranks import rank_groups

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

torch.set_num_threads(1)
table = torch.randn(12000, 8)
groups = np.zeros(12000, dtype=np.int64)

def rank(queries):
    rank_groups(table[:queries], table[:3000], groups[:queries], groups[:3000], tile_bytes=1 << 20)

rank(1000)
before = peak()
rank(12000)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_with_queries_times_candidates() -> None:
    """Every candidate is a positive of every query: nothing is kept for them all at once either."""
    run = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True, timeout=300
    )
    assert int(run.stdout) < 12_000 * 3000 / 3  # bytes: a twelfth of the scores


# What is refused ---------------------------------------------------------------------------------


def spoiled(value: float, rows: Sequence[int], count: int = 30) -> torch.Tensor:
    table = torch.ones(count, 3)
    for row in rows:
        table[row] = 0.0
        table[row, 1] = value
    return table


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 0.0])
def test_bad_rows_are_named(value: float) -> None:
    good, bad = torch.ones(30, 3), spoiled(value, [4, 17])
    name = "zero" if value == 0 else "not finite"
    for queries, candidates, kind in ((bad, good, "query"), (good, bad, "candidate")):
        with pytest.raises(OcclusionError) as caught:
            rank_candidates(queries, candidates, [0] * 30)
        assert f"2 of 30 {kind} embeddings are {name}: rows 4, 17" in str(caught.value)
        assert "checkpoint" in caught.value.remedy


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_bad_rows_are_named_in_every_precision(dtype: torch.dtype) -> None:
    with pytest.raises(OcclusionError, match="rows 3"):
        rank_candidates(spoiled(float("nan"), [3]).to(dtype), torch.ones(5, 3).to(dtype), [0] * 30)


def test_infinities_that_cancel_are_found() -> None:
    table = torch.ones(4, 2)
    table[2] = torch.tensor([float("inf"), float("-inf")])
    with pytest.raises(OcclusionError, match="not finite: rows 2"):
        rank_candidates(table, torch.ones(4, 2), [0] * 4)


def test_values_that_cancel_are_not_zero() -> None:
    table = torch.tensor([[1.0, -1.0], [1.0, 1.0]])
    assert rank_candidates(table, table, [0, 1]).best.tolist() == [1, 1]


def test_many_bad_rows_are_cut_short() -> None:
    with pytest.raises(OcclusionError) as caught:
        rank_candidates(spoiled(0.0, range(25)), torch.ones(5, 3), [0] * 30)
    assert "25 of 30" in str(caught.value)
    assert "18, 19 and 5 more" in str(caught.value)


def test_queries_without_a_positive_are_listed() -> None:
    with pytest.raises(OcclusionError) as caught:
        rank_groups(torch.ones(3, 2), torch.ones(2, 2), np.array([5, 1, 6]), np.array([1, 2]))
    message = str(caught.value)
    assert "2 queries have no positive candidate" in message
    assert "query 0" in message
    assert "query 2" in message
    assert "query 1" not in message
    assert "its own report" in caught.value.remedy


@pytest.mark.parametrize(
    ("queries", "candidates", "positives", "words"),
    [
        ((2, 3), (4, 3), [0, 4], "1 positives are outside the 4 candidates, first at query 1"),
        ((2, 3), (4, 3), [-1, 0], "first at query 0 (index -1)"),
        ((2, 3), (4, 3), [0], "positives have shape (1,) for 2 queries"),
        ((2, 3), (4, 3), [[0, 1]], "positives have shape (1, 2) for 2 queries"),
        ((2, 3), (4, 5), [0, 1], "queries have 3 dimensions, candidates 5"),
        ((0, 3), (4, 3), [], "embeddings of the queries have shape (0, 3)"),
        ((1, 3), (4, 3, 1), [0], "embeddings of the candidates have shape (4, 3, 1)"),
        ((2,), (4, 3), [0, 1], "embeddings of the queries have shape (2,)"),
    ],
)
def test_shapes(
    queries: tuple[int, ...], candidates: tuple[int, ...], positives: Any, words: str
) -> None:
    with pytest.raises(OcclusionError) as caught:
        rank_candidates(torch.ones(queries), torch.ones(candidates), positives)
    assert words in str(caught.value)
    assert caught.value.remedy


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_equals_cpu() -> None:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randint(-3, 4, (200, 16), generator=generator).float()
    candidates = torch.randint(-3, 4, (90, 16), generator=generator).float()
    queries[:, 0], candidates[:, 0] = 4, 4
    positives = torch.randint(0, 90, (200,), generator=generator)
    here = rank_candidates(queries, candidates, positives)
    there = rank_candidates(queries.cuda(), candidates.cuda(), positives.cuda())
    assert columns(here) == columns(there)


# The best candidates ------------------------------------------------------------------------------


@given(
    st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 9), st.integers(1, 200), blocks
)
def test_the_best_candidates_are_those_of_a_full_sort(
    seed: int, queries: int, candidates: int, tile_bytes: int, columns_at_once: int
) -> None:
    """Scores of the list are those of a sorted list, each candidate comes once, tiles or not."""
    numbers = np.random.default_rng(seed)
    asked = numbers.integers(1, 4, (queries, 3))
    there = numbers.integers(1, 3, (candidates, 3))  # many are copies of one another
    length = int(numbers.integers(1, candidates + 1))
    ranks = rank_groups(
        torch.from_numpy(asked).float(),
        torch.from_numpy(there).float(),
        np.zeros(queries, int),
        np.zeros(candidates, int),
        first=length,
        tile_bytes=tile_bytes,
        columns=columns_at_once,
    )
    assert ranks.first is not None
    assert ranks.gap is not None
    assert ranks.first.shape == (queries, length)
    for query, found, gap in zip(asked, ranks.first, ranks.gap, strict=True):
        scores = there @ query
        assert len(set(found.tolist())) == length
        assert scores[found].tolist() == sorted(scores.tolist(), reverse=True)[:length]
        if length > 1:
            assert gap == scores[found[0]] - scores[found[1]]


def test_candidates_with_one_embedding_take_turns() -> None:
    """A collapsed encoder lists every candidate about as often, not always the same few."""
    same = torch.ones(500, 4)
    ranks = rank_groups(same, torch.ones(50, 4), np.zeros(500, int), np.zeros(50, int), first=5)
    assert ranks.first is not None
    assert ranks.gap is not None
    assert set(np.bincount(ranks.first.ravel(), minlength=50)) <= set(range(40, 61))
    assert not ranks.gap.any()


def test_no_list_without_being_asked() -> None:
    """Ranks alone need no list; a longer one than there are candidates ends with them."""
    rows, groups = torch.eye(3), np.arange(3)
    assert rank_groups(rows, rows, groups, groups).first is None
    longer = rank_groups(rows, rows, groups, groups, first=10).first
    assert longer is not None
    assert [sorted(row) for row in longer.tolist()] == [[0, 1, 2]] * 3


@pytest.mark.parametrize("length", [1, 2, 7, 33])
@pytest.mark.parametrize("different", [1, 5, 1000, 10**9])
def test_long_rows_are_searched_in_stacks(length: int, different: int) -> None:
    """Columns that no stacks divide, few values and many, rows of one value, blocks of rows."""
    scores = np.random.default_rng(length).integers(0, different, (150, 1031)).astype(np.float32)
    scores[::7] = scores[0, 0]
    values, columns = highest(torch.from_numpy(scores), length)
    assert (values == -np.sort(-scores, axis=1)[:, :length]).all()
    assert (np.take_along_axis(scores, columns, axis=1) == values).all()
    assert all(len(set(row)) == length for row in columns.tolist())


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 400))
def test_the_highest_are_those_of_a_search(seed: int, k: int, columns: int) -> None:
    """Slabs or not, and with many ties: the values are those of a sorted row, each from its own."""
    scores = torch.from_numpy(np.random.default_rng(seed).integers(0, 30, (4, columns)))
    k = min(k, columns)
    values, places = highest(scores.float(), k)
    for row, found, at in zip(scores.tolist(), values.tolist(), places.tolist(), strict=True):
        assert found == sorted(row, reverse=True)[:k]
        assert [row[place] for place in at] == found
        assert len(set(at)) == k
