"""Lists: the best candidates of every query, gathered in the pass that ranks them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

TURN = np.uint64(0x9E3779B97F4A7C15)
"""2**64 over the golden ratio: multiples of it, modulo 2**64, are spread evenly (Knuth, The Art of
Computer Programming 3, 6.4)."""


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
        values, rows = (
            one.cpu().numpy() for one in scores.topk(min(length, scores.shape[1]), dim=1)
        )
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
