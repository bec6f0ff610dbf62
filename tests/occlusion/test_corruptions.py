"""Corruptions: each against the dumb way or the ready-made one, and on nothing but its own key."""

from __future__ import annotations

import hashlib
import io
import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from torchvision.transforms.v2 import functional

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.occlusion import CORRUPTIONS, corrupt, prepare
from pytest_occlusion.occlusion.corruptions import CORRUPT
from pytest_occlusion.occlusion.hashing import key_words, position_words
from pytest_occlusion.occlusion.levels import SEVERITIES

NAMES = sorted(CORRUPTIONS)
RANDOM = ("gaussian-noise", "motion-blur", "rotation")
"""Corruptions that depend on the key."""

severities = st.integers(1, 5)
sides = st.integers(1, 40)
texts = st.text(max_size=8)


def batch(number: int, height: int, width: int, channels: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (number, channels, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def smooth(height: int, width: int) -> torch.Tensor:
    """A picture without edges, where half a grey level is all that rounding can do."""
    y, x = torch.arange(height)[:, None], torch.arange(width)[None, :]
    waves = 128 + 60 * torch.sin(y / 9.0) + 50 * torch.cos(x / 7.0)
    return waves.round().to(torch.uint8)[None, None]


def apply(pixels: torch.Tensor, name: str, severity: int, **given: Any) -> torch.Tensor:
    keys = given.pop("keys", [f"k{i}" for i in range(len(pixels))])
    return corrupt(pixels, severity=severity, corruption=name, keys=keys, **given)


def words_of(key: str, name: str, seed: int = 0) -> torch.Tensor:
    return key_words([key], occluder=name, seed=seed)


def strength(name: str, severity: int) -> Any:
    return CORRUPT[name][1][severity - 1]


def difference(one: torch.Tensor, other: torch.Tensor) -> int:
    return int((one.int() - other.int()).abs().max())


def test_every_registered_name_has_a_corruption() -> None:
    assert list(CORRUPT) == list(CORRUPTIONS)


# What holds for all ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_severity_0_is_the_picture_itself(name: str, channels: int) -> None:
    pixels = batch(3, 20, 17, channels)
    assert corrupt(pixels, severity=0, corruption=name, keys=["a", "b", "c"]) is pixels
    prepared = prepare(pixels, name=name, fill="black", keys=["a", "b", "c"], seed=0)
    assert prepared.at(0.0) is pixels


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_type_stay_and_the_picture_is_left_alone(name: str, channels: int) -> None:
    pixels = batch(2, 33, 21, channels)
    before = pixels.clone()
    for severity in SEVERITIES:
        after = apply(pixels, name, severity)
        assert (after.shape, after.dtype) == (pixels.shape, torch.uint8)
    assert torch.equal(pixels, before)
    assert not torch.equal(apply(pixels, name, 5), pixels)


@given(
    st.sampled_from(NAMES),
    severities,
    sides,
    sides,
    st.sampled_from([1, 3]),
    st.lists(texts, min_size=2, max_size=6, unique=True),
    st.integers(-(2**40), 2**40),
    st.randoms(use_true_random=False),
)
def test_depends_on_its_own_key_and_picture_only(
    name: str,
    severity: int,
    height: int,
    width: int,
    channels: int,
    keys: list[str],
    seed: int,
    shuffler: random.Random,
) -> None:
    pixels = dict(zip(keys, batch(len(keys), height, width, channels), strict=True))

    def together(order: list[str]) -> dict[str, torch.Tensor]:
        stacked = torch.stack([pixels[key] for key in order])
        done = corrupt(stacked, severity=severity, corruption=name, keys=order, seed=seed)
        return dict(zip(order, done, strict=True))

    whole = together(keys)
    some = shuffler.sample(keys, shuffler.randint(1, len(keys)))
    for key, picture in together(some).items():
        assert torch.equal(picture, whole[key])
        assert torch.equal(picture, together([key])[key])


@pytest.mark.parametrize("name", NAMES)
def test_three_equal_channels_stay_equal_and_are_those_of_one(name: str) -> None:
    grey = batch(2, 32, 32)
    for severity in (1, 5):
        one, three = (apply(p, name, severity) for p in (grey, grey.expand(-1, 3, -1, -1)))
        limit = 1 if name == "jpeg" else 0  # by way of YCbCr, which rounds
        assert difference(one.expand_as(three), three) <= limit


@pytest.mark.parametrize("name", NAMES)
def test_a_higher_severity_changes_a_picture_more(name: str) -> None:
    """In the mean over some pictures: what a severity is for."""
    pixels = smooth(96, 96).repeat(4, 1, 1, 1)
    pixels[:, :, 30:60, 40:50] = 255
    pixels[:, :, 70:80, 10:80] //= 3
    changes = [
        float((apply(pixels, name, s).double() - pixels.double()).abs().mean()) for s in SEVERITIES
    ]
    assert changes == sorted(changes)
    assert len(set(changes)) == len(SEVERITIES)


@pytest.mark.parametrize("name", RANDOM)
def test_keys_and_seeds_differ(name: str) -> None:
    pixels = batch(1, 112, 112).expand(40, -1, -1, -1)
    several = apply(pixels, name, 3, keys=[f"k{i}" for i in range(40)])
    found = len({picture.numpy().tobytes() for picture in several})
    assert found == 2 if name == "rotation" else found > 20
    seeded = [apply(pixels[:1], name, 3, keys=["k"], seed=seed) for seed in range(40)]
    assert len({picture.numpy().tobytes() for picture in seeded}) > 1


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(RANDOM)))
def test_the_others_ignore_keys(name: str) -> None:
    pixels = batch(1, 24, 24).repeat(2, 1, 1, 1)
    first, second = apply(pixels, name, 3, keys=["a", "b"], seed=4)
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_stays_empty(name: str) -> None:
    empty = torch.zeros(0, 3, 8, 8, dtype=torch.uint8)
    assert apply(empty, name, 4).shape == (0, 3, 8, 8)


