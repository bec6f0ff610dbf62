"""Checkpoints of every family with random weights, at the published sizes or tiny.

Names and shapes are those that files have; values are seeded by the names. The vocabularies are
made up; a CLIP of full size takes the one that comes with open_clip, as a user's does.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpu_parts.made_up import DEGREES, FINDINGS, PLACES
from pytest_occlusion.encoders.weights import quiet_transformers

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Sizes:
    """Sizes of the towers, by family of towers.

    Attributes:
        clip: Width, layers, patch and grid of CLIP's vision transformer.
        clip_text: Width, layers, positions and words of its text tower.
        joint: Dimensions of an embedding.
        bert: Width, layers, inner width and positions.
        words: Rows of BERT's token table; of CXR-BERT's.
        swin: Width, depths, heads, window and ratio of the inner width.
        resnet: Width and depths.
        vit: Width and layers of timm's vision transformer.
        grids: Cells per side of MGCA's, with patches of 16, and of CheXficient's, with 14.
        head: Inner width of MGCA's global heads.
        options: Of the families whose canvas and token limit no tensor tells.
    """

    clip: tuple[int, int, int, int]
    clip_text: tuple[int, int, int, int]
    joint: int
    bert: tuple[int, int, int, int]
    words: tuple[int, int]
    swin: tuple[int, tuple[int, ...], tuple[int, ...], int, int]
    resnet: tuple[int, tuple[int, ...]]
    vit: tuple[int, int]
    grids: tuple[int, int]
    head: int
    options: dict[str, dict[str, Any]]


FULL = Sizes(
    clip=(768, 12, 32, 7),
    clip_text=(512, 12, 77, 49_408),
    joint=512,
    bert=(768, 12, 3072, 512),
    words=(28_996, 30_522),
    swin=(96, (2, 2, 6, 2), (3, 6, 12, 24), 7, 4),
    resnet=(64, (3, 4, 6, 3)),
    vit=(768, 12),
    grids=(14, 27),
    head=2048,
    options={},
)

MERGES = ("t h", "th e</w>", "n o</w>", "l u", "lu n", "lun g</w>")

TINY = Sizes(
    clip=(64, 2, 8, 4),
    clip_text=(64, 2, 24, 512 + len(MERGES) + 2),
    joint=16,
    bert=(64, 2, 64, 48),
    words=(200, 220),
    swin=(24, (2, 2), (2, 4), 4, 2),
    resnet=(8, (1, 1, 1, 1)),
    vit=(64, 2),
    grids=(4, 4),
    head=40,
    options={
        "cxr-repair": {"canvas-size": 64},
        "medclip": {"canvas-size": 64, "max-tokens": 40},
        "cxr-clip": {"canvas-size": 64, "max-tokens": 40},
        "biovil": {"resize": 96, "canvas-size": 64, "max-tokens": 40},
        "chexficient": {"max-tokens": 40},
        "mgca": {"canvas-size": 64, "max-tokens": 40},
    },
)


@dataclass(frozen=True)
class Made:
    """A checkpoint that was written: what :func:`pytest_occlusion.encoders.load_encoder` takes."""

    family: str
    checkpoint: Path
    tokenizer: Path | None
    options: dict[str, Any]


# Values and vocabularies --------------------------------------------------------------------------


def drawn(shapes: Shapes) -> dict[str, torch.Tensor]:
    """Weights at which activations keep their size through the layers."""
    return {name: _tensor(name, shape) for name, shape in shapes.items()}


def _tensor(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    if name.endswith(("num_batches_tracked", "step_count")):
        return torch.zeros(shape, dtype=torch.int64)
    if name == "logit_scale":
        return torch.tensor(math.log(1 / 0.07))
    normal = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if name.endswith("running_var"):
        return 1 + 0.1 * normal.abs()
    tables: tuple[str, ...] = (
        "embedding",
        "embedding.weight",
        "bias_table",
        "embeddings.weight",
        "_token",
    )
    tables += ("pos_embed", "missing_previous_emb", "type_embed", "prototypes")
    if name.endswith(("bias", "running_mean", *tables)):
        return 0.02 * normal
    if len(shape) == 1:
        return 1 + 0.02 * normal
    across = name in ("text_projection", "visual.proj")
    return normal / math.sqrt(shape[0] if across else math.prod(shape[1:]))


def write_words(path: Path, size: int) -> Path:
    """A WordPiece vocabulary of so many lines: marks, words, characters, and fillers."""
    characters = "abcdefghijklmnopqrstuvwxyz0123456789.,:;"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *DEGREES, *PLACES, *FINDINGS]
    words += [*characters, *(f"##{one}" for one in characters)]
    words = list(dict.fromkeys(words))
    words += [f"[filler{number}]" for number in range(size - len(words))]
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    return path


def write_pairs(path: Path) -> Path:
    """A byte-pair vocabulary as open_clip reads it: gzip, a header line, one merge a line."""
    path.write_bytes(gzip.compress("\n".join(("#version: made up", *MERGES)).encode()))
    return path


# Shapes -------------------------------------------------------------------------------------------


def affine(name: str, rows: int, into: int = 0) -> Shapes:
    """A linear layer, or a norm where nothing goes in."""
    return {f"{name}.weight": (rows, into) if into else (rows,), f"{name}.bias": (rows,)}


def norm(name: str, rows: int, *, learned: bool = True) -> Shapes:
    """A batch norm."""
    shapes = affine(name, rows) if learned else {}
    shapes |= {f"{name}.{part}": (rows,) for part in ("running_mean", "running_var")}
    return shapes | {f"{name}.num_batches_tracked": ()}


def clip_blocks(prefix: str, width: int, layers: int) -> Shapes:
    """A stack of CLIP's transformer blocks."""
    shapes: Shapes = {}
    for layer in range(layers):
        at = f"{prefix}resblocks.{layer}."
        shapes |= {f"{at}attn.in_proj_weight": (3 * width, width)}
        shapes |= {f"{at}attn.in_proj_bias": (3 * width,)}
        shapes |= affine(f"{at}attn.out_proj", width, width)
        shapes |= affine(f"{at}mlp.c_fc", 4 * width, width)
        shapes |= affine(f"{at}mlp.c_proj", width, 4 * width)
        shapes |= affine(f"{at}ln_1", width) | affine(f"{at}ln_2", width)
    return shapes


