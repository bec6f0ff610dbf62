"""Occlude canvases: masks and fills put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.occlusion.fills import FILL_VALUES
from pytest_occlusion.occlusion.hashing import key_words
from pytest_occlusion.occlusion.masks import MaskAt, Occluder, find_occluder
from pytest_occlusion.occlusion.names import FILLS, OCCLUDERS


@dataclass(frozen=True)
class Occlusion:
    """A batch of canvases ready to be occluded at any ratio.

    Attributes:
        canvases: ``[N, C, H, W]``, untouched.
        mask_at: Ratio -> bool ``[N, H, W]``, true where blocked.
        values: What blocked pixels become; broadcasts against ``canvases``.
    """

    canvases: torch.Tensor
    mask_at: MaskAt
    values: torch.Tensor

    def at(self, ratio: float) -> torch.Tensor:
        """The canvases with ``ratio`` of their pixels replaced; themselves at ratio 0."""
        if ratio == 0:
            return self.canvases
        return torch.where(self.mask_at(ratio)[:, None], self.values, self.canvases)


def prepare_occlusion(
    canvases: torch.Tensor, *, occluder: str, fill: str, keys: Sequence[str], seed: int
) -> Occlusion:
    """Work out once what all ratios of one batch share.

    Args:
        canvases: uint8 (0..255) or float (0..1) tensor ``[N, C, H, W]`` on any device; masks are
            made there.
        occluder: A name of :data:`OCCLUDERS`, or that of a tile
            (:mod:`pytest_occlusion.occlusion.tiles`).
        fill: A name of :data:`FILLS`.
        keys: One radiograph key per canvas.
        seed: Mask seed.

    Raises:
        OcclusionError: An unknown name, a tensor of another rank, or keys that do not match.
    """
    if canvases.ndim != 4:
        raise OcclusionError(
            f"canvases must be [N, C, H, W]; got {canvases.ndim} dimensions",
            remedy="stack the images into one batch first",
        )
    if len(keys) != len(canvases):
        raise OcclusionError(
            f"{len(canvases)} canvases but {len(keys)} keys",
            remedy="give one key per canvas: the key decides where its mask lies",
        )
    masks = _occluder(occluder)
    if fill not in FILLS:
        raise OcclusionError(f"unknown fill {fill!r}", remedy=f"known: {', '.join(FILLS)}")
    words = key_words(keys, occluder=occluder, seed=seed).to(canvases.device)
    mask_at = masks(words, canvases.shape[2], canvases.shape[3])
    return Occlusion(canvases, mask_at, FILL_VALUES[fill](canvases, words))


def _occluder(name: str) -> Occluder:
    found = find_occluder(name)
    if found is None:
        raise OcclusionError(f"unknown occluder {name!r}", remedy=f"known: {', '.join(OCCLUDERS)}")
    return found


def occlude(
    pixels: torch.Tensor,
    *,
    ratio: float,
    keys: Sequence[str],
    occluder: str = "block",
    fill: str = "black",
    seed: int = 0,
) -> torch.Tensor:
    """Block a share of every image.

    Args:
        pixels: uint8 (0..255) or float (0..1) tensor ``[N, C, H, W]``.
        ratio: Share of the pixels to block, in [0, 1).
        keys: One string per image. The mask depends on (seed, key, occluder) only.
        occluder: A name of :data:`OCCLUDERS`.
        fill: A name of :data:`FILLS`.
        seed: Mask seed.

    Returns:
        A tensor of the same shape, dtype and device.

    Raises:
        OcclusionError: A ratio outside [0, 1) or any fault named in :func:`prepare_occlusion`.
    """
    if not 0 <= ratio < 1:
        raise OcclusionError(
            f"ratio {ratio} is outside [0, 1)", remedy="0.25 blocks a quarter of the canvas"
        )
    prepared = prepare_occlusion(pixels, occluder=occluder, fill=fill, keys=keys, seed=seed)
    return prepared.at(ratio)


def achieved_area(occluder: str, ratio: float, height: int, width: int) -> float:
    """Share of a canvas that is really blocked; every radiograph has the same."""
    if ratio == 0:
        return 0.0
    masks = _occluder(occluder)
    words = key_words([""], occluder=occluder, seed=0)
    return float(masks(words, height, width)(ratio).double().mean())
