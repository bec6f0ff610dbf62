"""The part ``canvases``: the device blocks, fills and corrupts bit for bit as the CPU does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from gpu_parts.record import Check, Finding, NeedsGpuError
from gpu_parts.setting import Setting
from pytest_occlusion.occlusion import CORRUPTIONS, FILLS, OCCLUDERS, prepare
from pytest_occlusion.occlusion.levels import SEVERITIES, severity_level
from pytest_occlusion.suite.table import RATIOS

SHAPES = ((8, 3, 224, 224), (8, 1, 320, 320), (5, 3, 378, 378), (3, 1, 64, 40), (1, 1, 37, 51))
"""Batches: the canvases of published encoders, and oblong ones."""

TILES = ("tile-8-2-5", "tile-3-0-2")
"""Two of the many occluders that slide."""


def canvases(given: Setting) -> Iterator[Finding]:
    """Every occluder with every fill, and every corruption, at every level."""
    shapes = SHAPES[3:] if given.small else SHAPES
    batches = [_batch(shape) for shape in shapes]
    wanted = {name: tuple(FILLS) for name in (*OCCLUDERS, *TILES)}
    wanted |= dict.fromkeys(CORRUPTIONS, ("none",))
    for name, fills in wanted.items():
        levels = tuple(map(severity_level, SEVERITIES)) if name in CORRUPTIONS else tuple(RATIOS)
        found = [
            one
            for batch in batches
            for fill in fills
            for one in _apart(batch, name, fill, levels, given.device)
        ]
        moved, furthest = sum(count for count, _ in found), max(far for _, far in found)
        yield {
            "occluder or corruption": name,
            "fills": len(fills),
            "levels": len(levels),
            "batches": len(found),
            "pixels that differ": moved,
            "by at most": furthest,
        }
        yield Check(f"{name}, pixels that differ", moved, "none", moved == 0)
    if not given.on_gpu:
        raise NeedsGpuError("a CPU was compared with itself")


def _batch(shape: tuple[int, ...]) -> torch.Tensor:
    draw = torch.Generator().manual_seed(sum(shape))
    return torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8)


def _apart(
    batch: torch.Tensor, name: str, fill: str, levels: Sequence[float], device: torch.device
) -> Iterator[tuple[int, int]]:
    """How many pixels differ between the CPU and the device at each level, and by how much."""
    keys = [f"radiograph {number}" for number in range(len(batch))]
    here, there = (
        prepare(batch.to(where), name=name, fill=fill, keys=keys, seed=3)
        for where in (torch.device("cpu"), device)
    )
    for level in levels:
        yield different(here.at(level), there.at(level).cpu())


def different(one: torch.Tensor, other: torch.Tensor) -> tuple[int, int]:
    """How many pixels differ, and by how much; all where it is another kind of tensor."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return one.numel(), 255
    if torch.equal(one, other):
        return 0, 0
    off = (one.int() - other.int()).abs()
    return int((off > 0).sum()), int(off.max())
