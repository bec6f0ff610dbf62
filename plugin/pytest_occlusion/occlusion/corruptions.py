"""Corruptions: what is usually done to pictures to test robustness, to set occlusion beside it.

Each is a function ``(canvases, words, strength) -> corrupted`` where ``canvases`` are uint8
``[N, C, H, W]``, ``words`` the key words of each canvas on the CPU, and ``strength`` one of five in
:data:`CORRUPT`; what comes back has the same shape, dtype and device.

A corrupted canvas depends on (seed, radiograph key, corruption, severity) only, bit for bit: torch
rounds sums of floats differently from one batch size or device to the next, so everything here is
integer arithmetic, or float64 that holds integers below 2**53: weights are whole numbers that add
up to a power of two (or to the picture's size). The ready-made functions serve in the tests and not
here: torchvision's are floats, and Pillow's, though up to six times as fast, mean other areas and
blurs: with them one of 224 stored cells leaves its tolerance.

Strengths are published ones. Those of MedMNIST-C (Di Salvo et al. 2024, arXiv 2406.17536) are its
own for chest radiographs; ImageNet-C is Hendrycks & Dietterich 2019 (arXiv 1903.12261).
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import pad

from pytest_occlusion.occlusion.hashing import position_words

Corruption = Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor]

REFERENCE = 224
"""Side in pixels that the published lengths belong to; other canvases get them to scale."""

STREAK_ANGLE = 45
"""Degrees either way of horizontal (ImageNet-C, motion blur)."""

_TABLE_BITS = 16
"""A 16-bit word picks one of 65,536 normal quantiles: 4.3 standard deviations at most."""

_WEIGHT_BITS = 14
"""Weights of a blur add up to 2**14: two passes over 8-bit pixels stay below 2**53."""

_PLACE_BITS = 8
"""A rotated pixel lies on a grid of 1/256 pixel."""


@cache
def _noise_table(spread: float) -> torch.Tensor:
    """int16 ``[65536]``: grey levels to add, at equally likely quantiles of a normal."""
    size = 1 << _TABLE_BITS
    quantiles = torch.special.ndtri((torch.arange(size, dtype=torch.float64) + 0.5) / size)
    table: torch.Tensor = (255 * spread * quantiles).round().to(torch.int16)
    return table


def gaussian_noise(canvases: torch.Tensor, words: torch.Tensor, spread: float) -> torch.Tensor:
    """Normal noise, equal in all channels, that grows with the severity pixel by pixel.

    ImageNet-C draws each channel alone; a radiograph is grey, and so is what a detector adds.
    """
    height, width = canvases.shape[2:]
    position = torch.arange(height * width, device=canvases.device)
    drawn = position_words(words[:, :2].to(canvases.device), position) >> (32 - _TABLE_BITS)
    noise = _noise_table(spread).to(canvases.device)[drawn]
    noisy = canvases.to(torch.int16) + noise.reshape(len(canvases), 1, height, width)
    return noisy.clamp(0, 255).to(torch.uint8)


def jpeg(canvases: torch.Tensor, words: torch.Tensor, quality: int) -> torch.Tensor:
    """Compressed and opened again, by Pillow on the host: decoders of devices differ."""
    pictures = canvases.cpu().permute(0, 2, 3, 1).numpy()
    result = np.empty_like(pictures)
    for picture, row in zip(pictures, result, strict=True):
        file = io.BytesIO()
        grey_or_rgb = picture[:, :, 0] if canvases.shape[1] == 1 else picture
        Image.fromarray(np.ascontiguousarray(grey_or_rgb)).save(file, "JPEG", quality=quality)
        row[...] = np.asarray(Image.open(file)).reshape(row.shape)
    return torch.from_numpy(result).permute(0, 3, 1, 2).contiguous().to(canvases.device)


def contrast(canvases: torch.Tensor, words: torch.Tensor, percent: int) -> torch.Tensor:
    """Every pixel nearer to the mean of its canvas."""
    count = canvases[0].numel() if len(canvases) else 1
    total = canvases.sum(dim=(1, 2, 3), keepdim=True, dtype=torch.int64)
    mixed = percent * count * canvases.to(torch.int64) + (100 - percent) * total
    return ((mixed + 50 * count) // (100 * count)).to(torch.uint8)


def brightness(canvases: torch.Tensor, words: torch.Tensor, percent: int) -> torch.Tensor:
    """Every pixel brighter by the same factor, up to white."""
    scaled = (percent * canvases.to(torch.int32) + 50) // 100
    return scaled.clamp(max=255).to(torch.uint8)


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


def blur(canvases: torch.Tensor, words: torch.Tensor, spread: float) -> torch.Tensor:
    """A Gaussian blur, columns and rows one after the other."""
    height, width = canvases.shape[2:]
    spread = spread * min(height, width) / REFERENCE
    down, along = (_blur_matrix(size, spread).to(canvases.device) for size in (height, width))
    mixed = (down @ canvases.double() @ along.T).to(torch.int64)
    return ((mixed + (1 << (2 * _WEIGHT_BITS - 1))) >> (2 * _WEIGHT_BITS)).to(torch.uint8)


def motion_blur(
    canvases: torch.Tensor, words: torch.Tensor, streak: tuple[int, int]
) -> torch.Tensor:
    """One half of a Gaussian along a line, as ImageMagick draws it; the edge is repeated."""
    number, channels, height, width = canvases.shape
    device = canvases.device
    angle = math.radians(STREAK_ANGLE) * (words[:, 0].double() / 2**31 - 1)
    direction = torch.stack([angle.sin(), angle.cos()])
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    place = torch.arange(number, device=device)[:, None, None]
    radius, spread = (min(height, width) / REFERENCE * length for length in streak)
    taps = torch.arange(2 * math.ceil(radius) + 1).double()
    weights = _whole((-((taps / spread) ** 2) / 2).exp()).to(torch.int32).tolist()
    down, along = (direction[:, :, None] * taps).round().to(torch.int64).to(device)
    total = torch.zeros(number, height, width, channels, dtype=torch.int32, device=device)
    for tap, weight in enumerate(weights):
        rows = (y + down[:, tap, None]).clamp(0, height - 1)[:, :, None]
        columns = (x + along[:, tap, None]).clamp(0, width - 1)[:, None, :]
        total += weight * canvases[place, :, rows, columns].to(torch.int32)
    mean = (total + (1 << (_WEIGHT_BITS - 1))) >> _WEIGHT_BITS
    return mean.to(torch.uint8).permute(0, 3, 1, 2).contiguous()


@cache
def _box_matrix(size: int, parts: int) -> torch.Tensor:
    """float64 ``[parts, size]``: what each of the equal parts covers of each pixel, in 1/parts."""
    part, pixel = torch.arange(parts)[:, None], torch.arange(size)[None, :]
    first = torch.maximum(part * size, pixel * parts)
    last = torch.minimum((part + 1) * size, (pixel + 1) * parts)
    return (last - first).clamp(min=0).double()


def down_sampling(canvases: torch.Tensor, words: torch.Tensor, percent: int) -> torch.Tensor:
    """Mean of the area below each coarse pixel, shown as large as before."""

    def coarse(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        parts = max(1, size * percent // 100)
        nearest = (2 * torch.arange(size) + 1) * parts // (2 * size)
        return _box_matrix(size, parts).to(canvases.device), nearest.to(canvases.device)

    height, width = canvases.shape[2:]
    (down, rows), (along, columns) = coarse(height), coarse(width)
    area = height * width
    total = (down @ canvases.double() @ along.T).to(torch.int64)
    small = ((2 * total + area) // (2 * area)).to(torch.uint8)
    return small[:, :, rows][:, :, :, columns]


def _turned(height: int, width: int, degrees: float) -> torch.Tensor:
    """int64 ``[2, H, W]``: row and column, in 1/256 pixel, that a turned picture shows there."""
    y = torch.arange(height).double()[:, None] - (height - 1) / 2
    x = torch.arange(width).double()[None, :] - (width - 1) / 2
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    row = (cosine * y + sine * x + (height - 1) / 2) * (1 << _PLACE_BITS)
    column = (cosine * x - sine * y + (width - 1) / 2) * (1 << _PLACE_BITS)
    return torch.stack([row, column]).round().to(torch.int64)


def rotation(canvases: torch.Tensor, words: torch.Tensor, degrees: int) -> torch.Tensor:
    """Turned about the middle, to the side that the key decides; black comes in at the corners."""
    number, channels, height, width = canvases.shape
    device, one = canvases.device, 1 << _PLACE_BITS
    framed = pad(canvases, (1, 1, 1, 1)).flatten(2).to(torch.int32)
    sides = torch.stack([_turned(height, width, sign * degrees) for sign in (-1, 1)], dim=1)
    rows, columns = sides.to(device)[:, (words[:, 0] >> 31).to(device)]
    total = torch.zeros(number, channels, height * width, dtype=torch.int32, device=device)
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


CORRUPT: dict[str, tuple[Corruption, Sequence[Any]]] = {
    # Standard deviation as a share of the grey range (MedMNIST-C, chest, Gaussian noise).
    "gaussian-noise": (gaussian_noise, (0.04, 0.08, 0.12, 0.18, 0.26)),
    # Standard deviation in pixels of a 224 px picture (ImageNet-C, Gaussian blur). MedMNIST-C's for
    # chest radiographs end at 2 and would leave a 64 px canvas as it is.
    "blur": (blur, (1, 2, 3, 4, 6)),
    # (radius, standard deviation) in pixels of a 224 px picture (ImageNet-C, motion blur).
    "motion-blur": (motion_blur, ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
    # Quality from 1 to 95, as Pillow counts (MedMNIST-C, chest, JPEG compression).
    "jpeg": (jpeg, (50, 30, 15, 10, 7)),
    # Percent of the distance to the mean grey that is left (MedMNIST-C, chest, contrast down).
    "contrast": (contrast, (90, 80, 70, 60, 40)),
    # Percent of every grey level (MedMNIST-C, chest, brightness up).
    "brightness": (brightness, (110, 120, 130, 140, 150)),
    # Percent of the side that is kept in pixels (MedMNIST-C, chest, pixelate).
    "down-sampling": (down_sampling, (30, 25, 20, 15, 10)),
    # Degrees: five equal steps to the 30 of Engstrom et al. 2019 (arXiv 1712.02779), the range that
    # AutoAugment (Cubuk et al. 2019) uses too. Neither corruption benchmark has rotation.
    "rotation": (rotation, (6, 12, 18, 24, 30)),
}
"""Registry: corruption -> its function, and its strength at severities 1 to 5. A new corruption is
one function, one line here and one in ``names.CORRUPTIONS``."""
