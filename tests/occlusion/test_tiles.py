"""Tiles: their names, where they stand, and that they are occluders like the others."""

from __future__ import annotations

import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.occlusion import OCCLUDERS, achieved_area, occlude
from pytest_occlusion.occlusion.hashing import key_words
from pytest_occlusion.occlusion.masks import find_occluder
from pytest_occlusion.occlusion.names import parse_tile, tile_ratio, tiles

Tile = tuple[int, int, int]
"""Placements per side, row, column."""

grids = st.integers(2, 17)
sides = st.integers(1, 97)
ratios = st.floats(0, 1, exclude_max=True)


@st.composite
def places(draw: st.DrawFn) -> Tile:
    grid = draw(grids)
    inside = st.integers(0, grid - 1)
    return grid, draw(inside), draw(inside)


def named(tile: Tile) -> str:
    return f"tile-{tile[0]}-{tile[1]}-{tile[2]}"


def mask(name: str, ratio: float, height: int, width: int) -> torch.Tensor:
    return find_occluder(name)(key_words(["a", "b"], occluder=name, seed=3), height, width)(ratio)


def slow_mask(tile: Tile, ratio: float, height: int, width: int) -> list[list[bool]]:
    """Pixel by pixel, with fractions of Python integers."""
    grid, row, column = tile
    rows = math.floor(math.sqrt(ratio) * height + 0.5)
    columns = math.floor(math.sqrt(ratio) * width + 0.5)
    top = math.floor((height - rows) * row / (grid - 1) + 1e-9)
    left = math.floor((width - columns) * column / (grid - 1) + 1e-9)
    return [
        [top <= y < top + rows and left <= x < left + columns for x in range(width)]
        for y in range(height)
    ]


@given(places(), ratios, sides, sides)
def test_the_mask_is_the_rectangle_at_its_place(
    tile: Tile, ratio: float, height: int, width: int
) -> None:
    found = mask(named(tile), ratio, height, width)
    assert found[0].tolist() == slow_mask(tile, ratio, height, width)
    assert torch.equal(found[0], found[1]), "the same for every radiograph"


@given(places(), ratios, ratios, sides, sides)
def test_masks_are_nested(tile: Tile, one: float, other: float, height: int, width: int) -> None:
    small, large = sorted((one, other))
    inside = mask(named(tile), small, height, width) & ~mask(named(tile), large, height, width)
    assert not inside.any()


@given(places(), ratios, sides, sides)
def test_the_blocked_area(tile: Tile, ratio: float, height: int, width: int) -> None:
    share = achieved_area(named(tile), ratio, height, width)
    assert share is not None
    assert abs(share - ratio) * height * width <= (height + width) / 2 + 1
    assert share == pytest.approx(achieved_area("block", ratio, height, width))


@pytest.mark.parametrize(("grid", "size"), [(8, 224), (7, 224), (8, 64), (4, 64), (14, 224)])
def test_tiles_of_one_cell_cover_everything_once(grid: int, size: int) -> None:
    total = sum(mask(one, tile_ratio(grid), size, size)[0].int() for one in tiles(grid))
    assert isinstance(total, torch.Tensor)
    assert bool((total == 1).all())


@given(places())
def test_names_go_there_and_back(tile: Tile) -> None:
    assert parse_tile(named(tile)) == tile
    grid, row, column = tile
    assert tiles(grid)[row * grid + column] == named(tile)


@pytest.mark.parametrize(
    "name",
    [
        "block",
        "tile",
        "tile-8",
        "tile-8-8-0",
        "tile-8-0-8",
        "tile-1-0-0",
        "tile-08-0-0",
        "tile-8-00-1",
        "tile-8-٣-1",
    ],
)
def test_what_is_no_tile(name: str) -> None:
    assert parse_tile(name) is None


def test_a_tile_is_occluded_like_any_other() -> None:
    draw = random.Random(0)
    pixels = torch.tensor([[[[draw.randrange(1, 256) for _ in range(8)] for _ in range(8)]]])
    shown = occlude(pixels.to(torch.uint8), ratio=1 / 16, occluder="tile-4-3-0", keys=["k"])
    assert (shown == 0).nonzero()[:, 2:].tolist() == [[6, 0], [6, 1], [7, 0], [7, 1]]


@pytest.mark.parametrize("name", ["tile-4-4-0", "tile", "blok"])
def test_unknown_names_are_refused(name: str) -> None:
    pixels = torch.zeros(1, 1, 8, 8)
    with pytest.raises(OcclusionError, match=f"unknown occluder '{name}'"):
        occlude(pixels, ratio=0.5, occluder=name, keys=["k"])
    with pytest.raises(OcclusionError, match=f"unknown occluder '{name}'"):
        achieved_area(name, 0.5, 8, 8)
    assert name not in OCCLUDERS
