"""Canvases: sizes, modes and refusals; the pixels themselves are checked by the parity tests."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pytest_occlusion.encoders import CanvasRecipe
from pytest_occlusion.encoders.canvases import cropped, padded
from pytest_occlusion.errors import OcclusionError

RECIPES = [
    cropped(48, "bicubic", convert_first=False, prefix="clip"),
    cropped(48, "bilinear", convert_first=True, prefix="cxr-clip"),
    padded(48),
]


def picture(width: int, height: int, mode: str = "L") -> Image.Image:
    levels = np.random.default_rng(width).integers(0, 256, (height, width), np.uint8)
    return Image.fromarray(levels).convert(mode)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("size", [(1, 1), (48, 48), (47, 300), (300, 47), (99, 98), (10, 12)])
def test_shape(recipe: CanvasRecipe, size: tuple[int, int]) -> None:
    canvas = recipe.draw(picture(*size))
    assert canvas.shape == (recipe.channels, recipe.height, recipe.width)
    assert canvas.dtype == np.uint8
    assert canvas.flags.c_contiguous
    assert canvas.flags.writeable or recipe.channels == 3


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("mode", ["LA", "RGBA", "RGB"])
def test_opaque_modes_agree_with_grey(recipe: CanvasRecipe, mode: str) -> None:
    grey, same = picture(70, 90), picture(70, 90, mode)
    assert np.abs(recipe.draw(same).astype(int) - recipe.draw(grey)).max() <= 1


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("mode", ["I", "F", "I;16"])
def test_deep_modes_are_refused(recipe: CanvasRecipe, mode: str) -> None:
    with pytest.raises(OcclusionError, match="has no 8-bit samples"):
        recipe.draw(Image.new(mode, (60, 60)))


def test_too_oblong_for_the_padded_canvas() -> None:
    with pytest.raises(OcclusionError, match="too oblong"):
        padded(48).draw(picture(200, 2))


def test_padding_is_black_and_centred() -> None:
    canvas = padded(48).draw(Image.new("L", (100, 50), 255))[0]
    assert canvas[:12].max() == canvas[36:].max() == 0
    assert canvas[12:36].min() == 255


def test_a_square_of_the_right_size_is_left_alone() -> None:
    image = picture(48, 48)
    for recipe in RECIPES:
        assert np.array_equal(recipe.draw(image)[0], np.asarray(image))
