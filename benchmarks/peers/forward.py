"""The parts ``sweep`` and ``precision``: forward passes, and what is added to them or saved."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peers.common import medians, settings_for
from peers.whole import forget
from pytest_occlusion.encoders.base import Encoder
from pytest_occlusion.encoders.devices import exact_matmul
from pytest_occlusion.engine.job import Condition, Job
from pytest_occlusion.engine.models import open_encoder
from pytest_occlusion.engine.parallel import batch_map, batch_threads
from pytest_occlusion.engine.pipeline import measure
from pytest_occlusion.engine.session import Session
from pytest_occlusion.engine.store import Store
from pytest_occlusion.occlusion import occlude
from pytest_occlusion.retrieval.ranks import Ranks, rank_candidates
from pytest_occlusion.retrieval.recall import recall_at_k
from pytest_occlusion.suite.table import RATIOS


def sweep(chosen: Any) -> None:
    """Print what the sweep over all ratios adds to the forward passes of the same batches.

    Canvases come from a store and embeddings go into it, as in any run; decoding is said apart. The
    texts' embeddings are known beforehand: their cost is that of no ratio.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        session = _first(Session(settings_for(chosen)), chosen.images)
        encoder = session.encoder(chosen.model)
        texts = torch.eye(len(session.task.texts), encoder.embed_texts(["text"]).shape[1]) + 1
        quick = replace(encoder, embed_texts=lambda asked: texts[: len(asked)])
        jobs = {name: _job(session, chosen.model, quick, name, store) for name in chosen.occluders}
        first = next(iter(jobs.values()))
        drawn = measure(replace(first, conditions=first.conditions[:1]))  # canvases are kept
        canvases = [encoder.canvas.draw(one.open()) for one in session.corpus.radiographs]
        batches = torch.split(torch.from_numpy(np.stack(canvases)), first.batch_size)

        def forward() -> None:
            with exact_matmul(), batch_threads(encoder.device) as threads:
                spans = [batch for batch in batches for _ in RATIOS]
                list(batch_map(encoder.embed_canvases, spans, threads=threads))

        def whole(job: Job) -> None:
            forget(Path(folder), "ranks", "embeddings", "texts")
            measure(job)

        forward_name = "forward passes alone"
        ways: dict[str, Callable[[], Any]] = {forward_name: forward}
        ways |= {f"sweep, {name}": partial(whole, job) for name, job in jobs.items()}
        found = medians(ways, chosen.rounds)
    fields = next(iter(drawn.values())).fields
    print(f"  {encoder.variant} {encoder.precision}, {len(canvases)} radiographs x {len(RATIOS)}")
    for name, seconds in found.items():
        print(f"  {name:<27} {seconds:8.2f} s {seconds / found[forward_name]:6.3f} x")
    print(f"  decoding once, not in it    {fields['draw_seconds']:8.2f} s")


def _first(session: Session, count: int) -> Session:
    session.corpus = replace(session.corpus, radiographs=session.corpus.radiographs[:count])
    return session


def _job(session: Session, model: str, encoder: Encoder, occluder: str, store: Store) -> Job:
    return replace(
        session.job_of(model),
        encoder=lambda: encoder,
        conditions=[Condition(occluder, ratio, "black", 0) for ratio in RATIOS],
        directions=["image-to-text"],
        store=store,
        say=lambda line: None,
    )


def precision(chosen: Any) -> None:
    """Print speed beside what it does to embeddings and recall: the half formats."""
    session = _first(Session(settings_for(chosen)), chosen.images)
    settings = session.settings.model(chosen.model)
    opened = {
        name: open_encoder(settings, precision=name, device="cpu", store=Store(None))[0]
        for name in ("fp32", "bf16", "fp16")
    }
    exact = opened["fp32"]
    radiographs = session.corpus.radiographs
    canvases = torch.from_numpy(np.stack([exact.canvas.draw(one.open()) for one in radiographs]))
    canvases = occlude(canvases, ratio=0.25, keys=[one.key for one in radiographs])
    with exact_matmul():
        ways: dict[str, Callable[[], Any]] = {
            name: partial(_in_batches, encoder, canvases) for name, encoder in opened.items()
        }
        embedded = {name: way() for name, way in ways.items()}  # also warms up
        seconds = medians(ways, chosen.rounds)
        texts = {name: _texts(session, encoder) for name, encoder in opened.items()}
    print(f"  {exact.variant}, {len(canvases)} radiographs, 25 % blocked, CPU")
    heads = f"{'images/s':>9}{'x':>7}{'embedding':>11}{'R@5':>8}{'R@10':>8}{'flips at 10':>13}"
    print(f"  {'':<15}{heads}")
    before = _ranks(session, embedded["fp32"], texts["fp32"])
    for name, images in embedded.items():
        ranks = _ranks(session, images, texts[name])
        recall = recall_at_k(ranks, [5, 10])
        apart = float((images - embedded["fp32"]).abs().max())
        flips = int(((ranks.best <= 10) != (before.best <= 10)).sum())
        print(
            f"  {name:<15}{len(images) / seconds[name]:9.1f}"
            f"{seconds['fp32'] / seconds[name]:7.2f}{apart:11.1e}"
            f"{100 * recall[5]:8.2f}{100 * recall[10]:8.2f}{flips:13}"
        )


def _in_batches(encoder: Encoder, canvases: torch.Tensor) -> torch.Tensor:
    return torch.cat([encoder.embed_canvases(part) for part in torch.split(canvases, 64)])


def _texts(session: Session, encoder: Encoder) -> torch.Tensor:
    texts = session.task.texts
    return encoder.encode_texts([texts[at] for at in session.task.candidate_text])


def _ranks(session: Session, images: torch.Tensor, texts: torch.Tensor) -> Ranks:
    return rank_candidates(images[session.task.radiographs], texts, session.task.radiograph_group)
