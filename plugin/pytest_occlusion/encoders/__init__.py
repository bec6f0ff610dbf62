"""Encoders: one module per family of checkpoints, resolved by name when one is needed.

A file is read once (``checkpoints``), fills the towers of a library, and is digested there
(``weights``, ``libraries``); preprocessing, pooling and projection are ours. This room imports no
other but :mod:`pytest_occlusion.errors`.
"""

from __future__ import annotations

import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.base import CanvasRecipe, Encoder, Family
from pytest_occlusion.encoders.files import checkpoint_files, is_remote
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "FAMILIES",
    "CanvasRecipe",
    "Encoder",
    "Family",
    "check_options",
    "checkpoint_files",
    "family_names",
    "get_family",
    "is_remote",
    "load_encoder",
    "register_family",
]

FAMILIES: dict[str, str] = {
    "clip": "pytest_occlusion.encoders.clip:CLIP",
    "cxr-repair": "pytest_occlusion.encoders.clip:CXR_REPAIR",
    "medclip": "pytest_occlusion.encoders.medclip:MEDCLIP",
    "cxr-clip": "pytest_occlusion.encoders.cxr_clip:CXR_CLIP",
    "biovil": "pytest_occlusion.encoders.biovil:BIOVIL",
    "chexficient": "pytest_occlusion.encoders.chexficient:CHEXFICIENT",
    "mgca": "pytest_occlusion.encoders.mgca:MGCA",
    "open-clip": "pytest_occlusion.encoders.openclip:OPEN_CLIP",
    "hf": "pytest_occlusion.encoders.hf:HF",
}
"""Family name -> ``"module:attribute"`` of its :class:`Family`."""

ENTRY_POINTS = "pytest_occlusion.encoders"
"""Entry point group in which an installed package offers families: name -> its :class:`Family`."""

_REGISTERED: dict[str, Family] = {}


def register_family(family: Family) -> None:
    """Make a family known for the rest of the process, e.g. from a conftest.

    Raises:
        OcclusionError: The name is that of a built-in family.
    """
    if family.name in FAMILIES:
        raise OcclusionError(
            f"encoder family {family.name!r} is built in and cannot be replaced",
            remedy="give yours another name.",
        )
    _REGISTERED[family.name] = family


def family_names() -> list[str]:
    """Every family that :func:`get_family` knows: built in, registered, installed."""
    return [*FAMILIES, *_REGISTERED, *(e for e in _installed() if e not in FAMILIES)]


def _installed() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def get_family(name: str) -> Family:
    """Look up a family; ``_`` and ``-`` are the same in its name.

    Raises:
        OcclusionError: No family has that name (lists the known ones), or an installed one cannot
            be imported.
    """
    spelled = name.strip().lower().replace("_", "-")
    if spelled in FAMILIES:
        return pkgutil.resolve_name(FAMILIES[spelled])  # type: ignore[no-any-return]
    if spelled in _REGISTERED:
        return _REGISTERED[spelled]
    if not (point := _installed().get(spelled)):
        raise OcclusionError(
            f"encoder family {name!r} is unknown", remedy=f"use one of {', '.join(family_names())}."
        )
    what = f"encoder family {point.name!r}: {point.value}"
    try:
        family = point.load()
    except Exception as fault:  # another package's import may raise anything
        raise OcclusionError(
            f"{what} cannot be imported ({type(fault).__name__}: {fault})",
            remedy="repair or uninstall the package that offers it.",
        ) from fault
    if not isinstance(family, Family) or family.name != point.name:
        raise OcclusionError(
            f"{what} is not a Family of that name",
            remedy="its entry point must name a pytest_occlusion.encoders.Family.",
        )
    return family


def check_options(family: Family, options: dict[str, Any]) -> dict[str, Any]:
    """Complete a model's options, spelled with ``-`` or ``_``, with the family's defaults.

    Returns:
        Every option of the family, spelled with ``-``.

    Raises:
        OcclusionError: An option is unknown, given twice, of the wrong type or none of the values
            that it may have; names all of them.
    """
    chosen, faults = dict(family.options), []
    given: set[str] = set()
    for spelled, value in options.items():
        name = spelled.replace("_", "-")
        default, known = family.options.get(name), family.choices.get(name)
        if name not in family.options:
            faults.append(f"unknown option {spelled!r}")
        elif name in given:
            faults.append(f"{name} is given twice")
        elif type(value) is not type(default) and (type(default), type(value)) != (float, int):
            kind = type(default).__name__
            faults.append(f"{name} = {value!r} is no {kind} (default {default!r})")
        elif isinstance(known, range) and value not in known:
            faults.append(f"{name} = {value!r} is out of range ({known[0]} to {known[-1]})")
        elif known is not None and value not in known:
            said = ", ".join(str(one) for one in known if one)
            faults.append(f"{name} = {value!r} is unknown (known: {said})")
        else:
            chosen[name] = float(value) if isinstance(default, float) else value
        given.add(name)
    if faults:
        own = ", ".join(f"{k} = {v!r}" for k, v in family.options.items()) or "none"
        raise OcclusionError(
            f"family {family.name!r}: {'; '.join(faults)}", remedy=f"its options are: {own}."
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
    from pytest_occlusion.encoders.devices import PRECISIONS, resolve_device

    found = get_family(family)
    chosen = check_options(found, options)
    if precision not in PRECISIONS:
        raise OcclusionError(
            f"precision {precision!r} is unknown", remedy=f"use one of {', '.join(PRECISIONS)}."
        )
    return found.load(checkpoint, tokenizer, resolve_device(device), precision, chosen)
