"""Tiny CLIPs of both kinds: same code path as the real ones, against open_clip's own forward."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pytest_occlusion.encoders import Encoder, load_encoder
from pytest_occlusion.encoders.clip import clip_pixels, repair_pixels
from pytest_occlusion.encoders.tokens import load_byte_pairs
from pytest_occlusion.errors import OcclusionError

from .formula import write_state
from .tiny import EMBEDDING, LIMIT, VOCABULARY, resnet_shapes, state_of, vit_shapes, write_directory

VIT = {"layers": 2, "width": 48, "patch_size": 8, "image_size": 32, "head_width": 16}
"""open_clip's vision_cfg of the tiny transformer."""

TEXTS = [
    "No acute process.",
    "The lungs are clear.",
    "x",
    "effusion " * 30,
    "The heart is normal in size. No pneumothorax.",
]


@pytest.fixture(scope="module")
def radiographs() -> list[Image.Image]:
    draw = np.random.default_rng(0)
    sizes = [(70, 50), (40, 90), (32, 32), (64, 64), (33, 31)]
    return [Image.fromarray(draw.integers(0, 256, (h, w), np.uint8)) for w, h in sizes]


@pytest.fixture(scope="module", params=["clip-vit", "clip-resnet", "repair-vit", "repair-resnet"])
def tiny(request: pytest.FixtureRequest, tiny_vit: Path, tiny_resnet: Path) -> Encoder:
    family, tower = request.param.split("-")
    place = tiny_vit if tower == "vit" else tiny_resnet
    if family == "clip":
        return load_encoder("clip", checkpoint=place, device="cpu")
    return load_encoder("cxr-repair", checkpoint=place, device="cpu", canvas_size=64)


def test_sizes_come_from_the_tensors(tiny_vit: Path, tiny_resnet: Path) -> None:
    vit = load_encoder("clip", checkpoint=tiny_vit, device="cpu")
    assert (vit.variant, vit.canvas.height, vit.token_limit) == ("ViT-w48-l2/8@32px", 32, LIMIT)
    resnet = load_encoder("clip", checkpoint=tiny_resnet, device="cpu")
    assert (resnet.variant, resnet.canvas.height) == ("RN-w8-l1-2-1-1@64px", 64)


def reference(shapes: dict[str, Any], vision: dict[str, Any], quick_gelu: bool = True) -> Any:
    """open_clip's model with sizes written out by hand."""
    from open_clip.model import CLIP

    text = {"context_length": LIMIT, "vocab_size": VOCABULARY, "width": 32, "heads": 2, "layers": 2}
    model = CLIP(EMBEDDING, vision, text, quick_gelu=quick_gelu)
    state = {name: torch.from_numpy(np.array(a)) for name, a in state_of(shapes).items()}
    model.load_state_dict(state)
    return model.eval()


@pytest.mark.parametrize("tower", ["vit", "resnet"])
def test_embeddings_are_open_clips(
    tower: str, tiny_vit: Path, tiny_resnet: Path, radiographs: list[Image.Image]
) -> None:
    if tower == "vit":
        vision: dict[str, Any] = dict(VIT)
        model, place = reference(vit_shapes(), vision), tiny_vit
    else:
        vision = {"layers": (1, 2, 1, 1), "width": 8, "image_size": 64, "head_width": 16}
        model, place = reference(resnet_shapes(), vision), tiny_resnet
    encoder = load_encoder("clip", checkpoint=place, device="cpu")
    canvases = torch.from_numpy(np.stack([encoder.canvas.draw(image) for image in radiographs]))
    from open_clip.tokenizer import SimpleTokenizer

    ids = SimpleTokenizer(str(place / "bpe_vocab.txt.gz"), context_length=LIMIT)(TEXTS)
    with torch.inference_mode():
        images = model.encode_image(clip_pixels(canvases), normalize=True)
        texts = model.encode_text(ids, normalize=True)
    torch.testing.assert_close(encoder.encode_images(radiographs), images, atol=1e-6, rtol=0)
    torch.testing.assert_close(encoder.encode_texts(TEXTS), texts, atol=1e-6, rtol=0)


