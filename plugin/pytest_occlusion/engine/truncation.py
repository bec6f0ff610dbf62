"""How many texts each model's tokenizer would cut, counted before anything is embedded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_occlusion.engine.models import check_model, open_encoder
from pytest_occlusion.engine.store import Store
from pytest_occlusion.errors import MissingError
from pytest_occlusion.suite.settings import ModelSettings


@dataclass(frozen=True)
class Truncation:
    """What one tokenizer makes of the texts.

    Attributes:
        model: Name of the model.
        cut: Texts that are longer than the limit.
        texts: Texts that were counted.
        limit: Tokens that the text tower is given, special ones included.
        longest: Tokens of the longest text.
        missing: Why nothing was counted; empty if it was.
    """

    model: str
    cut: int = 0
    texts: int = 0
    limit: int = 0
    longest: int = 0
    missing: str = ""


def count_truncated(texts: Sequence[str], models: Sequence[ModelSettings]) -> Iterator[Truncation]:
    """Count tokens model by model; the limit and often the vocabulary are the checkpoint's own.

    Args:
        texts: At least one.
        models: The models of a suite.

    Yields:
        One for each model, also for those that are not on this machine.

    Raises:
        OcclusionError: A model that is here but cannot be loaded.
    """
    for model in models:
        fault = check_model(model)
        if isinstance(fault, MissingError):
            yield Truncation(model.name, missing=fault.problem.removeprefix(f"{model.name}: "))
            continue
        if fault is not None:
            raise fault
        encoder, _ = open_encoder(model, precision="fp32", device="cpu", store=Store(None))
        counts = encoder.count_tokens(texts)
        limit = encoder.token_limit
        cut = sum(count > limit for count in counts)
        yield Truncation(model.name, cut, len(counts), limit, max(counts))


def truncation_lines(found: Iterator[Truncation]) -> Iterator[str]:
    """Lines to print; counts only, never a text."""
    yield f"{'truncated per tokenizer':<32}{'texts':>10}{'share':>13}{'limit':>9}{'longest':>10}"
    for one in found:
        name = f"  {one.model}"
        if one.missing:
            yield f"{name:<32}  not counted: {one.missing}"
        else:
            share = f"{100 * one.cut / one.texts:.1f} %"
            yield f"{name:<32}{one.cut:>10,}{share:>13}{one.limit:>9,}{one.longest:>10,}"
