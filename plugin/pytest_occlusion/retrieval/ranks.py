"""Ranks: for every query, how many candidates beat its positive and how many tie with it.

One pass over the scores gives numbers from which recall at every k, reciprocal and median rank, and
every interval follow. Nothing of size queries x candidates is ever held. The two directions are two
passes: the best positive of a column may lie in another tile, whose product may round differently.
Candidates that are many are cut too: the blocks with a tile's positives come first, and when the
best positive is known all blocks are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.errors import SHOWN, OcclusionError, listed
from pytest_occlusion.retrieval.lists import BestLists
from pytest_occlusion.retrieval.tiles import (
    COLUMNS,
    TILE_BYTES,
    Positives,
    Tile,
    blocks,
    distinct_rows,
    tile_rows,
)

if TYPE_CHECKING:
    import torch

IntArray = NDArray[np.int64]

Counter = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]

BLOCK_BYTES = (1 << 17) - 1
"""Scores that are compared at once on a CPU: they stay in its cache, and are fewer than torch would
share out to threads, which for thousands of blocks costs more than it saves, and much more where
other processes hold the cores."""


@dataclass(frozen=True)
class Ranks:
    """Where the positives of each query stand among the candidates.

    Attributes:
        above: int64 ``[N]``, negatives that score strictly higher than the best positive.
        tied: int64 ``[N]``, negatives that score exactly as the best positive does.
        tied_positives: int64 ``[N]``, positives at that score; 1 unless a query has several.
        positives: int64 ``[N]``, positives of each query among the candidates.
        candidates: Number of candidates.
        first: int32 ``[N, K]``, the K candidates of the highest scores, best first, where they were
            asked for. Candidates with one embedding stand in an order that is fixed and another
            for each query.
        gap: float32 ``[N]``, by how much the best candidate scores higher than the second; with
            ``first``, for K of 2 or more.
    """

    above: IntArray
    tied: IntArray
    tied_positives: IntArray
    positives: IntArray
    candidates: int
    first: NDArray[np.int32] | None = None
    gap: NDArray[np.float32] | None = None

    @property
    def best(self) -> IntArray:
        """int64 ``[N]``: 1-based rank of the best positive if all ties go its way."""
        return self.above + 1

    @property
    def worst(self) -> IntArray:
        """int64 ``[N]``: 1-based rank of the best positive if no tie goes its way."""
        return self.above + self.tied + 1

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.above)


def rank_candidates(
    image_emb: torch.Tensor,
    text_emb: torch.Tensor,
    positives: torch.Tensor | NDArray[np.integer] | Sequence[int],
) -> Ranks:
    """Rank all candidates for every query by dot product.

    Args:
        image_emb: Query embeddings ``[N, D]``, any floating dtype and device, L2-normalised.
        text_emb: Candidate embeddings ``[M, D]`` on the same device.
        positives: ``[N]``, the index of each query's positive candidate, in [0, M).

    Raises:
        OcclusionError: Embeddings that are not finite or are zero (the rows are named), shapes that
            do not fit, or an index outside the candidates.
    """
    on_device = getattr(positives, "cpu", None)
    groups = np.asarray(on_device() if on_device else positives, dtype=np.int64)
    if groups.shape != (len(image_emb),):
        raise OcclusionError(
            f"positives have shape {groups.shape} for {len(image_emb)} queries",
            remedy="give the index of one candidate for every query",
        )
    outside = np.flatnonzero((groups < 0) | (groups >= len(text_emb)))
    if len(outside):
        raise OcclusionError(
            f"{len(outside)} positives are outside the {len(text_emb)} candidates, first at query "
            f"{outside[0]} (index {groups[outside[0]]})",
            remedy="positives are row numbers of text_emb",
        )
    return rank_groups(image_emb, text_emb, groups, np.arange(len(text_emb)))


def rank_groups(
    queries: torch.Tensor,
    candidates: torch.Tensor,
    query_groups: NDArray[np.integer],
    candidate_groups: NDArray[np.integer],
    *,
    first: int = 0,
    start: int = 0,
    tile_bytes: int = TILE_BYTES,
    columns: int = COLUMNS,
) -> Ranks:
    """Rank candidates where a candidate is positive for a query when their groups are equal.

    This covers both directions: image to report (one candidate a group) and report to image (any
    radiograph of the group is a hit; the best one counts).

    Args:
        queries: Embeddings ``[N, D]``, as of :func:`rank_candidates`.
        candidates: Embeddings ``[M, D]``.
        query_groups: Of each query, ``[N]``.
        candidate_groups: Of each candidate, ``[M]``.
        first: How many of the best candidates of each query are wanted too, at most M of them.
        start: Where the queries are a slice of more, the place of the first; a multiple of
            :func:`tile_rows`, or the slice may round in another way than the whole does.
        tile_bytes: Upper bound of one tile of scores.
        columns: Upper bound of the distinct candidates in one tile.

    Raises:
        OcclusionError: As :func:`rank_candidates`, or a query whose group has no candidate.
    """
    import torch

    queries, candidates = queries.detach(), candidates.detach()
    _check_rows("query", "queries", queries)
    _check_rows("candidate", "candidates", candidates)
    if queries.shape[1] != candidates.shape[1]:
        raise OcclusionError(
            f"queries have {queries.shape[1]} dimensions, candidates {candidates.shape[1]}",
            remedy="embed both with the same encoder",
        )
    query_group, candidate_group = _numbered(query_groups, candidate_groups)
    score_type = torch.float64 if queries.dtype == torch.float64 else torch.float32
    rows, row_of, copies = distinct_rows(candidates.to(score_type), columns)
    positives = Positives(query_group, candidate_group, row_of, len(rows))
    counters = [
        (block, _counter(copies[block], score_type)) for block in blocks(len(rows), columns)
    ]
    size = rows.element_size()
    tile = tile_rows(len(rows), size, tile_bytes=tile_bytes, columns=columns)
    space = rows.new_empty(min(tile, len(queries)) * min(len(rows), columns))
    # Small results kept among large temporaries would leave the heap in pieces that never fit.
    found = torch.zeros(3, len(queries), dtype=torch.int64, device=rows.device)
    length = min(first, len(candidates))
    lists = BestLists(row_of, copies, length, len(queries), start) if first else None
    for at in range(0, len(queries), tile):
        part = slice(at, at + tile)
        scored = Tile(queries[part].to(score_type), rows, space)
        _rank_tile(scored, part, positives, counters, found[:, part], lists)
    above, level, tied_positives = found.cpu().numpy()
    listed = (lists.first, lists.gap) if lists else (None, None)
    counts = np.bincount(candidate_group)[query_group]
    return Ranks(above, level - tied_positives, tied_positives, counts, len(candidates), *listed)


def _rank_tile(
    tile: Tile,
    part: slice,
    positives: Positives,
    counters: Sequence[tuple[slice, Counter]],
    found: torch.Tensor,
    lists: BestLists | None,
) -> None:
    """Add up above, level and tied positives ``[3, t]`` of some queries over all blocks.

    A positive's score is read from the very product that it is compared in: copied columns may
    round differently inside one, so equal candidates were made one column. Of several blocks with
    positives all but the last are multiplied twice, to the same bits: in the order of a corpus they
    are few, and to keep them all would take the memory of all scores of the tile.
    """
    import torch

    best = torch.full_like(tile.asked[:, :1], -torch.inf)
    homes = []
    for block, _ in counters:
        if own := positives.within(part, block):
            places, times = own
            scores = tile.scores(block).gather(1, places).masked_fill(times == 0, -torch.inf)
            best = torch.maximum(best, scores.amax(dim=1, keepdim=True))
            homes.append(block)
    for block, count in sorted(counters, key=lambda one: one[0] != homes[-1]):  # what is kept first
        scores = tile.scores(block)
        found[:2] += count(scores, best)
        if block in homes and (own := positives.within(part, block)):
            places, times = own
            found[2] += ((scores.gather(1, places) == best) * times).sum(dim=1)
        if lists:
            lists.see(scores, block.start)
    if lists:
        lists.take(part)


def _check_rows(kind: str, plural: str, embeddings: torch.Tensor) -> None:
    """Refuse what would rank silently wrong: NaN compares false and so looks like a perfect hit."""
    import torch

    if embeddings.ndim != 2 or len(embeddings) == 0:
        raise OcclusionError(
            f"the embeddings of the {plural} have shape {tuple(embeddings.shape)}",
            remedy="embeddings are [rows, dimensions] with at least one row",
        )
    # In pieces: the absolute values of all would be a second copy of them.
    sums = torch.cat([piece.abs().sum(dim=1) for piece in torch.split(embeddings, 256)])
    for name, bad in (("not finite", ~sums.isfinite()), ("zero", sums == 0)):
        rows = bad.nonzero().flatten().tolist()
        if rows:
            more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
            raise OcclusionError(
                f"{len(rows)} of {len(embeddings)} {kind} embeddings are {name}: rows "
                f"{', '.join(map(str, rows[:SHOWN]))}{more}",
                remedy="the checkpoint or its precision is at fault; look at its weights before "
                "trusting any number it gives",
            )


def _counter(copies: torch.Tensor, score_type: torch.dtype) -> Counter:
    """A function from scores ``[t, U]`` and best ``[t, 1]`` to ``[2, t]``: counts above and at it.

    Comparisons become ones and zeros of the scores' own type: sums of booleans cost more than the
    product itself.
    """
    import torch

    repeated = bool((copies != 1).any())
    # float32 adds whole numbers exactly, in any order, while the sum stays below 2**24.
    number_type = torch.float64 if int(copies.sum()) >= 1 << 24 else score_type
    weights = copies.to(number_type)
    rows = max(1, BLOCK_BYTES // (weights.element_size() * len(copies)))

    def count(scores: torch.Tensor, best: torch.Tensor) -> torch.Tensor:
        step = rows if scores.device.type == "cpu" else len(scores)
        space = weights.new_empty(min(step, len(scores)), len(weights))
        counts: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for part, bar in zip(torch.split(scores, step), torch.split(best, step), strict=True):
            for compare, found in zip((torch.gt, torch.eq), counts, strict=True):
                ones = compare(part, bar, out=space[: len(part)])
                if repeated:
                    ones *= weights
                found.append(ones.sum(dim=1))
        return torch.stack([torch.cat(found) for found in counts]).to(torch.int64)

    return count


def _numbered(
    query_groups: NDArray[np.integer], candidate_groups: NDArray[np.integer]
) -> tuple[IntArray, IntArray]:
    """The groups of queries ``[N]`` and candidates ``[M]``, numbered from 0."""
    names, candidate_group = np.unique(candidate_groups, return_inverse=True)
    query_group = np.searchsorted(names, query_groups).clip(max=len(names) - 1)
    without = np.flatnonzero(names[query_group] != query_groups)
    if len(without):
        raise OcclusionError(
            f"{len(without)} queries have no positive candidate:\n"
            + listed([f"query {row}" for row in without]),
            remedy="every radiograph needs its own report among the candidates",
        )
    return query_group.astype(np.int64), candidate_group.astype(np.int64)
