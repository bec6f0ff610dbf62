"""The last steps of a loader: towers and their preprocessing become an Encoder."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.encoders.base import CanvasRecipe, Encoder, Family
from pytest_occlusion.encoders.checkpoints import Checkpoint, read_checkpoint
from pytest_occlusion.encoders.devices import forward_context
from pytest_occlusion.encoders.hub import OPTIONS, open_source
from pytest_occlusion.encoders.signatures import refuse_other_families
from pytest_occlusion.encoders.tokens import Tokens
from pytest_occlusion.encoders.weights import Plan, fill

if TYPE_CHECKING:
    import torch

Planner = Callable[[Checkpoint, Mapping[str, Any]], Plan]
"""A checkpoint and the family's options -> how it fills a model."""

Modules = Mapping[str, Any]  # by the prefix of their tensors
Options = Mapping[str, Any]  # of a family, by their names

Around = Callable[[Checkpoint, Plan, Modules, Any, Options], dict[str, Any]]
"""Checkpoint, plan, filled modules, tokenizer, options -> what :func:`assemble` is to be given."""

AT_ONCE = 8 * 224 * 224
"""Pixels of the canvases in one forward pass on a CPU, of however large a batch.

What one layer hands to the next then stays near the core, and in memory that the process has
already: a ViT-B/32 takes a tenth less time than with 64 radiographs at once, a Swin-T a quarter
less (``benchmarks/passes.py``).
"""


def assemble(
    *,
    pixels: Callable[[torch.Tensor], torch.Tensor],
    images: Callable[[torch.Tensor], torch.Tensor],
    texts: Callable[[Any], torch.Tensor],
    tokens: Tokens,
    canvas: CanvasRecipe,
    device: torch.device,
    precision: str,
    settings: Mapping[str, str | int | float | bool],
    **told: Any,
) -> Encoder:
    """Close the two embedding functions over the towers.

    Both may be called from several threads: they hold no state, and inference mode and autocast
    belong to the calling thread.

    Args:
        pixels: uint8 canvases ``[N, C, H, W]`` -> normalised float32; always in float32.
        images: Normalised float32 -> raw features ``[N, D]``; under autocast when asked for.
        texts: What ``tokens.batch`` gives -> raw features ``[N, D]``; under autocast likewise.
        tokens: The vocabulary at work.
        canvas: Of what size the canvases are.
        device: Where the towers are.
        precision: Of their arithmetic.
        settings: The family's choices; those of the tokens are added.
        **told: The encoder's other fields.
    """
    import torch
    from torch.nn.functional import normalize

    most = together(canvas, device)

    def embed_canvases(canvases: torch.Tensor) -> torch.Tensor:
        # Alike in number: a layer may round for a single row otherwise than for several.
        passes = max(1, math.ceil(len(canvases) / most))
        with torch.inference_mode():
            features = []
            for some in canvases.tensor_split(passes):
                inputs = pixels(some)
                with forward_context(device, precision):
                    features.append(images(inputs))
            return normalize(torch.cat(features).float(), dim=-1)

    def embed_texts(given: Sequence[str]) -> torch.Tensor:
        batch = tokens.batch(given)
        with torch.inference_mode():
            with forward_context(device, precision):
                features = texts(batch)
            return normalize(features.float(), dim=-1)

    return Encoder(
        settings={**settings, "vocabulary": tokens.digest, "token-limit": tokens.limit},
        canvas=canvas,
        device=device,
        precision=precision,
        embed_canvases=embed_canvases,
        embed_texts=embed_texts,
        count_tokens=tokens.count,
        token_limit=tokens.limit,
        **told,
    )


def together(canvas: CanvasRecipe, device: torch.device) -> int:
    """How many canvases go through an image tower at once; a GPU is given whole batches."""
    if device.type != "cpu":
        return sys.maxsize
    return max(1, AT_ONCE // (canvas.height * canvas.width))


def planned_family(
    name: str,
    plan: Planner,
    around: Around,
    *,
    options: Mapping[str, Any],
    hub: Sequence[str] = (),
    **told: Any,
) -> Family:
    """A family whose tensors decide the model that they fill; ``told`` are its other fields.

    With ``hub``, patterns of weights files with the best first, it takes ``hf-hub:`` ids, and has
    the options of :mod:`hub`.
    """
    load = partial(_load, family=name, plan=plan, around=around, hub=hub)
    options = {**OPTIONS, **options} if hub else options
    return Family(name, load, options, plan=plan, **told)


def _load(
    checkpoint: str | Path,
    tokenizer: str | Path | None,
    device: torch.device,
    precision: str,
    options: Mapping[str, Any],
    *,
    family: str,
    plan: Planner,
    around: Around,
    hub: Sequence[str],
) -> Encoder:
    weights = options["weights"]
    read = open_source(checkpoint, options, hub) if hub else read_checkpoint(checkpoint, weights)
    refuse_other_families(read.state, family, read.weights)
    planned = plan(read, options)
    modules, digest = fill(planned, read.weights, device)
    parts = around(read, planned, modules, tokenizer, options)
    parts["settings"] |= planned.settled
    return assemble(
        family=family,
        variant=planned.variant,
        weights_digest=digest,
        device=device,
        precision=precision,
        assumed=planned.assumed,
        sources=read.cached,
        **parts,
    )
