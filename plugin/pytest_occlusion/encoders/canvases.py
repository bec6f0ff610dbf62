"""Image preprocessing: decoded radiograph -> uint8 canvas on the host, -> floats on the device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.base import CanvasRecipe
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL import Image

EIGHT_BIT = ("1", "L", "P", "LA", "PA", "La", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")
"""PIL modes with 8-bit samples. The others have no agreed black and white (UPSTREAM.md 6)."""
SIDES = range(1, 4097)
"""Pixels of a canvas; beyond it a size is a slip of the keyboard."""


def normalised(
    canvases: torch.Tensor,
    *,
    mean: float | Sequence[float],
    std: float | Sequence[float],
    factor: float = 0.0,
) -> torch.Tensor:
    """uint8 ``[N, C, H, W]`` -> normalised float32, by channel where given so.

    The statistics are of the 0-1 scale, or of that which multiplying with ``factor`` leads to.
    """
    import torch

    centre, scale = (_by_channel(_plain(some), canvases.device) for some in (mean, std))
    floats = canvases.to(torch.float32)
    floats = floats.mul_(factor) if factor else floats.div_(255)  # not the same in the last bit
    return floats.sub_(centre).div_(scale)


def _plain(some: float | Sequence[float]) -> float | tuple[float, ...]:
    return some if isinstance(some, float | int) else tuple(some)


@lru_cache(maxsize=64)
def _by_channel(some: float | tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Numbers as ``[C, 1, 1]`` on a device.

    Kept, because their way to a GPU waits for all that it was given before: in every forward pass
    it would run dry.
    """
    import torch

    return torch.tensor(some, device=device, dtype=torch.float32).view(-1, 1, 1)


STORED = "stored"
"""Key of ``image.info`` under which corpora hand on the samples that the file itself holds, where
their 8-bit picture has lost some: more than 8 bits, or transparency."""


AS_THEY_ARE = ("L", "RGB", "I", "F")
"""Beginnings of PIL modes whose samples are shades of grey, or of red, green and blue."""


def stored(image: Image.Image) -> NDArray[Any]:
    """A picture's samples as its file holds them: ``[H, W]`` or ``[H, W, C]``, of any dtype.

    Palettes are looked up, other colours than red, green and blue become them, and pictures of one
    bit 0 and 255.
    """
    import numpy as np

    samples: NDArray[Any] | None = image.info.get(STORED)
    if samples is not None and samples.shape[:2] == (image.height, image.width):
        return samples
    if not image.mode.startswith(AS_THEY_ARE):
        image = image.convert({"1": "L", "PA": "RGBA"}.get(image.mode, "RGB"))
    return np.asarray(image)


def cropped(size: int, resample: str, *, convert_first: bool, prefix: str) -> CanvasRecipe:
    """Shorter side to ``size``, then the central square: loses the ends of oblong radiographs.

    Args:
        size: Side of the canvas in pixels.
        resample: ``"bicubic"`` (openai/CLIP ``clip/clip.py:_transform``) or ``"bilinear"``
            (cxr-clip ``cxrclip/data/data_utils.py``), with PIL's own antialiasing.
        convert_first: Convert to RGB before resizing (cxr-clip) rather than after it (CLIP): it
            matters for palette and 1-bit images.
        prefix: Family part of the recipe's name.
    """
    draw = partial(_draw_cropped, size=size, resample=resample, convert_first=convert_first)
    return CanvasRecipe(f"{prefix}-{resample}-crop-{size}", 3, size, size, draw)


def padded(size: int) -> CanvasRecipe:
    """Longer side to ``size``, the whole radiograph on black: CXR-RePaiR's stored h5 picture.

    Upstream's size is 320 pixels (both scripts in ``data_preprocessing/``).
    """
    draw = partial(_draw_padded, size=size)
    return CanvasRecipe(f"cxr-repair-lanczos-pad-{size}", 1, size, size, draw)


def padded_square(size: int, resample: str) -> CanvasRecipe:
    """Black square of side max(size, width, height), then resized to ``size`` pixels: MedCLIP's.

    It resamples ``"bicubic"`` (MedCLIP ``MedCLIPFeatureExtractor``) or ``"bilinear"`` (its
    evaluation datasets), with PIL's own antialiasing.
    """
    draw = partial(_draw_padded_square, size=size, resample=resample)
    return CanvasRecipe(f"medclip-pad-{resample}-{size}", 1, size, size, draw)


def _draw_cropped(
    image: Image.Image, *, size: int, resample: str, convert_first: bool
) -> NDArray[np.uint8]:
    import numpy as np

    check_mode(image)
    if convert_first:
        image = image.convert("RGB")
    image = central(shorter_side(image, size, resample), size).convert("RGB")
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))


def shorter_side(image: Image.Image, size: int, resample: str) -> Image.Image:
    """Torchvision's ``Resize(int)``: the longer side is truncated, not rounded."""
    from PIL import Image

    width, height = image.size
    scaled = int(size * max(image.size) / min(image.size))
    width, height = (size, scaled) if width <= height else (scaled, size)
    if (width, height) == image.size:
        return image
    return image.resize((width, height), Image.Resampling[resample.upper()])


def central(image: Image.Image, size: int) -> Image.Image:
    """Torchvision's ``CenterCrop``: Python's round, so halves go to the even side."""
    left, top = (round((side - size) / 2) for side in image.size)
    return image.crop((left, top, left + size, top + size))


def _draw_padded(image: Image.Image, *, size: int) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import Image

    check_mode(image)
    # The ratio is rounded to a double before it is used and the product is truncated, as upstream
    # does: for 54 of the lengths from 150 to 3999 the longer side becomes size - 1.
    ratio = float(size) / max(image.size)
    width, height = (int(side * ratio) for side in image.size)
    check_oblong((width, height), image.size, size)
    resized = image.resize((width, height), Image.Resampling.LANCZOS)
    # Grey after the resize, as upstream does.
    return np.array(_on_black(resized, size), dtype=np.uint8)[None]


def _draw_padded_square(image: Image.Image, *, size: int, resample: str) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import Image

    check_mode(image)
    side = max(size, *image.size)
    canvas = _on_black(image, side)  # grey before the resize, as upstream does
    if side != size:
        canvas = canvas.resize((size, size), Image.Resampling[resample.upper()])
    return np.array(canvas, dtype=np.uint8)[None]


def _on_black(image: Image.Image, side: int) -> Image.Image:
    """A picture in grey, in the middle of a black square."""
    from PIL import Image

    canvas = Image.new("L", (side, side))
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas


def check_oblong(scaled: tuple[int, int], given: tuple[int, int], size: int) -> None:
    """Refuse a picture of whose width or height nothing would be left on a canvas of ``size``."""
    if min(scaled) < 1:
        raise OcclusionError(
            f"an image of {given[0]} x {given[1]} pixels is too oblong for a canvas of {size} "
            "pixels",
            remedy="check that the file is a radiograph.",
        )


def check_mode(image: Image.Image) -> None:
    """Refuse a picture of which nobody can say what is black and what is white."""
    if image.mode not in EIGHT_BIT:
        raise OcclusionError(
            f"an image of PIL mode {image.mode!r} has no 8-bit samples",
            remedy="reduce it to 8 bits first (with the DICOM window, or by its own range).",
        )
