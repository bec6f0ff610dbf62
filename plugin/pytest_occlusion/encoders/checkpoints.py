"""Read the files of a checkpoint, executing nothing that is in them.

Tensors are mapped from the file where its container allows that, so that reading costs address
space and page cache, not memory.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.containers import (
    BUNDLE,
    SAFETENSORS,
    TORCH_ZIP,
    TORCHSCRIPT,
    container_of,
)
from pytest_occlusion.encoders.files import AGAIN, WEIGHT_NAMES, find_weights
from pytest_occlusion.encoders.torchscript import read_torchscript
from pytest_occlusion.encoders.trainer_config import plain, stand_ins
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import torch

CONFIG_NAME = "open_clip_config.json"
"""The file by which open_clip recognises a model directory."""

WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which trainers keep the state_dict: open_clip and Lightning, CXR-CLIP, tutorials."""

PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and ``torch.compile`` put before every name."""


@dataclass(frozen=True)
class Checkpoint:
    """What was read.

    Attributes:
        path: The file or directory that the user named.
        weights: The file that the tensors are from.
        container: How they were stored, in words.
        state: Name -> CPU tensor as stored; may map the file, so never write to one.
        config: The directory's ``open_clip_config.json``, or empty.
        vocabulary: The directory's own byte-pair vocabulary, or None.
        extras: ``config`` as plain data, from a trainer's file that holds one.
    """

    path: Path
    weights: Path
    container: str
    state: Mapping[str, torch.Tensor]
    config: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: Path | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint in any container that this package knows.

    Args:
        path: TorchScript archive, ``torch.save`` file (zip or legacy, bare state_dict or a
            trainer's dictionary around one), safetensors, or a directory with one of them.

    Returns:
        The tensors with ``module.`` prefixes removed, and what was beside them.

    Raises:
        OcclusionError: The file is missing, damaged, something else, or wants to run code.
    """
    path = Path(path).expanduser()
    weights = find_weights(path)
    container = container_of(weights)
    state, extras = _read_bundle(weights) if container == BUNDLE else _read(weights, container)
    if not state:
        raise OcclusionError(f"{weights}: holds no tensors", remedy=AGAIN)
    config, vocabulary = _companions(path) if path.is_dir() else ({}, None)
    return Checkpoint(path, weights, container, state, config, vocabulary, extras)


def _read(path: Path, container: str) -> tuple[dict[str, torch.Tensor], Mapping[str, Any]]:
    if container == SAFETENSORS:
        return _read_safetensors(path), {}
    if container == TORCHSCRIPT:
        return read_torchscript(path), {}
    return _unwrap(_read_pickle(path, mapped=container == TORCH_ZIP), path)


def _read_bundle(bundle: Path) -> tuple[dict[str, torch.Tensor], Mapping[str, Any]]:
    """The weights inside a zip of a model directory, which is how MedCLIP is published.

    The one member is unpacked beside nothing of the user's: into a temporary folder, whose file is
    mapped and then unlinked.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        member = Path(folder) / "weights"
        try:
            with zipfile.ZipFile(bundle) as archive:
                best = {Path(n).name: n for n in reversed(archive.namelist())}
                name = next(best[known] for known in WEIGHT_NAMES if known in best)
                with archive.open(name) as packed, member.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked, 1 << 20)
        except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError) as fault:
            raise OcclusionError(
                f"{bundle}: a damaged zip ({_first_line(fault)})", remedy=AGAIN
            ) from fault
        try:
            inner = container_of(member)
            if inner == BUNDLE:
                raise OcclusionError(f"{member}: a zip inside a zip", remedy="unpack it first.")
            return _read(member, inner)
        except OcclusionError as fault:
            inside = fault.problem.replace(str(member), f"{bundle}, in it {name}")
            raise OcclusionError(inside, remedy=fault.remedy) from fault


def _companions(directory: Path) -> tuple[Mapping[str, Any], Path | None]:
    config: Mapping[str, Any] = {}
    if (file := directory / CONFIG_NAME).is_file():
        try:
            config = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as fault:
            raise OcclusionError(f"{file}: not valid JSON ({fault})", remedy=AGAIN) from fault
    vocabularies = sorted(directory.glob("*bpe*.txt.gz"))
    if len(vocabularies) > 1:
        raise OcclusionError(
            f"{directory}: several byte-pair vocabularies ({', '.join(map(str, vocabularies))})",
            remedy="keep the one that the weights were trained with, or name it as the tokenizer.",
        )
    return config, vocabularies[0] if vocabularies else None


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
    except SafetensorError as fault:
        raise OcclusionError(
            f"{path}: a truncated or damaged safetensors file ({fault})", remedy=AGAIN
        ) from fault


def _read_pickle(path: Path, *, mapped: bool) -> Any:
    import torch

    try:
        with stand_ins():
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as fault:
        wanted = re.findall(r"GLOBAL ([\w.]+)", str(fault))
        if wanted:
            raise OcclusionError(
                f"{path}: this pickle does not only hold tensors: it asks to run {wanted[0]}, "
                "which was refused; nothing in it was executed",
                remedy="do not trust this file. If it is your own, save the state_dict alone: "
                "torch.save(model.state_dict(), path), or as safetensors.",
            ) from fault
        raise OcclusionError(
            f"{path}: not a readable torch file ({_first_line(fault)})", remedy=AGAIN
        ) from fault
    except Exception as fault:  # a damaged file can raise anything
        raise OcclusionError(
            f"{path}: a truncated or damaged torch file ({_first_line(fault)})", remedy=AGAIN
        ) from fault


def _first_line(fault: Exception) -> str:
    return f"{type(fault).__name__}: {(str(fault).splitlines() or [''])[0][:160]}"


def _unwrap(loaded: Any, path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The state_dict inside what a trainer saved, and the rest."""
    import torch

    extras: dict[str, Any] = {}
    for key in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            extras = {"config": plain(loaded.get("config"))}
            loaded = loaded[key]
            break
    tensors = isinstance(loaded, Mapping) and {
        str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)
    }
    if not tensors:
        kind = type(loaded).__name__
        raise OcclusionError(
            f"{path}: holds a {kind} without tensors where a state_dict was expected",
            remedy="save model.state_dict(), bare or under the key 'state_dict'.",
        )
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors, extras
