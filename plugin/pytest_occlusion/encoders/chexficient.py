"""Family ``chexficient``: DINOv2's ViT-B/14 with Bio_ClinicalBERT (cwangrun/CheXficient)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from pytest_occlusion.encoders.assembly import Modules, Options, planned_family
from pytest_occlusion.encoders.bert import at_end, bert_of, text_tower, words_of
from pytest_occlusion.encoders.canvases import cropped, normalised
from pytest_occlusion.encoders.checkpoints import Checkpoint
from pytest_occlusion.encoders.clip import CLIP_MEAN, CLIP_STD
from pytest_occlusion.encoders.tokens import by_length
from pytest_occlusion.encoders.vision import vit_of
from pytest_occlusion.encoders.weights import INDICES, Plan, built_from, shape_of

MAX_TOKENS = 256
"""Of the tokenizer (``clipeval/``)."""

IMAGE, IMAGE_HEAD = "image_encoder.model.", "image_projection.projection."
TEXT, TEXT_HEAD = "text_encoder.model.", "text_projection.projection."

UNUSED = (
    *("logit_scale", "prototype", "step_count", "batch_", "pending_ema_"),
    f"{IMAGE}mask_token",
)
"""Beginnings of names that embeddings do not need. Those of the curation of training data have as
many rows as the last batch had, so their shapes are not looked at."""


def chexficient_plan(read: Checkpoint, _: Mapping[str, Any] | None = None) -> Plan:
    """How a checkpoint fills a CheXficient."""
    import torch

    path = read.weights
    ignored = tuple(n for n in read.state if n.startswith(UNUSED) or n.endswith(INDICES))
    state = {name: tensor for name, tensor in read.state.items() if name not in ignored}
    tower, variant, channels = vit_of(state, IMAGE, path)
    bert = bert_of(state, TEXT, path)
    joint = shape_of(state, f"{TEXT_HEAD}weight", 2, path)[0]
    with built_from(path):
        modules = {
            IMAGE: tower,
            IMAGE_HEAD: torch.nn.Linear(channels, joint),
            TEXT: bert,
            TEXT_HEAD: torch.nn.Linear(bert.config.hidden_size, joint),
        }
    return Plan("CheXficient", variant, state, ignored, modules)


def _around(
    read: Checkpoint, plan: Plan, modules: Modules, tokenizer: Any, options: Options
) -> dict[str, Any]:
    tower, head, bert = modules[IMAGE], modules[IMAGE_HEAD], modules[TEXT]
    side = tower.patch_embed.img_size[0]
    return {
        "canvas": cropped(side, "bicubic", convert_first=True, prefix="chexficient"),
        "pixels": partial(normalised, mean=CLIP_MEAN, std=CLIP_STD),
        "images": lambda pixels: head(tower(pixels)),
        "texts": by_length(text_tower(bert, modules[TEXT_HEAD], pool=at_end), bert.device),
        "tokens": words_of(
            bert, tokenizer, beside=read.path, limit=options["max-tokens"], options=options
        ),
        "settings": {"lower-case": options["lower-case"]},
    }


CHEXFICIENT = planned_family(
    "chexficient",
    chexficient_plan,
    _around,
    options={"max-tokens": MAX_TOKENS, "lower-case": True, "weights": ""},
    hub=("model*.safetensors", "pytorch_model*.bin", "pytorch_model*.pth"),
)
