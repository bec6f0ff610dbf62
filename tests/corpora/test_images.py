"""Decoding: every mode ends as 8-bit L or RGB with the right values; faults are ImageFaults."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pytest_occlusion.corpora.images import ImageFault, open_image
from pytest_occlusion.corpora.radiographs import open_radiograph

Values = np.ndarray[Any, np.dtype[Any]]

RAMP = np.linspace(0, 255, 48).reshape(6, 8).round().astype(np.uint8)
COLOUR = np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=2)


def saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def opened(path: Path) -> Values:
    image = open_image(path)
    assert image.mode in ("L", "RGB")
    values = np.asarray(image)
    assert values.dtype == np.uint8
    return values


def fault(path: Path) -> ImageFault:
    with pytest.raises(ImageFault) as caught:
        open_image(path)
    error = caught.value
    assert error.remedy
    assert error.reason
    for name in (str(path), path.name, path.stem):
        assert name not in str(error)
    return error


# Modes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.gif", "a.pgm"])
def test_grey(tmp_path: Path, name: str) -> None:
    values = opened(saved(Image.fromarray(RAMP), tmp_path / name))
    assert np.array_equal(values, RAMP)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.ppm"])
def test_colour(tmp_path: Path, name: str) -> None:
    assert np.array_equal(opened(saved(Image.fromarray(COLOUR), tmp_path / name)), COLOUR)


def test_grey_jpeg_stays_grey(tmp_path: Path) -> None:
    values = opened(saved(Image.fromarray(RAMP), tmp_path / "a.jpg", quality=100))
    assert values.ndim == 2
    assert np.abs(values.astype(int) - RAMP).max() <= 3


def test_grey_palette_becomes_grey(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP).convert("P")
    image.putpalette([level for level in range(255, -1, -1) for _ in range(3)])
    values = opened(saved(image, tmp_path / "a.png"))
    assert np.array_equal(values, 255 - np.asarray(image))


def test_colour_palette_becomes_colour(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP).convert("P")
    image.putpalette([value for level in range(256) for value in (level, 255 - level, 7)])
    values = opened(saved(image, tmp_path / "a.png"))
    index = np.asarray(image)
    expected = np.stack([index, 255 - index, np.full_like(index, 7)], axis=2)
    assert np.array_equal(values, expected)


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.fromarray(RAMP).convert("P")
    path = saved(image, tmp_path / "a.png", transparency=3)
    assert opened(path).shape[:2] == RAMP.shape


def test_one_bit(tmp_path: Path) -> None:
    bits = RAMP > 100
    values = opened(saved(Image.fromarray(bits), tmp_path / "a.png"))
    assert np.array_equal(values, bits * np.uint8(255))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_scaled_from_their_full_range(tmp_path: Path, name: str) -> None:
    wide = np.linspace(0, 65535, 48).reshape(6, 8).round().astype(np.uint16)
    values = opened(saved(Image.fromarray(wide), tmp_path / name))
    assert np.array_equal(values, np.rint(wide / 257).astype(np.uint8))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_sixteen_bit_containers_are_scaled_by_the_depth_in_use(
    tmp_path: Path, bits: int, name: str
) -> None:
    """Neither clipped to white, as Pillow's own conversion does, nor dark for want of high bits."""
    wide = np.linspace(0, 2**bits - 1, 48).reshape(6, 8).round().astype(np.uint16)
    values = opened(saved(Image.fromarray(wide), tmp_path / name))
    assert np.array_equal(values, np.rint(wide * (255 / (2**bits - 1))).astype(np.uint8))


@given(st.lists(st.integers(0, 65535), min_size=6, max_size=6))
def test_sixteen_bits_keep_order_and_lose_at_most_two_bits_of_brightness(
    tmp_path_factory: pytest.TempPathFactory, levels: list[int]
) -> None:
    wide = np.array(levels, dtype=np.uint16).reshape(2, 3)
    values = opened(saved(Image.fromarray(wide), tmp_path_factory.getbasetemp() / "a.png"))
    order = np.argsort(wide, axis=None, kind="stable")
    assert (np.diff(values.ravel()[order].astype(int)) >= 0).all()
    if wide.max() > 255:
        assert values.max() >= 63


@pytest.mark.parametrize("ending", ["a.tif", "a.png"])
def test_a_marker_does_not_change_the_exposure(tmp_path: Path, ending: str) -> None:
    film = np.full((6, 8), 1200, dtype=np.uint16)
    marked = film.copy()
    marked[0, 0] = 4095
    dark, bright = film, marked
    dark[0, 0] = 2100
    first = opened(saved(Image.fromarray(dark), tmp_path / f"1{ending}"))
    second = opened(saved(Image.fromarray(bright), tmp_path / f"2{ending}"))
    assert np.array_equal(first[1:], second[1:])


