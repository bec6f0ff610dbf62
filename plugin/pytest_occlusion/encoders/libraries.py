"""What ``open-clip`` and ``hf`` share: another library builds the model, from weights read here.

The library is given the configuration and the tensors, never the folder to look for weights in, and
what it then holds is compared with them: their digest is the digest of what runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.checkpoints import Checkpoint, read_checkpoint
from pytest_occlusion.encoders.files import folder_files, is_remote, short_digest
from pytest_occlusion.encoders.hub import COMPANIONS, local_directory
from pytest_occlusion.encoders.weights import INDICES
from pytest_occlusion.errors import OcclusionError, listed

if TYPE_CHECKING:
    import torch

OPTIONS = {"revision": "", "weights": ""}
"""The options of both families."""


@dataclass(frozen=True)
class Source:
    """A model's directory and its weights.

    Attributes:
        place: The directory.
        read: The weights in it.
        name: What settings call it: the id of a remote one, else ``"directory"``.
        files: What it was read from, where that is a cache rather than the user's own folder.
    """

    place: Path
    read: Checkpoint
    name: str
    files: tuple[Path, ...]

    @property
    def variant(self) -> str:
        """The id of a remote model without its scheme; empty of a directory."""
        return self.name.partition(":")[2]


def open_source(
    checkpoint: str | Path, options: Mapping[str, Any], patterns: Sequence[str]
) -> Source:
    """Find a model's directory, local or on the hub, and read its weights."""
    place, chosen = local_directory(checkpoint, options["revision"], options["weights"], patterns)
    read = read_checkpoint(place, chosen)
    if is_remote(checkpoint):
        return Source(place, read, str(checkpoint), tuple(folder_files(place)))
    return Source(place, read, "directory", ())


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


def configuration_digest(place: Path, *, code: bool) -> str:
    """Digest of all that a library may read of a directory besides its weights."""
    kept = (*COMPANIONS, "*.py") if code else COMPANIONS
    read = [
        [file.relative_to(place).as_posix(), short_digest(file.read_bytes())]
        for file in folder_files(place)
        if any(map(file.match, kept)) and ".index." not in file.name
    ]
    return short_digest(json.dumps(read).encode())


def vocabulary_digest(tokenizer: Any) -> str:
    """Digest of all that a tokenizer does, as far as its kind can be asked."""
    if hasattr(tokenizer, "backend_tokenizer"):
        told = [tokenizer.backend_tokenizer.to_str()]
    else:
        told = [tokenizer.encoder if hasattr(tokenizer, "encoder") else tokenizer.get_vocab()]
    told += [getattr(tokenizer, name, None) for name in ("padding_side", "pad_token_id")]
    return short_digest(json.dumps(told).encode())


def normalised(
    canvases: torch.Tensor, *, mean: Sequence[float], std: Sequence[float], factor: float
) -> torch.Tensor:
    """uint8 ``[N, 3, H, W]`` -> float32, scaled by ``factor`` and normalised per channel."""
    import torch

    centre = torch.tensor(mean, device=canvases.device).view(-1, 1, 1)
    scale = torch.tensor(std, device=canvases.device).view(-1, 1, 1)
    return canvases.to(torch.float32).mul_(factor).sub_(centre).div_(scale)


def cannot_build(what: object, library: str, fault: Exception, remedy: str) -> OcclusionError:
    """What to say where a library refuses; each raises many kinds."""
    if isinstance(fault, OcclusionError):
        return fault
    said = f"{type(fault).__name__}: {str(fault)[:300]}"
    return OcclusionError(f"{what}: {library} cannot build it ({said})", remedy=remedy)
