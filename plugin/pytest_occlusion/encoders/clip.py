"""Families ``clip`` (openai/CLIP) and ``cxr-repair`` (the same towers, fine-tuned on MIMIC-CXR).

The towers are open_clip's, of the sizes that a state_dict in openai/CLIP's naming tells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.assembly import planned_family
from pytest_occlusion.encoders.base import CanvasRecipe
from pytest_occlusion.encoders.canvases import SIDES, cropped, normalised, padded
from pytest_occlusion.encoders.checkpoints import Checkpoint
from pytest_occlusion.encoders.tokens import Embed, by_length, load_byte_pairs, padded_rows
from pytest_occlusion.encoders.vision import positions_first, quickened, see_grey
from pytest_occlusion.encoders.weights import Plan, block_count, built_from, shape_of
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import torch

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Per channel, on the 0-1 scale (openai/CLIP ``clip/clip.py:_transform``)."""

REPAIR_MEAN, REPAIR_STD = 101.48761, 83.43944
"""On the 0-255 scale (CXR-RePaiR, transform of ``MIMICImageDataset``)."""

REPAIR_CANVAS = 320
"""Side in pixels of the pictures that upstream stores in its h5 file."""


HEAD_WIDTH = 64
"""Channels of one attention head (openai/CLIP ``clip/model.py:build_model``, width // 64)."""

NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")
"""Integers in the published archive that upstream's loader deletes (``build_model``)."""

_PUBLISHED = {
    # (width, layers, patch, input side) -> upstream's name
    (768, (12,), 32, 224): "ViT-B/32",
    (768, (12,), 16, 224): "ViT-B/16",
    (768, (12,), 16, 320): "ViT-B/16@320px",
    (1024, (24,), 14, 224): "ViT-L/14",
    (1024, (24,), 14, 336): "ViT-L/14@336px",
    (64, (3, 4, 6, 3), 0, 224): "RN50",
    (64, (3, 4, 23, 3), 0, 224): "RN101",
    (80, (4, 6, 10, 6), 0, 288): "RN50x4",
    (96, (6, 8, 18, 8), 0, 384): "RN50x16",
    (128, (3, 15, 36, 10), 0, 448): "RN50x64",
}


WEIGHTS = ("open_clip_model*.safetensors", "open_clip_pytorch_model*.bin", "*.pt", "*.pth")
"""Weights files of repositories, best first."""

OPTIONS: Mapping[str, Any] = {"weights": "", "activation": "", "head-width": 0, "text-heads": 0}
"""What shapes do not tell; empty or 0 stands for what the directory's config says, else upstream's.
"""

ACTIVATIONS: Mapping[str, bool | None] = {"": None, "quick-gelu": True, "gelu": False}
"""The option's values -> whether QuickGELU, ``x * sigmoid(1.702 x)``, is computed."""


