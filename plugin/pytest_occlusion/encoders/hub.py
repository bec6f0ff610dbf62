"""Models on the hub: the files that are needed, at a pinned revision, in the hub's own cache.

The list of a repository's files is asked for first, so that what is missing can be named and of
several weights none is downloaded; without a network, what the cache holds is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from pytest_occlusion.encoders.checkpoints import Checkpoint, read_checkpoint
from pytest_occlusion.encoders.files import ALL, BESIDE, HUB, folder_files, said, weight_candidates
from pytest_occlusion.errors import OcclusionError

NAMES = r"\w[\w.-]*(/[\w.-]+)?"
"""Ids of repositories."""

COMPANIONS = ("*.json", "*.txt", "*.model")
"""Configuration and vocabularies; never code."""

MERGES = "*.txt.gz"
"""Byte pairs as CLIP's are published."""

CODE = "*.py"
"""What is fetched besides where ``trust-remote-code`` says so."""

BRANCHES = r"main|master|HEAD|(refs/)?heads/.*"
"""Names of revisions that move on with every commit."""

PART = r"-\d+-of-\d+(?=\.)"
"""What tells the files of one split checkpoint apart."""

TIMEOUT = 10.0
"""Seconds that the hub may take to list a repository, as its client waits for each file's."""

OPTIONS = {"revision": "", "weights": ""}
"""The options of families that take models from the hub."""


def open_source(
    checkpoint: str | Path, options: Mapping[str, Any], patterns: Sequence[str]
) -> Checkpoint:
    """Read the weights of a file or directory, or of ``hf-hub:organisation/name``.

    Args:
        checkpoint: Path or id.
        options: As :data:`OPTIONS`; with ``trust-remote-code`` the repository's code comes too.
        patterns: Names of weights files on the hub, the best first, with ``|`` between those that
            stand for the same; ``weights = "*"`` asks for one of each.

    Raises:
        OcclusionError: No pinned revision; no or several weights; neither network nor cache has
            them; or as :func:`read_checkpoint`.
    """
    revision, weights = options["revision"], options["weights"]
    if not str(checkpoint).startswith(HUB):
        return read_checkpoint(checkpoint, weights)
    name = pinned_name(str(checkpoint), revision)
    if weights == ALL:
        needed = [[[one] for one in pattern.split("|")] for pattern in patterns]
    elif weights:
        needed = [[_files_of(one)] for one in weights.split("+")]
    else:
        needed = [[[one] for pattern in patterns for one in pattern.split("|")]]
    trusted = bool(options.get("trust-remote-code"))
    chosen: set[str] = set()
    for choices in needed:
        place, found = snapshot(name, revision, choices, one=not weights, code=trusted)
        chosen |= {*found}
    if not weights or weights == ALL:  # in the cache there may be others that nobody asked for
        held = weight_candidates(place).items()
        weights = "+".join(file for file, parts in held if {part.name for part in parts} & chosen)
    read = read_checkpoint(place, weights)
    return replace(read, source=str(checkpoint), cached=tuple(folder_files(place)))


def pinned_name(checkpoint: str, revision: str) -> str:
    """The repository of an id, ``hf-hub:organisation/name``.

    Raises:
        OcclusionError: It is no id, or the revision is none that stays the same.
    """
    name = checkpoint.removeprefix(HUB)
    if not re.fullmatch(NAMES, name):
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
    return name


def _files_of(weights: str) -> list[str]:
    """Patterns of the files behind a choice: of a split checkpoint its parts and their index."""
    whole, index, _ = weights.partition(".index")
    return [weights, f"{Path(whole).stem}-*{Path(whole).suffix}"] if index else [weights]


