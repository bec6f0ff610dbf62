"""Corpora: studies, reports and radiographs from wherever their owners keep them.

A kind of corpus is one module with a function ``load(request) -> Corpus`` and one name in
:data:`CORPORA`. It turns rows (:mod:`.tables`, which also lists their faults) into wanted
radiographs, and :mod:`.radiographs` does the rest. Options, files, digests, pictures and report
sections have one place each. This room imports no other but :mod:`pytest_occlusion.errors`.
"""

from __future__ import annotations

import gc
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
    for kind in (
        "embedded",
        "manifest",
        "annotations",
        "chexpert-plus",
        "hf",
        "indiana",
        "mimic-cxr",
        "open-i",
        "rexgradient",
        "webdataset",
    )
}
"""Registry: kind -> loader, whose module is imported when something is to be loaded."""


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
        spec: ``"embedded"``, ``"open-i"`` or ``KIND:PLACE`` (``"manifest:FILE"``,
            ``"mimic-cxr:ROOT"``), with options after the place (``?views=frontal&missing=0.1``).
        base: Folder that relative paths start from; the current one by default.
        split: ``train``, ``validate`` or ``test``, where the collection has them; the same as the
            option ``split``. Of MIMIC-CXR the default is ``validate``, of others all.
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
    collecting = gc.isenabled()
    gc.disable()  # or it looks for circles in millions of new objects, all of which are kept
    try:
        return CORPORA[kind](Request(place, base or Path.cwd(), split, memory, contents, say))
    finally:
        if collecting:
            gc.enable()
