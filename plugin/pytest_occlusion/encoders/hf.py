"""Family ``hf``: dual encoders of transformers (CLIP, SigLIP, ...) with their own processor."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.assembly import Towers, assemble
from pytest_occlusion.encoders.base import CanvasRecipe, Encoder, Family
from pytest_occlusion.encoders.checkpoints import read_checkpoint
from pytest_occlusion.encoders.conformance import sample_images
from pytest_occlusion.encoders.files import find_weights, short_digest, weight_shards
from pytest_occlusion.encoders.hub import HUB, local_directory
from pytest_occlusion.encoders.openclip import normalised, vocabulary_digest
from pytest_occlusion.encoders.weights import not_numbers, weights_digest
from pytest_occlusion.errors import OcclusionError, listed

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL import Image

WEIGHTS = (("model*.safetensors",), ("pytorch_model*.bin",))
"""What transformers calls the weights of a repository, best first."""

PADDED = ("siglip", "siglip2")
"""Model types that were trained on texts padded to full length, and attend to the padding."""

INDICES = ("position_ids", "relative_position_index")
"""Endings of buffers that old files carry and new modules count for themselves."""


@dataclass(frozen=True)
class HubTokens:
    """A transformers tokenizer.

    Attributes:
        tokenizer: The tokenizer of the model's processor.
        limit: Positions of the text tower.
        padded: Pad every text to ``limit`` rather than to the longest of the call.
    """

    tokenizer: Any
    limit: int
    padded: bool

    def batch(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Token ids, and the attention mask where the model looks at it."""
        encoded = self.tokenizer(
            list(texts),
            padding="max_length" if self.padded else "longest",
            truncation=True,
            max_length=self.limit,
            return_tensors="pt",
        )
        kept = ("input_ids",) if self.padded else ("input_ids", "attention_mask")
        return {name: encoded[name] for name in kept}

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text before the cut."""
        return [len(row) for row in self.tokenizer(list(texts), verbose=False)["input_ids"]]


def _load(
    checkpoint: str | Path,
    tokenizer: str | Path | None,
    device: torch.device,
    precision: str,
    options: Mapping[str, Any],
) -> Encoder:
    import transformers

    revision, trusted = options["revision"], options["trust-remote-code"]
    place = local_directory(checkpoint, revision, WEIGHTS)
    files = weight_shards(place) or [find_weights(place)]
    # Read before transformers does: names damage, refuses code, and gives the files' digest.
    state = {name: t for file in files for name, t in read_checkpoint(file).state.items()}
    if faults := not_numbers(state):
        raise OcclusionError(
            f"{place}: {len(faults)} tensors hold values that are not numbers:\n{listed(faults)}",
            remedy="the training run diverged or the file is damaged; use an earlier checkpoint.",
        )
    model, processor, words = _built(place, tokenizer, trusted)
    _check_towers(model, place)
    model = model.to(device).eval().requires_grad_(False)
    canvas, pixels = _preprocessing(processor, place)

    def features(found: Any) -> torch.Tensor:
        # transformers >= 5 wraps the projected features in an output record.
        projected: torch.Tensor = getattr(found, "pooler_output", found)
        return projected

    towers = Towers(
        pixels=pixels,
        images=lambda x: features(model.get_image_features(pixel_values=x)),
        texts=lambda batch: features(
            model.get_text_features(**{name: ids.to(device) for name, ids in batch.items()})
        ),
        device=device,
    )
    kind = str(model.config.model_type)
    limit = int(model.config.text_config.max_position_embeddings)
    source = str(checkpoint) if str(checkpoint).startswith(HUB) else "directory"
    return assemble(
        towers,
        HubTokens(words, limit, padded=kind in PADDED),
        family="hf",
        variant=f"{kind} {canvas.height}px" if source == "directory" else source[len(HUB) :],
        digest=weights_digest(state),
        canvas=canvas,
        settings={
            "source": source,
            "revision": revision,
            "trust-remote-code": trusted,
            "config": short_digest((place / "config.json").read_bytes()),
            "vocabulary": vocabulary_digest(words),
            "transformers": transformers.__version__,
        },
        precision=precision,
    )


def _built(place: Path, tokenizer: str | Path | None, trusted: bool) -> tuple[Any, Any, Any]:
    """(model, image processor, tokenizer) of a directory."""
    import torch
    import transformers

    asked: dict[str, Any] = {"local_files_only": True, "trust_remote_code": trusted}
    words_from = Path(tokenizer).expanduser() if tokenizer is not None else place
    try:
        with warnings.catch_warnings():
            # What the library says to its own developers is not the user's to act on.
            warnings.simplefilter("ignore")
            model, info = transformers.AutoModel.from_pretrained(
                place, dtype=torch.float32, output_loading_info=True, **asked
            )
            processor = transformers.AutoImageProcessor.from_pretrained(place, **asked)
            words = transformers.AutoTokenizer.from_pretrained(words_from, **asked)
    except Exception as fault:  # transformers raises many kinds
        remedy = "it needs config.json, preprocessor_config.json and the tokenizer's files."
        if "trust_remote_code" in str(fault):
            remedy = "it brings code of its own: read it, then set trust-remote-code = true."
        raise OcclusionError(
            f"{place}: transformers cannot load it ({type(fault).__name__}: {str(fault)[:300]})",
            remedy=remedy,
        ) from fault
    lacking = [name for name in info["missing_keys"] if not str(name).endswith(INDICES)]
    wrong = [str(name) for name in (*lacking, *info["mismatched_keys"])]
    if wrong:
        # transformers would fill these with random numbers and carry on.
        raise OcclusionError(
            f"{place}: {len(wrong)} tensors of the model are missing or misshapen:\n"
            f"{listed(wrong)}",
            remedy="config.json and weights must be of the same model.",
        )
    return model, processor, words


def _check_towers(model: Any, place: Path) -> None:
    if hasattr(model, "get_image_features") and hasattr(model, "get_text_features"):
        return
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
    except Exception as fault:
        raise OcclusionError(
            f"{place}: its {type(processor).__name__} does not give plain pictures "
            f"({type(fault).__name__}: {str(fault)[:200]})",
            remedy="only processors that resize to one fixed size can be occluded at a known area.",
        ) from fault
    if off > 1e-4 or drawn[0].shape != drawn[1].shape:
        raise OcclusionError(
            f"{place}: its {type(processor).__name__} cannot be split into an 8-bit canvas and a "
            f"normalisation (off by {off:.1e})",
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


HF = Family("hf", _load, {"revision": "", "trust-remote-code": False})
