"""What the encoder tests share: the parity inputs, and checkpoints written once a session."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pytest_occlusion.encoders import Encoder, load_encoder
from pytest_occlusion.encoders.devices import exact_matmul
from tests.conftest import Once

from .formula import PARITY, write_formula_checkpoint, write_state
from .hub_server import Hub, serving, use
from .tiny import (
    chexficient_shapes,
    cxr_clip_shapes,
    medclip_shapes,
    mgca_shapes,
    resnet_shapes,
    state_of,
    vit_shapes,
    write_biovil,
    write_directory,
    write_hub_model,
    write_open_clip,
    write_word_pieces,
)


def opened(inputs: str) -> list[Image.Image]:
    """The pictures that a listing of the oracle names."""
    listed = json.loads((PARITY / inputs).read_text(encoding="utf-8"))["images"]
    images: list[Image.Image] = [Image.open(PARITY / entry["file"]) for entry in listed]
    for image in images:
        image.load()
    return images


@pytest.fixture(scope="session")
def parity_images() -> list[Image.Image]:
    return opened("inputs.json")


@pytest.fixture(scope="session")
def parity_texts() -> list[str]:
    texts = json.loads((PARITY / "inputs.json").read_text(encoding="utf-8"))["texts"]
    return [entry["text"] if isinstance(entry, dict) else entry for entry in texts]


@pytest.fixture(params=["some", pytest.param("every", marks=pytest.mark.slow)])
def items(request: pytest.FixtureRequest) -> list[int]:
    """Of the oracle's first set: a wide grey picture and a coloured one, a short and a long text.

    Enough for the towers, where pixels and tokens of all are compared anyway; every one is slow.
    """
    return [0, 5] if request.param == "some" else list(range(8))


@pytest.fixture(scope="session")
def extra_images() -> list[Image.Image]:
    """The pictures of the second set: low contrast, colours, 16 bits, transparency, large, even."""
    return opened("inputs2.json")


@pytest.fixture(scope="session")
def extra_texts() -> list[str]:
    """The texts of the second set: odd ends, blanks, an empty one, a mask, one of 911 tokens."""
    found: list[str] = json.loads((PARITY / "inputs2.json").read_text(encoding="utf-8"))["texts"]
    return found


@pytest.fixture(scope="session")
def vitb32(once: Once) -> Path:
    """ViT-B/32 with formula weights as a plain state_dict: 605 MB, written once for all workers."""

    def write(folder: Path) -> None:
        write_formula_checkpoint(folder / "vitb32.pt", "clip_vitb32")

    return once("vitb32", write) / "vitb32.pt"


@pytest.fixture(scope="session")
def tiny_vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_directory(tmp_path_factory.mktemp("tiny") / "vit", vit_shapes())


@pytest.fixture(scope="session")
def tiny_resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_directory(tmp_path_factory.mktemp("tiny") / "resnet", resnet_shapes())


@pytest.fixture(scope="session")
def words() -> Path | None:
    """bert-base-cased's vocabulary, which is not ours to copy into this repository, or None."""
    shared = Path(__file__).resolve().parents[3] / "shared" / "parity"
    path = shared / "bert-base-cased-vocab.txt"
    return path if path.is_file() else None


@pytest.fixture(scope="session")
def bert_vocabulary(words: Path | None) -> Path:
    """The same, for tests that are nothing without it."""
    if words is None:
        pytest.skip("needs ../shared/parity/bert-base-cased-vocab.txt, which is not shipped")
    return words


@pytest.fixture(scope="session")
def tiny_encoders(
    tmp_path_factory: pytest.TempPathFactory, tiny_vit: Path, tiny_resnet: Path
) -> Callable[[str], Encoder]:
    """Tiny encoders by name (see TINY), with ``:bf16`` or ``:fp16`` behind it; loaded once."""
    folder = tmp_path_factory.mktemp("bert")
    words = write_word_pieces(folder / "vocab.txt")
    loaded: dict[str, Encoder] = {}

    def load(asked: str) -> Encoder:
        name, _, precision = asked.partition(":")
        family, _, tower = name.rpartition("-")
        options: dict[str, Any] = {"device": "cpu", "precision": precision or "fp32"}
        if family in ("clip", "cxr-repair"):
            options |= {"canvas_size": 64} if family == "cxr-repair" else {}
            place = tiny_vit if tower == "vit" else tiny_resnet
            return load_encoder(family, checkpoint=place, **options)
        if family in ("open-clip", "hf"):
            write = write_open_clip if family == "open-clip" else write_hub_model
            place = folder / name
            return load_encoder(
                family, checkpoint=place if place.exists() else write(place, tower), **options
            )
        sizes: dict[str, Any] = {"max_tokens": 40}
        if family == "biovil":
            if not (place := folder / name).exists():
                write_biovil(place, temporal=tower == "t")
            return load_encoder(
                family, checkpoint=place, resize=96, canvas_size=64, **sizes, **options
            )
        if family == "chexficient":
            path = write_state(folder / f"{name}.bin", state_of(chexficient_shapes()))
            return load_encoder(family, checkpoint=path, tokenizer=words, **sizes, **options)
        shapes = {"medclip": medclip_shapes, "cxr-clip": cxr_clip_shapes, "mgca": mgca_shapes}
        path = folder / f"{name}.{'ckpt' if family == 'mgca' else 'bin'}"
        write_state(path, state_of(shapes[family](tower)))
        options |= {"canvas_size": 64, "max_tokens": 40, "tokenizer": words}
        return load_encoder(family, checkpoint=path, **options)

    def get(name: str) -> Encoder:
        if name not in loaded:
            loaded[name] = load(name)
        return loaded[name]

    return get


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A local server in the hub's place, with caches of its own."""
    with serving() as served:
        use(served, tmp_path / "home", monkeypatch)
        yield served


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    with exact_matmul():
        yield
