"""Models of a suite: is the checkpoint there, is it known already, and how to open it.

A warm run must not import torch, so what a loaded checkpoint turned out to be (digest, variant,
canvas) is remembered in the store under the digest of its files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.corpora.digests import file_digest, settings_digest
from pytest_occlusion.encoders import check_options, checkpoint_files, get_family, is_remote
from pytest_occlusion.engine.store import Store
from pytest_occlusion.errors import MissingError, OcclusionError
from pytest_occlusion.suite.settings import ModelSettings

if TYPE_CHECKING:
    from pytest_occlusion.encoders.base import Encoder


@dataclass(frozen=True)
class ModelRecord:
    """What is known of a model without its weights in memory.

    Attributes:
        family: Checkpoint format.
        variant: What the file holds.
        weights: Digest of the tensors.
        settings: The encoder's choices, with the family's code revision.
        precision: Of the forward passes.
        canvas: Name of the canvas recipe.
        canvas_size: Its (height, width).
        token_limit: Longest token sequence.
    """

    family: str
    variant: str
    weights: str
    settings: Mapping[str, Any]
    precision: str
    canvas: str
    canvas_size: tuple[int, int]
    token_limit: int

    @property
    def key(self) -> dict[str, Any]:
        """Everything that an embedding depends on besides its input; plain data."""
        return {
            "family": self.family,
            "weights": self.weights,
            "settings": dict(self.settings),
            "precision": self.precision,
            "canvas": self.canvas,
        }


def check_model(model: ModelSettings) -> OcclusionError | None:
    """What is wrong with a model's table or files, or ``None``. Loads nothing.

    Returns:
        A :class:`MissingError` where a file or variable is not there, any other
        :class:`OcclusionError` where something is there but wrong.
    """
    if model.missing:
        names = ", ".join(f"${name}" for name in model.missing)
        return MissingError(
            f"{model.name}: the environment variable {names} is not set", remedy="export it"
        )
    try:
        check_options(get_family(model.family), dict(model.options))
        checkpoint_files(model.checkpoint, model.tokenizer)
    except OcclusionError as fault:
        kind = MissingError if _is_absent(model) else OcclusionError
        return kind(f"{model.name}: {fault.problem}", remedy=fault.remedy)
    return None


def _is_absent(model: ModelSettings) -> bool:
    return not is_remote(model.checkpoint) and not Path(model.checkpoint).exists()


def files_key(model: ModelSettings, precision: str) -> str:
    """Digest of the model's files and settings: under it the store remembers its record."""
    files = checkpoint_files(model.checkpoint, model.tokenizer)
    here = model.tokenizer is not None and Path(model.tokenizer).exists()
    return settings_digest(
        {
            "family": model.family,
            "revision": get_family(model.family).revision,
            "files": [(path.name, file_digest(path)) for path in files],
            "remote": model.checkpoint if is_remote(model.checkpoint) else None,
            "tokenizer": None if here else model.tokenizer,
            "options": dict(model.options),
            "precision": precision,
        }
    )


def known_record(model: ModelSettings, precision: str, store: Store) -> ModelRecord | None:
    """The record of a model that was opened before, without opening it."""
    entry = store.read("models", files_key(model, precision))
    if entry is None:
        return None
    fields = dict(entry.fields)
    fields["canvas_size"] = tuple(fields["canvas_size"])
    return ModelRecord(**fields)


def open_encoder(
    model: ModelSettings, *, precision: str, device: str, store: Store
) -> tuple[Encoder, ModelRecord]:
    """Load a model and remember what it is.

    Raises:
        OcclusionError: The loader's own faults, with the model's name in front.
    """
    from pytest_occlusion.encoders import load_encoder

    try:
        encoder = load_encoder(
            model.family,
            checkpoint=model.checkpoint,
            tokenizer=model.tokenizer,
            device=device,
            precision=precision,
            **model.options,
        )
    except OcclusionError as fault:
        raise OcclusionError(f"model {model.name}: {fault.problem}", remedy=fault.remedy) from fault
    record = record_of(encoder)
    store.write("models", files_key(model, precision), {}, asdict(record))
    return encoder, record


def record_of(encoder: Encoder) -> ModelRecord:
    """What is worth remembering of a loaded encoder."""
    return ModelRecord(
        family=encoder.family,
        variant=encoder.variant,
        weights=encoder.weights_digest,
        settings={**encoder.settings, "revision": get_family(encoder.family).revision},
        precision=encoder.precision,
        canvas=encoder.canvas.name,
        canvas_size=(encoder.canvas.height, encoder.canvas.width),
        token_limit=encoder.token_limit,
    )
