"""``biovil`` against what upstream's own code gave, and against each choice that would be wrong."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from pytest_occlusion.corpora.images import open_image
from pytest_occlusion.encoders import Encoder, load_encoder
from pytest_occlusion.encoders import biovil as family
from pytest_occlusion.encoders.bert import Pool, at_end, at_start, text_tower
from pytest_occlusion.encoders.canvases import central, shorter_side, stored
from pytest_occlusion.encoders.checkpoints import read_checkpoint
from pytest_occlusion.encoders.vision import quickened
from pytest_occlusion.encoders.weights import fill
from pytest_occlusion.errors import OcclusionError

from .formula import PARITY, daily, listing, write_formula_biovil, write_words
from .test_parity_clip import TOLERANCE, arrays, check_pixels, furthest
from .wrong import SHOWN, mean_pool, of_both, rows_of, text_errors, with_other_bert

VARIANTS = {"biovil": ("BioViL ResNet50", 480), "biovil_t": ("BioViL-T ResNet50", 448)}
ODD_MARGIN = (0, 0, 512, 415)
"""Of the first picture: the part whose margins are odd (``oddmargin`` in the listing)."""


@pytest.fixture(scope="module", params=daily(VARIANTS))
def variant(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, words: Path | None
) -> Iterator[tuple[str, Path]]:
    """(name, folder with formula weights); 550 MB, removed at the end."""
    path = tmp_path_factory.mktemp("formula") / request.param
    yield request.param, write_formula_biovil(path, request.param, words)
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def encoder(variant: tuple[str, Path]) -> Encoder:
    return load_encoder("biovil", checkpoint=variant[1], device="cpu")


@pytest.fixture(scope="module")
def towers(variant: tuple[str, Path]) -> tuple[Any, Any, Any]:
    """Feature map, projector and all modules, filled by the same plan as the encoder's."""
    read = read_checkpoint(variant[1], "*")
    modules, _ = fill(family.biovil_plan(read), read.weights, torch.device("cpu"))
    return family.feature_map(modules), quickened(modules[family.PROJECTOR]), modules


def odd_margin(images: list[Image.Image]) -> Image.Image:
    return images[0].crop(ODD_MARGIN)


def test_embeddings(
    variant: tuple[str, Path],
    encoder: Encoder,
    items: list[int],
    words: Path | None,
    parity_images: list[Image.Image],
    extra_images: list[Image.Image],
    parity_texts: list[str],
    extra_texts: list[str],
) -> None:
    name, (*extra, long) = variant[0], extra_texts
    known, every = arrays(name), len(items) == len(parity_images)
    assert (encoder.variant, encoder.canvas.width) == VARIANTS[name]
    assert encoder.token_limit == 512
    found = encoder.encode_images([parity_images[item] for item in items])
    assert furthest(found, known["image_emb"][items]) < TOLERANCE
    if every:
        assert furthest(encoder.encode_images(extra_images), known["image_emb_extra"]) < TOLERANCE
        odd = encoder.encode_images([odd_margin(parity_images)])
        assert furthest(odd, known["image_emb_oddmargin"]) < TOLERANCE
    if not words:
        pytest.skip("the texts need ../shared/parity/bert-base-cased-vocab.txt, not shipped")
    found = encoder.encode_texts([parity_texts[item] for item in items])
    assert furthest(found, known["text_emb"][items]) < TOLERANCE
    assert furthest(found, known["text_emb_batch"][items]) < TOLERANCE
    if every:
        assert furthest(encoder.encode_texts(extra), known["text_emb_extra"]) < TOLERANCE
        assert furthest(encoder.encode_texts([long]), known["text_emb_cut512"]) < TOLERANCE
    counts = listing(name)["text"]
    assert encoder.count_tokens(parity_texts) == counts["n_tokens"]
    assert encoder.count_tokens(extra) == counts["n_tokens_extra"][: len(extra)]
    assert encoder.count_tokens([long]) == [911]  # upstream refuses it; the limit is 512


