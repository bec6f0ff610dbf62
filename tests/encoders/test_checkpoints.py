"""Reading checkpoints: every container, and every way in which a file can be wrong."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_occlusion.encoders import checkpoint_files, load_encoder
from pytest_occlusion.encoders.checkpoints import read_checkpoint
from pytest_occlusion.encoders.weights import weights_digest
from pytest_occlusion.errors import OcclusionError

from .formula import write_state
from .tiny import state_of, vit_shapes, write_vocabulary

STATE = state_of(vit_shapes())


def tensors() -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in STATE.items()}


class _Nested(torch.nn.Module):
    """Modules nested so that their state_dict has the given names, for tracing."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        super().__init__()
        below: dict[str, dict[str, torch.Tensor]] = {}
        for name, tensor in state.items():
            head, _, rest = name.partition(".")
            if rest:
                below.setdefault(head, {})[rest] = tensor
            else:
                self.register_buffer(head, tensor)
        for head, part in below.items():
            self.add_module(head, _Nested(part))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def write_torchscript(path: Path) -> None:
    module = _Nested(tensors() | {"input_resolution": torch.tensor(32)})
    with warnings.catch_warnings():
        # torch announces the end of TorchScript; the published CLIP files are in it all the same.
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(module, torch.zeros(1))  # type: ignore[no-untyped-call]
        torch.jit.save(traced, path)


CONTAINERS: dict[str, Callable[[Path], object]] = {
    "torchscript": write_torchscript,
    "zip": lambda path: torch.save(tensors(), path),
    "legacy": lambda path: torch.save(tensors(), path, _use_new_zipfile_serialization=False),
    "safetensors": lambda path: write_state(path.with_suffix(".safetensors"), STATE).rename(path),
    "wrapped": lambda path: torch.save({"epoch": 3, "state_dict": tensors()}, path),
    "parallel": lambda path: torch.save(
        {"state_dict": {f"module.{name}": value for name, value in tensors().items()}}, path
    ),
    "parameters": lambda path: torch.save(
        {name: torch.nn.Parameter(value) for name, value in tensors().items()}, path
    ),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_weights(container: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    CONTAINERS[container](path)
    vocabulary = write_vocabulary(tmp_path / "bpe.txt.gz")
    encoder = load_encoder("clip", checkpoint=path, tokenizer=vocabulary, device="cpu")
    assert encoder.weights_digest == weights_digest(tensors())


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "pytorch_model.bin", "mine.pt"])
def test_directory(name: str, tmp_path: Path) -> None:
    write_state(tmp_path / name, STATE)
    write_vocabulary(tmp_path / "bpe_vocab.txt.gz")
    (tmp_path / "README.md").write_text("not part of it")
    encoder = load_encoder("cxr-repair", checkpoint=tmp_path, device="cpu")
    assert encoder.weights_digest == weights_digest(tensors())
    listed = [f.name for f in checkpoint_files(tmp_path)]
    assert listed[0] == name
    assert sorted(listed) == sorted([name, "bpe_vocab.txt.gz", "README.md"])


def test_a_zip_of_a_model_directory(tmp_path: Path) -> None:
    inner = write_state(tmp_path / "pytorch_model.bin", STATE)
    path = tmp_path / "published.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/readme.txt", "hello")
        archive.write(inner, "model/pytorch_model.bin")
    inner.unlink()
    assert weights_digest(read_checkpoint(path).state) == weights_digest(tensors())
    assert checkpoint_files(path) == [path]


def test_a_damaged_file_inside_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "published.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pytorch_model.bin", b"")
    with pytest.raises(
        OcclusionError, match=r"in it pytorch_model\.bin: the file is empty"
    ) as fault:
        read_checkpoint(path)
    assert str(path) in fault.value.problem
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pytorch_model.bin", bytes(range(256)) * 9)
    raw = bytearray(path.read_bytes())
    raw[80] ^= 0xFF
    path.write_bytes(bytes(raw))
    with pytest.raises(OcclusionError, match="a damaged zip"):
        read_checkpoint(path)


def test_checkpoint_files_with_a_tokenizer(tmp_path: Path) -> None:
    weights = write_state(tmp_path / "w.pt", STATE)
    vocabulary = write_vocabulary(tmp_path / "bpe.txt.gz")
    assert checkpoint_files(weights, vocabulary) == [weights, vocabulary]
    assert checkpoint_files(weights, "some/hub-id") == [weights]


def test_digest_sees_names_shapes_dtypes_and_values() -> None:
    base = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)}
    variants = [
        base,
        {"c": base["a"], "b": base["b"]},
        {**base, "a": base["a"].reshape(3, 2)},
        {**base, "a": base["a"].double()},
        {**base, "a": base["a"] + 1},
        {"a": base["a"]},
        {**base, "b": base["b"].bfloat16()},
    ]
    assert len({weights_digest(state) for state in variants}) == len(variants)
    same = {"b": base["b"], "a": base["a"].t().contiguous().t()}
    assert weights_digest(same) == weights_digest(base)


