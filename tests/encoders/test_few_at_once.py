"""On a CPU towers are given a few rows at a time, of however large a batch."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.encoders import Encoder, assembly, load_encoder
from pytest_occlusion.encoders.base import CanvasRecipe
from pytest_occlusion.encoders.tokens import ALIKE, TOKENS, Tokens, by_length, grouped
from pytest_occlusion.encoders.vision import positions_first

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def recipe(side: int) -> CanvasRecipe:
    """A canvas of so many pixels a side, that is never drawn."""
    blank = np.zeros((1, side, side), dtype=np.uint8)
    return CanvasRecipe(f"square-{side}", 1, side, side, lambda image: blank)


@pytest.mark.parametrize(("side", "few"), [(64, 98), (224, 8), (378, 2), (480, 1), (4096, 1)])
def test_pixels_say_how_many(side: int, few: int) -> None:
    assert assembly.together(recipe(side), CPU) == few
    assert assembly.together(recipe(side), GPU) > 100_000


@pytest.mark.parametrize(
    ("count", "passes"), [(1, [1]), (8, [8]), (9, [5, 4]), (33, [7, 7, 7, 6, 6]), (64, [8] * 8)]
)
def test_passes_are_alike_and_in_order(count: int, passes: list[int]) -> None:
    seen: list[int] = []

    def images(pixels: torch.Tensor) -> torch.Tensor:
        seen.append(len(pixels))
        return pixels[:, 0, 0, :2]

    encoder = assembly.assemble(
        pixels=torch.Tensor.float,
        images=images,
        texts=lambda batch: batch,
        tokens=Tokens(lambda texts: [], lambda texts: [], 8, "digest"),
        canvas=recipe(224),
        device=CPU,
        precision="fp32",
        settings={},
        family="none",
        variant="none",
        weights_digest="none",
    )
    canvases = torch.ones(count, 1, 224, 224, dtype=torch.uint8)
    canvases[:, 0, 0, 0] = torch.arange(count)
    found = encoder.embed_canvases(canvases)
    assert seen == passes
    assert (found[:, 0] / found[:, 1]).round().tolist() == [*range(count)]


def test_embeddings_are_those_of_the_whole_batch(
    tiny_vit: Path, tiny_resnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = torch.Generator().manual_seed(5)

    def loaded(path: Path, pixels: int) -> Encoder:
        monkeypatch.setattr(assembly, "AT_ONCE", pixels)
        return load_encoder("clip", checkpoint=path, device="cpu")

    for path in (tiny_vit, tiny_resnet):
        whole, few = loaded(path, 1 << 40), loaded(path, 1)
        shape = (5, whole.canvas.channels, whole.canvas.height, whole.canvas.width)
        canvases = torch.randint(0, 256, shape, generator=draw, dtype=torch.uint8)
        found = few.embed_canvases(canvases)
        torch.testing.assert_close(found, whole.embed_canvases(canvases), atol=1e-6, rtol=0)


@given(st.lists(st.integers(1, 300), max_size=150), st.integers(1, 2000))
def test_texts_go_together_as_far_as_their_tokens_allow(lengths: list[int], most: int) -> None:
    groups = grouped(lengths, most)
    assert sorted(place for group in groups for place in group) == [*range(len(lengths))]
    sizes = [[lengths[place] for place in group] for group in groups]
    assert [one for size in sizes for one in size] == sorted(lengths)
    assert all(len(size) == 1 or len(size) * max(size) <= most for size in sizes)
    assert all(len(size) <= ALIKE for size in sizes)
    for size, after in pairwise(sizes):  # no group could have taken one more
        assert len(size) == ALIKE or (len(size) + 1) * after[0] > most


@pytest.mark.parametrize(("device", "passes"), [(CPU, [64, 11, 10, 4]), (GPU, [64, 25])])
def test_texts_come_back_in_their_order(device: torch.device, passes: list[int]) -> None:
    seen = []

    def embed(rows: object) -> torch.Tensor:
        assert isinstance(rows, list)
        seen.append(len(rows))
        return torch.tensor([[float(row[0])] for row in rows])

    lengths = [1] * 64 + [TOKENS // 11] * 11 + [TOKENS // 10] * 10 + [TOKENS // 4] * 4
    order = np.random.default_rng(3).permutation(len(lengths))
    rows = [[int(place)] * lengths[place] for place in order]
    assert by_length(embed, device)(rows).flatten().tolist() == order.tolist()
    assert seen == passes


def test_positions_first_computes_the_same() -> None:
    """With a mask and without one; a block of another kind keeps its order, and so does a GPU."""
    from open_clip.transformer import CustomResidualAttentionBlock, Transformer

    torch.manual_seed(4)
    tower = Transformer(width=32, layers=2, heads=2).eval().requires_grad_(False)
    x, mask = torch.randn(5, 9, 32), torch.full((9, 9), -torch.inf).triu_(1)
    before = [tower(x), tower(x, attn_mask=mask)]
    positions_first(tower, GPU)
    assert tower.batch_first
    positions_first(torch.nn.Sequential(tower), CPU)
    assert not tower.batch_first
    assert not any(block.attn.batch_first for block in tower.resblocks)
    for found, expected in zip([tower(x), tower(x, attn_mask=mask)], before, strict=True):
        torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)
    tower.resblocks[0] = CustomResidualAttentionBlock(32, 2)
    tower.batch_first = True
    positions_first(tower, CPU)
    assert tower.batch_first
