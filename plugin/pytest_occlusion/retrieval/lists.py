"""Lists: the best candidates of every query, gathered in the pass that ranks them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

TURN = np.uint64(0x9E3779B97F4A7C15)
"""2**64 over the golden ratio: multiples of it, modulo 2**64, are spread evenly (Knuth, The Art of
Computer Programming 3, 6.4)."""

SLABS = 8
"""Of a table of scores, one over another: more make fewer maxima and more to look at below them."""

ROWS = 256
"""Queries looked at together on a CPU: what is gathered for them stays small beside the scores."""


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
        step = ROWS if scores.device.type == "cpu" else len(scores)
        for start in range(0, len(scores), step):
            some = scores[start : start + step]
            first = part.start + start
            self._take(slice(first, first + len(some)), some)

    def _take(self, part: slice, scores: torch.Tensor) -> None:
        length = self.first.shape[1]
        best = highest(scores, min(length, scores.shape[1]))
        values, rows = (one.cpu().numpy() for one in best)
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


def highest(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k highest of each row ``[t, U]``, descending: values and columns, ``[t, k]`` each.

    Columns are laid in slabs one over another. Those that hold the k highest have a maximum over
    the slabs that is itself among the k highest maxima, and maxima cost a tenth of a search.
    """
    import torch

    wide = scores.shape[1] // SLABS
    if wide < 2 * k:
        found = scores.topk(k, dim=1)
        return found.values, found.indices
    laid = scores[:, : SLABS * wide].view(-1, SLABS, wide)
    columns = laid.amax(dim=1).topk(k, dim=1, sorted=False).indices
    steps = wide * torch.arange(SLABS, device=scores.device)
    rest = torch.arange(SLABS * wide, scores.shape[1], device=scores.device)
    held = torch.cat(
        [(columns[:, None, :] + steps[:, None]).flatten(1), rest.expand(len(scores), -1)], dim=1
    )
    found = scores.gather(1, held).topk(k, dim=1)
    return found.values, held.gather(1, found.indices)
