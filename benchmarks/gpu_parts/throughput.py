"""The part ``throughput``: the sweep over all ratios against forward passes of the same batches.

Canvases come from a store and embeddings go into it, as in any run. The forward passes have their
batches on the device already, and nothing is done with what they give: that is as fast as these
towers are in this batch size. All ways take turns, so that a busy machine is busy for all.

A fast card is done in a second with a thousand radiographs, and then what every sweep costs once
(the first shard that is read, tables of candidates, files) looms large. So each way runs over a
quarter of the radiographs too: the difference tells what an image costs, and what is left is fixed.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
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
    ("clip ViT", "bf16", (64, 256), 4096),
    ("cxr-clip ResNet", "bf16", (64, 256), 3072),
    ("clip ViT", "fp32", (64,), 1024),
)
"""Towers, precision, canvases a forward pass (the default, and what fills a large card), and
radiographs: seconds of forward passes on a card of 2024."""

OCCLUDERS = ("block", "patches")
PARTS = ("encode", "wait", "rank")
"""Seconds of a sweep that its record tells."""

SIDE, ROUNDS = 256, 2

FEWER = 4
"""The radiographs by this are the few."""

Run = tuple[float, dict[str, float]]
"""Seconds, and what of them its record tells."""


@dataclass
class Case:
    """One checkpoint that is timed."""

    given: Setting
    name: str
    precision: str
    encoder: Encoder
    session: Session  # of many radiographs
    few: Session  # of their first quarter
    store: Path

    def job(self, occluder: str, size: int, *, few: bool = False) -> Job:
        """All ratios of one occluder; the texts are embedded beforehand, their cost is apart."""
        asked = self.few if few else self.session
        drawn = torch.randn(
            len(asked.task.texts), self.width, generator=torch.Generator().manual_seed(5)
        )
        texts = torch.nn.functional.normalize(drawn).to(self.encoder.device)
        quick = replace(
            self.encoder,
            embed_texts=lambda asked: texts[: len(asked)],
            count_tokens=lambda asked: [2] * len(asked),
        )
        return replace(
            self.session.job_of("model"),
            corpus=asked.corpus,
            task=asked.task,
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
    for number, (name, precision, sizes, many) in enumerate(CASES[:2] if given.small else CASES):
        given.needs(30, f"timing {name} in {precision}")
        count, side = (12, 96) if given.small else (many, SIDE)
        folder = given.folder / f"throughput {number}"
        made = towers.write(name, folder, small=given.small)
        models = {"model": (made, precision)}
        settings = settings_for(given, folder, models, store=folder / "store")
        session, few = (
            session_of(settings, made_up_corpus(some, side)) for some in (count, count // FEWER)
        )
        encoder = session.encoder("model")
        case = Case(given, name, precision, encoder, session, few, folder / "store")
        yield from _timed(case, sizes[:1] if given.small else sizes)
        session.close()
        del case, session, few, encoder
        _let_go(given)


def _timed(case: Case, sizes: Sequence[int]) -> Iterator[Finding]:
    given = case.given
    everything = case.job(OCCLUDERS[0], sizes[0])
    some = everything.conditions[:1]
    measure(replace(everything, conditions=some))  # canvases are kept, and all is warm
    few = case.job(OCCLUDERS[0], sizes[0], few=True)
    measure(replace(few, conditions=some))  # its last shard may be a part of a larger one
    shards = draw_shards(few, case.encoder.canvas, in_shards(few.radiographs))[0]
    whole = torch.cat([torch.from_numpy(np.array(shard.canvases())) for shard in shards])
    canvases = whole.to(case.encoder.device)
    counts = [len(job.radiographs) * len(RATIOS) for job in (few, everything)]
    yield (
        f"{case.name} {case.precision}: {counts[1]:,} images, {counts[0]:,} to tell what is fixed; "
        "beyond: the share of forward without that"
    )
    for size in sizes:
        given.needs(25, f"timing {case.name} in {case.precision} at {size}")
        ways: dict[str, list[Callable[[], dict[str, float]]]] = {
            "forward": [partial(_forward, case, canvases, size, times) for times in (1, FEWER)]
        }
        for occluder in OCCLUDERS:
            jobs = [case.job(occluder, size, few=one) for one in (True, False)]
            ways[occluder] = [partial(_sweep, job) for job in jobs]
        peaks = {name: _peak(case, of_few) for name, (of_few, _) in ways.items()}  # and warm up
        runs = _medians(case, ways)
        for name, ((short, _), (took, told)) in runs.items():
            forward = [seconds for seconds, _ in runs["forward"]]
            share = round(forward[1] / took, 3)
            yield {
                "towers": f"{case.name} {case.precision}",
                "batch": size,
                "way": name,
                "img/s": round(counts[1] / took),
                "share": share,
                "beyond": round((forward[1] - forward[0]) / max(1e-9, took - short), 3),
                "fixed s": round(fixed(counts, (short, took)), 2),
                **{part: told.get(part) for part in PARTS},
                "peak MiB": round(peaks[name] / 2**20) or None,
            }
            if name != "forward" and not given.small:
                what = f"{case.name} {case.precision}, batches of {size}, {name}: share of forward"
                yield Check(what, share, f"at least {AIM:g}", share >= AIM, must=False)


def fixed(counts: Sequence[int], seconds: Sequence[float]) -> float:
    """Seconds that do not grow with the number of images, of two numbers and what they took."""
    each = (seconds[1] - seconds[0]) / (counts[1] - counts[0])
    return seconds[0] - each * counts[0]


def _forward(case: Case, canvases: torch.Tensor, size: int, times: int) -> dict[str, float]:
    with exact_matmul(), batch_threads(case.encoder.device) as threads:
        batches = torch.split(canvases, size)
        spans = [batch for _ in range(times) for batch in batches for _ in RATIOS]
        for _ in batch_map(case.encoder.embed_canvases, spans, threads=threads):
            pass
    return {}


def _sweep(job: Job) -> dict[str, float]:
    measured = list(measure(job).values())
    fields = measured[0].fields
    return {
        "encode": round(fields["encode_seconds"], 2),
        "wait": round(fields["wait_seconds"], 2),
        "rank": round(sum(one.fields["rank_seconds"] for one in measured), 2),
    }


def _medians(
    case: Case, ways: dict[str, list[Callable[[], dict[str, float]]]]
) -> dict[str, tuple[Run, Run]]:
    """Of each way over few and over many the run of median seconds; they take turns.

    Of two runs it is the shorter one, for both sizes and all ways alike.
    """
    given = case.given
    runs: dict[str, tuple[list[Run], list[Run]]] = {name: ([], []) for name in ways}
    for _ in range(1 if given.small else ROUNDS):
        for name, both in ways.items():
            for way, found in zip(both, runs[name], strict=True):
                forget(case.store)
                given.wait()
                start = time.perf_counter()
                told = way()
                given.wait()
                found.append((time.perf_counter() - start, told))
    middle = {name: [sorted(one, key=_seconds) for one in both] for name, both in runs.items()}
    return {name: (a[(len(a) - 1) // 2], b[(len(b) - 1) // 2]) for name, (a, b) in middle.items()}


def _seconds(run: Run) -> float:
    return run[0]


def _peak(case: Case, way: Callable[[], Any]) -> int:
    """Most bytes of the GPU's memory that one call holds; 0 on a CPU."""
    given = case.given
    forget(case.store)
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
