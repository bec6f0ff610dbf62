"""Candidates in blocks, queries in slices: neither shows in ranks, lists or gaps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pytest_occlusion.retrieval.lists import Best, highest_first, merged
from pytest_occlusion.retrieval.ranks import Ranks, rank_groups
from pytest_occlusion.retrieval.tiles import COLUMNS, TILE_BYTES, blocks, distinct_rows, tile_rows

PARTS = ("above", "tied", "tied_positives", "positives", "first", "gap")


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def columns(several: list[Ranks]) -> dict[str, NDArray[np.number]]:
    return {name: np.concatenate([getattr(ranks, name) for ranks in several]) for name in PARTS}


def assert_equal(
    found: dict[str, NDArray[np.number]], wanted: dict[str, NDArray[np.number]]
) -> None:
    for name in PARTS:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


# Slices of the queries ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("distinct", [700, 2600])
@pytest.mark.parametrize("spread", [False, True])
@pytest.mark.usefixtures("threads")
def test_slices_give_the_bits_of_the_whole(dtype: torch.dtype, distinct: int, spread: bool) -> None:
    """In one block and in three, the last one narrow; each slice lies in memory of its own."""
    numbers = np.random.default_rng(distinct)
    draw = torch.Generator().manual_seed(distinct)
    texts = torch.nn.functional.normalize(torch.randn(distinct, 101, generator=draw), dim=1)
    there = numbers.permutation(np.concatenate([np.arange(distinct), numbers.integers(0, 9, 400)]))
    candidates = texts[there].to(dtype)
    groups = there // 3 if not spread else there % (distinct // 3)
    queries = torch.nn.functional.normalize(torch.randn(450, 101, generator=draw), dim=1).to(dtype)
    own = groups[np.sort(numbers.integers(0, len(groups), 450))]
    sizes = {"tile_bytes": 100 * 1250 * queries.element_size(), "columns": 1250}
    step = tile_rows(distinct, queries.element_size(), **sizes)
    assert step == (100 if distinct > 1250 else 178)

    def rank(part: slice) -> Ranks:
        there = candidates.clone()
        at = part.start or 0
        return rank_groups(
            queries[part].clone(), there, own[part], groups, first=40, start=at, **sizes
        )

    whole = columns([rank(slice(None))])
    assert (whole["tied_positives"] >= 1).all()
    for tiles in (1, 2):
        cuts = range(0, 450, step * tiles)
        assert_equal(columns([rank(slice(at, at + step * tiles)) for at in cuts]), whole)


def test_rows_of_a_tile_depend_on_the_block_alone() -> None:
    assert tile_rows(COLUMNS) == tile_rows(227_835) == tile_rows(10**9) == 514
    assert tile_rows(227_835, 8) == 257
    assert tile_rows(3_063) == TILE_BYTES // (4 * 3_063)
    assert tile_rows(10, tile_bytes=1) == tile_rows(0, tile_bytes=1) == 1


def test_blocks_cover_every_candidate_once() -> None:
    assert blocks(3, 5) == [slice(0, 3)]
    assert blocks(11, 5) == [slice(0, 5), slice(5, 10), slice(10, 11)]
    assert len(blocks(227_835)) == 14


# Blocks of candidates -----------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 25), st.integers(1, 40))
def test_blocks_equal_sorting_everything(seed: int, many: int, width: int, length: int) -> None:
    """Copies in many blocks, positives in many, lists longer than a block, ties across borders."""
    numbers = np.random.default_rng(seed)
    there = numbers.integers(-2, 3, (many, 3)) + np.array([0, 0, 5])
    groups = numbers.integers(0, max(1, many // 4), many)
    asked = numbers.integers(-2, 3, (13, 3)) + np.array([0, 0, 1])
    asked[~asked.any(axis=1)] = 1
    own = groups[numbers.integers(0, many, 13)]
    ranks = rank_groups(
        torch.from_numpy(asked).float(),
        torch.from_numpy(there).float(),
        own,
        groups,
        first=length,
        tile_bytes=4 * width * int(numbers.integers(1, 15)),
        columns=width,
    )
    assert ranks.first is not None
    assert ranks.gap is not None
    for query, group, row, first, gap in zip(
        asked, own, range(13), ranks.first.tolist(), ranks.gap, strict=True
    ):
        scores = there @ query
        best = scores[groups == group].max()
        others = scores[groups != group]
        assert ranks.above[row] == (others > best).sum()
        assert ranks.tied[row] == (others == best).sum()
        assert ranks.tied_positives[row] == (scores[groups == group] == best).sum()
        down = sorted(scores.tolist(), reverse=True)
        assert len(set(first)) == min(length, many)
        assert scores[first].tolist() == down[:length]
        assert gap == (down[0] - down[1] if min(length, many) > 1 else 0)


@pytest.mark.parametrize("length", [1, 2, 10, 75])
@pytest.mark.parametrize("different", [1, 4, 10**6])
def test_equal_scores_are_listed_by_column_however_they_are_cut(
    length: int, different: int
) -> None:
    numbers = np.random.default_rng(length)
    scores = numbers.integers(0, different, (9, 301)).astype(np.float32)
    wanted = np.argsort(-scores, axis=1, kind="stable")[:, :length]
    for width in (1, 40, 150, 300):
        cut = blocks(301, width)
        numbers.shuffle(cut)
        found: list[Best] = []
        for block in cut:
            part = torch.from_numpy(scores[:, block])
            values, places = highest_first(part, min(length, part.shape[1]))
            found = [merged([*found, (values, places + block.start)], length)]
        assert found[0][1].tolist() == wanted.tolist()
        assert (found[0][0] == np.take_along_axis(scores, wanted, axis=1)).all()


def test_lists_do_not_depend_on_the_cut() -> None:
    """Whole numbers, so that every product is exact; different candidates, many of them level."""
    numbers = np.random.default_rng(0)
    there = np.unique(numbers.integers(-4, 5, (400, 3)), axis=0) + np.array([0, 0, 9])
    numbers.shuffle(there)
    candidates, groups = torch.from_numpy(there).float(), np.arange(len(there)) // 2
    queries = torch.from_numpy(numbers.integers(1, 4, (50, 3))).float()
    own = groups[numbers.integers(0, len(groups), 50)]

    def rank(width: int, tile_bytes: int) -> dict[str, NDArray[np.number]]:
        ranks = rank_groups(
            queries, candidates, own, groups, first=30, columns=width, tile_bytes=tile_bytes
        )
        return columns([ranks])

    wanted = rank(11, 1)
    assert (
        wanted["first"].tolist()
        == np.argsort(-(queries @ candidates.T).numpy(), axis=1, kind="stable")[:, :30].tolist()
    )
    for width, tile_bytes in ((1, 100), (29, 1 << 20), (100, 3000)):
        assert_equal(rank(width, tile_bytes), wanted)


def test_every_product_is_made_once_where_positives_are_near(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once, if a tile has its positives in one block; of several, all but the last come again."""
    made = []
    product = torch.mm

    def counted(*args: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        made.append(tuple(out.shape))
        return product(*args, out=out)

    monkeypatch.setattr(torch, "mm", counted)
    table, groups = torch.eye(12), np.arange(12)
    sizes = {"tile_bytes": 4 * 3 * 3, "columns": 3}
    rank_groups(table, table, groups, groups, **sizes)
    assert made == [(3, 3)] * 16
    made.clear()
    spread = np.array([0, 3, 6])
    rank_groups(table[:3], table, spread, groups, **sizes)
    assert made == [(3, 3)] * (4 + 2)


def test_neighbours_stay_neighbours_where_texts_repeat() -> None:
    draw = torch.Generator().manual_seed(0)
    texts = torch.randn(40, 5, generator=draw)
    rows, row_of, copies = distinct_rows(torch.cat([texts, texts[:7]]), 10)
    assert rows.tolist() == texts.tolist()
    assert row_of.tolist() == [*range(40), *range(7)]
    assert copies.tolist() == [2] * 7 + [1] * 33
