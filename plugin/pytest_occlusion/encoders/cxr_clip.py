"""Family ``cxr-clip``: Swin or ResNet50 with Bio_ClinicalBERT (kakaobrain/cxr-clip)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.base import Encoder, Family
from pytest_occlusion.encoders.canvases import check_side, cropped, normalised
from pytest_occlusion.encoders.checkpoints import Checkpoint
from pytest_occlusion.encoders.paired import Layout, text_tower
from pytest_occlusion.encoders.weights import Plan
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import torch

SWIN_STATISTICS = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Mean and std on the 0-1 scale for Swin ("huggingface", cxr-clip ``cxrclip/data``)."""

RESNET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""ImageNet's mean and std on the 0-1 scale, for ResNet50 ("imagenet", same place)."""

SIDE = 224
"""Side of the input in pixels (cxr-clip config ``base.image_size``)."""

MAX_TOKENS = 256
"""At evaluation (cxr-clip config ``base.text_max_length``)."""

LAYOUT = Layout(
    "cxr-clip",
    "CXR-CLIP",
    text=("text_encoder.text_encoder.", "text_projection.projection."),
    swin=("image_encoder.image_encoder.", "image_projection.projection."),
    resnet=("image_encoder.resnet.", "image_projection.projection."),
    bias=True,
    # Upstream takes the first token for a class token; Swin has none, so it is a corner's.
    pool=lambda found: found.last_hidden_state[:, 0],
    grey=False,
)


def cxr_clip_plan(read: Checkpoint) -> Plan:
    """How a CXR-CLIP checkpoint fills a CXR-CLIP.

    Raises:
        OcclusionError: Its trainer's configuration asks for another pooling or projection than
            those of the released files, [SEP] and linear; nothing else is implemented.
    """
    for keys, known in (
        (("model", "text_encoder", "pooling"), "eos"),
        (("model", "projection_head", "name"), "linear"),
    ):
        found = setting(read, *keys)
        if found not in (None, known):
            raise OcclusionError(
                f"{read.weights}: its configuration has {'.'.join(keys)} = {found!r}; only "
                f"{known!r}, as in the released files, is known",
                remedy="write a family for it; see docs/checkpoints.md.",
            )
    return LAYOUT.plan(read)


def setting(read: Checkpoint, *keys: str) -> Any:
    """A value from the configuration that upstream's trainer saved, or None."""
    value = read.extras.get("config")
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def at_end(states: tuple[torch.Tensor, ...], mask: torch.Tensor) -> torch.Tensor:
    """The last hidden state at [SEP]."""
    import torch

    return states[-1][torch.arange(len(mask), device=mask.device), mask.sum(1) - 1]


def _load(
    checkpoint: str | Path,
    tokenizer: str | Path | None,
    device: torch.device,
    precision: str,
    options: Mapping[str, Any],
) -> Encoder:
    read = LAYOUT.read(checkpoint, options)
    plan = cxr_clip_plan(read)
    side = check_side(options["canvas-size"] or setting(read, "base", "image_size") or SIDE, SIDE)
    mean, std = RESNET_STATISTICS if LAYOUT.has_resnet(plan.state) else SWIN_STATISTICS
    return LAYOUT.encoder(
        read,
        plan,
        tokenizer,
        device,
        precision,
        canvas=cropped(side, "bilinear", convert_first=True, prefix="cxr-clip"),
        pixels=partial(normalised, mean=mean, std=std),
        texts=partial(text_tower, pool=at_end),
        limit=options["max-tokens"] or setting(read, "base", "text_max_length") or MAX_TOKENS,
        lower_case=options["lower-case"],
        settings={},
    )


CXR_CLIP = Family(
    "cxr-clip",
    _load,
    # 0 stands for what the file's own configuration says, else upstream's default.
    {"max-tokens": 0, "lower-case": True, "canvas-size": 0, "weights": ""},
    revision=3,
)
