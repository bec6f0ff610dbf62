"""Model directories, local or from the Hugging Face hub at a revision that the suite pins."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pytest_occlusion.encoders.files import weight_candidates
from pytest_occlusion.errors import OcclusionError

HUB = "hf-hub:"
"""What a checkpoint on the hub begins with, as open_clip spells it."""

COMPANIONS = ("*.json", "*.txt", "*.model")
"""Configuration and vocabularies; never code."""

BRANCHES = r"main|master|HEAD|(refs/)?heads/.*"
"""Names of revisions that move on with every commit."""


def local_directory(
    checkpoint: str | Path, revision: str, weights: str, patterns: Sequence[str]
) -> tuple[Path, str]:
    """The directory of a checkpoint: a local one itself, or a snapshot of a hub repository.

    Args:
        checkpoint: A directory, or ``hf-hub:organisation/name``.
        revision: Commit hash or tag of the repository; unused for a local directory.
        weights: The weights file that the suite names, or empty.
        patterns: Names of weights files on the hub, the best first.

    Returns:
        An existing directory, and the choice among its weights files. Only the files that are
        needed are downloaded, into the hub's own cache; without a network, what that cache holds
        is used.

    Raises:
        OcclusionError: No directory, no pinned revision, or neither network nor cache has it.
    """
    path = Path(checkpoint).expanduser()
    if not str(checkpoint).startswith(HUB):
        if path.is_dir():
            return path, weights
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
        said = f"revision = {revision!r} is a branch" if revision else "no revision is pinned"
        raise OcclusionError(
            f"{checkpoint}: {said}, so its weights could change unseen",
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
            return place, weights or (found[0] if len(found) == 1 else "")
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
            f"{HUB}{name}{at}: not to be had from the hub, nor complete in its local "
            f"cache ({type(fault).__name__}: {(str(fault).splitlines() or [''])[0][:160]})",
            remedy="check name, revision and network; for a gated repository log in with "
            "`hf auth login`; or download it elsewhere and give the directory"
            + (f": in {key}, relative to it, or as tokenizer." if key else "."),
        ) from fault
