"""Corpora: studies, reports and radiographs from wherever their owners keep them.

Usable as a library on its own; knows nothing of encoders or pytest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_occlusion.corpora.base import Corpus, Radiograph, Request, Study
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    from pytest_occlusion.corpora.contents import Memory

__all__ = ["CORPORA", "Corpus", "Radiograph", "Study", "load_corpus"]


def _embedded(asked: Request) -> Corpus:
    if asked.place:
        raise OcclusionError(
            f"corpus 'embedded:{asked.place}'",
            remedy="the embedded corpus takes no path: 'embedded'",
        )
    from pytest_occlusion.corpora.embedded import load_embedded

    return load_embedded()


def _open_i(asked: Request) -> Corpus:
    from pytest_occlusion.corpora.open_i import load_open_i
    from pytest_occlusion.corpora.open_i_files import parse_options

    root, options = parse_options(asked.place, asked.base)
    return load_open_i(root, options, memory=asked.memory, contents=asked.contents, say=asked.say)


def _manifest(asked: Request) -> Corpus:
    from pytest_occlusion.corpora.manifest import load_manifest, parse_manifest

    path, options = parse_manifest(asked.place, asked.base)
    return load_manifest(path, options, memory=asked.memory, contents=asked.contents, say=asked.say)


def _mimic_cxr(asked: Request) -> Corpus:
    from pytest_occlusion.corpora.mimic_choice import parse_choice
    from pytest_occlusion.corpora.mimic_cxr import load_mimic_cxr

    choice = parse_choice(asked.place, asked.base, asked.split)
    return load_mimic_cxr(choice, memory=asked.memory, contents=asked.contents, say=asked.say)


CORPORA: dict[str, Callable[[Request], Corpus]] = {
    "embedded": _embedded,
    "manifest": _manifest,
    "mimic-cxr": _mimic_cxr,
    "open-i": _open_i,
}
"""Registry: kind -> loader."""

WITH_SPLITS = ("mimic-cxr",)
"""Kinds that have parts to choose from."""


def load_corpus(
    spec: str,
    *,
    base: Path | None = None,
    split: str = "",
    memory: Memory | None = None,
    contents: bool = True,
    say: Callable[[str], None] | None = None,
) -> Corpus:
    """Load a corpus.

    Args:
        spec: ``"embedded"``, ``"open-i"``, ``"open-i:ROOT"``, ``"manifest:FILE"`` or
            ``"mimic-cxr:ROOT"``, the last three with options (``?views=frontal&missing=0.1``).
        base: Folder that relative paths start from; the current one by default.
        split: ``train``, ``validate`` (the default) or ``test`` of MIMIC-CXR; other corpora have
            no parts, and asking for one is an error.
        memory: Where digests of images are remembered (a store), so that a large collection is
            read once.
        contents: Whether the fingerprint is needed; without, large collections are only listed.
        say: Where progress lines go, if anywhere.

    Raises:
        OcclusionError: An unknown kind, a split where there is none, or any fault of the files,
            all of a kind listed at once.
    """
    kind, _, place = spec.partition(":")
    if kind not in CORPORA:
        raise OcclusionError(
            f"unknown corpus {spec!r}",
            remedy=f"known kinds: {', '.join(CORPORA)}; for example manifest:reports.csv",
        )
    if split and kind not in WITH_SPLITS:
        raise OcclusionError(
            f"corpus {kind!r} has no splits, but {split!r} is asked for",
            remedy=f"leave the split out; only {', '.join(WITH_SPLITS)} has them",
        )
    return CORPORA[kind](Request(place, base or Path.cwd(), split, memory, contents, say))
