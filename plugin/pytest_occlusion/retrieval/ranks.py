"""Ranks: for every query, how many candidates beat its positive and how many tie with it.

One pass over the scores gives numbers from which recall at every k, reciprocal and median rank, and
every interval follow. Nothing of size queries x candidates is ever held. The two directions are two
passes: the best positive of a column may lie in another tile, whose product may round differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.errors import SHOWN, OcclusionError, listed
from pytest_occlusion.retrieval.lists import BestLists

if TYPE_CHECKING:
    import torch

IntArray = NDArray[np.int64]

TILE_BYTES = 32 << 20
"""Upper bound of one tile of scores. On a CPU larger ones are no faster, smaller ones slower."""

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
    tile_bytes: int = TILE_BYTES,
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
        tile_bytes: Upper bound of one tile of scores.

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
    positive_rows, counts = _positive_rows(query_groups, candidate_groups)
    device = queries.device
    score_type = torch.float64 if queries.dtype == torch.float64 else torch.float32
    rows, row_of, copies = distinct_rows(candidates.to(score_type))
    table = rows.T
    count = _counter(copies, score_type)
    tile = max(1, tile_bytes // (table.element_size() * max(1, table.shape[1])))
    space = table.new_empty(min(tile, len(queries)), table.shape[1])
    # Small results kept among large temporaries would leave the heap in pieces that never fit.
    found = torch.empty(3, len(queries), dtype=torch.int64, device=device)
    above, tied, tied_positives = found.unbind()
    lists = BestLists(row_of, copies, min(first, len(candidates)), len(queries)) if first else None
    for start in range(0, len(queries), tile):
        part = slice(start, start + tile)
        asked = queries[part].to(score_type)
        scores = torch.mm(asked, table, out=space[: len(asked)])
        places, filled = (torch.from_numpy(one).to(device) for one in positive_rows(part))
        # Copied columns may round differently inside one product, so equal candidates were made
        # one column above, and the positive's score is read from the very tile it is compared in.
        own = scores.gather(1, row_of[places]).masked_fill(~filled, -torch.inf)
        best = own.amax(dim=1, keepdim=True)
        above[part], level = count(scores, best)
        tied_positives[part] = (own == best).sum(dim=1)
        tied[part] = level - tied_positives[part]
        if lists:
            lists.take(part, scores)
    on_host = found.cpu().numpy()
    listed = (lists.first, lists.gap) if lists else (None, None)
    return Ranks(on_host[0], on_host[1], on_host[2], counts, len(candidates), *listed)


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


def distinct_rows(
    candidates: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distinct rows ``[U, D]``, the row of each candidate ``[M]``, and how often each occurs."""
    import torch

    rows, row_of, copies = torch.unique(candidates, dim=0, return_inverse=True, return_counts=True)
    if len(rows) == len(candidates):  # as they are, so that no sorted copy is kept beside them
        return candidates, torch.arange(len(rows), device=rows.device), copies
    return rows, row_of, copies


def _counter(
    copies: torch.Tensor, score_type: torch.dtype
) -> Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """A function from scores ``[t, U]`` and best ``[t, 1]`` to the counts above and at the best.

    Comparisons become ones and zeros of the scores' own type: sums of booleans cost more than the
    product itself.
    """
    import torch

    repeated = bool((copies != 1).any())
    # float32 adds whole numbers exactly, in any order, while the sum stays below 2**24.
    number_type = torch.float64 if int(copies.sum()) >= 1 << 24 else score_type
    weights = copies.to(number_type)
    rows = max(1, BLOCK_BYTES // (weights.element_size() * len(copies)))

    def count(scores: torch.Tensor, best: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        step = rows if scores.device.type == "cpu" else len(scores)
        space = weights.new_empty(min(step, len(scores)), len(weights))
        counts: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for part, bar in zip(torch.split(scores, step), torch.split(best, step), strict=True):
            for compare, found in zip((torch.gt, torch.eq), counts, strict=True):
                ones = compare(part, bar, out=space[: len(part)])
                if repeated:
                    ones *= weights
                found.append(ones.sum(dim=1))
        higher, level = (torch.cat(found).to(torch.int64) for found in counts)
        return higher, level

    return count


def _positive_rows(
    query_groups: NDArray[np.integer], candidate_groups: NDArray[np.integer]
) -> tuple[Callable[[slice], tuple[IntArray, NDArray[np.bool_]]], IntArray]:
    """Candidates of each query's group, for a slice of the queries at a time, and their counts.

    The table of a slice is padded with each group's last candidate to ``[t, most]``; the second
    array is false there. For all queries at once it could be as large as all the scores.
    """
    order = np.argsort(candidate_groups, kind="stable").astype(np.int64)
    in_order = np.asarray(candidate_groups)[order]
    first = np.searchsorted(in_order, query_groups, side="left")
    counts = (np.searchsorted(in_order, query_groups, side="right") - first).astype(np.int64)
    without = np.flatnonzero(counts == 0)
    if len(without):
        raise OcclusionError(
            f"{len(without)} queries have no positive candidate:\n"
            + listed([f"query {row}" for row in without]),
            remedy="every radiograph needs its own report among the candidates",
        )

    def rows(part: slice) -> tuple[IntArray, NDArray[np.bool_]]:
        held = counts[part, None]
        steps = np.arange(held.max())
        return order[first[part, None] + np.minimum(steps, held - 1)], steps < held

    return rows, counts


def tile_rows(candidates: int, tile_bytes: int = TILE_BYTES) -> int:
    """Queries that are multiplied together."""
    return max(1, tile_bytes // (4 * max(1, candidates)))