def clip_plan(read: Checkpoint, options: Mapping[str, Any] = OPTIONS) -> Plan:
    """How a CLIP checkpoint fills a CLIP.

    Of ``model_cfg`` in an ``open_clip_config.json`` beside the tensors only what shapes do not tell
    is taken (heads, activation), where no option tells it.

    Raises:
        OcclusionError: A tensor that decides a size is missing or has the wrong number of axes, or
            the config asks for towers of another kind.
    """
    from open_clip.model import CLIP

    path, config = read.weights, read.config.get("model_cfg", {})
    _check_config(config, path)
    # A TorchScript archive also shows the attention masks, which are no weights.
    ignored = tuple(
        name for name in read.state if name in NOT_WEIGHTS or name.endswith("attn_mask")
    )
    state = {name: tensor for name, tensor in read.state.items() if name not in ignored}

    def shape(name: str, axes: int) -> tuple[int, ...]:
        return shape_of(state, name, axes, path)

    vision: dict[str, Any]
    if resnet := "visual.class_embedding" not in state:
        width = shape("visual.layer1.0.conv1.weight", 4)[0]
        depths = tuple(block_count(state, f"visual.layer{stage}.") for stage in (1, 2, 3, 4))
        side = round((shape("visual.attnpool.positional_embedding", 2)[0] - 1) ** 0.5) * 32
        vision = {"layers": depths, "width": width, "image_size": side}
        published = _PUBLISHED.get((width, depths, 0, side), "")
        variant = published or f"RN-w{width}-l{'-'.join(map(str, depths))}@{side}px"
    else:
        width, _, patch, _ = shape("visual.conv1.weight", 4)
        depth = block_count(state, "visual.transformer.resblocks.")
        side = round((shape("visual.positional_embedding", 2)[0] - 1) ** 0.5) * patch
        rows = shape("visual.transformer.resblocks.0.mlp.c_fc.weight", 2)[0]
        vision = {"layers": depth, "width": width, "image_size": side, "patch_size": patch}
        vision["mlp_ratio"] = (rows + 0.5) / width  # open_clip truncates the product
        published = _PUBLISHED.get((width, (depth,), patch, side), "")
        variant = published or f"ViT-w{width}-l{depth}/{patch}@{side}px"
    text_width = shape("ln_final.weight", 1)[0]
    settled, assumed = _settle(options, config, width if not resnet else 0, text_width)
    vision["head_width"] = settled["head-width"]
    channels, text_heads = width * 32 if resnet else width, settled["text-heads"]
    heads = channels // max(1, settled["head-width"])
    if heads < 1 or channels % heads or text_heads < 1 or text_width % text_heads:
        raise OcclusionError(
            f"{path}: {channels} and {text_width} channels cannot be shared among {heads} vision "
            f"and {text_heads} text heads",
            remedy="give vision_cfg.head_width and text_cfg.heads in open_clip_config.json, or the "
            "options head-width and text-heads.",
        )
    rows = shape("transformer.resblocks.0.mlp.c_fc.weight", 2)[0]
    text = {
        "width": text_width,
        "layers": block_count(state, "transformer.resblocks."),
        "heads": text_heads,
        "mlp_ratio": (rows + 0.5) / text_width,
        "context_length": shape("positional_embedding", 2)[0],
        "vocab_size": shape("token_embedding.weight", 2)[0],
    }
    embedding = shape("text_projection", 2)[1]
    with built_from(path):
        model = CLIP(embedding, vision, text, quick_gelu=settled["quick-gelu"])
    return Plan("CLIP", variant, state, ignored, {"": model}, settled, assumed)


