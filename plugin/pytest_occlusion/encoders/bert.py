"""BERT as MedCLIP and CXR-CLIP save it, run straight from its tensors.

The files fix the names of the tensors; the modules of ``transformers`` have changed theirs since.
Plain functions over the tensors read the files with any version, and without importing it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_occlusion.encoders.attention import split_heads
from pytest_occlusion.encoders.weights import block_count, shape_of

if TYPE_CHECKING:
    import torch

EPSILON = 1e-12
"""Of every LayerNorm (``layer_norm_eps`` of Bio_ClinicalBERT's config)."""

HEAD_WIDTH = 64
"""Channels of an attention head: 12 heads for 768 channels in every BERT-base."""

UNUSED = ("embeddings.position_ids",)
"""Index buffers that files of transformers < 4.31 carry; they are counted here instead."""


@dataclass(frozen=True)
class BertSizes:
    """What the shapes of the tensors tell.

    Attributes:
        width: Channels.
        layers: Blocks.
        hidden: Rows of the MLP.
        vocabulary: Tokens.
        positions: Longest token sequence.
        kinds: Token types.
    """

    width: int
    layers: int
    hidden: int
    vocabulary: int
    positions: int
    kinds: int

    @property
    def heads(self) -> int:
        """Attention heads; a BERT narrower than 64 channels has one."""
        return max(1, self.width // HEAD_WIDTH)


def bert_sizes(state: Mapping[str, torch.Tensor], prefix: str, path: Path) -> BertSizes:
    """Read the sizes off the tensors under ``prefix``; OcclusionError when one is missing."""
    vocabulary, width = shape_of(state, f"{prefix}embeddings.word_embeddings.weight", 2, path)
    return BertSizes(
        width=width,
        layers=block_count(state, f"{prefix}encoder.layer."),
        hidden=shape_of(state, f"{prefix}encoder.layer.0.intermediate.dense.weight", 2, path)[0],
        vocabulary=vocabulary,
        positions=shape_of(state, f"{prefix}embeddings.position_embeddings.weight", 2, path)[0],
        kinds=shape_of(state, f"{prefix}embeddings.token_type_embeddings.weight", 2, path)[0],
    )


def bert_shapes(sizes: BertSizes) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor, the unused pooler included."""
    width = sizes.width
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (sizes.vocabulary, width),
        "embeddings.position_embeddings.weight": (sizes.positions, width),
        "embeddings.token_type_embeddings.weight": (sizes.kinds, width),
    }

    def linear(name: str, out: int, into: int) -> None:
        shapes.update({f"{name}.weight": (out, into), f"{name}.bias": (out,)})

    def norm(name: str) -> None:
        shapes.update({f"{name}.weight": (width,), f"{name}.bias": (width,)})

    norm("embeddings.LayerNorm")
    for layer in range(sizes.layers):
        at = f"encoder.layer.{layer}."
        for part in ("query", "key", "value"):
            linear(f"{at}attention.self.{part}", width, width)
        linear(f"{at}attention.output.dense", width, width)
        norm(f"{at}attention.output.LayerNorm")
        linear(f"{at}intermediate.dense", sizes.hidden, width)
        linear(f"{at}output.dense", width, sizes.hidden)
        norm(f"{at}output.LayerNorm")
    linear("pooler.dense", width, width)
    return shapes


def bert_states(
    weights: Mapping[str, torch.Tensor],
    sizes: BertSizes,
    ids: torch.Tensor,
    mask: torch.Tensor,
) -> list[torch.Tensor]:
    """All hidden states, the embeddings' first.

    Args:
        weights: Tensors by the names of :func:`bert_shapes`, float32.
        sizes: Their sizes.
        ids: int64 token ids ``[N, L]``.
        mask: bool ``[N, L]``, False on padding. Padding is never attended to, but attends itself.

    Returns:
        ``layers + 1`` tensors ``[N, L, width]``.
    """
    from torch.nn import functional as nn

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return nn.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return nn.layer_norm(x, (sizes.width,), scale, shift, EPSILON)

    count, length = ids.shape

    x = weights["embeddings.word_embeddings.weight"][ids]
    # Every token is of type 0: upstream passes zeros (CXR-CLIP) or nothing (MedCLIP).
    x = x + weights["embeddings.token_type_embeddings.weight"][0]
    x = x + weights["embeddings.position_embeddings.weight"][:length]
    x = norm(x, "embeddings.LayerNorm")
    states = [x]
    seen = mask[:, None, None, :]
    for layer in range(sizes.layers):
        at = f"encoder.layer.{layer}."
        query, key, value = (
            split_heads(linear(x, f"{at}attention.self.{part}"), sizes.heads)
            for part in ("query", "key", "value")
        )
        mixed = nn.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        mixed = mixed.transpose(1, 2).reshape(count, length, sizes.width)
        x = norm(
            x + linear(mixed, f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm"
        )
        inner = nn.gelu(linear(x, f"{at}intermediate.dense"))  # erf, not its tanh approximation
        x = norm(x + linear(inner, f"{at}output.dense"), f"{at}output.LayerNorm")
        states.append(x)
    return states


def padded_rows(
    rows: Sequence[Sequence[int]], device: torch.device, *, length: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of token ids -> int64 ids ``[N, L]`` padded with 0 on the right, and their bool mask.

    Args:
        rows: Non-empty rows.
        device: Where to put the result.
        length: Pad to this many tokens; 0 for the longest row.
    """
    import torch

    longest = max(length, *map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    lengths = torch.tensor([len(row) for row in rows])
    mask = torch.arange(longest) < lengths[:, None]
    return ids.to(device), mask.to(device)
