"""Pieces: all of the work, none of it twice, and slices that join to the whole."""

from __future__ import annotations

from dataclasses import fields
from itertools import groupby, pairwise
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.engine.job import Condition, Job, Want
from pytest_occlusion.engine.pieces import (
    EVEN,
    SHARD,
    Answer,
    Slice,
    answered,
    asked_of,
    in_batches,
    in_shards,
    in_slices,
    joined,
    shown_to,
)
from pytest_occlusion.retrieval.ranks import Ranks
from pytest_occlusion.suite.grid import REVERSE

FORWARD = "image-to-text"


def numbers(count: int) -> list[Any]:
    """In place of radiographs, which pieces never look at."""
    return list(range(count))


@given(st.integers(0, 5 * SHARD))
def test_shards_are_all_radiographs_in_order(count: int) -> None:
    shards = in_shards(numbers(count))
    assert [one for shard in shards for one in shard] == numbers(count)
    assert all(len(shard) == SHARD for shard in shards[:-1])
    assert all(0 < len(shard) <= SHARD for shard in shards)


@given(st.lists(st.text(max_size=12), max_size=60), st.integers(1, 20))
def test_batches_are_all_texts_the_longest_first(texts: list[str], size: int) -> None:
    batches = in_batches(texts, size)
    assert sorted(place for batch in batches for place in batch) == [*range(len(texts))]
    assert all(0 < len(batch) <= size for batch in batches)
    spans = [sorted(len(texts[place]) for place in batch) for batch in batches]
    assert all(later[-1] <= sooner[0] for sooner, later in pairwise(spans))


@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 100))
def test_every_shard_is_shown_under_its_conditions_once(asked: list[int], workers: int) -> None:
    """Conditions that the store has already are left out, of each shard others."""
    shards: list[Any] = [([at], list(range(count))) for at, count in enumerate(asked)]
    pieces = shown_to(shards, workers)
    assert all(piece.conditions for piece in pieces)
    found = {
        at: [one for piece in of_shard for one in piece.conditions]
        for (at,), of_shard in groupby(pieces, lambda piece: cast(list[int], piece.radiographs))
    }
    assert found == {at: [*range(count)] for at, count in enumerate(asked) if count}
    if workers == 1:
        assert len(pieces) == sum(map(bool, asked)), "nobody waits: whole shards are the quickest"


def test_pieces_are_smaller_towards_the_end() -> None:
    shards: list[Any] = [(numbers(SHARD), list(range(8)))] * 100
    sizes = [len(piece.conditions) for piece in shown_to(shards, 8)]
    assert set(sizes[:68]) == {8}, "whole ones while many are left"
    assert max(sizes[-50:]) <= 3
    assert set(sizes[-EVEN * 8 :]) == {1}, "several small ones for each worker"


# Slices ------------------------------------------------------------------------------------------

PLAIN, BLOCKED = Condition("none", 0.0, "none", 0), Condition("block", 0.25, "black", 0)


def job(
    radiographs: int, texts: int, *, first: int = 0, similarity: bool = False, seed: int = 0
) -> Job:
    """Only what slices look at: who asks for what among how many."""
    own = np.random.default_rng(seed).integers(0, texts, radiographs)
    own[: min(texts, radiographs)] = np.arange(min(texts, radiographs))  # of every text, one
    task = SimpleNamespace(
        radiographs=np.arange(radiographs),
        candidate_text=np.arange(texts),
        radiograph_group=own.astype(np.int64),
    )
    return cast(Job, SimpleNamespace(task=task, first=first, similarity=similarity))


@given(
    st.integers(1, 50),
    st.integers(1, 50),
    st.lists(st.tuples(st.sampled_from([PLAIN, BLOCKED]), st.sampled_from([FORWARD, REVERSE]),
                       st.none() | st.integers(1, 60)), max_size=4, unique_by=lambda one: one[:2]),
)  # fmt: skip
def test_slices_are_all_queries_once(
    radiographs: int, texts: int, asked: list[tuple[Condition, str, int | None]]
) -> None:
    rows: dict[Want, int | None] = {(condition, way): most for condition, way, most in asked}
    slices = in_slices(job(radiographs, texts), list(rows), lambda want: rows[want])
    found = {want: list(several) for want, several in groupby(slices, lambda one: one.want)}
    assert list(found) == list(rows), "one want after another, in their order"
    for (_, way), several in found.items():
        places = [place for one in several for place in range(one.first, one.last)]
        assert places == [*range(texts if way == REVERSE else radiographs)]
    for want, most in rows.items():
        assert all(one.last - one.first <= (most or 50) for one in found[want])


def answer_of(one: Slice, whole: Job, images: torch.Tensor, texts: torch.Tensor) -> Answer:
    queries, candidates = (texts, images) if one.reverse else (images, texts)
    return answered(queries[one.first : one.last], candidates, asked_of(whole, one))


def unit(rows: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """Rows of few values, so that there are ties, and scores that no order of sums moves."""
    signs = torch.randint(0, 2, (rows, width), generator=generator).float() * 2 - 1
    return torch.nn.functional.normalize(signs, dim=1)


@pytest.mark.parametrize("way", [FORWARD, REVERSE])
@given(
    st.integers(2, 30), st.integers(2, 30), st.integers(1, 31), st.booleans(), st.integers(0, 99)
)
def test_slices_join_to_the_whole(
    way: str, radiographs: int, texts: int, step: int, listed: bool, seed: int
) -> None:
    texts = min(texts, radiographs)  # each text is somebody's, as tasks see to it
    whole = job(radiographs, texts, first=2 if listed else 0, similarity=listed, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    shown, said = unit(radiographs, 16, generator), unit(texts, 16, generator)
    want = (BLOCKED, way)
    (all_of_it,) = in_slices(whole, [want], lambda want: None)
    parts = in_slices(whole, [want], lambda want: step)
    expected = answer_of(all_of_it, whole, shown, said)
    found = joined([answer_of(one, whole, shown, said) for one in parts])
    for name in (field.name for field in fields(Ranks)):
        one, other = getattr(found.ranks, name), getattr(expected.ranks, name)
        np.testing.assert_array_equal(one, other, err_msg=name)
    assert (found.similarity is None) == (not listed or way == REVERSE)
    np.testing.assert_array_equal(found.similarity, expected.similarity)
