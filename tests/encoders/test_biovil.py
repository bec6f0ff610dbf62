"""BioViL's two files: which are read, what they lack, and what must not matter in them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pytest_occlusion.encoders import checkpoint_files, load_encoder
from pytest_occlusion.encoders.checkpoints import read_checkpoint
from pytest_occlusion.encoders.inspect import describe, inspect_checkpoint
from pytest_occlusion.errors import OcclusionError

from .formula import write_state
from .hub_server import Hub
from .tiny import chexficient_shapes, state_of, write_biovil, write_word_pieces

SIZES: dict[str, Any] = {"resize": 96, "canvas_size": 64, "max_tokens": 40}
IMAGE, TEXT = "biovil_t_image_model_proj_size_128.pt", "pytorch_model.bin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_biovil(tmp_path / "biovil-t", temporal=True)


def load(path: Path | str, **options: Any) -> Any:
    return load_encoder("biovil", checkpoint=path, device="cpu", **{**SIZES, **options})


def test_both_files_decide_what_it_is(folder: Path) -> None:
    first = load(folder)
    assert first.variant == "BioViL-T ResNet-w8-l1-2-1-1"
    assert {IMAGE, TEXT, "vocab.txt"} <= {file.name for file in checkpoint_files(folder, None, "*")}
    for name in (IMAGE, TEXT):
        path = folder / name
        state = torch.load(path, weights_only=True)
        other = max(state, key=lambda one: state[one].numel())
        torch.save({**state, other: state[other] * 1.5}, path)
        second = load(folder)
        assert second.weights_digest != first.weights_digest
        first = second


def test_what_the_embedding_does_not_need_does_not_count(folder: Path) -> None:
    known = load(folder)
    text = torch.load(folder / TEXT, weights_only=True)
    lean = {n: t for n, t in text.items() if not n.startswith(("cls.", "bert.pooler."))}
    torch.save({**lean, "bert.embeddings.position_ids": torch.arange(48)[None]}, folder / TEXT)
    image = torch.load(folder / IMAGE, weights_only=True)
    torch.save({f"module.{name}": tensor for name, tensor in image.items()}, folder / IMAGE)
    again = load(folder)
    assert again.weights_digest == known.weights_digest
    assert torch.equal(again.encode_texts(["no lungs"]), known.encode_texts(["no lungs"]))


@pytest.mark.parametrize(("kept", "lost"), [(IMAGE, "text"), (TEXT, "image")])
def test_half_a_model(kept: str, lost: str, folder: Path) -> None:
    said = f"the {lost} half of a BioViL is not in it"
    with pytest.raises(OcclusionError, match=said):
        load(folder / kept)
    (folder / (IMAGE if kept == TEXT else TEXT)).unlink()
    with pytest.raises(OcclusionError, match=said) as fault:
        load(folder)
    assert "the folder with both files" in fault.value.remedy


def test_other_weights_in_the_folder(folder: Path, tmp_path: Path) -> None:
    known = load(folder)
    shutil.copy(folder / TEXT, folder / "model.bin")
    with pytest.raises(
        OcclusionError, match="tensors are in several of its weights files"
    ) as fault:
        load(folder)
    assert 'weights = "FILE+FILE"' in fault.value.remedy
    chosen = load(folder, weights=f"{IMAGE}+{TEXT}")
    assert chosen.weights_digest == known.weights_digest
    with pytest.raises(OcclusionError, match=r"weights = 'gone.pt' is not there"):
        load(folder, weights=f"{IMAGE}+gone.pt")


@pytest.mark.parametrize("weights", ["+", f"{IMAGE}+", f"+{TEXT}", f"{IMAGE}+{IMAGE}"])
def test_names_that_are_no_list_of_files(weights: str, folder: Path) -> None:
    for read in (
        lambda: load(folder, weights=weights),
        lambda: checkpoint_files(folder, None, weights),
    ):
        with pytest.raises(OcclusionError, match="names nothing, or a file twice"):
            read()


@pytest.mark.parametrize("name", [TEXT, "model.safetensors"])
def test_both_files_come_from_the_hub(name: str, folder: Path, hub: Hub) -> None:
    """Whichever the text file is; of one that is not there the name is told."""
    if name != TEXT:
        save_file(torch.load(folder / TEXT, weights_only=True), folder / name)
        (folder / TEXT).unlink()
    known = load(folder)
    hub.add("some/biovil-t", folder, tags=("v1.0",))
    for weights in ("*", f"{IMAGE}+{name}"):
        found = load("hf-hub:some/biovil-t", revision="v1.0", weights=weights)
        assert found.weights_digest == known.weights_digest
    with pytest.raises(OcclusionError, match=r"some/biovil-t@v1\.0") as fault:
        load("hf-hub:some/biovil-t", revision="v1.0", weights=f"{IMAGE}+gone.bin")
    assert "looked for gone.bin" in fault.value.remedy


def test_sizes_of_the_canvas(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OcclusionError, match="canvas-size = 128 is more than resize = 96"):
        load(folder, canvas_size=128)
    plain = write_biovil(tmp_path / "biovil", temporal=False)
    sides = [
        load_encoder("biovil", checkpoint=path, device="cpu", max_tokens=40).canvas.width
        for path in (folder, plain)
    ]
    assert sides == [448, 480]


def test_inspect_reads_both(folder: Path) -> None:
    found = inspect_checkpoint(folder)
    assert (found.family, found.loads) == ("biovil", True)
    assert "BioViL-T ResNet-w8" in describe(found)
    half = inspect_checkpoint(folder / IMAGE)
    assert (half.what, half.loads) == ("the image half of a BioViL", False)


@pytest.mark.parametrize("rows", [1, 9, 0])
def test_the_shapes_of_a_curated_batch_do_not_matter(rows: int, tmp_path: Path) -> None:
    """CheXficient's trainer leaves buffers with as many rows as its last batch kept."""
    words = write_word_pieces(tmp_path / "vocab.txt")
    state = state_of(chexficient_shapes(max(1, rows)))
    if not rows:
        state = {n: a for n, a in state.items() if not n.startswith(("batch_", "pending_"))}
    state["text_encoder.model.embeddings.position_ids"] = np.arange(48)[None]
    path = write_state(tmp_path / "w.bin", state)
    encoder = load_encoder(
        "chexficient", checkpoint=path, tokenizer=words, device="cpu", max_tokens=40
    )
    plain = write_state(tmp_path / "plain.safetensors", state_of(chexficient_shapes()))
    known = load_encoder(
        "chexficient", checkpoint=plain, tokenizer=words, device="cpu", max_tokens=40
    )
    assert encoder.weights_digest == known.weights_digest
    assert read_checkpoint(path).state.keys() == state.keys()


def test_sizes_that_make_no_transformer(tmp_path: Path) -> None:
    state = state_of(chexficient_shapes())
    state["image_encoder.model.pos_embed"] = state["image_encoder.model.pos_embed"][:, :9]
    path = write_state(tmp_path / "w.bin", state)
    with pytest.raises(OcclusionError, match="pos_embed"):
        load_encoder("chexficient", checkpoint=path, device="cpu")
