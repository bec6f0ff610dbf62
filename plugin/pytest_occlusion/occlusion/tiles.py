"""Tiles: the occluder that slides, one named place of a square grid of placements at a time.

Its name says where it stands (``tile-8-2-5``: of 8 x 8 placements the one in row 2, column 5), so a
tile is an occluder like any other to whatever encodes, stores and ranks. Needs nothing heavy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

NAME = re.compile(r"tile-([1-9]\d*)-(\d+)-(\d+)")


@dataclass(frozen=True)
class Tile:
    """One placement.

    Attributes:
        grid: Placements per side, at least 2.
        row: From the top, in [0, grid).
        column: From the left, in [0, grid).
    """

    grid: int
    row: int
    column: int

    @property
    def name(self) -> str:
        """What conditions and store keys call it."""
        return f"tile-{self.grid}-{self.row}-{self.column}"


def tiles(grid: int) -> list[Tile]:
    """All placements, row by row."""
    return [Tile(grid, row, column) for row in range(grid) for column in range(grid)]


def parse_tile(name: str) -> Tile | None:
    """The placement that an occluder's name stands for; ``None`` for any other name."""
    found = NAME.fullmatch(name)
    if found is None:
        return None
    tile = Tile(*map(int, found.groups()))
    inside = tile.grid >= 2 and max(tile.row, tile.column) < tile.grid
    return tile if inside and tile.name == name else None


def tile_ratio(grid: int) -> float:
    """Share of the canvas of tiles that lie side by side: one cell of the grid."""
    return 1 / grid**2
