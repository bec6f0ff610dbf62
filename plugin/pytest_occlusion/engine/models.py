"""Models of a suite: is the checkpoint there, is it known already, and how to open it.

A warm run must not import torch, so what a loaded checkpoint turned out to be (digest, variant,
canvas) is remembered in the store under the digest of all its files. How many texts its tokenizer
would cut is counted here too, before anything is embedded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pytest_occlusion.corpora.digests import file_digest, settings_digest
from pytest_occlusion.encoders import (
    FAMILIES,
    check_options,
    checkpoint_files,
    get_family,
    is_remote,
    load_encoder,
)
from pytest_occlusion.encoders.base import Encoder
from pytest_occlusion.encoders.files import HUB, is_weights
from pytest_occlusion.encoders.register import find_model
from pytest_occlusion.engine.store import Store
from pytest_occlusion.errors import MissingError, OcclusionError
from pytest_occlusion.suite.settings import ModelSettings


@dataclass(frozen=True)
class ModelRecord:
    """What is known of a model without its weights in memory."""

    family: str  # checkpoint format
    variant: str  # what the file holds
    weights: str  # digest of the tensors
    settings: Mapping[str, Any]  # the encoder's choices, with the family's code revision
    precision: str  # of the forward passes
    canvas: str  # name of the canvas recipe
    canvas_size: tuple[int, int]  # height, width
    token_limit: int  # longest token sequence
    assumed: Mapping[str, Any] = field(default_factory=dict)
    """Those of the settings that neither its files nor its options told."""

    @property
    def key(self) -> dict[str, Any]:
        """Everything that an embedding depends on besides its input; plain data."""
        names = ("family", "weights", "settings", "precision", "canvas")
        return {name: value for name, value in asdict(self).items() if name in names}


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
        options = check_options(get_family(model.family), dict(model.options))
        model_files(model)
        if model.checkpoint.startswith(HUB) and "revision" in options:
            from pytest_occlusion.encoders.hub import pinned_name

            pinned_name(model.checkpoint, str(options["revision"]))
    except OcclusionError as fault:
        there = is_remote(model.checkpoint) or Path(model.checkpoint).exists()
        if not there and model.model and Path(model.checkpoint) == find_model(model.model).place:
            return MissingError(
                f"{model.name}: {model.checkpoint}: not fetched yet",
                remedy=f"`python -m pytest_occlusion fetch {model.model}` brings it.",
            )
        kind = OcclusionError if there else MissingError
        return kind(f"{model.name}: {fault.problem}", remedy=fault.remedy)
    return None


def model_files(model: ModelSettings) -> list[Path]:
    """Files that a model is read from.

    Raises:
        OcclusionError: They are not there, or the family would not know which to read.
    """
    family = get_family(model.family)
    ours = family.name in FAMILIES  # another's option may mean another thing
    weights = check_options(family, dict(model.options))["weights"] if ours else ""
    return checkpoint_files(model.checkpoint, model.tokenizer, str(weights))


def files_key(model: ModelSettings, precision: str) -> str:
    """Digest of the model's files and settings: under it the store remembers its record."""
    here = model.tokenizer is not None and Path(model.tokenizer).exists()
    root = Path(model.checkpoint).expanduser()
    return settings_digest(
        {
            "family": model.family,
            "revision": get_family(model.family).revision,
            "files": [
                (str(f.relative_to(root)) if root in f.parents else f.name, file_digest(f))
                for f in model_files(model)
            ],
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
    for path, digest in fields.pop("sources", {}).items():
        if not Path(path).is_file() or file_digest(Path(path)) != digest:
            return None
    fields["canvas_size"] = tuple(fields["canvas_size"])
    return ModelRecord(**fields)


def open_encoder(
    model: ModelSettings, *, precision: str, device: str, store: Store
) -> tuple[Encoder, ModelRecord]:
    """Load a model and remember what it is.

    Raises:
        OcclusionError: The loader's own faults, with the model's name in front; or the files were
            written to while they were read.
    """
    try:
        before = _stamps(model)
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
    key = files_key(model, precision)
    after = _stamps(model)
    changed = [path.name for path, stamp in before.items() if after.get(path) != stamp]
    if any(is_weights(name) or name == Path(model.checkpoint).name for name in changed):
        raise OcclusionError(
            f"model {model.name}: {', '.join(changed[:5])} changed while the model was read",
            remedy="run again when nothing writes to its files any more.",
        )
    if not changed and store.root is not None:
        sources = {str(path): file_digest(path) for path in encoder.sources}
        store.write("models", key, {}, {**asdict(record), "sources": sources})
    return encoder, record


def _stamps(model: ModelSettings) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in model_files(model)}


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
        assumed=dict(encoder.assumed),
    )


def truncation_lines(texts: Sequence[str], models: Sequence[ModelSettings]) -> Iterator[str]:
    """Lines to print: a head, then one for each model, also for those not on this machine.

    Counts only, never a text; the limit and often the vocabulary are the checkpoint's own.

    Raises:
        OcclusionError: A model that is here but cannot be loaded.
    """
    yield COUNTS
    for model in models:
        yield truncation_line(texts, model)


def truncation_line(texts: Sequence[str], model: ModelSettings) -> str:
    """The line of one model; it raises as :func:`truncation_lines`."""
    fault = check_model(model)
    if isinstance(fault, MissingError):
        return uncounted_line(model.name, fault.problem.removeprefix(f"{model.name}: "))
    if fault is not None:
        raise fault
    encoder, _ = open_encoder(model, precision="fp32", device="cpu", store=Store(None))
    return count_line(model.name, encoder.count_tokens(texts), encoder.token_limit)


COUNTS = f"{'truncated per tokenizer':<32}{'texts':>10}{'share':>13}{'limit':>9}{'longest':>10}"
"""Head of the lines below."""


def count_line(name: str, counts: Sequence[int], limit: int) -> str:
    """How many texts a model's token limit cuts."""
    cut = sum(count > limit for count in counts)
    share = f"{100 * cut / len(counts):.1f} %"
    return f"{f'  {name}':<32}{cut:>10,}{share:>13}{limit:>9,}{max(counts):>10,}"


def uncounted_line(name: str, reason: str) -> str:
    """Why a model's are not counted."""
    return f"{f'  {name}':<32}  not counted: {reason}"