@pytest.mark.parametrize("name", VARIANTS)
def test_pixels(
    name: str, parity_images: list[Image.Image], extra_images: list[Image.Image]
) -> None:
    recipe = family.stretched_crop(512, VARIANTS[name][1])
    for images, suffix in ((parity_images, ""), (extra_images, "_extra")):
        wanted = listing(name)[f"stage1_uint8{suffix}"]["sha256"]
        grey = [family.stretched(image).tobytes() for image in images]
        assert [hashlib.sha256(one).hexdigest() for one in grey] == wanted
        canvases = torch.from_numpy(np.stack([recipe.draw(image) for image in images]))
        pixels = family.biovil_pixels(canvases).expand(-1, 3, -1, -1)
        check_pixels(pixels, name, f"pixels{suffix}")
        hashes = [hashlib.sha256(one.numpy().tobytes()).hexdigest() for one in pixels]
        assert hashes == listing(name)[f"pixels{suffix}"]["sha256_per_image"]


def test_a_picture_of_one_value_is_black() -> None:
    assert family.stretched(Image.new("L", (5, 4), 77)).getextrema() == (0, 0)


def test_pictures_of_rare_kinds(parity_images: list[Image.Image]) -> None:
    grey = parity_images[0].convert("L")
    wanted = family.stretched(grey)
    for mode in ("RGB", "P", "CMYK", "F"):
        assert np.abs(np.asarray(family.stretched(grey.convert(mode)), int) - wanted).max() <= 1
    bits = grey.convert("1")
    assert family.stretched(bits).tobytes() == bits.convert("L").tobytes()
    with pytest.raises(OcclusionError, match="values that are not numbers"):
        family.stretched(Image.new("F", (4, 4), float("nan")))


def test_the_sixteen_bits_of_a_corpus_reach_the_canvas(extra_images: list[Image.Image]) -> None:
    """Corpora reduce pictures to 8 bits or drop their transparency, and keep what the file held."""
    recipe = family.stretched_crop(512, 480)
    for at, name in ((2, "10_16bit_448x512.png"), (3, "11_rgba_360x330.png")):
        opened = open_image(PARITY / "images2" / name)
        assert opened.mode in ("L", "RGB")
        assert np.array_equal(recipe.draw(opened), recipe.draw(extra_images[at]))


@pytest.mark.parametrize("name", VARIANTS)
def test_token_ids(
    name: str, bert_vocabulary: Path, tmp_path: Path, parity_texts: list[str]
) -> None:
    write_words(tmp_path / "vocab.txt", bert_vocabulary, 30522)
    rows = rows_of(tmp_path, 30522)(family.prepared_texts(parity_texts, strip=True))
    wanted = arrays(name)["input_ids_batch"]
    found = np.array([row + [0] * (wanted.shape[1] - len(row)) for row in rows])
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("mark", family.REFUSED)
def test_marks_of_the_tokenizer_are_refused_and_no_text_is_told(
    mark: str, tiny_encoders: Callable[[str], Encoder]
) -> None:
    with pytest.raises(OcclusionError) as fault:
        tiny_encoders("biovil-plain").encode_texts(["normal", f"secret {mark} words"])
    assert f"1 of 2 texts hold the literal {mark}" in fault.value.problem
    assert "secret" not in str(fault.value)


# Each line of UPSTREAM2.md 1.5: the error of the wrong choice, on the items that show it ----------


one_model = pytest.mark.parametrize("variant", ["biovil"], indirect=True)
"""Both models prepare pictures and texts alike, and the oracle's text halves are the same."""


def cropped(image: Image.Image, side: int, *, resize: int = 512, by: str = "bilinear") -> Any:
    return floats(central(shorter_side(image, resize, by), side))


def floats(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image, np.float32))[None, None] / 255


def rounded(image: Image.Image) -> Image.Image:
    values = stored(image).astype(np.float64)
    values = (values - values.min()) / np.ptp(values) * 255
    return Image.fromarray(np.rint(values).astype(np.uint8)).convert("L")


def top_byte(image: Image.Image) -> Image.Image:
    return Image.fromarray((stored(image) >> 8).astype(np.uint8))


