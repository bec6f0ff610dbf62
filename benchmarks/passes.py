"""Other ways of a forward pass on a CPU: how long they take, and how far they move embeddings.

    python benchmarks/passes.py ["clip ViT" ...] [--ways WAY,WAY] [--images 64] [--small]

Every way takes turns with the plugin's own, on one thread, with weights made up at the published
sizes (``gpu_parts/towers.py``). Seconds are the processor's, which a busy machine hardly moves, and
the fewest of the rounds. ``times`` above 1 says how many times as long the other way takes,
``apart`` is the largest difference of a coordinate of the normalised embeddings, and ``first`` are
the seconds of the clock until the other way has encoded once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from gpu_parts import towers
from gpu_parts.made_up import picture, report
from pytest_occlusion.encoders import (
    Encoder,
    assembly,
    biovil,
    clip,
    load_encoder,
    mgca,
    paired,
    tokens,
    weights,
)
from pytest_occlusion.encoders.vision import quickened
from pytest_occlusion.engine.pieces import in_batches

TOWERS = ("clip ViT", "mgca ViT", "medclip Swin", "medclip ResNet")

BATCH = 64
"""Radiographs or texts that the engine hands over together."""

Change = Callable[[], Sequence[Any]]
"""Gives what is to be patched while an encoder is loaded."""


@dataclass(frozen=True)
class Way:
    """Another way: of which towers, with what patched or in which precision, of texts or images."""

    of: tuple[str, ...]
    change: Change = tuple
    precision: str = "fp32"
    texts: bool = False


def in_families(name: str, value: Any) -> list[Any]:
    """The patches that put a function of ``vision`` out of every family that calls it."""
    return [mock.patch.object(family, name, value) for family in (biovil, clip, mgca, paired)]


def all_at_once() -> list[Any]:
    """As many canvases in a forward pass as there are in a batch."""
    return [mock.patch.object(assembly, "AT_ONCE", sys.maxsize)]


def rows_at_once() -> list[Any]:
    """64 texts in a forward pass, however long they are."""
    return [mock.patch.object(tokens, "TOKENS", sys.maxsize)]


def norms_apart() -> list[Any]:
    """Batch norms that stay beside their convolutions."""

    def channels_last(model: Any) -> Any:
        model.to(memory_format=torch.channels_last)
        return lambda pixels: model(pixels.contiguous(memory_format=torch.channels_last))

    return in_families("quickened", channels_last)


def channels_first() -> list[Any]:
    """Convolutions in torch's own order of channels."""

    def merged(model: Any) -> Any:
        quickened(model)
        return model.to(memory_format=torch.contiguous_format)

    return in_families("quickened", merged)


def three_channels() -> list[Any]:
    """A grey picture as three equal channels."""
    own = assembly.assemble

    def repeated(*, images: Any, **told: Any) -> Encoder:
        return own(images=lambda pixels: images(pixels.expand(-1, 3, -1, -1)), **told)

    nothing = in_families("see_grey", lambda conv: None)
    return [*nothing, mock.patch.object(assembly, "assemble", repeated)]


def filled(change: Callable[[Any], None]) -> list[Any]:
    """The patch that changes every loaded module."""
    own = weights.fill

    def then(*given: Any) -> Any:
        modules, digest = own(*given)
        for tower in modules.values():
            for module in tower.modules():
                change(module)
        return modules, digest

    return [mock.patch.object(assembly, "fill", then)]


def patches_last() -> list[Any]:
    """The convolution that cuts a picture into patches on channels-last tensors."""

    def change(module: Any) -> None:
        if isinstance(module, torch.nn.Conv2d):
            module.to(memory_format=torch.channels_last)

    return filled(change)


def plain_attention() -> list[Any]:
    """Attention in products of matrices instead of torch's fused one."""

    def change(module: Any) -> None:
        if hasattr(module, "set_attn_implementation"):
            module.set_attn_implementation("eager")
        if hasattr(module, "fused_attn"):
            module.fused_attn = False

    return filled(change)


def batch_first() -> list[Any]:
    """open_clip's transformers in the order of their inputs."""
    return [mock.patch.object(clip, "positions_first")]


def compiled() -> list[Any]:
    """The image tower through ``torch.compile``; the first batch of every shape is compiled."""
    own = assembly.assemble

    def fused(*, images: Any, **told: Any) -> Encoder:
        return own(images=torch.compile(images), **told)

    return [mock.patch.object(assembly, "assemble", fused)]


VIT, SWIN, RESNET = "ViT", "Swin", "ResNet"

