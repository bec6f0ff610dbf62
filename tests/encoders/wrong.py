"""Choices that upstream did not make: an oracle that they would pass proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from pytest_occlusion.encoders.tokens import Embed, load_word_pieces

from .test_parity_clip import TOLERANCE, arrays

SHOWN = 5 * TOLERANCE
"""The least error of a wrong choice on an item that shows it; the smallest of all is 2e-5."""


def mean_pool(states: tuple[torch.Tensor, ...], mask: torch.Tensor) -> torch.Tensor:
    """The mean over the positions that count, of the last states."""
    weight = mask.unsqueeze(-1).float()
    return (states[-1] * weight).sum(1) / weight.sum(1)


def with_other_bert(bert: Any, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a BERT the tanh GELU (``bert-gelu``) or another epsilon (``bert-eps``)."""
    tanh = torch.nn.GELU("tanh")
    for module in bert.modules():
        if wrong == "bert-gelu" and type(module).__name__ == "BertIntermediate":
            monkeypatch.setattr(module, "forward", lambda x, dense=module.dense: tanh(dense(x)))
        if wrong == "bert-eps" and isinstance(module, torch.nn.LayerNorm):
            monkeypatch.setattr(module, "eps", 1e-5)


def text_errors(
    tower: Embed, rows: Sequence[Sequence[int]], wanted: NDArray[Any]
) -> NDArray[np.float64]:
    """How far the embeddings of rows of tokens are from the oracle's, each at its worst."""
    with torch.inference_mode():
        found = normalize(tower(rows)).numpy()
    off: NDArray[np.float64] = np.abs(found - wanted).max(1)
    return off


def of_both(name: str, array: str) -> NDArray[Any]:
    """An array of the oracle for the first set of inputs, and behind it for the second."""
    known = arrays(name)
    return np.concatenate([known[array], known[f"{array}_extra"]])


def rows_of(
    vocabulary: Path, size: int, *, limit: int = 512, lower_case: bool = True
) -> Callable[[Sequence[str]], list[list[int]]]:
    """Texts -> cut rows of word pieces, by a vocabulary of ``size`` words."""
    tokens = load_word_pieces(
        vocabulary,
        beside=vocabulary,
        limit=limit,
        lower_case=lower_case,
        positions=512,
        vocabulary_size=size,
    )
    return tokens.batch
