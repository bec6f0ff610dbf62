"""Which files make up a checkpoint. Needs neither torch nor numpy, and opens no weights."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_occlusion.errors import OcclusionError

AGAIN = "download it again, and compare its size and checksum with the published ones."

CONFIG_NAME = "open_clip_config.json"
"""The file by which open_clip recognises a model directory."""

SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".th", ".tar", ".zip")
"""What weights files end in: whichever trainer wrote them, one of these is the weights."""

BESIDE = (".", "optimizer", "scheduler", "scaler", "rng_state", "random_states", "training_args")
"""What the names of a trainer's other files with such endings begin with."""

ALL = "*"
"""What ``weights`` is where all that a directory holds is read, as the parts of one model."""

MOST_FILES = 10_000
"""Files of a model's directory; with more it is something else, and would take long to digest."""

UNREAD = {".git", ".cache", "__pycache__"}
"""Folders that no loader reads: histories of downloads, and what Python makes of its sources."""

HUB, TAG = "hf-hub:", "tag:"
"""What a checkpoint begins with that is not a path: a hub repository, as open_clip spells it, or
what open_clip knows, ``tag:ViT-B-32/laion2b_s34b_b79k``."""


def short_digest(content: bytes) -> str:
    """First 16 hex digits of SHA-256: what settings say of a vocabulary or a configuration."""
    return hashlib.sha256(content).hexdigest()[:16]


def said(fault: Exception) -> str:
    """Kind and first line of what another library raised."""
    return f"{type(fault).__name__}: {(str(fault).splitlines() or [''])[0][:160]}"


def damaged(path: object, what: str, fault: Exception) -> OcclusionError:
    """What to say of a file that another library cannot read."""
    return OcclusionError(f"{path}: {what} ({said(fault)})", remedy=AGAIN)


def is_remote(checkpoint: str | Path) -> bool:
    """Whether a checkpoint is named by an id rather than a path."""
    return str(checkpoint).startswith((HUB, TAG))


def checkpoint_files(
    path: str | Path, tokenizer: str | Path | None = None, weights: str = ""
) -> list[Path]:
    """The files whose bytes can decide what a checkpoint computes.

    Args:
        path: A weights file, a directory with weights, configuration and vocabulary, or a remote
            id, which has no files here: its loader says which it read.
        tokenizer: The model's tokenizer option; its files are added when it is a path.
        weights: As :func:`weight_sets` takes it, which also says what is wrong.

    Returns:
        Existing files, weights first, each once: of a directory every one, whatever its name,
        since what a library or the code of a model reads there is theirs to decide.
    """
    files: list[Path] = []
    if not is_remote(path):
        path = Path(path).expanduser()
        files += (file for found in weight_sets(path, weights) for file in found)
        if path.is_dir():
            towers: Any = read_json(path / CONFIG_NAME)
            for key in ("model_cfg", "text_cfg"):
                towers = towers.get(key) if isinstance(towers, dict) else None
            named = [(towers or {}).get(key) for key in ("hf_model_name", "hf_tokenizer_name")]
            for place in (path, *(path / name for name in named if isinstance(name, str) and name)):
                files += folder_files(place) if place.is_dir() else []
    if tokenizer is not None and (place := Path(tokenizer).expanduser()).exists():
        files += folder_files(place) if place.is_dir() else [place]
    return list(dict.fromkeys(files))


def folder_files(folder: Path) -> list[Path]:
    """All regular files below a folder, in a fixed order; links are followed."""
    found: list[Path] = []
    seen: set[Path] = set()
    for place, inner, names in os.walk(folder, followlinks=True):
        if (real := Path(place).resolve()) in seen:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(set(inner) - UNREAD)
        found += (file for name in sorted(names) if (file := Path(place, name)).is_file())
        if len(found) > MOST_FILES:
            raise OcclusionError(
                f"{folder}: a folder of more than {MOST_FILES:,} files",
                remedy="give a directory that holds the model alone, or its weights file.",
            )
    return found


