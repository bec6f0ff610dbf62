"""What ``open-clip`` and ``hf`` share: another library builds the model, from weights read here.

The library is given the configuration and the tensors, never the folder to look for weights in, and
what it then holds is compared with them: their digest is the digest of what runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders import hub
from pytest_occlusion.encoders.checkpoints import Checkpoint
from pytest_occlusion.encoders.files import HUB, folder_files, shard_names, short_digest
from pytest_occlusion.encoders.weights import INDICES
from pytest_occlusion.errors import OcclusionError, listed

if TYPE_CHECKING:
    import torch


def open_directory(
    checkpoint: str | Path, options: Mapping[str, Any], patterns: Sequence[str]
) -> Checkpoint:
    """As :func:`hub.open_source`, of a directory or the hub: a file alone is no model here."""
    path = Path(checkpoint).expanduser()
    if str(checkpoint).startswith(HUB) or path.is_dir():
        return hub.open_source(checkpoint, options, patterns)
    raise OcclusionError(
        f"{path}: " + ("a file" if path.exists() else "no such directory"),
        remedy="give the model's directory with its configuration (and, where it holds several "
        'weights files, weights = "FILE"), or hf-hub:NAME.',
    )


def check_held(model: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """See that a model holds exactly these weights: nothing random, tied, resized or left out.

    What the library calls by a name of its own, or ties to another, must still be among them.
    """
    import torch

    def same(one: torch.Tensor, other: torch.Tensor) -> bool:
        return one.shape == other.shape and torch.equal(one, other.to(one.device, one.dtype))

    held = model.state_dict()
    wrong = [
        f"{name}: not as in the file" if name in state else f"{name}: not in the file"
        for name, tensor in held.items()
        if not name.endswith(INDICES)
        and not any(
            same(tensor, other) for other in ([state[name]] if name in state else state.values())
        )
    ]
    if wrong:
        raise OcclusionError(
            f"{path}: {len(wrong)} tensors of the model would not be those of the file:\n"
            f"{listed(wrong)}",
            remedy="the configuration and the weights must be of the same model.",
        )


def configuration_digest(place: Path, trusted: Path | None = None) -> str:
    """Digest of what a library may read of a directory besides weights and code.

    Where code of the model's own runs, it may read any file: all count but the weights that were
    read, ``trusted``, and the others of a split checkpoint.
    """
    own: set[Path] = {trusted} if trusted else set()
    if trusted and ".index" in trusted.name:
        own |= {place / shard for shard in shard_names(trusted).values()}
    read = []
    for file in folder_files(place):
        companion = any(map(file.match, hub.COMPANIONS)) and ".index." not in file.name
        if file not in own if trusted else companion:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
            read.append([file.relative_to(place).as_posix(), digest])
    return short_digest(json.dumps(read).encode())


def vocabulary_digest(tokenizer: Any) -> str:
    """Digest of all that a tokenizer does, as far as its kind can be asked."""
    if hasattr(tokenizer, "backend_tokenizer"):
        told = [tokenizer.backend_tokenizer.to_str()]
    else:
        told = [tokenizer.encoder if hasattr(tokenizer, "encoder") else tokenizer.get_vocab()]
    told += [getattr(tokenizer, name, None) for name in ("padding_side", "pad_token_id")]
    return short_digest(json.dumps(told).encode())


def cannot_build(what: object, library: str, fault: Exception, remedy: str) -> OcclusionError:
    """What to say where a library refuses; each raises many kinds."""
    if isinstance(fault, OcclusionError):
        return fault
    told = f"{type(fault).__name__}: {str(fault)[:300]}"
    return OcclusionError(f"{what}: {library} cannot build it ({told})", remedy=remedy)
