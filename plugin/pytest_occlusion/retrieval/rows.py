"""Rows of embeddings: which of them cannot be ranked, and which of them are equal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import torch

PIECE = 256
"""Rows that are looked at together: a hash needs eight bytes for every byte of theirs."""


def check_rows(kind: str, embeddings: torch.Tensor) -> None:
    """Refuse what would rank silently wrong: NaN compares false and so looks like a perfect hit."""
    import torch

    plural = {"query": "queries", "candidate": "candidates"}[kind]
    if embeddings.ndim != 2 or len(embeddings) == 0:
        raise OcclusionError(
            f"the embeddings of the {plural} have shape {tuple(embeddings.shape)}",
            remedy="embeddings are [rows, dimensions] with at least one row",
        )
    sums = torch.cat([piece.abs().sum(dim=1) for piece in torch.split(embeddings, PIECE)])
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


def distinct_rows(
    candidates: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distinct rows ``[U, D]``, the row of each candidate ``[M]``, and how often each occurs.

    Rows are compared bit by bit through a 64-bit hash per row, then verified: equal hashes with
    different bytes would merge candidates, so in that (never seen) case nothing is merged.
    """
    import torch

    def bits(piece: torch.Tensor) -> torch.Tensor:
        plain = piece + 0.0  # -0.0 becomes 0.0: equal scores must mean equal bits
        return plain.contiguous().view(torch.uint8).reshape(len(piece), -1)

    generator = torch.Generator().manual_seed(0)
    width = candidates.shape[1] * candidates.element_size()
    weights = torch.randint(-(1 << 62), 1 << 62, (width,), generator=generator) | 1
    weights = weights.to(candidates.device)
    hashes = torch.cat(
        [
            (bits(piece).to(torch.int64) * weights).sum(dim=1)
            for piece in torch.split(candidates, PIECE)
        ]
    )
    _, row_of, copies = torch.unique(hashes, return_inverse=True, return_counts=True)
    everyone = torch.arange(len(candidates), device=candidates.device)
    if len(copies) == len(candidates):
        return candidates, everyone, torch.ones_like(everyone)
    first = torch.full_like(copies, len(candidates)).scatter_reduce(0, row_of, everyone, "amin")
    rows = candidates[first]
    agree = all(
        bool((rows[row_of[piece]] == candidates[piece]).all())
        for piece in torch.split(everyone, PIECE)
    )
    if not agree:  # pragma: no cover - a 64-bit collision
        return candidates, everyone, torch.ones_like(everyone)
    return rows, row_of, copies