def test_the_bytes_of_a_digest() -> None:
    # Snapshots hold digests: another format would turn every baseline into "weights changed".
    state = {"x": torch.tensor([1.0, -2.0]), "n": torch.tensor(7)}
    stream = b'["n", "int64", []]\n' + (7).to_bytes(8, "little")
    stream += b'["x", "float32", [2]]\n' + np.array([1, -2], "<f4").tobytes()
    assert weights_digest(state) == hashlib.sha256(stream).hexdigest()


class Malice:
    """Pickles into a call: what a hostile checkpoint looks like."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.proof,)


def hostile_torchscript(path: Path, payload: Any) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/constants.pkl", b"")
        archive.writestr("m/data.pkl", pickle.dumps(payload))


HOSTILE: dict[str, Callable[[Path, Any], object]] = {
    "zip": lambda path, payload: torch.save({"state_dict": tensors(), "x": payload}, path),
    "legacy": lambda path, payload: torch.save(
        {"x": payload}, path, _use_new_zipfile_serialization=False
    ),
    "bare-pickle": lambda path, payload: path.write_bytes(pickle.dumps(payload)),
    "torchscript": hostile_torchscript,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_pickle_that_wants_to_run_code_does_not(kind: str, tmp_path: Path) -> None:
    proof, path = tmp_path / "it-ran", tmp_path / "weights.pt"
    HOSTILE[kind](path, Malice(proof))
    with pytest.raises(OcclusionError, match=re.escape(str(path))) as refused:
        load_encoder("clip", checkpoint=path, device="cpu")
    assert not proof.exists()
    assert "do not trust this file" in str(refused.value) or kind == "bare-pickle"


def damaged(path: Path, kind: str) -> None:
    """Write a file or directory that is wrong in one way."""
    whole = path.with_name("whole.pt")
    if kind in ("truncated-zip", "truncated-legacy", "truncated-torchscript"):
        CONTAINERS[kind.removeprefix("truncated-")](whole)
        path.write_bytes(whole.read_bytes()[:-3000])
    elif kind.startswith("truncated-safetensors"):
        CONTAINERS["safetensors"](whole)
        path.write_bytes(whole.read_bytes()[: 100 if kind.endswith("header") else -64])
    elif kind == "empty-directory":
        path.mkdir()
    elif kind == "crowded-directory":
        path.mkdir()
        (path / "a.pt").touch()
        (path / "b.pt").touch()
    elif kind == "no-tensors":
        torch.save({"epoch": 3}, path)
    elif kind == "list":
        torch.save([torch.zeros(2)], path)
    elif kind == "other-zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("notes.txt", "hello")
    elif kind != "missing":
        path.write_bytes(BYTES[kind])


BYTES = {
    "empty": b"",
    "web-page": b"\n<!DOCTYPE html><html><head><title>Sign in | Box</title></head></html>",
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 605\n",
    "tar": b"\0" * 257 + b"ustar\0" + b"\0" * 500,
    "gzip": b"\x1f\x8b\x08\0\0\0",
    "text": b"just some words\n",
}

FAULTS = {
    "missing": "no such checkpoint",
    "empty": "the file is empty",
    "web-page": "a web page titled 'Sign in | Box'",
    "lfs": "a Git LFS pointer",
    "tar": "a tar archive",
    "gzip": "a compressed file",
    "text": "neither a torch file nor safetensors",
    "truncated-zip": "a truncated or damaged zip",
    "truncated-legacy": "a truncated or damaged torch file",
    "truncated-torchscript": "a truncated or damaged zip",
    "truncated-safetensors": "a truncated or damaged safetensors file",
    "truncated-safetensors-header": "a truncated safetensors file",
    "empty-directory": "without weights files (it holds nothing)",
    "crowded-directory": "with several weights files (it holds a.pt, b.pt)",
    "no-tensors": "holds a dict without tensors",
    "list": "holds a list without tensors",
    "other-zip": "not one that torch wrote (it holds notes.txt)",
}


@pytest.mark.parametrize(("kind", "said"), FAULTS.items())
def test_a_wrong_file_is_named_for_what_it_is(kind: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    damaged(path, kind)
    with pytest.raises(OcclusionError) as fault:
        read_checkpoint(path)
    assert said in fault.value.problem
    assert str(path) in fault.value.problem
    assert fault.value.remedy


def test_a_misspelt_path_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "ViT-B-32.pt").touch()
    with pytest.raises(OcclusionError, match=re.escape("there is ViT-B-32.pt")):
        read_checkpoint(tmp_path / "ViT-B32.pt")


def change(state: dict[str, Any], kind: str) -> None:
    match kind:
        case "missing":
            del state["ln_final.bias"]
        case "extra":
            state["visual.head.weight"] = np.zeros((2, 3), np.float32)
        case "misshapen":
            state["visual.proj"] = np.zeros((48, 8), np.float32)
        case "nan":
            state["ln_final.weight"][3] = np.nan
        case "infinite":
            state["visual.conv1.weight"][0, 0, 0, 0] = np.inf
        case "undecidable":
            del state["visual.conv1.weight"]
        case "many":
            for number in range(30):
                state[f"extra.{number}"] = np.zeros(1, np.float32)


TENSOR_FAULTS = {
    "missing": "ln_final.bias: missing, shape [32]",
    "extra": "visual.head.weight: unexpected, shape [2, 3]",
    "misshapen": "visual.proj: shape [48, 8], expected [48, 16]",
    "nan": "ln_final.weight: 1 of 32 values are NaN or infinite",
    "infinite": "visual.conv1.weight: 1 of 9216 values are NaN or infinite",
    "undecidable": "visual.conv1.weight is missing, so the architecture cannot be told",
    "many": "... and 10 more",
}


@pytest.mark.parametrize(("kind", "said"), TENSOR_FAULTS.items())
def test_tensors_that_do_not_fit_are_listed(kind: str, said: str, tmp_path: Path) -> None:
    state = {name: np.array(array) for name, array in STATE.items()}
    change(state, kind)
    path = write_state(tmp_path / "weights.pt", state)
    with pytest.raises(OcclusionError) as fault:
        load_encoder("clip", checkpoint=path, device="cpu")
    assert said in fault.value.problem
    assert str(path) in fault.value.problem


def test_another_family_is_refused_by_name(tmp_path: Path) -> None:
    names = ("vision_model.model.layer1.0.conv1.weight", "text_model.model.pooler.dense.bias")
    path = write_state(tmp_path / "w.bin", {name: np.zeros(1, np.float32) for name in names})
    with pytest.raises(OcclusionError, match="a MedCLIP ResNet50 state_dict; family 'clip' was"):
        load_encoder("clip", checkpoint=path, device="cpu")


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "512 byte"), (b"words", "not a readable vocabulary")],
    ids=["stock", "no-gzip"],
)
def test_a_vocabulary_that_does_not_fit(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = write_state(tmp_path / "w.pt", STATE)
    vocabulary = None
    if content is not None:
        vocabulary = tmp_path / "bpe.txt.gz"
        vocabulary.write_bytes(content)
    else:
        said = "49,408 tokens, but the checkpoint's token_embedding has 522 rows"
    with pytest.raises(OcclusionError, match=re.escape(said)):
        load_encoder("clip", checkpoint=path, tokenizer=vocabulary, device="cpu")


def test_broken_directory_config(tmp_path: Path) -> None:
    write_state(tmp_path / "w.pt", STATE)
    (tmp_path / "open_clip_config.json").write_text("{")
    with pytest.raises(OcclusionError, match="not valid JSON"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {"vision_cfg": {"timm_model_name": "resnet18"}},
        {"vision_cfg": {"pool_type": "avg"}},
        {"text_cfg": {"no_causal_mask": True}},
        {"text_cfg": {"tokenizer_kwargs": {"clean": "canonicalize"}}},
    ],
)
def test_config_of_other_towers(config: dict[str, Any], tmp_path: Path) -> None:
    write_state(tmp_path / "w.pt", STATE)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    with pytest.raises(OcclusionError, match="family = 'open-clip'"):
        load_encoder("clip", checkpoint=tmp_path, device="cpu")


def test_config_that_names_its_vocabulary(tmp_path: Path) -> None:
    write_state(tmp_path / "w.pt", STATE)
    write_vocabulary(tmp_path / "bpe_vocab.txt.gz")
    text = {"heads": 2, "tokenizer_kwargs": {"bpe_path": "bpe_vocab.txt.gz"}}
    config = {"model_cfg": {"vision_cfg": {"head_width": 16}, "text_cfg": text}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    encoder = load_encoder("clip", checkpoint=tmp_path, device="cpu")
    assert encoder.settings["text-heads"] == 2


def test_reading_names_and_files_needs_no_torch(tmp_path: Path) -> None:
    path = write_state(tmp_path / "w.pt", STATE)
    script = (
        "import sys; import pytest_occlusion.encoders as e; "
        f"e.checkpoint_files({str(path)!r}); e.get_family('clip'); "
        "print(sorted({'torch', 'numpy', 'open_clip', 'transformers', 'PIL'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "[]"
