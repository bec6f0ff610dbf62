"""Family ``hf``: dual encoders of transformers (CLIP, SigLIP, ...) with their own processor."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.assembly import assemble
from pytest_occlusion.encoders.base import CanvasRecipe, Encoder, Family
from pytest_occlusion.encoders.canvases import normalised
from pytest_occlusion.encoders.conformance import sample_images
from pytest_occlusion.encoders.files import read_json, short_digest
from pytest_occlusion.encoders.libraries import (
    OPTIONS,
    Source,
    cannot_build,
    check_held,
    configuration_digest,
    open_source,
    vocabulary_digest,
)
from pytest_occlusion.encoders.tokens import Tokens
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

    return Tokens(rows, batch, limit, vocabulary_digest(words))


def _load(
    checkpoint: str | Path,
    tokenizer: str | Path | None,
    device: torch.device,
    precision: str,
    options: Mapping[str, Any],
) -> Encoder:
    import transformers

    trusted = options["trust-remote-code"]
    source = open_source(checkpoint, options, WEIGHTS)
    check_numbers(source.read.state, source.read.weights)
    with quiet_transformers():
        model, digest = _model(source, trusted)
        processor, words = _processors(source.place, tokenizer, trusted)
    model = model.to(device).eval().requires_grad_(False)
    canvas, pixels = _preprocessing(processor, source.place)

    def features(found: Any) -> torch.Tensor:
        # transformers >= 5 wraps the projected features in an output record.
        projected: torch.Tensor = getattr(found, "pooler_output", found)
        return projected

    kind = str(model.config.model_type)
    limit = int(model.config.text_config.max_position_embeddings)
    return assemble(
        pixels=pixels,
        images=lambda x: features(model.get_image_features(pixel_values=x)),
        texts=lambda batch: features(
            model.get_text_features(**{name: ids.to(device) for name, ids in batch.items()})
        ),
        tokens=_tokens(words, limit, padded=kind in PADDED),
        device=device,
        family="hf",
        variant=source.variant or f"{kind} {canvas.height}px",
        weights_digest=digest,
        canvas=canvas,
        settings={
            "source": source.name,
            "revision": options["revision"],
            "trust-remote-code": trusted,
            "config": configuration_digest(source.place, code=trusted),
            "transformers": transformers.__version__,
        },
        precision=precision,
        sources=source.files,
    )


def _model(source: Source, trusted: bool) -> tuple[Any, str]:
    """The model of a directory with the weights that were read, and their digest."""
    import torch
    import transformers

    place = source.place
    if trusted:
        _check_code(place)
    # Copies, so that a later change of the file cannot reach the model or the digest.
    state = {name: tensor.detach().clone() for name, tensor in source.read.state.items()}
    try:
        config = transformers.AutoConfig.from_pretrained(
            place, local_files_only=True, trust_remote_code=trusted
        )
        with torch.device("meta"):
            empty = transformers.AutoModel.from_config(config, trust_remote_code=trusted)
        _check_towers(empty, place)
        prefix = source.read.prefix
        if prefix and any(prefix + name in empty.state_dict() for name in state):
            state = {prefix + name: tensor for name, tensor in state.items()}
        remedy = "config.json and weights must be of the same model."
        model = from_pretrained(type(empty), config, state, source.read.weights, remedy)
    except Exception as fault:
        remedy = "it needs the config.json that belongs to these weights."
        if "trust_remote_code" in str(fault):
            remedy = "it brings code of its own: read it, then set trust-remote-code = true."
        raise cannot_build(place, "transformers", fault, remedy) from fault
    check_held(model, state, source.read.weights)
    return model, weights_digest(state)


def _check_code(place: Path) -> None:
    """Refuse code of another repository: neither this directory nor a revision pins it."""
    for file in sorted(place.glob("*config.json")):
        codes = list(map(str, (read_json(file).get("auto_map") or {}).values()))
        if elsewhere := [code for code in codes if "--" in code]:
            raise OcclusionError(
                f"{file}: its code is in another repository ({', '.join(elsewhere)}), where it "
                "could change unseen",
                remedy="put that code into the directory, and name it without 'REPOSITORY--'.",
            )


def _processors(place: Path, tokenizer: str | Path | None, trusted: bool) -> tuple[Any, Any]:
    """(image processor, tokenizer) of a directory."""
    import transformers

    asked: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trusted}
    words_from = Path(tokenizer).expanduser() if tokenizer is not None else place
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(place, **asked)
        return processor, transformers.AutoTokenizer.from_pretrained(words_from, **asked)
    except Exception as fault:
        remedy = "it needs preprocessor_config.json and the tokenizer's files."
        raise cannot_build(place, "transformers", fault, remedy) from fault


def _check_towers(model: Any, place: Path) -> None:
    if not hasattr(model, "get_image_features") or not hasattr(model, "get_text_features"):
        raise OcclusionError(
            f"{place}: {type(model).__name__} is no dual encoder: it has no get_image_features and "
            "get_text_features",
            remedy="give a CLIP- or SigLIP-like model.",
        )


def _preprocessing(processor: Any, place: Path) -> tuple[CanvasRecipe, Any]:
    """Split the processor where floats begin, and see that the halves make the whole."""
    import numpy as np
    import torch

    factor = float(processor.rescale_factor) if processor.do_rescale else 1.0
    mean = tuple(processor.image_mean) if processor.do_normalize else (0.0,) * 3
    std = tuple(processor.image_std) if processor.do_normalize else (1.0,) * 3
    pixels = partial(normalised, mean=mean, std=std, factor=factor)
    probes = sample_images()[:2]
    try:
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


HF = Family("hf", _load, {**OPTIONS, "trust-remote-code": False}, revision=2)