def rounded_length(image: Image.Image, side: int) -> torch.Tensor:
    grey = family.stretched(image)
    scale = 512 / min(grey.size)
    sizes = [round(length * scale) for length in grey.size]
    return floats(central(grey.resize((sizes[0], sizes[1]), Image.Resampling.BILINEAR), side))


def rounded_down(image: Image.Image, side: int) -> torch.Tensor:
    grey = shorter_side(family.stretched(image), 512, "bilinear")
    left, top = ((length - side) // 2 for length in grey.size)
    return floats(grey.crop((left, top, left + side, top + side)))


def not_antialiased(image: Image.Image, side: int) -> torch.Tensor:
    pixels = floats(family.stretched(image))
    short, long = sorted(pixels.shape[-2:])
    upright = pixels.shape[-2] >= pixels.shape[-1]
    size = (int(512 * long / short), 512) if upright else (512, int(512 * long / short))
    resized = torch.nn.functional.interpolate(pixels, size, mode="bilinear", align_corners=False)
    top, left = (round((length - side) / 2) for length in size)
    found: torch.Tensor = resized[..., top : top + side, left : left + side]
    return found


def stretched(image: Image.Image, side: int, **how: Any) -> Any:
    return cropped(family.stretched(image), side, **how)


def imagenet(image: Image.Image, side: int) -> torch.Tensor:
    mean = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1)
    std = torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)
    # The tower convolves one channel with the sum of its kernels: equal channels only.
    wrong: torch.Tensor = (stretched(image, side) - mean.mean()) / std.mean()
    return wrong


WRONG_PIXELS: dict[str, tuple[list[int], Callable[[Image.Image, int], torch.Tensor]]] = {
    "not stretched": ([0, 1, 8, 9, 11], lambda i, s: cropped(i.convert("L"), s)),
    "stretched to the nearest": ([0, 11], lambda i, s: cropped(rounded(i), s)),
    "cut to 8 bits first": ([10], lambda i, s: cropped(family.stretched(top_byte(i)), s)),
    "grey first": ([5, 9, 11], lambda i, s: stretched(i.convert("L"), s)),
    "without transparency": ([11], lambda i, s: stretched(i.convert("RGB"), s)),
    "stretched last": (
        [0, 3, 8],
        lambda i, s: floats(
            family.stretched(central(shorter_side(i.convert("L"), 512, "bilinear"), s))
        ),
    ),
    "longer side rounded": ([1, 5, 12], rounded_length),
    "without antialias": ([0, 9], not_antialiased),
    "the other crop": ([0, 13], lambda i, s: stretched(i, 928 - s)),
    "straight to the crop": ([0, 9], lambda i, s: stretched(i, s, resize=s)),
    "bicubic": ([0, 12], lambda i, s: stretched(i, s, by="bicubic")),
    "ImageNet's statistics": ([0, 11], imagenet),
}


@pytest.mark.slow
@one_model
@pytest.mark.parametrize("choice", WRONG_PIXELS)
def test_wrong_pixels(
    choice: str,
    variant: tuple[str, Path],
    towers: tuple[Any, Any, Any],
    parity_images: list[Image.Image],
    extra_images: list[Image.Image],
) -> None:
    cells, projector, _ = towers
    images, wanted = [*parity_images, *extra_images], of_both(variant[0], "image_emb")
    items, wrong = WRONG_PIXELS[choice]
    with torch.inference_mode():
        for item in items:
            pixels = wrong(images[item], VARIANTS[variant[0]][1])
            found = normalize(projector(cells(pixels)).mean(dim=(2, 3)))
            assert furthest(found[0], wanted[item]) > SHOWN, f"image {item}"


@pytest.mark.slow
def test_margins_are_not_rounded_down(
    variant: tuple[str, Path], towers: tuple[Any, Any, Any], parity_images: list[Image.Image]
) -> None:
    cells, projector, _ = towers
    pixels = rounded_down(odd_margin(parity_images), VARIANTS[variant[0]][1])
    with torch.inference_mode():
        found = normalize(projector(cells(pixels)).mean(dim=(2, 3)))
    assert furthest(found, arrays(variant[0])["image_emb_oddmargin"]) > SHOWN


def no_prior(cells: torch.Tensor) -> torch.Tensor:
    return torch.cat([cells[:, :256], torch.zeros_like(cells[:, 256:])], dim=1)


