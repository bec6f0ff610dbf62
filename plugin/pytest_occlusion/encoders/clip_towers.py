"""CLIP's two towers, run straight from the tensors of a state_dict in openai/CLIP's naming."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_occlusion.encoders.attention import split_heads
from pytest_occlusion.encoders.clip_model import Sizes
from pytest_occlusion.encoders.resnet import channels_last, folded
from pytest_occlusion.encoders.weights import place, under

if TYPE_CHECKING:
    import torch

BLOCKS = "transformer.resblocks."
"""Prefix of the transformer blocks, in both towers."""


def clip_weights(
    state: Mapping[str, torch.Tensor], sizes: Sizes, device: torch.device
) -> dict[str, torch.Tensor]:
    """Checked weights on ``device`` in float32; a ResNet's norms merged into its convolutions."""
    weights = place(state, device)
    if not sizes.resnet:
        return weights
    merged = folded(under(weights, "visual."))
    if device.type == "cpu":
        # oneDNN's convolutions are about 1.8 times as fast on channels-last tensors.
        merged = channels_last(merged)
    # Of the vision tower only the attention pool stands beside the merged convolutions.
    kept = {
        name: tensor
        for name, tensor in weights.items()
        if not name.startswith("visual.") or name.startswith("visual.attnpool.")
    }
    return kept | {f"visual.{name}": tensor for name, tensor in merged.items()}


def image_features(
    weights: Mapping[str, torch.Tensor], sizes: Sizes, pixels: torch.Tensor
) -> torch.Tensor:
    """Normalised float32 ``[N, 3, side, side]`` -> raw image features ``[N, D]``.

    With a :func:`~pytest_occlusion.encoders.weights.grey_stem`, ``[N, 1, side, side]``.
    """
    return (_resnet if sizes.resnet else _transformer)(weights, sizes, pixels)


def _resnet(
    weights: Mapping[str, torch.Tensor], sizes: Sizes, pixels: torch.Tensor
) -> torch.Tensor:
    """The modified ResNet (openai/CLIP ``clip/model.py:ModifiedResNet``).

    Three convolutions for a stem, strides by average pooling, attention instead of a mean.
    """
    import torch
    from torch.nn import functional as nn

    def conv(x: torch.Tensor, name: str, stride: int = 1, padding: int = 0) -> torch.Tensor:
        kernel, bias = weights[f"visual.{name}.weight"], weights[f"visual.{name}.bias"]
        return nn.conv2d(x, kernel, bias, stride, padding)

    if weights["visual.conv1.weight"].is_contiguous(memory_format=torch.channels_last):
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    x = conv(pixels, "conv1", stride=2, padding=1).relu_()
    x = conv(x, "conv2", padding=1).relu_()
    x = nn.avg_pool2d(conv(x, "conv3", padding=1).relu_(), 2)
    for stage, depth in enumerate(sizes.layers, start=1):
        for block in range(depth):
            at = f"layer{stage}.{block}."
            y = conv(x, f"{at}conv1").relu_()
            y = conv(y, f"{at}conv2", padding=1).relu_()
            if stage > 1 and block == 0:
                x, y = nn.avg_pool2d(x, 2), nn.avg_pool2d(y, 2)
            y = conv(y, f"{at}conv3")
            if block == 0:
                x = conv(x, f"{at}downsample.0")
            x = y.add_(x).relu_()
    return _pooled(weights, sizes, x)


def _pooled(weights: Mapping[str, torch.Tensor], sizes: Sizes, x: torch.Tensor) -> torch.Tensor:
    """The mean position asks all positions and itself (``clip/model.py:AttentionPool2d``).

    Args:
        weights: From :func:`clip_weights`.
        sizes: Their sizes.
        x: ``[N, channels, H, W]``.

    Returns:
        ``[N, D]``.
    """
    import torch
    from torch.nn import functional as nn

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        at = f"visual.attnpool.{name}"
        return nn.linear(x, weights[f"{at}.weight"], weights[f"{at}.bias"])

    heads = max(1, sizes.width * 32 // sizes.head_width)
    tokens = x.flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)
    tokens = tokens + weights["visual.attnpool.positional_embedding"].to(tokens.dtype)
    query = split_heads(linear(tokens[:, :1], "q_proj"), heads)
    key, value = (split_heads(linear(tokens, name), heads) for name in ("k_proj", "v_proj"))
    pooled = nn.scaled_dot_product_attention(query, key, value)
    return linear(pooled.flatten(1), "c_proj")


def _transformer(
    weights: Mapping[str, torch.Tensor], sizes: Sizes, pixels: torch.Tensor
) -> torch.Tensor:
    """The vision transformer (openai/CLIP ``clip/model.py:VisionTransformer``)."""
    import torch
    from torch.nn import functional as nn

    own = under(weights, "visual.")
    x = nn.conv2d(pixels, own["conv1.weight"], stride=sizes.patch).flatten(2).transpose(1, 2)
    start = own["class_embedding"].to(x.dtype).expand(len(x), 1, -1)
    x = torch.cat([start, x], dim=1) + own["positional_embedding"].to(x.dtype)
    heads = sizes.width // sizes.head_width
    x = _norm(own, "ln_pre", x)
    x = _blocks(own, x, sizes.layers[0], heads, quick=sizes.quick_gelu)
    return _norm(own, "ln_post", x[:, 0]) @ own["proj"]


def _norm(weights: Mapping[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import layer_norm

    scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return layer_norm(x, scale.shape, scale, shift)


def _blocks(
    weights: Mapping[str, torch.Tensor],
    x: torch.Tensor,
    depth: int,
    heads: int,
    *,
    quick: bool,
    causal: bool = False,
) -> torch.Tensor:
    """Pre-norm transformer blocks ``[N, L, C]`` (``clip/model.py:ResidualAttentionBlock``)."""
    from torch.nn import functional as nn

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return nn.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    for block in range(depth):
        at = f"{BLOCKS}{block}."
        y = _norm(weights, f"{at}ln_1", x)
        joint = nn.linear(y, weights[f"{at}attn.in_proj_weight"], weights[f"{at}attn.in_proj_bias"])
        query, key, value = (split_heads(part, heads) for part in joint.chunk(3, dim=-1))
        y = nn.scaled_dot_product_attention(query, key, value, is_causal=causal)
        x = x + linear(y.transpose(1, 2).flatten(2), f"{at}attn.out_proj")
        y = linear(_norm(weights, f"{at}ln_2", x), f"{at}mlp.c_fc")
        y = y * (1.702 * y).sigmoid() if quick else nn.gelu(y)
        x = x + linear(y, f"{at}mlp.c_proj")
    return x


def text_features(
    weights: Mapping[str, torch.Tensor], sizes: Sizes, rows: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Rows of token ids, each within the limit -> raw text features ``[N, D]``.

    Rows are padded to the longest of the call only. Attention looks back only and the feature is
    read at the end mark, so what follows it cannot reach the result.
    """
    import torch

    positions = weights["positional_embedding"]
    length = max(map(len, rows))
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    ids = ids.to(positions.device)
    x = weights["token_embedding.weight"][ids] + positions[:length]
    x = _blocks(
        weights, x, sizes.text_layers, sizes.text_heads, quick=sizes.quick_gelu, causal=True
    )
    ends = ids.argmax(dim=-1)  # the end mark has the highest id; the first of them, as upstream
    picked = _norm(weights, "ln_final", x[torch.arange(len(rows), device=ids.device), ends])
    return picked @ weights["text_projection"]
