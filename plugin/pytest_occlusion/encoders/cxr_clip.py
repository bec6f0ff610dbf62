"""Family ``cxr-clip``: Swin or ResNet50 with Bio_ClinicalBERT (kakaobrain/cxr-clip)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from pytest_occlusion.encoders.bert import at_end
from pytest_occlusion.encoders.canvases import SIDES, cropped, normalised
from pytest_occlusion.encoders.checkpoints import Checkpoint
from pytest_occlusion.encoders.paired import Layout, setting
from pytest_occlusion.errors import OcclusionError

SWIN_STATISTICS = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Mean and std on the 0-1 scale for Swin ("huggingface", cxr-clip ``cxrclip/data``)."""

RESNET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""ImageNet's mean and std on the 0-1 scale, for ResNet50 ("imagenet", same place)."""

SIDE = 224
"""Side of the input in pixels (cxr-clip config ``base.image_size``)."""

MAX_TOKENS = 256
"""At evaluation (cxr-clip config ``base.text_max_length``)."""


def _inputs(read: Checkpoint, options: Mapping[str, Any], *, resnet: bool) -> dict[str, Any]:
    side = options["canvas-size"] or setting(read, "base", "image_size") or SIDE
    if side not in SIDES:
        raise OcclusionError(
            f"{read.weights}: its configuration has base.image_size = {side!r}",
            remedy=f"set canvas-size = {SIDE}, unless the weights were trained on another canvas.",
        )
    mean, std = RESNET_STATISTICS if resnet else SWIN_STATISTICS
    return {
        "canvas": cropped(side, "bilinear", convert_first=True, prefix="cxr-clip"),
        "pixels": partial(normalised, mean=mean, std=std),
        "limit": options["max-tokens"] or setting(read, "base", "text_max_length") or MAX_TOKENS,
        "length": 0,
        "settings": {},
    }


LAYOUT = Layout(
    "cxr-clip",
    "CXR-CLIP",
    text=("text_encoder.text_encoder.", "text_projection.projection."),
    swin=("image_encoder.image_encoder.", "image_projection.projection."),
    resnet=("image_encoder.resnet.", "image_projection.projection."),
    bias=True,
    # Upstream takes the first token for a class token; Swin has none, so it is a corner's.
    image_pool=lambda found: found.last_hidden_state[:, 0],
    text_pool=at_end,
    grey=False,
    inputs=_inputs,
    released={
        ("model", "text_encoder", "pooling"): "eos",
        ("model", "projection_head", "name"): "linear",
    },
)

CXR_CLIP = LAYOUT.as_family(
    hub=("*.tar", "*.ckpt", "*.pt", "*.pth", "pytorch_model*.bin"),
    # 0 stands for what the file's own configuration says, else upstream's default.
    options={"max-tokens": 0, "lower-case": True, "canvas-size": 0, "weights": ""},
    choices={"canvas-size": range(SIDES.stop)},
    revision=3,
)
