"""A family for tests of the plugin: linear, instant, and as good as its two matrices are equal.

An image is a 4 x 4 pattern of grey levels, its report names the number the pattern is drawn from.
Both sides are projected by a matrix of the checkpoint, so noise on one of them costs recall.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pytest_occlusion.encoders import CanvasRecipe, Encoder, Family

SIZE = 16


def pattern(number: int) -> NDArray[np.uint8]:
    """uint8 ``[16, 16]``: the picture of case ``number``."""
    cells = np.random.default_rng(number).integers(0, 256, (4, 4), dtype=np.uint8)
    return cells.repeat(4, axis=0).repeat(4, axis=1)


def picture(number: int) -> Image.Image:
    """The radiograph of case ``number``."""
    return Image.fromarray(pattern(number))


def write_checkpoint(path: Path, *, noise: float = 0.0, **changes: float) -> Path:
    """Write a toy checkpoint; ``noise`` spoils the image side, other names fill a tensor.

    ``marked`` is added to what images come to whose first pixel is white: they look alike.
    """
    from safetensors.numpy import save_file

    draw = np.random.default_rng(0)
    matrix = draw.normal(size=(SIZE * SIZE, 32)).astype(np.float32)
    spoilt = matrix + noise * draw.normal(size=matrix.shape).astype(np.float32)
    nothing = np.zeros(32, dtype=np.float32)
    tensors = {"image": spoilt, "text": matrix, "bias": nothing, "marked": nothing}
    for name, value in changes.items():
        tensors[name] = np.full_like(tensors[name], value)
    save_file(tensors, path)
    return path


def draw_canvas(image: Image.Image) -> NDArray[np.uint8]:
    """uint8 ``[1, 16, 16]``."""
    return np.asarray(image.convert("L").resize((SIZE, SIZE), Image.Resampling.BOX))[None]


def load(checkpoint: Any, tokenizer: Any, device: Any, precision: str, options: Any) -> Encoder:
    """Load a toy checkpoint."""
    import torch
    from safetensors.torch import load_file

    from pytest_occlusion.corpora.digests import file_digest

    weights = {name: tensor.to(device) for name, tensor in load_file(checkpoint).items()}
    if options["loud"]:
        print("toy encoder opened")  # noqa: T201

    def project(values: torch.Tensor, name: str) -> torch.Tensor:
        flat = values.to(torch.float32).flatten(1) / 255
        out = (flat - 0.5) @ weights[name] + weights["bias"]
        if name == "image":
            out = out + (flat[:, :1] == 1) * weights["marked"]
        if precision == "bf16":
            out = out.bfloat16().float()
        unit: torch.Tensor = out / out.norm(dim=1, keepdim=True).clamp_min(1e-30)
        return unit

    def embed_texts(texts: Sequence[str]) -> torch.Tensor:
        numbers = [int(re.findall(r"\d+", text)[0]) for text in texts]
        pictures = np.stack([pattern(number) for number in numbers])
        return project(torch.from_numpy(pictures).to(device), "text")

    return Encoder(
        family="toy",
        variant="linear",
        weights_digest=file_digest(Path(checkpoint)),
        settings={"loud": options["loud"]},
        canvas=CanvasRecipe("toy-16", 1, SIZE, SIZE, draw_canvas),
        device=device,
        precision=precision,
        embed_canvases=lambda canvases: project(canvases, "image"),
        embed_texts=embed_texts,
        count_tokens=lambda texts: [len(text.split()) for text in texts],
        token_limit=8,
    )


TOY = Family(name="toy", load=load, options={"loud": False}, revision=1)
