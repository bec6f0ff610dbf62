"""BERT as a text tower: transformers' own, of the sizes that tensors tell, and what is pooled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.tokens import Embed, Tokens, load_word_pieces, padded_rows
from pytest_occlusion.encoders.vision import HEAD_WIDTH
from pytest_occlusion.encoders.weights import block_count, built_from, shape_of

if TYPE_CHECKING:
    import torch

Pool = Callable[[tuple["torch.Tensor", ...], "torch.Tensor"], "torch.Tensor"]
"""Hidden states ``[N, L, width]``, the embeddings' first, and bool mask ``[N, L]`` of the positions
that count -> ``[N, width]``."""


def at_start(states: tuple[torch.Tensor, ...], _: torch.Tensor) -> torch.Tensor:
    """The last hidden state at [CLS]."""
    return states[-1][:, 0]


def at_end(states: tuple[torch.Tensor, ...], mask: torch.Tensor) -> torch.Tensor:
    """The last hidden state at [SEP]."""
    import torch

    return states[-1][torch.arange(len(mask), device=mask.device), mask.sum(1) - 1]


def bert_of(
    state: Mapping[str, torch.Tensor], prefix: str, path: Path, *, untyped: Any = None
) -> Any:
    """A BERT of the sizes that the tensors under ``prefix`` tell, on the meta device.

    Its pooler is built where there are tensors of it; no family reads what it gives. ``untyped`` is
    a class of BERT for a family whose files have no table of token types.
    """
    from transformers import BertConfig, BertModel

    def rows(table: str) -> int:
        return shape_of(state, f"{prefix}embeddings.{table}_embeddings.weight", 2, path)[0]

    width = shape_of(state, f"{prefix}embeddings.word_embeddings.weight", 2, path)[1]
    inner = f"{prefix}encoder.layer.0.intermediate.dense.weight"
    config = BertConfig(
        vocab_size=rows("word"),
        hidden_size=width,
        num_hidden_layers=block_count(state, f"{prefix}encoder.layer."),
        num_attention_heads=max(1, width // HEAD_WIDTH),
        intermediate_size=shape_of(state, inner, 2, path)[0],
        max_position_embeddings=rows("position"),
        type_vocab_size=1 if untyped else rows("token_type"),
    )
    with built_from(path):
        kind = untyped or BertModel
        return kind(config, add_pooling_layer=f"{prefix}pooler.dense.weight" in state)


def words_of(
    bert: Any, tokenizer: str | Path | None, *, beside: Path, limit: int, options: Mapping[str, Any]
) -> Tokens:
    """The vocabulary of a BERT; arguments and errors as :func:`load_word_pieces`.

    Of the options ``lower-case`` is read.
    """
    return load_word_pieces(
        tokenizer,
        beside=beside,
        limit=limit,
        lower_case=options["lower-case"],
        positions=bert.config.max_position_embeddings,
        vocabulary_size=bert.config.vocab_size,
    )


def bert_states(bert: Any, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """All hidden states ``[N, L, width]`` of token ids ``[N, L]``, the embeddings' first.

    The bool mask is False on padding, which is never attended to, but attends itself. Every token
    is of type 0: upstream passes zeros (CXR-CLIP, CheXficient, BioViL) or nothing (MedCLIP).
    """
    found = bert(input_ids=ids, attention_mask=mask, output_hidden_states=True)
    states: tuple[torch.Tensor, ...] = found.hidden_states
    return states


def text_tower(bert: Any, head: Any, *, pool: Pool, length: int = 0) -> Embed:
    """BERT and its head as one function of rows of token ids.

    Args:
        bert: The text tower.
        head: What is behind it: a layer, or a sequence that begins with one.
        pool: As ``Layout.text_pool``.
        length: Pad every row to so many tokens, which then all count; 0 to the longest of the call.
    """

    def embed(rows: Sequence[Sequence[int]]) -> torch.Tensor:
        ids, mask = padded_rows(rows, bert.device, length=length)
        states = bert_states(bert, ids, mask)
        features: torch.Tensor = head(pool(states, mask.new_ones(mask.shape) if length else mask))
        return features

    return embed
