"""``medclip`` and ``cxr-clip`` against what upstream's own code gave for the same weights."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pytest_occlusion.encoders import load_encoder
from pytest_occlusion.encoders.bert import bert_of, text_tower
from pytest_occlusion.encoders.canvases import cropped, normalised, padded_square
from pytest_occlusion.encoders.cxr_clip import RESNET_STATISTICS, SWIN_STATISTICS
from pytest_occlusion.encoders.medclip import LAYOUT, mean_of_states, medclip_pixels
from pytest_occlusion.encoders.tokens import load_word_pieces
from pytest_occlusion.encoders.weights import Plan, fill

from .formula import PARITY, daily, draw, listing, write_formula_checkpoint
from .test_parity_clip import TOLERANCE, arrays, check_pixels, furthest

VARIANTS = {
    "medclip_vit": ("medclip", "Swin-T", "bin"),
    "medclip_resnet": ("medclip", "ResNet50", "safetensors"),
    "cxrclip_swin": ("cxr-clip", "Swin-T", "tar"),
    "cxrclip_resnet": ("cxr-clip", "ResNet50", "tar"),
}


@pytest.fixture(scope="module", params=daily(VARIANTS, "medclip_resnet", "cxrclip_swin"))
def variant(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(name, checkpoint with formula weights); 530 MB, removed at the end."""
    suffix = VARIANTS[request.param][2]
    path = tmp_path_factory.mktemp("formula") / f"model.{suffix}"
    yield request.param, write_formula_checkpoint(path, request.param)
    path.unlink()


def test_embeddings(
    variant: tuple[str, Path],
    items: list[int],
    bert_vocabulary: Path,
    parity_images: list[Image.Image],
    parity_texts: list[str],
) -> None:
    name, path = variant
    family, tower, _ = VARIANTS[name]
    stored = arrays(name)
    encoder = load_encoder(family, checkpoint=path, tokenizer=bert_vocabulary, device="cpu")
    assert encoder.variant == tower
    images = [parity_images[item] for item in items]
    assert furthest(encoder.encode_images(images), stored["image_emb"][items]) < TOLERANCE
    texts = encoder.encode_texts([parity_texts[item] for item in items])
    assert furthest(texts, stored["text_emb_alone"][items]) < TOLERANCE
    if family == "cxr-clip":
        assert furthest(texts, stored["text_emb_batch"][items]) < TOLERANCE
    counts = "n_tokens_untruncated" if family == "medclip" else "n_tokens"
    assert encoder.count_tokens(parity_texts) == listing(name)[counts]
    if family == "medclip":
        recipe = padded_square(224, "bilinear")
        canvases = torch.from_numpy(np.stack([recipe.draw(image) for image in images]))
        found = encoder.embed_canvases(canvases)
        assert furthest(found, stored["image_emb_dataset"][items]) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wanted", "limit", "padded"),
    [
        ("text_emb_batch", 77, True),
        ("text_emb_alone_notrunc", 512, False),
        ("text_emb_batch_notrunc", 457, True),
    ],
)
def test_medclip_text_choices(
    wanted: str, limit: int, padded: bool, bert_vocabulary: Path, parity_texts: list[str]
) -> None:
    words = load_word_pieces(
        bert_vocabulary,
        beside=PARITY,
        limit=limit,
        lower_case=True,
        positions=512,
        vocabulary_size=28996,
    )
    tower = text_tower(*text_modules(), pool=mean_of_states, length=limit * padded)
    with torch.inference_mode():
        rows = words.batch(parity_texts)
        # Unpadded texts go alone: a batch would be padded to the longest, for nothing.
        batches = [rows] if padded else [[row] for row in rows]
        found = torch.nn.functional.normalize(torch.cat([tower(batch) for batch in batches]))
    for name in ("medclip_vit", "medclip_resnet"):  # the same text tower by the formula
        assert furthest(found, arrays(name)[wanted]) < TOLERANCE


@functools.cache
def text_modules() -> tuple[Any, Any]:
    """The text tower of both MedCLIP variants, and its head."""
    state = {
        entry["name"]: torch.from_numpy(draw(entry["name"], entry["shape"], entry["rule"]))
        for entry in listing("medclip_resnet")["entries"]
        if entry["name"].startswith("text_model.") and entry["rule"] != "keep"
    }
    text, head = LAYOUT.text
    modules = {
        text: bert_of(state, text, PARITY),
        head: torch.nn.Linear(768, 512, bias=False, device="meta"),
    }
    plan = Plan(LAYOUT.what, "", state, (), modules)
    filled, _ = fill(plan, PARITY, torch.device("cpu"))
    return filled[text], filled[head]


@pytest.mark.parametrize("name", ["medclip_vit", "medclip_resnet"])
@pytest.mark.parametrize(
    ("resample", "stored"), [("bicubic", "pixels"), ("bilinear", "pixels_dataset")]
)
def test_medclip_pixels(
    name: str, resample: str, stored: str, parity_images: list[Image.Image]
) -> None:
    recipe = padded_square(224, resample)
    canvases = torch.from_numpy(np.stack([recipe.draw(image) for image in parity_images]))
    # Upstream's pixel tensors have one channel; its model repeats it.
    check_pixels(medclip_pixels(canvases), name, stored)


@pytest.mark.parametrize(
    ("name", "statistics"),
    [("cxrclip_swin", SWIN_STATISTICS), ("cxrclip_resnet", RESNET_STATISTICS)],
)
def test_cxr_clip_pixels(
    name: str, statistics: tuple[Any, Any], parity_images: list[Image.Image]
) -> None:
    recipe = cropped(224, "bilinear", convert_first=True, prefix="cxr-clip")
    canvases = torch.from_numpy(np.stack([recipe.draw(image) for image in parity_images]))
    mean, std = statistics
    check_pixels(normalised(canvases, mean=mean, std=std), name, "pixels")


@pytest.mark.parametrize(
    ("name", "limit", "ids"),
    [
        ("medclip_vit", 77, "input_ids_batch"),
        ("medclip_vit", 457, "input_ids_batch_notrunc"),
        ("cxrclip_swin", 256, "input_ids_batch"),
    ],
)
def test_token_ids(
    name: str, limit: int, ids: str, bert_vocabulary: Path, parity_texts: list[str]
) -> None:
    words = load_word_pieces(
        bert_vocabulary,
        beside=PARITY,
        limit=limit,
        lower_case=True,
        positions=512,
        vocabulary_size=28996,
    )
    rows = words.batch(parity_texts)
    found = np.array([row + [0] * (limit - len(row)) for row in rows])
    assert np.array_equal(found, arrays(name)[ids])
