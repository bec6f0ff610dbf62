"""Corpora: studies, reports and radiographs from wherever their owners keep them.

A kind of corpus is one module with a function ``load(request) -> Corpus`` and one line of
:data:`CORPORA`; options, tables, faults, files, digests, pictures and report sections have one
place each. This room imports no other but :mod:`pytest_occlusion.errors`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from pytest_occlusion.corpora.base import Corpus, Memory, Radiograph, Request, Study
from pytest_occlusion.errors import OcclusionError

__all__ = ["CORPORA", "Corpus", "Radiograph", "Study", "load_corpus"]


def _load(module: str, asked: Request) -> Corpus:
    corpus: Corpus = import_module(f"{__name__}.{module}").load(asked)
    return corpus


CORPORA: dict[str, Callable[[Request], Corpus]] = {
    kind: partial(_load, kind.replace("-", "_"))
    for kind in ("embedded", "manifest", "mimic-cxr", "open-i")
}
"""Registry: kind -> loader, whose module is imported when something is to be loaded."""

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
        split: ``train``, ``validate`` (the default) or ``test`` of MIMIC-CXR; others have none.
        memory: Where digests of images are remembered (a store): a collection is read once.
        contents: Whether the fingerprint is needed; without, large collections are only listed.
        say: Where progress lines go, if anywhere.

    Raises:
        OcclusionError: An unknown kind, a split where there is none, or faults of files (listed).
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
