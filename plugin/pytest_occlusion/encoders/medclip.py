"""Family ``medclip``: Swin or ResNet50 with Bio_ClinicalBERT (RyanWangZf/MedCLIP)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.assembly import Towers, assemble, by_length
from pytest_occlusion.encoders.base import Encoder, Family
from pytest_occlusion.encoders.bert import (
    BertSizes,
    bert_shapes,
    bert_sizes,
    bert_states,
    padded_rows,
)
from pytest_occlusion.encoders.canvases import padded_square
from pytest_occlusion.encoders.checkpoints import Checkpoint, read_checkpoint
from pytest_occlusion.encoders.options import check_side, choose
from pytest_occlusion.encoders.resnet import ResNetSizes, resnet_shapes, resnet_sizes
from pytest_occlusion.encoders.signatures import refuse_other_families
from pytest_occlusion.encoders.swin import PATCHES, SwinSizes, swin_shapes, swin_sizes
from pytest_occlusion.encoders.vision import (
    is_index,
    pooled_resnet,
    pooled_swin,
    prefixed,
    vision_variant,
)
from pytest_occlusion.encoders.weights import (
    Plan,
    check_plan,
    grey_stem,
    place,
    shape_of,
    under,
    weights_digest,
)
from pytest_occlusion.encoders.wordpiece import load_word_pieces

if TYPE_CHECKING:
    import torch

MEAN = 0.5862785803043838
"""On the 0-1 scale (MedCLIP ``medclip/constants.py``)."""

STD = 0.27950088968644304
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

VISION, TEXT = "vision_model.model.", "text_model.model."
VISION_HEAD, TEXT_HEAD = "vision_model.projection_head.weight", "text_model.projection_head.weight"


def medclip_plan(read: Checkpoint) -> Plan:
    """How a MedCLIP checkpoint fills a MedCLIP; the vision tower is told from the names."""
    ignored = tuple(filter(is_index, read.state))
    state = {name: tensor for name, tensor in read.state.items() if name not in ignored}
    bert = bert_sizes(state, TEXT, read.weights)
    joint = shape_of(state, TEXT_HEAD, 2, read.weights)[0]
    wanted: dict[str, tuple[int, ...]] = {"logit_scale": ()}
    wanted |= prefixed(TEXT, bert_shapes(bert)) | {TEXT_HEAD: (joint, bert.width)}
    vision: SwinSizes | ResNetSizes
    if f"{VISION}conv1.weight" in state:
        vision = resnet_sizes(state, VISION, read.weights)
        wanted |= prefixed(VISION, resnet_shapes(vision))
        wanted[f"{VISION}fc.weight"] = (joint, vision.channels)
    else:
        vision = swin_sizes(state, VISION, read.weights)
        wanted |= prefixed(VISION, swin_shapes(vision)) | {VISION_HEAD: (joint, vision.channels)}
    return Plan("MedCLIP", vision_variant(vision), state, wanted, ignored, (vision, bert))


def medclip_pixels(canvases: torch.Tensor) -> torch.Tensor:
    """uint8 ``[N, 1, S, S]`` -> normalised float32 of that shape; upstream repeats the channel."""
    import torch

    return canvases.to(torch.float32).div_(255).sub_(MEAN).div_(STD)


def _load(
    checkpoint: str | Path,
    tokenizer: str | Path | None,
    device: torch.device,
    precision: str,
    options: Mapping[str, Any],
) -> Encoder:
    padding = choose("padding", options["padding"], PADDINGS)
    resample = choose("resample", options["resample"], RESAMPLINGS)
    side = check_side(options["canvas-size"], SIDE)
    read = read_checkpoint(checkpoint)
    refuse_other_families(read.state, "medclip", read.weights)
    plan = medclip_plan(read)
    check_plan(plan, read.weights)
    vision, bert = plan.sizes
    words = load_word_pieces(
        tokenizer,
        beside=read.path,
        limit=options["max-tokens"],
        lower_case=options["lower-case"],
        positions=bert.positions,
        vocabulary_size=bert.vocabulary,
    )
    weights = place(plan.state, device)
    towers = Towers(
        pixels=medclip_pixels,
        images=_images(weights, vision, side, read.weights),
        texts=by_length(
            text_tower(weights, bert, length=words.limit if padding == "batch77" else 0)
        ),
        device=device,
    )
    return assemble(
        towers,
        words,
        family="medclip",
        variant=plan.variant,
        digest=weights_digest(plan.state),
        canvas=padded_square(side, resample),
        settings={
            "padding": padding,
            "resample": resample,
            "lower-case": options["lower-case"],
            "vocabulary": words.digest,
        },
        precision=precision,
    )


def _images(
    weights: Mapping[str, torch.Tensor], sizes: SwinSizes | ResNetSizes, side: int, path: Path
) -> Callable[[torch.Tensor], torch.Tensor]:
    from torch.nn.functional import linear

    if isinstance(sizes, ResNetSizes):
        own = grey_stem(under(weights, VISION), "conv1.weight")
        pooled = pooled_resnet(own, sizes)
        head = weights[f"{VISION}fc.weight"]
    else:
        own = grey_stem(under(weights, VISION), f"{PATCHES}.weight")
        pooled = pooled_swin(own, sizes, side, path, lambda x: x.mean(1))
        head = weights[VISION_HEAD]
    return lambda pixels: linear(pooled(pixels), head)


def text_tower(
    weights: Mapping[str, torch.Tensor], sizes: BertSizes, *, length: int
) -> Callable[[Sequence[Sequence[int]]], torch.Tensor]:
    """Mean over positions of the mean of three hidden states, projected.

    Upstream averages over padding too, so an embedding there depends on its neighbours. Without
    padding (``length`` 0) only a text's own positions count, which is what upstream gives for a
    text alone; with it every text is padded to ``length``, as in upstream's fullest batches.
    """
    from torch.nn.functional import linear

    bert, head = under(weights, TEXT), weights[TEXT_HEAD]

    def embed(rows: Sequence[Sequence[int]]) -> torch.Tensor:
        ids, mask = padded_rows(rows, head.device, length=length)
        states = bert_states(bert, sizes, ids, mask)
        counted = (mask if not length else mask.new_ones(mask.shape)).unsqueeze(-1).float()
        pooled = [(states[i].float() * counted).sum(1) / counted.sum(1) for i in STATES]
        return linear(sum(pooled[1:], pooled[0]) / len(pooled), head)

    return embed


MEDCLIP = Family(
    "medclip",
    _load,
    {
        "resample": "bicubic",
        "padding": "none",
        "max-tokens": MAX_TOKENS,
        "lower-case": True,
        "canvas-size": SIDE,
    },
    revision=3,
)
