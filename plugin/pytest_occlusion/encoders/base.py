"""What every family's loader returns: an :class:`Encoder`, a record of plain functions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL import Image


@dataclass(frozen=True)
class CanvasRecipe:
    """How one radiograph becomes the 8-bit picture that an encoder is shown, and occluders block.

    Attributes:
        name: Identity of the recipe with its sizes, e.g. ``"clip-bicubic-crop-224"``. Encoders with
            the same name share stored canvases, so it must change whenever a pixel does.
        channels: 1 for grey, 3 for RGB.
        height: Rows, in pixels.
        width: Columns, in pixels.
        draw: Decoded radiograph (mode ``L`` or ``RGB``) -> uint8 array ``[channels, H, W]``. Host
            only (PIL, numpy); must be safe to call from several threads.
    """

    name: str
    channels: int
    height: int
    width: int
    draw: Callable[[Image.Image], NDArray[np.uint8]]


@dataclass(frozen=True)
class Encoder:
    """A loaded checkpoint with its own preprocessing.

    Attributes:
        family: Registry name, e.g. ``"cxr-repair"``.
        variant: What the file turned out to hold, e.g. ``"ViT-B/32"``.
        weights_digest: SHA-256 (hex) over the sorted tensor names, shapes, dtypes and bytes.
        settings: The choices that were in force (resize mode, token limit, ...), plain values
            only. Part of the identity of every embedding.
        canvas: The host stage of the image preprocessing.
        device: Where the weights are and where canvases must be put.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``.
        embed_canvases: uint8 canvases ``[N, C, H, W]`` on ``device`` -> float32 embeddings
            ``[N, D]`` on ``device``, L2-normalised. Does the float half of the preprocessing.
        embed_texts: Texts -> float32 embeddings ``[N, D]`` on ``device``, L2-normalised. An
            embedding never depends on the other texts of the call.
        count_tokens: Texts -> tokens of each before truncation, special tokens included.
        token_limit: Longest token sequence that the text tower is given; longer texts are cut.
        sources: Files that it was read from outside the checkpoint's own folder, as those of a
            hub's cache: what is remembered of it holds while they stay as they are.
        assumed: Those of the settings that neither file nor options told: upstream's own.
    """

    family: str
    variant: str
    weights_digest: str
    settings: Mapping[str, str | int | float | bool]
    canvas: CanvasRecipe
    device: torch.device
    precision: str
    embed_canvases: Callable[[torch.Tensor], torch.Tensor]
    embed_texts: Callable[[Sequence[str]], torch.Tensor]
    count_tokens: Callable[[Sequence[str]], list[int]]
    token_limit: int
    sources: tuple[Path, ...] = ()
    assumed: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    def encode_images(self, images: Sequence[Image.Image], *, batch_size: int = 64) -> torch.Tensor:
        """Embed decoded radiographs with the family's own evaluation preprocessing.

        Args:
            images: PIL images; converted to 8-bit ``L`` or ``RGB`` as the canvas recipe asks.
            batch_size: Canvases at a time; on a GPU, per forward pass.

        Returns:
            float32 CPU tensor ``[len(images), D]``, rows of unit L2 norm.
        """
        import numpy as np

        def embed(part: Sequence[Image.Image]) -> torch.Tensor:
            return self.encode_canvases(np.stack([self.canvas.draw(image) for image in part]))

        return _in_batches(embed, images, batch_size)

    def encode_canvases(self, canvases: NDArray[np.uint8], *, batch_size: int = 64) -> torch.Tensor:
        """Embed canvases ``[N, C, H, W]`` that are drawn, and on the host, as images are."""
        import torch

        def embed(part: NDArray[np.uint8]) -> torch.Tensor:
            return self.embed_canvases(torch.from_numpy(part).to(self.device))

        return _in_batches(embed, canvases, batch_size)

    def encode_texts(self, texts: Sequence[str], *, batch_size: int = 256) -> torch.Tensor:
        """Embed report texts, which are not empty; over-long ones are cut as the family does.

        Returns:
            float32 CPU tensor ``[len(texts), D]``, rows of unit L2 norm.
        """
        return _in_batches(self.embed_texts, texts, batch_size)


def _in_batches(embed: Callable[[Any], torch.Tensor], given: Any, size: int) -> torch.Tensor:
    import torch

    rows = [embed(given[start : start + size]).cpu() for start in range(0, len(given), size)]
    return torch.cat(rows) if rows else torch.empty(0, 0)


@dataclass(frozen=True)
class Family:
    """One registry line: how to recognise and load a checkpoint format.

    Attributes:
        name: Registry name, as users write it.
        load: Called as ``load(checkpoint, tokenizer, device, precision, options)`` with a path
            (or hub id), a tokenizer path or id or ``None``, a ``torch.device``, a precision name
            and the remaining options of the model's table; returns the :class:`Encoder`.
        options: Option name -> default, for validation before anything is loaded. The type of the
            default is the type that is asked for.
        revision: Bumped whenever this family's code changes an embedding; part of store keys.
        choices: Option name -> the values that it may have, where not all of its type are allowed.
        plan: Checkpoint and options -> how it fills a model, where the tensors tell; ``inspect``
            asks it.
    """

    name: str
    load: Callable[..., Encoder]
    options: Mapping[str, Any]
    revision: int = 1
    choices: Mapping[str, Collection[Any]] = field(default_factory=dict)
    plan: Callable[..., Any] | None = None
