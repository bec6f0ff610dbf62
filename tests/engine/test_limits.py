"""Token limits of known models over a corpus: by what is here, and without the network."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_occlusion.encoders.register import Known, find_model
from pytest_occlusion.engine import limits
from pytest_occlusion.engine.limits import limit_lines
from tests.encoders.tiny import write_hub_model

TEXTS = ["no effusion", " ".join(["effusion"] * 300)]

OURS = Known("ours", "hf", hub="a/b", revision="c" * 40, how="hub", files=("*.safetensors",))


def line(entry: Known) -> str:
    head, found = limit_lines(TEXTS, [entry])
    assert head.startswith("truncated per tokenizer")
    return found


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty hub cache, and a network that must not be asked."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", lambda *_, **__: pytest.fail("asked"))


def cached(tmp_path: Path, name: str, revision: str) -> Path:
    """Where the hub's client keeps a snapshot."""
    folder = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(revision)
    return folder / "snapshots" / revision


def test_clips_vocabulary_needs_no_file() -> None:
    for name in ("clip-rn50", "chexzero"):
        assert line(find_model(name)).split() == [name, "1", "50.0", "%", "77", "602"]


def test_what_is_not_here_is_not_counted() -> None:
    for name, said in {
        "medclip": "emilyalsentzer/Bio_ClinicalBERT is not in the hub's cache",
        "siglip2-b-16": "not here; `fetch siglip2-b-16` brings it",
        "xrayclip": "no commit of it is known here",
        "mgca-vit": "fetched by hand; `corpus --suite` counts with its file",
    }.items():
        assert line(find_model(name)).endswith(f"  not counted: {said}")


def test_a_vocabulary_in_the_cache_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = cached(tmp_path, "emilyalsentzer/Bio_ClinicalBERT", "c" * 40)
    place.mkdir(parents=True)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "no", "effusion"]
    (place / "vocab.txt").write_text("\n".join(pieces) + "\n")
    monkeypatch.setattr(limits, "BERT_TOKENS", len(pieces))
    found = line(find_model("cxr-clip"))
    assert found.split() == ["cxr-clip-swint-mc", "1", "50.0", "%", "256", "302"]


def test_a_model_in_the_cache_is_opened(tmp_path: Path) -> None:
    entry = Known(
        "ours", "hf", hub="a/b", revision="c" * 40, how="hub", files=("model.safetensors",)
    )
    write_hub_model(cached(tmp_path, "a/b", "c" * 40), "clip")
    name, cut, *_ = line(entry).split()
    assert (name, cut) == ("ours", "1")


def test_one_that_cannot_be_opened_does_not_hide_the_others(tmp_path: Path) -> None:
    place = cached(tmp_path, "a/b", "c" * 40)
    place.mkdir(parents=True)
    (place / "model.safetensors").write_bytes(b"no weights")
    _, said, counted = limit_lines(TEXTS, [OURS, find_model("clip")])
    assert "not counted: " in said
    assert counted.split()[0] == "clip-vit-b-32"
