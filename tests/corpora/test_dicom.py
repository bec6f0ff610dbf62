"""DICOM radiographs: rescaling, windows, tables, inversion, 8 bits; faults name no value."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_occlusion.corpora.dicom import open_dicom
from pytest_occlusion.corpora.images import ImageFault
from tests.corpora.mimic import write_dicom

pydicom = pytest.importorskip("pydicom")

RAMP = np.linspace(0, 255, 48).reshape(6, 8).round().astype(np.uint8)
STORED = np.arange(48, dtype=np.uint16).reshape(6, 8) * 80


def opened(path: Path) -> Any:
    image = open_dicom(path)
    values = np.asarray(image)
    assert image.mode == "L"
    assert values.dtype == np.uint8
    return values.astype(int)


def expected(values: Any, low: float, high: float) -> Any:
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(int)


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_a_window_over_all_bits(tmp_path: Path, bits: int) -> None:
    values = opened(write_dicom(tmp_path / "a.dcm", RAMP, bits=bits))
    assert np.abs(values - RAMP).max() <= 1


def test_monochrome1_is_inverted_after_the_window(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, PhotometricInterpretation="MONOCHROME1")
    assert np.abs(opened(path) - (255 - RAMP.astype(int))).max() <= 1


def test_windows(tmp_path: Path) -> None:
    def with_window(center: Any, width: Any, **more: Any) -> Any:
        path = tmp_path / "a.dcm"
        return opened(write_dicom(path, STORED, WindowCenter=center, WindowWidth=width, **more))

    linear = expected(STORED.astype(float), 2000 - 0.5 - 499.5, 2000 - 0.5 + 499.5)
    assert np.array_equal(with_window("2000", "1000"), linear)
    assert np.array_equal(with_window(["2000", "9"], ["1000", "2"]), linear)  # the first of several
    exact = expected(STORED.astype(float), 1500, 2500)
    found = with_window("2000", "1000", VOILUTFunction="LINEAR_EXACT")
    assert np.abs(found - exact).max() <= 1  # halves are rounded this way or that
    sigmoid = 255 / (1 + np.exp(-4 * (STORED.astype(float) - 2000) / 1000))
    found = with_window("2000", "1000", VOILUTFunction="SIGMOID")
    assert np.array_equal(found, np.rint(sigmoid).astype(int))


@pytest.mark.parametrize(("center", "width"), [(None, None), ("", ""), ("5", "0"), ("5", "1")])
def test_without_a_window_all_values_are_spread(tmp_path: Path, center: Any, width: Any) -> None:
    shifted = (STORED + 100).astype(np.uint16)
    path = write_dicom(tmp_path / "a.dcm", shifted, WindowCenter=center, WindowWidth=width)
    assert np.array_equal(opened(path), expected(STORED.astype(float), 0, float(STORED.max())))
    flat = np.full((4, 4), 7, dtype=np.uint16)
    assert set(opened(write_dicom(path, flat, WindowCenter=None, WindowWidth=None)).flat) == {0}


def test_rescaling_comes_before_the_window(tmp_path: Path) -> None:
    path = write_dicom(
        tmp_path / "a.dcm",
        STORED,
        RescaleSlope="2",
        RescaleIntercept="-1000",
        WindowCenter="1000.5",
        WindowWidth="2001",
    )
    assert np.array_equal(opened(path), expected(STORED * 2.0 - 1000, 0, 2000))


@pytest.mark.parametrize(
    ("slope", "intercept", "expected_slope", "expected_intercept"),
    [("", "", 1, 0), ("", "-1004", 1, -1004), ("2", "", 2, 0)],
)
def test_an_empty_slope_or_intercept_counts_as_none(
    tmp_path: Path, slope: str, intercept: str, expected_slope: int, expected_intercept: int
) -> None:
    path = tmp_path / "a.dcm"
    changes: dict[str, Any] = {"WindowCenter": "1000.5", "WindowWidth": "2001"}
    write_dicom(path, STORED, RescaleSlope=slope, RescaleIntercept=intercept, **changes)
    values = opened(path)
    rescaled = STORED * float(expected_slope) + expected_intercept
    assert np.array_equal(values, expected(rescaled, 0, 2000))


def test_other_empty_elements_count_as_none(tmp_path: Path) -> None:
    names = ("SamplesPerPixel", "NumberOfFrames", "VOILUTFunction", "WindowCenter", "WindowWidth")
    empty: dict[str, Any] = dict.fromkeys(names, "")
    path = write_dicom(tmp_path / "a.dcm", STORED, **empty)
    data = pydicom.dcmread(path)
    assert data["VOILUTFunction"].is_empty
    assert np.array_equal(opened(path), expected(STORED.astype(float), 0, float(STORED.max())))


def emptied(path: Path, name: str, *, gone: bool) -> Path:
    """Leave an element out of a file, or leave it without a value."""
    data = pydicom.dcmread(path)
    pixels = data.PixelData
    if gone:
        del data[name]
    else:
        setattr(data, name, None)
    data.PixelData = pixels
    data["PixelData"].VR = "OW"
    data.save_as(path)
    return path


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize(
    "name",
    ["BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation",
     "SamplesPerPixel"],
)  # fmt: skip
def test_what_describes_the_pixels_may_be_empty_or_missing(
    tmp_path: Path, name: str, gone: bool
) -> None:
    path = write_dicom(tmp_path / "a.dcm", STORED)
    whole = opened(path)
    assert np.array_equal(opened(emptied(path, name, gone=gone)), whole)


def test_a_shape_of_grey_says_what_the_interpretation_should(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"PhotometricInterpretation": None, "PresentationLUTShape": "INVERSE"}
    path = write_dicom(tmp_path / "a.dcm", RAMP, **changes)
    assert np.abs(opened(path) - (255 - RAMP.astype(int))).max() <= 1


@pytest.mark.parametrize(("name", "value"), [("RescaleSlope", "2"), ("RescaleIntercept", "-1004")])
def test_a_slope_without_an_intercept_counts(tmp_path: Path, name: str, value: str) -> None:
    changes: dict[str, Any] = {name: value, "WindowCenter": "1000.5", "WindowWidth": "2001"}
    path = write_dicom(tmp_path / "a.dcm", STORED, **changes)
    rescaled = STORED * 2.0 if name == "RescaleSlope" else STORED - 1004.0
    assert np.array_equal(opened(path), expected(rescaled, 0, 2000))


@pytest.mark.parametrize("name", ["ModalityLUTSequence", "VOILUTSequence"])
@pytest.mark.parametrize("described", [False, True])
def test_a_table_without_values_counts_as_none(tmp_path: Path, name: str, described: bool) -> None:
    table = pydicom.Dataset()
    if described:
        table.add_new("LUTDescriptor", "US", [256, 0, 10])
        table.add_new("LUTData", "US", None)
    whole = opened(write_dicom(tmp_path / "a.dcm", STORED))
    changes: dict[str, Any] = {name: pydicom.Sequence([table])}
    assert np.array_equal(opened(write_dicom(tmp_path / "a.dcm", STORED, **changes)), whole)


@pytest.mark.parametrize(
    "name", ["BitsStored", "NumberOfFrames", "RescaleSlope", "SamplesPerPixel"]
)
def test_a_zero_counts_as_none(tmp_path: Path, name: str) -> None:
    """A slope of 0 would make every radiograph black, which nobody would see."""
    whole = opened(write_dicom(tmp_path / "a.dcm", STORED))
    changes: dict[str, Any] = {name: 0}
    assert np.array_equal(opened(write_dicom(tmp_path / "a.dcm", STORED, **changes)), whole)


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("meta", ["kept", "without syntax", "none"])
def test_a_file_without_a_preamble(tmp_path: Path, meta: str, implicit: bool) -> None:
    path = write_dicom(tmp_path / "a.dcm", STORED)
    data = pydicom.dcmread(path)
    whole = opened(path)
    if implicit:
        data.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    data.save_as(path)
    if meta == "kept":
        path.write_bytes(path.read_bytes()[132:])
    else:
        if meta == "none":
            data.file_meta = pydicom.dataset.FileMetaDataset()
        else:
            del data.file_meta.TransferSyntaxUID
        data.preamble = None
        data.save_as(path, implicit_vr=implicit, little_endian=True)
    assert path.read_bytes()[128:132] != b"DICM"
    assert np.array_equal(opened(path), whole)


def test_negative_values(tmp_path: Path) -> None:
    signed = (STORED.astype(np.int16) - 2000).astype(np.int16)
    path = write_dicom(
        tmp_path / "a.dcm",
        signed.view(np.uint16),
        bits=16,
        PixelRepresentation=1,
        WindowCenter=None,
        WindowWidth=None,
    )
    assert np.array_equal(opened(path), expected(signed.astype(float), -2000, signed.max()))


def test_a_voi_table_goes_before_a_window(tmp_path: Path) -> None:
    table = pydicom.Dataset()
    table.LUTDescriptor = [256, 0, 10]
    table.add_new("LUTDescriptor", "US", [256, 0, 10])
    table.add_new("LUTData", "US", [1023 - 4 * number for number in range(256)])
    path = write_dicom(
        tmp_path / "a.dcm", RAMP.astype(np.uint16), VOILUTSequence=pydicom.Sequence([table])
    )
    assert np.array_equal(opened(path), expected(1023 - 4.0 * RAMP, 0, 1023))


def test_colour(tmp_path: Path) -> None:
    colours = np.stack([RAMP, RAMP[::-1], 255 - RAMP], axis=2)
    path = write_dicom(
        tmp_path / "a.dcm",
        RAMP,
        SamplesPerPixel=3,
        PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
        BitsAllocated=8,
        BitsStored=8,
        HighBit=7,
        PixelData=colours.tobytes(),
    )
    image = open_dicom(path)
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), colours)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"PixelData": None}, "has no pixels"),
        ({"PixelData": b""}, "has no pixels"),
        ({"Rows": 0}, "impossible size (0 x 8 pixels)"),
        ({"Rows": 60_000, "Columns": 60_000}, "impossible size (60000 x 60000 pixels)"),
        ({"NumberOfFrames": "3"}, "has 3 frames, not one"),
        ({"PixelData": b"\0" * 10}, "cannot be decoded (ValueError)"),
        ({"BitsAllocated": 12}, "cannot be decoded ("),
    ],
)
def test_faults_of_the_content(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = write_dicom(tmp_path / "hush-name.dcm", RAMP, **changes)
    with pytest.raises(ImageFault) as caught:
        open_dicom(path)
    assert said in caught.value.reason
    assert "hush" not in str(caught.value)
    assert caught.value.remedy


def test_faults_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hush-name.dcm"
    with pytest.raises(ImageFault, match="no such file"):
        open_dicom(path)
    path.write_bytes(b"hush, this is no DICOM file" * 20)
    with pytest.raises(ImageFault) as caught:
        open_dicom(path)
    assert caught.value.reason == "cannot be read as DICOM (InvalidDicomError)"
    path.unlink()
    path.mkdir()
    with pytest.raises(ImageFault, match="Is a directory"):
        open_dicom(path)


@pytest.mark.parametrize("preamble", [True, False])
@pytest.mark.parametrize(
    ("syntax", "bits", "said", "remedy"),
    [
        ("JPEGLosslessSV1", 12, r"stored as JPEG Lossless.*, which needs pip", "pylibjpeg"),
        ("JPEGLSLossless", 12, r"stored as JPEG-LS Lossless.*, which needs pip", "pylibjpeg"),
        ("JPEGExtended12Bit", 12, r"stored as JPEG Extended.*, which needs pip", "pylibjpeg"),
        ("MPEG2MPML", 8, "stored as MPEG2 .*, which nothing decodes here", "gdcmconv"),
        ("1.2.840.113619.5.2", 8, "stored in a maker's own way", "gdcmconv"),
        ("", 8, "compressed, and does not say how", "gdcmconv"),
    ],
)
def test_a_compression_without_decoder(
    tmp_path: Path, syntax: str, bits: int, said: str, remedy: str, preamble: bool
) -> None:
    path = write_dicom(tmp_path / "a.dcm", RAMP, bits=bits)
    data = pydicom.dcmread(path)
    data.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax, pydicom.uid.UID(syntax))
    if not syntax:
        del data.file_meta.TransferSyntaxUID
    data.save_as(path, implicit_vr=False, little_endian=True)
    if not preamble:
        path.write_bytes(path.read_bytes()[132:])
    with pytest.raises(ImageFault, match=said) as caught:
        open_dicom(path)
    assert remedy in caught.value.remedy
    assert "again" not in caught.value.remedy


def test_odd_values_are_neither_warned_of_nor_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """pydicom's warnings quote what they complain of: dates, names and identifiers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = write_dicom(
            tmp_path / "a.dcm", RAMP, StudyDate="hush-date", PatientID="hush" * 40, StudyID="h" * 99
        )
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        assert opened(path).shape == RAMP.shape
    assert "hush" not in caplog.text
