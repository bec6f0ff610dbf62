"""Which of the known models a checkpoint can be."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatchcase
from pathlib import Path

from pytest_occlusion.encoders.checkpoints import Checkpoint
from pytest_occlusion.encoders.register import Known, known_models
from pytest_occlusion.encoders.signatures import SHARED, TORCHSCRIPT

Recognised = tuple[tuple[Known, ...], str]
"""The entries that a file can be, and what tells: its checksum, its name, or its shapes."""


def by_file(read: Checkpoint, family: str) -> Recognised:
    """Entries of a format whose checksum, or else whose file name, is that of the file."""
    formats = {family, *(own for own, shared in SHARED.items() if shared == family)}
    near = [entry for entry in known_models() if entry.family in formats]
    paths = {path for path in (read.path, read.weights) if path.is_file()}
    for kind in ("sha256", "md5"):
        told = [(entry, _sums(entry, kind)) for entry in near]
        found = {_digest(path, kind) for path in paths} if any(sums for _, sums in told) else set()
        if same := tuple(entry for entry, sums in told if sums & found):
            return same, "by its checksum"
    named = [entry for entry in near if any(fnmatchcase(read.path.name, n) for n in _names(entry))]
    return tuple(named), "by its file's name"


def by_shapes(read: Checkpoint, family: str, variant: str) -> Recognised:
    """Entries whose tensors have these shapes.

    Openai's files are TorchScript archives; CXR-RePaiR's and CheXzero's, of the same shapes, are
    plain state_dicts, and so is what anybody saved anew of any of them.
    """
    formats = {family}
    if read.container != TORCHSCRIPT:
        formats |= {own for own, shared in SHARED.items() if shared == family}
    near = [entry for entry in known_models() if entry.family in formats]
    return tuple(entry for entry in near if variant and entry.variant == variant), "by its shapes"


def _sums(entry: Known, kind: str) -> set[str]:
    told = [entry.md5] if kind == "md5" else [entry.sha256, *entry.sums.values()]
    return {one for one in told if one}


def _names(entry: Known) -> list[str]:
    """Names that are its own: not those of files on the hub, nor where a checksum would tell."""
    if entry.hub or entry.sha256:
        return []
    return [*entry.files, *([] if entry.how == "by hand" else [entry.file])]


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, kind).hexdigest()
