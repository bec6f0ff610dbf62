"""The pipeline: canvases -> occlude on the device -> encode -> ranks, one pass for all ratios.

``measure(job)`` is the one narrow call through which everything above asks for numbers; a
distributed engine could answer it as well. Every stage looks into the store first and leaves its
result there, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.engine.drawing import draw_shards
from pytest_occlusion.engine.embedding import embed_images, embed_texts
from pytest_occlusion.engine.job import ENGINE, Condition, Job, Measured, Want
from pytest_occlusion.engine.parallel import batch_map, batch_threads
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.occlusion.levels import level_sentence
from pytest_occlusion.retrieval.ranks import Ranks, rank_groups
from pytest_occlusion.suite.grid import REVERSE

RANKS = ("above", "tied", "tied_positives", "positives")
"""Arrays of ranks that the store keeps."""


def measure(job: Job) -> dict[Want, Measured]:
    """Ranks for every (condition, direction) of a job.

    Raises:
        OcclusionError: Radiographs that cannot be decoded (all, before anything is encoded),
            embeddings that are not finite or zero, or memory that does not suffice for one image.
    """
    wants = [(condition, way) for condition in job.conditions for way in job.directions]
    keys = {want: _ranks_key(job, *want) for want in wants}
    found: dict[Want, Measured] = {}

    def missing() -> list[Want]:
        for want in wants:
            if want not in found and (kept := _kept(job, keys[want], want)):
                found[want] = kept
        return [want for want in wants if want not in found]

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


def _compute(job: Job, wants: Sequence[Want]) -> Iterator[tuple[Want, Measured]]:
    encoder = job.encoder()  # imports torch in its own way, so before anything else does

    import torch

    from pytest_occlusion.encoders.devices import exact_matmul, peak_bytes
    from pytest_occlusion.occlusion import achieved_area

    device = encoder.device.type
    if device == "cuda":  # pragma: no cover - needs a GPU
        device += f" ({torch.cuda.get_device_name(encoder.device)})"
    start = time.perf_counter()
    shards = draw_shards(job, encoder.canvas)
    drawn_seconds = time.perf_counter() - start
    shown = list(dict.fromkeys(condition.shown for condition, _ in wants))
    with exact_matmul(), batch_threads(encoder.device) as threads:
        texts, text_fields = embed_texts(job, encoder, threads)
        images, image_fields = embed_images(job, encoder, shards, shown, threads)
        fields = {
            **text_fields,
            **image_fields,
            "draw_seconds": drawn_seconds,
            "radiographs": len(job.task.radiographs),
            "peak_bytes": peak_bytes(encoder.device),
            "pass": uuid.uuid4().hex[:12],
            "device": device,
        }
        candidates = texts[job.task.candidate_text]
        groups = np.arange(len(candidates))

        def rank(want: Want) -> tuple[Want, Measured]:
            condition, direction = want
            start = time.perf_counter()
            queries = images[condition.shown]
            try:
                if direction == REVERSE:
                    ranks = rank_groups(candidates, queries, groups, job.task.radiograph_group)
                else:
                    own = job.task.radiograph_group
                    ranks = rank_groups(queries, candidates, own, groups, first=job.first)
            except OcclusionError as fault:
                level = level_sentence(condition.occluder, condition.ratio)
                where = f"model {job.label} at {level}"
                raise OcclusionError(f"{where}: {fault.problem}", remedy=fault.remedy) from fault
            seconds = time.perf_counter() - start
            shape = encoder.canvas.height, encoder.canvas.width
            area = achieved_area(condition.occluder, condition.ratio, *shape)
            told = {"rank_seconds": seconds, "achieved": area}
            similarity = None
            if _asks_similarity(job, want):
                positives = candidates[torch.from_numpy(job.task.radiograph_group)]
                similarity = (queries * positives).sum(dim=1).float().cpu().numpy()
            return want, Measured(ranks, {**fields, **told}, fresh=True, similarity=similarity)

        yield from batch_map(rank, wants, threads=threads)


def _ranks_key(job: Job, condition: Condition, direction: str) -> str:
    what = [condition.shown.key, direction, job.corpus.fingerprint, job.task.digest]
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
