"""Family ``hf``: dual encoders of transformers (CLIP, SigLIP, ...) with their own processor."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders import hub, libraries, methods
from pytest_occlusion.encoders.assembly import assemble
from pytest_occlusion.encoders.base import CanvasRecipe, Encoder, Family
from pytest_occlusion.encoders.canvases import normalised
from pytest_occlusion.encoders.checkpoints import Checkpoint
from pytest_occlusion.encoders.conformance import sample_images
from pytest_occlusion.encoders.files import short_digest
from pytest_occlusion.encoders.tokens import Tokens
from pytest_occlusion.encoders.trusted import staged
from pytest_occlusion.encoders.weights import (
    check_numbers,
    from_pretrained,
    quiet_transformers,
    weights_digest,
)
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL import Image

WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
"""What transformers calls the weights of a repository, best first."""

PROCESSOR = ("preprocessor_config.json", "processor_config.json")
WORDS = ("tokenizer.json", "tokenizer_config.json", "vocab.*", "*.model")
"""Of each of these a directory must have one, for pictures and for texts."""

PADDED = ("siglip", "siglip2")
"""Model types that were trained on texts padded to full length, and attend to the padding."""


def _tokens(words: Any, limit: int, *, padded: bool) -> Tokens:
    """A tokenizer that pads every text to ``limit`` tokens, or to the longest of the call."""

    def batch(texts: Sequence[str]) -> dict[str, torch.Tensor]:
        encoded = words(
            list(texts),
            padding="max_length" if padded else "longest",
            truncation=True,
            max_length=limit,
            return_tensors="pt",
        )
        kept = ("input_ids",) if padded else ("input_ids", "attention_mask")
        return {name: encoded[name] for name in kept}

    def rows(texts: Sequence[str]) -> list[list[int]]:
        found: list[list[int]] = words(list(texts), verbose=False)["input_ids"]
        return found

    return Tokens(rows, batch, limit, libraries.vocabulary_digest(words))


def _load(
    checkpoint: str | Path,
    tokenizer: str | Path | None,
    device: torch.device,
    precision: str,
    options: Mapping[str, Any],
) -> Encoder:
    import torch
    import transformers

    trusted = options["trust-remote-code"]
    read = libraries.open_directory(checkpoint, options, WEIGHTS)
    check_numbers(read.state, read.weights)
    what = str(read.path)
    if read.cached:
        what = f"{read.source}@{options['revision']} ({what})"
    place, told = read.path, {name: options[name] for name in methods.OPTIONS if options[name]}
    words_from = Path(tokenizer).expanduser() if tokenizer is not None else None
    with contextlib.ExitStack() as during:
        during.enter_context(quiet_transformers())
        if trusted:
            place, told["code"] = during.enter_context(staged(place, what))
        if trusted and words_from and words_from.is_dir():
            folder = staged(words_from, str(words_from))
            words_from, told["tokenizer-code"] = during.enter_context(folder)
        model, digest = _model(read, place, what, options)
        processor, words = _processors(place, words_from, what, trusted)
        canvas, pixels = _preprocessing(processor, read.path)
    model = model.to(device).eval().requires_grad_(False)
    kind = str(model.config.model_type)
    limit = methods.token_limit(model, words, options["max-tokens"], what)
    masked = "attention_mask" in words.model_input_names and methods.takes_mask(model, options)
    tokens = _tokens(words, limit, padded=kind in PADDED or not masked)

    def seen(x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"pixel_values": x}

    def said(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: ids.to(device) for name, ids in batch.items()}

    blank = torch.zeros(1, canvas.channels, canvas.height, canvas.width, device=device)
    images = methods.embedder(model, "image", options, said(tokens.batch(["normal"])))
    texts = methods.embedder(model, "text", options, seen(blank))
    return assemble(
        pixels=pixels,
        images=lambda x: images(seen(x)),
        texts=lambda batch: texts(said(batch)),
        tokens=tokens,
        device=device,
        family="hf",
        variant=read.source.partition(":")[2] or f"{kind} {canvas.height}px",
        weights_digest=digest,
        canvas=canvas,
        settings={
            "source": read.source,
            "revision": options["revision"],
            "trust-remote-code": trusted,
            "config": libraries.configuration_digest(read.path, read.weights if trusted else None),
            "transformers": transformers.__version__,
            **told,
        },
        precision=precision,
        sources=read.cached,
    )


def _model(read: Checkpoint, place: Path, what: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """The model of a directory with the weights that were read, and their digest."""
    import torch
    import transformers

    trusted = options["trust-remote-code"]
    # Copies, so that a later change of the file cannot reach the model or the digest.
    state = {name: tensor.detach().clone() for name, tensor in read.state.items()}
    try:
        config = transformers.AutoConfig.from_pretrained(
            place, local_files_only=True, trust_remote_code=trusted
        )
        with torch.device("meta"):
            empty = transformers.AutoModel.from_config(config, trust_remote_code=trusted)
        methods.check_methods(empty, options, what)
        prefix = read.prefix
        if prefix and any(prefix + name in empty.state_dict() for name in state):
            state = {prefix + name: tensor for name, tensor in state.items()}
        remedy = "config.json and weights must be of the same model."
        model = from_pretrained(type(empty), config, state, read.weights, remedy)
    except Exception as fault:
        remedy = "it needs the config.json that belongs to these weights."
        if "trust_remote_code" in str(fault):
            remedy = "it brings code of its own: read it, then set trust-remote-code = true."
        if not (place / "config.json").is_file():
            remedy = "put there the config.json that belongs to these weights: it has none."
        raise libraries.cannot_build(what, "transformers", fault, remedy) from fault
    libraries.check_held(model, state, read.weights)
    return model, weights_digest(state)


def _processors(place: Path, words: Path | None, what: str, trusted: bool) -> tuple[Any, Any]:
    """(image processor, tokenizer) of a directory; code of the tokenizer's own only with it."""
    import transformers

    asked: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trusted}
    told = {**asked, "trust_remote_code": trusted and (words is None or words.is_dir())}
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(place, **asked)
        return processor, transformers.AutoTokenizer.from_pretrained(words or place, **told)
    except Exception as fault:
        remedy = "it needs preprocessor_config.json and the tokenizer's files."
        if lacking := [
            f"{' or '.join(files)} in {folder}"
            for files, folder in ((PROCESSOR, place), (WORDS, words or place))
            if not any(any(folder.glob(file)) for file in files)
        ]:
            shown = "; ".join(lacking).replace(str(place), what)
            remedy = f"it needs, and has not: {shown}."
        raise libraries.cannot_build(what, "transformers", fault, remedy) from fault


