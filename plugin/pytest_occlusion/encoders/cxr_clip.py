"""Family ``cxr-clip``: Swin or ResNet50 with Bio_ClinicalBERT (kakaobrain/cxr-clip)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
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
from pytest_occlusion.encoders.canvases import cropped
from pytest_occlusion.encoders.checkpoints import Checkpoint, read_checkpoint
from pytest_occlusion.encoders.options import check_side
from pytest_occlusion.encoders.resnet import ResNetSizes, resnet_shapes, resnet_sizes
from pytest_occlusion.encoders.signatures import refuse_other_families
from pytest_occlusion.encoders.swin import SwinSizes, swin_shapes, swin_sizes
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
    place,
    shape_of,
    under,
    weights_digest,
)
from pytest_occlusion.encoders.wordpiece import load_word_pieces
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

SWIN, RESNET, TEXT = (
    "image_encoder.image_encoder.",
    "image_encoder.resnet.",
    "text_encoder.text_encoder.",
)
IMAGE_HEAD, TEXT_HEAD = "image_projection.projection", "text_projection.projection"


def cxr_clip_plan(read: Checkpoint) -> Plan:
    """How a CXR-CLIP checkpoint fills a CXR-CLIP; the vision tower is told from the names.

    Raises:
        OcclusionError: The saved configuration asks for another pooling or projection.
    """
    _check_config(read)
    ignored = tuple(filter(is_index, read.state))
    state = {name: tensor for name, tensor in read.state.items() if name not in ignored}
    bert = bert_sizes(state, TEXT, read.weights)
    joint = shape_of(state, f"{TEXT_HEAD}.weight", 2, read.weights)[0]
    wanted: dict[str, tuple[int, ...]] = {"logit_scale": ()}
    wanted |= prefixed(TEXT, bert_shapes(bert))
    vision: SwinSizes | ResNetSizes
    if f"{RESNET}conv1.weight" in state:
        vision = resnet_sizes(state, RESNET, read.weights)
        wanted |= prefixed(RESNET, resnet_shapes(vision))
    else:
        vision = swin_sizes(state, SWIN, read.weights)
        wanted |= prefixed(SWIN, swin_shapes(vision))
    for head, width in ((IMAGE_HEAD, vision.channels), (TEXT_HEAD, bert.width)):
        wanted |= {f"{head}.weight": (joint, width), f"{head}.bias": (joint,)}
    return Plan("CXR-CLIP", vision_variant(vision), state, wanted, ignored, (vision, bert))


def _check_config(read: Checkpoint) -> None:
    """The released files pool at [SEP] and project linearly; nothing else is implemented."""
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


def setting(read: Checkpoint, *keys: str) -> Any:
    """A value from the configuration that upstream's trainer saved, or None."""
    value = read.extras.get("config")
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def cxr_clip_pixels(
    canvases: torch.Tensor, *, mean: Sequence[float], std: Sequence[float]
) -> torch.Tensor:
    """uint8 ``[N, 3, S, S]`` -> normalised float32 of the same shape."""
    import torch

    centre = torch.tensor(mean, device=canvases.device).view(3, 1, 1)
    scale = torch.tensor(std, device=canvases.device).view(3, 1, 1)
    return canvases.to(torch.float32).div_(255).sub_(centre).div_(scale)


def _load(
    checkpoint: str | Path,
    tokenizer: str | Path | None,
    device: torch.device,
    precision: str,
    options: Mapping[str, Any],
) -> Encoder:
    read = read_checkpoint(checkpoint)
    refuse_other_families(read.state, "cxr-clip", read.weights)
    plan = cxr_clip_plan(read)
    check_plan(plan, read.weights)
    vision, bert = plan.sizes
    side = check_side(options["canvas-size"] or setting(read, "base", "image_size") or SIDE, SIDE)
    words = load_word_pieces(
        tokenizer,
        beside=read.path,
        limit=options["max-tokens"] or setting(read, "base", "text_max_length") or MAX_TOKENS,
        lower_case=options["lower-case"],
        positions=bert.positions,
        vocabulary_size=bert.vocabulary,
    )
    weights = place(plan.state, device)
    resnet = isinstance(vision, ResNetSizes)
    mean, std = RESNET_STATISTICS if resnet else SWIN_STATISTICS
    towers = Towers(
        pixels=partial(cxr_clip_pixels, mean=mean, std=std),
        images=_images(weights, vision, side, read.weights),
        texts=by_length(_texts(weights, bert)),
        device=device,
    )
    return assemble(
        towers,
        words,
        family="cxr-clip",
        variant=plan.variant,
        digest=weights_digest(plan.state),
        canvas=cropped(side, "bilinear", convert_first=True, prefix="cxr-clip"),
        settings={"lower-case": options["lower-case"], "vocabulary": words.digest},
        precision=precision,
    )


def _images(
    weights: Mapping[str, torch.Tensor], sizes: SwinSizes | ResNetSizes, side: int, path: Path
) -> Callable[[torch.Tensor], torch.Tensor]:
    from torch.nn.functional import linear

    if isinstance(sizes, ResNetSizes):
        pooled = pooled_resnet(under(weights, RESNET), sizes)
    else:
        # Upstream takes the first token for a class token; Swin has none, so it is a corner's.
        pooled = pooled_swin(under(weights, SWIN), sizes, side, path, lambda x: x[:, 0])
    weight, bias = weights[f"{IMAGE_HEAD}.weight"], weights[f"{IMAGE_HEAD}.bias"]
    return lambda pixels: linear(pooled(pixels), weight, bias)


def _texts(
    weights: Mapping[str, torch.Tensor], sizes: BertSizes
) -> Callable[[Sequence[Sequence[int]]], torch.Tensor]:
    """The last hidden state at [SEP], projected."""
    import torch
    from torch.nn.functional import linear

    bert = under(weights, TEXT)
    weight, bias = weights[f"{TEXT_HEAD}.weight"], weights[f"{TEXT_HEAD}.bias"]

    def embed(rows: Sequence[Sequence[int]]) -> torch.Tensor:
        ids, mask = padded_rows(rows, weight.device)
        last = bert_states(bert, sizes, ids, mask)[-1]
        at = torch.arange(len(rows), device=weight.device), mask.sum(1) - 1
        return linear(last[at], weight, bias)

    return embed


CXR_CLIP = Family(
    "cxr-clip",
    _load,
    # 0 stands for what the file's own configuration says, else upstream's default.
    {"max-tokens": 0, "lower-case": True, "canvas-size": 0},
    revision=2,
)
