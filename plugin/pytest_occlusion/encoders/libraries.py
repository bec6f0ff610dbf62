"""What ``open-clip`` and ``hf`` share: another library builds the model, from weights read here.

The library is given the configuration and the tensors, never the folder to look for weights in, and
what it then holds is compared with them: their digest is the digest of what runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.checkpoints import Checkpoint, read_checkpoint
from pytest_occlusion.encoders.files import folder_files, said, short_digest, weight_candidates
from pytest_occlusion.encoders.weights import INDICES
from pytest_occlusion.errors import OcclusionError, listed

if TYPE_CHECKING:
    import torch

HUB = "hf-hub:"
"""What a checkpoint on the hub begins with, as open_clip spells it."""

COMPANIONS = ("*.json", "*.txt", "*.model")
"""Configuration and vocabularies; never code."""

BRANCHES = r"main|master|HEAD|(refs/)?heads/.*"
"""Names of revisions that move on with every commit."""

OPTIONS = {"revision": "", "weights": ""}
"""The options of both families."""


def open_source(
    checkpoint: str | Path, options: Mapping[str, Any], patterns: Sequence[str]
) -> Checkpoint:
    """Find a model's directory and read its weights.

    Args:
        checkpoint: A directory, or ``hf-hub:organisation/name``: of its snapshot at the option
            revision only the files that are needed are downloaded, into the hub's own cache;
            without a network, what that cache holds is used.
        options: As :data:`OPTIONS`.
        patterns: Names of weights files on the hub, the best first.

    Raises:
        OcclusionError: No directory, no pinned revision, or neither network nor cache has it.
    """
    path, revision, weights = Path(checkpoint).expanduser(), options["revision"], options["weights"]
    if not str(checkpoint).startswith(HUB):
        if path.is_dir():
            return read_checkpoint(path, weights)
        raise OcclusionError(
            f"{path}: " + ("a file" if path.exists() else "no such directory"),
            remedy="give the model's directory with its configuration (and, where it holds several "
            'weights files, weights = "FILE"), or hf-hub:NAME.',
        )
    name = str(checkpoint).removeprefix(HUB)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise OcclusionError(
            f"{checkpoint}: not the id of a hub repository",
            remedy="write hf-hub:ORGANISATION/NAME, and the commit as the option revision.",
        )
    if not revision or re.fullmatch(BRANCHES, revision):
        why = f"revision = {revision!r} is a branch" if revision else "no revision is pinned"
        raise OcclusionError(
            f"{checkpoint}: {why}, so its weights could change unseen",
            remedy="set revision = to the commit hash that the repository's page shows (or to a "
            "tag of it).",
        )
    if weights:  # of a split checkpoint, the parts that its index lists as well
        whole = Path(weights.partition(".index")[0])
        patterns = (f"{whole.stem}*{whole.suffix}",)
    for pattern in patterns:
        place = snapshot(name, revision, [pattern])
        found = [
            file
            for file, parts in weight_candidates(place).items()
            if any(part.match(pattern) for part in parts)
        ]
        if found:
            read = read_checkpoint(place, weights or (found[0] if len(found) == 1 else ""))
            return replace(read, source=str(checkpoint), cached=tuple(folder_files(place)))
    raise OcclusionError(
        f"{checkpoint}@{revision}: the repository holds no weights that are known here",
        remedy=f"looked for {', '.join(patterns)}.",
    )


def snapshot(name: str, revision: str = "", patterns: Sequence[str] = (), key: str = "") -> Path:
    """The folder of a repository's configuration, vocabularies and what else is asked for.

    Args:
        name: ``ORGANISATION/NAME``.
        revision: Commit hash or tag; empty for the newest.
        patterns: Names of more files.
        key: Where a configuration names the repository, for the message.

    Raises:
        OcclusionError: Neither network nor cache has it.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                name, revision=revision or None, allow_patterns=[*COMPANIONS, *patterns]
            )
        )
    except Exception as fault:  # network, cache, names, rights: the client raises many kinds
        at = f" (named by {key})" if key else f"@{revision}"
        raise OcclusionError(
            f"{HUB}{name}{at}: not to be had from the hub, nor complete in its local cache "
            f"({said(fault)})",
            remedy="check name, revision and network; for a gated repository log in with "
            "`hf auth login`; or download it elsewhere and give the directory"
            + (f": in {key}, relative to it, or as tokenizer." if key else "."),
        ) from fault


def in_cache(name: str, revision: str = "") -> Path | None:
    """The folder of a snapshot in the hub's cache, whatever it holds; the network is not asked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision or None, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


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


def cannot_build(what: object, library: str, fault: Exception, remedy: str) -> OcclusionError:
    """What to say where a library refuses; each raises many kinds."""
    if isinstance(fault, OcclusionError):
        return fault
    told = f"{type(fault).__name__}: {str(fault)[:300]}"
    return OcclusionError(f"{what}: {library} cannot build it ({told})", remedy=remedy)