def snapshot(
    name: str,
    revision: str,
    choices: Sequence[Sequence[str]],
    *,
    one: bool = False,
    code: bool = False,
    key: str = "",
) -> tuple[Path, list[str]]:
    """The folder of a repository's configuration, vocabularies and what else is asked for.

    Args:
        name: ``ORGANISATION/NAME``.
        revision: Commit hash or tag; empty for the newest.
        choices: Patterns of the files that must be there; of the first group that names any, all
            that it names.
        one: Whether these must be a single file, or the parts of one.
        code: Whether to fetch its code too.
        key: Where a configuration names the repository, for the message.

    Returns:
        The folder, and the names of what was chosen.

    Raises:
        OcclusionError: There are none, or several; or neither network nor cache has them.
    """
    from huggingface_hub import HfApi, snapshot_download

    what = f"{HUB}{name}" + f"@{revision}" * bool(revision) + f" (named by {key})" * bool(key)
    wanted = ", ".join(pattern for patterns in choices for pattern in patterns)
    if key and not re.fullmatch(NAMES, name):
        raise OcclusionError(
            f"{name} (named by {key}): no folder with {wanted}, nor the id of a hub repository",
            remedy="paths there are relative to the folder of the configuration.",
        )
    at = revision or None
    place = fault = None
    try:
        told = HfApi().model_info(name, revision=at, timeout=TIMEOUT)
        files = [file.rfilename for file in told.siblings or ()]
    except Exception as raised:  # network, names, rights: the client raises many kinds
        fault = raised
        try:
            # No patterns: its folder, complete or not, since what is missing is named here.
            cached = snapshot_download(name, revision=at, local_files_only=True, allow_patterns=[])
            place = Path(cached)
        except Exception:
            raise _out_of_reach(what, name, wanted, key, fault) from fault
        files = [file.relative_to(place).as_posix() for file in folder_files(place)]
    groups = ([f for f in files if any(_matches(f, p) for p in group)] for group in choices)
    found = next(filter(None, groups), [])
    if not found and fault:
        raise _out_of_reach(what, name, wanted, key, fault, place) from fault
    if not found:
        raise OcclusionError(
            f"{what}: the repository holds no weights that are known here"
            if not key
            else f"{what}: the repository lacks what is needed of it",
            remedy=f"looked for {wanted}; it holds {_shown(files)}.",
        )
    if one and len(several := sorted({re.sub(PART, "", file) for file in found})) > 1:
        raise OcclusionError(
            f"{what}: a repository with several weights files ({_shown(several)}); which of them "
            "is the model is not for this tool to guess",
            remedy='set weights = "FILE" in the model\'s table to one of them.',
        )
    if place is None:
        patterns = [*COMPANIONS, MERGES, *found, *([CODE] if code else [])]
        try:
            place = Path(snapshot_download(name, revision=at, allow_patterns=patterns))
        except Exception as raised:
            raise _out_of_reach(what, name, ", ".join(found), key, raised) from raised
    return place, found


def in_cache(name: str, revision: str = "") -> Path | None:
    """The folder of a snapshot in the hub's cache, whatever it holds; the network is not asked."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision or None, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _matches(file: str, pattern: str) -> bool:
    """Whether a file at the top of a repository, or in the folder of the pattern, is meant."""
    if file == pattern:
        return True
    return fnmatch(file, pattern) and "/" not in file and not file.startswith(BESIDE)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + f" and {len(names) - 12} more" * (len(names) > 12) or "nothing"


def _out_of_reach(
    what: str, name: str, wanted: str, key: str, fault: Exception, place: Path | None = None
) -> OcclusionError:
    """What to say where a repository's files are neither to be downloaded nor in the cache."""
    from huggingface_hub.errors import GatedRepoError

    inside = f" {place}" if place else ""
    remedy = (
        "check name, revision and network; for a gated repository log in with `hf auth login`; or "
        "download it elsewhere and give the directory"
    )
    if isinstance(fault, GatedRepoError):
        remedy = (
            f"it is gated: ask for access at https://huggingface.co/{name}, then log in with `hf "
            "auth login`; or download it elsewhere and give the directory"
        )
    return OcclusionError(
        f"{what}: {wanted} is not to be had from the hub, nor complete in its local cache{inside} "
        f"({said(fault)})",
        remedy=remedy + (f": in {key}, relative to it, or as tokenizer." if key else "."),
    )
