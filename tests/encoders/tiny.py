"""Tiny checkpoints in upstream's naming: the code path of the real ones, a thousandth the size."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .formula import draw, rule_of, write_state

MERGES = ("t h", "th e</w>", "n o</w>", "l u", "lu n", "lun g</w>", "i s</w>", "a c")
"""Byte pairs of a vocabulary of 522 tokens: 512 bytes, these, and the two marks."""

VOCABULARY = 512 + len(MERGES) + 2
TEXT_WIDTH, LIMIT, EMBEDDING = 32, 24, 16


def write_vocabulary(path: Path) -> Path:
    """A byte-pair vocabulary as open_clip reads it: gzip, a header line, one merge a line."""
    path.write_bytes(gzip.compress("\n".join(("#version: tiny", *MERGES)).encode()))
    return path


def blocks(prefix: str, width: int, layers: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a stack of CLIP transformer blocks."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        at = f"{prefix}resblocks.{layer}."
        shapes |= {
            f"{at}attn.in_proj_weight": (3 * width, width),
            f"{at}attn.in_proj_bias": (3 * width,),
            f"{at}attn.out_proj.weight": (width, width),
            f"{at}attn.out_proj.bias": (width,),
            f"{at}mlp.c_fc.weight": (4 * width, width),
            f"{at}mlp.c_fc.bias": (4 * width,),
            f"{at}mlp.c_proj.weight": (width, 4 * width),
            f"{at}mlp.c_proj.bias": (width,),
        }
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"{at}{norm}.weight": (width,), f"{at}{norm}.bias": (width,)}
    return shapes


def text_shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of the text tower."""
    return {
        "positional_embedding": (LIMIT, TEXT_WIDTH),
        "text_projection": (TEXT_WIDTH, EMBEDDING),
        "logit_scale": (),
        "token_embedding.weight": (VOCABULARY, TEXT_WIDTH),
        **blocks("transformer.", TEXT_WIDTH, 2),
        "ln_final.weight": (TEXT_WIDTH,),
        "ln_final.bias": (TEXT_WIDTH,),
    }


def vit_shapes(*, width: int = 48, patch: int = 8, grid: int = 4) -> dict[str, tuple[int, ...]]:
    """Shapes of a tiny CLIP with a vision transformer of ``patch * grid`` pixels."""
    shapes = {
        **text_shapes(),
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (grid * grid + 1, width),
        "visual.proj": (width, EMBEDDING),
        "visual.conv1.weight": (width, 3, patch, patch),
        **blocks("visual.transformer.", width, 2),
    }
    for norm in ("ln_pre", "ln_post"):
        shapes |= {f"visual.{norm}.weight": (width,), f"visual.{norm}.bias": (width,)}
    return shapes