def clip(sizes: Sizes) -> Shapes:
    """A CLIP with a vision transformer, in openai/CLIP's naming."""
    width, layers, patch, grid = sizes.clip
    inside, deep, positions, words = sizes.clip_text
    shapes: Shapes = {
        "positional_embedding": (positions, inside),
        "text_projection": (inside, sizes.joint),
        "logit_scale": (),
        "token_embedding.weight": (words, inside),
        **clip_blocks("transformer.", inside, deep),
        **affine("ln_final", inside),
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (grid * grid + 1, width),
        "visual.proj": (width, sizes.joint),
        "visual.conv1.weight": (width, 3, patch, patch),
        **clip_blocks("visual.transformer.", width, layers),
    }
    return shapes | affine("visual.ln_pre", width) | affine("visual.ln_post", width)


def _attention(at: str, width: int) -> Shapes:
    shapes = affine(f"{at}attention.output.dense", width, width)
    for part in ("query", "key", "value"):
        shapes |= affine(f"{at}attention.self.{part}", width, width)
    return shapes


def bert(prefix: str, sizes: Sizes, *, words: int, layers: int = 0, typed: bool = True) -> Shapes:
    """A BERT; without its table of token types and its pooler where it is not ``typed``."""
    width, deep, inner, positions = sizes.bert
    tables = {"word": words, "position": positions} | ({"token_type": 2} if typed else {})
    shapes: Shapes = {
        f"{prefix}embeddings.{name}_embeddings.weight": (rows, width)
        for name, rows in tables.items()
    }
    shapes |= affine(f"{prefix}embeddings.LayerNorm", width)
    for layer in range(layers or deep):
        at = f"{prefix}encoder.layer.{layer}."
        shapes |= _attention(at, width) | affine(f"{at}attention.output.LayerNorm", width)
        shapes |= affine(f"{at}intermediate.dense", inner, width)
        shapes |= affine(f"{at}output.dense", width, inner)
        shapes |= affine(f"{at}output.LayerNorm", width)
    return shapes | (affine(f"{prefix}pooler.dense", width, width) if typed else {})


