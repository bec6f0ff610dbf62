"""What MGCA makes of a picture and of a report before its encoders see them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from pytest_occlusion.encoders.base import CanvasRecipe
from pytest_occlusion.encoders.canvases import check_mode, check_oblong, normalised, stored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

SIDE, FRAME = 224, 256
"""Pixels: side of the input, and of the square that it is cut from (``datasets/``). Other sides
keep the proportion."""

LUMA = (9797, 19234, 3737)
"""Red, green and blue in grey, of 32,768 (libpng ``png_set_rgb_to_gray``)."""

JPEG = ("jfif", "adobe")
"""Keys of the ``info`` of pictures from JPEG files, whatever has been done to them since."""

mgca_pixels = partial(normalised, mean=0.5, std=0.5)
"""uint8 ``[N, 1, S, S]`` -> normalised float32 of that shape; upstream repeats the channel."""


def grey(image: Image.Image) -> NDArray[np.uint8]:
    """A picture ``[H, W]`` as OpenCV reads its file in grey.

    Colours by libpng's whole numbers, truncated; transparency left out; of 16 bits the upper 8. Of
    a JPEG the luma that it holds, which Pillow's grey is but for fewer than 1 % of the pixels.
    """
    import numpy as np

    if image.mode == "RGB" and any(mark in image.info for mark in JPEG):
        image = image.convert("L")
    samples = stored(image)
    if samples.dtype.kind != "u":  # more than a PNG can hold: what the corpus made of it
        check_mode(image)
        samples = np.asarray(image)
    deep = samples.dtype.itemsize == 2
    if samples.ndim == 3 and samples.shape[2] < 3:
        samples = samples[..., 0]
    if samples.ndim == 3:
        red, green, blue = (samples[..., at].astype(np.int32) * LUMA[at] for at in range(3))
        samples = red + green + blue + (1 << 14) * deep >> 15  # of 16 bits it is rounded
    return np.asarray(samples >> 8 if deep else samples, dtype=np.uint8)


def framed(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Longer side to ``size`` by areas, be it enlarged, in the middle of a black square of it."""
    import numpy as np

    from pytest_occlusion.encoders.inter_area import inter_area

    rows, columns = picture.shape
    # The ratio is rounded to a double before it is used and the product is truncated, also where
    # both sides are equal: some squares lose a column.
    ratio = size / max(rows, columns)
    height, width = (size, int(columns * ratio)) if rows >= columns else (int(rows * ratio), size)
    check_oblong((width, height), (columns, rows), size)
    frame = np.zeros((size, size), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    frame[top : top + height, left : left + width] = inter_area(picture, height, width)
    return frame


def frame_crop(side: int) -> CanvasRecipe:
    """The central square of ``side`` pixels of the framed picture, which is 8/7 of it."""
    return CanvasRecipe(f"mgca-area-frame-crop-{side}", 1, side, side, partial(_draw, side=side))


def _draw(image: Image.Image, *, side: int) -> NDArray[np.uint8]:
    frame = framed(grey(image), side * FRAME // SIDE)
    start = round((len(frame) - side) / 2)  # torchvision's CenterCrop
    return frame[None, start : start + side, start : start + side].copy()


def cleaned(report: str) -> str:
    """Upstream's report (``datasets/pretrain_dataset.py``): lower-case words between blanks.

    What full stops separate, digits before them included, is left out unless it is two words or
    more. Letters outside ASCII are deleted. A report of which nothing would be left, as
    ``"Pneumothorax."``, which upstream has none of, stays as it is given.
    """
    pieces = [re.findall(r"\w+", piece) for piece in re.split(r"[0-9]*\.", report.lower())]
    words = [word for piece in pieces if len(piece) > 1 for word in piece]
    return " ".join(filter(None, (w.encode("ascii", "ignore").decode() for w in words))) or report


def all_cleaned(reports: Sequence[str]) -> list[str]:
    """The same of each."""
    return [cleaned(report) for report in reports]
