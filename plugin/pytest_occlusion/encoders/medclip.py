"""Family ``medclip``: Swin or ResNet50 with Bio_ClinicalBERT (RyanWangZf/MedCLIP)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.canvases import SIDES, normalised, padded_square
from pytest_occlusion.encoders.checkpoints import Checkpoint
from pytest_occlusion.encoders.paired import Layout

if TYPE_CHECKING:
    import torch

MEAN, STD = 0.5862785803043838, 0.27950088968644304
"""On the 0-1 scale (MedCLIP ``medclip/constants.py``)."""

SIDE = 224
"""Side of the input in pixels (MedCLIP ``medclip/constants.py``)."""

MAX_TOKENS = 77
"""Of the tokenizer (MedCLIP ``medclip/dataset.py``, ``model_max_length``)."""

STATES = (1, 2, -1)
"""Hidden states whose mean is the text feature (MedCLIP ``medclip/modeling_medclip.py``)."""

PADDINGS = ("none", "batch77")
"""Each text on its own, or padded to ``max-tokens`` as in a batch that holds a longest text."""

RESAMPLINGS = ("bicubic", "bilinear")
"""Of upstream's feature extractor (its README), and of its evaluation datasets."""

medclip_pixels = partial(normalised, mean=MEAN, std=STD)
"""uint8 ``[N, 1, S, S]`` -> normalised float32 of that shape; upstream repeats the channel."""


def mean_of_states(states: tuple[torch.Tensor, ...], counted: torch.Tensor) -> torch.Tensor:
    """Mean over the positions that count of the mean of three hidden states.

    Upstream averages over padding too, so an embedding there depends on its neighbours. Without
    padding only a text's own positions count, which is what upstream gives for a text alone; with
    it every text is padded to one length, as in upstream's fullest batches.
    """
    weight = counted.unsqueeze(-1).float()
    pooled = [(states[at].float() * weight).sum(1) / weight.sum(1) for at in STATES]
    return sum(pooled[1:], pooled[0]) / len(pooled)


def _inputs(_: Checkpoint, options: Mapping[str, Any], *, resnet: bool) -> dict[str, Any]:
    limit, padding, resample = (options[name] for name in ("max-tokens", "padding", "resample"))
    return {
        "canvas": padded_square(options["canvas-size"], resample),
        "pixels": medclip_pixels,
        "limit": limit,
        "length": limit if padding == "batch77" else 0,
        "settings": {"padding": padding, "resample": resample},
    }


LAYOUT = Layout(
    "medclip",
    "MedCLIP",
    text=("text_model.model.", "text_model.projection_head."),
    swin=("vision_model.model.", "vision_model.projection_head."),
    resnet=("vision_model.model.", "vision_model.model.fc."),
    bias=False,
    image_pool=lambda found: found.pooler_output,  # the mean over the final tokens
    text_pool=mean_of_states,
    grey=True,
    inputs=_inputs,
)

MEDCLIP = LAYOUT.as_family(
    hub=("pytorch_model*.bin", "*.pt", "*.pth"),
    options={
        "resample": "bicubic",
        "padding": "none",
        "max-tokens": MAX_TOKENS,
        "lower-case": True,
        "canvas-size": SIDE,
        "weights": "",
    },
    choices={"resample": RESAMPLINGS, "padding": PADDINGS, "canvas-size": SIDES},
    revision=4,
)
