"""Checks that any encoder must pass, for a team that brings its own.

In a test module of theirs::

    import pytest
    from pytest_occlusion.encoders.conformance import CHECKS

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_our_encoder(check, our_encoder):
        check(our_encoder)

Each check takes a loaded :class:`Encoder`, needs no data, and raises AssertionError with one
sentence that says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pytest_occlusion.encoders.base import Encoder

if TYPE_CHECKING:
    import torch
    from PIL import Image

TOLERANCE = 1e-6
"""Largest difference of a coordinate of a unit vector between two ways of asking for it."""

HALF_TOLERANCE = 2e-2
"""The same in bf16 and fp16, whose kernels round differently for other batch sizes."""

TEXTS = (
    "No acute cardiopulmonary process.",
    "Findings: small left pleural effusion.  Impression: ___ at 1.2 x 0.8 cm, follow-up advised.",
    "normal",
    "There is a " + "very " * 300 + "large effusion.",
    "Sj\u00f6gren\u2019s syndrome; lungs &amp; pleura clear.",
)
"""Reports: plain, with odd characters, a single word, one longer than any limit, with accents."""


def sample_images() -> list[Image.Image]:
    """Six pictures of noise and structure: oblong, square, small, RGB, black."""
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(7)
    sizes = ((320, 256), (200, 333), (64, 64), (150, 190))
    slopes = [np.linspace(0, 160, size[1])[None] + draw.normal(0, 30, size) for size in sizes]
    pictures = [Image.fromarray(slope.clip(0, 255).astype(np.uint8)) for slope in slopes]
    return [*pictures, pictures[0].convert("RGB"), Image.new("L", (96, 120))]


def check_record(encoder: Encoder) -> None:
    """The record itself: plain settings, a digest, a canvas that says what it draws."""
    digest = encoder.weights_digest
    _require(len(digest) == 64 and set(digest) <= set("0123456789abcdef"), "no SHA-256 digest")
    for name, value in encoder.settings.items():
        _require(isinstance(value, str | int | float | bool), f"setting {name} is no plain value")
    _require(encoder.canvas.channels in (1, 3), "the canvas has neither 1 nor 3 channels")
    _require(encoder.token_limit >= 1, "the token limit is not positive")
    _require(encoder.precision in ("fp32", "bf16", "fp16"), "the precision is unknown")


def check_canvases(encoder: Encoder) -> None:
    """Canvases have the size they claim, 8 bits, and are the same when drawn again."""
    import numpy as np

    canvas = encoder.canvas
    for image in sample_images():
        before = image.tobytes()
        drawn = canvas.draw(image)
        _require(drawn.dtype == np.uint8, f"a canvas is {drawn.dtype}, not uint8")
        size = (canvas.channels, canvas.height, canvas.width)
        _require(drawn.shape == size, f"a canvas is {drawn.shape}, not {size}")
        _require(np.array_equal(drawn, canvas.draw(image)), "drawing twice gives two canvases")
        _require(image.tobytes() == before, "drawing a canvas changes the picture")


def check_embeddings(encoder: Encoder) -> None:
    """float32, finite, of unit norm, and of one dimension for images and texts."""
    import torch

    images, texts = encoder.encode_images(sample_images()), encoder.encode_texts(TEXTS)
    for what, rows, count in (("image", images, 6), ("text", texts, len(TEXTS))):
        _require(rows.dtype == torch.float32, f"{what} embeddings are {rows.dtype}, not float32")
        _require(rows.dim() == 2 and len(rows) == count, f"{what} embeddings are not one row each")
        _require(bool(torch.isfinite(rows).all()), f"{what} embeddings are not finite")
        off = float((rows.norm(dim=1) - 1).abs().max())
        _require(off < 1e-5, f"{what} embeddings are not of unit norm (off by {off:.1e})")
    _require(images.shape[1] == texts.shape[1], "images and texts have different dimensions")


def check_no_collapse(encoder: Encoder) -> None:
    """Different inputs give different embeddings."""
    images, texts = encoder.encode_images(sample_images()[:4]), encoder.encode_texts(TEXTS)
    for what, rows in (("images", images), ("texts", texts)):
        others = (rows[:, None] - rows[None]).abs().amax(-1).fill_diagonal_(1)
        _require(float(others.min()) > 1e-5, f"different {what} have the same embedding")


def check_neighbours(encoder: Encoder) -> None:
    """An embedding depends neither on batch size nor on order nor on what else is in the batch."""
    pictures = sample_images()
    images, texts = encoder.encode_images(pictures), encoder.encode_texts(TEXTS)
    for size in (1, 2, 5):
        again = encoder.encode_images(pictures[::-1], batch_size=size).flip(0)
        _same(encoder, again, images, f"an image embedding depends on its batch of {size}")
        again = encoder.encode_texts(TEXTS[::-1], batch_size=size).flip(0)
        _same(encoder, again, texts, f"a text embedding depends on its batch of {size}")


def check_determinism(encoder: Encoder) -> None:
    """Asking twice gives the same; canvases that are passed in are left alone."""
    import numpy as np
    import torch

    canvases = np.stack([encoder.canvas.draw(image) for image in sample_images()])
    batch = torch.from_numpy(canvases).to(encoder.device)
    before = batch.clone()
    first, second = encoder.embed_canvases(batch), encoder.embed_canvases(batch)
    _require(torch.equal(batch, before), "embedding changes the canvases")
    _same(encoder, second, first, "embedding the same canvases twice gives two results")
    _require(not first.requires_grad, "embeddings carry gradients")


def check_threads(encoder: Encoder) -> None:
    """Several threads may embed at once."""
    pictures = sample_images()
    images, texts = encoder.encode_images(pictures), encoder.encode_texts(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for job in [pool.submit(encoder.encode_images, pictures) for _ in range(4)]:
            _same(encoder, job.result(), images, "threads disturb each other's images")
        for job in [pool.submit(encoder.encode_texts, TEXTS) for _ in range(4)]:
            _same(encoder, job.result(), texts, "threads disturb each other's texts")


def check_tokens(encoder: Encoder) -> None:
    """Tokens are counted before truncation, special tokens included."""
    counts = encoder.count_tokens(TEXTS)
    _require(len(counts) == len(TEXTS), "there is not one token count per text")
    _require(all(count >= 1 for count in counts), "a text has no tokens")
    _require(max(counts) == counts[3] > encoder.token_limit, "an over-long text is counted as cut")


CHECKS: tuple[Callable[[Encoder], None], ...] = (
    *(check_record, check_canvases, check_embeddings, check_no_collapse),
    *(check_neighbours, check_determinism, check_threads, check_tokens),
)
"""All checks, in an order in which the first failure is the most telling."""


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _same(encoder: Encoder, found: torch.Tensor, wanted: torch.Tensor, otherwise: str) -> None:
    tolerance = TOLERANCE if encoder.precision == "fp32" else HALF_TOLERANCE
    off = float((found - wanted).abs().max())
    _require(off <= tolerance, f"{otherwise} (off by {off:.1e})")
