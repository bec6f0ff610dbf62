"""Which files make up a checkpoint. Needs neither torch nor numpy, and opens no weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pytest_occlusion.errors import OcclusionError

AGAIN = "download it again, and compare its size and checksum with the published ones."
"""The remedy for a file that did not arrive whole."""

WEIGHT_NAMES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "model.safetensors",
    "pytorch_model.bin",
)
"""What open_clip, transformers and MedCLIP call the weights file of a directory, best first."""


def short_digest(content: bytes) -> str:
    """First 16 hex digits of SHA-256: what settings say of a vocabulary or a configuration."""
    return hashlib.sha256(content).hexdigest()[:16]


REMOTE = ("hf-hub:", "tag:")
"""What a checkpoint begins with that is not a path: a hub repository, an open_clip name and tag."""


def is_remote(checkpoint: str | Path) -> bool:
    """Whether a checkpoint is named by an id rather than a path."""
    return str(checkpoint).startswith(REMOTE)


def checkpoint_files(path: str | Path, tokenizer: str | Path | None = None) -> list[Path]:
    """The files whose bytes decide what a checkpoint computes; needs neither torch nor numpy.

    Args:
        path: A weights file, a directory with weights, configuration and vocabulary, or a remote
            id, which has no files here: its revision says what it computes.
        tokenizer: The model's tokenizer option; its files are added when it is a path.

    Returns:
        Existing files, weights first, each once.

    Raises:
        OcclusionError: Nothing is there, or the directory holds no weights.
    """
    files = [] if is_remote(path) else _with_companions(Path(path).expanduser())
    if tokenizer is not None and (place := Path(tokenizer).expanduser()).exists():
        files += sorted(f for f in place.iterdir() if f.is_file()) if place.is_dir() else [place]
    return list(dict.fromkeys(files))


def weight_shards(directory: Path) -> list[Path]:
    """The files of a checkpoint that transformers has split, by its index; empty without one."""
    for name in ("model.safetensors.index.json", "pytorch_model.bin.index.json"):
        if (index := directory / name).is_file():
            try:
                named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
                shards = [directory / Path(shard).name for shard in sorted(named)]
            except (ValueError, KeyError, TypeError, AttributeError) as fault:
                raise OcclusionError(f"{index}: not an index of weights", remedy=AGAIN) from fault
            if lacking := [shard.name for shard in shards if not shard.is_file()]:
                raise OcclusionError(
                    f"{index}: {len(lacking)} of the files it lists are not there "
                    f"({', '.join(lacking[:5])})",
                    remedy="download the whole repository.",
                )
            return shards
    return []


def find_weights(path: Path) -> Path:
    """The weights file that ``path`` names or contains; raises OcclusionError without one."""
    if path.is_file():
        return path
    if not path.exists():
        near = _similar(path)
        raise OcclusionError(
            f"{path}: no such checkpoint" + (f" (there is {near})" if near else ""),
            remedy="check the path and the environment variables in it; `python -m "
            "pytest_occlusion fetch FAMILY` brings a published checkpoint.",
        )
    for name in WEIGHT_NAMES:
        if (path / name).is_file():
            return path / name
    loose = [f for f in sorted(path.iterdir()) if f.suffix in _WEIGHT_SUFFIXES and f.is_file()]
    if len(loose) == 1:
        return loose[0]
    found = ", ".join(f.name for f in loose or sorted(path.iterdir())) or "nothing"
    raise OcclusionError(
        f"{path}: a directory {'with several' if loose else 'without'} weights files (it holds "
        f"{found[:200]})",
        remedy="name the weights file itself."
        if loose
        else f"put {' or '.join(WEIGHT_NAMES)} in it, or name another directory.",
    )


_WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".tar", ".zip")


def _similar(path: Path) -> str:
    import difflib

    if not path.parent.is_dir():
        return ""
    names = [entry.name for entry in path.parent.iterdir()]
    return ", ".join(difflib.get_close_matches(path.name, names, n=3))


def _with_companions(path: Path) -> list[Path]:
    weights = (weight_shards(path) if path.is_dir() else []) or [find_weights(path)]
    if not path.is_dir():
        return weights
    kept = (".json", ".txt", ".model", ".gz")
    return [*weights, *sorted(f for f in path.iterdir() if f.is_file() and f.suffix in kept)]