def _preprocessing(processor: Any, place: Path) -> tuple[CanvasRecipe, Any]:
    """Split the processor where floats begin, and see that the halves make the whole."""
    import numpy as np
    import torch

    probes = sample_images()[:2]
    try:
        factor = float(processor.rescale_factor) if processor.do_rescale else 1.0
        mean = tuple(processor.image_mean) if processor.do_normalize else (0.0,) * 3
        std = tuple(processor.image_std) if processor.do_normalize else (1.0,) * 3
        pixels = partial(normalised, mean=mean, std=std, factor=factor)
        drawn = [_draw(probe, processor=processor) for probe in probes]
        whole = [_pixel_values(processor, probe.convert("RGB")) for probe in probes]
        off = max(
            float(np.abs(pixels(torch.from_numpy(canvas[None]))[0].numpy() - values).max())
            for canvas, values in zip(drawn, whole, strict=True)
        )
        problem = f"cannot be split into an 8-bit canvas and a normalisation (off by {off:.1e})"
        split = off <= 1e-4 and drawn[0].shape == drawn[1].shape
    except Exception as fault:
        said = f"{type(fault).__name__}: {str(fault)[:200]}"
        problem, split = f"does not give plain pictures ({said})", False
    if not split:
        raise OcclusionError(
            f"{place}: its {type(processor).__name__} {problem}",
            remedy="only processors that resize to one fixed size can be occluded at a known area.",
        )
    said = json.dumps(processor.to_dict(), sort_keys=True, default=str)
    digest = short_digest(said.encode())
    channels, height, width = drawn[0].shape
    name = f"hf-{type(processor).__name__}-{height}x{width}-{digest}"
    return CanvasRecipe(name, channels, height, width, partial(_draw, processor=processor)), pixels


def _pixel_values(processor: Any, image: Image.Image, **changes: Any) -> NDArray[Any]:
    import numpy as np

    values = processor(images=image, return_tensors="np", **changes)["pixel_values"]
    picture: NDArray[Any] = np.asarray(values)[0]
    return picture


def _draw(image: Image.Image, *, processor: Any) -> NDArray[np.uint8]:
    import numpy as np

    values = _pixel_values(processor, image.convert("RGB"), do_rescale=False, do_normalize=False)
    return np.ascontiguousarray(values.round().clip(0, 255).astype(np.uint8))


OPTIONS = {**hub.OPTIONS, "trust-remote-code": False, **methods.OPTIONS, "max-tokens": 0}
HF = Family("hf", _load, OPTIONS, revision=2)
