"""OpenCV's INTER_AREA on 8-bit grey pictures, to the bit, in numpy.

What it does depends on the sizes: means of whole blocks, means of areas with parts of pixels at
their edges, or, to enlarge, linear interpolation between the two pixels under a new one. Sums are
taken in OpenCV's order and precision, because a last bit decides which way a half is rounded.
Versions 4.5 to 5.0 give the same (``../shared/UPSTREAM2.md`` 3.2 and 3.4).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]

SLIVER = 1e-3
"""Part of a pixel that is left out of a mean (OpenCV ``imgproc/src/resize.cpp``)."""

WHOLE = 1 << 11
"""What the two weights of an enlarged pixel add up to (same file, ``INTER_RESIZE_COEF_SCALE``)."""


def inter_area(picture: Grey, height: int, width: int) -> Grey:
    """Resize uint8 ``[H, W]`` to ``[height, width]`` as ``cv2.resize(..., INTER_AREA)`` does.

    Either both sides shrink or keep their length, by whatever factor, or the picture is enlarged.
    """
    if picture.shape == (height, width):
        return picture.copy()
    rows, columns = picture.shape
    if rows < height or columns < width:
        return _enlarged(picture, height, width)
    if not (rows % height or columns % width):
        return _block_means(picture, rows // height, columns // width)
    # Each row is summed by itself before rows are added up.
    narrow = _area_means(np.ascontiguousarray(picture.T), width)
    return _rounded(_area_means(np.ascontiguousarray(narrow.T), height))


def _rounded(means: NDArray[np.float32]) -> Grey:
    return np.asarray(np.rint(means).clip(0, 255), dtype=np.uint8)


def _block_means(picture: Grey, down: int, across: int) -> Grey:
    height, width = picture.shape[0] // down, picture.shape[1] // across
    blocks = picture.reshape(height, down, width, across)
    sums = blocks.sum(axis=(1, 3), dtype=np.int32)
    if down == across == 2:
        return np.asarray((sums + 2) >> 2, dtype=np.uint8)
    return _rounded(sums.astype(np.float32) * np.float32(1 / (down * across)))


def _area_means(lines: NDArray[np.uint8 | np.float32], size: int) -> NDArray[np.float32]:
    """Means of neighbouring lines ``[L, ...]``: float32 ``[size, ...]``."""
    count = len(lines)
    scale = 1 / (size / count)
    start = np.arange(size) * scale
    end = start + scale
    width = np.minimum(scale, count - start)  # of the last one, where rounding led past the edge
    last = np.minimum(np.floor(end), count - 1)
    first = np.minimum(np.ceil(start), last)
    means = np.zeros((size, *lines.shape[1:]), np.float32)

    def add(to: NDArray[np.intp], at: NDArray[np.float64], part: NDArray[np.float64]) -> None:
        weights = (part / width)[to].astype(np.float32)[:, None]
        means[to] += lines[at[to].astype(np.intp)] * weights

    add(np.flatnonzero(first - start > SLIVER), first - 1, first - start)
    for step in range(int((last - first).max())):
        add(np.flatnonzero(first + step < last), first + step, np.ones(size))
    rest = np.minimum(np.minimum(end - last, 1), width)
    add(np.flatnonzero(end - last > SLIVER), last, rest)
    return means


def _enlarged(picture: Grey, height: int, width: int) -> Grey:
    """Linear, in whole numbers; the top bits of both products are all that is kept."""
    at, near, far = _neighbours(picture.shape[1], width)
    lines = picture.astype(np.int32)
    lines = lines[:, at] * near + lines[:, np.minimum(at + 1, lines.shape[1] - 1)] * far
    lines >>= 4
    at, near, far = _neighbours(picture.shape[0], height)
    upper, lower = lines[at], lines[np.minimum(at + 1, len(lines) - 1)]
    sums = (upper * near[:, None] >> 16) + (lower * far[:, None] >> 16)
    return ((sums + 2) >> 2).clip(0, 255).astype(np.uint8)


def _neighbours(
    count: int, size: int
) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.int32]]:
    """Of each of ``size`` new pixels: the first of two old ones, and the weights of both."""
    factor = size / count
    new = np.arange(size)
    at = np.floor(new * (1 / factor)).astype(np.intp)
    share = ((new + 1) - (at + 1) * factor).astype(np.float32)
    share = np.where(share <= 0, np.float32(0), share - np.floor(share))
    share[at >= count - 1] = 0
    at = np.minimum(at, count - 1)
    whole = np.float32(WHOLE)
    near, far = (np.rint(part * whole).astype(np.int32) for part in (1 - share, share))
    return at, near, far
