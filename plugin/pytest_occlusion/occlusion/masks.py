"""Occluders: from key words and a ratio to the mask of blocked pixels.

Every occluder is a function ``(words, height, width) -> mask_at`` where ``mask_at(ratio)`` gives a
bool tensor ``[N, H, W]``, true where blocked. What the ratios share (places, pixel orders) is
worked out once. Three promises hold for all of them and are tested:

* the blocked area is the ratio's share of the canvas to within one row of pixels;
* masks are nested: what is blocked at one ratio is blocked at every higher one;
* a mask depends on the words of its own canvas only.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from pytest_occlusion.occlusion.hashing import position_words
from pytest_occlusion.occlusion.tiles import Tile, parse_tile, tile_start

MaskAt = Callable[[float], torch.Tensor]
Occluder = Callable[[torch.Tensor, int, int], MaskAt]

GRID = 14
"""Cells per side for ``patches``: 16 px on the 224 px canvas of the four published encoders.

The grid is relative so that the same cells are blocked whatever an encoder's canvas size is.
"""

_POSITION_BITS = 31
"""A 32-bit word above a 31-bit position fills an int64; canvases of any real size fit."""


def _round(value: float) -> int:
    """Round half up: Python's own rounding goes to even, which is not monotone in spacing."""
    return math.floor(value + 0.5)


def _rectangle(
    top: torch.Tensor, left: torch.Tensor, rows: int, columns: int, height: int, width: int
) -> torch.Tensor:
    """Bool ``[N, H, W]``, true inside the rectangles whose corners are ``top`` and ``left``."""
    y = torch.arange(height, device=top.device)
    x = torch.arange(width, device=top.device)
    inside_rows = (y >= top[:, None]) & (y < top[:, None] + rows)
    inside_columns = (x >= left[:, None]) & (x < left[:, None] + columns)
    # As bytes: on a CPU torch combines these 14 times as fast as booleans.
    rows_bits, columns_bits = inside_rows.view(torch.uint8), inside_columns.view(torch.uint8)
    return (rows_bits[:, :, None] & columns_bits[:, None, :]).view(torch.bool)


def block(words: torch.Tensor, height: int, width: int) -> MaskAt:
    """One rectangle of the canvas's own proportions (a square on a square canvas).

    The corner is ``floor(u * (free + 1))`` with one ``u`` per canvas and side for all ratios. When
    the side grows by a pixel the corner moves back by at most one, so the masks are nested, and
    every place is equally likely.
    """

    def mask_at(ratio: float) -> torch.Tensor:
        rows, columns = _round(math.sqrt(ratio) * height), _round(math.sqrt(ratio) * width)
        top = (words[:, 0] * (height - rows + 1)) >> 32
        left = (words[:, 1] * (width - columns + 1)) >> 32
        return _rectangle(top, left, rows, columns, height, width)

    return mask_at


def _central(words: torch.Tensor, rows: int, columns: int, height: int, width: int) -> torch.Tensor:
    corner = torch.zeros(len(words), dtype=torch.int64, device=words.device)
    top, left = corner + (height - rows) // 2, corner + (width - columns) // 2
    return _rectangle(top, left, rows, columns, height, width)


def center(words: torch.Tensor, height: int, width: int) -> MaskAt:
    """One rectangle in the middle; the same for every radiograph."""

    def mask_at(ratio: float) -> torch.Tensor:
        rows, columns = _round(math.sqrt(ratio) * height), _round(math.sqrt(ratio) * width)
        return _central(words, rows, columns, height, width)

    return mask_at


def border(words: torch.Tensor, height: int, width: int) -> MaskAt:
    """All but a rectangle in the middle; the same for every radiograph."""

    def mask_at(ratio: float) -> torch.Tensor:
        kept = math.sqrt(1.0 - ratio)
        return ~_central(words, _round(kept * height), _round(kept * width), height, width)

    return mask_at


def tile(place: Tile) -> Occluder:
    """One rectangle of the canvas's own proportions at a named place, for every radiograph."""

    def occluder(words: torch.Tensor, height: int, width: int) -> MaskAt:
        corner = torch.zeros(len(words), dtype=torch.int64, device=words.device)

        def mask_at(ratio: float) -> torch.Tensor:
            rows, columns = _round(math.sqrt(ratio) * height), _round(math.sqrt(ratio) * width)
            top = corner + tile_start(place.row, place.grid, height, rows)
            left = corner + tile_start(place.column, place.grid, width, columns)
            return _rectangle(top, left, rows, columns, height, width)

        return mask_at

    return occluder


def _in_order(order: torch.Tensor, height: int, width: int) -> MaskAt:
    """Block the first ``ratio * H * W`` pixels of each canvas's own order.

    Args:
        order: int64 ``[N, H * W]``; a pixel's place in the order, distinct within a canvas.
        height: Rows of the canvas.
        width: Columns of the canvas.
    """
    ascending = order.sort(dim=1).values

    def mask_at(ratio: float) -> torch.Tensor:
        count = _round(ratio * height * width)
        if count == 0:
            blocked = torch.zeros_like(order, dtype=torch.bool)
        else:
            blocked = order <= ascending[:, count - 1 : count]
        return blocked.reshape(len(order), height, width)

    return mask_at


def pixels(words: torch.Tensor, height: int, width: int) -> MaskAt:
    """Scattered pixels, in a random order of the canvas's own."""
    position = torch.arange(height * width, device=words.device)
    order = (position_words(words[:, :2], position) << _POSITION_BITS) | position
    return _in_order(order, height, width)


def patches(words: torch.Tensor, height: int, width: int) -> MaskAt:
    """Cells of a 14 x 14 grid in random order; the last one is blocked in part, row by row.

    The partial cell makes the area exact where whole cells could not.
    """
    row_cell = torch.arange(height, device=words.device) * GRID // height
    column_cell = torch.arange(width, device=words.device) * GRID // width
    cell = (row_cell[:, None] * GRID + column_cell).reshape(-1)
    cell_words = position_words(words[:, :2], torch.arange(GRID * GRID, device=words.device))
    position = torch.arange(height * width, device=words.device)
    order = (cell_words[:, cell] << _POSITION_BITS) | position
    return _in_order(order, height, width)


MASKS: dict[str, Occluder] = {
    "block": block,
    "patches": patches,
    "pixels": pixels,
    "center": center,
    "border": border,
}
"""Registry: a new occluder is one function, one line here and one in ``names.OCCLUDERS``."""


def find_occluder(name: str) -> Occluder | None:
    """The occluder of a name: one of :data:`MASKS`, or a tile at the place that it names."""
    place = parse_tile(name)
    return tile(place) if place else MASKS.get(name)
