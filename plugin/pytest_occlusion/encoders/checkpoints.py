"""Read the weights of a checkpoint, executing nothing that is in them.

Every loader and ``inspect`` come through :func:`read_checkpoint`: what is measured, digested and
shown are the same tensors of the same files. They are mapped from the file where its container
allows that, so that reading costs address space and page cache, not memory.
"""

from __future__ import annotations

import pickle
import re
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders import signatures
from pytest_occlusion.encoders.files import (
    AGAIN,
    ALL,
    CONFIG_NAME,
    damaged,
    is_weights,
    read_json,
    shard_names,
    weight_sets,
)
from pytest_occlusion.encoders.pickles import DEEPEST, plain, read_torchscript, stand_ins
from pytest_occlusion.errors import OcclusionError, listed

if TYPE_CHECKING:
    import torch

WRAPPERS = (
    *("state_dict", "model", "model_state_dict", "model_state", "module", "net", "network"),
    *("weights", "params", "clip", "clip_model"),
)
"""Keys under which trainers keep the state_dict: open_clip and Lightning, CXR-CLIP, tutorials."""

AVERAGES = ("ema", "model_ema", "ema_model", "ema_state_dict", "state_dict_ema", "model_ema_state")
"""Keys of averaged weights, which are read only where no others are."""

PARALLEL = ("module.", "_orig_mod.", "_fsdp_wrapped_module.")
"""What DataParallel, ``torch.compile`` and FSDP put before every name, of any model."""

DTYPES = ("float16", "bfloat16", "float32", "float64")
"""What weights are stored in; they are computed with as float32."""

COUNT = "n_averaged"
"""Beside the names of ``torch.optim.swa_utils.AveragedModel``, which all begin with ``module.``."""

COUNTERS = (
    "batches_tracked",
    "_count",
    "_ids",
    "_index",
    "input_resolution",
    "context_length",
    "vocab_size",
)
"""How the names of whole numbers end that are no weights, in the files of these models."""


Read = tuple[dict[str, "torch.Tensor"], dict[str, Any]]
"""Name -> tensor, and what a trainer saved beside them."""


@dataclass(frozen=True)
class Checkpoint:
    """What was read.

    Attributes:
        path: The file or directory that the user named.
        weights: The file that the tensors are from; of a split checkpoint, its index; of several
            that were joined, their directory.
        container: How they were stored, in words.
        state: Name -> CPU tensor as stored; may map the file, so never write to one.
        config: The directory's ``open_clip_config.json``, or empty.
        vocabulary: The directory's own byte-pair vocabulary, or None.
        extras: ``config`` as plain data, from a trainer's file that holds one.
        prefix: What was before every name in the file and has been taken off.
        size: Bytes of the files that the tensors are from.
        source: Where a model of a library is from: the id of a remote one, else ``"directory"``.
        cached: Its files in the cache of a library, where it is remote.
    """

    path: Path
    weights: Path
    container: str
    state: Mapping[str, torch.Tensor]
    config: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: Path | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    size: int = 0
    source: str = "directory"
    cached: tuple[Path, ...] = ()


def read_checkpoint(path: str | Path, weights: str = "") -> Checkpoint:
    """Read a checkpoint; the prefixes of trainers are taken off the names of its tensors.

    Args:
        path: TorchScript archive, ``torch.save`` file (zip or legacy, bare state_dict or a
            trainer's dictionary around one), safetensors, or a directory or zip with one of them.
        weights: Which of several weights files of a directory or zip; empty where there is one. As
            :func:`weight_sets`, also several of a directory, which are then read as one.

    Raises:
        OcclusionError: The file is missing, damaged, something else, or wants to run code; a
            directory holds several weights files; a tensor is of no dtype that weights have.
    """
    path = Path(path).expanduser()
    parts = [_read_set(path, files, weights) for files in weight_sets(path, weights)]
    if len(parts) == 1:
        return parts[0]
    state: dict[str, torch.Tensor] = {}
    for part in parts:
        if twice := sorted(state.keys() & part.state.keys()):
            raise OcclusionError(
                f"{path}: {len(twice)} tensors are in several of its weights files "
                f"({', '.join(one.weights.name for one in parts)}):\n{listed(twice)}",
                remedy='set weights = "FILE+FILE" to those that belong together, or leave only '
                "them.",
            )
        state |= part.state
    return replace(
        parts[0],
        weights=path,
        container=", ".join(dict.fromkeys(part.container for part in parts)),
        state=state,
        size=sum(part.size for part in parts),
    )