# Each against the dumb or the ready-made way -----------------------------------------------------


@pytest.mark.parametrize("severity", range(1, 6))
def test_noise_is_normal(severity: int) -> None:
    pixels = torch.full((1, 1, 400, 400), 128, dtype=torch.uint8)
    noise = apply(pixels, "gaussian-noise", severity).double() - 128
    spread = 255 * strength("gaussian-noise", severity)
    count = noise.numel()
    assert abs(float(noise.mean())) < 6 * spread / math.sqrt(count)
    inside = float((noise.abs() < 1.2815515655446004 * spread).double().mean())
    assert inside == pytest.approx(0.8, abs=0.02)  # a grey level is up to 1/10 of the spread
    if severity == 1:  # nothing is cut off at black and white
        assert float(noise.std()) == pytest.approx(spread, rel=0.02)


def test_noise_equals_the_loop() -> None:
    from statistics import NormalDist

    pixels, words = batch(1, 5, 7), words_of("k0", "gaussian-noise")
    found = apply(pixels, "gaussian-noise", 4)
    drawn = position_words(words[:, :2], torch.arange(35))[0].tolist()
    for place, (word, grey) in enumerate(zip(drawn, pixels.flatten().tolist(), strict=True)):
        z = NormalDist().inv_cdf(((word >> 16) + 0.5) / 65536)
        expected = min(255, max(0, grey + round(255 * 0.18 * z)))
        assert int(found.flatten()[place]) == expected


def test_noise_grows_with_the_severity_pixel_by_pixel() -> None:
    pixels = torch.full((1, 1, 30, 30), 128, dtype=torch.uint8)
    weak, strong = (apply(pixels, "gaussian-noise", s).int() - 128 for s in (1, 2))
    assert ((weak * strong) >= 0).all()
    assert (strong.abs() >= weak.abs()).all()


