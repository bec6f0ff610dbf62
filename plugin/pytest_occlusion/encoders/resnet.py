"""ResNet50 in torchvision's naming, of any width and depth, run straight from its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_occlusion.encoders.weights import block_count, shape_of

if TYPE_CHECKING:
    import torch

EPSILON = 1e-5
"""Of every BatchNorm (torch's default, which torchvision keeps)."""

EXPANSION = 4
"""Channels out of a bottleneck block per channel inside it."""


@dataclass(frozen=True)
class ResNetSizes:
    """What the shapes of the tensors tell.

    Attributes:
        width: Channels of the stem and of the first stage's bottlenecks (64 in ResNet50).
        depths: Blocks of the four stages ((3, 4, 6, 3) in ResNet50).
    """

    width: int
    depths: tuple[int, ...]

    @property
    def channels(self) -> int:
        """Of the pooled feature: 2048 in ResNet50."""
        return int(self.width * 2 ** (len(self.depths) - 1) * EXPANSION)


def resnet_sizes(state: Mapping[str, torch.Tensor], prefix: str, path: Path) -> ResNetSizes:
    """Read the sizes off the tensors under ``prefix``; OcclusionError when one is missing."""
    width = shape_of(state, f"{prefix}conv1.weight", 4, path)[0]
    depths = tuple(block_count(state, f"{prefix}layer{stage}.") for stage in (1, 2, 3, 4))
    return ResNetSizes(width, depths)


def resnet_shapes(sizes: ResNetSizes) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor, without the head."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, norm: str, out: int, into: int, kernel: int) -> None:
        shapes[f"{name}.weight"] = (out, into, kernel, kernel)
        shapes.update(norm_shapes(norm, out))

    conv("conv1", "bn1", sizes.width, 3, 7)
    into = sizes.width
    for stage, depth in enumerate(sizes.depths):
        inner = sizes.width << stage
        for block in range(depth):
            at = f"layer{stage + 1}.{block}."
            conv(f"{at}conv1", f"{at}bn1", inner, into, 1)
            conv(f"{at}conv2", f"{at}bn2", inner, inner, 3)
            conv(f"{at}conv3", f"{at}bn3", inner * EXPANSION, inner, 1)
            if block == 0:
                conv(f"{at}downsample.0", f"{at}downsample.1", inner * EXPANSION, into, 1)
            into = inner * EXPANSION
    return shapes


def norm_shapes(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors of one BatchNorm."""
    parts = ("weight", "bias", "running_mean", "running_var")
    counted = {f"{name}.num_batches_tracked": ()}
    return {**{f"{name}.{part}": (channels,) for part in parts}, **counted}


def folded(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Every BatchNorm merged into the convolution before it.

    In evaluation mode it is a fixed scale and shift per channel. Leaving out its passes over memory
    saves a fifth of the time on a CPU; results move by some 1e-7 of their size.

    Args:
        weights: Tensors by the names of :func:`resnet_shapes`, float32.

    Returns:
        ``conv.weight`` and ``conv.bias`` of each convolution, in its memory format.
    """
    merged = {}
    for name in weights:
        norm, _, last = name.rpartition(".")
        if last != "running_mean":
            continue
        # bnN stands behind convN, and in a shortcut 1 behind 0.
        conv = norm.replace("bn", "conv") if "bn" in norm else f"{norm[:-1]}0"
        scale = weights[f"{norm}.weight"] * (weights[f"{norm}.running_var"] + EPSILON).rsqrt()
        merged[f"{conv}.weight"] = weights[f"{conv}.weight"] * scale[:, None, None, None]
        merged[f"{conv}.bias"] = weights[f"{norm}.bias"] - weights[name] * scale
    return merged


def resnet_features(
    weights: Mapping[str, torch.Tensor], sizes: ResNetSizes, pixels: torch.Tensor
) -> torch.Tensor:
    """Globally averaged features.

    Args:
        weights: From :func:`folded`, float32.
        sizes: Their sizes.
        pixels: Normalised float32 ``[N, 3, S, S]``, or one channel if the first kernels have one.

    Returns:
        ``[N, channels]``.
    """
    import torch
    from torch.nn import functional as nn

    def conv(x: torch.Tensor, name: str, stride: int = 1, padding: int = 0) -> torch.Tensor:
        return nn.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, padding)

    if weights["conv1.weight"].is_contiguous(memory_format=torch.channels_last):
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    x = conv(pixels, "conv1", stride=2, padding=3).relu_()
    x = halved(x)
    for stage, depth in enumerate(sizes.depths, start=1):
        for block in range(depth):
            at = f"layer{stage}.{block}."
            # The stride is in the 3 x 3 convolution, as in torchvision (not in the first 1 x 1).
            stride = 2 if stage > 1 and block == 0 else 1
            y = conv(x, f"{at}conv1").relu_()
            y = conv(y, f"{at}conv2", stride=stride, padding=1).relu_()
            y = conv(y, f"{at}conv3")
            if block == 0:
                x = conv(x, f"{at}downsample.0", stride=stride)
            x = y.add_(x).relu_()
    return x.mean((2, 3))


def halved(x: torch.Tensor) -> torch.Tensor:
    """``max_pool2d(x, 3, stride=2, padding=1)`` of ``[N, C, H, W]``.

    On a CPU torch's own notes where each maximum stood: by rows and then by columns takes half as
    long for small pictures. For large ones it takes a sixth longer, in a hundredth of the pass.
    """
    import torch
    from torch.nn.functional import max_pool2d

    if x.device.type != "cpu" or x.shape[2] % 2 or x.shape[3] % 2:
        return max_pool2d(x, 3, stride=2, padding=1)
    rows = torch.maximum(x[:, :, 0::2], x[:, :, 1::2])
    torch.maximum(rows[:, :, 1:], x[:, :, 1:-1:2], out=rows[:, :, 1:])
    both = torch.maximum(rows[..., 0::2], rows[..., 1::2])
    torch.maximum(both[..., 1:], rows[..., 1:-1:2], out=both[..., 1:])
    return both


def channels_last(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights with convolutions laid out as oneDNN is fastest with on a CPU."""
    import torch

    def laid_out(tensor: torch.Tensor) -> torch.Tensor:
        # ``contiguous`` would leave kernels of one channel with strides that say channels-first.
        return torch.empty_like(tensor, memory_format=torch.channels_last).copy_(tensor)

    return {n: laid_out(tensor) if tensor.dim() == 4 else tensor for n, tensor in weights.items()}