@pytest.mark.parametrize(
    "wide",
    [
        np.linspace(-1000, 3000, 48).reshape(6, 8).astype(np.int32),
        np.linspace(0, 3000, 48).reshape(6, 8).astype(np.int32),
        RAMP.astype(np.float32) / 7,
        np.full((4, 4), 7, dtype=np.int32),
    ],
)
def test_wide_modes_are_scaled_from_least_to_most(tmp_path: Path, wide: Values) -> None:
    values = opened(saved(Image.fromarray(wide), tmp_path / "a.tif"))
    expected = np.rint((wide - wide.min()) * (255 / (np.ptp(wide) or 1)))
    assert np.array_equal(values, expected.astype(np.uint8))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_floats_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    wide = np.ones((4, 4), dtype=np.float32)
    wide[1, 2] = value
    error = fault(saved(Image.fromarray(wide), tmp_path / "hushed.tif"))
    assert "pixels that are not finite" in error.reason


def test_a_mode_without_a_way_to_rgb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(Image.fromarray(COLOUR).convert("CMYK"), tmp_path / "hushed.tif")

    def refuse(*_: object) -> None:
        raise ValueError("conversion not supported")

    monkeypatch.setattr(Image.Image, "convert", refuse)
    assert "conversion not supported" in fault(path).reason


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, lambda v: v),
        (2, lambda v: v[:, ::-1]),
        (3, lambda v: v[::-1, ::-1]),
        (6, lambda v: np.rot90(v, -1)),
        (8, lambda v: np.rot90(v)),
    ],
)
@pytest.mark.parametrize("kind", ["L", "RGB", "I;16"])
def test_pictures_are_turned_upright(
    tmp_path: Path, orientation: int, upright: Callable[[Values], Values], kind: str
) -> None:
    stored = {"L": RAMP, "RGB": COLOUR, "I;16": RAMP.astype(np.uint16) * 257}[kind]
    image = Image.fromarray(stored)
    exif = image.getexif()
    exif[0x0112] = orientation
    path = saved(image, tmp_path / "a.png", exif=exif)
    expected = COLOUR if kind == "RGB" else RAMP
    assert np.array_equal(opened(path), upright(expected))


