"""Lists: the best candidates of every query, gathered in the pass that ranks them."""

from __future__ import annotations

from collections.abc import Sequence
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

Best = tuple[NDArray[np.floating], IntArray]
"""The largest scores of each row, descending, and their columns, both ``[t, length]``."""


class BestLists:
    """The best candidates of every query, gathered tile by tile.

    Attributes:
        first: int32 ``[N, K]``, candidates by descending score.
        gap: float32 ``[N]``, the best score less the second; 0 where there is no second.
    """

    def __init__(
        self, row_of: torch.Tensor, copies: torch.Tensor, length: int, queries: int, begin: int = 0
    ) -> None:
        """Put the candidates of each distinct row side by side, in a fixed random order.

        Args:
            row_of: The distinct row of each candidate, ``[M]``.
            copies: How often each distinct row occurs, ``[U]``.
            length: K, at most M.
            queries: N.
            begin: The place of the first query among more, of which these are a slice.
        """
        rows = row_of.cpu().numpy()
        shuffled = np.random.Generator(np.random.PCG64(0)).permutation(len(rows))
        self.members = shuffled[np.argsort(rows[shuffled], kind="stable")].astype(np.int32)
        self.copies = copies.cpu().numpy()
        self.start = np.concatenate([[0], np.cumsum(self.copies)[:-1]])
        self.first = np.empty((queries, length), np.int32)
        self.gap = np.zeros(queries, np.float32)
        self.begin = begin
        self.seen: list[Best] = []

    def see(self, scores: torch.Tensor, start: int) -> None:
        """Look through the scores ``[t, block]`` of some queries and the rows from ``start`` on."""
        length = min(self.first.shape[1], scores.shape[1])
        if scores.shape[1] == len(self.copies):
            self.seen = [highest(scores, length)]
            return
        values, rows = highest_first(scores, length)
        self.seen.append((values, rows + start))
        self.seen = [merged(self.seen, self.first.shape[1])]

    def take(self, part: slice) -> None:
        """Note the best candidates of these queries, whose scores were all seen."""
        length = self.first.shape[1]
        values, rows = self.seen.pop()
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
        begin = self.begin + part.start
        turn = np.arange(begin, begin + len(rows), dtype=np.uint64)[:, None] * TURN
        at = (place + (turn >> np.uint64(32)).astype(np.int64)) % self.copies[taken]
        self.first[part] = self.members[self.start[taken] + at]


def highest(scores: torch.Tensor, length: int) -> Best:
    """The largest scores of each row ``[t, U]``, descending, and their columns: ``[t, length]``."""
    if scores.device.type == "cpu":
        return _largest(scores.numpy(), length)
    values, columns = scores.topk(length, dim=1)
    return values.cpu().numpy(), columns.cpu().numpy()


def highest_first(scores: torch.Tensor, length: int) -> Best:
    """The same, of equal scores those of the first columns: an order that no cut can change."""
    values, columns = highest(scores, min(length + 1, scores.shape[1]))
    if values.shape[1] > length:  # it may be chance which of the equal scores made the list
        for row in np.flatnonzero(values[:, length] == values[:, length - 1]):
            line = scores[row].cpu().numpy()
            among = np.flatnonzero(line >= values[row, length])
            columns[row, :length] = among[np.argsort(-line[among], kind="stable")[:length]]
    return values[:, :length], columns[:, :length]


def merged(found: Sequence[Best], length: int) -> Best:
    """The largest of all, descending; equal ones by column."""
    values, columns = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
    order = np.argsort(-values, axis=1, kind="stable")
    down = np.take_along_axis(values, order, axis=1)
    level = (down[:, 1:] == down[:, :-1]).any(axis=1)  # few rows: sorting by both takes longer
    order[level] = np.lexsort((columns[level], -values[level]))
    order = order[:, :length]
    return down[:, :length], np.take_along_axis(columns, order, axis=1)


def _largest(scores: NDArray[np.floating], length: int) -> Best:
    """The same on a CPU, a few rows after another."""
    found = [
        _largest_of(scores[start : start + ROWS], length) for start in range(0, len(scores), ROWS)
    ]
    values, columns = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return values, columns


def _largest_of(scores: NDArray[np.floating], length: int) -> Best:
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
