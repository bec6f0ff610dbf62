"""Family ``open-clip``: any model that open_clip builds, with its own preprocessing."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders import hub, libraries
from pytest_occlusion.encoders.assembly import assemble
from pytest_occlusion.encoders.base import CanvasRecipe, Encoder, Family
from pytest_occlusion.encoders.canvases import normalised
from pytest_occlusion.encoders.checkpoints import COUNTERS, Checkpoint, read_checkpoint
from pytest_occlusion.encoders.files import CONFIG_NAME, TAG, folder_files, short_digest
from pytest_occlusion.encoders.tokens import Tokens
from pytest_occlusion.encoders.vision import positions_first
from pytest_occlusion.encoders.weights import INDICES, Plan, check_plan, weights_digest
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL import Image

WEIGHTS = ("open_clip_model*.safetensors", "open_clip_pytorch_model*.bin")
"""What open_clip calls the weights of a hub repository, best first."""

WORDS = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "*.model")
"""Files of a Hugging Face tokenizer, any of which a directory must have to be one."""

UNIMED = "text_encoder."
"""What UniMed-CLIP, a fork of open_clip, calls the text tower that open_clip calls ``text.``."""

UNTOLD = ("_name_or_path", "transformers_version")
"""What a configuration of transformers says of where it was read, and not of the model."""


def _tokens(words: Any) -> Tokens:
    """open_clip's own tokenizer of a model, which pads every row to the context length."""
    limit = int(words.context_length)

    def rows(texts: Sequence[str]) -> list[list[int]]:
        if hasattr(words, "encode"):
            return [[words.sot_token_id, *words.encode(t), words.eot_token_id] for t in texts]
        cleaned = [words.clean_fn(text) for text in texts]
        found: list[list[int]] = words.tokenizer(cleaned)["input_ids"]
        return found

    digest = libraries.vocabulary_digest(getattr(words, "tokenizer", words))
    return Tokens(rows, lambda texts: words(list(texts), context_length=limit), limit, digest)


