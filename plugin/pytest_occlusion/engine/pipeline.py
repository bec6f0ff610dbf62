"""The pipeline: canvases -> occlude on the device -> encode -> ranks, one pass for all ratios.

``measure(job)`` is the one narrow call through which everything above asks for numbers. It cuts the
work into pieces, which the job's engine does (``pieces.Engine``). Every stage looks into the store
first and leaves its result there, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np

from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.corpora.progress import Progress
from pytest_occlusion.engine.drawing import refuse_any
from pytest_occlusion.engine.job import ENGINE, Condition, Job, Measured, Want
from pytest_occlusion.engine.local import local_engine
from pytest_occlusion.engine.pieces import (
    Answer,
    Engine,
    Floats,
    Slice,
    in_batches,
    in_shards,
    in_slices,
    joined,
)
from pytest_occlusion.engine.store import Entry
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.occlusion.levels import level_sentence
from pytest_occlusion.retrieval.ranks import Ranks
from pytest_occlusion.retrieval.tiles import COLUMNS
from pytest_occlusion.suite.grid import REVERSE

RANKS = ("above", "tied", "tied_positives", "positives")
"""Arrays of ranks that the store keeps."""


def measure(job: Job) -> dict[Want, Measured]:
    """Ranks for every (condition, direction) of a job.

    Raises:
        OcclusionError: Radiographs that cannot be decoded (all, before anything is encoded),
            embeddings that are not finite or zero, or memory that does not suffice for one image.
    """
    keys = {want: _ranks_key(job, *want) for want in _wants(job)}
    found: dict[Want, Measured] = {}

    def missing() -> list[Want]:
        for want, key in keys.items():
            if want not in found and (kept := _kept(job, key, want)):
                found[want] = kept
        return [want for want in keys if want not in found]

    if left := missing():
        with contextlib.ExitStack() as locks:
            # In one order for every worker, or two of them could wait for each other.
            for key in sorted({keys[want] for want in left}):
                locks.enter_context(job.store.lock(key))
            if left := missing():
                for want, measured in _compute(job, left):
                    found[want] = replace(measured, key=keys[want])
                    _keep(job, keys[want], measured)
    return found


def unranked(job: Job) -> list[Want]:
    """What :func:`measure` would not find in the store."""
    return [want for want in _wants(job) if not _kept(job, _ranks_key(job, *want), want)]


def _wants(job: Job) -> list[Want]:
    return [(condition, way) for condition in job.conditions for way in job.directions]


def _compute(job: Job, wants: Sequence[Want]) -> Iterator[tuple[Want, Measured]]:
    with (job.engine or local_engine)(job) as engine:
        from pytest_occlusion.occlusion import achieved_area

        start = time.perf_counter()
        shards = in_shards(job.radiographs)
        refuse_any(job.corpus.name, engine.draw(shards))
        drawn_seconds = time.perf_counter() - start
        texts, text_fields = embed_texts(job, engine)
        shown = list(dict.fromkeys(condition.shown for condition, _ in wants))
        images, image_fields = engine.images(shards, shown)
        fields = {
            **text_fields,
            **image_fields,
            "draw_seconds": drawn_seconds,
            "radiographs": len(job.task.radiographs),
            "peak_bytes": engine.peak_bytes(),
            "pass": uuid.uuid4().hex[:12],
            "device": engine.device,
        }
        candidates = texts[job.task.candidate_text]
        slices = in_slices(job, wants, lambda want: engine.rows(want, images, candidates))
        answers = engine.ranks(slices, images, candidates)
        # Of one (condition, direction) after another: as they are asked, and not all in memory.
        for want, of_want in groupby(zip(slices, _named(job, slices, answers), strict=True), _want):
            parts, seconds = zip(*(answer for _, answer in of_want), strict=True)
            whole = joined(parts)
            area = achieved_area(want[0].occluder, want[0].ratio, *job.record.canvas_size)
            told = {**fields, "rank_seconds": sum(seconds), "achieved": area}
            yield want, Measured(whole.ranks, told, fresh=True, similarity=whole.similarity)


def _want(pair: tuple[Slice, Any]) -> Want:
    return pair[0].want


def _named(
    job: Job, slices: Sequence[Slice], answers: Iterator[tuple[Answer, float]]
) -> Iterator[tuple[Answer, float]]:
    """The answers; a fault says of which model and level."""
    for one in slices:
        try:
            yield next(answers)
        except OcclusionError as fault:
            level = level_sentence(one.condition.occluder, one.condition.ratio)
            where = f"model {job.label} at {level}"
            raise OcclusionError(f"{where}: {fault.problem}", remedy=fault.remedy) from fault


def embed_texts(job: Job, engine: Engine) -> tuple[Floats, dict[str, Any]]:
    """Embeddings of the distinct texts ``[T, D]``, once per model, and what they cost."""
    texts = job.task.texts

    def embed_all() -> Entry:
        start = time.perf_counter()
        batches = in_batches(texts, job.text_batch or job.batch_size)
        pieces, counts = [], []
        with Progress(f"{job.label}: encoding", len(texts), "texts", job.say) as progress:
            for embeddings, tokens in engine.texts([[texts[at] for at in one] for one in batches]):
                pieces.append(embeddings)
                counts += tokens
                progress.add(len(tokens))
        back = np.argsort([place for one in batches for place in one])
        fields = {
            "truncated": sum(count > job.record.token_limit for count in counts),
            "texts": len(texts),
            "text_seconds": time.perf_counter() - start,
        }
        return Entry({"embeddings": np.concatenate(pieces)[back]}, fields)

    kept = job.store.kept("texts", texts_key(job), embed_all)
    return np.array(kept.arrays["embeddings"]), dict(kept.fields)


def texts_key(job: Job) -> str:
    """Under which the store keeps the embeddings of a job's texts."""
    return settings_digest([ENGINE, job.record.key, settings_digest(list(job.task.texts))])


