"""Swin Transformer as MedCLIP and CXR-CLIP save it, run straight from its tensors.

See ``bert.py`` for why this does not go through ``transformers``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_occlusion.encoders.attention import split_heads
from pytest_occlusion.encoders.weights import block_count, shape_of
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import torch

EPSILON = 1e-5
"""Of every LayerNorm (``layer_norm_eps`` of swin-tiny-patch4-window7-224's config)."""

APART = -100.0
"""Added to the attention between pixels that the cyclic shift has made neighbours (Swin paper)."""

PATCHES = "embeddings.patch_embeddings.projection"
"""The first convolution."""

UNUSED = "attention.self.relative_position_index"
"""Index buffer that files of that era carry; it is counted here instead."""


@dataclass(frozen=True)
class SwinSizes:
    """What the shapes of the tensors tell.

    Attributes:
        patch: Side of a patch in pixels.
        width: Channels of the first stage; they double from stage to stage.
        depths: Blocks of each stage.
        heads: Attention heads of each stage.
        window: Side of an attention window, in patches.
        ratio: Rows of an MLP per channel.
    """

    patch: int
    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    ratio: int

    @property
    def channels(self) -> int:
        """Of the last stage."""
        return int(self.width * 2 ** (len(self.depths) - 1))

    def stages(self) -> Iterator[tuple[int, int, int]]:
        """(number, channels, heads) of each stage."""
        for number, heads in enumerate(self.heads):
            yield number, self.width << number, heads


def swin_sizes(state: Mapping[str, torch.Tensor], prefix: str, path: Path) -> SwinSizes:
    """Read the sizes off the tensors under ``prefix``; OcclusionError when one is missing."""
    width, _, patch, _ = shape_of(state, f"{prefix}{PATCHES}.weight", 4, path)
    layers = f"{prefix}encoder.layers."
    stages = range(block_count(state, layers))
    tables = [
        shape_of(
            state,
            f"{layers}{stage}.blocks.0.attention.self.relative_position_bias_table",
            2,
            path,
        )
        for stage in stages
    ]
    rows = shape_of(state, f"{layers}0.blocks.0.intermediate.dense.weight", 2, path)[0]
    return SwinSizes(
        patch=patch,
        width=width,
        depths=tuple(block_count(state, f"{layers}{stage}.blocks.") for stage in stages),
        heads=tuple(heads for _, heads in tables),
        window=(round(tables[0][0] ** 0.5) + 1) // 2,
        ratio=rows // width,
    )


def check_tiling(sizes: SwinSizes, side: int, path: Path) -> None:
    """Refuse an input of ``side`` pixels that the windows of some stage would not tile.

    Raises:
        OcclusionError: Says which sides are possible.
    """
    unit = (sizes.patch * sizes.window) << (len(sizes.depths) - 1)
    if side % unit:
        raise OcclusionError(
            f"{path}: a Swin with windows of {sizes.window} patches of {sizes.patch} pixels in "
            f"{len(sizes.depths)} stages cannot tile an input of {side} pixels",
            remedy=f"set canvas-size to the training size, a multiple of {unit}.",
        )


def swin_shapes(sizes: SwinSizes) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor, without the index buffers."""
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, out: int, into: int) -> None:
        shapes.update({f"{name}.weight": (out, into), f"{name}.bias": (out,)})

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.weight": (width,), f"{name}.bias": (width,)})

    width, patch = sizes.width, sizes.patch
    shapes[f"{PATCHES}.weight"] = (width, 3, patch, patch)
    shapes[f"{PATCHES}.bias"] = (width,)
    norm("embeddings.norm", width)
    for number, channels, heads in sizes.stages():
        for block in range(sizes.depths[number]):
            at = f"encoder.layers.{number}.blocks.{block}."
            norm(f"{at}layernorm_before", channels)
            norm(f"{at}layernorm_after", channels)
            for part in ("query", "key", "value"):
                linear(f"{at}attention.self.{part}", channels, channels)
            entries = (2 * sizes.window - 1) ** 2
            shapes[f"{at}attention.self.relative_position_bias_table"] = (entries, heads)
            linear(f"{at}attention.output.dense", channels, channels)
            linear(f"{at}intermediate.dense", sizes.ratio * channels, channels)
            linear(f"{at}output.dense", channels, sizes.ratio * channels)
        if number < len(sizes.depths) - 1:
            at = f"encoder.layers.{number}.downsample."
            norm(f"{at}norm", 4 * channels)
            shapes[f"{at}reduction.weight"] = (2 * channels, 4 * channels)
    norm("layernorm", sizes.channels)
    return shapes


def window_biases(
    weights: Mapping[str, torch.Tensor], sizes: SwinSizes, side: int
) -> dict[str, torch.Tensor]:
    """What is added to the attention of each block, worked out once for the fixed input size.

    Args:
        weights: Tensors by the names of :func:`swin_shapes`.
        sizes: Their sizes.
        side: Side of the input in pixels, which :func:`check_tiling` accepts.

    Returns:
        ``"stage.block"`` -> float32 ``[1 or windows, heads, window**2, window**2]``.
    """
    biases = {}
    for number, _, heads in sizes.stages():
        across = (side // sizes.patch) >> number
        for block in range(sizes.depths[number]):
            at = f"encoder.layers.{number}.blocks.{block}."
            table = weights[f"{at}attention.self.relative_position_bias_table"]
            area = sizes.window**2
            index = _relative_index(sizes.window).to(table.device)
            bias = table[index.reshape(-1)].view(area, area, heads).permute(2, 0, 1)[None]
            if _shift(sizes, across, block):
                bias = bias + _shift_mask(across, sizes.window).to(table.device)
            biases[f"{number}.{block}"] = bias.contiguous()
    return biases


def _shift(sizes: SwinSizes, across: int, block: int) -> int:
    """Every second block shifts its windows by half, unless one window holds everything."""
    return sizes.window // 2 if block % 2 and across > sizes.window else 0


def _relative_index(window: int) -> torch.Tensor:
    """int64 ``[window**2, window**2]``: row of the bias table for each pair of patches."""
    import torch

    place = torch.arange(window**2)
    rows, columns = place // window, place % window
    down = rows[:, None] - rows[None] + window - 1
    across = columns[:, None] - columns[None] + window - 1
    return down * (2 * window - 1) + across


def _shift_mask(across: int, window: int) -> torch.Tensor:
    """float32 ``[windows, 1, window**2, window**2]``: APART between patches of other regions."""
    import torch

    place = torch.arange(across)
    # The last window along each axis holds patches from both ends of the picture.
    region = (place >= across - window).int() + (place >= across - window // 2).int()
    regions = _windows((region[:, None] * 3 + region[None])[None, :, :, None], window)[..., 0]
    return torch.where(regions[:, :, None] == regions[:, None, :], 0.0, APART)[:, None]


def _windows(x: torch.Tensor, window: int) -> torch.Tensor:
    """``[N, S, S, C]`` -> ``[N * windows, window**2, C]``."""
    count, across, _, channels = x.shape
    x = x.view(count, across // window, window, across // window, window, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window**2, channels)


def _unwindows(x: torch.Tensor, window: int, across: int) -> torch.Tensor:
    """The inverse of :func:`_windows`."""
    x = x.view(-1, across // window, across // window, window, window, x.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, across, across, x.shape[-1])


def swin_tokens(
    weights: Mapping[str, torch.Tensor],
    biases: Mapping[str, torch.Tensor],
    sizes: SwinSizes,
    pixels: torch.Tensor,
) -> torch.Tensor:
    """The final tokens after the last LayerNorm.

    Args:
        weights: Tensors by the names of :func:`swin_shapes`, float32.
        biases: From :func:`window_biases`.
        sizes: Their sizes.
        pixels: Normalised float32 ``[N, 3, side, side]``, or one channel if the kernels have one.

    Returns:
        ``[N, patches, channels]``, patches in row order.
    """
    from torch.nn import functional as nn

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return nn.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return nn.layer_norm(x, scale.shape, scale, shift, EPSILON)

    kernel, bias = weights[f"{PATCHES}.weight"], weights[f"{PATCHES}.bias"]
    x = nn.conv2d(pixels, kernel, bias, stride=sizes.patch)
    x = norm(x.permute(0, 2, 3, 1), "embeddings.norm")
    for number, _, heads in sizes.stages():
        across = x.shape[1]
        for block in range(sizes.depths[number]):
            at = f"encoder.layers.{number}.blocks.{block}."
            shift = _shift(sizes, across, block)
            y = norm(x, f"{at}layernorm_before")
            y = _windows(y.roll((-shift, -shift), (1, 2)) if shift else y, sizes.window)
            query, key, value = (
                split_heads(linear(y, f"{at}attention.self.{part}"), heads)
                for part in ("query", "key", "value")
            )
            scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
            bias = biases[f"{number}.{block}"]
            scores = scores.view(-1, *bias.shape).add_(bias).view(scores.shape)
            y = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
            y = _unwindows(linear(y, f"{at}attention.output.dense"), sizes.window, across)
            x = x + (y.roll((shift, shift), (1, 2)) if shift else y)
            y = nn.gelu(linear(norm(x, f"{at}layernorm_after"), f"{at}intermediate.dense"))
            x = x + linear(y, f"{at}output.dense")
        if number < len(sizes.depths) - 1:
            at = f"encoder.layers.{number}.downsample."
            x = _merged(x)
            x = nn.linear(norm(x, f"{at}norm"), weights[f"{at}reduction.weight"])
    return norm(x, "layernorm").flatten(1, 2)


def _merged(x: torch.Tensor) -> torch.Tensor:
    """Four neighbours become one patch: upper left, lower left, upper right, lower right."""
    import torch

    corners = (x[:, i::2, j::2] for j in (0, 1) for i in (0, 1))
    return torch.cat(list(corners), dim=-1)
