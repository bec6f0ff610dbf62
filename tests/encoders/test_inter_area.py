"""OpenCV's resize by areas, against what OpenCV itself gave for the same noise."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_occlusion.encoders.inter_area import inter_area

Size = tuple[int, int]

OPENCV: dict[str, tuple[Size, Size, str]] = {
    "thirds": ((768, 600), (256, 200), "f9d8afdf70e0665a"),
    "halves": ((512, 300), (256, 150), "8c1859ad2e5e2aae"),
    "parts": ((2544, 3056), (213, 256), "cb58e9232156b879"),
    "blocks-of-10": ((2560, 2000), (256, 200), "7f201c7186341856"),
    "one-side": ((300, 7), (256, 7), "98b9257f52fd1193"),
    "edge": ((257, 255), (256, 254), "f45e2bc8960a60ee"),
    "enlarged": ((150, 190), (202, 256), "318623eadcf09d90"),
    "enlarged-much": ((1, 3), (85, 256), "056e38d9626f3514"),
    "one-column": ((100, 1), (256, 2), "80eaa38d9189603f"),
    "nothing": ((256, 9), (256, 9), "e791e82dcb71c2e0"),
}
"""Rows and columns before and after; first digits of the SHA-256 of OpenCV 4.14's picture."""


def noise(size: Size, seed: int = 7) -> NDArray[np.uint8]:
    return np.random.Generator(np.random.PCG64(seed)).integers(0, 256, size, dtype=np.uint8)


@pytest.mark.parametrize(("given", "wanted", "digest"), OPENCV.values(), ids=OPENCV)
def test_noise_is_resized_to_the_bit(given: Size, wanted: Size, digest: str) -> None:
    found = inter_area(noise(given), *wanted)
    assert found.dtype == np.uint8
    assert found.shape == wanted
    assert hashlib.sha256(found.tobytes()).hexdigest()[:16] == digest


def test_whatever_sizes_opencv_gives_the_same() -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not needed, and not installed")
    sizes = np.random.default_rng(1).integers(2, 900, (200, 2))
    for seed, (rows, columns) in enumerate(sizes.tolist()):
        ratio = 256 / max(rows, columns)
        height, width = max(1, int(rows * ratio)), max(1, int(columns * ratio))
        picture = noise((rows, columns), seed)
        picture = picture if seed % 2 else (picture > 127).astype(np.uint8) * 255  # hard edges
        wanted = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        assert np.array_equal(inter_area(picture, height, width), wanted), (rows, columns)


@pytest.mark.parametrize(("given", "wanted"), [((512, 300), (256, 200)), ((90, 60), (256, 170))])
def test_a_grey_surface_keeps_its_grey(given: Size, wanted: Size) -> None:
    surface = np.full(given, 77, np.uint8)
    assert (inter_area(surface, *wanted) == 77).all()


def test_the_picture_that_is_given_is_never_the_one_that_is_returned() -> None:
    picture = noise((256, 9))
    found = inter_area(picture, 256, 9)
    found[:] = 0
    assert picture.any()
