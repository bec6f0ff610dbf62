"""Image towers: transformers' Swin, ResNet of torchvision's blocks, timm's vision transformer.

Norms are merged into convolutions and grey pictures are given as one channel, because both are felt
on a CPU: a ResNet takes a fifth less time, the patches of a transformer a quarter.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.weights import block_count, built_from, shape_of
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import torch

HEAD_WIDTH = 64
"""Channels of an attention head: 12 heads for 768 channels in every transformer of base size."""


def swin_of(state: Mapping[str, torch.Tensor], prefix: str, path: Path) -> tuple[Any, str, int]:
    """A Swin of the sizes that the tensors under ``prefix`` tell: module, name, channels."""
    from transformers import SwinConfig, SwinModel

    patches = f"{prefix}embeddings.patch_embeddings.projection.weight"
    width, _, patch, _ = shape_of(state, patches, 4, path)
    layers = f"{prefix}encoder.layers."
    stages = range(block_count(state, layers))
    depths = [block_count(state, f"{layers}{stage}.blocks.") for stage in stages]
    table = "blocks.0.attention.self.relative_position_bias_table"
    tables = [shape_of(state, f"{layers}{stage}.{table}", 2, path) for stage in stages]
    rows = shape_of(state, f"{layers}0.blocks.0.intermediate.dense.weight", 2, path)[0]
    window = (round(tables[0][0] ** 0.5) + 1) // 2
    config = SwinConfig(
        patch_size=patch,
        embed_dim=width,
        depths=depths,
        num_heads=[heads for _, heads in tables],
        window_size=window,
        mlp_ratio=rows / width + 1e-6,  # its products are truncated
    )
    with built_from(path):
        model = SwinModel(config)
    known = (width, depths, window) == (96, [2, 2, 6, 2], 7)
    name = "Swin-T" if known else f"Swin-w{width}-l{'-'.join(map(str, depths))}/{patch}"
    return model, name, model.num_features


def vit_of(state: Mapping[str, torch.Tensor], prefix: str, path: Path) -> tuple[Any, str, int]:
    """The same for a plain vision transformer in timm's naming, with LayerScale or without it.

    It gives the class token behind the last norm. The square of pixels that it sees is told by its
    position table.
    """
    from timm.models.vision_transformer import VisionTransformer

    width, _, patch, _ = shape_of(state, f"{prefix}patch_embed.proj.weight", 4, path)
    cells = shape_of(state, f"{prefix}pos_embed", 3, path)[1] - 1
    side = round(max(0, cells) ** 0.5) * patch
    rows = shape_of(state, f"{prefix}blocks.0.mlp.fc1.weight", 2, path)[0]
    depth = block_count(state, f"{prefix}blocks.")
    with built_from(path):
        model = VisionTransformer(
            img_size=side,
            patch_size=patch,
            embed_dim=width,
            depth=depth,
            num_heads=max(1, width // HEAD_WIDTH),
            mlp_ratio=(rows + 0.5) / width,  # its products are truncated
            init_values=1.0 if f"{prefix}blocks.0.ls1.gamma" in state else None,
            num_classes=0,
            weight_init="skip",
        )
    size = "B" if (width, depth) == (768, 12) else f"w{width}-l{depth}"
    return model, f"ViT-{size}/{patch}@{side}px", width


def check_tiling(model: Any, side: int, path: Path) -> None:
    """Refuse an input of ``side`` pixels, which the windows of some stage would not tile."""
    patch, window = model.config.patch_size, model.config.window_size
    stages = len(model.config.depths)
    unit = (patch * window) << (stages - 1)
    if side % unit:
        raise OcclusionError(
            f"{path}: a Swin with windows of {window} patches of {patch} pixels in "
            f"{stages} stages cannot tile an input of {side} pixels",
            remedy=f"set canvas-size to the training size, a multiple of {unit}.",
        )


def resnet_of(state: Mapping[str, torch.Tensor], prefix: str, path: Path) -> tuple[Any, str, int]:
    """The same for a ResNet."""
    width = shape_of(state, f"{prefix}conv1.weight", 4, path)[0]
    depths = [block_count(state, f"{prefix}layer{stage}.") for stage in (1, 2, 3, 4)]
    with built_from(path):
        model: Any = resnet(width, depths)
    known = (width, depths) == (64, [3, 4, 6, 3])
    name = "ResNet50" if known else f"ResNet-w{width}-l{'-'.join(map(str, depths))}"
    return model, name, model.layer4[-1].bn3.num_features


def resnet(width: int, depths: Sequence[int]) -> torch.nn.Sequential:
    """A ResNet of torchvision's blocks: pixels ``[N, 3, S, S]`` -> mean features ``[N, channels]``.

    Its last two steps, ``avgpool`` and ``flatten``, make a vector of the feature map.

    torchvision's own class always has 64 channels in its stem. ResNet50 is
    ``resnet(64, (3, 4, 6, 3))``.
    """
    from torch import nn
    from torchvision.models.resnet import Bottleneck

    steps: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False),
        bn1=nn.BatchNorm2d(width),
        relu=nn.ReLU(inplace=True),
        maxpool=nn.MaxPool2d(3, stride=2, padding=1),
    )
    into = width
    for stage, depth in enumerate(depths):
        inner, stride = width << stage, 2 if stage else 1
        out = inner * Bottleneck.expansion
        shortcut = nn.Sequential(
            nn.Conv2d(into, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out)
        )
        first = Bottleneck(into, inner, stride, shortcut)
        others = (Bottleneck(out, inner) for _ in range(1, depth))
        steps[f"layer{stage + 1}"] = nn.Sequential(first, *others)
        into = out
    return nn.Sequential(steps | {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()})


def quickened(model: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """A loaded ResNet (torchvision's or CLIP's) as a function that gives the same in less time.

    Every BatchNorm goes into the convolution before it; on a CPU, tensors are channels-last.
    """
    import torch
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for module in list(model.modules()):
        for name, norm in list(module.named_children()):
            if isinstance(norm, torch.nn.BatchNorm2d):
                # bnN stands behind convN, and in a shortcut 1 behind 0.
                conv = name.replace("bn", "conv") if name.startswith("bn") else "0"
                merged = fuse_conv_bn_eval(module.get_submodule(conv), norm)
                setattr(module, conv, merged.requires_grad_(False))
                setattr(module, name, torch.nn.Identity())
    if next(model.parameters()).device.type != "cpu":
        return model  # type: ignore[no-any-return]
    # oneDNN's convolutions are about 1.8 times as fast on channels-last tensors.
    model.to(memory_format=torch.channels_last)
    return lambda pixels: model(pixels.contiguous(memory_format=torch.channels_last))


def see_grey(conv: Any) -> None:
    """Let a first convolution take one grey channel instead of three equal ones.

    It convolves one with the sum of their kernels, in a third of the multiplications. Features move
    by some 1e-7 of their size.
    """
    kernel = conv.weight.data
    summed = kernel.cpu().double().sum(1, keepdim=True).float()  # not every device has doubles
    conv.weight.data, conv.in_channels = summed.to(kernel.device), 1


def positions_first(model: Any, device: torch.device) -> None:
    """On a CPU, let open_clip's transformers hand on ``[L, N, width]``, as they did at OpenAI.

    torch's attention turns ``[N, L, width]`` about, and where it does not take its short way
    (with a mask, in half precision) it then multiplies with a copy of the weights for each
    position: a ViT-B/32 in bf16 took four times as long, texts a sixth longer. Features move by
    some 1e-7.
    """
    from open_clip.transformer import ResidualAttentionBlock, Transformer

    for module in model.modules() if device.type == "cpu" else ():
        blocks = module.resblocks if isinstance(module, Transformer) else ()
        if blocks and all(type(block) is ResidualAttentionBlock for block in blocks):
            module.batch_first = False
            for block in blocks:
                block.attn.batch_first = False
