"""Canvases: every radiograph decoded and resized once per recipe, and kept in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.corpora.base import Radiograph
from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.corpora.progress import Progress
from pytest_occlusion.engine.decoding import unusable
from pytest_occlusion.engine.job import ENGINE, Job

if TYPE_CHECKING:
    from pytest_occlusion.encoders.base import CanvasRecipe

SHARD = 256
"""Radiographs per stored piece: what an interruption can lose at most."""


@dataclass(frozen=True)
class Shard:
    """Some radiographs of a job, and a way to their canvases.

    Attributes:
        radiographs: ``n`` of them, at most :data:`SHARD`.
        canvases: Gives uint8 ``[n, C, H, W]``, read-only where they come from the store: memory
            then holds only the shards that are in use.
    """

    radiographs: Sequence[Radiograph]
    canvases: Callable[[], NDArray[np.uint8]]


def in_shards(radiographs: Sequence[Radiograph]) -> list[Sequence[Radiograph]]:
    """The pieces in which radiographs are drawn and kept."""
    return [radiographs[at : at + SHARD] for at in range(0, len(radiographs), SHARD)]


def draw_shards(job: Job, recipe: CanvasRecipe) -> list[Shard]:
    """Decode and resize every radiograph that the store has no canvas of.

    Raises:
        OcclusionError: Radiographs that cannot be decoded, all at once.
    """
    radiographs = job.radiographs
    progress = Progress(f"{job.label}: decoding", len(radiographs), "radiographs", job.say)
    faults: list[str] = []
    shards: list[Shard] = []
    for some in in_shards(radiographs):
        key = _canvas_key(recipe, some)
        canvases: Callable[[], NDArray[np.uint8]] = partial(_read, job, recipe, some, key)
        with job.store.lock(key):
            if job.store.has("canvases", key):
                progress.add(len(some))
            else:
                drawn, unread = job.decoders.draw(recipe, some, progress.add)
                faults += unread
                if job.store.root is None:
                    canvases = _giving(drawn)
                elif not faults:
                    job.store.write("canvases", key, {"canvases": drawn})
        shards.append(Shard(some, canvases))
    _refuse(job, faults)
    return shards


def canvas_shards(job: Job) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """What a job's encoder is shown with nothing blocked, a shard at a time.

    Yields:
        int64 ``[n]`` rows of the task's radiographs, and their canvases uint8 ``[n, C, H, W]``.

    Raises:
        OcclusionError: As :func:`draw_shards`.
    """
    first = 0
    for shard in draw_shards(job, job.encoder().canvas):
        last = first + len(shard.radiographs)
        yield np.arange(first, last), shard.canvases()
        first = last


def _giving(canvases: NDArray[np.uint8]) -> Callable[[], NDArray[np.uint8]]:
    return lambda: canvases


def _read(
    job: Job, recipe: CanvasRecipe, radiographs: Sequence[Radiograph], key: str
) -> NDArray[np.uint8]:
    """Stored canvases; drawn again should they have been lost or damaged meanwhile."""
    kept = job.store.read("canvases", key)
    if kept is not None:
        stored: NDArray[np.uint8] = kept.arrays["canvases"]
        return stored
    canvases, faults = job.decoders.draw(recipe, radiographs, lambda count: None)
    _refuse(job, faults)
    job.store.write("canvases", key, {"canvases": canvases})
    return canvases


def _refuse(job: Job, faults: Sequence[str]) -> None:
    if faults:
        remedy = "fetch these files again or leave them out; nothing was encoded"
        raise unusable(job.corpus.name, faults, remedy=remedy)


def _canvas_key(recipe: CanvasRecipe, radiographs: Sequence[Radiograph]) -> str:
    # Pillow 13 moves some resized pixels by one grey level against 8.4 to 12.3.
    contents = [radiograph.content for radiograph in radiographs]
    return settings_digest([ENGINE, recipe.name, version("pillow"), contents])