def prior_first(cells: torch.Tensor) -> torch.Tensor:
    return torch.cat([cells[:, 256:], cells[:, :256]], dim=1)


def averaged(cells: torch.Tensor) -> torch.Tensor:
    return cells.mean(dim=(2, 3), keepdim=True)


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [averaged, no_prior, prior_first])
def test_wrong_cells(
    wrong: Callable[[torch.Tensor], torch.Tensor],
    variant: tuple[str, Path],
    towers: tuple[Any, Any, Any],
    parity_images: list[Image.Image],
) -> None:
    name = variant[0]
    if name == "biovil" and wrong is not averaged:
        wrong = averaged  # it has no vector for a prior radiograph
    cells, projector, _ = towers
    pixels = torch.cat([stretched(image, VARIANTS[name][1]) for image in parity_images[:2]])
    with torch.inference_mode():
        found = normalize(projector(wrong(cells(pixels))).mean(dim=(2, 3)))
    off = np.abs(found.numpy() - arrays(name)["image_emb"][:2]).max(1)
    assert off.min() > SHOWN


SHORT = [0, 1, 2, 8, 9, 13]
LONG = 5
"""The text of the first set that is longer than 256 tokens; the one before it than 77."""


@pytest.fixture
def texts(bert_vocabulary: Path, parity_texts: list[str], extra_texts: list[str]) -> list[str]:
    return [*parity_texts, *extra_texts[:6]]


@pytest.mark.slow
@one_model
@pytest.mark.parametrize(
    ("choice", "items"),
    [
        ({"strip-marks": False}, [0, 1, 2, 3, 6, 8, 13]),
        ({"lower-case": False}, [0, 1, 2, 8, 9]),
        ({"max-tokens": 256}, [LONG]),
        ({"max-tokens": 77}, [LONG - 1, LONG]),
    ],
    ids=str,
)
def test_wrong_texts(
    choice: dict[str, Any],
    items: list[int],
    variant: tuple[str, Path],
    towers: tuple[Any, Any, Any],
    texts: list[str],
) -> None:
    tower = text_tower(towers[2][family.BERT], towers[2][family.HEAD], pool=at_start)
    given = [texts[item] for item in items]
    prepared = family.prepared_texts(given, strip=choice.get("strip-marks", True))
    limit, lower_case = choice.get("max-tokens", 512), choice.get("lower-case", True)
    rows = rows_of(variant[1], 30522, limit=limit, lower_case=lower_case)(prepared)
    assert text_errors(tower, rows, of_both("biovil", "text_emb")[items]).min() > SHOWN


@pytest.mark.slow
@one_model
def test_white_space_stays(
    variant: tuple[str, Path], towers: tuple[Any, Any, Any], texts: list[str]
) -> None:
    assert texts[9] == "No change. "
    tower = text_tower(towers[2][family.BERT], towers[2][family.HEAD], pool=at_start)
    rows = rows_of(variant[1], 30522)([texts[9].strip().rstrip(family.MARKS)])
    assert text_errors(tower, rows, of_both("biovil", "text_emb")[[9]]).min() > SHOWN


@pytest.mark.slow
@one_model
@pytest.mark.parametrize("wrong", ["end", "mean", "head-gelu", "bert-gelu", "bert-eps"])
def test_wrong_text_towers(
    wrong: str,
    variant: tuple[str, Path],
    towers: tuple[Any, Any, Any],
    texts: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bert, head = (towers[2][prefix] for prefix in (family.BERT, family.HEAD))
    pools: dict[str, Pool] = {"end": at_end, "mean": mean_pool}
    tower = text_tower(bert, head, pool=pools.get(wrong, at_start))
    if wrong == "head-gelu":
        monkeypatch.setattr(head.activation, "approximate", "tanh")
    with_other_bert(bert, wrong, monkeypatch)
    given = family.prepared_texts([texts[item] for item in SHORT], strip=True)
    assert (
        text_errors(
            tower, rows_of(variant[1], 30522)(given), of_both("biovil", "text_emb")[SHORT]
        ).min()
        > SHOWN
    )
