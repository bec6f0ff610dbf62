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

MaskAt = Callable[[float], torch.Tensor]
Occluder = Callable[[torch.Tensor, int, int], MaskAt]
Corner = Callable[[torch.Tensor, int, int], tuple[torch.Tensor, torch.Tensor]]
"""Words, free rows and free columns -> top and left of each canvas's rectangle."""
Smallest = Callable[[int], torch.Tensor] | None
"""How many pixels -> the last of so many in each canvas's order, ``[N, 1]``."""

GRID = 14
"""Cells per side for ``patches``: 16 px on the 224 px canvas of the four published encoders.

The grid is relative so that the same cells are blocked whatever an encoder's canvas size is.
"""

_POSITION_BITS = 31
"""A 32-bit word above a 31-bit position fills an int64; canvases of any real size fit."""


def _round(value: float) -> int:
    """Round half up: Python's own rounding goes to even, which is not monotone in spacing."""
    return math.floor(value + 0.5)


def _inside(place: torch.Tensor, start: torch.Tensor, side: int) -> torch.Tensor:
    """Ones ``[N, extent]`` where a place lies in ``start`` up to ``start + side``, else zeros."""
    start = start[:, None]
    # As bytes: on a CPU torch combines these 14 times as fast as booleans.
    return ((place >= start) & (place < start + side)).view(torch.uint8)


def _placed(corner: Corner) -> Occluder:
    """One rectangle of the canvas's own proportions (a square on a square canvas)."""

    def occluder(words: torch.Tensor, height: int, width: int) -> MaskAt:
        y, x = (torch.arange(side, device=words.device) for side in (height, width))

        def mask_at(ratio: float) -> torch.Tensor:
            rows, columns = (_round(math.sqrt(ratio) * side) for side in (height, width))
            top, left = corner(words, height - rows, width - columns)
            down, along = _inside(y, top, rows), _inside(x, left, columns)
            return (down[:, :, None] & along[:, None, :]).view(torch.bool)

        return mask_at

    return occluder


def _anywhere(words: torch.Tensor, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``floor(u * (free + 1))`` with one ``u`` per canvas and side for all ratios.

    When the side grows by a pixel the corner moves back by at most one, so the masks are nested,
    and every place is equally likely.
    """
    return (words[:, 0] * (rows + 1)) >> 32, (words[:, 1] * (columns + 1)) >> 32


def _at_share(down: int, along: int, whole: int) -> Corner:
    """So many ``whole``-ths of the free rows and columns, for every radiograph; nested alike."""

    def corner(words: torch.Tensor, rows: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        start = torch.zeros_like(words[:, 0])
        return start + rows * down // whole, start + columns * along // whole

    return corner


block = _placed(_anywhere)
center = _placed(_at_share(1, 1, 2))


def border(words: torch.Tensor, height: int, width: int) -> MaskAt:
    """All but a rectangle in the middle; the same for every radiograph."""
    middle = center(words, height, width)
    return lambda ratio: ~middle(1.0 - ratio)


def _in_order(order: torch.Tensor, height: int, width: int, smallest: Smallest = None) -> MaskAt:
    """Block the first ``ratio * H * W`` pixels in each canvas's own order, int64 ``[N, H * W]``.

    All are sorted unless it is known otherwise which one the ``count``-th is, counted from 1.
    """
    if smallest is None:
        ascending = order.sort(dim=1).values

        def smallest(count: int) -> torch.Tensor:
            return ascending[:, count - 1 : count]

    def mask_at(ratio: float) -> torch.Tensor:
        count = _round(ratio * height * width)
        # Orders are not negative, so that none is up to -1.
        last = smallest(count) if count else -1
        return (order <= last).reshape(len(order), height, width)

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
    # Sorting 196 cells and not all pixels takes a fifth of the time on a CPU.
    ascending, cells = cell_words.sort(dim=1)
    if bool((ascending[:, 1:] == ascending[:, :-1]).any()):  # their pixels take turns
        return _in_order(order, height, width)
    top, left = (_edges(side, words.device) for side in (height, width))
    tall, wide = top.diff(), left.diff()
    sizes = (tall[:, None] * wide).reshape(-1)[cells]
    filled = sizes.cumsum(dim=1)

    def smallest(count: int) -> torch.Tensor:
        at = torch.searchsorted(filled, filled.new_full((len(filled), 1), count))
        before = filled.gather(1, at) - sizes.gather(1, at)
        down, along = (
            of(cells.gather(1, at), GRID) for of in (torch.floor_divide, torch.remainder)
        )
        step, columns = count - 1 - before, wide[along]
        pixel = (top[down] + step // columns) * width + left[along] + step % columns
        return (ascending.gather(1, at) << _POSITION_BITS) | pixel

    return _in_order(order, height, width, smallest)


def _edges(side: int, device: torch.device) -> torch.Tensor:
    """First row or column of each cell, and the one behind the last."""
    return (torch.arange(GRID + 1, device=device) * side + GRID - 1) // GRID


def tile(grid: int, row: int, column: int) -> Occluder:
    """A tile at one of ``grid`` by ``grid`` places."""
    return _placed(_at_share(row, column, grid - 1))
