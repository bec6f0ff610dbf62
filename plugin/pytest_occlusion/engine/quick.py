"""A sample of a model's forward passes, each ranked against all candidates.

What it draws and encodes is kept, and noted for the run of the whole (``places``); where that has
been done already, its ranks are looked up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.encoders.devices import resolve_device
from pytest_occlusion.engine.drawing import canvas_key, canvas_owner
from pytest_occlusion.engine.embedding import embedding_keys, embedding_owner, radiograph_digests
from pytest_occlusion.engine.estimate import measured_speeds
from pytest_occlusion.engine.job import Condition, Job
from pytest_occlusion.engine.parallel import usable_cores
from pytest_occlusion.engine.pieces import in_shards
from pytest_occlusion.engine.pipeline import measure, texts_key, unranked
from pytest_occlusion.engine.places import note
from pytest_occlusion.engine.sampling import Passes, all_passes, doublings
from pytest_occlusion.engine.session import Session
from pytest_occlusion.retrieval.ranks import Ranks
from pytest_occlusion.retrieval.recall import hit_probability
from pytest_occlusion.suite.grid import Cell

FORWARD = "image-to-text"

SMALLEST_BATCH = 8
"""Radiographs below which a batch is not cut for another thread of a CPU."""

QUARTERS = 4
"""Of a doubling, to which a budget in seconds is rounded: two runs of a minute are seldom alike."""


@dataclass
class Sampled:
    """The passes of one model, measured a part at a time.

    Attributes:
        job: Of all radiographs, under these conditions.
        conditions: Each once: with nothing blocked all occluders are alike.
        passes: All of them, in their order.
        ks: Lengths of lists.
        device_asked: As the settings name it.
        encoded: Forward passes that this run has done.
        device: Where they were done.
    """

    job: Job
    conditions: Sequence[Condition]
    passes: Passes
    ks: Sequence[int]
    device_asked: str
    encoded: int = field(default=0, init=False)
    _whole: dict[Condition, NDArray[np.bool_]] = field(default_factory=dict, init=False)
    device: str = field(default="cpu", init=False)

    def hits(self, first: int, last: int) -> NDArray[np.bool_]:
        """Whether passes first up to last hit: bool ``[n, len(ks)]``.

        They are done in parts that are the same for every budget, or the store would keep each
        budget's anew.

        Raises:
            OcclusionError: As :func:`pipeline.measure`.
        """
        cuts = [first, *(end for end in doublings(last) if first < end < last), last]
        return np.concatenate([self._part(*both) for both in pairwise(cuts)])

    def _part(self, first: int, last: int) -> NDArray[np.bool_]:
        part = self.passes.part(first, last)
        found = np.zeros((len(part), len(self.ks)), np.bool_)
        for place, condition in enumerate(self.conditions):
            (own,) = np.nonzero(part.shown == place)
            if len(own):
                found[own] = self._hits(condition, part.rows[own])
        return found

    def _hits(self, condition: Condition, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        whole = replace(self.job, conditions=[condition])
        if condition not in self._whole and not unranked(whole):
            self._whole[condition] = self._bits(self._measured(whole))
        if condition in self._whole:
            return self._whole[condition][rows]
        ordered = np.sort(rows)
        size = self.job.batch_size
        if resolve_device(self.device_asked).type == "cpu":  # one batch would be one thread's
            size = min(size, max(SMALLEST_BATCH, math.ceil(len(rows) / usable_cores())))
        few = replace(
            whole,
            task=whole.task.asked_by(ordered),
            batch_size=size,
            text_batch=self.job.batch_size,  # as in a full run, which takes them from the store
        )
        return self._bits(self._measured(few))[np.searchsorted(ordered, rows)]

    def _measured(self, job: Job) -> Ranks:
        (measured,) = measure(job).values()
        self.device = str(measured.fields.get("device", "cpu"))
        if measured.fresh:
            self.encoded += int(measured.fields["encoded_images"])
            _note(job)
        return measured.ranks

    def _bits(self, ranks: Ranks) -> NDArray[np.bool_]:
        chances = [hit_probability(ranks, k) for k in self.ks]
        return np.stack(chances, axis=1) >= 0.5


def sampled(session: Session, model: str, cells: Sequence[Cell]) -> Sampled:
    """The passes behind some cells of a model, from images to texts."""
    conditions = {one.shown: one for cell in cells for one in session.conditions(cell)}
    job = session.job_of(model, cells)
    if unranked(job):
        _note(job)  # what a full run has drawn, or a part of one has encoded
    return Sampled(
        # This process measures: a sample is small, and a cluster takes long to start.
        job=replace(job, engine=None, first=0, directions=[FORWARD]),
        conditions=list(conditions.values()),
        passes=all_passes(session.corpus, session.task, len(conditions)),
        ks=list(dict.fromkeys(cell.k for cell in cells)),
        device_asked=session.settings.device,
    )


def passes_in(session: Session, one: Sampled, seconds: float) -> int:
    """How many passes of a model fit into so many seconds, by two batches that are measured.

    Loading it, measuring it and texts to be encoded count as well. What is stored fits whole.

    Raises:
        OcclusionError: As :func:`pipeline.measure`.
    """
    job, begun = one.job, time.perf_counter()
    if not unranked(job):
        return len(one.passes)
    encoder = session.encoder(job.label)
    speeds = measured_speeds(job, encoder, one.conditions[-1].shown, session.settings)
    texts = 0 if job.store.has("texts", texts_key(job)) else len(job.task.texts)
    left = seconds - (time.perf_counter() - begun) - texts * speeds.text
    if left <= 0:
        session.say(
            f"{job.label}: {seconds:.0f} s are too few for loading it, for measuring it and for "
            f"{texts} texts; it shows one radiograph under each condition all the same"
        )
    fit = int(min(len(one.passes), max(0.0, left) / (speeds.draw + speeds.image)))
    if fit == len(one.passes) or not (ends := doublings(fit)):
        return fit
    step = ends[-1] // QUARTERS
    return ends[-1] + (fit - ends[-1]) // step * step


def _note(job: Job) -> None:
    """Note one by one what there is of a job's radiographs, for jobs that have others beside."""
    recipe, shards = job.record.canvas, in_shards(job.radiographs)
    canvases = {canvas_key(recipe, some): [one.content for one in some] for some in shards}
    note(job.store, "canvases", canvas_owner(recipe), canvases)
    digests = [radiograph_digests(some) for some in shards]
    shown = [condition.shown for condition in job.conditions]
    keys = [embedding_keys(job.record, some, shown) for some in shards]
    for one in shown:
        entries = {own[one]: told for own, told in zip(keys, digests, strict=True)}
        note(job.store, "embeddings", embedding_owner(job.record, one), entries)
