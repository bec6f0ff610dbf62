"""The tiny checkpoints: what their cards say is what lies beside them."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from pytest_occlusion.corpora.embedded import load_embedded
from pytest_occlusion.encoders import load_encoder
from pytest_occlusion_fixtures.sampler import EVALUATION_SEED, TRAINING_SEED, VALIDATION_SEED

FOLDERS = sorted(Path(str(files("pytest_occlusion_fixtures") / "checkpoints")).iterdir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_card_is_about_these_weights(folder: Path) -> None:
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    weights = [p for p in folder.iterdir() if p.suffix in (".safetensors", ".bin", ".tar")]
    assert len(weights) == 1
    assert weights[0].stat().st_size <= 4_000_000
    assert hashlib.sha256(weights[0].read_bytes()).hexdigest() in card
    assert "Not for clinical use" in card


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_it_was_trained_on_training_studies_only(folder: Path) -> None:
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    seeds = {int(seed) for seed in re.findall(r"seed (\d{3,})", card)}
    assert seeds == {TRAINING_SEED, VALIDATION_SEED, EVALUATION_SEED}
    assert f"(seed {TRAINING_SEED})" in card
    assert f"measured on seed {EVALUATION_SEED}" in card
    assert len(seeds) == 3


def test_every_family_is_there_with_and_without_erasing() -> None:
    families = {"clip", "cxr-repair", "medclip", "cxr-clip"}
    assert {folder.name for folder in FOLDERS} == families | {f"{name}-plain" for name in families}


@pytest.fixture(scope="module")
def sample() -> tuple[list[Image.Image], list[str], list[int]]:
    """Pictures, drawn once; the texts of all studies, and which of them is each picture's."""
    corpus = load_embedded()
    texts = list(dict.fromkeys(study.report for study in corpus.studies))
    chosen = corpus.radiographs[::6]
    own = [texts.index(corpus.studies[one.study].report) for one in chosen]
    return [one.open() for one in chosen], texts, own


@pytest.mark.parametrize(
    ("family", "low", "high"),
    [("clip", 0, 4), ("medclip", 4, 30), ("cxr-repair", 12, 90), ("cxr-clip", 15, 90)],
)
def test_it_retrieves_what_it_was_trained_for(
    family: str, low: float, high: float, sample: tuple[list[Image.Image], list[str], list[int]]
) -> None:
    """A small sample through the package's own loader; ``clip`` never saw a radiograph."""
    pictures, texts, own = sample
    folder = next(folder for folder in FOLDERS if folder.name == family)
    options: dict[str, Any] = {} if family == "clip" else {"canvas-size": 64}
    encoder = load_encoder(family, checkpoint=folder, device="cpu", **options)
    scores = encoder.encode_images(pictures) @ encoder.encode_texts(texts).T
    rank = (scores > scores.gather(1, torch.tensor(own)[:, None])).sum(1)
    found = float((rank < 10).float().mean()) / (10 / len(texts))
    assert low <= found <= high
