"""Model directories from the Hugging Face hub, at a revision that the suite pins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pytest_occlusion.errors import OcclusionError

HUB = "hf-hub:"
"""What a checkpoint on the hub begins with, as open_clip spells it."""

COMPANIONS = ("*.json", "*.txt", "*.model")
"""Configuration and vocabularies; never code."""


def local_directory(
    checkpoint: str | Path, revision: str, weights: Sequence[Sequence[str]]
) -> Path:
    """The directory of a checkpoint: a local one itself, or a snapshot of a hub repository.

    Args:
        checkpoint: A directory, or ``hf-hub:organisation/name``.
        revision: Commit hash or tag of the repository; unused for a local directory.
        weights: Patterns of the weights' file names, the best alternative first.

    Returns:
        An existing directory. Only the files that are needed are downloaded, into the hub's own
        cache; without a network, what that cache holds is used.

    Raises:
        OcclusionError: No directory, no revision, or neither network nor cache has it.
    """
    if not str(checkpoint).startswith(HUB):
        path = Path(checkpoint).expanduser()
        if path.is_dir():
            return path
        raise OcclusionError(
            f"{path}: " + ("a file" if path.exists() else "no such directory"),
            remedy="give the model's directory with its configuration, or hf-hub:NAME.",
        )
    name = str(checkpoint).removeprefix(HUB)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise OcclusionError(
            f"{checkpoint}: not the id of a hub repository",
            remedy="write hf-hub:ORGANISATION/NAME, and the commit as the option revision.",
        )
    if not revision:
        raise OcclusionError(
            f"{checkpoint}: no revision is pinned, so its weights could change unseen",
            remedy="set revision = to the commit hash that the repository's page shows (or to a "
            "tag of it).",
        )
    return _snapshot(name, revision, weights)


def _snapshot(name: str, revision: str, weights: Sequence[Sequence[str]]) -> Path:
    from huggingface_hub import snapshot_download

    for patterns in weights:
        try:
            place = Path(
                snapshot_download(name, revision=revision, allow_patterns=[*COMPANIONS, *patterns])
            )
        except Exception as fault:  # network, cache, names, rights: the client raises many kinds
            raise OcclusionError(
                f"{HUB}{name}@{revision}: not to be had from the hub, nor complete in its local "
                f"cache ({type(fault).__name__}: {(str(fault).splitlines() or [''])[0][:160]})",
                remedy="check name, revision and network; for a gated repository log in with "
                "`hf auth login`; or download it elsewhere and give the directory.",
            ) from fault
        if any(next(place.glob(pattern), None) for pattern in patterns):
            return place
    raise OcclusionError(
        f"{HUB}{name}@{revision}: the repository holds no weights that are known here",
        remedy=f"looked for {', '.join(pattern for patterns in weights for pattern in patterns)}.",
    )