WAYS: dict[str, Way] = {
    "batch-at-once": Way((VIT, SWIN, RESNET, "biovil"), all_at_once),
    "norms-apart": Way((RESNET,), norms_apart),
    "channels-first": Way((RESNET,), channels_first),
    "patches-channels-last": Way((VIT, SWIN), patches_last),
    "three-channels": Way(("mgca", "medclip", "cxr-repair"), three_channels),
    "plain-attention": Way(("mgca ViT", SWIN), plain_attention),
    "batch-first": Way(("clip ViT", "cxr-repair"), batch_first),
    "bf16": Way((VIT, SWIN, RESNET), precision="bf16"),
    "bf16-batch-first": Way(("clip ViT", "cxr-repair"), batch_first, precision="bf16"),
    "compiled": Way((VIT, SWIN, RESNET), compiled),
    "texts-at-once": Way(("clip ViT", "medclip Swin"), rows_at_once, texts=True),
    "texts-batch-first": Way(("clip ViT", "cxr-repair"), batch_first, texts=True),
    "texts-plain-attention": Way(("medclip", "cxr-clip"), plain_attention, texts=True),
}
"""Name -> a way that is not the plugin's own in fp32."""


def load(made: towers.Made, way: Way) -> Encoder:
    """The encoder of a checkpoint on the CPU, in a way."""
    with ExitStack() as patched:
        for one in way.change():
            patched.enter_context(one)
        return load_encoder(
            made.family,
            checkpoint=made.checkpoint,
            tokenizer=made.tokenizer,
            device="cpu",
            precision=way.precision,
            **made.options,
        )


def encoded(encoder: Encoder, canvases: torch.Tensor, texts: Sequence[str]) -> torch.Tensor:
    """Embeddings of texts, if there are any, or else of canvases, in batches as of the engine."""
    if not texts:
        return torch.cat([encoder.embed_canvases(some) for some in torch.split(canvases, BATCH)])
    batches = in_batches(texts, BATCH)
    found = torch.cat([encoder.embed_texts([texts[at] for at in one]) for one in batches])
    return found[torch.tensor([at for one in batches for at in one]).argsort()]


def fewest(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of the processor that each takes at least, in turns."""
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            way()
            seconds[name] = min(seconds[name], time.process_time() - start)
    return seconds


def lines(name: str, made: towers.Made, asked: Sequence[str], given: Any) -> Iterator[str]:
    """One line for each way that a tower can go."""
    ours = load(made, Way(()))
    drawn = [ours.canvas.draw(picture(at, 600, 700)) for at in range(given.images)]
    canvases = torch.from_numpy(np.stack(drawn))
    reports = [report(at) for at in range(2 * given.images)]
    for label in asked:
        way = WAYS[label]
        if not any(part in name for part in way.of):
            continue
        other, texts = load(made, way), reports if way.texts else []
        both = {"ours": ours, label: other}
        calls = {key: partial(encoded, one, canvases, texts) for key, one in both.items()}
        start = time.perf_counter()
        found = {label: calls[label]()}
        first = time.perf_counter() - start
        found["ours"] = calls["ours"]()
        seconds = fewest(calls, given.rounds)
        apart = float((found[label] - found["ours"]).abs().max())
        ratio, rate = seconds[label] / seconds["ours"], len(found["ours"]) / seconds["ours"]
        yield f"{name:<16} {label:<22} {ratio:6.2f} {apart:9.1e} {rate:8.1f} {first:8.1f}"


def main(given: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "towers", nargs="*", default=TOWERS, help=f"of {', '.join(towers.FAMILIES)}"
    )
    parser.add_argument("--ways", default=",".join(WAYS), help="of those there are; all by default")
    parser.add_argument("--images", type=int, default=BATCH)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="tiny towers: see that it works")
    chosen = parser.parse_args(given)
    asked = chosen.ways.split(",")
    known = {*WAYS, *towers.FAMILIES}
    if unknown := [name for name in (*asked, *chosen.towers) if name not in known]:
        parser.error(f"unknown: {', '.join(unknown)}; ways: {', '.join(WAYS)}")
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, one thread")
    print(f"{'tower':<16} {'way':<22} {'times':>6} {'apart':>9} {'ours/s':>8} {'first, s':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.towers:
            made = towers.write(name, Path(folder) / name.replace(" ", "-"), small=chosen.small)
            for line in lines(name, made, asked, chosen):
                print(line, flush=True)


if __name__ == "__main__":
    main()