def read_json(path: Path) -> Mapping[str, Any]:
    """An object from a JSON file; empty where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (ValueError, OSError) as fault:
        raise OcclusionError(f"{path}: not valid JSON ({fault})", remedy=AGAIN) from fault
    if not isinstance(found, dict):
        raise OcclusionError(f"{path}: not valid JSON of a configuration", remedy=AGAIN)
    return found


def shard_names(index: Path) -> dict[str, str]:
    """Tensor -> file of it, from the index of a checkpoint that was split."""
    found = read_json(index).get("weight_map")
    named: dict[str, str] = found if isinstance(found, dict) else {}
    if not named or not all(isinstance(f, str) and Path(f).name == f for f in named.values()):
        raise OcclusionError(f"{index}: not an index of weights", remedy=AGAIN)
    return named


def is_weights(name: str) -> bool:
    """Whether a file would be read as weights, by its name."""
    return name.lower().endswith(SUFFIXES) and not Path(name).name.startswith(BESIDE)


def weight_candidates(folder: Path) -> dict[str, list[Path]]:
    """File or index -> the files to read for it: all that a folder holds as weights."""
    found = {
        index.name: sorted({folder / shard for shard in shard_names(index).values()})
        for index in sorted(folder.glob("*.index*.json"))
        if index.name.partition(".index")[0].endswith(SUFFIXES)
    }
    parts = {shard for shards in found.values() for shard in shards}
    files = sorted(f for f in folder.iterdir() if is_weights(f.name) and f.is_file())
    return found | {file.name: [file] for file in files if file not in parts}


def weight_sets(path: Path, weights: str = "") -> list[list[Path]]:
    """The sets of weights that make up one model, each as :func:`find_weights` gives it.

    Args:
        path: A weights file, or a directory.
        weights: As :func:`find_weights`; or several of a directory with ``+`` between them, or
            ``"*"``: all that it holds, for models whose parts are published as separate files.
    """
    names = weights.split("+") if not (path / weights).is_file() else [weights]
    if len(names) > 1 and len({*filter(None, names)}) < len(names):
        raise OcclusionError(
            f"{path}: weights = {weights!r} names nothing, or a file twice",
            remedy='write the files that make up the model with one + between them: "A+B".',
        )
    if weights == ALL:
        names = [*weight_candidates(path)] if path.is_dir() else [""]
    return [find_weights(path, name) for name in names or [""]]


def find_weights(path: Path, weights: str = "") -> list[Path]:
    """The one set of weights that ``path`` is or contains: a file, or an index and those it lists.

    Args:
        path: A weights file, or a directory.
        weights: Which of several sets of a directory: a file, or the index of one that was split.

    Raises:
        OcclusionError: There is none, or more than one, or not all of it.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        entries: Iterable[Path] = path.parent.iterdir() if path.parent.is_dir() else ()
        near = ", ".join(difflib.get_close_matches(path.name, [f.name for f in entries], n=3))
        raise OcclusionError(
            f"{path}: no such checkpoint" + (f" (there is {near})" if near else ""),
            remedy="check the path and the environment variables in it; `python -m "
            "pytest_occlusion fetch MODEL` brings a published one.",
        )
    found = weight_candidates(path)
    chosen = weights or (next(iter(found)) if len(found) == 1 else "")
    file = path / chosen
    if chosen in found:
        if lacking := [part.name for part in found[chosen] if not part.is_file()]:
            raise OcclusionError(
                f"{file}: {len(lacking)} of the files it lists are not there "
                f"({', '.join(lacking[:5])})",
                remedy="download the whole repository.",
            )
        return list(dict.fromkeys([file, *found[chosen]]))
    if weights and file.is_file() and file.resolve().is_relative_to(path.resolve()):
        return [file]
    there = ", ".join(found or sorted(f.name for f in path.iterdir() if not weights)) or "nothing"
    there = there if len(there) <= 200 else f"{there[:200]}..."
    if weights and file.is_file():
        problem = "lies outside the model's directory, so changes of it would pass unseen"
    else:
        problem = f"is not there (there is {there})"
    if weights:
        problem = f"weights = {weights!r} {problem}"
        remedy = "name a weights file in that directory, or the index of one that was split."
    elif found:
        problem = (
            f"a directory with several weights files (it holds {there}); which of them is the "
            "model is not for this tool to guess"
        )
        remedy = 'set weights = "FILE" in the model\'s table to one of them, or leave only one.'
    else:
        problem = f"a directory without weights files (it holds {there})"
        remedy = f"put a {', '.join(SUFFIXES)} file in it, or name another directory."
    raise OcclusionError(f"{path}: {problem}", remedy=remedy)
