"""Attention: what the transformers of several families share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Share the channels out among attention heads, which lie side by side in them.

    Args:
        x: ``[N, L, C]``, of any dtype.
        heads: A divisor of ``C``.

    Returns:
        A view ``[N, heads, L, C / heads]``.

    Raises:
        RuntimeError: ``heads`` does not divide ``C``.
    """
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)
