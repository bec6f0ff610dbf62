"""``mgca`` against what upstream's own code gave, and against each choice that would be wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate, normalize

from pytest_occlusion.corpora.images import open_image
from pytest_occlusion.encoders import load_encoder, mgca_inputs
from pytest_occlusion.encoders import mgca as family
from pytest_occlusion.encoders.bert import Pool, at_end, at_start, text_tower
from pytest_occlusion.encoders.canvases import central, normalised
from pytest_occlusion.encoders.checkpoints import read_checkpoint
from pytest_occlusion.encoders.inter_area import inter_area
from pytest_occlusion.encoders.weights import fill

from .formula import PARITY, daily, listing, write_formula_checkpoint, write_words
from .test_parity_clip import TOLERANCE, arrays, check_pixels, furthest
from .wrong import SHOWN, mean_pool, of_both, rows_of, text_errors, with_other_bert

VARIANTS = {"mgca_resnet50": "ResNet50, global", "mgca_vit": "ViT-B/16@224px, global"}

Modules = Mapping[str, Any]
Images = list[Image.Image]
Picture = NDArray[np.uint8]
Draw = Callable[[Image.Image], Picture]


@pytest.fixture(scope="module", params=daily(VARIANTS))
def variant(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """(name, checkpoint with formula weights); 455 or 691 MB, removed at the end."""
    path = tmp_path_factory.mktemp("formula") / "mgca.ckpt"
    yield request.param, write_formula_checkpoint(path, request.param)
    path.unlink()


def filled(path: Path) -> Modules:
    read = read_checkpoint(path)
    return fill(family.mgca_plan(read), read.weights, torch.device("cpu"))[0]


@pytest.fixture(scope="module")
def modules(variant: tuple[str, Path]) -> Modules:
    """Filled by the same plan as the encoder's; the image tower takes one channel."""
    return filled(variant[1])


@pytest.fixture(scope="module")
def tower(modules: Modules) -> Any:
    return family.image_tower(modules[family.IMAGE])


@pytest.fixture
def texts(parity_texts: list[str], extra_texts: list[str]) -> list[str]:
    return [*parity_texts, *extra_texts]


def digests(pictures: Sequence[Any]) -> list[str]:
    return [hashlib.sha256(np.asarray(one).tobytes()).hexdigest() for one in pictures]


def test_embeddings(
    variant: tuple[str, Path],
    items: list[int],
    tmp_path: Path,
    words: Path | None,
    parity_images: Images,
    extra_images: Images,
    texts: list[str],
) -> None:
    name, path = variant
    known, kept = arrays(name), listing(name)["clean_kept"]
    every = len(items) == len(parity_images)
    write_words(tmp_path / "vocab.txt", words, 28996)
    load = partial(load_encoder, "mgca", checkpoint=path, tokenizer=tmp_path, device="cpu")
    encoder = load()
    assert (encoder.variant, encoder.token_limit) == (VARIANTS[name], 112)
    images = [parity_images[item] for item in items]
    assert furthest(encoder.encode_images(images), known["image_emb"][items]) < TOLERANCE
    if every:
        assert furthest(encoder.encode_images(extra_images), known["image_emb_extra"]) < TOLERANCE
    if not words:
        pytest.skip("the texts need ../shared/parity/bert-base-cased-vocab.txt, not shipped")
    reports = [texts[at] for at in kept]
    some = [at for at in range(len(kept)) if every or at in items]
    found = encoder.encode_texts([reports[at] for at in some])
    assert furthest(found, known["text_emb_clean"][some]) < TOLERANCE
    counts = [min(112, count) for count in encoder.count_tokens(reports)]
    assert counts == listing(name)["n_tokens_clean"]
    if not every:
        return
    del encoder
    as_given = load(clean=False)
    assert furthest(as_given.encode_texts(texts), known["text_emb_raw"]) < TOLERANCE
    counts = [min(112, count) for count in as_given.count_tokens(texts)]
    assert counts == listing(name)["n_tokens_raw"]


@pytest.mark.parametrize("name", VARIANTS)
def test_pixels(name: str, parity_images: Images, extra_images: Images) -> None:
    listed = listing(name)
    for images, suffix in ((parity_images, ""), (extra_images, "_extra")):
        grey = [mgca_inputs.grey(image) for image in images]
        if f"stage0_grey{suffix}" in listed:  # kept of one variant only
            assert digests(grey) == listed[f"stage0_grey{suffix}"]["sha256"]
        frames = [mgca_inputs.framed(one, 256) for one in grey]
        assert digests(frames) == listed[f"stage1_uint8{suffix}"]["sha256"]
        canvases = np.stack([mgca_inputs.frame_crop(224).draw(image) for image in images])
        pixels = mgca_inputs.mgca_pixels(torch.from_numpy(canvases)).expand(-1, 3, -1, -1)
        check_pixels(pixels, name, f"pixels{suffix}")
        assert digests(list(pixels)) == listed[f"pixels{suffix}"]["sha256_per_image"]


