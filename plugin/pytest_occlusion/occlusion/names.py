"""The names of fills, corruptions and tiles, readable without importing torch.

A tile is the occluder that slides, one named place of a square grid of placements at a time. Its
name says where it stands (``tile-8-2-5``: of 8 x 8 placements the one in row 2, column 5), so it is
an occluder like any other to whatever encodes, stores and ranks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pytest_occlusion.errors import OcclusionError

FILLS: dict[str, str] = {
    "black": "the lowest value",
    "white": "the highest value",
    "mean": "the mean of the canvas, per channel",
    "noise": "uniform grey noise, one value per pixel",
}
"""Fill name -> what blocked pixels are replaced by."""

CORRUPTIONS: dict[str, str] = {
    "gaussian-noise": "grey noise of every pixel",
    "blur": "a Gaussian blur",
    "motion-blur": "a streak at a random angle",
    "jpeg": "compression",
    "contrast": "less contrast",
    "brightness": "more brightness",
    "down-sampling": "coarse pixels",
    "rotation": "a turn to a random side",
}
"""Corruption name -> what it does. In a grid they stand where occluders do, but their level is a
severity from 0 to 5 and not a blocked share."""

_TILE = re.compile(r"tile-([1-9][0-9]*)-(0|[1-9][0-9]*)-(0|[1-9][0-9]*)")


def tiles(grid: int) -> list[str]:
    """The names of all placements, row by row; ``grid`` of them per side, at least 2."""
    return [f"tile-{grid}-{row}-{column}" for row in range(grid) for column in range(grid)]


def parse_tile(name: str) -> tuple[int, int, int] | None:
    """Placements per side, row and column of a tile's name; ``None`` for any other name."""
    found = _TILE.fullmatch(name)
    grid, row, column = map(int, found.groups()) if found else (0, 0, 0)
    return (grid, row, column) if grid >= 2 and max(row, column) < grid else None


def tile_ratio(grid: int) -> float:
    """Share of the canvas of tiles that lie side by side: one cell of the grid."""
    return 1 / grid**2


def unknown(kind: str, name: str, known: Iterable[str]) -> OcclusionError:
    """The error to raise for a name that is none."""
    return OcclusionError(f"unknown {kind} {name!r}", remedy=f"known: {', '.join(known)}")
