"""Tiles: how the scores of queries against candidates are cut, so that few are held at once.

Candidates are cut into blocks, queries into tiles of as many rows as fill the memory beside one
block. Neither cut depends on how many queries there are: slices of the queries, cut where tiles
begin, are multiplied in the very shapes that all of them are, and so round alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

TILE_BYTES = 32 << 20
"""Upper bound of one tile of scores. On a CPU larger ones are no faster, smaller ones slower."""

COLUMNS = 16_320
"""Distinct candidates of a block. Next to many more there is room for few queries, whose product is
half as fast. Two rows of them stay below ``ranks.BLOCK_BYTES``."""

IntArray = NDArray[np.int64]


def tile_rows(
    distinct: int, element_size: int = 4, *, tile_bytes: int = TILE_BYTES, columns: int = COLUMNS
) -> int:
    """How many queries are scored at once.

    Queries may be ranked in slices that begin at multiples of it: put one behind another, the
    slices' ranks and lists are those of all queries, bit for bit, on machines that multiply alike.

    Args:
        distinct: Number of different candidates: ``len(distinct_rows(candidates)[0])``.
        element_size: Bytes of a score: 8 if the queries are float64, 4 otherwise.
        tile_bytes: As of ``rank_groups``.
        columns: As of ``rank_groups``.
    """
    return max(1, tile_bytes // (element_size * max(1, min(distinct, columns))))


def blocks(distinct: int, columns: int = COLUMNS) -> list[slice]:
    """The blocks of so many distinct candidates; only the last may be narrower than the others."""
    return [slice(at, min(at + columns, distinct)) for at in range(0, distinct, columns)]


def distinct_rows(
    candidates: torch.Tensor, columns: int = COLUMNS
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distinct rows ``[U, D]``, the row of each candidate ``[M]``, and how often each occurs.

    If they make several blocks, they stand in the order in which they first occur, so that the
    positives of neighbouring queries lie in few of them. In one block they stay sorted: a product
    may round its last columns in another way, and nothing measured so far is to change.
    """
    import torch

    rows, row_of, copies = torch.unique(candidates, dim=0, return_inverse=True, return_counts=True)
    numbers = torch.arange(len(candidates), device=rows.device)
    if len(rows) == len(candidates):  # as they are, so that no sorted copy is kept beside them
        return candidates, numbers, copies
    if len(rows) <= columns:
        return rows, row_of, copies
    del rows  # or both orders would be held
    first = torch.full_like(copies, len(candidates))
    first.scatter_reduce_(0, row_of, numbers, "amin")
    first, order = first.sort()
    place = torch.empty_like(order)
    place[order] = numbers[: len(order)]
    return candidates[first], place[row_of], copies[order]


class Tile:
    """Scores of some queries, a block of candidates at a time; those of the last block are kept."""

    def __init__(self, asked: torch.Tensor, rows: torch.Tensor, space: torch.Tensor) -> None:
        """Take queries ``[t, D]``, distinct candidates ``[U, D]`` and room for t times a block."""
        self.asked, self.rows, self.space = asked, rows, space
        self.kept: tuple[slice, torch.Tensor] | None = None

    def scores(self, block: slice) -> torch.Tensor:
        """Scores ``[t, block]``, overwritten when another block is asked for."""
        import torch

        if self.kept is None or self.kept[0] != block:
            table = self.rows[block].T
            shape = len(self.asked), table.shape[1]
            out = self.space[: shape[0] * shape[1]].view(shape)
            self.kept = block, torch.mm(self.asked, table, out=out)
        return self.kept[1]


class Positives:
    """Where the positives of each query lie among the distinct candidates.

    Every distinct candidate of a group is one number, the group's times U plus the candidate's. In
    order, those of one group in one block lie side by side.
    """

    def __init__(
        self, query_group: IntArray, candidate_group: IntArray, row_of: torch.Tensor, distinct: int
    ) -> None:
        """Take groups ``[N]`` and ``[M]`` by number from 0, and each candidate's row ``[M]``."""
        self.device = row_of.device
        self.base = query_group * distinct
        keys = candidate_group * distinct + row_of.cpu().numpy()
        self.keys, self.times = np.unique(keys, return_counts=True)

    def within(self, part: slice, block: slice) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Columns of the block that are positive for some queries, and how many candidates each is.

        Both are ``[t, most]``; padding is 0 candidates. None if there are no positives. For all
        blocks and queries at once they could be as large as all the scores.
        """
        import torch

        base = self.base[part, None]
        start = np.searchsorted(self.keys, base + block.start)
        held = np.searchsorted(self.keys, base + block.stop) - start
        if not held.any():
            return None
        steps = np.arange(held.max())
        filled = steps < held
        at = np.where(filled, start + steps, 0)
        columns = np.where(filled, self.keys[at] - base - block.start, 0)
        times = np.where(filled, self.times[at], 0)
        return torch.from_numpy(columns).to(self.device), torch.from_numpy(times).to(self.device)
