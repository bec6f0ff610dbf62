"""What ``inspect`` says of good, broken and unknown files."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_occlusion.__main__ import main
from pytest_occlusion.encoders import load_encoder, recognise
from pytest_occlusion.encoders.checkpoints import Checkpoint
from pytest_occlusion.encoders.inspect import describe, inspect_checkpoint
from pytest_occlusion.encoders.recognise import by_shapes
from pytest_occlusion.encoders.register import Known, completed
from pytest_occlusion.encoders.signatures import TORCH_ZIP, TORCHSCRIPT

from .formula import write_state
from .tiny import (
    cxr_clip_shapes,
    medclip_shapes,
    resnet_shapes,
    state_of,
    vit_shapes,
    write_vocabulary,
)

KINDS = {
    "clip-vit": (vit_shapes(), "a CLIP ViT state_dict", "clip", "ViT-w48-l2/8@32px"),
    "clip-resnet": (resnet_shapes(), "a CLIP ResNet state_dict", "clip", "RN-w8-l1-2-1-1@64px"),
    "medclip-swin": (
        medclip_shapes("swin"),
        "a MedCLIP Swin state_dict",
        "medclip",
        "Swin-w24-l2-2/4",
    ),
    "cxr-clip-resnet": (
        cxr_clip_shapes("resnet"),
        "a CXR-CLIP ResNet50 state_dict",
        "cxr-clip",
        "ResNet-w8-l1-2-1-1",
    ),
}


@pytest.mark.parametrize(("shapes", "what", "family", "variant"), KINDS.values(), ids=KINDS)
def test_kinds(
    shapes: dict[str, tuple[int, ...]], what: str, family: str, variant: str, tmp_path: Path
) -> None:
    path = write_state(tmp_path / "w.safetensors", state_of(shapes))
    found = inspect_checkpoint(path)
    assert found.plan
    assert (found.what, found.family, found.plan.variant) == (what, family, variant)
    assert found.loads
    floats = sum(int(np.prod(s)) for n, s in shapes.items() if "num_batches" not in n)
    assert f"parameters  {floats:,} in {len(shapes)} tensors" in describe(found)
    assert found.read.container == "safetensors"


def test_the_digest_is_the_encoders(tmp_path: Path) -> None:
    path = write_state(tmp_path / "w.pt", state_of(vit_shapes()))
    vocabulary = write_vocabulary(tmp_path / "bpe.txt.gz")
    encoder = load_encoder("clip", checkpoint=path, tokenizer=vocabulary, device="cpu")
    assert inspect_checkpoint(path).digest == encoder.weights_digest


def test_faults_and_ignored_entries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = state_of(vit_shapes())
    state["input_resolution"] = np.array(32)
    state["extra"] = np.zeros(2, np.float32)
    state["ln_final.weight"][0] = np.nan
    del state["ln_final.bias"]
    path = write_state(tmp_path / "w.pt", state)
    assert main(["inspect", str(path)]) == 1
    said = capsys.readouterr().out
    for line in (
        "ignored     input_resolution",
        "faults      3",
        "  - ln_final.bias: missing, shape [32]",
        "  - extra: unexpected, shape [2]",
        "  - ln_final.weight: 1 of 32 values are NaN or infinite",
        "verdict     does not load as it is",
    ):
        assert line in said


def test_unknown_and_unreadable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_state(tmp_path / "w.pt", {"a.b": np.zeros(3, np.float32)})
    found = inspect_checkpoint(path)
    assert not found.loads
    assert "none that is known" in describe(found)
    assert main(["inspect", str(tmp_path / "gone.pt")]) == 2
    assert "no such checkpoint" in capsys.readouterr().err


def test_an_architecture_that_cannot_be_told(tmp_path: Path) -> None:
    state = state_of(medclip_shapes("swin"))
    del state["text_model.projection_head.weight"]
    found = inspect_checkpoint(write_state(tmp_path / "w.pt", state))
    assert found.faults == (
        "text_model.projection_head.weight is missing, so the architecture cannot be told",
    )
    assert "verdict     does not load" in describe(found)


def test_what_was_taken_off_the_names_is_said(tmp_path: Path) -> None:
    state = {f"net.module.{name}": array for name, array in state_of(vit_shapes()).items()}
    found = inspect_checkpoint(write_state(tmp_path / "w.pt", state))
    assert found.loads
    assert "names       without 'net.module.', with which all of them began" in describe(found)


@pytest.mark.parametrize(("kind", "bits"), [("F4", 4), ("F8_E4M3", 8), ("C64", 64)])
def test_types_that_not_every_torch_has(
    kind: str, bits: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"dtype": kind, "shape": [4, 4], "data_offsets": [0, 2 * bits]}
    header = json.dumps({"visual.proj": entry}).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(2 * bits))
    assert main(["inspect", str(path)]) == 2
    assert f"visual.proj: {kind}" in capsys.readouterr().err


def test_a_terminal_is_never_handed_what_it_would_obey(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"\x1b[2Jkey": {"a": torch.zeros(1)}, "epoch": 1}, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr("\x1b[2Jnotes.txt", "hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "\x1b[2J.txt").touch()
    for name in ("w.pt", "w.zip", "folder"):
        assert main(["inspect", str(tmp_path / name)]) == 2
        said = capsys.readouterr().err
        assert "\x1b" not in said
        assert r"\x1b[2J" in said


CHEXZERO = "best_64_5e-05_original_22000_0.864.pt"
"""A file of CheXzero's as its authors publish it: a plain state_dict in openai's naming."""


def test_chexzero_reads_as_cxr_repair_and_gets_its_canvas(tmp_path: Path) -> None:
    path = write_state(tmp_path / CHEXZERO, state_of(vit_shapes()))
    found = inspect_checkpoint(path)
    assert found.loads
    assert (found.family, [one.name for one in found.known]) == ("cxr-repair", ["chexzero"])
    said = describe(found)
    assert "family      cxr-repair\n" in said
    assert "known as    chexzero (by its file's name); `models NAME` tells more" in said
    assert 'beware      It has the format of CLIP\'s ViT-B/32, and family = "clip" reads it' in said
    assert max(map(len, said.replace(str(path), "").splitlines())) <= 100
    told = completed({"model": "chexzero", "checkpoint": str(path)})
    vocabulary = write_vocabulary(tmp_path / "bpe.txt.gz")
    encoder = load_encoder(
        told["family"], checkpoint=told["checkpoint"], tokenizer=vocabulary, device="cpu"
    )
    assert (encoder.canvas.height, encoder.canvas.width) == (320, 320)
    assert encoder.settings["canvas-size"] == 320
    as_clip = load_encoder("clip", checkpoint=path, tokenizer=vocabulary, device="cpu")
    assert (as_clip.canvas.height, as_clip.canvas.width) == (32, 32)  # which is what goes wrong


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_file_is_known_by_its_checksum_whatever_its_name(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_state(tmp_path / "w.pt", state_of(vit_shapes()))
    digest = hashlib.new(kind, path.read_bytes()).hexdigest()
    told: dict[str, Any] = {"md5": digest} if kind == "md5" else {"sums": {"w.pt": digest}}
    entry = Known("ours", "cxr-repair", **told)
    other = Known("theirs", "clip", files=("w.pt",), how="by hand", md5="0" * 32)
    monkeypatch.setattr(recognise, "known_models", lambda: (entry, other))
    found = inspect_checkpoint(path)
    assert found.family == "cxr-repair"
    assert "known as    ours (by its checksum)" in describe(found)


def test_shapes_leave_several_unless_the_container_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Known("ours", "cxr-repair", variant="ViT-w48-l2/8@32px", mistake="Not as clip.")
    theirs = Known("theirs", "clip", variant="ViT-w48-l2/8@32px")
    monkeypatch.setattr(recognise, "known_models", lambda: (ours, theirs))
    path = write_state(tmp_path / "w.pt", state_of(vit_shapes()))
    said = describe(inspect_checkpoint(path))
    assert "family      clip, or cxr-repair (the file does not tell which: same format)" in said
    assert "known as    one of ours, theirs (by its shapes)" in said
    assert "beware      Not as clip." in said
    found = inspect_checkpoint(path)
    archive = replace(found, read=replace(found.read, container=TORCHSCRIPT))
    assert by_shapes(archive.read, "clip", "ViT-w48-l2/8@32px")[0] == (theirs,)
    alone = describe(replace(archive, known=(theirs,)))
    assert "family      clip\n" in alone
    assert "beware" not in alone


def test_the_published_shapes_are_those_of_the_register() -> None:
    """Of ViT-B/32, as TorchScript and as a plain state_dict."""
    plain = Checkpoint(Path("w.pt"), Path("w.pt"), TORCH_ZIP, {})
    names = [one.name for one in by_shapes(plain, "clip", "ViT-B/32")[0]]
    assert names == ["clip-vit-b-32", "cxr-repair", "chexzero"]
    archive = replace(plain, container=TORCHSCRIPT)
    assert [one.name for one in by_shapes(archive, "clip", "ViT-B/32")[0]] == ["clip-vit-b-32"]
    assert len(by_shapes(plain, "cxr-clip", "Swin-T")[0]) == 3
    assert not by_shapes(plain, "hf", "")[0]
