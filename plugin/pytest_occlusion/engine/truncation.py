"""How many texts each model's tokenizer would cut, counted before anything is embedded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_occlusion.engine.models import check_model, open_encoder
from pytest_occlusion.engine.store import Store
from pytest_occlusion.errors import MissingError
from pytest_occlusion.suite.settings import ModelSettings


def truncation_lines(texts: Sequence[str], models: Sequence[ModelSettings]) -> Iterator[str]:
    """Lines to print: a head, then one for each model, also for those not on this machine.

    Counts only, never a text; the limit and often the vocabulary are the checkpoint's own.

    Raises:
        OcclusionError: A model that is here but cannot be loaded.
    """
    yield f"{'truncated per tokenizer':<32}{'texts':>10}{'share':>13}{'limit':>9}{'longest':>10}"
    for model in models:
        name = f"  {model.name}"
        fault = check_model(model)
        if isinstance(fault, MissingError):
            missing = fault.problem.removeprefix(f"{model.name}: ")
            yield f"{name:<32}  not counted: {missing}"
            continue
        if fault is not None:
            raise fault
        encoder, _ = open_encoder(model, precision="fp32", device="cpu", store=Store(None))
        counts, limit = encoder.count_tokens(texts), encoder.token_limit
        cut = sum(count > limit for count in counts)
        share = f"{100 * cut / len(counts):.1f} %"
        yield f"{name:<32}{cut:>10,}{share:>13}{limit:>9,}{max(counts):>10,}"
