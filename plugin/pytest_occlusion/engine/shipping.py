"""Checkpoints for nodes that do not have them: once per node, known by their digest."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.engine.models import model_files
from pytest_occlusion.engine.store import write_atomically
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.suite.settings import ModelSettings

Shipped = Mapping[str, NDArray[np.uint8]]
"""Place below ``checkpoint/`` or ``tokenizer/`` -> bytes of a file."""


def shipment(model: ModelSettings) -> dict[str, NDArray[np.uint8]]:
    """The files of a model, to be sent."""
    sent = {}
    for path in model_files(model):
        for name in ("checkpoint", "tokenizer"):
            root = Path(getattr(model, name) or "").expanduser()
            if path == root or root in path.parents:
                place = path.relative_to(root.parent)
                sent[f"{name}/{place.as_posix()}"] = np.fromfile(path, dtype=np.uint8)
    return sent


def shipped_model(model: ModelSettings, sent: Shipped) -> ModelSettings:
    """The model at a place of this node, where its files are written unless they are there.

    Raises:
        OcclusionError: The files cannot be written.
    """
    sizes = sorted((name, len(content)) for name, content in sent.items())
    user = os.getuid() if hasattr(os, "getuid") else "user"
    key = settings_digest([model.name, sizes, *(_digest(sent[name]) for name, _ in sizes)])
    folder = Path(tempfile.gettempdir()) / f"pytest-occlusion-shipped-{user}" / key[:32]
    try:
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        if hasattr(os, "getuid") and folder.parent.stat().st_uid != os.getuid():
            raise PermissionError(1, f"{folder.parent} is another user's")
        for name, content in sent.items():
            path = folder / name
            if not path.exists() or _digest(np.fromfile(path, np.uint8)) != _digest(content):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, content.tobytes(), mode=0o600)
    except OSError as fault:
        raise OcclusionError(
            f"{folder}: a checkpoint cannot be written ({fault.strerror or fault})",
            remedy="make room on this node, or put the checkpoint where all nodes see it",
        ) from fault

    def place(name: str, given: str) -> str:
        there = any(one.startswith(f"{name}/") for one in sent)
        return str(folder / name / Path(given).name) if there else given

    tokenizer = model.tokenizer and place("tokenizer", model.tokenizer)
    return replace(model, checkpoint=place("checkpoint", model.checkpoint), tokenizer=tokenizer)


def _digest(content: NDArray[np.uint8]) -> str:
    import hashlib

    return hashlib.sha256(content.tobytes()).hexdigest()