def resnet_shapes(*, width: int = 8, layers: tuple[int, ...] = (1, 2, 1, 1), side: int = 64) -> Any:
    """Shapes of a tiny CLIP with a modified ResNet of ``side`` pixels."""
    shapes: dict[str, tuple[int, ...]] = text_shapes()

    def conv(name: str, norm: str, out: int, into: int, kernel: int) -> None:
        shapes[f"visual.{name}.weight"] = (out, into, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"visual.{norm}.{part}"] = (out,)
        shapes[f"visual.{norm}.num_batches_tracked"] = ()

    for number, (into, out) in enumerate(((3, width // 2), (width // 2,) * 2, (width // 2, width))):
        conv(f"conv{number + 1}", f"bn{number + 1}", out, into, 3)
    into = width
    for stage, count in enumerate(layers, start=1):
        planes = width * 2 ** (stage - 1)
        for block in range(count):
            at = f"layer{stage}.{block}."
            conv(f"{at}conv1", f"{at}bn1", planes, into, 1)
            conv(f"{at}conv2", f"{at}bn2", planes, planes, 3)
            conv(f"{at}conv3", f"{at}bn3", planes * 4, planes, 1)
            if block == 0:
                conv(f"{at}downsample.0", f"{at}downsample.1", planes * 4, into, 1)
            into = planes * 4
    for part in ("k_proj", "q_proj", "v_proj", "c_proj"):
        rows = EMBEDDING if part == "c_proj" else into
        shapes[f"visual.attnpool.{part}.weight"] = (rows, into)
        shapes[f"visual.attnpool.{part}.bias"] = (rows,)
    shapes["visual.attnpool.positional_embedding"] = ((side // 32) ** 2 + 1, into)
    return shapes


def state_of(shapes: dict[str, tuple[int, ...]]) -> dict[str, NDArray[Any]]:
    """Formula weights for a listing of shapes."""
    return {name: draw(name, shape, rule_of(name, shape)) for name, shape in shapes.items()}


def write_directory(
    path: Path,
    shapes: dict[str, tuple[int, ...]],
    config: dict[str, Any] | None = None,
    weights: str = "open_clip_model.safetensors",
) -> Path:
    """A model directory: weights, vocabulary and ``open_clip_config.json``."""
    path.mkdir(parents=True)
    write_state(path / weights, state_of(shapes))
    write_vocabulary(path / "bpe_vocab.txt.gz")
    cfg = {"quick_gelu": True, "vision_cfg": {"head_width": 16}, "text_cfg": {"heads": 2}}
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config or cfg}))
    return path


WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "lung", "##s", "effusion", "no", "normal")
"""A WordPiece vocabulary, with all single characters that reports are made of."""

CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,:;&_-/()\u2019"


def write_word_pieces(path: Path) -> Path:
    """A ``vocab.txt`` for the tiny BERT."""
    words = [*WORDS, *CHARACTERS, *(f"##{character}" for character in CHARACTERS)]
    path.write_text("\n".join(words) + "\n", encoding="utf-8")
    return path


BERT_WIDTH, BERT_LAYERS, BERT_ROWS, POSITIONS = 32, 3, 64, 48
VIT_WIDTH, HIDDEN = 48, 40
SWIN_WIDTH, SWIN_HEADS, SWIN_WINDOW = 24, (2, 4), 4


def affine(name: str, rows: int, into: int = 0) -> dict[str, tuple[int, ...]]:
    """Shapes of a linear layer, or of a norm when nothing goes in."""
    return {f"{name}.weight": (rows, into) if into else (rows,), f"{name}.bias": (rows,)}


def attention(at: str, width: int) -> dict[str, tuple[int, ...]]:
    """Shapes of what BERT's and Swin's attention have in common."""
    shapes = affine(f"{at}attention.output.dense", width, width)
    for part in ("query", "key", "value"):
        shapes |= affine(f"{at}attention.self.{part}", width, width)
    return shapes


def bert_shapes(prefix: str) -> dict[str, tuple[int, ...]]:
    """Shapes of a BERT of three layers, as transformers has named them from the beginning."""
    width = BERT_WIDTH
    tables = {"word": len(WORDS) + 2 * len(CHARACTERS), "position": POSITIONS, "token_type": 2}
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}embeddings.{n}_embeddings.weight": (rows, width) for n, rows in tables.items()
    }
    shapes |= affine(f"{prefix}embeddings.LayerNorm", width)
    for layer in range(BERT_LAYERS):
        at = f"{prefix}encoder.layer.{layer}."
        shapes |= attention(at, width) | affine(f"{at}attention.output.LayerNorm", width)
        shapes |= affine(f"{at}intermediate.dense", BERT_ROWS, width)
        shapes |= affine(f"{at}output.dense", width, BERT_ROWS)
        shapes |= affine(f"{at}output.LayerNorm", width)
    return shapes | affine(f"{prefix}pooler.dense", width, width)


