"""Masks: exact area, nesting, independence, and the numbers themselves."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.occlusion import OCCLUDERS, achieved_area, occlude, prepare
from pytest_occlusion.occlusion import masks as module
from pytest_occlusion.occlusion.hashing import key_words, position_words
from pytest_occlusion.occlusion.masks import GRID
from pytest_occlusion.occlusion.names import parse_tile, tile_ratio, tiles
from pytest_occlusion.occlusion.registry import find_occluder

RANDOM = ("block", "patches", "pixels")
"""Occluders whose masks depend on the key."""

RATIOS = (0.0, 0.09, 0.16, 0.25, 0.36, 0.49, 0.64, 0.81)


@st.composite
def placements(draw: st.DrawFn) -> tuple[int, int, int]:
    """Placements per side, row and column of a tile."""
    grid = draw(st.integers(2, 17))
    return grid, draw(st.integers(0, grid - 1)), draw(st.integers(0, grid - 1))


def tile(place: tuple[int, int, int]) -> str:
    return "tile-{}-{}-{}".format(*place)


occluders = st.one_of(st.sampled_from(sorted(OCCLUDERS)), placements().map(tile))
sides = st.integers(1, 97)
sizes = st.one_of(
    st.tuples(sides, sides), st.tuples(sides, sides), st.sampled_from([(224, 224), (320, 320)])
)
ratios = st.one_of(st.sampled_from(RATIOS), st.floats(0, 1, exclude_max=True))
texts = st.text(max_size=12)
seeds = st.integers(-(2**40), 2**40)


def masks(
    occluder: str, ratio: float, height: int, width: int, keys: list[str], seed: int = 0
) -> torch.Tensor:
    words = key_words(keys, occluder=occluder, seed=seed)
    return find_occluder(occluder)(words, height, width)(ratio)


# The dumb way: Python integers and loops ---------------------------------------------------------


def slow_words(key: str, occluder: str, seed: int) -> list[int]:
    message = f"{seed}\x1f{occluder}\x1f{key}".encode()
    digest = hashlib.blake2b(message, digest_size=16, person=b"occlusion-mask").digest()
    return [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]


def slow_mix(word: int) -> int:
    word = ((word ^ (word >> 16)) * 0x7FEB352D) % 2**32
    word = ((word ^ (word >> 15)) * 0x31848BAB) % 2**32
    return word ^ (word >> 16)


def slow_position(words: list[int], position: int) -> int:
    return slow_mix((slow_mix(position ^ words[0]) + words[1]) % 2**32)


def half_up(value: float) -> int:
    return math.floor(value + 0.5)


def slow_rectangle(top: int, left: int, rows: int, columns: int, h: int, w: int) -> list[list[int]]:
    return [
        [int(top <= y < top + rows and left <= x < left + columns) for x in range(w)]
        for y in range(h)
    ]


def slow_mask(occluder: str, ratio: float, h: int, w: int, key: str, seed: int) -> list[list[int]]:
    words = slow_words(key, occluder, seed)
    if occluder in ("block", "center") or occluder.startswith("tile"):
        rows, columns = half_up(math.sqrt(ratio) * h), half_up(math.sqrt(ratio) * w)
        if occluder == "block":
            top = words[0] * (h - rows + 1) // 2**32
            left = words[1] * (w - columns + 1) // 2**32
        elif occluder == "center":
            top, left = (h - rows) // 2, (w - columns) // 2
        else:
            grid, row, column = map(int, occluder.split("-")[1:])
            top, left = (h - rows) * row // (grid - 1), (w - columns) * column // (grid - 1)
        return slow_rectangle(top, left, rows, columns, h, w)
    if occluder == "border":
        kept = math.sqrt(1 - ratio)
        rows, columns = half_up(kept * h), half_up(kept * w)
        free = slow_rectangle((h - rows) // 2, (w - columns) // 2, rows, columns, h, w)
        return [[1 - value for value in row] for row in free]
    places = [(y, x) for y in range(h) for x in range(w)]
    if occluder == "pixels":
        order = sorted(places, key=lambda p: (slow_position(words, p[0] * w + p[1]), p))
    else:
        order = sorted(
            places,
            key=lambda p: (slow_position(words, p[0] * GRID // h * GRID + p[1] * GRID // w), p),
        )
    blocked = set(order[: half_up(ratio * h * w)])
    return [[int((y, x) in blocked) for x in range(w)] for y in range(h)]


@given(occluders, st.integers(1, 23), st.integers(1, 23), ratios, texts, seeds)
def test_equals_the_loops(
    occluder: str, height: int, width: int, ratio: float, key: str, seed: int
) -> None:
    found = masks(occluder, ratio, height, width, [key], seed)[0].int().tolist()
    assert found == slow_mask(occluder, ratio, height, width, key, seed)


@pytest.mark.parametrize("occluder", sorted(OCCLUDERS))
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (5, 5), (7, 6), (10, 9), (14, 14)])
def test_equals_the_loops_where_halves_are_rounded(occluder: str, size: tuple[int, int]) -> None:
    for ratio in (*RATIOS, 0.5, 0.75):
        found = masks(occluder, ratio, *size, ["k"], 2)[0].int().tolist()
        assert found == slow_mask(occluder, ratio, *size, "k", 2)


@pytest.mark.parametrize("size", [(28, 28), (30, 17), (5, 40), (224, 224)])
@pytest.mark.parametrize("different", [1 << 32, 97, 3])
def test_cells_that_draw_the_same_word_take_turns_pixel_by_pixel(
    different: int, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Patches without a tie are found by sorting cells: the same ones as by sorting all pixels."""

    def drawn(words: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        return position_words(words, positions) % different

    monkeypatch.setattr(module, "position_words", drawn)
    height, width = size
    words = key_words(["a", "b", "c"], occluder="patches", seed=1)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cell = (y * GRID // height * GRID + x * GRID // width).reshape(-1)
    order = (drawn(words[:, :2], torch.arange(GRID**2))[:, cell] << 31) + (
        torch.arange(height * width)
    )
    places = order.argsort(dim=1).argsort(dim=1).reshape(3, height, width)
    mask_at = find_occluder("patches")(words, height, width)
    for ratio in (*RATIOS, 1e-4, 0.5, 0.999):
        assert torch.equal(mask_at(ratio), places < half_up(ratio * height * width))


# The three promises ------------------------------------------------------------------------------


@given(occluders, sizes, ratios, st.lists(texts, min_size=1, max_size=2), seeds)
def test_area_is_exact_to_a_row(
    occluder: str, size: tuple[int, int], ratio: float, keys: list[str], seed: int
) -> None:
    height, width = size
    blocked = masks(occluder, ratio, height, width, keys, seed).sum(dim=(1, 2)).tolist()
    assert len(set(blocked)) == 1
    assert abs(blocked[0] - ratio * height * width) <= max(height, width)
    if occluder in ("patches", "pixels"):
        assert abs(blocked[0] - ratio * height * width) <= 0.5


@given(occluders, sides, sides, ratios)
def test_achieved_area_is_that_of_any_key(
    occluder: str, height: int, width: int, ratio: float
) -> None:
    mask = masks(occluder, ratio, height, width, ["any"], 5)
    expected = int(mask.sum()) / (height * width) if ratio else 0.0
    assert achieved_area(occluder, ratio, height, width) == pytest.approx(expected, abs=1e-12)


@given(occluders, sizes, ratios, ratios, st.lists(texts, min_size=1, max_size=2), seeds)
def test_nested(
    occluder: str, size: tuple[int, int], p: float, q: float, keys: list[str], seed: int
) -> None:
    small, large = (masks(occluder, r, *size, keys, seed) for r in sorted((p, q)))
    assert not (small & ~large).any()


@pytest.mark.parametrize("occluder", sorted(OCCLUDERS))
@pytest.mark.parametrize(("height", "width"), [(7, 7), (16, 9), (33, 32)])
def test_nested_at_every_percent(occluder: str, height: int, width: int) -> None:
    words = key_words([f"k{i}" for i in range(40)], occluder=occluder, seed=1)
    mask_at = find_occluder(occluder)(words, height, width)
    before = mask_at(0.0)
    for percent in range(1, 100):
        now = mask_at(percent / 100)
        assert not (before & ~now).any()
        before = now


@given(
    occluders,
    st.integers(1, 40),
    st.integers(1, 40),
    ratios,
    st.lists(texts, min_size=2, max_size=8, unique=True),
    seeds,
    st.randoms(use_true_random=False),
)
def test_depends_on_its_own_key_only(
    occluder: str,
    height: int,
    width: int,
    ratio: float,
    keys: list[str],
    seed: int,
    shuffler: random.Random,
) -> None:
    together = dict(zip(keys, masks(occluder, ratio, height, width, keys, seed), strict=True))
    shuffled = shuffler.sample(keys, shuffler.randint(1, len(keys)))
    for key, mask in zip(
        shuffled, masks(occluder, ratio, height, width, shuffled, seed), strict=True
    ):
        assert torch.equal(mask, together[key])
        assert torch.equal(mask, masks(occluder, ratio, height, width, [key], seed)[0])


# What differs, and what does not -----------------------------------------------------------------


@pytest.mark.parametrize("occluder", RANDOM)
def test_keys_and_seeds_differ(occluder: str) -> None:
    several = masks(occluder, 0.25, 64, 64, [f"k{i}" for i in range(50)])
    assert len({mask.numpy().tobytes() for mask in several}) >= 48
    seeded = [masks(occluder, 0.25, 64, 64, ["k"], seed) for seed in range(50)]
    assert len({mask.numpy().tobytes() for mask in seeded}) >= 48


def test_occluders_differ_and_do_not_share_their_randomness() -> None:
    drawn = {name: masks(name, 0.25, 64, 64, ["k"]).numpy().tobytes() for name in OCCLUDERS}
    assert len(set(drawn.values())) == len(OCCLUDERS)
    words = {tuple(key_words(["k"], occluder=name, seed=0)[0].tolist()) for name in OCCLUDERS}
    assert len(words) == len(OCCLUDERS)


def test_key_and_seed_cannot_be_confused() -> None:
    words = {
        tuple(key_words([key], occluder="block", seed=seed)[0].tolist())
        for key, seed in (("1", 11), ("11", 1), ("1\x1f1", 1), ("", 111))
    }
    assert len(words) == 4


@pytest.mark.parametrize("occluder", ["center", "border", "tile-8-2-5"])
def test_fixed_occluders_ignore_keys(occluder: str) -> None:
    first, second = masks(occluder, 0.36, 31, 20, ["a", "b"])
    assert torch.equal(first, second)
    assert torch.equal(first, masks(occluder, 0.36, 31, 20, ["c"], 9)[0])


def edges(mask: torch.Tensor) -> list[float]:
    """Top, bottom, left, right of the blocked part, as shares of the side."""
    found = []
    for axis in (1, 0):
        hit = mask.any(dim=axis).nonzero().flatten()
        size = mask.shape[1 - axis]
        found += [int(hit[0]) / size, (int(hit[-1]) + 1) / size]
    return found


@pytest.mark.parametrize("ratio", [0.09, 0.25, 0.49, 0.81])
@pytest.mark.parametrize("pair", [((224, 224), (320, 320)), ((97, 61), (224, 224))])
def test_block_lies_at_the_same_relative_place(
    ratio: float, pair: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    keys = [f"study/{i}" for i in range(10)]
    small, large = (masks("block", ratio, *size, keys) for size in pair)
    pixel = 1 / min(*pair[0], *pair[1])
    for one, other in zip(small, large, strict=True):
        for here, there in zip(edges(one), edges(other), strict=True):
            assert abs(here - there) <= 2.5 * pixel


def test_patches_block_the_same_cells_on_every_canvas() -> None:
    keys = [f"study/{i}" for i in range(20)]
    whole_cells = 49 / GRID**2
    small = masks("patches", whole_cells, 28, 28, keys)[:, ::2, ::2]
    large = masks("patches", whole_cells, 224, 224, keys)[:, ::16, ::16]
    assert torch.equal(small, large)


def test_at_ratio_zero_nothing_is_blocked() -> None:
    pixels = torch.randint(0, 256, (2, 3, 9, 7), dtype=torch.uint8)
    for occluder in OCCLUDERS:
        assert not masks(occluder, 0.0, 9, 7, ["a", "b"]).any()
        for fill in ("black", "white", "mean", "noise"):
            after = occlude(pixels, ratio=0, keys=["a", "b"], occluder=occluder, fill=fill)
            assert torch.equal(after, pixels)
    prepared = prepare(pixels, name="block", fill="black", keys=["a", "b"], seed=0)
    assert prepared.at(0.0) is pixels


def test_an_empty_batch_stays_empty() -> None:
    for occluder in OCCLUDERS:
        empty = torch.zeros(0, 3, 8, 8)
        assert occlude(empty, ratio=0.5, keys=[], occluder=occluder).shape == (0, 3, 8, 8)


def test_the_order_has_room_for_any_canvas() -> None:
    """Word and position share an int64: neither may reach into the other."""
    assert module._POSITION_BITS <= 31
    assert 2**module._POSITION_BITS > 20_000 * 20_000


# Placement ---------------------------------------------------------------------------------------


def chi_square(counts: Counter[int], cells: int) -> float:
    expected = sum(counts.values()) / cells
    return sum((counts[cell] - expected) ** 2 / expected for cell in range(cells))


def bound(cells: int) -> float:
    """Mean and six standard deviations of chi-square: a seeded test that bugs still fail."""
    return cells - 1 + 6 * math.sqrt(2 * (cells - 1))


def test_block_places_are_equally_likely() -> None:
    found = masks("block", 0.25, 32, 32, [f"key {i}" for i in range(4000)])
    tops = Counter(found.any(dim=2).int().argmax(dim=1).tolist())
    lefts = Counter(found.any(dim=1).int().argmax(dim=1).tolist())
    assert set(tops) == set(lefts) == set(range(17))
    assert chi_square(tops, 17) < bound(17)
    assert chi_square(lefts, 17) < bound(17)
    rows = found.any(dim=2).int().argmax(dim=1).double()
    columns = found.any(dim=1).int().argmax(dim=1).double()
    correlation = torch.corrcoef(torch.stack([rows, columns]))[0, 1]
    assert abs(float(correlation)) < 5 / math.sqrt(4000)


@pytest.mark.parametrize(("occluder", "side", "cells"), [("patches", 14, 196), ("pixels", 12, 144)])
def test_scattered_places_are_equally_likely(occluder: str, side: int, cells: int) -> None:
    found = masks(occluder, 0.1, side, side, [f"key {i}" for i in range(3000)])
    times = found.sum(dim=0).flatten().double()
    share = float(times.mean()) / 3000
    spread = math.sqrt(3000 * share * (1 - share))
    assert len(times) == cells
    assert float((times - times.mean()).abs().max()) < 5 * spread


def test_neighbouring_pixels_are_independent() -> None:
    found = masks("pixels", 0.5, 20, 20, [f"key {i}" for i in range(400)])
    pairs = (found[:, :, 1:] & found[:, :, :-1]).double().mean()
    assert float(pairs) == pytest.approx(0.25, abs=0.01)


# Tiles -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("grid", "size"), [(8, 224), (7, 224), (8, 64), (4, 64), (14, 224)])
def test_tiles_of_one_cell_cover_everything_once(grid: int, size: int) -> None:
    total = sum(masks(one, tile_ratio(grid), size, size, ["k"])[0].int() for one in tiles(grid))
    assert isinstance(total, torch.Tensor)
    assert bool((total == 1).all())


@given(placements())
def test_names_of_tiles_go_there_and_back(place: tuple[int, int, int]) -> None:
    assert parse_tile(tile(place)) == place
    grid, row, column = place
    assert tiles(grid)[row * grid + column] == tile(place)


@pytest.mark.parametrize(
    "name",
    [
        "block",
        "tile",
        "tile-8",
        "tile-8-8-0",
        "tile-8-0-8",
        "tile-1-0-0",
        "tile-08-0-0",
        "tile-8-00-1",
        "tile-8-٣-1",
    ],
)
def test_what_is_no_tile(name: str) -> None:
    assert parse_tile(name) is None


def test_a_tile_is_occluded_like_any_other() -> None:
    draw = random.Random(0)
    pixels = torch.tensor([[[[draw.randrange(1, 256) for _ in range(8)] for _ in range(8)]]])
    shown = occlude(pixels.to(torch.uint8), ratio=1 / 16, occluder="tile-4-3-0", keys=["k"])
    assert (shown == 0).nonzero()[:, 2:].tolist() == [[6, 0], [6, 1], [7, 0], [7, 1]]


@pytest.mark.parametrize("name", ["tile-4-4-0", "tile", "blok"])
def test_unknown_names_are_refused(name: str) -> None:
    pixels = torch.zeros(1, 1, 8, 8)
    with pytest.raises(OcclusionError, match=f"unknown occluder '{name}'"):
        occlude(pixels, ratio=0.5, occluder=name, keys=["k"])
    with pytest.raises(OcclusionError, match=f"unknown occluder '{name}'"):
        achieved_area(name, 0.5, 8, 8)
    assert name not in OCCLUDERS


# Golden ------------------------------------------------------------------------------------------

GOLDEN = {
    "block": "0029e5602d6d7def",
    "border": "dfe8a102b2400185",
    "center": "1adc18f141e8f9ed",
    "patches": "eff34aeb04338d93",
    "pixels": "72098fc02e182e2c",
}


@pytest.mark.parametrize("occluder", sorted(OCCLUDERS))
def test_golden(occluder: str) -> None:
    """Masks are part of the protocol: a change makes every stored baseline another experiment."""
    digest = hashlib.sha256()
    for height, width in ((32, 32), (40, 28)):
        for ratio in RATIOS:
            drawn = masks(occluder, ratio, height, width, ["synthetic/0001/0", "ß"], seed=7)
            digest.update(drawn.numpy().tobytes())
    assert digest.hexdigest()[:16] == GOLDEN[occluder]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("occluder", sorted(OCCLUDERS))
def test_cuda_equals_cpu(occluder: str) -> None:
    pixels = torch.randint(0, 256, (8, 3, 224, 224), dtype=torch.uint8)
    keys = [f"k{i}" for i in range(8)]
    for ratio in RATIOS:
        for fill in ("black", "white", "mean", "noise"):
            here, there = (
                occlude(
                    pixels.to(device), ratio=ratio, keys=keys, occluder=occluder, fill=fill, seed=3
                ).cpu()
                for device in ("cpu", "cuda")
            )
            assert torch.equal(here, there)