def test_shapes_dtypes_and_norms(tiny: Encoder, radiographs: list[Image.Image]) -> None:
    for rows in (tiny.encode_images(radiographs), tiny.encode_texts(TEXTS)):
        assert rows.shape == (5, EMBEDDING)
        assert rows.dtype == torch.float32
        assert torch.allclose(rows.norm(dim=1), torch.ones(5), atol=1e-6)
    canvas = tiny.canvas.draw(radiographs[0])
    assert canvas.dtype == np.uint8
    assert canvas.shape == (tiny.canvas.channels, tiny.canvas.height, tiny.canvas.width)


def test_an_embedding_ignores_its_neighbours(tiny: Encoder, radiographs: list[Image.Image]) -> None:
    images, texts = tiny.encode_images(radiographs), tiny.encode_texts(TEXTS)
    order = [3, 0, 4, 1, 2]
    for size in (1, 2, 3, 5):
        shuffled = tiny.encode_images([radiographs[i] for i in order], batch_size=size)
        torch.testing.assert_close(shuffled, images[order], atol=1e-6, rtol=0)
        shuffled = tiny.encode_texts([TEXTS[i] for i in order], batch_size=size)
        torch.testing.assert_close(shuffled, texts[order], atol=1e-6, rtol=0)


def test_threads_may_share_an_encoder(tiny: Encoder, radiographs: list[Image.Image]) -> None:
    images, texts = tiny.encode_images(radiographs), tiny.encode_texts(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        pictures = [pool.submit(tiny.encode_images, radiographs) for _ in range(12)]
        words = [pool.submit(tiny.encode_texts, TEXTS) for _ in range(12)]
        assert all(torch.equal(job.result(), images) for job in pictures)
        assert all(torch.equal(job.result(), texts) for job in words)


def test_embedding_leaves_its_input_alone(tiny: Encoder) -> None:
    shape = (2, tiny.canvas.channels, tiny.canvas.height, tiny.canvas.width)
    canvases = torch.randint(0, 256, shape, dtype=torch.uint8)
    before = canvases.clone()
    tiny.embed_canvases(canvases)
    assert torch.equal(canvases, before)


def test_truncation_keeps_the_end_mark(tiny: Encoder) -> None:
    assert tiny.count_tokens(["x", "effusion " * 30])[0] == 3
    assert tiny.count_tokens(["x", "effusion " * 30])[1] > tiny.token_limit
    longer = tiny.encode_texts(["effusion " * 30, "effusion " * 40])
    assert torch.equal(longer[0], longer[1])


def test_weights_in_half_precision_load(tmp_path: Path, tiny_vit: Path) -> None:
    state = {n: torch.from_numpy(np.array(a)).half() for n, a in state_of(vit_shapes()).items()}
    path = tmp_path / "half.pt"
    torch.save(state, path)
    vocabulary = tiny_vit / "bpe_vocab.txt.gz"
    half = load_encoder("clip", checkpoint=path, tokenizer=vocabulary, device="cpu")
    whole = load_encoder("clip", checkpoint=tiny_vit, device="cpu")
    assert half.weights_digest != whole.weights_digest
    assert half.encode_texts(TEXTS).dtype == torch.float32


def test_rounding_passes_what_upstream_passes(tiny_resnet: Path, tiny_vit: Path) -> None:
    from pytest_occlusion.encoders.checkpoints import read_checkpoint
    from pytest_occlusion.encoders.clip import _clip_half, clip_plan
    from pytest_occlusion.encoders.weights import fill

    for place in (tiny_vit, tiny_resnet):
        plan = clip_plan(read_checkpoint(place))
        modules, _ = fill(plan, place, torch.device("cpu"))
        _clip_half(modules[""], 32, {"fp16-rounded": True})
        rounded = modules[""].state_dict()
        changed = {name for name, t in rounded.items() if not torch.equal(t, plan.state[name])}
        kept = {n for n, t in plan.state.items() if t.is_floating_point()} - changed
        assert all(tensor.dtype != torch.float16 for tensor in rounded.values())
        assert "visual.conv1.weight" in changed
        assert all(
            ".ln_" in f".{name}" or "bn" in name or "downsample.1" in name
            for name in kept
            if not name.endswith(("embedding", "embedding.weight", "logit_scale"))
        )
        assert not any(".ln_" in f".{n}" or "bn" in n or "downsample.1" in n for n in changed)


def test_quick_gelu_follows_the_config(tmp_path: Path, radiographs: list[Image.Image]) -> None:
    config = {"quick_gelu": False, "vision_cfg": {"head_width": 16}, "text_cfg": {"heads": 2}}
    place = write_directory(tmp_path / "gelu", vit_shapes(), config)
    encoder = load_encoder("clip", checkpoint=place, device="cpu")
    assert encoder.settings["quick-gelu"] is False
    model = reference(vit_shapes(), VIT, quick_gelu=False)
    canvases = torch.from_numpy(np.stack([encoder.canvas.draw(image) for image in radiographs]))
    with torch.inference_mode():
        images = model.encode_image(clip_pixels(canvases), normalize=True)
    torch.testing.assert_close(encoder.encode_images(radiographs), images, atol=1e-6, rtol=0)


def test_options_go_before_the_config(tiny_vit: Path) -> None:
    def settings(**options: Any) -> list[Any]:
        encoder = load_encoder("clip", checkpoint=tiny_vit, device="cpu", **options)
        assert not encoder.assumed, "the config tells everything"
        return [encoder.settings[name] for name in ("quick-gelu", "head-width", "text-heads")]

    assert settings() == [True, 16, 2]
    assert settings(activation="gelu", head_width=24, text_heads=4) == [False, 24, 4]
    with pytest.raises(OcclusionError, match="activation = 'relu' is unknown"):
        settings(activation="relu")


def test_what_nothing_tells_is_assumed(tmp_path: Path, tiny_vit: Path) -> None:
    path = write_state(tmp_path / "w.pt", state_of(vit_shapes()))
    words = tiny_vit / "bpe_vocab.txt.gz"
    bare = load_encoder("clip", checkpoint=path, tokenizer=words, device="cpu")
    assert bare.assumed == {"quick-gelu": True, "head-width": 48, "text-heads": 1}
    assert bare.assumed.items() <= bare.settings.items()
    told = load_encoder(
        "cxr-repair",
        checkpoint=path,
        tokenizer=words,
        device="cpu",
        activation="quick-gelu",
        text_heads=2,
    )
    assert told.assumed == {"head-width": 48}


def test_heads_that_do_not_divide(tmp_path: Path) -> None:
    config = {"vision_cfg": {"head_width": 9}, "text_cfg": {"heads": 2}}
    place = write_directory(tmp_path / "odd", vit_shapes(), config)
    with pytest.raises(OcclusionError, match="cannot be shared among"):
        load_encoder("clip", checkpoint=place, device="cpu")


def test_the_vocabulary_of_clip() -> None:
    pairs = load_byte_pairs(None, limit=77, vocabulary_size=49408)
    assert pairs.batch(["no focal consolidation"])[0][0] == 49406
    with pytest.raises(OcclusionError, match="49,408 tokens"):
        load_byte_pairs(None, limit=77, vocabulary_size=5)


@pytest.mark.parametrize("shapes", [vit_shapes(), resnet_shapes()], ids=["vit", "resnet"])
def test_grey_pictures(shapes: Any, tmp_path: Path, tiny_vit: Path) -> None:
    """One channel with summed kernels shows what three equal channels show."""
    path, words = write_state(tmp_path / "w.pt", state_of(shapes)), tiny_vit / "bpe_vocab.txt.gz"
    grey = load_encoder("cxr-repair", checkpoint=path, tokenizer=words, device="cpu")
    model = reference(shapes, {**VIT, "head_width": 48}) if "visual.proj" in shapes else None
    if model is None:
        vision = {"layers": (1, 2, 1, 1), "width": 8, "image_size": 64, "head_width": 64}
        model = reference(shapes, vision)
    side = 64 if model.visual.image_size == 64 else 32
    canvases = torch.randint(0, 256, (3, 1, 320, 320), dtype=torch.uint8)
    with torch.inference_mode():
        pixels = repair_pixels(canvases, side=side, antialias=False).double()
        wanted = model.double().encode_image(pixels.expand(-1, 3, -1, -1), normalize=True)
    torch.testing.assert_close(grey.embed_canvases(canvases).double(), wanted, atol=2e-6, rtol=0)