def swin_shapes(prefix: str) -> dict[str, tuple[int, ...]]:
    """Shapes of a Swin of two stages with patches of 4 pixels, as transformers 4 names them."""
    place, width = f"{prefix}embeddings.patch_embeddings.projection", SWIN_WIDTH
    shapes: dict[str, tuple[int, ...]] = {f"{place}.weight": (width, 3, 4, 4)}
    shapes[f"{place}.bias"] = (width,)
    shapes |= affine(f"{prefix}embeddings.norm", width)
    for stage, heads in enumerate(SWIN_HEADS):
        channels = width << stage
        for block in range(2):
            at = f"{prefix}encoder.layers.{stage}.blocks.{block}."
            shapes |= attention(at, channels)
            table = f"{at}attention.self.relative_position_bias_table"
            shapes[table] = ((2 * SWIN_WINDOW - 1) ** 2, heads)
            shapes |= affine(f"{at}layernorm_before", channels)
            shapes |= affine(f"{at}layernorm_after", channels)
            shapes |= affine(f"{at}intermediate.dense", 2 * channels, channels)
            shapes |= affine(f"{at}output.dense", channels, 2 * channels)
    at = f"{prefix}encoder.layers.0.downsample."
    shapes |= affine(f"{at}norm", 4 * width)
    shapes[f"{at}reduction.weight"] = (2 * width, 4 * width)
    return shapes | affine(f"{prefix}layernorm", 2 * width)


def plain_resnet_shapes(prefix: str) -> dict[str, tuple[int, ...]]:
    """Shapes of torchvision's ResNet, 8 channels wide, without its head."""
    from pytest_occlusion.encoders.vision import resnet

    state = resnet(8, (1, 2, 1, 1)).state_dict()
    return {f"{prefix}{name}": tuple(tensor.shape) for name, tensor in state.items()}


CHANNELS = {"swin": SWIN_WIDTH * 2, "resnet": 8 * 8 * 4}


def medclip_shapes(tower: str) -> dict[str, tuple[int, ...]]:
    """Shapes of a tiny MedCLIP; ``tower`` is ``swin`` or ``resnet``."""
    shapes = {"logit_scale": (), **bert_shapes("text_model.model.")}
    shapes["text_model.projection_head.weight"] = (EMBEDDING, BERT_WIDTH)
    towers = swin_shapes if tower == "swin" else plain_resnet_shapes
    head = "projection_head" if tower == "swin" else "model.fc"
    shapes |= towers("vision_model.model.")
    return shapes | {f"vision_model.{head}.weight": (EMBEDDING, CHANNELS[tower])}


def cxr_clip_shapes(tower: str) -> dict[str, tuple[int, ...]]:
    """Shapes of a tiny CXR-CLIP; ``tower`` is ``swin`` or ``resnet``."""
    shapes = {"logit_scale": (), **bert_shapes("text_encoder.text_encoder.")}
    if tower == "swin":
        shapes |= swin_shapes("image_encoder.image_encoder.")
    else:
        shapes |= plain_resnet_shapes("image_encoder.resnet.")
    shapes |= affine("image_projection.projection", EMBEDDING, CHANNELS[tower])
    return shapes | affine("text_projection.projection", EMBEDDING, BERT_WIDTH)


def timm_vit_shapes(prefix: str, *, scaled: bool = False) -> dict[str, tuple[int, ...]]:
    """Shapes of timm's vision transformer of 64 pixels, with LayerScale or without it."""
    width, patch, grid = VIT_WIDTH, 16, 4
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}cls_token": (1, 1, width),
        f"{prefix}pos_embed": (1, grid * grid + 1, width),
        f"{prefix}patch_embed.proj.weight": (width, 3, patch, patch),
        f"{prefix}patch_embed.proj.bias": (width,),
    }
    for block in range(2):
        at = f"{prefix}blocks.{block}."
        shapes |= affine(f"{at}norm1", width) | affine(f"{at}norm2", width)
        shapes |= affine(f"{at}attn.qkv", 3 * width, width)
        shapes |= affine(f"{at}attn.proj", width, width)
        shapes |= affine(f"{at}mlp.fc1", 4 * width, width)
        shapes |= affine(f"{at}mlp.fc2", width, 4 * width)
        shapes |= {f"{at}ls{number}.gamma": (width,) for number in (1, 2) if scaled}
    return shapes | affine(f"{prefix}norm", width)