def _read_set(path: Path, files: list[Path], weights: str) -> Checkpoint:
    container = signatures.container_of(files[-1])
    weights = "" if weights == ALL else weights
    if path.is_file() and weights and container != signatures.BUNDLE:
        raise OcclusionError(
            f"{path}: weights = {weights!r} chooses from a directory; this is a file",
            remedy="drop weights, or give the directory as the checkpoint.",
        )
    extras: dict[str, Any] = {}
    if shards := files[1:]:
        state = _read_shards(files[0], shards)
        container = f"{container} in {len(shards)} files"
    elif container == signatures.BUNDLE:
        state, extras = _read_bundle(files[0], weights)
    else:
        state, extras = _read(files[0], container)
    _check_tensors(state, files[0])
    state, prefix = _unprefixed(state)
    config, vocabulary = _companions(path) if path.is_dir() else ({}, None)
    size = sum(file.stat().st_size for file in shards or files)
    return Checkpoint(path, files[0], container, state, config, vocabulary, extras, prefix, size)


def _read(path: Path, container: str) -> Read:
    if container == signatures.SAFETENSORS:
        return _read_safetensors(path), {}
    if container == signatures.TORCHSCRIPT:
        return read_torchscript(path), {}
    return _unwrapped(_read_pickle(path, mapped=container == signatures.TORCH_ZIP), path)


def _read_shards(index: Path, shards: list[Path]) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint that was split, each from the file that the index says."""
    wanted = shard_names(index)
    state: dict[str, torch.Tensor] = {}
    faults = []
    for shard in shards:
        part, _ = _read(shard, signatures.container_of(shard))
        here = {name for name, file in wanted.items() if file == shard.name}
        faults += [f"{name}: listed in {shard.name}, not there" for name in sorted(here - {*part})]
        faults += [f"{name}: in {shard.name}, not listed" for name in sorted({*part} - here)]
        state |= part
    if faults:
        raise OcclusionError(
            f"{index}: it and the files beside it are of different checkpoints:\n{listed(faults)}",
            remedy="download the whole repository.",
        )
    return state


def _read_bundle(bundle: Path, weights: str) -> Read:
    """The weights in a zip of a directory, as MedCLIP's, by way of a file that is then unlinked."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        member = Path(folder) / "weights"
        try:
            with zipfile.ZipFile(bundle) as archive:
                name = _member(bundle, archive.namelist(), weights)
                with archive.open(name) as packed, member.open("wb") as unpacked:
                    shutil.copyfileobj(packed, unpacked, 1 << 20)
        except signatures.ZIP_DAMAGE as fault:
            raise damaged(bundle, "a damaged zip", fault) from fault
        try:
            inner = signatures.container_of(member)
            if inner == signatures.BUNDLE:
                raise OcclusionError(f"{member}: a zip inside a zip", remedy="unpack it first.")
            return _read(member, inner)
        except OcclusionError as fault:
            inside = fault.problem.replace(str(member), f"{bundle}, in it {name}")
            raise OcclusionError(inside, remedy=fault.remedy) from fault


def _member(bundle: Path, names: list[str], weights: str) -> str:
    found = [name for name in names if (name == weights if weights else is_weights(name))]
    if len(found) == 1:
        return found[0]
    what = f"weights = {weights!r} is not in it" if weights else "a zip with several weights files"
    raise OcclusionError(
        f"{bundle}: {what} (it holds {', '.join(filter(is_weights, names))})",
        remedy='set weights = "FILE" to one of them, or unpack it and give one.',
    )


def _companions(directory: Path) -> tuple[Mapping[str, Any], Path | None]:
    vocabularies = sorted(directory.glob("*bpe*.txt.gz"))
    if len(vocabularies) > 1:
        raise OcclusionError(
            f"{directory}: several byte-pair vocabularies ({', '.join(map(str, vocabularies))})",
            remedy="keep the one that the weights were trained with, or name it as the tokenizer.",
        )
    return read_json(directory / CONFIG_NAME), vocabularies[0] if vocabularies else None


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError, safe_open

    known = ("F16", "BF16", "F32", "F64", "I64", "I32")
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            # Asked first: not every torch has a type for each that the format has.
            kinds = {name: str(file.get_slice(name).get_dtype()) for name in names}
            _refuse_types({n: kind for n, kind in kinds.items() if kind not in known}, path)
            return {name: file.get_tensor(name) for name in names}
    except SafetensorError as fault:
        raise damaged(path, "a truncated or damaged safetensors file", fault) from fault


