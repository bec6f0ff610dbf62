"""A model of transformers as two functions: which of its methods embed, and how long a text may be.

Code that comes with a model calls its methods, their arguments and what they give as it likes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import torch

SIDES = ("image", "text")

OPTIONS = {"image-method": "", "text-method": ""}
"""``METHOD``, or ``METHOD.FIELD`` of what it gives; empty for ``get_SIDE_features``."""

FIELDS = ("{}_embeds", "{}_features", "pooler_output")
"""What projected features are called in a record; as transformers, ConceptCLIP, transformers 5."""

TABLES = ("position_embeddings", "position_embedding", "embed_positions", "positional_embedding")
"""How the names of position tables end."""

SEEING = ("vis", "image", "img")
"""What is in the names of image towers."""

UNLIMITED = 1_000_000
"""Tokenizers that know no limit name a far greater number (transformers, 1e30)."""


def check_methods(model: torch.nn.Module, options: Mapping[str, Any], what: object) -> None:
    """Refuse a model without the methods that are named, or those that are so by default."""
    names = {f"{side}-method": _named(side, options)[0] for side in SIDES}
    lacking = [
        f"{name} ({option})" if options[option] else name
        for option, name in names.items()
        if not callable(getattr(model, name, None))
    ]
    if lacking:
        kind = type(model).__name__
        raise OcclusionError(
            f"{what}: {kind} is no dual encoder: it has no {' and '.join(lacking)}",
            remedy="give a CLIP- or SigLIP-like model, or name the methods that embed as "
            f"image-method and text-method; it has {candidates(model)}.",
        )


def candidates(model: torch.nn.Module) -> str:
    """The methods that a model has beyond those of every model."""
    from transformers import PreTrainedModel

    kind = type(model)
    own = (n for n in dir(kind) if not n.startswith("_") and not hasattr(PreTrainedModel, n))
    return ", ".join(["forward", *(name for name in own if callable(getattr(kind, name)))])


def takes_mask(model: torch.nn.Module, options: Mapping[str, Any]) -> bool:
    """Whether the text method can be told which tokens are padding."""
    parameters = inspect.signature(getattr(model, _named("text", options)[0])).parameters
    return "attention_mask" in parameters or _open(parameters)


def embedder(
    model: torch.nn.Module,
    side: str,
    options: Mapping[str, Any],
    beside: Mapping[str, torch.Tensor],
) -> Callable[[Mapping[str, torch.Tensor]], torch.Tensor]:
    """A side's method as a function from named inputs of N rows to raw features ``[N, D]``.

    Args:
        model: The model.
        side: ``"image"`` or ``"text"``.
        options: As :data:`OPTIONS`.
        beside: One row of the other side's inputs, for methods that ask for both.

    Returns:
        The function; it raises an OcclusionError where the method gives something else.
    """
    name, field = _named(side, options)
    method = getattr(model, name)
    parameters = inspect.signature(method).parameters
    fields = [field] if field else [known.format(side) for known in FIELDS]

    def embed(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        import torch

        (first, rows), *_ = inputs.items()
        given = {k: v for k, v in beside.items() if k in parameters} | {
            k: v for k, v in inputs.items() if k in parameters or _open(parameters)
        }
        # What is called by another name comes first, as in ``encode_image(image)``.
        plain = (
            [] if first in parameters or not _positional(parameters) else [given.pop(first, rows)]
        )
        found = method(*plain, **given)
        features = found
        if not isinstance(found, torch.Tensor):
            held = found if isinstance(found, Mapping) else getattr(found, "__dict__", {})
            features = next((held[known] for known in fields if known in held), None)
        if (
            not isinstance(features, torch.Tensor)
            or features.dim() != 2
            or len(features) != len(rows)
            or not features.is_floating_point()
        ):
            raise OcclusionError(
                f"{type(model).__name__}.{name} gives {_said(found)} for {len(rows)} inputs, and "
                f"no float features [N, D] as itself or as {', '.join(fields)}",
                remedy=f"set {side}-method = to METHOD or METHOD.FIELD of those that embed; the "
                f"model has {candidates(model)}.",
            )
        return features

    return embed


def _named(side: str, options: Mapping[str, Any]) -> tuple[str, str]:
    name, _, field = (options[f"{side}-method"] or f"get_{side}_features").partition(".")
    return name, field


def _open(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(one.kind is one.VAR_KEYWORD for one in parameters.values())


def _positional(parameters: Mapping[str, inspect.Parameter]) -> bool:
    kinds = {one.kind for one in parameters.values()}
    return bool(
        kinds & {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    )


def _said(found: Any) -> str:
    """What a method gave, in words."""
    kind = type(found).__name__
    if hasattr(found, "shape"):
        return f"a {kind} {found.dtype} {list(found.shape)}"
    fields = found if isinstance(found, Mapping) else getattr(found, "__dict__", {})
    return f"a {kind} of {', '.join(map(str, fields)) or 'no names'}"


def token_limit(model: torch.nn.Module, tokenizer: Any, asked: int, what: object) -> int:
    """Longest row of tokens that the text tower takes.

    Args:
        model: The model, filled.
        tokenizer: Its tokenizer, which says it where neither configuration nor tower does.
        asked: The option ``max-tokens``; 0 for what the model says.
        what: The model, for messages.

    Raises:
        OcclusionError: It cannot be told, or more is asked for than the tower has positions.
    """
    import torch

    config: Any = model.config
    text = getattr(config, "text_config", None) or config
    key = "max_position_embeddings"
    told = text.get(key) if isinstance(text, Mapping) else getattr(text, key, None)
    tables = [
        (name, table)
        for name, table in model.named_modules()
        if isinstance(table, torch.nn.Embedding) and name.endswith(TABLES)
    ]
    # RoBERTa and its kind count positions from behind the one that stands for padding.
    known = [t.num_embeddings - t.padding_idx - 1 for _, t in tables if t.padding_idx is not None]
    known += [int(told)] if told else []
    if not told:
        known += [
            table.num_embeddings
            for name, table in tables
            if table.padding_idx is None and not any(part in name.lower() for part in SEEING)
        ]
    positions = min(known, default=0)
    if asked and (asked < 2 or (positions and asked > positions)):
        raise OcclusionError(
            f"{what}: max-tokens = {asked} is out of range: its text tower has "
            f"{positions or 'an unknown number of'} positions",
            remedy=f"use a number from 2{f' to {positions}' if positions else ''}.",
        )
    stated = tokenizer.model_max_length
    if not told and stated < UNLIMITED:
        positions = min(positions or stated, stated)
    if not (asked or positions):
        raise OcclusionError(
            f"{what}: neither its configuration (text_config.{key}) nor its text tower nor its "
            "tokenizer (model_max_length) tells how many tokens a text may have",
            remedy="set max-tokens = to the number that it was trained with.",
        )
    return asked or int(positions)
