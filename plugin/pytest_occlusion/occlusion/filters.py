"""Corruptions that mix neighbouring pixels: blurs, coarse pixels, rotation.

Weights are whole numbers that add up to a power of two (or to the picture's size), so sums are
exact in any order; see :mod:`pytest_occlusion.occlusion.corruptions`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
from torch.nn.functional import pad

REFERENCE = 224
"""Side in pixels that the published lengths below belong to; other canvases get them to scale."""

BLUR_SPREAD = (1, 2, 3, 4, 6)
"""Standard deviation in pixels of a 224 px picture (ImageNet-C, Gaussian blur). MedMNIST-C's for
chest radiographs end at 2 and would leave a 64 px canvas as it is."""

STREAK = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
"""(radius, standard deviation) in pixels of a 224 px picture (ImageNet-C, motion blur)."""

STREAK_ANGLE = 45
"""Degrees either way of horizontal (ImageNet-C, motion blur)."""

COARSE_PERCENT = (30, 25, 20, 15, 10)
"""Percent of the side that is kept in pixels (MedMNIST-C, chest, pixelate)."""

TURN_DEGREES = (6, 12, 18, 24, 30)
"""Degrees: five equal steps to the 30 of Engstrom et al. 2019 (arXiv 1712.02779), the range that
AutoAugment (Cubuk et al. 2019) uses too. Neither corruption benchmark has rotation."""

_WEIGHT_BITS = 14
"""Weights of a blur add up to 2**14: two passes over 8-bit pixels stay below 2**53."""

_PLACE_BITS = 8
"""A rotated pixel lies on a grid of 1/256 pixel."""

AtSeverity = Callable[[int], torch.Tensor]


def _whole(weights: torch.Tensor) -> torch.Tensor:
    """Weights as whole numbers that add up to 2**14; the first takes what rounding leaves."""
    whole = (weights / weights.sum() * (1 << _WEIGHT_BITS)).round()
    whole[0] += (1 << _WEIGHT_BITS) - whole.sum()
    return whole


@cache
def _blur_matrix(size: int, spread: float) -> torch.Tensor:
    """float64 ``[size, size]`` of whole numbers, rows adding up to 2**14; the edge is repeated."""
    reach = max(1, math.ceil(4 * spread))  # scipy's default, which ImageNet-C uses
    # The centre comes first: it is the largest, so what rounding leaves does not show there.
    steps = sorted(range(-reach, reach + 1), key=abs)
    weights = _whole(torch.tensor([math.exp(-((d / spread) ** 2) / 2) for d in steps]).double())
    matrix = torch.zeros(size, size, dtype=torch.float64)
    rows = torch.arange(size)
    for step, weight in zip(steps, weights, strict=True):
        columns = (rows + step).clamp(0, size - 1)
        matrix.index_put_((rows, columns), weight.expand(size), accumulate=True)
    return matrix


def blur(canvases: torch.Tensor, words: torch.Tensor) -> AtSeverity:
    """A Gaussian blur, columns and rows one after the other."""
    height, width = canvases.shape[2:]

    def at(severity: int) -> torch.Tensor:
        spread = BLUR_SPREAD[severity - 1] * min(height, width) / REFERENCE
        down = _blur_matrix(height, spread).to(canvases.device)
        along = _blur_matrix(width, spread).to(canvases.device)
        mixed = (down @ canvases.double() @ along.T).to(torch.int64)
        return ((mixed + (1 << (2 * _WEIGHT_BITS - 1))) >> (2 * _WEIGHT_BITS)).to(torch.uint8)

    return at


def motion_blur(canvases: torch.Tensor, words: torch.Tensor) -> AtSeverity:
    """One half of a Gaussian along a line, as ImageMagick draws it; the edge is repeated."""
    number, _, height, width = canvases.shape
    device = canvases.device
    angle = math.radians(STREAK_ANGLE) * (words[:, 0].double() / 2**31 - 1)
    direction = torch.stack([angle.sin(), angle.cos()])
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    place = torch.arange(number, device=device)[:, None, None]

    def at(severity: int) -> torch.Tensor:
        scale = min(height, width) / REFERENCE
        radius, spread = (scale * length for length in STREAK[severity - 1])
        taps = torch.arange(2 * math.ceil(radius) + 1).double()
        weights = _whole((-((taps / spread) ** 2) / 2).exp()).to(torch.int32).tolist()
        down, along = (direction[:, :, None] * taps).round().to(torch.int64).to(device)
        total = torch.zeros(
            number, height, width, canvases.shape[1], dtype=torch.int32, device=device
        )
        for tap, weight in enumerate(weights):
            rows = (y + down[:, tap, None]).clamp(0, height - 1)[:, :, None]
            columns = (x + along[:, tap, None]).clamp(0, width - 1)[:, None, :]
            total += weight * canvases[place, :, rows, columns].to(torch.int32)
        mean = (total + (1 << (_WEIGHT_BITS - 1))) >> _WEIGHT_BITS
        return mean.to(torch.uint8).permute(0, 3, 1, 2).contiguous()

    return at


@cache
def _box_matrix(size: int, parts: int) -> torch.Tensor:
    """float64 ``[parts, size]``: what each of the equal parts covers of each pixel, in 1/parts."""
    part, pixel = torch.arange(parts)[:, None], torch.arange(size)[None, :]
    first = torch.maximum(part * size, pixel * parts)
    last = torch.minimum((part + 1) * size, (pixel + 1) * parts)
    return (last - first).clamp(min=0).double()


def down_sampling(canvases: torch.Tensor, words: torch.Tensor) -> AtSeverity:
    """Mean of the area below each coarse pixel, shown as large as before."""
    height, width = canvases.shape[2:]

    def coarse(size: int, percent: int) -> tuple[torch.Tensor, torch.Tensor]:
        parts = max(1, size * percent // 100)
        nearest = (2 * torch.arange(size) + 1) * parts // (2 * size)
        return _box_matrix(size, parts).to(canvases.device), nearest.to(canvases.device)

    def at(severity: int) -> torch.Tensor:
        down, rows = coarse(height, COARSE_PERCENT[severity - 1])
        along, columns = coarse(width, COARSE_PERCENT[severity - 1])
        area = height * width
        total = (down @ canvases.double() @ along.T).to(torch.int64)
        small = ((2 * total + area) // (2 * area)).to(torch.uint8)
        return small[:, :, rows][:, :, :, columns]

    return at


def _turned(height: int, width: int, degrees: float) -> tuple[torch.Tensor, torch.Tensor]:
    """int64 ``[H, W]`` each: row and column, in 1/256 pixel, that a turned picture shows there."""
    y = torch.arange(height).double()[:, None] - (height - 1) / 2
    x = torch.arange(width).double()[None, :] - (width - 1) / 2
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    row = (cosine * y + sine * x + (height - 1) / 2) * (1 << _PLACE_BITS)
    column = (cosine * x - sine * y + (width - 1) / 2) * (1 << _PLACE_BITS)
    return row.round().to(torch.int64), column.round().to(torch.int64)


def rotation(canvases: torch.Tensor, words: torch.Tensor) -> AtSeverity:
    """Turned about the middle, to the side that the key decides; black comes in at the corners."""
    number, channels, height, width = canvases.shape
    side = (words[:, 0] >> 31).to(canvases.device)
    framed = pad(canvases, (1, 1, 1, 1)).flatten(2).to(torch.int32)
    one = 1 << _PLACE_BITS

    def at(severity: int) -> torch.Tensor:
        degrees = TURN_DEGREES[severity - 1]
        sides = [_turned(height, width, sign * degrees) for sign in (-1, 1)]
        rows = torch.stack([row for row, _ in sides]).to(canvases.device)[side]
        columns = torch.stack([column for _, column in sides]).to(canvases.device)[side]
        total = torch.zeros(number, channels, height * width, dtype=torch.int32).to(canvases.device)
        for down in (0, 1):
            for along in (0, 1):
                # The frame of black is row -1 and row H; farther out everything is black too.
                row = ((rows >> _PLACE_BITS) + down).clamp(-1, height) + 1
                column = ((columns >> _PLACE_BITS) + along).clamp(-1, width) + 1
                part_down, part_along = rows & (one - 1), columns & (one - 1)
                weight = (part_down if down else one - part_down) * (
                    part_along if along else one - part_along
                )
                index = (row * (width + 2) + column).flatten(1)[:, None]
                found = framed.gather(2, index.expand(-1, channels, -1))
                total += found * weight.flatten(1)[:, None].to(torch.int32)
        mean = (total + (1 << (2 * _PLACE_BITS - 1))) >> (2 * _PLACE_BITS)
        return mean.to(torch.uint8).reshape(canvases.shape)

    return at
