"""``chexficient`` against what upstream's own code gave, and against each wrong choice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate, normalize

from pytest_occlusion.encoders import Encoder, load_encoder
from pytest_occlusion.encoders import chexficient as family
from pytest_occlusion.encoders.bert import Pool, at_end, at_start, text_tower
from pytest_occlusion.encoders.canvases import cropped, normalised
from pytest_occlusion.encoders.checkpoints import read_checkpoint
from pytest_occlusion.encoders.clip import CLIP_MEAN, CLIP_STD
from pytest_occlusion.encoders.weights import fill

from .formula import formula_state, listing, write_chexficient
from .test_parity_clip import TOLERANCE, arrays, check_pixels, furthest
from .wrong import SHOWN, mean_pool, of_both, rows_of, text_errors, with_other_bert

NAME = "chexficient"
EIGHT_BIT = [0, 1, 3, 4, 5]
"""Of the second set of pictures: upstream reads one of 16 bits as white."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, words: Path | None) -> Iterator[Path]:
    """A folder with what its trainer saves and a vocabulary; 780 MB, removed at the end."""
    path = tmp_path_factory.mktemp("formula")
    weights = write_chexficient(path, formula_state(NAME), words)
    yield path
    weights.unlink()


@pytest.fixture(scope="module")
def encoder(checkpoint: Path) -> Encoder:
    return load_encoder("chexficient", checkpoint=checkpoint, device="cpu")


@pytest.fixture(scope="module")
def towers(checkpoint: Path) -> Any:
    read = read_checkpoint(checkpoint)
    return fill(family.chexficient_plan(read), read.weights, torch.device("cpu"))[0]


def recipe(resample: str = "bicubic") -> Any:
    return cropped(378, resample, convert_first=True, prefix="chexficient")


def pixels_of(images: list[Image.Image], drawn: Any = None, **statistics: Any) -> torch.Tensor:
    canvases = np.stack([(drawn or recipe().draw)(image) for image in images])
    told = {"mean": CLIP_MEAN, "std": CLIP_STD} | statistics
    return normalised(torch.from_numpy(canvases), **told)


@pytest.mark.slow
def test_embeddings(
    encoder: Encoder,
    items: list[int],
    words: Path | None,
    parity_images: list[Image.Image],
    extra_images: list[Image.Image],
    parity_texts: list[str],
    extra_texts: list[str],
) -> None:
    known, every = arrays(NAME), len(items) == len(parity_images)
    assert (encoder.variant, encoder.token_limit) == ("ViT-B/14@378px", 256)
    found = encoder.encode_images([parity_images[item] for item in items])
    assert furthest(found, known["image_emb"][items]) < TOLERANCE
    if every:
        extra = encoder.encode_images([extra_images[at] for at in EIGHT_BIT])
        assert furthest(extra, known["image_emb_extra"][EIGHT_BIT]) < TOLERANCE
    if not words:
        pytest.skip("the texts need ../shared/parity/bert-base-cased-vocab.txt, not shipped")
    found = encoder.encode_texts([parity_texts[item] for item in items])
    assert furthest(found, known["text_emb"][items]) < TOLERANCE
    assert furthest(found, known["text_emb_batch"][items]) < TOLERANCE
    if every:
        assert furthest(encoder.encode_texts(extra_texts), known["text_emb_extra"]) < TOLERANCE


def test_pixels(parity_images: list[Image.Image], extra_images: list[Image.Image]) -> None:
    check_pixels(pixels_of(parity_images), NAME, "pixels")
    for images, at, name in (
        (parity_images, range(8), "pixels"),
        ([extra_images[at] for at in EIGHT_BIT], EIGHT_BIT, "pixels_extra"),
    ):
        found = [hashlib.sha256(one.numpy().tobytes()).hexdigest() for one in pixels_of(images)]
        assert found == [listing(NAME)[name]["sha256_per_image"][one] for one in at]


@pytest.mark.parametrize("suffix", ["batch", "extra"])
def test_token_ids(
    suffix: str, bert_vocabulary: Path, parity_texts: list[str], extra_texts: list[str]
) -> None:
    texts = parity_texts if suffix == "batch" else extra_texts
    rows = rows_of(bert_vocabulary, 28996, limit=256)(texts)
    found = np.array([row + [0] * (256 - len(row)) for row in rows])
    assert np.array_equal(found, arrays(NAME)[f"input_ids_{suffix}"])


# Each line of UPSTREAM2.md 2.3: the error of the wrong choice, on the items that show it ----------


def squashed(image: Image.Image) -> NDArray[np.uint8]:
    whole = image.convert("RGB").resize((378, 378), Image.Resampling.BICUBIC)
    return np.array(whole).transpose(2, 0, 1)


HALVES = (0.5, 0.5, 0.5)
IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}

