"""Encoders: one module per family of checkpoints, resolved by name when one is needed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from pytest_occlusion.encoders.base import CanvasRecipe, Encoder, Family
from pytest_occlusion.encoders.checkpoints import checkpoint_files
from pytest_occlusion.errors import OcclusionError

__all__ = [
    "FAMILIES",
    "CanvasRecipe",
    "Encoder",
    "Family",
    "check_options",
    "checkpoint_files",
    "get_family",
    "load_encoder",
]

FAMILIES: dict[str, str] = {
    "clip": "pytest_occlusion.encoders.clip:CLIP",
    "cxr-repair": "pytest_occlusion.encoders.clip:CXR_REPAIR",
    "medclip": "pytest_occlusion.encoders.medclip:MEDCLIP",
    "cxr-clip": "pytest_occlusion.encoders.cxr_clip:CXR_CLIP",
}
"""Family name -> ``"module:attribute"`` of its :class:`Family`."""


def get_family(name: str) -> Family:
    """Look up a family; ``_`` and ``-`` are the same in its name.

    Raises:
        OcclusionError: No family has that name; lists the known ones.
    """
    spelled = name.strip().lower().replace("_", "-")
    if spelled not in FAMILIES:
        raise OcclusionError(
            f"encoder family {name!r} is unknown", remedy=f"use one of {', '.join(FAMILIES)}."
        )
    module, attribute = FAMILIES[spelled].split(":")
    family: Family = getattr(importlib.import_module(module), attribute)
    return family


def check_options(family: Family, options: dict[str, Any]) -> dict[str, Any]:
    """Complete a model's options with the family's defaults.

    Args:
        family: The family that is asked for.
        options: Option name (spelled with ``-`` or ``_``) -> value.

    Returns:
        Every option of the family, spelled with ``-``.

    Raises:
        OcclusionError: An option is unknown, given twice or of the wrong type; names all of them.
    """
    chosen, faults = dict(family.options), []
    given: set[str] = set()
    for spelled, value in options.items():
        name = spelled.replace("_", "-")
        default = family.options.get(name)
        if name not in family.options:
            faults.append(f"unknown option {spelled!r}")
        elif name in given:
            faults.append(f"{name} is given twice")
        elif isinstance(default, float) and type(value) is int:
            chosen[name] = float(value)
        elif type(value) is not type(default):
            kind = type(default).__name__
            faults.append(f"{name} = {value!r} is no {kind} (default {default!r})")
        else:
            chosen[name] = value
        given.add(name)
    if faults:
        known = ", ".join(f"{k} = {v!r}" for k, v in family.options.items()) or "none"
        raise OcclusionError(
            f"family {family.name!r}: {'; '.join(faults)}", remedy=f"its options are: {known}."
        )
    return chosen


def load_encoder(
    family: str,
    *,
    checkpoint: str | Path,
    tokenizer: str | Path | None = None,
    device: str = "auto",
    precision: str = "fp32",
    **options: Any,
) -> Encoder:
    """Load a published checkpoint with its own preprocessing.

    Args:
        family: One of :data:`FAMILIES`.
        checkpoint: Path of the file or directory, or a hub id where the family takes one.
        tokenizer: Path or hub id of the vocabulary, for checkpoints that do not carry one.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        precision: ``"fp32"`` (exact inside ``devices.exact_matmul``), ``"bf16"`` or ``"fp16"``.
        **options: The family's own choices, e.g. ``antialias=True`` for ``cxr-repair``.

    Returns:
        The encoder; its embeddings are those of upstream's evaluation code.

    Raises:
        OcclusionError: Anything that is wrong with the arguments or the files.
    """
    from pytest_occlusion.encoders.devices import check_precision, resolve_device

    found = get_family(family)
    chosen = check_options(found, options)
    check_precision(precision)
    return found.load(checkpoint, tokenizer, resolve_device(device), precision, chosen)
