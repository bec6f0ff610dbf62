"""The part ``throughput``: the sweep over all ratios against forward passes of the same batches.

Canvases come from a store and embeddings go into it, as in any run. The forward passes have their
batches on the device already, and nothing is done with what they give: that is as fast as these
towers are in this batch size. All ways take turns, so that a busy machine is busy for all.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpu_parts import towers
from gpu_parts.record import Check, Finding
from gpu_parts.setting import Setting
from gpu_parts.suites import forget, made_up_corpus, session_of, settings_for
from pytest_occlusion.encoders import Encoder
from pytest_occlusion.encoders.devices import exact_matmul
from pytest_occlusion.engine.drawing import draw_shards
from pytest_occlusion.engine.job import Condition, Job
from pytest_occlusion.engine.parallel import batch_map, batch_threads
from pytest_occlusion.engine.pieces import in_shards
from pytest_occlusion.engine.pipeline import measure
from pytest_occlusion.engine.session import Session
from pytest_occlusion.engine.store import Store
from pytest_occlusion.suite.table import RATIOS

AIM = 0.9
"""Share of the pure forward passes' speed that the whole sweep is to reach."""

CASES = (
    ("clip ViT", "bf16", (64, 256)),
    ("cxr-clip ResNet", "bf16", (64, 256)),
    ("clip ViT", "fp32", (64,)),
)
"""Towers, precision, and canvases a forward pass: the default, and what fills a large card."""

OCCLUDERS = ("block", "patches")
PARTS = ("encode", "wait", "rank")
"""Seconds of a sweep that its record tells."""

RADIOGRAPHS, SIDE, ROUNDS = 1024, 256, 3


@dataclass
class Case:
    """One checkpoint that is timed."""

    given: Setting
    name: str
    precision: str
    encoder: Encoder
    session: Session
    store: Path
    rounds: int
    last: dict[str, dict[str, float]] = field(default_factory=dict)  # what took a sweep's time

    def job(self, occluder: str, size: int) -> Job:
        """All ratios of one occluder; the texts are embedded beforehand, their cost is apart."""
        texts = torch.eye(len(self.session.task.texts), self.width, device=self.encoder.device) + 1
        quick = replace(
            self.encoder,
            embed_texts=lambda asked: texts[: len(asked)],
            count_tokens=lambda asked: [2] * len(asked),
        )
        return replace(
            self.session.job_of("model"),
            encoder=lambda: quick,
            conditions=[Condition(occluder, ratio, "black", 0) for ratio in RATIOS],
            directions=["image-to-text"],
            store=Store(self.store),
            batch_size=size,
        )

    @property
    def width(self) -> int:
        """Dimensions of an embedding."""
        return self.encoder.embed_texts(["text"]).shape[1]


def throughput(given: Setting) -> Iterator[Finding]:
    """Images a second of every way, the share that the sweep reaches, and the peak of memory."""
    corpus = made_up_corpus(12 if given.small else RADIOGRAPHS, 96 if given.small else SIDE)
    for number, (name, precision, sizes) in enumerate(CASES[:2] if given.small else CASES):
        given.needs(40, f"timing {name} in {precision}")
        folder = given.folder / f"throughput {number}"
        made = towers.write(name, folder, small=given.small)
        models = {"model": (made, precision)}
        settings = settings_for(given, folder, models, store=folder / "store")
        session = session_of(settings, corpus)
        encoder = session.encoder("model")
        case = Case(given, name, precision, encoder, session, folder / "store", ROUNDS)
        yield from _timed(case, sizes[:1] if given.small else sizes)
        session.close()
        del case, session, encoder
        _let_go(given)


def _timed(case: Case, sizes: Sequence[int]) -> Iterator[Finding]:
    given = case.given
    first = case.job(OCCLUDERS[0], sizes[0])
    measure(replace(first, conditions=first.conditions[:1]))  # canvases are kept, and all is warm
    count = len(case.session.corpus.radiographs)
    shards = draw_shards(first, case.encoder.canvas, in_shards(first.radiographs))[0]
    whole = torch.cat([torch.from_numpy(np.array(shard.canvases())) for shard in shards])
    canvases = whole.to(case.encoder.device)
    for size in sizes:
        given.needs(20, f"timing {case.name} in {case.precision} at {size}")
        ways: dict[str, Callable[[], Any]] = {"forward": partial(_forward, case, canvases, size)}
        for occluder in OCCLUDERS:
            ways[occluder] = partial(_sweep, case, case.job(occluder, size))
        peaks = {name: _peak(given, way) for name, way in ways.items()}  # also warms up
        seconds = _medians(given, ways, 1 if given.small else case.rounds)
        images = count * len(RATIOS)
        for name, took in seconds.items():
            share = round(seconds["forward"] / took, 3)
            yield {
                "towers": f"{case.name} {case.precision}",
                "batch": size,
                "way": "forward passes" if name == "forward" else f"sweep, {name}",
                "images": images,
                "images/s": round(images / took, 1),
                "share": share,
                **{part: case.last.get(name, {}).get(part) for part in PARTS},
                "peak MiB": round(peaks[name] / 2**20) or None,
            }
            if name != "forward" and not given.small:
                what = f"{case.name} {case.precision}, batches of {size}, {name}: share of forward"
                yield Check(what, share, f"at least {AIM:g}", share >= AIM, must=False)


def _forward(case: Case, canvases: torch.Tensor, size: int) -> None:
    with exact_matmul(), batch_threads(case.encoder.device) as threads:
        spans = [batch for batch in torch.split(canvases, size) for _ in RATIOS]
        for _ in batch_map(case.encoder.embed_canvases, spans, threads=threads):
            pass


def _sweep(case: Case, job: Job) -> None:
    forget(case.store)
    measured = list(measure(job).values())
    case.last[job.conditions[0].occluder] = {
        "encode": round(measured[0].fields["encode_seconds"], 3),
        "wait": round(measured[0].fields["wait_seconds"], 3),
        "rank": round(sum(one.fields["rank_seconds"] for one in measured), 3),
    }


def _medians(given: Setting, ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each way; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            given.wait()
            start = time.perf_counter()
            way()
            given.wait()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _peak(given: Setting, way: Callable[[], Any]) -> int:
    """Most bytes of the GPU's memory that one call holds; 0 on a CPU."""
    if not given.on_gpu:
        way()
        return 0
    torch.cuda.reset_peak_memory_stats(given.device)
    way()
    given.wait()
    return torch.cuda.max_memory_allocated(given.device)


def _let_go(given: Setting) -> None:
    gc.collect()
    if given.on_gpu:
        torch.cuda.empty_cache()