WRONG_PIXELS: dict[str, tuple[int, Callable[[list[Image.Image]], torch.Tensor]]] = {
    "bilinear": (0, partial(pixels_of, drawn=recipe("bilinear").draw)),
    "ImageNet's statistics": (0, partial(pixels_of, **IMAGENET)),
    "halves": (0, partial(pixels_of, mean=HALVES, std=HALVES)),
    "squashed": (0, partial(pixels_of, drawn=squashed)),
}


def image_errors(towers: Any, pixels: torch.Tensor, item: int) -> float:
    head, tower = towers[family.IMAGE_HEAD], towers[family.IMAGE]
    with torch.inference_mode():
        return furthest(normalize(head(tower(pixels)))[0], arrays(NAME)["image_emb"][item])


@pytest.mark.slow
@pytest.mark.parametrize("choice", WRONG_PIXELS)
def test_wrong_pixels(choice: str, towers: Any, parity_images: list[Image.Image]) -> None:
    item, wrong = WRONG_PIXELS[choice]
    assert image_errors(towers, wrong([parity_images[item]]), item) > SHOWN


@pytest.mark.slow
def test_positions_are_not_stretched(
    towers: Any, parity_images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    tower = towers[family.IMAGE]
    table = tower.pos_embed.data
    grid = table[:, 1:].transpose(1, 2).reshape(1, -1, 27, 27)
    small = interpolate(grid, (16, 16), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    monkeypatch.setattr(tower.pos_embed, "data", torch.cat([table[:, :1], small], dim=1))
    monkeypatch.setattr(tower.patch_embed, "img_size", (224, 224))
    drawn = cropped(224, "bicubic", convert_first=True, prefix="chexficient").draw
    pixels = pixels_of([parity_images[0]], drawn=drawn)
    assert image_errors(towers, pixels, 0) > SHOWN


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["patches", "scale", "bias", "eps-5", "eps-12", "gelu"])
def test_wrong_image_towers(
    wrong: str,
    towers: Any,
    parity_images: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tower, head = towers[family.IMAGE], towers[family.IMAGE_HEAD]
    if wrong == "patches":
        monkeypatch.setattr(tower, "pool", lambda tokens: tokens[:, 1:].mean(1))
    if wrong == "bias":
        monkeypatch.setattr(head.bias, "data", torch.zeros_like(head.bias))
    for module in tower.modules():
        if wrong == "scale" and type(module).__name__ == "LayerScale":
            monkeypatch.setattr(module.gamma, "data", torch.ones_like(module.gamma))
        if wrong.startswith("eps") and isinstance(module, torch.nn.LayerNorm):
            monkeypatch.setattr(module, "eps", float(f"1e{wrong[3:]}"))
        if wrong == "gelu" and isinstance(module, torch.nn.GELU):
            monkeypatch.setattr(module, "approximate", "tanh")
    assert image_errors(towers, pixels_of([parity_images[0]]), 0) > SHOWN


SHORT = [0, 1, 2, 8, 9]
LONG = 5
"""The text of the first set that is longer than 256 tokens; the one before it than 77."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choice", "items"),
    [
        ({"lower_case": False}, SHORT),
        ({"limit": 77}, [LONG - 1, LONG]),
        ({"limit": 512}, [LONG]),
        ({"marks": "!?."}, [0, 1, 2, 8]),
    ],
    ids=str,
)
def test_wrong_texts(
    choice: dict[str, Any],
    items: list[int],
    towers: Any,
    bert_vocabulary: Path,
    parity_texts: list[str],
    extra_texts: list[str],
) -> None:
    texts = [*parity_texts, *extra_texts]
    told = {"limit": 256} | choice
    marks = told.pop("marks", "")
    rows = rows_of(bert_vocabulary, 28996, **told)([texts[i].rstrip(marks) for i in items])
    tower = text_tower(towers[family.TEXT], towers[family.TEXT_HEAD], pool=at_end)
    assert text_errors(tower, rows, of_both(NAME, "text_emb")[items]).min() > SHOWN


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["start", "mean", "bert-gelu", "bert-eps"])
def test_wrong_text_towers(
    wrong: str,
    towers: Any,
    bert_vocabulary: Path,
    parity_texts: list[str],
    extra_texts: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = [*parity_texts, *extra_texts]
    pools: dict[str, Pool] = {"start": at_start, "mean": mean_pool}
    bert, head = towers[family.TEXT], towers[family.TEXT_HEAD]
    with_other_bert(bert, wrong, monkeypatch)
    rows = rows_of(bert_vocabulary, 28996)([texts[item] for item in SHORT])
    tower = text_tower(bert, head, pool=pools.get(wrong, at_end))
    assert text_errors(tower, rows, of_both(NAME, "text_emb")[SHORT]).min() > SHOWN