def _load(
    checkpoint: str | Path,
    tokenizer: str | Path | None,
    device: torch.device,
    precision: str,
    options: Mapping[str, Any],
) -> Encoder:
    import open_clip

    tag = None
    if str(checkpoint).startswith(TAG):
        name, tag, read = _tagged(str(checkpoint))
    else:
        read = libraries.open_directory(checkpoint, options, WEIGHTS)
        name = f"local-dir:{read.path}"
        if not read.config:
            raise OcclusionError(
                f"{read.path}: a directory without {CONFIG_NAME}",
                remedy="give a directory that open_clip saved, or use the family that the weights "
                "belong to.",
            )
    config = open_clip.get_model_config(name) or {}
    text, towers_from = _text_config(config, None if tag else read.path, tokenizer)
    try:
        # What the libraries below say to their own developers is not the user's to act on,
        with warnings.catch_warnings(action="ignore"), _hushed():
            # except that weights of one activation are being put into a model of the other.
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            model = open_clip.create_model(
                name, pretrained=tag, load_weights=False, pretrained_text=False, text_cfg=text
            )
            words = _words(name, text, read, tokenizer)
    except Exception as fault:
        remedy = (
            "check that open_clip, timm and transformers are new enough for it, and that the "
            "towers it names can be had (its configuration may need the hub)."
        )
        raise libraries.cannot_build(checkpoint, "open_clip", fault, remedy) from fault
    _fill(model, read)
    model = model.to(device).eval().requires_grad_(False)
    positions_first(model, device)
    canvas, pixels, cfg = _preprocessing(model)
    tower = getattr(getattr(model, "text", None), "config", None)
    described = {} if tower is None else tower.to_dict()
    told = [config, cfg, {key: v for key, v in described.items() if key not in UNTOLD}]
    return assemble(
        pixels=pixels,
        images=model.encode_image,
        texts=lambda ids: model.encode_text(ids.to(device)),
        tokens=_tokens(words),
        device=device,
        family="open-clip",
        variant=read.source.partition(":")[2] or type(model.visual).__name__,
        weights_digest=weights_digest(read.state),
        canvas=canvas,
        settings={
            "source": read.source,
            "revision": options["revision"],
            "open-clip": open_clip.__version__,
            "config": short_digest(json.dumps(told, default=str).encode()),
        },
        precision=precision,
        sources=(*read.cached, *towers_from),
    )


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep from the log that the model starts at random: it is filled right after."""

    def theirs(record: logging.LogRecord) -> bool:
        return "open_clip" not in record.pathname

    logging.getLogger().addFilter(theirs)
    try:
        yield
    finally:
        logging.getLogger().removeFilter(theirs)


def _tagged(checkpoint: str) -> tuple[str, str, Checkpoint]:
    """(open_clip name, its tag, the weights in open_clip's own cache) of ``tag:NAME/TAG``."""
    from open_clip import download_pretrained, get_pretrained_cfg, list_pretrained

    name, _, pretrained = checkpoint.removeprefix(TAG).rpartition("/")
    known = get_pretrained_cfg(name, pretrained) if name else None
    if not known:
        tags = [tag for model, tag in list_pretrained() if model == name]
        raise OcclusionError(
            f"{checkpoint}: open_clip knows no such "
            + (f"tag; it has {', '.join(tags[:12])}" if tags else "model"),
            remedy="write tag:NAME/TAG as open_clip.list_pretrained() gives them.",
        )
    try:
        weights = Path(download_pretrained(known))
    except Exception as fault:  # the hub's client and urllib raise many kinds
        raise OcclusionError(
            f"{checkpoint}: its weights cannot be downloaded ({type(fault).__name__})",
            remedy="check the network; or download the model elsewhere and give its directory.",
        ) from fault
    read = replace(read_checkpoint(weights), source=checkpoint, cached=(weights,))
    return name, pretrained, read


def _text_config(
    config: Mapping[str, Any], place: Path | None, tokenizer: str | Path | None
) -> tuple[dict[str, Any], list[Path]]:
    """The text tower's configuration with folders in place of names, and the files of a cache.

    A name is a folder beside the configuration, else what ``tokenizer`` gives, else a repository
    of the hub.

    Raises:
        OcclusionError: A repository that it names is not to be had.
    """
    text = dict(config.get("text_cfg", {}))
    given = Path(tokenizer).expanduser() if tokenizer is not None else None
    cached: list[Path] = []

    def folder(key: str, files: Sequence[str], places: Sequence[Path | None]) -> str:
        for found in filter(None, places):
            if any(any(found.glob(file)) for file in files):
                return str(found)
        named, where = text[key], f"model_cfg.text_cfg.{key}"
        if key == "hf_tokenizer_name" and given is not None:
            named, where = str(tokenizer), "tokenizer"
        name, _, revision = named.partition("@")
        at = f"{where} of {place / CONFIG_NAME}" if place and where != "tokenizer" else where
        found, _ = hub.snapshot(name, revision, [files], key=at)
        cached.extend(folder_files(found))
        return str(found)

    if named := text.get("hf_model_name"):
        # Given by a user it may be the tower's folder too, where the network cannot be asked.
        places = [place and place / named, given]
        text["hf_model_name"] = folder("hf_model_name", ["config.json"], places)
    if named := text.get("hf_tokenizer_name"):
        places = [given] if given is not None else [place, place and place / named]
        text["hf_tokenizer_name"] = folder("hf_tokenizer_name", WORDS, places)
    if "hf_model_name" in text:
        text["hf_model_pretrained"] = False
    return text, cached


def _words(
    name: str, text: Mapping[str, Any], read: Checkpoint, tokenizer: str | Path | None
) -> Any:
    """open_clip's tokenizer of a model, with the vocabulary that was given or is beside it."""
    import open_clip
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer

    asked = dict(text.get("tokenizer_kwargs") or {})
    if folder := text.get("hf_tokenizer_name"):
        limit = text.get("context_length", DEFAULT_CONTEXT_LENGTH)
        mode = text.get("tokenizer_mode")
        return HFTokenizer(folder, context_length=limit, tokenizer_mode=mode, **asked)
    pairs = read.vocabulary
    if tokenizer is not None:
        pairs = Path(tokenizer).expanduser()
    elif "bpe_path" in asked:
        pairs = (read.path if read.path.is_dir() else read.path.parent) / asked["bpe_path"]
    return open_clip.get_tokenizer(name, **({"bpe_path": str(pairs)} if pairs else {}))


def _fill(model: Any, read: Checkpoint) -> None:
    """Put exactly the weights that were read into the model."""
    from open_clip.convert import convert_state_dict
    from open_clip.model import convert_to_custom_text_state_dict

    held = model.state_dict()
    state = dict(read.state)
    if not any(name.startswith(UNIMED) for name in held):
        state = {re.sub(f"^{UNIMED}", "text.", name): tensor for name, tensor in state.items()}
    state = convert_state_dict(model, state)
    if "text.positional_embedding" in held:
        state = convert_to_custom_text_state_dict(state)  # files from before it was so called
    for name in ("logit_scale", "logit_bias"):  # with or without an axis of one
        if name in state and name in held and state[name].numel() == held[name].numel():
            state[name] = state[name].reshape(held[name].shape)
    own = {name: tensor for name, tensor in held.items() if name.endswith(INDICES)}
    uncounted = (*COUNTERS, "attn_mask")
    state = {
        name: tensor
        for name, tensor in state.items()
        if name not in own and (name in held or not name.endswith(uncounted))
    }
    plan = Plan(type(model).__name__, "of open_clip", state, (), {"": model})
    check_plan(plan, read.weights)
    model.load_state_dict({**own, **state}, strict=True)
    libraries.check_held(model, state, read.weights)


def _preprocessing(model: Any) -> tuple[CanvasRecipe, Any, dict[str, Any]]:
    """Split open_clip's transform where floats begin: the canvas, what follows it, all of it."""
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    cfg = PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
    steps = image_transform_v2(cfg, is_train=False).transforms
    cut = next(i for i, step in enumerate(steps) if "ToTensor" in type(step).__name__)
    height, width = cfg.size if isinstance(cfg.size, tuple | list) else (cfg.size, cfg.size)
    name = f"open-clip-{cfg.resize_mode}-{cfg.interpolation}-{height}x{width}-{cfg.fill_color}"
    recipe = CanvasRecipe(name, 3, height, width, partial(_draw, steps=tuple(steps[:cut])))
    pixels = partial(normalised, mean=tuple(cfg.mean), std=tuple(cfg.std), factor=1 / 255)
    return recipe, pixels, asdict(cfg)


def _draw(image: Image.Image, *, steps: Sequence[Any]) -> NDArray[np.uint8]:
    import numpy as np

    for step in steps:
        image = step(image)
    return np.array(image.convert("RGB"), dtype=np.uint8).transpose(2, 0, 1).copy()


OPEN_CLIP = Family("open-clip", _load, hub.OPTIONS, revision=2)
