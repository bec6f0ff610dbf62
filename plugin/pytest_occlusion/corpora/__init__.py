"""Corpora: studies, reports and radiographs from wherever their owners keep them.

Usable as a library on its own; knows nothing of encoders or pytest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pytest_occlusion.corpora.base import Corpus, Radiograph, Study
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.paths import expanded

__all__ = ["CORPORA", "Corpus", "Radiograph", "Study", "load_corpus"]


def _embedded(place: str, base: Path) -> Corpus:
    if place:
        raise OcclusionError(
            f"corpus 'embedded:{place}'", remedy="the embedded corpus takes no path: 'embedded'"
        )
    from pytest_occlusion.corpora.embedded import load_embedded

    return load_embedded()


def _open_i(place: str, base: Path) -> Corpus:
    from pytest_occlusion.corpora.open_i import load_open_i

    return load_open_i(base / place if place else None)


def _manifest(place: str, base: Path) -> Corpus:
    from pytest_occlusion.corpora.manifest import load_manifest

    if not place:
        raise OcclusionError(
            "corpus 'manifest' names no file", remedy="write manifest:path/to/manifest.csv"
        )
    return load_manifest(base / expanded(place))


CORPORA: dict[str, Callable[[str, Path], Corpus]] = {
    "embedded": _embedded,
    "manifest": _manifest,
    "open-i": _open_i,
}
"""Registry: kind -> loader of (what follows the colon, the folder relative paths start from)."""


def load_corpus(spec: str, *, base: Path | None = None) -> Corpus:
    """Load a corpus.

    Args:
        spec: ``"embedded"``, ``"open-i"``, ``"open-i:FOLDER"`` or ``"manifest:FILE"``.
        base: Folder that relative paths start from; the current one by default.

    Raises:
        OcclusionError: An unknown kind, or any fault of the files, all of a kind listed at once.
    """
    kind, _, place = spec.partition(":")
    if kind not in CORPORA:
        raise OcclusionError(
            f"unknown corpus {spec!r}",
            remedy=f"known kinds: {', '.join(CORPORA)}; for example manifest:reports.csv",
        )
    return CORPORA[kind](place, base or Path.cwd())
