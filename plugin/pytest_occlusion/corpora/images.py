"""Decoding: any image file to an 8-bit ``L`` or ``RGB`` picture, or a reason why not."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    from PIL import Image


class ImageFault(OcclusionError):  # noqa: N818 - what it is called everywhere
    """An image that cannot be used; ``reason`` says why without its name, perhaps an identifier."""

    def __init__(self, problem: str, *, remedy: str = "", reason: str = "") -> None:
        """As :class:`OcclusionError`; the reason is the problem where none is given."""
        super().__init__(problem, remedy=remedy)
        self.reason = reason or problem

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling with the reason."""
        return partial(ImageFault, self.problem, remedy=self.remedy, reason=self.reason), ()


SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
"""PIL modes with more than 8 bits, which PIL's own conversion would clip to white."""

DEPTHS = (8, 10, 12, 14, 16)
"""Bits per pixel that detectors and their exports use; 16-bit containers hold all of them."""

LOSSY = (*SIXTEEN_BIT, "LA", "RGBA")
"""PIL modes of which the 8-bit picture has lost something."""

STORED = "stored"
"""Key of ``image.info`` under which a picture of such a mode keeps its file's own samples: models
that stretch a radiograph do so before bits are lost."""

DICOM = (".dcm", ".dicom")
DRAWINGS = ("EPS", "WMF", "EMF")
"""Formats for which Pillow would run another program on what the file says."""

LARGEST = 200_000_000
"""Pixels. Radiographs have up to 20 million; a header that claims more would fill the memory."""

AGAIN = "fetch the file again, or leave it out of the corpus"


def is_dicom(name: str) -> bool:
    """Whether a file of this name is read as DICOM."""
    return name.lower().endswith(DICOM)


def open_image(source: Path | bytes, *, max_pixels: int = LARGEST) -> Image.Image:
    """Decode one image file or its bytes: mode ``L`` (grey input) or ``RGB``, turned upright.

    A 16-bit container holds pixels of 8 to 16 bits and does not say of how many. They are
    scaled from the least of these depths that holds the brightest pixel. Reference loaders take
    the values as they are, which turns every such radiograph white; scaling from 16 bits would
    make one of 12 bits almost black; stretching each from its darkest to its brightest pixel would
    make the exposure of a film depend on one marker. 32-bit containers and floats, which may hold
    anything, are stretched.

    Raises:
        ImageFault: A missing, unreadable, truncated, empty or too large image.
    """
    import numpy as np
    from PIL import Image, ImageOps

    if Image.MAX_IMAGE_PIXELS is not None and max_pixels > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = max_pixels  # it warns beyond its own, and refuses twice that
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise ValueError(f"{width} x {height} pixels, more than max-pixels={max_pixels}")
            if not width * height:
                raise ValueError("it has no pixels")
            if image.format in DRAWINGS:
                raise ValueError("a drawing, not a picture")
            image.load()
            upright = ImageOps.exif_transpose(image)
            picture = _eight_bit(upright)
            if upright.mode in LOSSY:
                picture.info[STORED] = np.asarray(upright)
            return picture
    except FileNotFoundError:
        raise ImageFault("no such file", remedy="correct the path") from None
    except Exception as fault:  # decoders are many, and so are their exceptions
        bomb = isinstance(fault, (Image.DecompressionBombError, Image.DecompressionBombWarning))
        reason = f"more than max-pixels={max_pixels}" if bomb else _without_name(fault, source)
        raise ImageFault(f"cannot be decoded ({reason})", remedy=AGAIN) from fault


def _without_name(fault: Exception, source: Path | bytes) -> str:
    """What the fault says, without the name of the file."""
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    text = str(fault) if isinstance(fault, (OSError, ValueError, SyntaxError)) else ""
    if isinstance(source, bytes):
        text = text.partition("<_io.")[0]
    else:
        for name in (repr(str(source)), repr(source), str(source)):
            text = text.replace(name, "")
    return text.strip(" '\"") or type(fault).__name__


def _eight_bit(image: Image.Image) -> Image.Image:
    import numpy as np
    from PIL import Image

    if image.mode in ("L", "RGB"):
        return image
    if image.mode in SIXTEEN_BIT:
        values = np.asarray(image, dtype=np.float64)
        if image.mode.startswith("I;16"):
            brightest = values.max()
            low, high = 0.0, float(next(2**n - 1 for n in DEPTHS if 2**n > brightest))
        else:  # 32-bit containers do not say how many bits they use
            low, high = float(values.min()), float(values.max())
            if not np.isfinite(high - low):
                raise ValueError("it has pixels that are not finite")
        span = high - low if high > low else 1.0
        return Image.fromarray(np.rint((values - low) * (255 / span)).astype(np.uint8))
    if image.mode in ("1", "LA", "La"):
        return image.convert("L")
    if image.mode == "P" and image.getcolors(256) is not None:
        colour = image.convert("RGB")
        red, green, blue = colour.split()
        grey = red.tobytes() == green.tobytes() == blue.tobytes()
        return red if grey else colour
    return image.convert("RGB")
