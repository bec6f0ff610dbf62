"""A contact sheet: small pictures in rows, each with a caption above it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

CAPTION = 14
"""Pixels above a tile for its caption."""

Tile: TypeAlias = "tuple[str, NDArray[np.uint8]]"
"""A caption, and grey levels uint8 ``[H, W]``."""


def draw_sheet(tiles: Sequence[Tile], *, columns: int, side: int) -> Image.Image:
    """Lay tiles out row by row.

    Args:
        tiles: From the top left.
        columns: Tiles in a row.
        side: Side of a tile on the sheet, in pixels.

    Returns:
        A grey PIL image.
    """
    from PIL import Image, ImageDraw

    rows = -(-len(tiles) // columns)
    sheet = Image.new("L", (columns * side, rows * (side + CAPTION)))
    draw = ImageDraw.Draw(sheet)
    for number, (caption, pixels) in enumerate(tiles):
        left, top = number % columns * side, number // columns * (side + CAPTION)
        tile = Image.fromarray(pixels)
        sheet.paste(tile.resize((side, side), Image.Resampling.BICUBIC), (left, top + CAPTION))
        draw.text((left + 2, top + 1), caption, fill=255)
    return sheet
