"""DICOM radiographs: stored values to the 8-bit picture that a viewer would show first."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.corpora.images import AGAIN, LARGEST, ImageFault
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

DECODERS = 'pip install "pylibjpeg[all]"'
CONVERT = "convert it to an uncompressed one, for example with gdcmconv --raw, or leave it out"

NEUTRAL = {"SamplesPerPixel": 1, "NumberOfFrames": 1, "PixelRepresentation": 0}
"""What an element counts as that is missing, empty or 0, as archives write them."""

RESCALE = {"RescaleSlope": 1, "RescaleIntercept": 0}
"""The same, where the other of the two is there."""

STARTS = (b"\x02\0\0\0", b"\x08\0", b"\0\x08")
"""First bytes of a file without a preamble: its first element is of group 2, or of group 8."""


def import_pydicom() -> Any:
    """The package that reads DICOM files, made silent; an error if it is not installed."""
    try:
        import pydicom
        import pydicom.pixels
    except ImportError:
        raise OcclusionError(
            "reading DICOM files needs pydicom, which is not installed",
            remedy='pip install "pytest-occlusion[mimic]", or use the JPG release',
        ) from None
    # Its warnings about odd values quote them, and values are names and identifiers.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
    return pydicom


def open_dicom(path: Path, *, max_pixels: int = LARGEST) -> Image.Image:
    """Decode one DICOM radiograph completely: mode ``L``, or ``RGB`` for a colour one.

    The order is the standard's: rescale slope or modality table, then the first window or VOI
    table, then inversion of ``MONOCHROME1``, then 8 bits. Without a window the values that occur
    are spread over the whole range, as the makers of MIMIC-CXR-JPG did.

    Raises:
        ImageFault: A file that is missing, damaged, too large, or not one radiograph.
        OcclusionError: pydicom is not installed.
    """
    import numpy as np
    from PIL import Image

    pydicom = import_pydicom()
    try:
        data = pydicom.dcmread(path, force=_has_no_preamble(path))
    except FileNotFoundError:
        raise ImageFault("no such file", remedy="correct the path") from None
    except Exception as fault:  # whatever a damaged file makes the reader raise
        raise ImageFault(f"cannot be read as DICOM ({_words(fault)})", remedy=AGAIN) from None
    try:
        _fill(data, pydicom)
        if reason := _unusable(data, max_pixels):
            raise ImageFault(reason, remedy=AGAIN)
        if data.get("SamplesPerPixel", 1) != 1:
            colours = pydicom.pixels.pixel_array(data)  # as RGB, whatever the file holds
            return Image.fromarray(np.asarray(colours, dtype=np.uint8), "RGB")
        return Image.fromarray(_grey(data, pydicom))
    except ImageFault:
        raise
    except Exception as fault:  # decoders are many, and so are their exceptions
        why, remedy = _undecoded(data, pydicom)
        problem = f"cannot be decoded ({why or _words(fault)})"
        raise ImageFault(problem, remedy=remedy or AGAIN) from None


def _has_no_preamble(path: Path) -> bool:
    """Whether a file is DICOM from its first byte on, as older devices and archives write it."""
    with path.open("rb") as file:
        head = file.read(132)
    return not head.endswith(b"DICM") and head.startswith(STARTS)


def _fill(data: Any, pydicom: Any) -> None:
    """Give elements that are missing, empty or 0 the value that viewers take them to have."""

    def fill(name: str, value: Any) -> None:
        if not data.get(name):
            setattr(data, name, value)

    implicit, little = data.original_encoding
    explicit = pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian
    syntax = pydicom.uid.ImplicitVRLittleEndian if implicit else explicit
    data.file_meta.setdefault("TransferSyntaxUID", syntax)
    neutral = {**NEUTRAL, **(RESCALE if any(name in data for name in RESCALE) else {})}
    for name, value in neutral.items():
        fill(name, value)
    if data.SamplesPerPixel == 1:
        inverse = data.get("PresentationLUTShape") == "INVERSE"
        fill("PhotometricInterpretation", "MONOCHROME1" if inverse else "MONOCHROME2")
    values = int(data.get("Rows") or 0) * int(data.get("Columns") or 0) * data.SamplesPerPixel
    if values and not data.file_meta.TransferSyntaxUID.is_compressed:
        fill("BitsAllocated", 8 * (len(data.get("PixelData") or b"") // values))
    fill("BitsStored", data.get("BitsAllocated"))
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        if data.get(name) and not data[name][0].get("LUTData"):
            del data[name]  # a table without values, beside which a window may be whole


def _unusable(data: Any, max_pixels: int) -> str:
    """Why a file that was read holds no single radiograph; empty if it does."""
    if not data.get("PixelData"):
        return "has no pixels"
    rows, columns = int(data.get("Rows") or 0), int(data.get("Columns") or 0)
    if rows < 1 or columns < 1 or rows * columns > max_pixels:
        size = f"({rows} x {columns} pixels), where max-pixels allows 1 to {max_pixels:,}"
        return f"has an impossible size {size}"
    frames = int(data.get("NumberOfFrames", 1))
    return f"has {frames} frames, not one" if frames != 1 else ""


def _words(fault: Exception) -> str:
    """What may be said of a fault: messages of decoders quote values and paths."""
    return getattr(fault, "strerror", None) or type(fault).__name__


def _undecoded(data: Any, pydicom: Any) -> tuple[str, str]:
    """What compression nothing here decodes, and what to do; empty if that is not what is wrong."""
    syntax = data.file_meta.TransferSyntaxUID
    if syntax.is_private or not syntax.is_transfer_syntax:
        return "stored in a maker's own way", CONVERT
    if not syntax.is_compressed:
        unnamed = data["PixelData"].is_undefined_length
        return ("compressed, and does not say how", CONVERT) if unnamed else ("", "")
    try:
        decoder = pydicom.pixels.get_decoder(syntax)
    except NotImplementedError:
        return f"stored as {syntax.name}, which nothing decodes here", CONVERT
    # Pillow is found for this one, but it knows 8 bits only.
    needs = syntax == pydicom.uid.JPEGExtended12Bit and data.get("BitsStored") != 8
    if decoder.is_available and not (needs and decoder.missing_dependencies):
        return "", ""
    return f"stored as {syntax.name}, which needs {DECODERS}", DECODERS


def _grey(data: Any, pydicom: Any) -> NDArray[np.uint8]:
    import numpy as np

    values = pydicom.pixels.apply_modality_lut(data.pixel_array, data)
    shown = _windowed(np.asarray(values), data, pydicom)
    if str(data.get("PhotometricInterpretation", "")) == "MONOCHROME1":
        shown = 1.0 - shown
    return np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)


def _windowed(values: NDArray[Any], data: Any, pydicom: Any) -> NDArray[np.float64]:
    """float64, 0 (black) to 1 (white) before inversion; may go beyond, to be clipped."""
    import numpy as np

    if data.get("VOILUTSequence"):
        bits = int(data.VOILUTSequence[0].LUTDescriptor[2])
        looked_up = pydicom.pixels.apply_voi(values.astype(np.int64), data, index=0)
        return np.asarray(np.asarray(looked_up, dtype=np.float64) / (2**bits - 1))
    values = np.asarray(values, dtype=np.float64)
    center, width = _first(data.get("WindowCenter")), _first(data.get("WindowWidth"))
    function = str(data.get("VOILUTFunction") or "LINEAR").upper()
    if center is not None and width is not None and width > (1 if function == "LINEAR" else 0):
        if function == "SIGMOID":
            return np.asarray(1 / (1 + np.exp(-4 * (values - center) / width)))
        if function == "LINEAR_EXACT":
            return np.asarray((values - center) / width + 0.5)
        return np.asarray((values - (center - 0.5)) / (width - 1) + 0.5)
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / (high - low if high > low else 1.0))


def _first(value: Any) -> float | None:
    if hasattr(value, "__len__") and not isinstance(value, str):
        value = value[0] if len(value) else None
    return None if value is None or value == "" else float(value)
