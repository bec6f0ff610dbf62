"""Fills: what blocked pixels are replaced by.

Each takes canvases ``[N, C, H, W]`` (uint8, or float in [0, 1]) and the key words of each canvas
and gives values that broadcast against the canvases, of their dtype.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from pytest_occlusion.occlusion.hashing import position_words


def mean(canvases: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """The mean of each canvas and channel; for uint8 in integers, so that devices agree."""
    if canvases.is_floating_point():
        return canvases.mean(dim=(2, 3), keepdim=True)
    count = canvases.shape[2] * canvases.shape[3]
    total = canvases.sum(dim=(2, 3), keepdim=True, dtype=torch.int64)
    return ((2 * total + count) // (2 * count)).to(canvases.dtype)


def noise(canvases: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """Uniform grey noise, equal in all channels, fixed per pixel so that ratios stay nested."""
    height, width = canvases.shape[2:]
    position = torch.arange(height * width, device=canvases.device)
    # The last two words: the first two place the mask, and noise must not follow its pattern.
    grey = position_words(words[:, 2:], position) & 0xFF
    grey = grey.reshape(len(canvases), 1, height, width).to(canvases.dtype)
    return grey / 255 if canvases.is_floating_point() else grey


FILL_VALUES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "black": lambda some, words: some.new_zeros(()),
    "white": lambda some, words: some.new_full((), 1 if some.is_floating_point() else 255),
    "mean": mean,
    "noise": noise,
}
"""Registry: a new fill is one function, one line here and one in ``names.FILLS``."""
