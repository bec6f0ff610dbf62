"""The last step of every loader: two towers and their preprocessing become an Encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pytest_occlusion.encoders.base import CanvasRecipe, Encoder
from pytest_occlusion.encoders.devices import forward_context

if TYPE_CHECKING:
    import torch


class Tokens(Protocol):
    """A vocabulary at work."""

    @property
    def limit(self) -> int:
        """Longest row of token ids that the text tower is given."""

    def batch(self, texts: Sequence[str]) -> Any:
        """Texts as the text tower takes them, cut to the limit."""

    def count(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text before the cut, special tokens included."""


@dataclass(frozen=True)
class Towers:
    """The computing half of an encoder.

    Attributes:
        pixels: uint8 canvases ``[N, C, H, W]`` -> normalised float32; always in float32.
        images: Normalised float32 -> raw features ``[N, D]``; under autocast when asked for.
        texts: What ``Tokens.batch`` gives -> raw features ``[N, D]``; under autocast likewise.
        device: Where they run.
    """

    pixels: Callable[[torch.Tensor], torch.Tensor]
    images: Callable[[torch.Tensor], torch.Tensor]
    texts: Callable[[Any], torch.Tensor]
    device: torch.device


ALIKE = 64
"""Rows of token ids that go through a text tower together."""


def by_length(
    embed: Callable[[Sequence[Sequence[int]]], torch.Tensor],
) -> Callable[[Sequence[Sequence[int]]], torch.Tensor]:
    """Let rows of about the same length be embedded together.

    A batch is padded to its longest row, and reports differ much: sorted first, less than half of
    the work is padding. The features come back in the order of the rows.
    """

    def embed_sorted(rows: Sequence[Sequence[int]]) -> torch.Tensor:
        import torch

        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        starts = range(0, len(order), ALIKE)
        features = torch.cat([embed([rows[i] for i in order[s : s + ALIKE]]) for s in starts])
        return features[torch.tensor(order).argsort().to(features.device)]

    return embed_sorted


def assemble(
    towers: Towers,
    tokens: Tokens,
    *,
    family: str,
    variant: str,
    digest: str,
    canvas: CanvasRecipe,
    settings: Mapping[str, str | int | float | bool],
    precision: str,
    assumed: Mapping[str, str | int | float | bool] | None = None,
) -> Encoder:
    """Close the two embedding functions over the towers.

    Both may be called from several threads: they hold no state, and inference mode and autocast
    belong to the calling thread.
    """
    import torch
    from torch.nn.functional import normalize

    def embed_canvases(canvases: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            inputs = towers.pixels(canvases)
            with forward_context(towers.device, precision):
                features = towers.images(inputs)
            return normalize(features.float(), dim=-1)

    def embed_texts(texts: Sequence[str]) -> torch.Tensor:
        batch = tokens.batch(texts)
        with torch.inference_mode():
            with forward_context(towers.device, precision):
                features = towers.texts(batch)
            return normalize(features.float(), dim=-1)

    return Encoder(
        family=family,
        variant=variant,
        weights_digest=digest,
        settings={**settings, "token-limit": tokens.limit},
        canvas=canvas,
        device=towers.device,
        precision=precision,
        embed_canvases=embed_canvases,
        embed_texts=embed_texts,
        count_tokens=tokens.count,
        token_limit=tokens.limit,
        assumed=assumed or {},
    )
