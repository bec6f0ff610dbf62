"""Ranks: for every query, how many candidates beat its positive and how many tie with it.

One pass over the scores gives numbers from which recall at every k, reciprocal and median rank, and
every interval follow. Nothing of size queries x candidates is ever held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.errors import OcclusionError, listed

if TYPE_CHECKING:
    import torch

IntArray = NDArray[np.int64]

TILE_BYTES = 32 << 20
"""Upper bound of one tile of scores. Larger tiles were not faster on CPU, smaller ones were."""


@dataclass(frozen=True)
class Ranks:
    """Where the positives of each query stand among the candidates.

    Attributes:
        above: int64 ``[N]``, negatives that score strictly higher than the best positive.
        tied: int64 ``[N]``, negatives that score exactly as the best positive does.
        tied_positives: int64 ``[N]``, positives at that score; 1 unless a query has several.
        positives: int64 ``[N]``, positives of each query among the candidates.
        candidates: Number of candidates.
    """

    above: IntArray
    tied: IntArray
    tied_positives: IntArray
    positives: IntArray
    candidates: int

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

    Returns:
        Ranks of the ``N`` queries.

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
    tile_bytes: int = TILE_BYTES,
) -> Ranks:
    """Rank candidates where a candidate is positive for a query when their groups are equal.

    This covers both directions: image to report (one candidate a group) and report to image (any
    radiograph of the group is a hit; the best one counts).

    Args:
        queries: ``[N, D]`` floating tensor.
        candidates: ``[M, D]`` floating tensor on the same device.
        query_groups: ``[N]`` integers.
        candidate_groups: ``[M]`` integers.
        tile_bytes: Upper bound of one tile of scores.

    Raises:
        OcclusionError: As :func:`rank_candidates`, or a query whose group has no candidate.
    """
    import torch

    _check("query", queries)
    _check("candidate", candidates)
    if queries.shape[1] != candidates.shape[1]:
        raise OcclusionError(
            f"queries have {queries.shape[1]} dimensions, candidates {candidates.shape[1]}",
            remedy="embed both with the same encoder",
        )
    positive_rows, counts = _positive_rows(query_groups, candidate_groups)
    rows, row_of, copies = _distinct_rows(candidates)
    device = queries.device
    score_type = torch.float64 if queries.dtype == torch.float64 else torch.float32
    table = rows.to(score_type).T
    positive_table = row_of[torch.from_numpy(positive_rows).to(device)]
    filled = torch.arange(positive_rows.shape[1], device=device) < torch.from_numpy(counts).to(
        device
    ).reshape(-1, 1)
    repeated = bool((copies != 1).any())
    tile = max(1, tile_bytes // (table.element_size() * max(1, table.shape[1])))
    above, tied, tied_positives = [], [], []
    for start in range(0, len(queries), tile):
        part = slice(start, start + tile)
        scores = queries[part].to(score_type) @ table
        # Copied columns may round differently inside one product, so equal candidates were made
        # one column above, and the positive's score is read from the very tile it is compared in.
        own = scores.gather(1, positive_table[part]).masked_fill(~filled[part], -torch.inf)
        best = own.amax(dim=1, keepdim=True)
        higher, equal = scores > best, scores == best
        if repeated:
            above.append((higher * copies).sum(dim=1))
            level = (equal * copies).sum(dim=1)
        else:
            above.append(higher.sum(dim=1))
            level = equal.sum(dim=1)
        at_best = (own == best).sum(dim=1)
        tied.append(level - at_best)
        tied_positives.append(at_best)
    return Ranks(
        above=torch.cat(above).cpu().numpy(),
        tied=torch.cat(tied).cpu().numpy(),
        tied_positives=torch.cat(tied_positives).cpu().numpy(),
        positives=counts,
        candidates=len(candidates),
    )


def _check(kind: str, embeddings: torch.Tensor) -> None:
    """Refuse what would rank silently wrong: NaN compares false and so looks like a perfect hit."""
    plural = {"query": "queries", "candidate": "candidates"}[kind]
    if embeddings.ndim != 2 or len(embeddings) == 0:
        raise OcclusionError(
            f"the embeddings of the {plural} have shape {tuple(embeddings.shape)}",
            remedy="embeddings are [rows, dimensions] with at least one row",
        )
    sums = embeddings.abs().sum(dim=1)
    for name, bad in (("not finite", ~sums.isfinite()), ("zero", sums == 0)):
        found = bad.nonzero().flatten().tolist()
        if found:
            places = ", ".join(str(row) for row in found[:20])
            more = f" and {len(found) - 20} more" if len(found) > 20 else ""
            raise OcclusionError(
                f"{len(found)} of {len(embeddings)} {kind} embeddings are {name}: rows "
                f"{places}{more}",
                remedy="the checkpoint or its precision is at fault; look at its weights before "
                "trusting any number it gives",
            )


def _positive_rows(
    query_groups: NDArray[np.integer], candidate_groups: NDArray[np.integer]
) -> tuple[IntArray, IntArray]:
    """Candidates of each query's group: ``[N, most]`` padded with the first one, and counts."""
    order = np.argsort(candidate_groups, kind="stable")
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
    steps = np.minimum(np.arange(counts.max()), counts[:, None] - 1)
    return order[first[:, None] + steps].astype(np.int64), counts


def _distinct_rows(
    candidates: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distinct rows ``[U, D]``, the row of each candidate ``[M]``, and how often each occurs.

    Rows are compared bit by bit through a 64-bit hash per row, then verified: equal hashes with
    different bytes would merge candidates, so in that (never seen) case nothing is merged.
    """
    import torch

    plain = candidates + 0.0  # -0.0 becomes 0.0: equal scores must mean equal bits
    bits = plain.contiguous().view(torch.uint8).reshape(len(plain), -1)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(-(1 << 62), 1 << 62, (bits.shape[1],), generator=generator) | 1
    weights = weights.to(candidates.device)
    hashes = torch.cat(
        [(piece.to(torch.int64) * weights).sum(dim=1) for piece in torch.split(bits, 2048)]
    )
    _, row_of, copies = torch.unique(hashes, return_inverse=True, return_counts=True)
    everyone = torch.arange(len(plain), device=candidates.device)
    if len(copies) == len(plain):
        return plain, everyone, torch.ones_like(everyone)
    first = torch.full_like(copies, len(plain)).scatter_reduce(0, row_of, everyone, "amin")
    rows = plain[first]
    agree = all(
        bool((rows[row_of[piece]] == plain[piece]).all()) for piece in torch.split(everyone, 2048)
    )
    if not agree:  # pragma: no cover - a 64-bit collision
        return plain, everyone, torch.ones_like(everyone)
    return rows, row_of, copies