def _read_pickle(path: Path, *, mapped: bool) -> Any:
    import torch

    try:
        # torch warns of rare kinds of tensors, which are refused below.
        with stand_ins(), warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as fault:  # a damaged file can raise anything
        if isinstance(fault, pickle.UnpicklingError):
            if wanted := re.findall(r"GLOBAL ([\w.]+)", str(fault)):
                raise OcclusionError(
                    f"{path}: this pickle does not only hold tensors: it asks to run {wanted[0]}, "
                    "which was refused; nothing in it was executed",
                    remedy="do not trust this file. If it is your own, save the state_dict alone: "
                    "torch.save(model.state_dict(), path), or as safetensors.",
                ) from fault
            raise damaged(path, "not a readable torch file", fault) from fault
        raise damaged(path, "a truncated or damaged torch file", fault) from fault


def _unwrapped(loaded: Any, path: Path) -> Read:
    """The state_dict inside what a trainer saved, and the rest."""
    import torch

    config: Any = None
    for _ in range(DEEPEST):
        if not (keys := _holders(loaded)):
            break
        if len(keys) > 1:
            raise OcclusionError(
                f"{path}: holds a state_dict under each of {', '.join(map(repr, keys))}; which of "
                "them is the model is not for this tool to guess",
                remedy="save the one that is meant alone: torch.save(saved[KEY], path).",
            )
        config = config or plain(loaded.get("config"))
        loaded = loaded[keys[0]]
    entries = loaded if isinstance(loaded, Mapping) else {}
    tensors = {
        name: value
        for name, value in entries.items()
        if isinstance(value, torch.Tensor) and isinstance(name, str) and name != COUNT
    }
    if not tensors:
        named = ", ".join(map(repr, list(entries)[:8]))
        under = f" (under its keys {named})" if named else ""
        raise OcclusionError(
            f"{path}: holds a {type(loaded).__name__} without tensors{under} where a state_dict "
            "was expected",
            remedy="save model.state_dict(), bare or under the key 'state_dict'.",
        )
    return tensors, {"config": config}


def _holders(loaded: Any) -> list[str]:
    """The keys of a trainer's dictionary that lead to tensors; averages only for want of others."""
    import torch

    seen = {id(loaded)}  # a hostile file may hold itself

    def holds(inner: Any, depth: int = 0) -> bool:
        if not isinstance(inner, Mapping) or id(inner) in seen or depth > DEEPEST:
            return False
        seen.add(id(inner))
        return any(isinstance(value, torch.Tensor) for value in inner.values()) or any(
            holds(inner.get(key), depth + 1) for key in (*WRAPPERS, *AVERAGES)
        )

    if not isinstance(loaded, Mapping):
        return []
    found = [key for key in WRAPPERS if holds(loaded.get(key))]
    return found or [key for key in AVERAGES if holds(loaded.get(key))]


def _check_tensors(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse names that a terminal would obey, and tensors that are no weights."""
    if not state:
        raise OcclusionError(f"{path}: holds no tensors", remedy=AGAIN)
    if odd := [name for name in state if not name.isprintable()]:
        raise OcclusionError(
            f"{path}: {len(odd)} tensors have control characters in their names:\n"
            f"{listed([ascii(name) for name in odd])}",
            remedy="do not trust this file; get it again from its authors.",
        )
    _refuse_types({name: kind for name, t in state.items() if (kind := _odd(name, t))}, path)


def _refuse_types(odd: Mapping[str, str], path: Path) -> None:
    if odd:
        raise OcclusionError(
            f"{path}: {len(odd)} tensors are of a type that weights of such models do not have:\n"
            f"{listed([f'{name}: {kind}' for name, kind in odd.items()])}",
            remedy="give the model as it was before it was quantised or pruned: dense float16, "
            "bfloat16, float32 or float64.",
        )


def _odd(name: str, tensor: torch.Tensor) -> str:
    """Why a tensor is no weight; empty for one that can be."""
    kind = str(tensor.dtype).removeprefix("torch.")
    layout = str(tensor.layout).removeprefix("torch.")
    if tensor.is_quantized:
        return f"quantised {kind}"
    if layout != "strided" or tensor.is_nested:
        return f"{layout}, of {kind}"
    if tensor.device.type != "cpu":
        return f"on the device {tensor.device}, without values"
    counts = kind in ("int64", "int32") and name.endswith(COUNTERS)
    return "" if kind in DTYPES or counts else kind


def _unprefixed(state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], str]:
    """Take off what a trainer put before every name, until the names are those of a family.

    Where no family knows them, only what parallel training adds: names may begin alike by right.
    """

    def strip(prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in state.items()}

    prefix = ""
    while not signatures.identify(strip(prefix))[1]:
        head, dot, _ = next(iter(state)).removeprefix(prefix).partition(".")
        longer = f"{prefix}{head}{dot}"
        if not dot or not all(name.startswith(longer) for name in state):
            prefix = ""
            while more := [p for p in PARALLEL if all(n.startswith(prefix + p) for n in state)]:
                prefix += more[0]
            break
        prefix = longer
    return strip(prefix) if prefix else state, prefix
