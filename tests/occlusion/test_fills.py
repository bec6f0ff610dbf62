"""Fills: what stands where something is blocked, and what is refused."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.occlusion import FILLS, OCCLUDERS, occlude
from pytest_occlusion.occlusion.fills import FILL_VALUES
from pytest_occlusion.occlusion.hashing import key_words
from pytest_occlusion.occlusion.registry import find_occluder

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def bytes_batch(seed: int, shape: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def apply(pixels: torch.Tensor, fill: str, ratio: float, **given: Any) -> torch.Tensor:
    keys = [f"k{i}" for i in range(len(pixels))]
    return occlude(pixels, ratio=ratio, keys=keys, fill=fill, **given)


def blocked(pixels: torch.Tensor, ratio: float, occluder: str = "block") -> torch.Tensor:
    words = key_words([f"k{i}" for i in range(len(pixels))], occluder=occluder, seed=0)
    return find_occluder(occluder)(words, *pixels.shape[2:])(ratio)


def test_every_registered_name_has_a_fill() -> None:
    assert set(FILL_VALUES) == set(FILLS)


@pytest.mark.parametrize("occluder", sorted(OCCLUDERS))
@pytest.mark.parametrize("fill", sorted(FILLS))
@pytest.mark.parametrize("dtype", [torch.uint8, *FLOATS])
def test_only_blocked_pixels_change(occluder: str, fill: str, dtype: torch.dtype) -> None:
    pixels = bytes_batch(1, (3, 3, 20, 17)).to(dtype)
    if dtype != torch.uint8:
        pixels = pixels / 255
    before = pixels.clone()
    after = apply(pixels, fill, 0.36, occluder=occluder)
    mask = blocked(pixels, 0.36, occluder=occluder)[:, None].expand_as(pixels)
    assert after.dtype == dtype
    assert after.shape == pixels.shape
    assert torch.equal(pixels, before)
    assert torch.equal(after[~mask], pixels[~mask])
    assert not torch.equal(after[mask], pixels[mask])


@pytest.mark.parametrize(
    ("fill", "dtype", "value"),
    [
        ("black", torch.uint8, 0),
        ("black", torch.float32, 0.0),
        ("white", torch.uint8, 255),
        ("white", torch.float32, 1.0),
        ("white", torch.float16, 1.0),
    ],
)
def test_flat_fills(fill: str, dtype: torch.dtype, value: float) -> None:
    pixels = torch.full((2, 1, 10, 10), 0.5 if dtype.is_floating_point else 77, dtype=dtype)
    after = apply(pixels, fill, 0.25)
    mask = blocked(pixels, 0.25)[:, None]
    assert set(after[mask].tolist()) == {value}


@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(0, 255), st.integers(0, 255), st.integers(0)
)
def test_mean_of_bytes_is_rounded_exactly(
    height: int, width: int, low: int, high: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    low, high = sorted((low, high))
    values = rng.integers(low, high + 1, size=(2, 3, height, width), dtype=np.uint8)
    canvases = torch.from_numpy(values)
    found = FILL_VALUES["mean"](canvases, torch.zeros(2, 4, dtype=torch.int64))
    for row in range(2):
        for channel in range(3):
            total = int(values[row, channel].astype(np.int64).sum())
            exact = math.floor((total / (height * width)) + 0.5)
            assert int(found[row, channel, 0, 0]) == exact


def test_mean_of_a_white_canvas_does_not_overflow() -> None:
    canvases = torch.full((1, 1, 320, 320), 255, dtype=torch.uint8)
    assert torch.equal(apply(canvases, "mean", 0.5), canvases)


def test_mean_of_floats_is_per_canvas_and_channel() -> None:
    pixels = bytes_batch(2, (2, 3, 8, 8)).double() / 255
    found = FILL_VALUES["mean"](pixels, torch.zeros(2, 4, dtype=torch.int64))
    expected = pixels.numpy().mean(axis=(2, 3))
    np.testing.assert_allclose(found[:, :, 0, 0].numpy(), expected, rtol=1e-12)


def test_noise_is_grey_nested_and_the_same_at_every_ratio() -> None:
    pixels = bytes_batch(3, (2, 3, 30, 30))
    small, large = apply(pixels, "noise", 0.16), apply(pixels, "noise", 0.64)
    mask = blocked(pixels, 0.16)[:, None].expand_as(pixels)
    assert torch.equal(small[mask], large[mask])
    values = large.permute(0, 2, 3, 1)[blocked(pixels, 0.64)]
    assert torch.equal(values[:, 0], values[:, 1])
    assert torch.equal(values[:, 0], values[:, 2])


def test_noise_is_uniform_and_differs_between_canvases() -> None:
    pixels = torch.zeros(2, 1, 128, 128, dtype=torch.uint8)
    noise = apply(pixels, "noise", 0.999, occluder="pixels")
    values = noise[blocked(pixels, 0.999, occluder="pixels")[:, None]].numpy()
    counts = np.bincount(values, minlength=256)
    expected = len(values) / 256
    assert ((counts - expected) ** 2 / expected).sum() < 255 + 6 * math.sqrt(510)
    assert not torch.equal(noise[0], noise[1])


def test_noise_does_not_follow_the_mask() -> None:
    """The first pixels to be blocked are not the dark ones."""
    pixels = torch.zeros(20, 1, 64, 64, dtype=torch.uint8)
    mask = blocked(pixels, 0.1, occluder="pixels")[:, None]
    values = apply(pixels, "noise", 0.1, occluder="pixels")[mask].double()
    assert float(values.mean()) == pytest.approx(127.5, abs=3)


def test_noise_of_floats_is_that_of_bytes() -> None:
    pixels = torch.zeros(2, 1, 16, 16)
    floats = apply(pixels, "noise", 0.5, occluder="patches")
    whole = apply(pixels.to(torch.uint8), "noise", 0.5, occluder="patches")
    assert torch.equal(floats, whole.float() / 255)


def test_noise_depends_on_key_and_seed_only() -> None:
    pixels = torch.zeros(3, 1, 16, 16)
    together = occlude(pixels, ratio=0.5, keys=["a", "b", "c"], fill="noise", seed=4)
    alone = occlude(pixels[:1], ratio=0.5, keys=["b"], fill="noise", seed=4)
    assert torch.equal(together[1], alone[0])
    other = occlude(pixels[:1], ratio=0.5, keys=["b"], fill="noise", seed=5)
    assert not torch.equal(alone, other)


def test_golden_noise() -> None:
    """Noise is part of the protocol, as masks are."""
    pixels = torch.zeros(2, 1, 12, 10, dtype=torch.uint8)
    noise = occlude(pixels, ratio=0.5, keys=["a", "ß"], fill="noise", seed=7)
    digest = hashlib.sha256(noise.numpy().tobytes()).hexdigest()
    assert digest[:16] == "662edcdfbda400e8"


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"fill": "grey"}, ("unknown fill 'grey'", "known: black, white, mean, noise")),
        ({"occluder": "blob"}, ("unknown occluder 'blob'", "known: block, patches, pixels")),
        ({"occluder": "blur"}, ("unknown occluder 'blur'", "known: block, patches, pixels")),
        ({"keys": ["a"]}, ("2 canvases but 1 keys", "one key per canvas")),
        ({"pixels": torch.zeros(3, 8, 8)}, ("must be [N, C, H, W]", "3 dimensions", "stack")),
        ({"ratio": 1.0}, ("ratio 1.0 is outside [0, 1)", "0.25 blocks a quarter")),
        ({"ratio": -0.1}, ("ratio -0.1 is outside [0, 1)", "0.25")),
        ({"ratio": math.nan}, ("ratio nan is outside [0, 1)", "0.25")),
        ({"ratio": 25}, ("ratio 25 is outside [0, 1)", "0.25")),
    ],
)
def test_faults(given: dict[str, Any], words: tuple[str, ...]) -> None:
    asked = {"pixels": torch.zeros(2, 1, 8, 8), "ratio": 0.25, "keys": ["a", "b"], **given}
    with pytest.raises(OcclusionError) as caught:
        occlude(asked.pop("pixels"), **asked)
    for word in words:
        assert word in str(caught.value)
    assert "\n  -> " in str(caught.value)
