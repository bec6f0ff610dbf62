"""Calibration: how much do the hits of a cell move when nothing that matters has changed?

A model is measured again and again with another batch size, another order of the radiographs (so
that every batch has other neighbours), and reduced precision in every second run; on a machine with
a GPU, CPU and GPU take turns. Nothing is read from the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pytest_occlusion.corpora.task import Task
from pytest_occlusion.encoders.devices import resolve_device
from pytest_occlusion.engine.models import open_encoder
from pytest_occlusion.engine.pipeline import measure
from pytest_occlusion.engine.session import Session
from pytest_occlusion.engine.store import Store
from pytest_occlusion.retrieval.recall import hit_probability
from pytest_occlusion.suite.grid import Cell


def calibrated_hits(session: Session, cells: Sequence[Cell]) -> dict[Cell, list[int]]:
    """The hits of cells of one model that are measured together, in every calibration run."""
    settings, job = session.settings, session.job_of(cells[0].model, cells)
    devices = [str(resolve_device(name)) for name in (settings.device, "auto")]
    found: dict[Cell, list[int]] = {cell: [] for cell in cells}
    for number in range(settings.calibrate):
        # A half of the batch size, twice, a third, three times ... of it.
        odd, step = number % 2, number // 2 + 2
        size = settings.batch_size * step if odd else max(1, settings.batch_size // step)
        precision, device = "bf16" if odd else job.record.precision, devices[odd]
        job.say(
            f"{job.label}: calibration {number + 1} of {settings.calibrate} (batch {size}, "
            f"{precision}, {device})"
        )
        encoder, _ = open_encoder(
            settings.model(job.label), precision=precision, device=device, store=Store(None)
        )
        measured = measure(
            replace(
                job,
                encoder=lambda encoder=encoder: encoder,  # type: ignore[misc]
                record=replace(job.record, precision=precision),
                task=_reordered(job.task, seed=number + 1),
                batch_size=size,
                store=Store(None),
            )
        )
        for cell in cells:
            ranks = [measured[one, cell.direction].ranks for one in session.conditions(cell)]
            hits = sum(float(hit_probability(one, cell.k).sum()) for one in ranks)
            found[cell].append(round(hits))
    return found


def _reordered(task: Task, seed: int) -> Task:
    """The same task with its radiographs in another order; ranks do not depend on it."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(task.radiographs))
    return replace(
        task,
        radiographs=task.radiographs[order],
        radiograph_group=task.radiograph_group[order],
        radiograph_patient=tuple(task.radiograph_patient[place] for place in order),
    )