def norm_shapes(name: str, rows: int, *, learned: bool = True) -> dict[str, tuple[int, ...]]:
    """Shapes of a batch norm, with weight and bias or without them."""
    shapes = affine(name, rows) if learned else {}
    shapes |= {f"{name}.{part}": (rows,) for part in ("running_mean", "running_var")}
    return shapes | {f"{name}.num_batches_tracked": ()}


def biovil_shapes(*, temporal: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Shapes of a tiny BioViL's two files, image and text; ``temporal`` for BioViL-T."""
    channels = seen = CHANNELS["resnet"]
    image: dict[str, Any] = plain_resnet_shapes("encoder.encoder.")
    image |= affine("encoder.encoder.fc", 10, channels)
    if temporal:
        image["encoder.backbone_to_vit.weight"] = (24, channels, 1, 1)
        image["encoder.missing_previous_emb"] = (1, 24, 1, 1)
        image["encoder.vit_pooler.type_embed"] = (2, 1, 24)
        seen = 48
    image["projector.model.0.weight"] = (EMBEDDING, seen, 1, 1)
    image |= norm_shapes("projector.model.1", EMBEDDING) | affine("projector.model.3", EMBEDDING)
    image["projector.model.3.weight"] = (EMBEDDING, EMBEDDING, 1, 1)
    head = "cls_projection_head."
    text: dict[str, Any] = bert_shapes("bert.") | affine("cls.predictions.transform.dense", 8, 8)
    text |= affine(f"{head}dense_to_hidden", 24, BERT_WIDTH) | affine(f"{head}LayerNorm", 24)
    return image, text | affine(f"{head}dense_to_output", EMBEDDING, 24)


def write_biovil(path: Path, *, temporal: bool) -> Path:
    """A folder as Microsoft publishes it: image file, text file, configuration, vocabulary."""
    path.mkdir()
    image, text = biovil_shapes(temporal=temporal)
    name = "biovil_t_image_model" if temporal else "biovil_image_resnet50"
    write_state(path / f"{name}_proj_size_128.pt", state_of(image))
    write_state(path / "pytorch_model.bin", state_of(text))
    (path / "config.json").write_text('{"model_type": "cxr-bert"}', encoding="utf-8")
    write_word_pieces(path / "vocab.txt")
    return path


def chexficient_shapes(rows: int = 1) -> dict[str, tuple[int, ...]]:
    """Shapes of a tiny CheXficient, whose trainer kept ``rows`` samples of its last batch."""
    image = timm_vit_shapes("image_encoder.model.", scaled=True)
    image["image_encoder.model.mask_token"] = (1, VIT_WIDTH)
    shapes = {"logit_scale": (), "prototypes": (6, 12), "step_count": (1,)}
    shapes |= {"batch_update_weight_stats": (rows, 2), "pending_ema_features": (rows - 1, 12)}
    shapes |= image | bert_shapes("text_encoder.model.")
    shapes |= affine("image_projection.projection", EMBEDDING, VIT_WIDTH)
    return shapes | affine("text_projection.projection", EMBEDDING, BERT_WIDTH)


def mgca_shapes(tower: str) -> dict[str, tuple[int, ...]]:
    """Shapes of a tiny MGCA, with some that only pre-training needs; ``vit`` or ``resnet``."""
    image, text = "img_encoder_q.", "text_encoder_q."
    towers = timm_vit_shapes if tower == "vit" else plain_resnet_shapes
    shapes = towers(f"{image}model.")
    lacking = ("token_type_embeddings", "pooler")
    bert = bert_shapes(f"{text}model.")
    shapes |= {name: shape for name, shape in bert.items() if not any(x in name for x in lacking)}
    shapes[f"{text}model.embeddings.position_ids"] = (1, POSITIONS)
    for layer in range(BERT_LAYERS):
        cross = f"{text}model.encoder.layer.{layer}.crossattention.self.query"
        shapes |= affine(cross, BERT_WIDTH, BERT_WIDTH)
    widths = {image: VIT_WIDTH if tower == "vit" else CHANNELS["resnet"], text: BERT_WIDTH}
    for at, width in widths.items():
        for head in (f"{at}global_embed.head.", f"{at}local_embed.head."):
            shapes |= affine(f"{head}0", HIDDEN, width) | norm_shapes(f"{head}1", HIDDEN)
            shapes |= affine(f"{head}3", EMBEDDING, HIDDEN)
            shapes |= norm_shapes(f"{head}4", EMBEDDING, learned=False)
    shapes |= affine("patch_local_atten_layer.out_proj", EMBEDDING, EMBEDDING)
    return shapes | {"prototype_layer.weight": (10, EMBEDDING)}


def open_clip_config(tower: str) -> dict[str, Any]:
    """An ``open_clip_config.json``; ``tower`` is ``vit`` or ``timm``."""
    vision: dict[str, Any] = {"timm_model_name": "test_vit", "image_size": 160}
    if tower == "vit":
        vision = {"layers": 2, "width": 48, "patch_size": 8, "image_size": 32, "head_width": 16}
    text = {"context_length": LIMIT, "vocab_size": VOCABULARY, "width": 32, "heads": 2, "layers": 2}
    model = {"embed_dim": EMBEDDING, "vision_cfg": vision, "text_cfg": text, "quick_gelu": True}
    if tower == "timm":
        model["custom_text"] = True
    return {"model_cfg": model, "preprocess_cfg": {"resize_mode": RESIZE_MODES[tower]}}


RESIZE_MODES = {"vit": "shortest", "timm": "longest"}


def write_open_clip(path: Path, tower: str) -> Path:
    """A directory as open_clip saves it, with a vocabulary of its own."""
    import open_clip

    path.mkdir()
    write_vocabulary(path / "bpe_vocab.txt.gz")
    config = open_clip_config(tower)
    (path / "open_clip_config.json").write_text(json.dumps(config))
    model = open_clip.create_model(f"local-dir:{path}", load_weights=False)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    write_state(path / "open_clip_model.safetensors", state_of(shapes))
    return path


def write_hub_model(path: Path, kind: str) -> Path:
    """A directory as transformers saves it; ``kind`` is ``clip`` or ``siglip``."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = {word: index for index, word in enumerate((*WORDS, *CHARACTERS))}
    words |= {f"##{c}": len(words) + index for index, c in enumerate(CHARACTERS)}
    tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = [(mark, words[mark]) for mark in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, marks)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", eos_token="[SEP]", bos_token="[CLS]"
    ).save_pretrained(path)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    small |= {"num_attention_heads": 2}
    text = {**small, "vocab_size": len(words), "max_position_embeddings": 24, "pad_token_id": 0}
    text |= {"bos_token_id": words["[CLS]"], "eos_token_id": words["[SEP]"]}
    vision = {**small, "image_size": 48, "patch_size": 8}
    torch.manual_seed(0)
    if kind == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
        square = {"height": 48, "width": 48}
        transformers.CLIPModel(config).save_pretrained(path)
        transformers.CLIPImageProcessor(
            size={"shortest_edge": 48}, crop_size=square
        ).save_pretrained(path)
    else:
        config = transformers.SiglipConfig(
            text_config={**text, "projection_size": 32}, vision_config=vision
        )
        transformers.SiglipModel(config).save_pretrained(path)
        transformers.SiglipImageProcessor(size={"height": 48, "width": 48}).save_pretrained(path)
    return path