@pytest.mark.parametrize("severity", range(1, 6))
def test_jpeg_is_pillows(severity: int) -> None:
    pixels = batch(2, 40, 24, 3)
    found = apply(pixels, "jpeg", severity)
    for before, after in zip(pixels, found, strict=True):
        file = io.BytesIO()
        image = Image.fromarray(before.permute(1, 2, 0).numpy())
        image.save(file, "JPEG", quality=(50, 30, 15, 10, 7)[severity - 1])
        assert np.array_equal(np.asarray(Image.open(file)), after.permute(1, 2, 0).numpy())


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("name", ["contrast", "brightness"])
def test_contrast_and_brightness_are_pillows_to_a_grey_level(name: str, severity: int) -> None:
    pixels = batch(1, 31, 45)
    image = Image.fromarray(pixels[0, 0].numpy())
    kind = ImageEnhance.Contrast if name == "contrast" else ImageEnhance.Brightness
    expected = np.array(kind(image).enhance(strength(name, severity) / 100))
    found = apply(pixels, name, severity)
    assert difference(found[0, 0], torch.from_numpy(expected)) <= 1


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("side", [64, 224])
def test_blur_is_torchvisions_to_a_grey_level(severity: int, side: int) -> None:
    """Away from the edge, which torchvision mirrors and ImageNet-C repeats."""
    pixels = batch(1, side, side)
    spread = (1, 2, 3, 4, 6)[severity - 1] * side / 224
    reach = max(1, math.ceil(4 * spread))
    expected = functional.gaussian_blur(pixels, [2 * reach + 1] * 2, [spread] * 2)
    inner = slice(reach, side - reach)
    found = apply(pixels, "blur", severity)
    assert difference(found[..., inner, inner], expected[..., inner, inner]) <= 1


def test_blur_repeats_the_edge() -> None:
    pixels = torch.zeros(1, 1, 64, 64, dtype=torch.uint8)
    pixels[..., :32] = 200
    found = apply(pixels, "blur", 5)
    assert set(found[..., 0].flatten().tolist()) == {200}
    assert set(found[..., -1].flatten().tolist()) == {0}


@pytest.mark.parametrize("severity", [1, 4])
def test_motion_blur_equals_the_loop(severity: int) -> None:
    height, width = 23, 30
    pixels, words = batch(1, height, width), words_of("k0", "motion-blur")
    radius, spread = (length * height / 224 for length in strength("motion-blur", severity))
    angle = math.radians(45) * (int(words[0, 0]) / 2**31 - 1)
    taps = range(2 * math.ceil(radius) + 1)
    weights = [math.exp(-((tap / spread) ** 2) / 2) for tap in taps]
    grey = pixels[0, 0].tolist()
    blurred = apply(pixels, "motion-blur", severity)[0, 0].tolist()
    for y in range(height):
        for x in range(width):
            total = 0.0
            for tap, weight in zip(taps, weights, strict=True):
                row = min(max(y + round(tap * math.sin(angle)), 0), height - 1)
                column = min(max(x + round(tap * math.cos(angle)), 0), width - 1)
                total += weight * grey[row][column]
            # Weights are in 1/16384, hence the margin around half a grey level.
            assert abs(blurred[y][x] - total / sum(weights)) <= 0.5 + 0.05


