"""Decoding: any image file to an 8-bit ``L`` or ``RGB`` picture, or a reason why not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    from PIL import Image


class ImageFault(OcclusionError):  # noqa: N818 - what it is called everywhere
    """An image that cannot be used.

    Attributes:
        reason: Why, without the file's name: that may be an identifier.
    """

    def __init__(self, problem: str, *, remedy: str = "", reason: str = "") -> None:
        """As :class:`OcclusionError`, with the nameless reason beside it."""
        super().__init__(problem, remedy=remedy)
        self.reason = reason or problem

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling with the reason."""
        return _rebuild, (self.problem, self.remedy, self.reason)


def _rebuild(problem: str, remedy: str, reason: str) -> ImageFault:
    return ImageFault(problem, remedy=remedy, reason=reason)


SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
"""PIL modes with more than 8 bits, which PIL's own conversion would clip to white."""


def open_image(path: Path) -> Image.Image:
    """Decode one image file completely.

    16-bit images are scaled from their full range: upstream loaders leave that to the caller, and
    clipping would turn a radiograph white.

    Args:
        path: A file in any format that PIL reads.

    Returns:
        A PIL image of mode ``L`` (grey input) or ``RGB``, upright if the file has an orientation.

    Raises:
        ImageFault: A missing, unreadable, truncated or empty image. The message names the file.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.load()
            return _eight_bit(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise ImageFault(
            f"{path}: no such file", remedy="correct the path", reason="no such file"
        ) from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        reason = _without_name(fault, path)
        raise ImageFault(
            f"{path}: cannot be decoded ({reason})",
            remedy="fetch the file again, or leave it out of the corpus",
            reason=f"cannot be decoded ({reason})",
        ) from fault


def _without_name(fault: Exception, path: Path) -> str:
    """What the fault says, without the name of the file."""
    if isinstance(fault, OSError) and fault.strerror:
        return fault.strerror
    text = str(fault)
    for name in (repr(str(path)), repr(path), str(path)):
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
            low, high = 0.0, 65535.0
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
