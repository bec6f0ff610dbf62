"""CLIP's two towers, rebuilt from the shapes of a state_dict and run by open_clip's modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.checkpoints import Checkpoint
from pytest_occlusion.encoders.weights import Plan, block_count, fill, shape_of
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import torch

HEAD_WIDTH = 64
"""Channels of one attention head (openai/CLIP ``clip/model.py:build_model``, width // 64)."""

NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")
"""Integers in the published archive that upstream's loader deletes (``build_model``)."""

_PUBLISHED = {
    # (kind, width, layers, patch, input side) -> upstream's name
    ("vit", 768, (12,), 32, 224): "ViT-B/32",
    ("vit", 768, (12,), 16, 224): "ViT-B/16",
    ("vit", 768, (12,), 16, 320): "ViT-B/16@320px",
    ("vit", 1024, (24,), 14, 224): "ViT-L/14",
    ("vit", 1024, (24,), 14, 336): "ViT-L/14@336px",
    ("resnet", 64, (3, 4, 6, 3), 0, 224): "RN50",
    ("resnet", 64, (3, 4, 23, 3), 0, 224): "RN101",
    ("resnet", 80, (4, 6, 10, 6), 0, 288): "RN50x4",
    ("resnet", 96, (6, 8, 18, 8), 0, 384): "RN50x16",
    ("resnet", 128, (3, 15, 36, 10), 0, 448): "RN50x64",
}


@dataclass(frozen=True)
class Sizes:
    """Everything about the two towers that shapes tell, and the two things that they do not.

    Attributes:
        resnet: Modified ResNet rather than a vision transformer.
        side: Input side in pixels.
        width: Channels of the vision tower (of ResNet's first stage).
        layers: Transformer blocks, or the blocks of ResNet's four stages.
        patch: Side of a patch in pixels; 0 for ResNet.
        head_width: Channels of a vision head. Not in the shapes.
        hidden: Rows of the vision MLP; 0 for ResNet.
        text_width: Channels of the text tower.
        text_layers: Its blocks.
        text_heads: Its attention heads. Not in the shapes.
        text_hidden: Rows of its MLP.
        limit: Its positions.
        vocabulary: Its tokens.
        embedding: Dimension of the joint space.
        quick_gelu: ``x * sigmoid(1.702 x)`` rather than the exact GELU. Not in the shapes.
    """

    resnet: bool
    side: int
    width: int
    layers: tuple[int, ...]
    patch: int
    head_width: int
    hidden: int
    text_width: int
    text_layers: int
    text_heads: int
    text_hidden: int
    limit: int
    vocabulary: int
    embedding: int
    quick_gelu: bool

    @property
    def variant(self) -> str:
        """Upstream's name of the architecture, or its sizes when it has none."""
        key = ("resnet" if self.resnet else "vit", self.width, self.layers, self.patch, self.side)
        if key in _PUBLISHED:
            return _PUBLISHED[key]
        depth = "-".join(map(str, self.layers))
        patch = "" if self.resnet else f"/{self.patch}"
        return f"{'RN' if self.resnet else 'ViT'}-w{self.width}-l{depth}{patch}@{self.side}px"


def infer_sizes(state: Mapping[str, torch.Tensor], config: Mapping[str, Any], path: Path) -> Sizes:
    """Read the architecture off the tensors.

    Args:
        state: A CLIP state_dict in upstream's naming.
        config: ``model_cfg`` of an ``open_clip_config.json``, or empty. Only what shapes do not
            tell is taken from it (heads, activation), with open_clip's defaults; without one,
            openai/CLIP's hold: 64 channels a head and QuickGELU.
        path: The file, for messages.

    Raises:
        OcclusionError: A tensor that decides a size is missing or has the wrong number of axes, or
            the config asks for towers of another kind.
    """
    _check_config(config, path)
    vision, text = config.get("vision_cfg", {}), config.get("text_cfg", {})

    def shape(name: str, axes: int) -> tuple[int, ...]:
        return shape_of(state, name, axes, path)

    resnet = "visual.class_embedding" not in state
    if resnet:
        width = shape("visual.layer1.0.conv1.weight", 4)[0]
        layers = tuple(block_count(state, f"visual.layer{stage}.") for stage in (1, 2, 3, 4))
        side = round((shape("visual.attnpool.positional_embedding", 2)[0] - 1) ** 0.5) * 32
        patch = hidden = 0
        head_width = int(vision.get("head_width", HEAD_WIDTH))
        channels = width * 32
    else:
        width, _, patch, _ = shape("visual.conv1.weight", 4)
        layers = (block_count(state, "visual.transformer.resblocks."),)
        side = round((shape("visual.positional_embedding", 2)[0] - 1) ** 0.5) * patch
        hidden = shape("visual.transformer.resblocks.0.mlp.c_fc.weight", 2)[0]
        # Towers narrower than one head of 64 have one head.
        head_width = int(vision.get("head_width", min(HEAD_WIDTH, width)))
        channels = width
    text_width = shape("ln_final.weight", 1)[0]
    text_heads = int(text.get("heads", 8 if config else max(1, text_width // HEAD_WIDTH)))
    heads = channels // max(1, head_width)
    if heads < 1 or channels % heads or text_heads < 1 or text_width % text_heads:
        raise OcclusionError(
            f"{path}: {channels} and {text_width} channels cannot be shared among {heads} vision "
            f"and {text_heads} text heads",
            remedy="give vision_cfg.head_width and text_cfg.heads in open_clip_config.json.",
        )
    return Sizes(
        resnet=resnet,
        side=side,
        width=width,
        layers=layers,
        patch=patch,
        head_width=head_width,
        hidden=hidden,
        text_width=text_width,
        text_layers=block_count(state, "transformer.resblocks."),
        text_heads=text_heads,
        text_hidden=shape("transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
        limit=shape("positional_embedding", 2)[0],
        vocabulary=shape("token_embedding.weight", 2)[0],
        embedding=shape("text_projection", 2)[1],
        quick_gelu=bool(config.get("quick_gelu", False)) if config else True,
    )


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


def clip_plan(read: Checkpoint) -> Plan:
    """How a CLIP checkpoint fills a CLIP; OcclusionError when its architecture cannot be told."""
    # A TorchScript archive also shows the attention masks, which are no weights.
    ignored = tuple(
        name for name in read.state if name in NOT_WEIGHTS or name.endswith("attn_mask")
    )
    state = {name: tensor for name, tensor in read.state.items() if name not in ignored}
    sizes = infer_sizes(state, read.config.get("model_cfg", {}), read.weights)
    wanted = {name: tuple(t.shape) for name, t in skeleton(sizes).state_dict().items()}
    return Plan("CLIP", sizes.variant, state, wanted, ignored, sizes)


def skeleton(sizes: Sizes) -> Any:
    """open_clip's CLIP of these sizes on the meta device: nothing allocated or drawn at random."""
    import torch
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    # Half a row is added so that open_clip's int(width * ratio) gives the rows back.
    vision = CLIPVisionCfg(
        layers=sizes.layers if sizes.resnet else sizes.layers[0],
        width=sizes.width,
        head_width=sizes.head_width,
        mlp_ratio=(sizes.hidden + 0.5) / sizes.width,
        patch_size=sizes.patch,
        image_size=sizes.side,
    )
    text = CLIPTextCfg(
        context_length=sizes.limit,
        vocab_size=sizes.vocabulary,
        width=sizes.text_width,
        heads=sizes.text_heads,
        layers=sizes.text_layers,
        mlp_ratio=(sizes.text_hidden + 0.5) / sizes.text_width,
    )
    with torch.device("meta"):
        return CLIP(sizes.embedding, vision, text, quick_gelu=sizes.quick_gelu)


def build(sizes: Sizes, state: Mapping[str, torch.Tensor], device: torch.device) -> Any:
    """An ``open_clip.model.CLIP`` with checked weights: on ``device``, float32, evaluation mode."""
    import torch

    model = fill(skeleton(sizes), state, device)
    # The one thing that CLIP computes for itself: attend to nothing that comes later.
    square = torch.full((sizes.limit, sizes.limit), float("-inf"), device=device)
    model.attn_mask = square.triu_(1)
    if sizes.resnet:
        _fold_norms(model.visual)
    if sizes.resnet and device.type == "cpu":
        # oneDNN's convolutions are about 1.8 times as fast on channels-last tensors.
        model.visual.to(memory_format=torch.channels_last)
    return model


def _fold_norms(module: Any) -> None:
    """Merge every BatchNorm into the convolution before it: a third less time on a CPU."""
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    children = dict(module.named_children())
    # open_clip's names: bnN stands behind convN, and in a shortcut "1" behind "0".
    pairs = [(f"conv{i}", f"bn{i}") for i in (1, 2, 3)] + [("0", "1")]
    for conv, norm in pairs:
        if isinstance(children.get(norm), torch.nn.BatchNorm2d):
            setattr(module, conv, fuse_conv_bn_eval(children[conv], children[norm]))
            setattr(module, norm, torch.nn.Identity())
    for child in children.values():
        _fold_norms(child)


def embed_pixels(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """float32 ``[N, 3, H, W]``, normalised -> raw image features ``[N, D]``."""
    import torch

    if model.visual.conv1.weight.is_contiguous(memory_format=torch.channels_last):
        pixels = pixels.contiguous(memory_format=torch.channels_last)
    features: torch.Tensor = model.visual(pixels)
    return features


def embed_rows(model: Any, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Rows of token ids, each within the limit -> raw text features ``[N, D]``.

    Rows are padded to the longest of the call only. The mask is causal and the feature is read at
    the end mark, so what follows it cannot reach the result.
    """
    import torch

    device = model.positional_embedding.device
    length = max(map(len, rows))
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    ids = ids.to(device)
    hidden = model.token_embedding(ids) + model.positional_embedding[:length]
    hidden = model.transformer(hidden, attn_mask=model.attn_mask[:length, :length])
    ends = ids.argmax(dim=-1)  # the end mark has the highest id; the first of them, as upstream
    picked = model.ln_final(hidden[torch.arange(len(rows), device=device), ends])
    features: torch.Tensor = picked @ model.text_projection
    return features
