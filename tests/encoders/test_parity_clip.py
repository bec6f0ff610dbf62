"""``clip`` and ``cxr-repair`` against what upstream's own code gave for the same weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from pytest_occlusion.encoders import Encoder, load_encoder
from pytest_occlusion.encoders.canvases import cropped, padded
from pytest_occlusion.encoders.clip import clip_pixels, repair_pixels
from pytest_occlusion.encoders.tokens import load_byte_pairs

from .formula import PARITY, daily, listing

TOLERANCE = 2e-6
LANCZOS_MOVED = 4
"""The image whose LANCZOS resize Pillow 13 moves by one grey level; see UPSTREAM.md 0."""

PILLOW_13 = int(PIL.__version__.split(".")[0]) >= 13


def arrays(variant: str) -> dict[str, NDArray[Any]]:
    with np.load(PARITY / f"{variant}.npz") as stored:
        return dict(stored)


def furthest(found: Any, stored: NDArray[Any]) -> float:
    return float(np.abs(np.asarray(found, np.float64) - stored).max())


@pytest.fixture(scope="module", params=daily(["fp32", "fp16rounded"], "fp32"))
def clip(request: pytest.FixtureRequest, vitb32: Path) -> tuple[Encoder, str]:
    options = {"fp16-rounded": request.param == "fp16rounded"}
    return load_encoder("clip", checkpoint=vitb32, device="cpu", **options), request.param


@pytest.fixture(scope="module", params=daily(["plain", "antialias"], "plain"))
def repair(request: pytest.FixtureRequest, vitb32: Path) -> tuple[Encoder, str]:
    antialias = request.param == "antialias"
    encoder = load_encoder("cxr-repair", checkpoint=vitb32, device="cpu", antialias=antialias)
    return encoder, f"antialias_{antialias}".lower()


def old_canvas() -> NDArray[np.uint8]:
    """Image 04 as Pillow before 13 draws it."""
    with Image.open(PARITY / "04_stage1_pillow12.png") as picture:
        return np.array(picture)[None]


def repair_canvases(images: list[Image.Image]) -> NDArray[np.uint8]:
    canvases = np.stack([padded(320).draw(image) for image in images])
    canvases[LANCZOS_MOVED] = old_canvas()
    return canvases


def test_clip_embeddings(
    clip: tuple[Encoder, str],
    items: list[int],
    parity_images: list[Image.Image],
    parity_texts: list[str],
) -> None:
    encoder, name = clip
    stored = arrays("clip_vitb32")
    assert encoder.variant == "ViT-B/32"
    images = encoder.encode_images([parity_images[item] for item in items])
    assert furthest(images, stored[f"image_emb_{name}"][items]) < TOLERANCE
    texts = encoder.encode_texts([parity_texts[item] for item in items])
    assert furthest(texts, stored[f"text_emb_{name}"][items]) < TOLERANCE


def test_clip_pixels(parity_images: list[Image.Image]) -> None:
    recipe = cropped(224, "bicubic", convert_first=False, prefix="clip")
    canvases = torch.from_numpy(np.stack([recipe.draw(image) for image in parity_images]))
    check_pixels(clip_pixels(canvases), "clip_vitb32", "pixels")


@pytest.mark.parametrize("antialias", [False, True])
def test_repair_pixels(parity_images: list[Image.Image], antialias: bool) -> None:
    canvases = torch.from_numpy(repair_canvases(parity_images))
    pixels = repair_pixels(canvases, side=224, antialias=antialias)
    check_pixels(
        pixels.expand(-1, 3, -1, -1), "cxr_repair", f"pixels_antialias_{antialias}".lower()
    )


def check_pixels(pixels: torch.Tensor, variant: str, name: str) -> None:
    stored, indices = arrays(variant), listing(variant)[name]["at64_indices"]
    flat = pixels.reshape(len(pixels), -1).numpy()
    assert furthest(flat[:, :16], stored[f"{name}_first16"]) < TOLERANCE
    assert furthest(flat[:, indices], stored[f"{name}_at64"]) < TOLERANCE
    assert furthest(flat.mean(1, dtype=np.float64), stored[f"{name}_mean"]) < TOLERANCE
    assert furthest(flat.std(1, dtype=np.float64), stored[f"{name}_std"]) < TOLERANCE


def test_token_ids(parity_texts: list[str]) -> None:
    pairs = load_byte_pairs(None, limit=77, vocabulary_size=49408)
    rows = pairs.batch(parity_texts)
    found = np.array([row + [0] * (77 - len(row)) for row in rows])
    assert np.array_equal(found, arrays("clip_vitb32")["token_ids"])
    assert np.array_equal(found, arrays("cxr_repair")["token_ids"])
    counts = [len(row) for row in pairs.rows(parity_texts)]
    assert counts == listing("clip_vitb32")["n_tokens_untruncated"]


def test_repair_canvases_are_upstreams(parity_images: list[Image.Image]) -> None:
    wanted = listing("cxr_repair")["stage1"]["sha256_uint8"]
    for index, image in enumerate(parity_images):
        canvas = padded(320).draw(image)
        same = hashlib.sha256(canvas.tobytes()).hexdigest() == wanted[index]
        assert same or (index == LANCZOS_MOVED and PILLOW_13), f"image {index}"
    old = old_canvas()
    assert hashlib.sha256(old.tobytes()).hexdigest() == wanted[LANCZOS_MOVED]
    moved = padded(320).draw(parity_images[LANCZOS_MOVED]).astype(int) - old
    assert np.abs(moved).max() <= (1 if PILLOW_13 else 0)


def test_repair_embeddings(
    repair: tuple[Encoder, str], parity_images: list[Image.Image], parity_texts: list[str]
) -> None:
    encoder, name = repair
    stored = arrays("cxr_repair")
    canvases = torch.from_numpy(repair_canvases(parity_images))
    found = encoder.embed_canvases(canvases)
    assert furthest(found, stored[f"image_emb_{name}"]) < TOLERANCE
    assert furthest(encoder.encode_texts(parity_texts), stored["text_emb"]) < TOLERANCE
    # From the pictures themselves; this Pillow's own canvas for the one that Pillow 13 moves.
    whole = encoder.encode_images(parity_images)
    same = [i for i in range(len(parity_images)) if not (PILLOW_13 and i == LANCZOS_MOVED)]
    assert furthest(whole[same], stored[f"image_emb_{name}"][same]) < TOLERANCE