def _settle(
    options: Mapping[str, Any], config: Mapping[str, Any], vit_width: int, text_width: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the towers are built with beyond the shapes, and the part that nothing told."""
    # Towers narrower than one head of 64 have one head.
    narrow = min(HEAD_WIDTH, vit_width) if vit_width else HEAD_WIDTH
    heads = max(1, text_width // HEAD_WIDTH)
    upstream = {"quick-gelu": True, "head-width": narrow, "text-heads": heads}
    told: dict[str, Any] = {}
    if config:  # with open_clip's own defaults
        told["quick-gelu"] = bool(config.get("quick_gelu", False))
        told["head-width"] = int(config.get("vision_cfg", {}).get("head_width", narrow))
        told["text-heads"] = int(config.get("text_cfg", {}).get("heads", 8))
    if (quick := ACTIVATIONS[options["activation"]]) is not None:
        told["quick-gelu"] = quick
    told |= {name: options[name] for name in ("head-width", "text-heads") if options[name]}
    settled = upstream | told
    return settled, {name: value for name, value in settled.items() if name not in told}


PLAIN = {
    "vision_cfg": ("layers", "width", "head_width", "mlp_ratio", "patch_size", "image_size"),
    "text_cfg": ("context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"),
}
"""Keys of an open_clip config that do not change what CLIP's towers compute."""


def _check_config(config: Mapping[str, Any], path: Path) -> None:
    """Refuse a config of other towers: the same tensors would mean another model there."""
    foreign = [
        f"{part}.{key}"
        for part, plain in PLAIN.items()
        for key, value in config.get(part, {}).items()
        if value and key not in plain
    ]
    words = config.get("text_cfg", {}).get("tokenizer_kwargs") or {}
    if set(words) == {"bpe_path"}:  # the vocabulary beside the config, which is read anyway
        foreign.remove("text_cfg.tokenizer_kwargs")
    if foreign:
        raise OcclusionError(
            f"{path}: its open_clip config asks for other towers than CLIP's: {', '.join(foreign)}",
            remedy="set family = 'open-clip' for this model.",
        )


def text_features(model: Any) -> Embed:
    """open_clip's ``encode_text`` for rows that are padded to the longest of the call only.

    Attention looks back only and the feature is read at the end mark, so what follows it cannot
    reach the result.
    """
    import torch

    limit, device = model.context_length, model.logit_scale.device
    causal = torch.full((limit, limit), -torch.inf, device=device).triu_(1)

    def embed(rows: Sequence[Sequence[int]]) -> torch.Tensor:
        ids, _ = padded_rows(rows, device)
        length = ids.shape[1]
        x = model.token_embedding(ids) + model.positional_embedding[:length]
        x = model.transformer(x, attn_mask=causal[:length, :length])
        ends = ids.argmax(dim=-1)  # the end mark has the highest id; the first of them, as upstream
        picked = model.ln_final(x[torch.arange(len(rows), device=device), ends])
        features: torch.Tensor = picked @ model.text_projection
        return features

    return embed


clip_pixels = partial(normalised, mean=CLIP_MEAN, std=CLIP_STD)
"""CLIP's float half: uint8 ``[N, 3, S, S]`` -> normalised float32 of the same shape."""


def repair_pixels(canvases: torch.Tensor, *, side: int, antialias: bool) -> torch.Tensor:
    """CXR-RePaiR's float half, in upstream's order: normalise, then resize without clamping.

    Args:
        canvases: uint8 ``[N, 1, S, S]``; float32 ``[N, 1, side, side]`` comes back, the channel
            that upstream repeats.
        side: Input side of the vision tower in pixels; no resize happens when it is ``S``.
        antialias: False for what torchvision did for tensors when upstream was written (0.8, no
            antialiasing); True for what the same code does with torchvision >= 0.17.
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


def _around(
    read: Checkpoint,
    plan: Plan,
    modules: Mapping[str, Any],
    tokenizer: str | Path | None,
    options: Mapping[str, Any],
    *,
    half: Callable[[Any, int, Mapping[str, Any]], Half],
) -> dict[str, Any]:
    model = modules[""]
    resnet, side = isinstance(model.visual.image_size, int), model.visual.image_size
    positions_first(model, model.logit_scale.device)
    canvas, pixels, settings = half(model, side if resnet else side[0], options)
    return {
        "canvas": canvas,
        "pixels": pixels,
        "settings": settings,
        "images": quickened(model.visual) if resnet else model.visual,
        "texts": by_length(text_features(model), model.logit_scale.device),
        "tokens": load_byte_pairs(
            Path(tokenizer).expanduser() if tokenizer else read.vocabulary,
            limit=model.context_length,
            vocabulary_size=model.vocab_size,
        ),
    }


CLIP = planned_family(
    "clip",
    clip_plan,
    partial(_around, half=_clip_half),
    hub=WEIGHTS,
    options={"fp16-rounded": False, **OPTIONS},
    choices={"activation": ACTIVATIONS},
    revision=4,
)
CXR_REPAIR = planned_family(
    "cxr-repair",
    clip_plan,
    partial(_around, half=_repair_half),
    hub=WEIGHTS,
    options={"antialias": False, "canvas-size": REPAIR_CANVAS, **OPTIONS},
    choices={"activation": ACTIVATIONS, "canvas-size": SIDES},
    revision=5,
)
