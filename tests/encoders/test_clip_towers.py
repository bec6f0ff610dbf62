"""CLIP's towers against open_clip's own modules, at sizes that no checkpoint has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

from pytest_occlusion.encoders.bpe import load_byte_pairs
from pytest_occlusion.encoders.clip_model import Sizes, clip_shapes, infer_sizes
from pytest_occlusion.encoders.clip_towers import clip_weights, image_features, text_features
from pytest_occlusion.encoders.weights import grey_stem
from pytest_occlusion.errors import OcclusionError

TRANSFORMER = Sizes(
    resnet=False,
    side=48,
    width=96,
    layers=(2,),
    patch=16,
    head_width=32,
    hidden=200,
    text_width=40,
    text_layers=3,
    text_heads=5,
    text_hidden=100,
    limit=19,
    vocabulary=50,
    embedding=24,
    quick_gelu=False,
)
RESNET = replace(
    TRANSFORMER,
    resnet=True,
    side=64,
    width=8,
    layers=(2, 1, 1, 2),
    patch=0,
    hidden=0,
    quick_gelu=True,
)
ROWS = [[48, 1, 2, 49], [48, 5, 6, 7, 8, 9, 49], [48, 49]]


def library_model(sizes: Sizes) -> CLIP:
    """open_clip's CLIP with random weights, norms included."""
    vision = CLIPVisionCfg(
        layers=sizes.layers if sizes.resnet else sizes.layers[0],
        width=sizes.width,
        head_width=sizes.head_width,
        mlp_ratio=(sizes.hidden + 0.5) / sizes.width,
        patch_size=sizes.patch,
        image_size=sizes.side,
    )
    text = CLIPTextCfg(
        context_length=sizes.limit,
        vocab_size=sizes.vocabulary,
        width=sizes.text_width,
        heads=sizes.text_heads,
        layers=sizes.text_layers,
        mlp_ratio=(sizes.text_hidden + 0.5) / sizes.text_width,
    )
    model = CLIP(sizes.embedding, vision, text, quick_gelu=sizes.quick_gelu).eval()
    draw = torch.Generator().manual_seed(3)
    for tensor in model.state_dict().values():
        if not tensor.is_floating_point():
            continue
        if tensor.dim() > 1:  # as large as keeps what passes through of one size
            tensor.copy_(torch.randn(tensor.shape, generator=draw) * (2 / tensor[0].numel()) ** 0.5)
        else:
            tensor.copy_(torch.rand(tensor.shape, generator=draw) + 0.5)
    return model


@pytest.mark.parametrize("sizes", [TRANSFORMER, RESNET], ids=["vit", "resnet"])
def test_both_towers(sizes: Sizes) -> None:
    model = library_model(sizes)
    state = model.state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == clip_shapes(sizes)
    weights = clip_weights(state, sizes, torch.device("cpu"))
    pixels = torch.randn(3, 3, sizes.side, sizes.side, generator=torch.Generator().manual_seed(1))
    padded = torch.zeros(len(ROWS), sizes.limit, dtype=torch.long)
    for row, ids in zip(padded, ROWS, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    with torch.inference_mode():
        images = image_features(weights, sizes, pixels)
        texts = text_features(weights, sizes, ROWS)
        torch.testing.assert_close(images, model.encode_image(pixels), atol=2e-5, rtol=2e-5)
        torch.testing.assert_close(texts, model.encode_text(padded), atol=2e-5, rtol=2e-5)
    assert images.std(0).min() > 1e-3, "features that differ, or the comparison says nothing"


@pytest.mark.parametrize("sizes", [TRANSFORMER, RESNET], ids=["vit", "resnet"])
def test_grey_pictures(sizes: Sizes) -> None:
    model = library_model(sizes)
    state = grey_stem(model.state_dict(), "visual.conv1.weight")
    weights = clip_weights(state, sizes, torch.device("cpu"))
    pixels = torch.randn(3, 1, sizes.side, sizes.side, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        found = image_features(weights, sizes, pixels).double()
        wanted = model.double().encode_image(pixels.double().expand(-1, 3, -1, -1))
    unit, wanted = (x / x.norm(dim=1, keepdim=True) for x in (found, wanted))
    torch.testing.assert_close(unit, wanted, atol=2e-5, rtol=0)
    assert wanted.std(0).min() > 1e-3


@pytest.mark.parametrize("sizes", [TRANSFORMER, RESNET], ids=["vit", "resnet"])
def test_sizes_are_read_off_the_shapes(sizes: Sizes) -> None:
    config = {
        "vision_cfg": {"head_width": sizes.head_width},
        "text_cfg": {"heads": sizes.text_heads},
        "quick_gelu": sizes.quick_gelu,
    }
    state = {name: torch.empty(shape) for name, shape in clip_shapes(sizes).items()}
    assert infer_sizes(state, config, Path("a.pt")) == sizes


def test_the_vocabulary_of_clip() -> None:
    pairs = load_byte_pairs(None, limit=77, vocabulary_size=49408)
    assert pairs.batch(["no focal consolidation"])[0][0] == 49406
    with pytest.raises(OcclusionError, match="49,408 tokens"):
        load_byte_pairs(None, limit=77, vocabulary_size=5)
