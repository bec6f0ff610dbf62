"""Lists: the best candidates of every query, gathered in the pass that ranks them."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

TURN = np.uint64(0x9E3779B97F4A7C15)
"""2**64 over the golden ratio: multiples of it, modulo 2**64, are spread evenly (Knuth, The Art of
Computer Programming 3, 6.4)."""

ROWS = 64
"""Rows of scores looked through at once on a CPU, so that they stay in its cache. In numpy, which
has one thread: where other processes hold the cores, threads that wait for each other cost more."""

IntArray = NDArray[np.int64]


class BestLists:
    """The best candidates of every query, gathered tile by tile.

    Attributes:
        first: int32 ``[N, K]``, candidates by descending score.
        gap: float32 ``[N]``, the best score less the second; 0 where there is no second.
    """

    def __init__(
        self, row_of: torch.Tensor, copies: torch.Tensor, length: int, queries: int
    ) -> None:
        """Put the candidates of each distinct row side by side, in a fixed random order."""
        rows = row_of.cpu().numpy()
        shuffled = np.random.Generator(np.random.PCG64(0)).permutation(len(rows))
        self.members = shuffled[np.argsort(rows[shuffled], kind="stable")].astype(np.int32)
        self.copies = copies.cpu().numpy()
        self.start = np.concatenate([[0], np.cumsum(self.copies)[:-1]])
        self.first = np.empty((queries, length), np.int32)
        self.gap = np.zeros(queries, np.float32)

    def take(self, part: slice, scores: torch.Tensor) -> None:
        """Note the best candidates of some queries from their scores ``[t, U]`` of rows."""
        length = self.first.shape[1]
        values, rows = highest(scores, min(length, scores.shape[1]))
        if values.shape[1] > 1:  # two copies of the best row leave no gap
            alone = self.copies[rows[:, 0]] == 1
            self.gap[part] = np.where(alone, values[:, 0] - values[:, 1], 0.0)
        if len(self.copies) == len(self.members):
            self.first[part] = self.members[self.start[rows]]
            return
        # Every row as often as it has candidates, until the list is full.
        held = np.minimum(self.copies[rows], length)
        held = np.clip(held - np.maximum(held.cumsum(axis=1) - length, 0), 0, None)
        before = (held.cumsum(axis=1) - held).ravel()
        taken = np.repeat(rows.ravel(), held.ravel()).reshape(len(rows), length)
        place = np.arange(length) - np.repeat(before, held.ravel()).reshape(taken.shape)
        # From another one on for each query, or all would find the same few among many copies.
        turn = np.arange(part.start, part.start + len(rows), dtype=np.uint64)[:, None] * TURN
        at = (place + (turn >> np.uint64(32)).astype(np.int64)) % self.copies[taken]
        self.first[part] = self.members[self.start[taken] + at]


def highest(scores: torch.Tensor, length: int) -> tuple[NDArray[np.floating], IntArray]:
    """The largest scores of each row ``[t, U]``, descending, and their columns: ``[t, length]``."""
    if scores.device.type == "cpu":
        return _largest(scores.numpy(), length)
    values, columns = scores.topk(length, dim=1)
    return values.cpu().numpy(), columns.cpu().numpy()


def _largest(scores: NDArray[np.floating], length: int) -> tuple[NDArray[np.floating], IntArray]:
    """The same on a CPU, a few rows after another."""
    found = [
        _largest_of(scores[start : start + ROWS], length) for start in range(0, len(scores), ROWS)
    ]
    values, columns = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return values, columns


def _largest_of(scores: NDArray[np.floating], length: int) -> tuple[NDArray[np.floating], IntArray]:
    """The same of these few rows.

    A selection among all columns takes half as long as their product. So the columns are laid on
    stacks, and only the stacks with the largest maxima are looked into, as many as scores are
    wanted: a score in any other stack is no larger than the maximum of each of these.
    """
    rows, count = scores.shape
    high = max(1, isqrt(count // length))  # then as many maxima are compared as scores
    wide = count // high
    stacks = _selected(scores[:, : high * wide].reshape(rows, high, wide).max(axis=1), length)
    stacked = (stacks[:, None, :] + np.arange(0, high * wide, wide)[:, None]).reshape(rows, -1)
    over = np.arange(high * wide, count)  # on no stack
    columns = np.concatenate([stacked, np.broadcast_to(over, (rows, len(over)))], axis=1)
    among = np.take_along_axis(scores, columns, axis=1)
    places = _selected(among, length)
    values = np.take_along_axis(among, places, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    columns = np.take_along_axis(columns, np.take_along_axis(places, order, axis=1), axis=1)
    return np.take_along_axis(values, order, axis=1), columns


def _selected(values: NDArray[np.floating], length: int) -> IntArray:
    """Places of the largest values of every row, ascending: ``[t, length]``."""
    below = values.shape[1] - length
    least = np.partition(values, below, axis=1)[:, below, None]
    # One number a place and a remainder: pairs out of np.nonzero take four times as long.
    places: IntArray = np.flatnonzero(values >= least) % values.shape[1]
    if len(places) != len(values) * length:  # some row has more of its least
        places = np.sort(np.argpartition(values, below, axis=1)[:, below:], axis=1)
    return places.reshape(len(values), length)