@given(severities, st.integers(1, 30), st.integers(1, 30))
def test_down_sampling_equals_the_loop(severity: int, height: int, width: int) -> None:
    pixels = batch(1, height, width)
    percent = (30, 25, 20, 15, 10)[severity - 1]
    parts = [max(1, side * percent // 100) for side in (height, width)]
    # Fine enough a grid that coarse and fine pixels both consist of whole points.
    fine = pixels[0, 0].double().repeat_interleave(parts[0], 0).repeat_interleave(parts[1], 1)
    coarse = fine.reshape(parts[0], height, parts[1], width).mean(dim=(1, 3))
    found = apply(pixels, "down-sampling", severity)[0, 0]
    for y in range(height):
        for x in range(width):
            row, column = (
                (2 * at + 1) * p // (2 * n)
                for at, p, n in ((y, parts[0], height), (x, parts[1], width))
            )
            assert int(found[y, x]) == math.floor(float(coarse[row, column]) + 0.5 + 1e-9)


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize("key", ["a", "b", "c"])
def test_rotation_is_torchvisions_to_a_grey_level(severity: int, key: str) -> None:
    pixels = smooth(61, 61)
    side = 1 if int(words_of(key, "rotation")[0, 0]) >> 31 else -1
    expected = functional.rotate(
        pixels, side * 6 * severity, interpolation=functional.InterpolationMode.BILINEAR
    )
    found = apply(pixels, "rotation", severity, keys=[key])
    apart = (found.int() - expected.int()).abs()[..., 1:-1, 1:-1]
    # A row or column of the corners may lie on the other side of the picture's edge.
    y, x = torch.meshgrid(torch.arange(59) - 29, torch.arange(59) - 29, indexing="ij")
    inside = (y**2 + x**2) < 27**2
    assert int(apart[0, 0][inside].max()) <= 1
    assert float((apart <= 2).double().mean()) > 0.97


def test_rotation_turns_both_ways_and_brings_in_black() -> None:
    pixels = torch.full((1, 1, 50, 40), 255, dtype=torch.uint8)
    turned = [apply(pixels, "rotation", 5, keys=[key]) for key in "abcdefgh"]
    assert len({picture.numpy().tobytes() for picture in turned}) == 2
    assert all(int(picture[0, 0, 0, 0]) == 0 for picture in turned)
    one = next(p for p in turned if not torch.equal(p, turned[0]))
    assert torch.equal(one.flip(3), turned[0])


# Golden ------------------------------------------------------------------------------------------

GOLDEN = {
    "blur": "77e7d9926050a824",
    "brightness": "bb60a437de39e470",
    "contrast": "f13dd9386ca56253",
    "down-sampling": "b83bdf522ffd4f2a",
    "gaussian-noise": "d9f69e8f3fb74ec5",
    "motion-blur": "6799946d96b42102",
    "rotation": "f3e53ecaa9569b28",
}


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"jpeg"}))
def test_golden(name: str) -> None:
    """Corruptions are part of the protocol, as masks are. JPEG is left to Pillow's version."""
    digest = hashlib.sha256()
    for height, width in ((32, 32), (40, 28)):
        for severity in SEVERITIES:
            done = apply(batch(2, height, width), name, severity, keys=["synthetic/1", "ß"], seed=7)
            digest.update(done.numpy().tobytes())
    assert digest.hexdigest()[:16] == GOLDEN[name]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", NAMES)
def test_cuda_equals_cpu(name: str) -> None:
    pixels = batch(8, 224, 224, 3)
    for severity in SEVERITIES:
        here, there = (apply(pixels.to(d), name, severity).cpu() for d in ("cpu", "cuda"))
        assert torch.equal(here, there)


# What is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"severity": 6}, ("severity 6 is none of 0, 1, 2, 3, 4, 5", "5 is the strongest")),
        ({"severity": 2.5}, ("severity 2.5 is none of", "0 leaves")),
        ({"corruption": "fog"}, ("unknown corruption 'fog'", "known: gaussian-noise, blur")),
        ({"corruption": "block"}, ("unknown corruption 'block'", "known: gaussian-noise, blur")),
        ({"keys": ["a"]}, ("2 canvases but 1 keys", "one key per canvas")),
        ({"pixels": torch.zeros(3, 8, 8)}, ("must be [N, C, H, W]", "stack")),
        ({"pixels": torch.zeros(2, 1, 8, 8)}, ("needs uint8 canvases", "torch.float32", "8-bit")),
        (
            {"pixels": torch.zeros(2, 4, 8, 8, dtype=torch.uint8)},
            ("1 or 3 channels", "and 4", "8-bit"),
        ),
    ],
)
def test_faults(given: dict[str, Any], words: tuple[str, ...]) -> None:
    asked = {
        "pixels": torch.zeros(2, 1, 8, 8, dtype=torch.uint8),
        "severity": 2,
        "corruption": "blur",
        "keys": ["a", "b"],
        **given,
    }
    with pytest.raises(OcclusionError) as caught:
        corrupt(asked.pop("pixels"), **asked)
    for word in words:
        assert word in str(caught.value)
    assert "\n  -> " in str(caught.value)
