"""How many reports the token limits of known models cut, of those whose vocabulary is here.

Nothing is fetched for it: a vocabulary comes with a library, or is in the hub's cache already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_occlusion.encoders.hub import in_cache
from pytest_occlusion.encoders.register import Known
from pytest_occlusion.encoders.tokens import (
    BIO_CLINICAL_BERT,
    VOCABULARY_FILE,
    Rows,
    load_byte_pairs,
    load_word_pieces,
)
from pytest_occlusion.engine.models import COUNTS, count_line, truncation_line, uncounted_line
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.suite.settings import ModelSettings

BYTE_PAIRS = ("clip", "cxr-repair")
WORD_PIECES = ("medclip", "cxr-clip", "chexficient")
"""Families whose published models share CLIP's vocabulary, and those that share BERT's."""

BPE_TOKENS, BERT_TOKENS, BERT_POSITIONS = 49_408, 28_996, 512
"""Tokens of these vocabularies, and positions of the published BERTs."""


def limit_lines(texts: Sequence[str], entries: Sequence[Known]) -> Iterator[str]:
    """Lines to print: a head, then one for each model. Counts only, never a text."""
    yield COUNTS
    counted: dict[str, list[int]] = {}
    for entry in entries:
        try:
            if entry.family in BYTE_PAIRS + WORD_PIECES:
                kind = "pairs" if entry.family in BYTE_PAIRS else "pieces"
                if kind not in counted:
                    counted[kind] = [len(row) for row in _vocabulary(entry)(texts)]
                yield count_line(entry.name, counted[kind], entry.tokens)
            else:
                yield truncation_line(texts, _cached(entry))
        except OcclusionError as fault:
            yield uncounted_line(entry.name, fault.problem.removeprefix(f"model {entry.name}: "))


def _vocabulary(entry: Known) -> Rows:
    """Texts -> rows of ids, without the checkpoint."""
    if entry.family in BYTE_PAIRS:
        return load_byte_pairs(None, limit=entry.tokens, vocabulary_size=BPE_TOKENS).rows
    if not (place := in_cache(BIO_CLINICAL_BERT)) or not (place / VOCABULARY_FILE).is_file():
        raise OcclusionError(f"{BIO_CLINICAL_BERT} is not in the hub's cache")
    return load_word_pieces(
        place,
        beside=Path(),
        limit=entry.tokens,
        lower_case=True,
        positions=BERT_POSITIONS,
        vocabulary_size=BERT_TOKENS,
    ).rows


def _cached(entry: Known) -> ModelSettings:
    """A model whose files are here already."""
    if entry.how == "by hand":
        raise OcclusionError("fetched by hand; `corpus --suite` counts with its file")
    if not entry.revision:
        raise OcclusionError("no commit of it is known here")
    place = in_cache(entry.hub, entry.revision)
    found = [_first(place, name.split("|")) for name in entry.files] if place else [""]
    if not all(found):
        raise OcclusionError(f"not here; `fetch {entry.name}` brings it")
    # The folder itself, since its id would let the hub's client ask whether there is more of it.
    options = {"weights": found[0], **entry.options}
    return ModelSettings(entry.name, entry.family, str(place), options=options)


def _first(place: Path, patterns: Sequence[str]) -> str:
    return next((file.name for one in patterns for file in sorted(place.glob(one))), "")
