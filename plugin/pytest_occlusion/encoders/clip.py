"""Families ``clip`` (openai/CLIP) and ``cxr-repair`` (the same towers, fine-tuned on MIMIC-CXR)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.assembly import Towers, assemble, by_length
from pytest_occlusion.encoders.base import CanvasRecipe, Encoder, Family
from pytest_occlusion.encoders.canvases import check_side, cropped, normalised, padded
from pytest_occlusion.encoders.checkpoints import read_checkpoint
from pytest_occlusion.encoders.clip_model import ACTIVATIONS, OPTIONS, clip_plan, text_features
from pytest_occlusion.encoders.signatures import refuse_other_families
from pytest_occlusion.encoders.tokens import load_byte_pairs
from pytest_occlusion.encoders.vision import quickened, see_grey
from pytest_occlusion.encoders.weights import choose, fill

if TYPE_CHECKING:
    import torch

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Per channel, on the 0-1 scale (openai/CLIP ``clip/clip.py:_transform``)."""

REPAIR_MEAN, REPAIR_STD = 101.48761, 83.43944
"""On the 0-255 scale (CXR-RePaiR, transform of ``MIMICImageDataset``)."""

REPAIR_CANVAS = 320
"""Side in pixels of the pictures that upstream stores in its h5 file."""


clip_pixels = partial(normalised, mean=CLIP_MEAN, std=CLIP_STD)
"""CLIP's float half: uint8 ``[N, 3, S, S]`` -> normalised float32 of the same shape."""


def repair_pixels(canvases: torch.Tensor, *, side: int, antialias: bool) -> torch.Tensor:
    """CXR-RePaiR's float half, in upstream's order: normalise, then resize without clamping.

    Args:
        canvases: uint8 ``[N, 1, S, S]``.
        side: Input side of the vision tower in pixels; no resize happens when it is ``S``.
        antialias: False for what torchvision did for tensors when upstream was written (0.8, no
            antialiasing); True for what the same code does with torchvision >= 0.17.

    Returns:
        Normalised float32 ``[N, 1, side, side]``: the channel that upstream repeats.
    """
    import torch
    from torch.nn.functional import interpolate

    grey = canvases.to(torch.float32).sub_(REPAIR_MEAN).div_(REPAIR_STD)
    if canvases.shape[-1] != side:
        size = (side, side)
        grey = interpolate(grey, size, mode="bicubic", align_corners=False, antialias=antialias)
    return grey


Half = tuple[CanvasRecipe, Callable[..., Any], dict[str, str | int | float | bool]]
"""What a family adds to the towers: its canvas, its float half, and its settings."""


def _clip_half(model: Any, side: int, options: Mapping[str, Any]) -> Half:
    if rounded := options["fp16-rounded"]:
        from open_clip.model import convert_weights_to_lp

        convert_weights_to_lp(model)  # what upstream's CPU path computes with, norms and tables not
        model.float()
    canvas = cropped(side, "bicubic", convert_first=False, prefix="clip")
    return canvas, clip_pixels, {"fp16-rounded": rounded}


def _repair_half(model: Any, side: int, options: Mapping[str, Any]) -> Half:
    antialias, stored = options["antialias"], options["canvas-size"]
    see_grey(model.visual.conv1)
    pixels = partial(repair_pixels, side=side, antialias=antialias)
    return padded(stored), pixels, {"antialias": antialias, "canvas-size": stored}


def _load(
    checkpoint: str | Path,
    tokenizer: str | Path | None,
    device: torch.device,
    precision: str,
    options: Mapping[str, Any],
    *,
    family: str,
    half: Callable[[Any, int, Mapping[str, Any]], Half],
) -> Encoder:
    choose("activation", options["activation"], tuple(ACTIVATIONS))
    check_side(options.get("canvas-size", REPAIR_CANVAS), REPAIR_CANVAS)
    read = read_checkpoint(checkpoint, options["weights"])
    refuse_other_families(read.state, family, read.weights, also="clip")
    plan = clip_plan(read, options)
    modules, digest = fill(plan, read.weights, device)
    model: Any = modules[""]
    resnet, side = isinstance(model.visual.image_size, int), model.visual.image_size
    canvas, pixels, settings = half(model, side if resnet else side[0], options)
    pairs = load_byte_pairs(
        Path(tokenizer).expanduser() if tokenizer else read.vocabulary,
        limit=model.context_length,
        vocabulary_size=model.vocab_size,
    )
    return assemble(
        Towers(
            pixels=pixels,
            images=quickened(model.visual) if resnet else model.visual,
            texts=by_length(text_features(model)),
            device=device,
        ),
        pairs,
        family=family,
        variant=plan.variant,
        digest=digest,
        canvas=canvas,
        settings={**settings, **plan.settled, "vocabulary": pairs.digest},
        precision=precision,
        assumed=plan.assumed,
    )


CLIP = Family(
    "clip",
    partial(_load, family="clip", half=_clip_half),
    {"fp16-rounded": False, **OPTIONS},
    revision=4,
)
CXR_REPAIR = Family(
    "cxr-repair",
    partial(_load, family="cxr-repair", half=_repair_half),
    {"antialias": False, "canvas-size": REPAIR_CANVAS, **OPTIONS},
    revision=5,
)
