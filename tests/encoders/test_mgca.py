"""What ``mgca`` does beside the oracle's inputs: other pictures and texts, other files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pytest_occlusion.corpora.images import open_image
from pytest_occlusion.encoders import load_encoder
from pytest_occlusion.encoders.checkpoints import read_checkpoint
from pytest_occlusion.encoders.inspect import describe, inspect_checkpoint
from pytest_occlusion.encoders.mgca import mgca_plan
from pytest_occlusion.encoders.mgca_inputs import cleaned, frame_crop, framed, grey
from pytest_occlusion.encoders.weights import weights_digest
from pytest_occlusion.errors import OcclusionError

from .formula import PARITY, write_state
from .tiny import mgca_shapes, state_of, write_word_pieces

SMALL: dict[str, Any] = {"device": "cpu", "canvas_size": 64, "max_tokens": 40}


def noise(*shape: int, dtype: Any = np.uint8) -> NDArray[Any]:
    top = np.iinfo(dtype).max
    return np.random.default_rng(3).integers(0, top, shape, dtype=dtype, endpoint=True)


def weighed(colours: NDArray[Any]) -> NDArray[Any]:
    """libpng's grey, in other words: the floor of a weighted mean."""
    weights = np.array([9797, 19234, 3737]) / 32768
    return np.asarray(np.floor(colours[..., :3].astype(float) @ weights))


def opened_modes() -> dict[str, tuple[Image.Image, NDArray[Any]]]:
    plane, colours, deep = noise(7, 9), noise(7, 9, 4), noise(7, 9, dtype=np.uint16)
    red = Image.fromarray(colours[..., :3])
    palette = red.quantize(16)
    with_alpha = Image.merge("LA", [Image.fromarray(plane), Image.fromarray(plane.T.reshape(7, 9))])
    return {
        "L": (Image.fromarray(plane), plane),
        "LA": (with_alpha, plane),
        "RGB": (red, weighed(colours)),
        "RGBA": (Image.fromarray(colours), weighed(colours)),
        "P": (palette, weighed(np.asarray(palette.convert("RGB")))),
        "1": (Image.fromarray(plane > 127), (plane > 127) * 255),
        "CMYK": (red.convert("CMYK"), weighed(colours)),
        "I;16": (Image.fromarray(deep), deep // 256),
    }


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "CMYK", "I;16"])
def test_grey_of_every_mode(mode: str) -> None:
    image, wanted = opened_modes()[mode]
    assert image.mode == mode
    assert np.array_equal(grey(image), wanted)


