"""Calibration: how much do the hits of a cell move when nothing that matters has changed?

A model is measured again and again with another batch size, another order of the radiographs (so
that every batch has other neighbours), and reduced precision in every second run; on a machine with
a GPU, CPU and GPU take turns. Nothing is read from the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from pytest_occlusion.corpora.task import Task
from pytest_occlusion.encoders.base import Encoder
from pytest_occlusion.engine.job import Job, Measured, Want
from pytest_occlusion.engine.pipeline import measure
from pytest_occlusion.engine.store import Store


@dataclass(frozen=True)
class Variation:
    """What one calibration run changes.

    Attributes:
        batch_size: Canvases per forward pass.
        order_seed: Seed of the order of the radiographs.
        precision: Of the forward passes.
        device: Where they run.
    """

    batch_size: int
    order_seed: int
    precision: str
    device: str


def variations(
    runs: int, *, batch_size: int, precision: str, devices: tuple[str, ...]
) -> list[Variation]:
    """The runs of a calibration.

    Args:
        runs: How many.
        batch_size: The one in force; runs take a half, twice, a third, three times ... of it.
        precision: The one in force; every second run is in bf16.
        devices: Devices that take turns.
    """
    made = []
    for number in range(runs):
        step = number // 2 + 2
        size = batch_size * step if number % 2 else max(1, batch_size // step)
        reduced = "bf16" if number % 2 else precision
        made.append(Variation(size, number + 1, reduced, devices[number % len(devices)]))
    return made


def reordered(task: Task, seed: int) -> Task:
    """The same task with its radiographs in another order; ranks do not depend on it."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(task.radiographs))
    return replace(
        task,
        radiographs=task.radiographs[order],
        radiograph_group=task.radiograph_group[order],
        radiograph_patient=tuple(task.radiograph_patient[place] for place in order),
    )


def calibration_runs(
    job: Job, planned: list[Variation], open_as: Callable[[Variation], Encoder]
) -> Iterator[dict[Want, Measured]]:
    """Measure a job once per variation.

    Args:
        job: As it runs otherwise.
        planned: From :func:`variations`.
        open_as: Opens the model in the precision and on the device of a variation.
    """
    for number, variation in enumerate(planned, start=1):
        job.say(
            f"{job.label}: calibration {number} of {len(planned)} (batch {variation.batch_size}, "
            f"{variation.precision}, {variation.device})"
        )
        encoder = open_as(variation)
        yield measure(
            replace(
                job,
                encoder=lambda encoder=encoder: encoder,  # type: ignore[misc]
                record=replace(job.record, precision=variation.precision),
                task=reordered(job.task, variation.order_seed),
                batch_size=variation.batch_size,
                store=Store(None),
            )
        )
