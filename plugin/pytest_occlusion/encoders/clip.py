"""Families ``clip`` (openai/CLIP) and ``cxr-repair`` (the same towers, fine-tuned on MIMIC-CXR)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.assembly import Towers, assemble, by_length
from pytest_occlusion.encoders.base import CanvasRecipe, Encoder, Family
from pytest_occlusion.encoders.bpe import load_byte_pairs
from pytest_occlusion.encoders.canvases import cropped, padded
from pytest_occlusion.encoders.checkpoints import Checkpoint, read_checkpoint
from pytest_occlusion.encoders.clip_model import Sizes, clip_plan
from pytest_occlusion.encoders.clip_towers import clip_weights, image_features, text_features
from pytest_occlusion.encoders.options import check_side
from pytest_occlusion.encoders.signatures import refuse_other_families
from pytest_occlusion.encoders.weights import Plan, check_plan, grey_stem, weights_digest

if TYPE_CHECKING:
    import torch

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
"""Per channel, on the 0-1 scale (openai/CLIP ``clip/clip.py:_transform``)."""

CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Per channel, on the 0-1 scale (openai/CLIP ``clip/clip.py:_transform``)."""

REPAIR_MEAN = 101.48761
"""On the 0-255 scale (CXR-RePaiR, transform of ``MIMICImageDataset``)."""

REPAIR_STD = 83.43944
"""On the 0-255 scale, from the same place."""

REPAIR_CANVAS = 320
"""Side in pixels of the pictures that upstream stores in its h5 file."""


def clip_pixels(canvases: torch.Tensor) -> torch.Tensor:
    """CLIP's float half: uint8 ``[N, 3, S, S]`` -> normalised float32 of the same shape."""
    import torch

    mean = torch.tensor(CLIP_MEAN, device=canvases.device).view(3, 1, 1)
    std = torch.tensor(CLIP_STD, device=canvases.device).view(3, 1, 1)
    return canvases.to(torch.float32).div_(255).sub_(mean).div_(std)


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


def _load_clip(
    checkpoint: str | Path,
    tokenizer: str | Path | None,
    device: torch.device,
    precision: str,
    options: Mapping[str, Any],
) -> Encoder:
    read, plan = _read("clip", checkpoint)
    sizes: Sizes = plan.sizes
    rounded: bool = options["fp16-rounded"]
    weights = clip_weights(_rounded(plan.state) if rounded else plan.state, sizes, device)
    return _encoder(
        "clip",
        read,
        plan,
        weights,
        tokenizer=tokenizer,
        canvas=cropped(sizes.side, "bicubic", convert_first=False, prefix="clip"),
        pixels=clip_pixels,
        settings={"fp16-rounded": rounded},
        precision=precision,
    )


def _load_repair(
    checkpoint: str | Path,
    tokenizer: str | Path | None,
    device: torch.device,
    precision: str,
    options: Mapping[str, Any],
) -> Encoder:
    antialias: bool = options["antialias"]
    side = check_side(options["canvas-size"], REPAIR_CANVAS)
    read, plan = _read("cxr-repair", checkpoint)
    sizes: Sizes = plan.sizes
    weights = clip_weights(grey_stem(plan.state, "visual.conv1.weight"), sizes, device)
    return _encoder(
        "cxr-repair",
        read,
        plan,
        weights,
        tokenizer=tokenizer,
        canvas=padded(side),
        pixels=partial(repair_pixels, side=sizes.side, antialias=antialias),
        settings={"antialias": antialias, "canvas-size": side},
        precision=precision,
    )


CLIP = Family("clip", _load_clip, {"fp16-rounded": False}, revision=3)
CXR_REPAIR = Family(
    "cxr-repair", _load_repair, {"antialias": False, "canvas-size": REPAIR_CANVAS}, revision=4
)


def _read(family: str, checkpoint: str | Path) -> tuple[Checkpoint, Plan]:
    read = read_checkpoint(checkpoint)
    refuse_other_families(read.state, family, read.weights, also="clip")
    plan = clip_plan(read)
    check_plan(plan, read.weights)
    return read, plan


def _rounded(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The values after upstream's ``convert_weights``: what its CPU path computes with.

    Convolutions, linear layers, attention projections and the two output projections pass through
    float16; norms, embeddings and logit_scale do not (openai/CLIP ``clip/model.py``).
    """
    exempt = ("token_embedding.weight", "positional_embedding", "class_embedding", "logit_scale")

    def passes(name: str, tensor: torch.Tensor) -> bool:
        norm = any(part.startswith(("ln_", "bn")) for part in name.split("."))
        # A ResNet block's downsample is (pool, conv, norm): its norm is number 1.
        return (
            tensor.is_floating_point()
            and not norm
            and ".downsample.1." not in name
            and not name.endswith(exempt)
        )

    return {
        name: tensor.half().float() if passes(name, tensor) else tensor
        for name, tensor in state.items()
    }


def _encoder(
    family: str,
    read: Checkpoint,
    plan: Plan,
    weights: Mapping[str, torch.Tensor],
    *,
    tokenizer: str | Path | None,
    canvas: CanvasRecipe,
    pixels: Callable[[torch.Tensor], torch.Tensor],
    settings: Mapping[str, str | int | float | bool],
    precision: str,
) -> Encoder:
    """What the two families share once the weights are in place."""
    sizes: Sizes = plan.sizes
    pairs = load_byte_pairs(
        Path(tokenizer).expanduser() if tokenizer else read.vocabulary,
        limit=sizes.limit,
        vocabulary_size=sizes.vocabulary,
    )
    told: dict[str, str | int | float | bool] = {
        "quick-gelu": sizes.quick_gelu,
        "head-width": sizes.head_width,
        "text-heads": sizes.text_heads,
        "vocabulary": pairs.digest,
    }
    return assemble(
        Towers(
            pixels=pixels,
            images=partial(image_features, weights, sizes),
            texts=by_length(partial(text_features, weights, sizes)),
            device=weights["positional_embedding"].device,
        ),
        pairs,
        family=family,
        variant=plan.variant,
        digest=weights_digest(plan.state),
        canvas=canvas,
        settings={**settings, **told},
        precision=precision,
    )
