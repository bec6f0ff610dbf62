"""Family ``mgca``: ResNet50 or ViT-B/16 with six layers of BERT (HKU-MedAI/MGCA), global heads.

Upstream's other embeddings, of single patches and words (``local_embed``), are not computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.assembly import Modules, Options, planned_family
from pytest_occlusion.encoders.bert import at_start, bert_of, text_tower, words_of
from pytest_occlusion.encoders.canvases import SIDES
from pytest_occlusion.encoders.checkpoints import Checkpoint
from pytest_occlusion.encoders.mgca_inputs import SIDE, all_cleaned, frame_crop, mgca_pixels
from pytest_occlusion.encoders.tokens import Tokens, by_length, prepared
from pytest_occlusion.encoders.vision import quickened, resnet_of, see_grey, vit_of
from pytest_occlusion.encoders.weights import INDICES, Plan, built_from, shape_of
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import torch

ENLARGED = 299
"""Pixels that ResNet50 enlarges an input of 224 to (``models/backbones/``); others likewise."""

MAX_TOKENS = 112
"""Of a report (``datasets/pretrain_dataset.py``)."""

IMAGE, TEXT = "img_encoder_q.model.", "text_encoder_q.model."
IMAGE_HEAD, TEXT_HEAD = "img_encoder_q.global_embed.head.", "text_encoder_q.global_embed.head."

UNUSED = (
    *(".crossattention.", "_encoder_q.local_embed.", "prototype_layer."),
    *("patch_local_atten_layer.", "word_local_atten_layer."),
)
"""In the names of what pre-training needs and global embeddings do not."""


@cache
def unordered_bert() -> Any:
    """A class of BERT that has no token types and puts every token at position 0.

    Upstream hands its token types, all 0, to a parameter that is that of positions
    (``models/backbones/encoder.py``), and its weights were trained so: the embedding of a text
    depends on its word pieces and not on their order.
    """
    import torch
    from transformers import BertModel

    class NoTypes(torch.nn.Module):
        def forward(self, _: torch.Tensor) -> float:
            return 0.0

    class UnorderedBert(BertModel):  # type: ignore[misc]
        def __init__(self, config: Any, **told: Any) -> None:
            super().__init__(config, **told)
            self.embeddings.token_type_embeddings = NoTypes()

        def forward(self, input_ids: torch.Tensor, **told: Any) -> Any:
            return super().forward(input_ids, position_ids=torch.zeros_like(input_ids), **told)

    return UnorderedBert


def head_of(state: Mapping[str, torch.Tensor], prefix: str, channels: int, path: Path) -> Any:
    """A global head behind so many channels; the norm at its end has no weights of its own."""
    from torch import nn

    hidden = shape_of(state, f"{prefix}0.weight", 2, path)[0]
    joint = shape_of(state, f"{prefix}3.weight", 2, path)[0]
    with built_from(path):
        return nn.Sequential(
            nn.Linear(channels, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, joint),
            nn.BatchNorm1d(joint, affine=False),
        )


def mgca_plan(read: Checkpoint, _: Mapping[str, Any] | None = None) -> Plan:
    """How a checkpoint fills an MGCA."""
    path = read.weights
    if all(name.startswith(IMAGE) for name in read.state):
        raise OcclusionError(
            f"{path}: the image encoder alone ({IMAGE}*); without its head and the text encoder "
            "nothing can be retrieved",
            remedy="give the whole .ckpt of MGCA's pre-training.",
        )
    ignored = tuple(
        n for n in read.state if any(part in n for part in UNUSED) or n.endswith(INDICES)
    )
    state = {name: tensor for name, tensor in read.state.items() if name not in ignored}
    build = vit_of if f"{IMAGE}cls_token" in state else resnet_of
    tower, variant, channels = build(state, IMAGE, path)
    bert = bert_of(state, TEXT, path, untyped=unordered_bert())
    modules = {
        IMAGE: tower,
        IMAGE_HEAD: head_of(state, IMAGE_HEAD, channels, path),
        TEXT: bert,
        TEXT_HEAD: head_of(state, TEXT_HEAD, bert.config.hidden_size, path),
    }
    return Plan("MGCA", f"{variant}, global", state, ignored, modules)


def image_tower(tower: Any) -> Any:
    """Normalised pixels ``[N, 1, S, S]`` -> features ``[N, channels]``.

    A ResNet enlarges them first: to an occluder that is a part of the encoder.
    """
    from torch.nn.functional import interpolate

    resnet = hasattr(tower, "conv1")
    see_grey(tower.conv1 if resnet else tower.patch_embed.proj)
    if not resnet:
        return tower
    quick = quickened(tower)

    def enlarged(pixels: torch.Tensor) -> torch.Tensor:
        side = pixels.shape[-1] * ENLARGED // SIDE
        return quick(interpolate(pixels, (side, side), mode="bilinear", align_corners=True))

    return enlarged


def _words(read: Checkpoint, bert: Any, tokenizer: Any, options: Mapping[str, Any]) -> Tokens:
    words = words_of(
        bert, tokenizer, beside=read.path, limit=options["max-tokens"], options=options
    )
    return prepared(words, all_cleaned) if options["clean"] else words


def _around(
    read: Checkpoint, plan: Plan, modules: Modules, tokenizer: Any, options: Options
) -> dict[str, Any]:
    tower, side = modules[IMAGE], options["canvas-size"]
    trained = tower.patch_embed.img_size[0] if hasattr(tower, "patch_embed") else side
    if side != trained:
        raise OcclusionError(
            f"{read.weights}: its position table is of {trained} x {trained} pixels, and "
            f"canvas-size is {side}",
            remedy=f"set canvas-size = {trained}.",
        )
    seen, head, bert = image_tower(tower), modules[IMAGE_HEAD], modules[TEXT]
    return {
        "canvas": frame_crop(side),
        "pixels": mgca_pixels,
        "images": lambda pixels: head(seen(pixels)),
        "texts": by_length(text_tower(bert, modules[TEXT_HEAD], pool=at_start), bert.device),
        "tokens": _words(read, bert, tokenizer, options),
        "settings": {name: options[name] for name in ("clean", "lower-case")},
    }


MGCA = planned_family(
    "mgca",
    mgca_plan,
    _around,
    options={
        "clean": True,
        "max-tokens": MAX_TOKENS,
        "lower-case": True,
        "canvas-size": SIDE,
        "weights": "",
    },
    choices={"canvas-size": SIDES},
    hub=("*.ckpt", "*.pt", "pytorch_model*.bin"),
)