def swin(prefix: str, sizes: Sizes) -> tuple[Shapes, int]:
    """A Swin as files name it, and the channels that come out."""
    width, depths, heads, window, ratio = sizes.swin
    place = f"{prefix}embeddings.patch_embeddings.projection"
    shapes: Shapes = {f"{place}.weight": (width, 3, 4, 4), f"{place}.bias": (width,)}
    shapes |= affine(f"{prefix}embeddings.norm", width)
    for stage, depth in enumerate(depths):
        channels = width << stage
        for block in range(depth):
            at = f"{prefix}encoder.layers.{stage}.blocks.{block}."
            shapes |= _attention(at, channels)
            table = f"{at}attention.self.relative_position_bias_table"
            shapes[table] = ((2 * window - 1) ** 2, heads[stage])
            for name in ("layernorm_before", "layernorm_after"):
                shapes |= affine(f"{at}{name}", channels)
            shapes |= affine(f"{at}intermediate.dense", ratio * channels, channels)
            shapes |= affine(f"{at}output.dense", channels, ratio * channels)
        if stage + 1 < len(depths):
            at = f"{prefix}encoder.layers.{stage}.downsample."
            shapes |= affine(f"{at}norm", 4 * channels)
            shapes[f"{at}reduction.weight"] = (2 * channels, 4 * channels)
    channels = width << (len(depths) - 1)
    return shapes | affine(f"{prefix}layernorm", channels), channels


def resnet(prefix: str, sizes: Sizes) -> tuple[Shapes, int]:
    """A ResNet in torchvision's naming, and the channels that come out."""
    from pytest_occlusion.encoders.vision import resnet as build

    with torch.device("meta"):
        state = build(*sizes.resnet).state_dict()
    shapes = {f"{prefix}{name}": tuple(tensor.shape) for name, tensor in state.items()}
    return shapes, sizes.resnet[0] * 8 * 4


def vit(prefix: str, sizes: Sizes, *, patch: int, grid: int, scaled: bool = False) -> Shapes:
    """A vision transformer in timm's naming, with LayerScale or without it."""
    width, layers = sizes.vit
    shapes: Shapes = {
        f"{prefix}cls_token": (1, 1, width),
        f"{prefix}pos_embed": (1, grid * grid + 1, width),
        f"{prefix}patch_embed.proj.weight": (width, 3, patch, patch),
        f"{prefix}patch_embed.proj.bias": (width,),
    }
    for block in range(layers):
        at = f"{prefix}blocks.{block}."
        shapes |= affine(f"{at}norm1", width) | affine(f"{at}norm2", width)
        shapes |= affine(f"{at}attn.qkv", 3 * width, width)
        shapes |= affine(f"{at}attn.proj", width, width)
        shapes |= affine(f"{at}mlp.fc1", 4 * width, width)
        shapes |= affine(f"{at}mlp.fc2", width, 4 * width)
        shapes |= {f"{at}ls{number}.gamma": (width,) for number in (1, 2) if scaled}
    return shapes | affine(f"{prefix}norm", width)


def medclip(sizes: Sizes, *, with_swin: bool) -> Shapes:
    """MedCLIP."""
    shapes: Shapes = {"logit_scale": ()}
    shapes |= bert("text_model.model.", sizes, words=sizes.words[0])
    shapes["text_model.projection_head.weight"] = (sizes.joint, sizes.bert[0])
    tower, channels = (swin if with_swin else resnet)("vision_model.model.", sizes)
    head = "projection_head" if with_swin else "model.fc"
    return shapes | tower | {f"vision_model.{head}.weight": (sizes.joint, channels)}


def cxr_clip(sizes: Sizes, *, with_swin: bool) -> Shapes:
    """CXR-CLIP."""
    shapes: Shapes = {"logit_scale": ()}
    shapes |= bert("text_encoder.text_encoder.", sizes, words=sizes.words[0])
    prefix = "image_encoder.image_encoder." if with_swin else "image_encoder.resnet."
    tower, channels = (swin if with_swin else resnet)(prefix, sizes)
    shapes |= tower | affine("image_projection.projection", sizes.joint, channels)
    return shapes | affine("text_projection.projection", sizes.joint, sizes.bert[0])