def test_the_first_of_several_frames(tmp_path: Path) -> None:
    frames = [Image.fromarray(RAMP), Image.fromarray(RAMP[::-1].copy())]
    path = saved(frames[0], tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    assert np.array_equal(opened(path), RAMP)


def test_the_file_is_closed(tmp_path: Path) -> None:
    path = saved(Image.fromarray(RAMP), tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = open_image(path)
    path.unlink()
    assert np.asarray(image).shape == RAMP.shape


@pytest.mark.parametrize("values", [RAMP, COLOUR])
def test_transparency_and_colour_profiles_change_nothing(tmp_path: Path, values: Values) -> None:
    from PIL import ImageCms

    colour = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = colour if values.ndim == 3 else b"\0" * 128
    image = Image.fromarray(values)
    assert np.array_equal(opened(saved(image, tmp_path / "a.png", icc_profile=profile)), values)
    image.putalpha(Image.fromarray(RAMP[::-1].copy()))
    assert image.mode == ("RGBA" if values.ndim == 3 else "LA")
    assert np.array_equal(opened(saved(image, tmp_path / "a.png")), values)


# Faults ------------------------------------------------------------------------------------------


def encoded(kind: str, **options: Any) -> bytes:
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    noise = rng.integers(0, 256, (40, 40), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "PNG", "TIFF", "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.9])
def test_truncated(tmp_path: Path, kind: str, share: float) -> None:
    data = encoded(kind.split()[-1], **({"progressive": True} if " " in kind else {}))
    path = tmp_path / f"hushed.{kind.lower()}"
    path.write_bytes(data[: int(len(data) * share)])
    error = fault(path)
    assert "cannot be decoded" in str(error)
    assert "fetch the file again" in error.remedy


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"hello", b"<html>" * 50, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]
)
def test_not_an_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hushed.png"
    path.write_bytes(content)
    assert "cannot be decoded" in fault(path).reason


@pytest.mark.parametrize("name", ["it's.png", 'a "quoted" one\'s.png', "tab\there.png", "ß.png"])
def test_no_spelling_of_the_name_gets_into_the_reason(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"not an image")
    error = fault(path)
    assert repr(str(path)) not in error.reason
    assert "png" not in error.reason


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    error = fault(tmp_path / "hushed.png")
    assert error.reason == "no such file"
    assert "correct the path" in error.remedy
    (tmp_path / "hushed-folder.png").mkdir()
    assert "cannot be decoded" in fault(tmp_path / "hushed-folder.png").reason


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hushed.png"

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", refuse)
    assert "Permission denied" in fault(path).reason


@pytest.fixture
def pillows_limit(monkeypatch: pytest.MonkeyPatch) -> int:
    """Pillow's own limit, low enough to be in the way."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", RAMP.size // 3)
    return RAMP.size // 3


@pytest.mark.usefixtures("pillows_limit")
@pytest.mark.parametrize("limit", [RAMP.size - 1, RAMP.size // 3, 1])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_decompression_bomb(tmp_path: Path, limit: int) -> None:
    path = saved(Image.fromarray(RAMP), tmp_path / "hushed.png")
    with pytest.raises(ImageFault, match="cannot be decoded") as caught:
        open_image(path, max_pixels=limit)
    assert f"more than max-pixels={limit}" in caught.value.reason
    assert "hushed" not in caught.value.reason


@pytest.mark.parametrize("limit", [RAMP.size - 1, RAMP.size // 3])
def test_a_warning_that_was_made_an_error_is_a_refusal(
    tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    path = saved(Image.fromarray(RAMP), tmp_path / "hushed.png")
    with pytest.raises(ImageFault, match=f"more than max-pixels={limit}"):
        open_image(path, max_pixels=limit)


@pytest.mark.usefixtures("pillows_limit")
def test_the_limit_is_ours_to_set(tmp_path: Path) -> None:
    path = saved(Image.fromarray(RAMP), tmp_path / "a.png")
    assert np.array_equal(np.asarray(open_image(path, max_pixels=RAMP.size)), RAMP)
    assert np.array_equal(opened(path), RAMP)


@pytest.mark.parametrize(
    "content",
    [
        b"P5 0 4 255\n",
        b"P5 4 0 255\n",
        b"GIF89a\0\0\0\0\0\0\0,\0\0\0\0\0\0\0\0\0\x02\0;",
        b"BM" + (54).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
        + (40).to_bytes(4, "little") + bytes(8) + b"\1\0\x18\0" + bytes(24),
    ],
)  # fmt: skip
def test_a_picture_without_pixels(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hushed.img"
    path.write_bytes(content)
    assert "cannot be decoded" in fault(path).reason


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "GIF", "BMP", "WEBP"])
def test_only_our_errors_escape_from_damaged_files(tmp_path: Path, kind: str) -> None:
    data = encoded(kind)
    rng = np.random.default_rng(1)
    path = tmp_path / f"hushed.{kind.lower()}"
    for _ in range(150):
        spoiled = bytearray(data)
        for at in rng.integers(0, min(len(data), 400), rng.integers(1, 6)):
            spoiled[at] = rng.integers(256)
        path.write_bytes(bytes(spoiled))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(ImageFault):
                assert open_image(path).mode in ("L", "RGB")


def test_faults_cross_process_borders(tmp_path: Path) -> None:
    import pickle

    error = fault(tmp_path / "hushed.png")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is ImageFault
    assert str(again) == str(error)
    assert again.reason == error.reason


# What hospitals and websites save ----------------------------------------------------------------


def test_progressive_jpeg(tmp_path: Path) -> None:
    plain = opened(saved(Image.fromarray(RAMP), tmp_path / "a.jpg", quality=95))
    path = saved(Image.fromarray(RAMP), tmp_path / "b.jpg", quality=95, progressive=True)
    assert np.array_equal(opened(path), plain)


def test_pictures_for_print(tmp_path: Path) -> None:
    """CMYK, which writers of JPEG store inverted; PIL undoes that."""
    image = Image.fromarray(COLOUR).convert("CMYK")
    values = opened(saved(image, tmp_path / "a.tif"))
    assert np.array_equal(values, np.asarray(image.convert("RGB")))
    grey = Image.fromarray(RAMP)
    path = saved(Image.merge("RGB", [grey] * 3).convert("CMYK"), tmp_path / "a.jpg", quality=100)
    assert np.abs(opened(path).astype(int) - RAMP[:, :, None]).max() <= 4


def test_whatever_a_decoder_raises_is_a_fault(tmp_path: Path) -> None:
    """Found by fuzzing: the DDS reader raises NotImplementedError."""
    path = saved(Image.fromarray(RAMP), tmp_path / "hushed.dds")
    data = bytearray(path.read_bytes())
    data[80:84] = bytes(4)
    path.write_bytes(bytes(data))
    assert fault(path).reason == "cannot be decoded (NotImplementedError)"


def test_a_drawing_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands EPS to Ghostscript, whatever the file is called."""
    path = saved(Image.fromarray(RAMP), tmp_path / "a.eps").rename(tmp_path / "hushed.png")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", refuse)
    assert "a drawing, not a picture" in fault(path).reason


# Radiographs of a corpus -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hushed.png", "hushed.dcm", "hushed.DICOM"])
def test_a_radiograph_is_called_by_its_row(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageFault, match=r"^row 7: no such file") as caught:
        open_radiograph(tmp_path, name, "row 7")
    assert "hushed" not in str(caught.value)
    assert caught.value.__suppress_context__
    (tmp_path / name).write_bytes(b"hushed")
    with pytest.raises(ImageFault, match=r"^row 7: cannot be ") as caught:
        open_radiograph(tmp_path, name, "row 7")
    assert "hushed" not in str(caught.value)


def test_a_radiograph_has_the_limit_of_its_corpus(tmp_path: Path) -> None:
    saved(Image.fromarray(RAMP), tmp_path / "a.png")
    assert open_radiograph(tmp_path, "a.png", "row 1", RAMP.size).mode == "L"
    with pytest.raises(ImageFault, match="more than max-pixels=47"):
        open_radiograph(tmp_path, "a.png", "row 1", RAMP.size - 1)
