"""The vision towers that MedCLIP and CXR-CLIP share, ready to be called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_occlusion.encoders import bert, swin
from pytest_occlusion.encoders.resnet import (
    ResNetSizes,
    channels_last,
    folded,
    resnet_features,
)
from pytest_occlusion.encoders.swin import (
    SwinSizes,
    check_tiling,
    swin_tokens,
    window_biases,
)

if TYPE_CHECKING:
    import torch


def is_index(name: str) -> bool:
    """Whether an entry is a table of positions that the towers count for themselves."""
    return name.endswith((*bert.UNUSED, swin.UNUSED))


def prefixed(prefix: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Put a tower's place in the file before its names."""
    return {f"{prefix}{name}": shape for name, shape in shapes.items()}


def vision_variant(sizes: SwinSizes | ResNetSizes) -> str:
    """The published name of a vision tower, or its sizes when it has none."""
    if isinstance(sizes, ResNetSizes):
        known = sizes == ResNetSizes(64, (3, 4, 6, 3))
        depths = "-".join(map(str, sizes.depths))
        return "ResNet50" if known else f"ResNet-w{sizes.width}-l{depths}"
    known = (sizes.width, sizes.depths, sizes.window) == (96, (2, 2, 6, 2), 7)
    depths = "-".join(map(str, sizes.depths))
    return "Swin-T" if known else f"Swin-w{sizes.width}-l{depths}/{sizes.patch}"


def pooled_resnet(
    weights: Mapping[str, torch.Tensor], sizes: ResNetSizes
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Pixels ``[N, 3, S, S]`` -> globally averaged features ``[N, channels]``."""
    weights = folded(weights)
    if weights["conv1.weight"].device.type == "cpu":
        weights = channels_last(weights)
    return lambda pixels: resnet_features(weights, sizes, pixels)


def pooled_swin(
    weights: Mapping[str, torch.Tensor],
    sizes: SwinSizes,
    side: int,
    path: Path,
    pool: Callable[[torch.Tensor], torch.Tensor],
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Pixels ``[N, 3, side, side]`` -> ``pool`` of the final tokens ``[N, patches, channels]``."""
    check_tiling(sizes, side, path)
    biases = window_biases(weights, sizes, side)
    return lambda pixels: pool(swin_tokens(weights, biases, sizes, pixels))
