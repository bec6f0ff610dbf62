"""CLIP's byte-pair tokenisation: texts -> rows of token ids."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

from pytest_occlusion.encoders.files import short_digest
from pytest_occlusion.errors import OcclusionError

REMEMBERED = 1024
"""Texts whose tokens are remembered: a few batches."""


@dataclass(frozen=True)
class BytePairs:
    """A vocabulary and the length that the text tower takes.

    Attributes:
        tokenizer: open_clip's ``SimpleTokenizer`` (ftfy, HTML entities twice, lower case).
        limit: Positions of the text tower; 77 in every published checkpoint.
        digest: First 16 hex digits of the SHA-256 of the vocabulary file.
    """

    tokenizer: Any
    limit: int
    digest: str

    @cached_property
    def _encode(self) -> Callable[[str], list[int]]:
        """The tokenizer, which is slow; a text is embedded and its tokens counted in one go."""
        encode: Callable[[str], list[int]] = lru_cache(REMEMBERED)(self.tokenizer.encode)
        return encode

    def rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text with start and end marks, uncut."""
        start, end = self.tokenizer.sot_token_id, self.tokenizer.eot_token_id
        return [[start, *self._encode(text), end] for text in texts]

    def batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, at most ``limit`` of them."""
        return [self.cut(row) for row in self.rows(texts)]

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text before the cut."""
        return [len(row) for row in self.rows(texts)]

    def cut(self, row: list[int]) -> list[int]:
        """A row of at most ``limit`` ids; an over-long one ends in the end mark.

        Upstream: openai/CLIP ``clip.tokenize(truncate=True)``, and the fork in CXR-RePaiR always.
        """
        if len(row) <= self.limit:
            return row
        return [*row[: self.limit - 1], self.tokenizer.eot_token_id]


def load_byte_pairs(path: Path | None, *, limit: int, vocabulary_size: int) -> BytePairs:
    """Read a byte-pair vocabulary and see that the weights were trained with it.

    Args:
        path: A gzip file of merges as open_clip's ``bpe_path`` takes it, or None for CLIP's own
            vocabulary (49,408 tokens), which open_clip carries.
        limit: Rows of the text tower's position table.
        vocabulary_size: Rows of its token table.

    Raises:
        OcclusionError: The file is missing or is no vocabulary, or its size is another one.
    """
    library = _open_clip_tokenizer()
    what = str(path) if path else "CLIP's own byte-pair vocabulary"
    remedy = (
        "give the merges file (.txt.gz) that the weights were trained with as `tokenizer`, or put "
        "it in the checkpoint's directory with 'bpe' in its name."
    )
    try:
        file = path or Path(library.default_bpe())
        tokenizer = library.SimpleTokenizer(str(file))
        digest = short_digest(file.read_bytes())
    except (OSError, EOFError, UnicodeDecodeError) as fault:
        raise OcclusionError(
            f"{what}: not a readable vocabulary ({fault})", remedy=remedy
        ) from fault
    if tokenizer.vocab_size != vocabulary_size:
        raise OcclusionError(
            f"{what} has {tokenizer.vocab_size:,} tokens, but the checkpoint's token_embedding has "
            f"{vocabulary_size:,} rows",
            remedy=remedy,
        )
    return BytePairs(tokenizer, limit, digest)


@cache
def _open_clip_tokenizer() -> Any:
    """open_clip's module of that name by itself.

    Importing the package would import timm, torchvision and transformers with it: several seconds
    for nothing that a tokenizer needs. Should the module come to need its package, it is imported.
    """
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:  # pragma: no cover - it is required
        raise ModuleNotFoundError("No module named 'open_clip'", name="open_clip")
    file = Path(package.origin).with_name("tokenizer.py")
    spec = importlib.util.spec_from_file_location("open_clip.tokenizer", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