def test_grey_of_colours_of_sixteen_bits() -> None:
    """No mode of Pillow holds them; a corpus may hand them on. Rounded, then the upper byte."""
    image, colours = Image.new("RGB", (9, 7)), noise(7, 9, 3, dtype=np.uint16)
    image.info["stored"] = colours
    exact = colours.astype(float) @ np.array([9797, 19234, 3737]) / 32768
    assert np.array_equal(grey(image), np.floor(exact + 0.5) // 256)


def test_grey_of_a_jpeg_is_the_luma_that_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    Image.open(PARITY / "images" / "05_rgb_400x360.png").save(path, quality=95)
    with Image.open(path) as image:
        image.draft("L", image.size)
        luma = np.asarray(image)
    opened = open_image(path)
    assert opened.mode == "RGB"
    assert (grey(opened) != luma).mean() < 0.01
    assert (weighed(np.asarray(opened)) != luma).mean() > 0.3  # what a PNG of it would give


def test_floats_are_taken_as_the_corpus_shows_them() -> None:
    image = Image.fromarray(noise(7, 9))
    image.info["stored"] = noise(7, 9).astype(np.float32) * 1000
    assert np.array_equal(grey(image), noise(7, 9))
    with pytest.raises(OcclusionError, match="PIL mode 'F' has no 8-bit samples"):
        grey(Image.new("F", (9, 7)))


def test_some_squares_lose_a_column() -> None:
    """As upstream, which truncates the product of the width and a rounded ratio."""
    lost = [side for side in range(257, 400) if int(side * (256 / side)) == 255]
    assert lost
    white = np.full((lost[0], lost[0]), 255, np.uint8)
    assert (framed(white, 256)[:, :255] == 255).all()
    assert not framed(white, 256)[:, 255].any()


def test_too_oblong() -> None:
    with pytest.raises(OcclusionError, match="an image of 900 x 3 pixels is too oblong"):
        frame_crop(224).draw(Image.new("L", (900, 3)))


CLEANED = {
    "1. No acute process. 2. Clear.": "no acute process",
    "Nodule of 1.2 x 0.8 cm": "nodule of 2 x 8 cm",
    "Sj\u00f6gren's syndrome; \u2019 stable": "sjgren s syndrome stable",
    "Line\none. Two words": "line one two words",
    "\u00e9 \u00e9": "\u00e9 \u00e9",
    "Pneumothorax.": "Pneumothorax.",
    "...": "...",
}
"""Where nothing would be left, the text as it is given."""


@pytest.mark.parametrize(("report", "wanted"), CLEANED.items())
def test_cleaning(report: str, wanted: str) -> None:
    assert cleaned(report) == wanted


def written(path: Path, tower: str = "vit") -> Path:
    return write_state(path, state_of(mgca_shapes(tower)))


def test_cleaning_is_a_choice(tmp_path: Path) -> None:
    path, words = written(tmp_path / "m.ckpt"), write_word_pieces(tmp_path / "vocab.txt")
    clean = load_encoder("mgca", checkpoint=path, tokenizer=words, **SMALL)
    plain = load_encoder("mgca", checkpoint=path, tokenizer=words, clean=False, **SMALL)
    assert (clean.settings["clean"], plain.settings["clean"]) == (True, False)
    assert clean.count_tokens(["No effusion."]) == [4]
    assert plain.count_tokens(["No effusion."]) == [5]
    assert torch.allclose(clean.encode_texts(["No effusion."]), plain.encode_texts(["no effusion"]))
    assert plain.encode_texts([""]).norm() == pytest.approx(1)


@pytest.mark.parametrize("tower", ["vit", "resnet"])
def test_only_what_global_embeddings_need_is_loaded_and_digested(
    tower: str, tmp_path: Path
) -> None:
    """In Lightning's file, whose callbacks are keyed by classes that are not installed."""
    shapes = mgca_shapes(tower)
    unused = ("crossattention", "local_embed", "prototype", "atten_layer", "position_ids")
    kept = {n: a for n, a in state_of(shapes).items() if not any(part in n for part in unused)}
    assert len(shapes) > len(kept) + 20
    whole = written(tmp_path / "whole.ckpt", tower)
    slim = write_state(tmp_path / "slim.safetensors", kept)
    found = inspect_checkpoint(whole)
    assert (found.family, found.loads) == ("mgca", True)
    assert found.digest == inspect_checkpoint(slim).digest
    tensors = {name: torch.from_numpy(np.asarray(array)) for name, array in kept.items()}
    assert found.digest == weights_digest(tensors)
    assert set(mgca_plan(read_checkpoint(whole)).ignored) == {*shapes} - {*kept}
    assert "global" in describe(found)


def test_a_table_of_token_types_has_no_place(tmp_path: Path) -> None:
    name = "text_encoder_q.model.embeddings.token_type_embeddings.weight"
    state = state_of(mgca_shapes("vit")) | {name: np.zeros((2, 32), np.float32)}
    path = write_state(tmp_path / "m.ckpt", state)
    with pytest.raises(OcclusionError, match=rf"{name}: unexpected, shape \[2, 32\]"):
        load_encoder("mgca", checkpoint=path, **SMALL)


def test_a_head_that_is_missing(tmp_path: Path) -> None:
    name = "text_encoder_q.global_embed.head.3.weight"
    state = state_of(mgca_shapes("vit"))
    del state[name]
    path = write_state(tmp_path / "m.ckpt", state)
    with pytest.raises(OcclusionError, match=f"{name} is missing"):
        load_encoder("mgca", checkpoint=path, **SMALL)


def test_a_head_of_another_tower(tmp_path: Path) -> None:
    name = "img_encoder_q.global_embed.head.0.weight"
    state = state_of(mgca_shapes("vit")) | {name: np.zeros((40, 256), np.float32)}
    path = write_state(tmp_path / "m.ckpt", state)
    with pytest.raises(OcclusionError, match=rf"{name}: shape \[40, 256\], expected \[40, 48\]"):
        load_encoder("mgca", checkpoint=path, **SMALL)


@pytest.mark.parametrize("tower", ["vit", "resnet"])
def test_an_image_encoder_alone_retrieves_nothing(tower: str, tmp_path: Path) -> None:
    state = state_of(mgca_shapes(tower))
    alone = {name: array for name, array in state.items() if name.startswith("img_encoder_q.model")}
    path = write_state(tmp_path / "mgca_only.ckpt", alone)
    with pytest.raises(OcclusionError, match="the image encoder alone") as fault:
        load_encoder("mgca", checkpoint=path, **SMALL)
    assert "whole .ckpt" in fault.value.remedy
    found = inspect_checkpoint(path)
    assert found.what == "the image encoder of an MGCA alone"
    assert not found.loads


def test_a_canvas_that_the_position_table_is_not_of(tmp_path: Path) -> None:
    path, words = written(tmp_path / "m.ckpt"), write_word_pieces(tmp_path / "vocab.txt")
    with pytest.raises(OcclusionError, match="position table is of 64 x 64 pixels") as fault:
        load_encoder("mgca", checkpoint=path, tokenizer=words, device="cpu", max_tokens=40)
    assert fault.value.remedy == "set canvas-size = 64."


def test_a_resnet_takes_any_canvas_and_enlarges_it(tmp_path: Path) -> None:
    path, words = written(tmp_path / "m.ckpt", "resnet"), write_word_pieces(tmp_path / "vocab.txt")
    encoder = load_encoder("mgca", checkpoint=path, tokenizer=words, **SMALL)
    assert (encoder.canvas.channels, encoder.canvas.height) == (1, 64)
    assert encoder.encode_images([Image.fromarray(noise(90, 70))]).shape == (1, 16)
