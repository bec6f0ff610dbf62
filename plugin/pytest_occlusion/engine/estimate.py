"""What a run will cost: what the store has, and from two measured batches the time of the rest."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pytest_occlusion.corpora.task import build_task
from pytest_occlusion.encoders.base import Encoder
from pytest_occlusion.engine.drawing import canvas_key, canvas_owner
from pytest_occlusion.engine.embedding import embedding_keys, embedding_owner, radiograph_digests
from pytest_occlusion.engine.job import Condition, Job
from pytest_occlusion.engine.local import device_name, local_engine
from pytest_occlusion.engine.models import ModelRecord, check_model
from pytest_occlusion.engine.pieces import Questions, answered, in_batches, in_shards
from pytest_occlusion.engine.pipeline import texts_key, unranked
from pytest_occlusion.engine.places import noted
from pytest_occlusion.engine.session import Session
from pytest_occlusion.engine.store import Store
from pytest_occlusion.engine.trial import sample, timed
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.retrieval.tiles import tile_rows
from pytest_occlusion.suite.grid import REVERSE, Cell
from pytest_occlusion.suite.settings import Settings

BATCHES = 2
"""Batches that are measured, after one that is not: the first of a process takes longer."""

DRAWN = 16
"""Radiographs that are decoded to learn how long that takes."""

RANK_BYTES = 20
"""Of a query in the store, under each condition: four counts and a gap."""


@dataclass(frozen=True)
class Work:
    """What a model needs of one kind."""

    what: str
    count: int  # of all
    kept: int  # of them that the store has
    seconds: float = 0.0  # that the rest will take
    bytes: int = 0  # that the rest will take on disk

    @property
    def left(self) -> int:
        """How many are to be done."""
        return self.count - self.kept


@dataclass(frozen=True)
class ModelPlan:
    """What is known of a model before it is measured."""

    name: str
    fault: str = ""  # why it cannot be run on this machine
    record: ModelRecord | None = None
    known: str = ""  # the entry of the register that its table names
    device: str = ""  # empty where all is in the store
    cut: int | None = None  # texts beyond the token limit
    works: tuple[Work, ...] = ()
    memory: int | None = None  # bytes of the GPU, or of this process

    @property
    def seconds(self) -> float:
        """Of all that is left."""
        return sum(work.seconds for work in self.works)

    @property
    def bytes(self) -> int:
        """On disk, of all that is left."""
        return sum(work.bytes for work in self.works)


def plan_model(session: Session, name: str, cells: Sequence[Cell]) -> ModelPlan:
    """What the cells of a model will cost; loads it if anything is left to do."""
    try:
        if fault := check_model(session.settings.model(name)):
            raise fault
        return _plan(session, name, cells)
    except OcclusionError as fault:
        return ModelPlan(name, fault=str(fault))


def _plan(session: Session, name: str, cells: Sequence[Cell]) -> ModelPlan:
    settings = session.settings.model(name)
    job = session.job_of(name, [cell for cell in cells if cell.model == name])
    told = ModelPlan(name, record=job.record, known=settings.model)
    wants = len(job.conditions) * len(job.directions)
    left = unranked(job)
    if not left:
        return replace(told, works=(Work("rankings", wants, wants),))
    shown = list(dict.fromkeys(condition.shown for condition, _ in left))
    encoder = session.encoder(name)
    speeds = measured_speeds(job, encoder, shown[-1], session.settings)
    shards, radiographs = in_shards(job.radiographs), len(job.radiographs)
    recipe = job.record.canvas
    contents = [[one.content for one in some] for some in shards]
    canvases = [canvas_key(recipe, some) for some in shards]
    drawn = _kept(job.store, "canvases", canvas_owner(recipe), canvases, contents)
    digests = [radiograph_digests(some) for some in shards]
    keys = [embedding_keys(job.record, some, shown) for some in shards]
    owners = {one: embedding_owner(job.record, one) for one in shown}
    embedded = sum(
        _kept(job.store, "embeddings", owner, [own[one] for own in keys], digests)
        for one, owner in owners.items()
    )
    canvas, texts, asked = encoder.canvas, len(job.task.texts), len(shown)
    size = canvas.channels * canvas.height * canvas.width
    encoded = radiographs * asked - embedded
    known, keep = texts * job.store.has("texts", texts_key(job)), job.store.root is not None
    ranked = sum(len(job.task.candidate_text) if w == REVERSE else radiographs for _, w in left)
    works = (
        Work("canvases", radiographs, drawn, *_rest(radiographs - drawn, speeds.draw, keep * size)),
        Work("texts", texts, known, *_rest(texts - known, speeds.text, keep * 4 * speeds.width)),
        Work(
            "forward passes",
            radiographs * asked,
            embedded,
            *_rest(encoded, speeds.image, keep * 4 * speeds.width),
        ),
        Work(
            "rankings",
            wants,
            wants - len(left),
            speeds.rank * len(left),
            keep * ranked * (RANK_BYTES + 4 * job.first),
        ),
    )
    cut = sum(count > encoder.token_limit for count in encoder.count_tokens(job.task.texts))
    held = 4 * speeds.width * (radiographs * asked + len(job.task.candidate_text))
    memory = None if speeds.memory is None else speeds.memory + held
    return replace(told, device=device_name(encoder), cut=cut, works=works, memory=memory)


def _kept(
    store: Store,
    kind: str,
    owner: Sequence[Any],
    keys: Sequence[str],
    contents: Sequence[Sequence[str]],
) -> int:
    """Radiographs of which the store has something: whole shards, or rows of a sample."""
    places = noted(store, kind, owner)
    return sum(
        len(some) if store.has(kind, key) else sum(one in places for one in some)
        for key, some in zip(keys, contents, strict=True)
    )


def _rest(count: int, seconds: float, size: int) -> tuple[float, int]:
    return count * seconds, count * size


@dataclass(frozen=True)
class Speeds:
    """Seconds of one radiograph, text and ranking; width of embeddings; memory in use."""

    draw: float
    image: float
    text: float
    rank: float
    width: int
    memory: int | None


def measured_speeds(job: Job, encoder: Encoder, shown: Condition, settings: Settings) -> Speeds:
    """From a few radiographs of a job, under one condition; nothing is read from the store."""
    few = sample(job.corpus, job.task.radiographs.tolist(), job.batch_size * BATCHES)
    task = build_task(few, text_rule=settings.text_rule, candidates=settings.candidates)
    here = replace(job, corpus=few, task=task, store=Store(None), say=lambda line: None)
    some = here.radiographs
    start = time.perf_counter()
    for one in some[:DRAWN]:
        encoder.canvas.draw(one.open())
    draw = (time.perf_counter() - start) / len(some[:DRAWN]) / job.decoders.most
    with local_engine(here) as engine:
        engine.draw([some[:1]])
        engine.images([some[:1]], [shown])
        engine.draw([some])
        _, image = timed(lambda: engine.images([some], [shown]))
        batches = [[task.texts[at] for at in one] for one in in_batches(task.texts, job.batch_size)]
        for _ in engine.texts([batches[-1][:1]]):
            pass
        rows, text = timed(lambda: [found for found, _ in engine.texts(batches)])
        width = rows[0].shape[1]
        rank = _ranking(job, encoder, width)
        return Speeds(
            draw, image / len(some), text / len(task.texts), rank, width, engine.peak_bytes()
        )


def _ranking(job: Job, encoder: Encoder, width: int) -> float:
    """Seconds of all queries against all candidates, from the rows of a tile or two."""
    import torch

    radiographs, texts = len(job.radiographs), len(job.task.candidate_text)
    rows = min(radiographs, BATCHES * tile_rows(texts))
    draw = torch.Generator().manual_seed(0)

    def unit(count: int) -> torch.Tensor:
        drawn = torch.randn(count, width, generator=draw)
        return torch.nn.functional.normalize(drawn, dim=1).to(encoder.device)

    queries, candidates = unit(rows), unit(texts)
    own = np.arange(rows, dtype=np.int64) % texts
    asked = Questions(own, np.arange(texts), 0, job.first, similarity=False)
    answered(queries[:1], candidates, replace(asked, query_groups=own[:1]))
    _, seconds = timed(lambda: answered(queries, candidates, asked))
    return seconds * math.ceil(radiographs / rows)
