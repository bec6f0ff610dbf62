"""Made-up pictures and reports: no file, no patient, and no torch, so that processes start fast."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

PLACES = ("left", "right", "bilateral", "apical", "basal", "retrocardiac", "hilar", "upper")
FINDINGS = (
    *("opacity", "effusion", "atelectasis", "consolidation", "nodule", "edema", "pneumothorax"),
    *("cardiomegaly", "catheter", "fracture", "scarring", "granuloma"),
)
DEGREES = ("no", "small", "mild", "moderate", "large", "stable", "new", "improved", "subtle")


def report(number: int) -> str:
    """A made-up report; no two numbers have the same."""
    draw = np.random.default_rng([7, number])
    count = int(draw.integers(3, 14))
    sentences = [
        f"{draw.choice(DEGREES)} {draw.choice(PLACES)} {draw.choice(FINDINGS)}."
        for _ in range(count)
    ]
    return f"{' '.join(sentences)} Series {number}, compared with image {number // 3}."


def picture(number: int, width: int, height: int) -> Image.Image:
    """A grey picture with a bright middle, ribs and the grain of a detector."""
    draw = np.random.default_rng([11, number])
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    slope, ribs, turn = draw.uniform(-30, 30), draw.uniform(8, 14), draw.uniform(0, 6)
    lungs = np.exp(-(((np.abs(x) - draw.uniform(0.35, 0.5)) / 0.3) ** 2) - (y / 0.7) ** 2)
    shade = 150 - 90 * lungs + slope * x + 12 * np.sin(ribs * np.pi * (y + 0.3 * x**2) + turn)
    shade = shade.astype(np.float32)
    shade += draw.standard_normal((height, width), dtype=np.float32) * 3
    for _ in range(6):
        left, top = draw.integers(0, width), draw.integers(0, height)
        size = int(draw.integers(width // 20, width // 6))
        shade[top : top + size, left : left + size] += draw.uniform(-25, 25)
    return Image.fromarray(shade.clip(0, 255).astype(np.uint8))


def jpeg(asked: Sequence[int]) -> bytes:
    """A picture (number, width, height) as a JPEG file."""
    file = io.BytesIO()
    picture(*asked).save(file, "JPEG", quality=90)
    return file.getvalue()


def with_comment(file: bytes, comment: str) -> bytes:
    """The same picture in a file of other contents: a comment behind the first mark."""
    text = comment.encode()
    return file[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + file[2:]