def test_what_a_corpus_opens_gives_the_same_canvas(extra_images: Images) -> None:
    """Corpora reduce pictures to 8 bits or drop their transparency, and keep what the file held."""
    draw = mgca_inputs.frame_crop(224).draw
    for at, name in ((2, "10_16bit_448x512.png"), (3, "11_rgba_360x330.png")):
        opened = open_image(PARITY / "images2" / name)
        assert np.array_equal(draw(opened), draw(extra_images[at]))


@pytest.mark.parametrize("name", VARIANTS)
def test_cleaned_texts(name: str, texts: list[str]) -> None:
    listed = listing(name)
    cleaned = mgca_inputs.all_cleaned(texts)
    assert [cleaned[at] for at in listed["clean_kept"]] == listed["clean_texts"]


@pytest.mark.parametrize("name", VARIANTS)
def test_token_ids(name: str, bert_vocabulary: Path, texts: list[str]) -> None:
    known = arrays(name)
    cut = rows_of(bert_vocabulary, 28996, limit=112)
    assert cut(texts) == stored_rows(name, "raw")
    kept = [texts[at] for at in listing(name)["clean_kept"]]
    assert cut(mgca_inputs.all_cleaned(kept)) == stored_rows(name, "clean")
    assert known["input_ids_clean"].shape[1] == 112


def stored_rows(name: str, which: str) -> list[list[int]]:
    """Upstream's ids of the cleaned texts or those as given, without padding."""
    ids, mask = (arrays(name)[f"{part}_{which}"] for part in ("input_ids", "attention_mask"))
    return [row[counted > 0].tolist() for row, counted in zip(ids, mask, strict=True)]


# Each line of UPSTREAM2.md 3.4: the error of the wrong choice on every item that shows it ---------


SHAPES = (0, 4, 7)
"""Pictures that are wide, very tall (where most wrong choices show least) and smaller than 224."""

COLOURED = (5, 9)


@pytest.fixture
def images(parity_images: Images, extra_images: Images) -> Images:
    return [*parity_images, *extra_images]


def off_images(
    pixels: torch.Tensor, see: Any, modules: Modules, name: str, items: Sequence[int] = SHAPES
) -> NDArray[Any]:
    """Errors by picture of the embeddings of their pixels."""
    with torch.inference_mode():
        found = normalize(modules[family.IMAGE_HEAD](see(pixels))).numpy()
    errors: NDArray[Any] = np.abs(found - of_both(name, "image_emb")[list(items)]).max(1)
    return errors


def pixels_of(images: Images, draw: Draw, items: Sequence[int] = SHAPES) -> torch.Tensor:
    canvases = np.stack([draw(images[item]) for item in items])
    return mgca_inputs.mgca_pixels(torch.from_numpy(canvases))


def resized_by(kind: Image.Resampling) -> Callable[[Picture, int, int], Picture]:
    return lambda picture, height, width: np.array(
        Image.fromarray(picture).resize((width, height), kind)
    )


def without_crop(image: Image.Image) -> Picture:
    return mgca_inputs.framed(mgca_inputs.grey(image), 224)[None]


def shorter_side(image: Image.Image) -> Picture:
    grey = mgca_inputs.grey(image)
    height, width = (int(side * (256 / min(grey.shape))) for side in grey.shape)
    return np.array(central(Image.fromarray(inter_area(grey, height, width)), 224))[None]


@pytest.mark.slow
def test_towers_as_upstream_has_them(
    variant: tuple[str, Path],
    modules: Modules,
    tower: Any,
    images: Images,
) -> None:
    """What the tests below change one thing of."""
    name = variant[0]
    items = (*SHAPES, *COLOURED)
    pixels = pixels_of(images, mgca_inputs.frame_crop(224).draw, items)
    assert off_images(pixels, tower, modules, name, items).max() < TOLERANCE
    assert off_texts(modules, stored_rows(name, "clean"), name).max() < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["BOX", "BILINEAR", "BICUBIC", "LANCZOS"])
