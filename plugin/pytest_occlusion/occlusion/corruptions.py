"""Corruptions: what is usually done to pictures to test robustness, to set occlusion beside it.

Each is a function ``(canvases, words) -> at`` where ``canvases`` are uint8 ``[N, C, H, W]``,
``words`` the key words of each canvas on the CPU, and ``at(severity)`` with a severity from 1 to 5
gives uint8 canvases of the same shape and device.

A corrupted canvas depends on (seed, radiograph key, corruption, severity) only, bit for bit: torch
rounds sums of floats differently from one batch size or device to the next, so everything here is
integer arithmetic, or float64 that holds integers below 2**53. The ready-made functions serve in
the tests and not here: torchvision's are floats, and Pillow's, though up to six times as fast, mean
other areas and blurs: with them one of 224 stored cells leaves its tolerance.

Strengths are published ones. Those of MedMNIST-C (Di Salvo et al. 2024, arXiv 2406.17536) are its
own for chest radiographs; ImageNet-C is Hendrycks & Dietterich 2019 (arXiv 1903.12261).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from PIL import Image

from pytest_occlusion.occlusion.filters import blur, down_sampling, motion_blur, rotation
from pytest_occlusion.occlusion.hashing import position_words

AtSeverity = Callable[[int], torch.Tensor]
Corruption = Callable[[torch.Tensor, torch.Tensor], AtSeverity]

NOISE_SPREAD = (0.04, 0.08, 0.12, 0.18, 0.26)
"""Standard deviation as a share of the grey range (MedMNIST-C, chest, Gaussian noise)."""

JPEG_QUALITY = (50, 30, 15, 10, 7)
"""Quality from 1 to 95, as Pillow counts (MedMNIST-C, chest, JPEG compression)."""

CONTRAST_PERCENT = (90, 80, 70, 60, 40)
"""Percent of the distance to the mean grey that is left (MedMNIST-C, chest, contrast down)."""

BRIGHTNESS_PERCENT = (110, 120, 130, 140, 150)
"""Percent of every grey level (MedMNIST-C, chest, brightness up)."""

_TABLE_BITS = 16
"""A 16-bit word picks one of 65,536 normal quantiles: 4.3 standard deviations at most."""


@cache
def _noise_table(severity: int) -> torch.Tensor:
    """int16 ``[65536]``: grey levels to add, at equally likely quantiles of a normal."""
    size = 1 << _TABLE_BITS
    quantiles = torch.special.ndtri((torch.arange(size, dtype=torch.float64) + 0.5) / size)
    table: torch.Tensor = (255 * NOISE_SPREAD[severity - 1] * quantiles).round().to(torch.int16)
    return table


def gaussian_noise(canvases: torch.Tensor, words: torch.Tensor) -> AtSeverity:
    """Normal noise, equal in all channels, that grows with the severity pixel by pixel.

    ImageNet-C draws each channel alone; a radiograph is grey, and so is what a detector adds.
    """
    height, width = canvases.shape[2:]
    position = torch.arange(height * width, device=canvases.device)
    drawn = position_words(words[:, :2].to(canvases.device), position) >> (32 - _TABLE_BITS)
    drawn = drawn.reshape(len(canvases), 1, height, width)

    def at(severity: int) -> torch.Tensor:
        noise = _noise_table(severity).to(canvases.device)[drawn]
        return (canvases.to(torch.int16) + noise).clamp(0, 255).to(torch.uint8)

    return at


def jpeg(canvases: torch.Tensor, words: torch.Tensor) -> AtSeverity:
    """Compressed and opened again, by Pillow on the host: decoders of devices differ."""
    mode = "L" if canvases.shape[1] == 1 else "RGB"

    def at(severity: int) -> torch.Tensor:
        pictures = canvases.cpu().permute(0, 2, 3, 1).numpy()
        result = np.empty_like(pictures)
        for picture, row in zip(pictures, result, strict=True):
            file = io.BytesIO()
            grey_or_rgb = picture[:, :, 0] if mode == "L" else picture
            image = Image.fromarray(np.ascontiguousarray(grey_or_rgb))
            image.save(file, "JPEG", quality=JPEG_QUALITY[severity - 1])
            row[...] = np.asarray(Image.open(file)).reshape(row.shape)
        return torch.from_numpy(result).permute(0, 3, 1, 2).contiguous().to(canvases.device)

    return at


def contrast(canvases: torch.Tensor, words: torch.Tensor) -> AtSeverity:
    """Every pixel nearer to the mean of its canvas."""
    count = canvases[0].numel() if len(canvases) else 1
    total = canvases.sum(dim=(1, 2, 3), keepdim=True, dtype=torch.int64)

    def at(severity: int) -> torch.Tensor:
        percent = CONTRAST_PERCENT[severity - 1]
        mixed = percent * count * canvases.to(torch.int64) + (100 - percent) * total
        return ((mixed + 50 * count) // (100 * count)).to(torch.uint8)

    return at


def brightness(canvases: torch.Tensor, words: torch.Tensor) -> AtSeverity:
    """Every pixel brighter by the same factor, up to white."""

    def at(severity: int) -> torch.Tensor:
        scaled = (BRIGHTNESS_PERCENT[severity - 1] * canvases.to(torch.int32) + 50) // 100
        return scaled.clamp(max=255).to(torch.uint8)

    return at


CORRUPT: dict[str, Corruption] = {
    "gaussian-noise": gaussian_noise,
    "blur": blur,
    "motion-blur": motion_blur,
    "jpeg": jpeg,
    "contrast": contrast,
    "brightness": brightness,
    "down-sampling": down_sampling,
    "rotation": rotation,
}
"""Registry: a new corruption is one function, one line here and one in ``names.CORRUPTIONS``."""
