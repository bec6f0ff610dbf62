"""BERT's tokenisation for MedCLIP and CXR-CLIP: texts -> rows of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_occlusion.encoders.files import short_digest
from pytest_occlusion.errors import OcclusionError

BIO_CLINICAL_BERT = "emilyalsentzer/Bio_ClinicalBERT"
"""The hub id that both upstreams name (MedCLIP ``constants.py``, CXR-CLIP's configs)."""

VOCABULARY_FILE = "vocab.txt"
"""The one file of a BERT tokenizer that is needed."""

SPECIAL = ("[CLS]", "[SEP]", "[PAD]", "[UNK]")
"""Tokens that the vocabulary must have."""


@dataclass(frozen=True)
class WordPieces:
    """A WordPiece vocabulary and the length that the text tower is given.

    Attributes:
        tokenizer: A ``tokenizers.BertWordPieceTokenizer`` without truncation or padding.
        limit: Longest row, special tokens included.
        end: Id of ``[SEP]``.
        digest: First 16 hex digits of the vocabulary file's SHA-256.
    """

    tokenizer: Any
    limit: int
    end: int
    digest: str

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text between ``[CLS]`` and ``[SEP]``, uncut."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]

    def batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, at most ``limit`` of them."""
        return [self.cut(row) for row in self.rows(texts)]

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text before the cut."""
        return [len(row) for row in self.rows(texts)]

    def cut(self, row: list[int]) -> list[int]:
        """A row of at most ``limit`` ids; an over-long one still ends in ``[SEP]``."""
        return row if len(row) <= self.limit else [*row[: self.limit - 1], self.end]


def load_word_pieces(
    source: str | Path | None,
    *,
    beside: Path,
    limit: int,
    lower_case: bool,
    positions: int,
    vocabulary_size: int,
) -> WordPieces:
    """Find and read a BERT vocabulary, and see that it fits the weights.

    Args:
        source: ``vocab.txt`` itself, a directory with one, a hub id, or None: the one in the
            checkpoint's directory, else Bio_ClinicalBERT's from the hub or its local cache.
        beside: The checkpoint.
        limit: Longest row that the text tower is to be given.
        lower_case: Lower-case and strip accents first. Both upstreams do, over a cased vocabulary,
            because their tokenizer came without a configuration that says otherwise.
        positions: Rows of the text tower's position table.
        vocabulary_size: Rows of its token table.

    Raises:
        OcclusionError: The file is not there, is no vocabulary, or does not fit.
    """
    from tokenizers import BertWordPieceTokenizer

    if not 2 <= limit <= positions:
        raise OcclusionError(
            f"max-tokens = {limit} is out of range: the text tower has {positions} positions",
            remedy=f"use a number from 2 to {positions}.",
        )
    path = _find(source, beside)
    try:
        raw = path.read_bytes()
        words = raw.decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        raise OcclusionError(
            f"{path}: not a readable vocabulary ({fault})", remedy=REMEDY
        ) from fault
    lacking = [word for word in SPECIAL if word not in words]
    if lacking or len(words) != vocabulary_size:
        found = f"has no {lacking[0]}" if lacking else f"has {len(words):,} lines"
        raise OcclusionError(
            f"{path}: {found}, but the weights were trained with a WordPiece vocabulary of "
            f"{vocabulary_size:,} tokens",
            remedy=REMEDY,
        )
    tokenizer = BertWordPieceTokenizer(
        {word: index for index, word in enumerate(words)}, lowercase=lower_case
    )
    return WordPieces(tokenizer, limit, words.index("[SEP]"), short_digest(raw))


REMEDY = (
    f"give as tokenizer the {VOCABULARY_FILE} that the weights were trained with (MedCLIP and "
    f"CXR-CLIP: {BIO_CLINICAL_BERT}'s, the 28,996 lines of bert-base-cased), a directory that "
    "holds it, or a hub id."
)


def _find(source: str | Path | None, beside: Path) -> Path:
    """The vocabulary file; asks the hub's cache, then the hub, when ``source`` is no path."""
    if source is None:
        place = beside if beside.is_dir() else beside.parent
        if beside.is_dir() and (place / VOCABULARY_FILE).is_file():
            return place / VOCABULARY_FILE
        source = BIO_CLINICAL_BERT
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        if (path / VOCABULARY_FILE).is_file():
            return path / VOCABULARY_FILE
        raise OcclusionError(f"{path}: a directory without {VOCABULARY_FILE}", remedy=REMEDY)
    if path.is_absolute() or str(source).count("/") > 1 or path.suffix == ".txt":
        raise OcclusionError(f"{path}: no such vocabulary", remedy=REMEDY)
    return _from_hub(str(source))


def _from_hub(name: str) -> Path:
    from huggingface_hub import hf_hub_download

    name, _, revision = name.partition("@")
    try:
        return Path(hf_hub_download(name, VOCABULARY_FILE, revision=revision or None))
    except Exception as fault:  # network, cache, names: the hub's client raises many kinds
        raise OcclusionError(
            f"the tokenizer {name}: its {VOCABULARY_FILE} is neither in the local hub cache nor "
            f"to be had from the hub ({type(fault).__name__})",
            remedy=REMEDY,
        ) from fault