def test_no_resize_of_pillow_will_do(
    kind: str,
    variant: tuple[str, Path],
    modules: Modules,
    tower: Any,
    images: Images,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resize = resized_by(Image.Resampling[kind])
    monkeypatch.setattr("pytest_occlusion.encoders.inter_area.inter_area", resize)
    pixels = pixels_of(images, mgca_inputs.frame_crop(224).draw)
    assert off_images(pixels, tower, modules, variant[0]).min() > SHOWN


@pytest.mark.slow
def test_grey_is_not_that_of_pillow(
    variant: tuple[str, Path],
    modules: Modules,
    tower: Any,
    images: Images,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mgca_inputs, "grey", lambda image: np.array(image.convert("L")))
    pixels = pixels_of(images, mgca_inputs.frame_crop(224).draw, COLOURED)
    assert off_images(pixels, tower, modules, variant[0], COLOURED).min() > SHOWN


@pytest.mark.slow
@pytest.mark.parametrize("draw", [without_crop, shorter_side])
def test_wrong_frames(
    draw: Draw, variant: tuple[str, Path], modules: Modules, tower: Any, images: Images
) -> None:
    pixels = pixels_of(images, draw)
    assert off_images(pixels, tower, modules, variant[0]).min() > SHOWN


@pytest.mark.slow
def test_statistics_are_not_those_of_imagenet(variant: tuple[str, Path], images: Images) -> None:
    name, path = variant
    whole = filled(path)  # whose first convolution still takes three channels
    canvases = [mgca_inputs.frame_crop(224).draw(images[item]) for item in SHAPES]
    given = torch.from_numpy(np.stack(canvases)).expand(-1, 3, -1, -1)

    def see(pixels: torch.Tensor) -> Any:
        if name == "mgca_resnet50":
            pixels = interpolate(pixels, (299, 299), mode="bilinear", align_corners=True)
        return whole[family.IMAGE](pixels)

    half = normalised(given, mean=0.5, std=0.5)
    assert off_images(half, see, whole, name).max() < TOLERANCE
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert off_images(normalised(given, mean=mean, std=std), see, whole, name).min() > SHOWN


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["mgca_resnet50"], indirect=True)
@pytest.mark.parametrize("enlarge", [False, True], ids=["not enlarged", "by centres"])
def test_wrong_enlargements(
    enlarge: bool,
    variant: tuple[str, Path],
    modules: Modules,
    tower: Any,
    images: Images,
) -> None:
    del tower  # it has made the module take one channel
    pixels = pixels_of(images, mgca_inputs.frame_crop(224).draw)
    if enlarge:
        pixels = interpolate(pixels, (299, 299), mode="bilinear", align_corners=False)
    assert off_images(pixels, modules[family.IMAGE], modules, variant[0]).min() > SHOWN


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["mgca_vit"], indirect=True)
def test_gelu_of_the_vit_is_exact(
    variant: tuple[str, Path],
    modules: Modules,
    tower: Any,
    images: Images,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for block in tower.blocks:
        monkeypatch.setattr(block.mlp, "act", torch.nn.GELU("tanh"))
    pixels = pixels_of(images, mgca_inputs.frame_crop(224).draw)
    assert off_images(pixels, tower, modules, variant[0]).min() > SHOWN


def off_texts(
    modules: Modules, rows: list[list[int]], name: str, pool: Pool = at_start
) -> NDArray[Any]:
    """Errors by cleaned text of the embeddings of rows of token ids."""
    embed = text_tower(modules[family.TEXT], modules[family.TEXT_HEAD], pool=pool)
    return text_errors(embed, rows, arrays(name)["text_emb_clean"])


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["end", "mean", "bert-gelu", "bert-eps", "counted"])
def test_wrong_text_towers(
    wrong: str, variant: tuple[str, Path], modules: Modules, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import BertModel

    name, bert = variant[0], modules[family.TEXT]
    if wrong == "counted":  # positions 0, 1, 2, ...
        monkeypatch.setattr(bert, "forward", partial(BertModel.forward, bert))
    with_other_bert(bert, wrong, monkeypatch)
    pools: dict[str, Pool] = {"end": at_end, "mean": mean_pool}
    rows = stored_rows(name, "clean")
    assert off_texts(modules, rows, name, pool=pools.get(wrong, at_start)).min() > SHOWN


@pytest.mark.slow
def test_reports_are_cleaned(variant: tuple[str, Path], modules: Modules) -> None:
    name = variant[0]
    rows = stored_rows(name, "raw")
    kept = [rows[at] for at in listing(name)["clean_kept"]]
    assert off_texts(modules, kept, name).min() > SHOWN


@pytest.mark.slow
@pytest.mark.parametrize("limit", [77, 256])
def test_wrong_limits(
    limit: int,
    variant: tuple[str, Path],
    modules: Modules,
    bert_vocabulary: Path,
    texts: list[str],
) -> None:
    name = variant[0]
    kept = mgca_inputs.all_cleaned([texts[at] for at in listing(name)["clean_kept"]])
    off = off_texts(modules, rows_of(bert_vocabulary, 28996, limit=limit)(kept), name)
    long = np.array(listing(name)["n_tokens_clean"]) == 112
    assert long.sum() == 3
    assert off[long].min() > SHOWN
    assert off[~long].max() < TOLERANCE


@pytest.mark.slow
def test_order_and_padding_of_a_text_do_not_count(
    variant: tuple[str, Path], modules: Modules
) -> None:
    """As upstream's weights were trained: every token is at position 0."""
    rows = stored_rows(variant[0], "clean")
    shuffled = [[row[0], *row[1:-1][::-1], row[-1]] for row in rows]
    assert off_texts(modules, shuffled, variant[0]).max() < TOLERANCE