def biovil(sizes: Sizes, *, temporal: bool) -> tuple[Shapes, Shapes]:
    """BioViL's two files, image and text; ``temporal`` for BioViL-T."""
    joint = min(sizes.joint, 128)
    image, channels = resnet("encoder.encoder.", sizes)
    seen = channels
    if temporal:
        reduced = max(8, channels // 8)
        image["encoder.backbone_to_vit.weight"] = (reduced, channels, 1, 1)
        image["encoder.missing_previous_emb"] = (1, reduced, 1, 1)
        seen = 2 * reduced
    image["projector.model.0.weight"] = (joint, seen, 1, 1)
    image |= norm("projector.model.1", joint) | affine("projector.model.3", joint)
    image["projector.model.3.weight"] = (joint, joint, 1, 1)
    head = "cls_projection_head."
    text = bert("bert.", sizes, words=sizes.words[1])
    text |= affine(f"{head}dense_to_hidden", joint, sizes.bert[0])
    text |= affine(f"{head}LayerNorm", joint)
    return image, text | affine(f"{head}dense_to_output", joint, joint)


def chexficient(sizes: Sizes) -> Shapes:
    """CheXficient."""
    shapes: Shapes = {"logit_scale": ()}
    shapes |= vit("image_encoder.model.", sizes, patch=14, grid=sizes.grids[1], scaled=True)
    shapes["image_encoder.model.mask_token"] = (1, sizes.vit[0])
    shapes |= bert("text_encoder.model.", sizes, words=sizes.words[0])
    shapes |= affine("image_projection.projection", sizes.joint, sizes.vit[0])
    return shapes | affine("text_projection.projection", sizes.joint, sizes.bert[0])


def mgca(sizes: Sizes, *, with_vit: bool) -> Shapes:
    """MGCA, without what only its training needs."""
    image, text, joint = "img_encoder_q.", "text_encoder_q.", min(sizes.joint, 128)
    if with_vit:
        width = sizes.vit[0]
        shapes = vit(f"{image}model.", sizes, patch=16, grid=sizes.grids[0])
    else:
        shapes, width = resnet(f"{image}model.", sizes)
    layers = max(1, sizes.bert[1] // 2)
    shapes |= bert(f"{text}model.", sizes, words=sizes.words[0], layers=layers, typed=False)
    for at, into in ((image, width), (text, sizes.bert[0])):
        head = f"{at}global_embed.head."
        shapes |= affine(f"{head}0", sizes.head, into) | norm(f"{head}1", sizes.head)
        shapes |= affine(f"{head}3", joint, sizes.head)
        shapes |= norm(f"{head}4", joint, learned=False)
    return shapes


# Files --------------------------------------------------------------------------------------------


def _saved(path: Path, shapes: Shapes, **around: Any) -> Path:
    state = drawn(shapes)
    torch.save({**around, "state_dict": state} if around else state, path)
    return path


def _of_clip(family: str) -> Callable[[Path, Sizes], Made]:
    def write(folder: Path, sizes: Sizes) -> Made:
        path = _saved(folder / "model.pt", clip(sizes))
        pairs = None if sizes is FULL else write_pairs(folder / "pairs.txt.gz")
        return Made(family, path, pairs, sizes.options.get(family, {}))

    return write


def _of_bert(family: str, shapes: Callable[[Sizes], Shapes]) -> Callable[[Path, Sizes], Made]:
    def write(folder: Path, sizes: Sizes) -> Made:
        lightning = family == "mgca"  # whose trainer keeps the tensors one level deeper
        around = {"pytorch-lightning_version": "1.4.9"} if lightning else {}
        path = _saved(
            folder / ("model.ckpt" if lightning else "model.bin"), shapes(sizes), **around
        )
        words = write_words(folder / "vocab.txt", sizes.words[0])
        return Made(family, path, words, sizes.options.get(family, {}))

    return write


def _of_biovil(*, temporal: bool) -> Callable[[Path, Sizes], Made]:
    def write(folder: Path, sizes: Sizes) -> Made:
        image, text = biovil(sizes, temporal=temporal)
        name = "biovil_t_image_model" if temporal else "biovil_image_resnet50"
        _saved(folder / f"{name}_proj_size_128.pt", image)
        _saved(folder / "pytorch_model.bin", text)
        (folder / "config.json").write_text('{"model_type": "cxr-bert"}', encoding="utf-8")
        write_words(folder / "vocab.txt", sizes.words[1])
        return Made("biovil", folder, None, sizes.options.get("biovil", {}))

    return write


def _open_clip(folder: Path, sizes: Sizes) -> Made:
    import open_clip
    from safetensors.torch import save_file

    width, layers, patch, grid = sizes.clip
    inside, deep, positions, words = sizes.clip_text
    vision = {"layers": layers, "width": width, "patch_size": patch, "image_size": patch * grid}
    text = {"context_length": positions, "vocab_size": words, "width": inside, "layers": deep}
    text["heads"] = inside // 64
    model = {"embed_dim": sizes.joint, "vision_cfg": vision, "text_cfg": text}
    config = {"model_cfg": model, "preprocess_cfg": {"resize_mode": "shortest"}}
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    if sizes is not FULL:
        write_pairs(folder / "bpe_vocab.txt.gz")
    with torch.device("meta"):
        built = open_clip.CLIP(sizes.joint, vision, text)
    shapes = {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}
    save_file(drawn(shapes), folder / "open_clip_model.safetensors")
    return Made("open-clip", folder, None, {})


def _hub_model(kind: str) -> Callable[[Path, Sizes], Made]:
    def write(folder: Path, sizes: Sizes) -> Made:
        with quiet_transformers():
            return _write_hub_model(kind, folder, sizes)

    return write


def _write_hub_model(kind: str, folder: Path, sizes: Sizes) -> Made:
    import transformers

    width, layers, patch, grid = sizes.clip
    inside, deep, positions, _ = sizes.clip_text
    size = sizes.words[0]
    _write_fast_tokenizer(folder, size)
    heads = {"num_attention_heads": max(1, width // 64)}
    side = patch * grid
    vision = {"hidden_size": width, "intermediate_size": 4 * width, **heads}
    vision |= {"num_hidden_layers": layers, "image_size": side, "patch_size": patch}
    text = {"hidden_size": inside, "intermediate_size": 4 * inside, "vocab_size": size}
    text |= {"num_hidden_layers": deep, "max_position_embeddings": positions}
    text |= {"num_attention_heads": max(1, inside // 64), "pad_token_id": 0}
    text |= {"bos_token_id": 2, "eos_token_id": 3}
    torch.manual_seed(0)
    square = {"height": side, "width": side}
    if kind == "clip":
        config = transformers.CLIPConfig(
            text_config=text, vision_config=vision, projection_dim=sizes.joint
        )
        model = transformers.CLIPModel(config)
        processor = transformers.CLIPImageProcessor(size={"shortest_edge": side}, crop_size=square)
    else:
        config = transformers.SiglipConfig(
            text_config={**text, "projection_size": width}, vision_config=vision
        )
        model = transformers.SiglipModel(config)
        processor = transformers.SiglipImageProcessor(size=square)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return Made("hf", folder, None, {})


def _write_fast_tokenizer(folder: Path, size: int) -> None:
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    lines = write_words(folder / "vocab.txt", size).read_text(encoding="utf-8").splitlines()
    words = {word: index for index, word in enumerate(lines)}
    marks = lines[:4]  # padding, unknown, start, end
    tokenizer = Tokenizer(models.WordPiece(words, unk_token=marks[1]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    around = [(mark, words[mark]) for mark in marks[2:]]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, around)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=marks[0], eos_token=marks[3], bos_token=marks[2]
    ).save_pretrained(folder)
    (folder / "vocab.txt").unlink()


FAMILIES: dict[str, Callable[[Path, Sizes], Made]] = {
    "clip ViT": _of_clip("clip"),
    "cxr-repair ViT": _of_clip("cxr-repair"),
    "medclip Swin": _of_bert("medclip", lambda sizes: medclip(sizes, with_swin=True)),
    "medclip ResNet": _of_bert("medclip", lambda sizes: medclip(sizes, with_swin=False)),
    "cxr-clip Swin": _of_bert("cxr-clip", lambda sizes: cxr_clip(sizes, with_swin=True)),
    "cxr-clip ResNet": _of_bert("cxr-clip", lambda sizes: cxr_clip(sizes, with_swin=False)),
    "biovil": _of_biovil(temporal=False),
    "biovil-t": _of_biovil(temporal=True),
    "chexficient ViT": _of_bert("chexficient", chexficient),
    "mgca ResNet": _of_bert("mgca", lambda sizes: mgca(sizes, with_vit=False)),
    "mgca ViT": _of_bert("mgca", lambda sizes: mgca(sizes, with_vit=True)),
    "open-clip ViT": _open_clip,
    "hf CLIP": _hub_model("clip"),
    "hf SigLIP": _hub_model("siglip"),
}
"""Families of towers that are built -> the function that writes a checkpoint into a folder."""


def write(name: str, folder: Path, *, small: bool) -> Made:
    """Write one of :data:`FAMILIES` into a folder that is not there yet."""
    folder.mkdir(parents=True)
    return FAMILIES[name](folder, TINY if small else FULL)
