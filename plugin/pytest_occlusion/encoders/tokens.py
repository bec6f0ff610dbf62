"""Texts -> rows of token ids, by the libraries' tokenizers over a checkpoint's own vocabulary."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.files import short_digest
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import torch

BIO_CLINICAL_BERT = "emilyalsentzer/Bio_ClinicalBERT"
"""The hub id that both upstreams name (MedCLIP ``constants.py``, CXR-CLIP's configs)."""

VOCABULARY_FILE, SPECIAL = "vocab.txt", ("[CLS]", "[SEP]", "[PAD]", "[UNK]")
"""The one file of a BERT tokenizer that is needed, and what must be in it."""

REMEMBERED = 1024
"""Texts whose byte pairs are remembered: a few batches."""

ALIKE, TOKENS = 64, 1024
"""Rows of token ids that go through a text tower together at most; and tokens, padding included, on
a CPU: as ``assembly.AT_ONCE``, a quarter less time than with 64 rows of 77."""

Rows = Callable[[Sequence[str]], list[list[int]]]
Embed = Callable[[Sequence[Sequence[int]]], "torch.Tensor"]
"""Rows of token ids -> raw features ``[N, D]``."""


@dataclass(frozen=True)
class Tokens:
    """A vocabulary at work, and the length that the text tower is given.

    Attributes:
        rows: Texts -> token ids of each with start and end marks, uncut.
        batch: Texts -> what the text tower takes; of an over-long one ``limit`` tokens.
        limit: Most tokens of a text that the text tower is given.
        digest: First 16 hex digits of a SHA-256 of the vocabulary.
    """

    rows: Rows
    batch: Callable[[Sequence[str]], Any]
    limit: int
    digest: str

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text before the cut."""
        return [len(row) for row in self.rows(texts)]


def _of_rows(rows: Rows, limit: int, end: int, digest: str) -> Tokens:
    """Of what gives uncut rows of ids; the last of an over-long one becomes the end mark."""

    def batch(texts: Sequence[str]) -> list[list[int]]:
        return [row if len(row) <= limit else [*row[: limit - 1], end] for row in rows(texts)]

    return Tokens(rows, batch, limit, digest)


def prepared(tokens: Tokens, prepare: Callable[[Sequence[str]], list[str]]) -> Tokens:
    """Tokens of texts that are cleaned first, as a family does it."""
    return replace(
        tokens,
        rows=lambda texts: tokens.rows(prepare(texts)),
        batch=lambda texts: tokens.batch(prepare(texts)),
    )


def padded_rows(
    rows: Sequence[Sequence[int]], device: torch.device, *, length: int = 0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of token ids -> int64 ids ``[N, L]`` padded with 0 on the right, and their bool mask.

    ``L`` is that of the longest row, or ``length`` where it is greater.
    """
    import torch

    longest = max(length, *map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids.to(device), (torch.arange(longest) < lengths[:, None]).to(device)


def by_length(embed: Embed, device: torch.device) -> Embed:
    """Let rows of about the same length be embedded together, so that less of it is padding."""
    most = TOKENS if device.type == "cpu" else sys.maxsize

    def embed_sorted(rows: Sequence[Sequence[int]]) -> torch.Tensor:
        import torch

        groups = grouped([len(row) for row in rows], most)
        features = torch.cat([embed([rows[place] for place in group]) for group in groups])
        order = torch.tensor([place for group in groups for place in group])
        return features[order.argsort().to(features.device)]

    return embed_sorted


def grouped(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Places of rows that go through a text tower together, the shortest first.

    So many that they have ``most`` tokens when all are padded to the longest, and never none.
    """
    groups: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        many = len(groups[-1]) + 1 if groups else 1
        if many == 1 or many > ALIKE or many * lengths[place] > most:
            groups.append([])
        groups[-1].append(place)
    return groups


def load_byte_pairs(path: Path | None, *, limit: int, vocabulary_size: int) -> Tokens:
    """CLIP's tokenization by open_clip: ftfy, HTML entities twice, lower case, byte pairs.

    Args:
        path: A gzip file of merges, or None for CLIP's own vocabulary (49,408 tokens).
        limit: Rows of the text tower's position table; 77 in every published checkpoint. Longer
            texts are cut as openai/CLIP ``clip.tokenize(truncate=True)`` does.
        vocabulary_size: Rows of its token table, which the vocabulary must have.
    """
    from open_clip.tokenizer import SimpleTokenizer, default_bpe

    what = str(path) if path else "CLIP's own byte-pair vocabulary"
    remedy = (
        "give the merges file (.txt.gz) that the weights were trained with as `tokenizer`, or put "
        "it in the checkpoint's directory with 'bpe' in its name."
    )
    file = path or Path(default_bpe())
    try:
        tokenizer, digest = SimpleTokenizer(str(file)), short_digest(file.read_bytes())
    except (OSError, EOFError, UnicodeDecodeError) as fault:
        problem = f"{what}: not a readable vocabulary ({fault})"
        raise OcclusionError(problem, remedy=remedy) from fault
    if tokenizer.vocab_size != vocabulary_size:
        raise OcclusionError(
            f"{what} has {tokenizer.vocab_size:,} tokens, but the checkpoint's token_embedding has "
            f"{vocabulary_size:,} rows",
            remedy=remedy,
        )
    start, end = tokenizer.sot_token_id, tokenizer.eot_token_id
    # The tokenizer is slow, and a text is embedded and its tokens counted in one go.
    encode = lru_cache(REMEMBERED)(tokenizer.encode)
    return _of_rows(
        lambda texts: [[start, *encode(text), end] for text in texts], limit, end, digest
    )


REMEDY = (
    f"give as tokenizer the {VOCABULARY_FILE} that the weights were trained with (MedCLIP and "
    f"CXR-CLIP: {BIO_CLINICAL_BERT}'s, the 28,996 lines of bert-base-cased), a directory that "
    "holds it, or a hub id."
)


def load_word_pieces(
    source: str | Path | None,
    *,
    beside: Path,
    limit: int,
    lower_case: bool,
    positions: int,
    vocabulary_size: int,
) -> Tokens:
    """BERT's tokenization, over a vocabulary that fits the weights.

    Args:
        source: ``vocab.txt`` itself, a directory with one, a hub id, or None: the one in the
            checkpoint's directory, else Bio_ClinicalBERT's from the hub or its local cache.
        beside: The checkpoint.
        limit: Longest row that the text tower is to be given, from 2 to ``positions``.
        lower_case: Lower-case and strip accents first. Both upstreams do, over a cased vocabulary,
            because their tokenizer came without a configuration that says otherwise.
        positions: Rows of the text tower's position table.
        vocabulary_size: Rows of its token table, which the vocabulary must have.
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
        problem = f"{path}: not a readable vocabulary ({fault})"
        raise OcclusionError(problem, remedy=REMEDY) from fault
    lacking = [word for word in SPECIAL if word not in words]
    if lacking or len(words) != vocabulary_size:
        found = f"has no {lacking[0]}" if lacking else f"has {len(words):,} lines"
        raise OcclusionError(
            f"{path}: {found}, but the weights were trained with a WordPiece vocabulary of "
            f"{vocabulary_size:,} tokens",
            remedy=REMEDY,
        )
    table = {word: index for index, word in enumerate(words)}
    encode = BertWordPieceTokenizer(table, lowercase=lower_case).encode_batch
    return _of_rows(
        lambda texts: [found.ids for found in encode(list(texts))],
        limit,
        words.index("[SEP]"),
        short_digest(raw),
    )


def _find(source: str | Path | None, beside: Path) -> Path:
    """The vocabulary file, from the hub or its cache when ``source`` is no path."""
    from huggingface_hub import hf_hub_download

    if source is None:
        source = beside if (beside / VOCABULARY_FILE).is_file() else BIO_CLINICAL_BERT
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir() and (path / VOCABULARY_FILE).is_file():
        return path / VOCABULARY_FILE
    if path.is_dir():
        raise OcclusionError(f"{path}: a directory without {VOCABULARY_FILE}", remedy=REMEDY)
    if path.is_absolute() or str(source).count("/") > 1 or path.suffix == ".txt":
        raise OcclusionError(f"{path}: no such vocabulary", remedy=REMEDY)
    name, _, revision = str(source).partition("@")
    try:
        return Path(hf_hub_download(name, VOCABULARY_FILE, revision=revision or None))
    except Exception as fault:  # network, cache, names: the hub's client raises many kinds
        raise OcclusionError(
            f"the tokenizer {name}: its {VOCABULARY_FILE} is neither in the local hub cache nor "
            f"to be had from the hub ({type(fault).__name__})",
            remedy=REMEDY,
        ) from fault
