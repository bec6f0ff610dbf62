"""CLIP's architecture, read off the shapes of a state_dict in openai/CLIP's naming."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.checkpoints import Checkpoint
from pytest_occlusion.encoders.resnet import ResNetSizes, norm_shapes, resnet_shapes
from pytest_occlusion.encoders.vision import prefixed
from pytest_occlusion.encoders.weights import Plan, block_count, shape_of
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
    return Plan("CLIP", sizes.variant, state, clip_shapes(sizes), ignored, sizes)


def clip_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of a CLIP, as openai/CLIP names them."""
    shapes: dict[str, tuple[int, ...]] = {
        "logit_scale": (),
        "positional_embedding": (sizes.limit, sizes.text_width),
        "text_projection": (sizes.text_width, sizes.embedding),
        "token_embedding.weight": (sizes.vocabulary, sizes.text_width),
        **_affine("ln_final", sizes.text_width),
        **_block_shapes("", sizes.text_width, sizes.text_hidden, sizes.text_layers),
    }
    if sizes.resnet:
        return shapes | prefixed("visual.", _resnet_shapes(sizes))
    return shapes | prefixed("visual.", _vision_transformer_shapes(sizes))


def _affine(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _linear(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _block_shapes(prefix: str, width: int, hidden: int, depth: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for block in range(depth):
        at = f"{prefix}transformer.resblocks.{block}."
        shapes |= _affine(f"{at}ln_1", width) | _affine(f"{at}ln_2", width)
        shapes[f"{at}attn.in_proj_weight"] = (3 * width, width)
        shapes[f"{at}attn.in_proj_bias"] = (3 * width,)
        shapes |= _linear(f"{at}attn.out_proj", width, width)
        shapes |= _linear(f"{at}mlp.c_fc", hidden, width)
        shapes |= _linear(f"{at}mlp.c_proj", width, hidden)
    return shapes


def _vision_transformer_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    width, patches = sizes.width, (sizes.side // sizes.patch) ** 2
    return {
        "class_embedding": (width,),
        "positional_embedding": (patches + 1, width),
        "conv1.weight": (width, 3, sizes.patch, sizes.patch),
        "proj": (width, sizes.embedding),
        **_affine("ln_pre", width),
        **_affine("ln_post", width),
        **_block_shapes("", width, sizes.hidden, sizes.layers[0]),
    }


def _resnet_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    """The stages of any ResNet with a stem of three convolutions and an attention pool."""
    width, channels = sizes.width, sizes.width * 32
    shapes = resnet_shapes(ResNetSizes(width, sizes.layers))
    shapes["conv1.weight"] = (width // 2, 3, 3, 3)
    shapes["conv2.weight"] = (width // 2, width // 2, 3, 3)
    shapes["conv3.weight"] = (width, width // 2, 3, 3)
    for norm, out in (("bn1", width // 2), ("bn2", width // 2), ("bn3", width)):
        shapes |= norm_shapes(norm, out)
    shapes["attnpool.positional_embedding"] = ((sizes.side // 32) ** 2 + 1, channels)
    for part in ("q_proj", "k_proj", "v_proj"):
        shapes |= _linear(f"attnpool.{part}", channels, channels)
    return shapes | _linear("attnpool.c_proj", sizes.embedding, channels)