def _ranks_key(job: Job, condition: Condition, direction: str) -> str:
    what: list[Any] = [condition.shown.key, direction, job.corpus.fingerprint, job.task.digest]
    many = len(job.task.radiographs if direction == REVERSE else job.task.candidate_text)
    if many > COLUMNS:  # which are cut, and a score may depend on where, in its last bit
        what.append(COLUMNS)
    return settings_digest([ENGINE, job.record.key, *what])


def _kept(job: Job, key: str, want: Want) -> Measured | None:
    """What the store has, if that is all that the job asks for."""
    entry = job.store.read("ranks", key)
    if entry is None:
        return None
    similarity = entry.arrays.get("similarity")
    if similarity is None and _asks_similarity(job, want):
        return None
    fields = dict(entry.fields)
    candidates = fields.pop("candidates")
    first, gap = entry.arrays.get("first"), entry.arrays.get("gap")
    asked = min(job.first, candidates) if want[1] != REVERSE else 0
    if asked and (first is None or first.shape[1] < asked):
        return None
    arrays = {name: entry.arrays[name].astype(np.int64) for name in RANKS}
    ranks = Ranks(**arrays, candidates=candidates, first=first, gap=gap)
    return Measured(ranks, fields, fresh=False, similarity=similarity, key=key)


def _asks_similarity(job: Job, want: Want) -> bool:
    return job.similarity and want[1] != REVERSE


def _keep(job: Job, key: str, measured: Measured) -> None:
    arrays = {name: getattr(measured.ranks, name).astype(np.int32) for name in RANKS}
    beside = {
        "similarity": measured.similarity,
        "first": measured.ranks.first,
        "gap": measured.ranks.gap,
    }
    arrays |= {name: array for name, array in beside.items() if array is not None}
    if (before := job.store.read("ranks", key)) is not None:  # what others asked for stays
        arrays |= {name: before.arrays[name] for name in before.arrays.keys() - arrays.keys()}
    fields = {**measured.fields, "candidates": measured.ranks.candidates}
    job.store.write("ranks", key, arrays, fields)
