"""Every family in its tiny form against the conformance checks that others can import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_occlusion.encoders import Encoder, load_encoder
from pytest_occlusion.encoders.conformance import (
    CHECKS,
    TEXTS,
    sample_images,
)
from pytest_occlusion.errors import OcclusionError

from .formula import CONFIG, write_state, write_tar
from .tiny import cxr_clip_shapes, medclip_shapes, state_of, write_word_pieces

TINY = (
    "clip-vit",
    "clip-resnet",
    "cxr-repair-vit",
    "cxr-repair-resnet",
    "medclip-swin",
    "medclip-resnet",
    "cxr-clip-swin",
    "cxr-clip-resnet",
    "biovil-plain",
    "biovil-t",
    "chexficient-vit",
    "mgca-vit",
    "mgca-resnet",
    "open-clip-vit",
    "open-clip-timm",
    "hf-clip",
    "hf-siglip",
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", TINY)
def test_conformance(
    name: str, check: Callable[[Encoder], None], tiny_encoders: Callable[[str], Encoder]
) -> None:
    check(tiny_encoders(name))


BREAKAGES: dict[str, Callable[[Encoder], dict[str, Any]]] = {
    "check_record": lambda e: {"weights_digest": "abc"},
    "check_canvases": lambda e: {"canvas": replace(e.canvas, height=7)},
    "check_embeddings": lambda e: {"embed_texts": lambda t: e.embed_texts(t) * 2},
    "check_no_collapse": lambda e: {"embed_canvases": lambda c: e.embed_canvases(c * 0)},
    "check_neighbours": lambda e: {
        "embed_texts": lambda t: e.embed_texts(t).roll(len(t) % 2, 1).roll(len(t) // 5, 1)
    },
    "check_determinism": lambda e: {
        "embed_canvases": lambda c: torch.nn.functional.normalize(
            e.embed_canvases(c) + torch.rand(1), dim=1
        )
    },
    "check_tokens": lambda e: {"count_tokens": lambda t: [1] * len(t)},
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_each_check_can_fail(name: str, tiny_encoders: Callable[[str], Encoder]) -> None:
    encoder = tiny_encoders("clip-vit")
    check = next(check for check in CHECKS if check.__name__ == name)
    with pytest.raises(AssertionError):
        check(replace(encoder, **BREAKAGES[name](encoder)))


def test_variants_are_told_from_the_file(tiny_encoders: Callable[[str], Encoder]) -> None:
    assert tiny_encoders("medclip-swin").variant == "Swin-w24-l2-2/4"
    assert tiny_encoders("cxr-clip-resnet").variant == "ResNet-w8-l1-2-1-1"


@pytest.fixture
def words(tmp_path: Path) -> Path:
    return write_word_pieces(tmp_path / "vocab.txt")


@pytest.mark.parametrize(
    ("asked", "shapes", "said"),
    [
        ("cxr-clip", medclip_shapes("resnet"), "this is a MedCLIP ResNet50 state_dict"),
        ("cxr-clip", medclip_shapes("swin"), "this is a MedCLIP Swin state_dict"),
        ("medclip", cxr_clip_shapes("swin"), "this is a CXR-CLIP Swin state_dict"),
        ("clip", cxr_clip_shapes("resnet"), "this is a CXR-CLIP ResNet50 state_dict"),
    ],
)
def test_other_families_are_refused_by_name(
    asked: str, shapes: dict[str, tuple[int, ...]], said: str, tmp_path: Path
) -> None:
    path = write_state(tmp_path / "w.bin", state_of(shapes))
    with pytest.raises(OcclusionError, match=f"{said}; family '{asked}' was asked for"):
        load_encoder(asked, checkpoint=path, device="cpu")


def test_the_trainers_tar_with_omegaconf_inside(tmp_path: Path, words: Path) -> None:
    state = {n: torch.from_numpy(a) for n, a in state_of(cxr_clip_shapes("swin")).items()}
    config = {**CONFIG, "base": {"image_size": 64, "text_max_length": 40}}
    write_tar(tmp_path / "model.tar", state, config)
    torch.save(state, tmp_path / "plain.pt")
    trained = load_encoder(
        "cxr-clip", checkpoint=tmp_path / "model.tar", tokenizer=words, device="cpu"
    )
    assert (trained.canvas.height, trained.token_limit) == (64, 40)
    sizes: dict[str, Any] = {"canvas_size": 64, "max_tokens": 40}
    plain = load_encoder(
        "cxr-clip", checkpoint=tmp_path / "plain.pt", tokenizer=words, device="cpu", **sizes
    )
    assert trained.weights_digest == plain.weights_digest
    assert torch.equal(trained.encode_texts(["no lungs"]), plain.encode_texts(["no lungs"]))


def test_a_configuration_that_is_not_implemented(tmp_path: Path) -> None:
    state = {n: torch.from_numpy(a) for n, a in state_of(cxr_clip_shapes("resnet")).items()}
    config = {"model": {"text_encoder": {"pooling": "bos"}}}
    write_tar(tmp_path / "model.tar", state, config)
    with pytest.raises(OcclusionError, match=r"model\.text_encoder\.pooling = 'bos'"):
        load_encoder("cxr-clip", checkpoint=tmp_path / "model.tar", device="cpu")


def test_index_buffers_are_neither_needed_nor_counted(tmp_path: Path, words: Path) -> None:
    state = state_of(medclip_shapes("swin"))
    lean = write_state(tmp_path / "lean.bin", state)
    position_ids = "text_model.model.embeddings.position_ids"
    index = "vision_model.model.encoder.layers.0.blocks.0.attention.self.relative_position_index"
    extra = {position_ids: state["logit_scale"], index: state["logit_scale"]}
    full = write_state(tmp_path / "full.bin", state | extra)
    sizes: dict[str, Any] = {"canvas_size": 64, "max_tokens": 40}
    digests = {
        load_encoder(
            "medclip", checkpoint=path, tokenizer=words, device="cpu", **sizes
        ).weights_digest
        for path in (lean, full)
    }
    assert len(digests) == 1


def test_padding_is_a_choice(tmp_path: Path, words: Path) -> None:
    path = write_state(tmp_path / "w.bin", state_of(medclip_shapes("resnet")))

    def embed(**options: Any) -> torch.Tensor:
        encoder = load_encoder(
            "medclip", checkpoint=path, tokenizer=words, device="cpu", max_tokens=40, **options
        )
        return encoder.encode_texts(["no effusion", "lungs " * 60])

    alone, padded = embed(), embed(padding="batch77")
    assert (alone[0] - padded[0]).abs().max() > 1e-3
    assert torch.allclose(alone[1], padded[1], atol=1e-6)  # no room is left for padding
    with pytest.raises(OcclusionError, match="padding = 'longest' is unknown"):
        embed(padding="longest")
    with pytest.raises(OcclusionError, match="resample = 'nearest' is unknown"):
        embed(resample="nearest")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_tokens": 49}, "max-tokens = 49 is out of range: the text tower has 48 positions"),
        ({"max_tokens": 40, "canvas_size": 60}, "cannot tile an input of 60 pixels"),
        ({"max_tokens": 40, "canvas_size": 5000}, "canvas-size = 5000 is out of range"),
    ],
)
def test_sizes_that_do_not_fit(
    options: dict[str, Any], said: str, tmp_path: Path, words: Path
) -> None:
    path = write_state(tmp_path / "w.bin", state_of(medclip_shapes("swin")))
    with pytest.raises(OcclusionError, match=said):
        load_encoder("medclip", checkpoint=path, tokenizer=words, device="cpu", **options)


def test_resnet_is_torchvisions() -> None:
    from torchvision.models.resnet import Bottleneck, ResNet

    from pytest_occlusion.encoders.vision import quickened, resnet, see_grey

    model = ResNet(Bottleneck, [1, 2, 1, 1]).eval().requires_grad_(False)
    model.fc = torch.nn.Identity()
    state = {n: tuple(tensor.shape) for n, tensor in model.state_dict().items()}
    weights = {name: torch.from_numpy(array) for name, array in state_of(state).items()}
    model.load_state_dict(weights)
    pixels = torch.randn(2, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    for grey in (False, True):
        ours = resnet(64, (1, 2, 1, 1)).eval().requires_grad_(False)
        ours.load_state_dict(weights)
        if grey:
            see_grey(ours.conv1)
        quick = quickened(ours)
        with torch.inference_mode():
            wanted = model(pixels.expand(-1, 3, -1, -1))
            found = quick(pixels if grey else pixels.expand(-1, 3, -1, -1))
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in ours.modules())


@pytest.mark.parametrize("tower", ["swin", "resnet"])
def test_grey_towers_see_what_three_equal_channels_show(
    tower: str, tmp_path: Path, words: Path
) -> None:
    from pytest_occlusion.encoders.checkpoints import read_checkpoint
    from pytest_occlusion.encoders.medclip import LAYOUT, medclip_pixels
    from pytest_occlusion.encoders.weights import fill

    path = write_state(tmp_path / "w.bin", state_of(medclip_shapes(tower)))
    encoder = load_encoder(
        "medclip", checkpoint=path, tokenizer=words, device="cpu", max_tokens=40, canvas_size=64
    )
    modules, digest = fill(LAYOUT.plan(read_checkpoint(path)), path, torch.device("cpu"))
    place, head = getattr(LAYOUT, tower)
    canvases = torch.randint(0, 256, (3, 1, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        seen = modules[place](medclip_pixels(canvases).expand(-1, 3, -1, -1))
        pooled = seen.last_hidden_state.mean(1) if tower == "swin" else seen
        wanted = torch.nn.functional.normalize(modules[head](pooled), dim=-1)
    torch.testing.assert_close(encoder.embed_canvases(canvases), wanted, atol=2e-6, rtol=0)
    assert encoder.weights_digest == digest
    assert wanted.std(0).max() > 1e-3


def test_every_tensor_is_loaded_and_named_as_published(tmp_path: Path) -> None:
    """The modules' names may be new ones; the file's are what faults and digests speak of."""
    shapes = medclip_shapes("swin")
    state = state_of(shapes)
    lost = "vision_model.model.encoder.layers.0.blocks.1.attention.self.query.weight"
    table = (
        "vision_model.model.encoder.layers.1.blocks.0.attention.self.relative_position_bias_table"
    )
    del state[lost]
    state[f"{lost}s"] = state["logit_scale"]
    state[table] = state[table][:-1]
    path = write_state(tmp_path / "w.bin", state)
    with pytest.raises(OcclusionError) as fault:
        load_encoder("medclip", checkpoint=path, device="cpu")
    assert "3 of its tensors do not fit MedCLIP Swin-w24-l2-2/4" in fault.value.problem
    for line in (
        f"{lost}: missing, shape [24, 24]",
        f"{lost}s: unexpected, shape []",
        f"{table}: shape [48, 4], expected [49, 4]",
    ):
        assert line in fault.value.problem


def test_sizes_that_no_model_has(tmp_path: Path) -> None:
    state = state_of(medclip_shapes("resnet"))
    table = "text_model.model.embeddings.word_embeddings.weight"
    state[table] = np.zeros((len(state[table]), 130), np.float32)
    path = write_state(tmp_path / "w.bin", state | {table: state[table][:, :129]})
    with pytest.raises(OcclusionError, match="the sizes of its tensors make no model"):
        load_encoder("medclip", checkpoint=path, device="cpu")


VOCABULARIES = {
    "short": ("[PAD]\n[UNK]\n[CLS]\n[SEP]\n", "has 4 lines"),
    "no-marks": ("a\nb\n", r"has no \[CLS\]"),
}


@pytest.mark.parametrize(("content", "said"), VOCABULARIES.values(), ids=VOCABULARIES)
def test_a_vocabulary_that_does_not_fit(content: str, said: str, tmp_path: Path) -> None:
    path = write_state(tmp_path / "w.bin", state_of(medclip_shapes("resnet")))
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text(content, encoding="utf-8")
    with pytest.raises(OcclusionError, match=said):
        load_encoder("medclip", checkpoint=path, tokenizer=vocabulary, device="cpu", max_tokens=40)


@pytest.mark.parametrize("tokenizer", ["folder", "missing.txt", "nobody/nothing", None])
def test_a_vocabulary_that_is_not_there(
    tokenizer: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    path = write_state(tmp_path / "w.bin", state_of(medclip_shapes("resnet")))
    (tmp_path / "folder").mkdir()
    source = tmp_path / tokenizer if tokenizer in ("folder", "missing.txt") else tokenizer
    with pytest.raises(OcclusionError) as fault:
        load_encoder("medclip", checkpoint=path, tokenizer=source, device="cpu", max_tokens=40)
    assert "vocab.txt" in str(fault.value)
    assert "28,996 lines of bert-base-cased" in fault.value.remedy


def test_a_directory_brings_its_vocabulary(tmp_path: Path) -> None:
    write_state(tmp_path / "pytorch_model.bin", state_of(medclip_shapes("resnet")))
    write_word_pieces(tmp_path / "vocab.txt")
    encoder = load_encoder(
        "medclip", checkpoint=tmp_path, device="cpu", max_tokens=40, canvas_size=64
    )
    assert encoder.encode_texts(["normal"]).shape == (1, 16)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", TINY)
def test_half_precision_stays_near(
    name: str, precision: str, tiny_encoders: Callable[[str], Encoder]
) -> None:
    exact, half = tiny_encoders(name), tiny_encoders(f"{name}:{precision}")
    assert half.weights_digest == exact.weights_digest
    images, texts = sample_images()[1:4], TEXTS[:3]
    for method, given in (("encode_images", images), ("encode_texts", texts)):
        rows = getattr(half, method)(given)
        assert rows.dtype == torch.float32
        assert torch.allclose(rows.norm(dim=1), torch.ones(3), atol=1e-6)
        assert (rows * getattr(exact, method)(given)).sum(1).min() > 0.99
