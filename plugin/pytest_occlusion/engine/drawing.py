"""Canvases: every radiograph decoded and resized once per recipe, and kept in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.corpora.base import Radiograph
from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.corpora.progress import Progress
from pytest_occlusion.encoders.base import CanvasRecipe
from pytest_occlusion.engine.job import ENGINE, Job
from pytest_occlusion.engine.store import Entry
from pytest_occlusion.errors import OcclusionError, listed

SHARD = 256
"""Radiographs per stored piece: what an interruption can lose at most."""


@dataclass(frozen=True)
class Shard:
    """Some radiographs of a job, at most :data:`SHARD`, and a way to their canvases."""

    radiographs: Sequence[Radiograph]
    canvases: Callable[[], NDArray[np.uint8]]
    """Gives uint8 ``[n, C, H, W]``, read-only where they come from the store: memory then holds
    only the shards that are in use."""


def in_shards(radiographs: Sequence[Radiograph]) -> list[Sequence[Radiograph]]:
    """The pieces in which radiographs are drawn and kept."""
    return [radiographs[at : at + SHARD] for at in range(0, len(radiographs), SHARD)]


def draw_shards(job: Job, recipe: CanvasRecipe) -> list[Shard]:
    """Decode and resize every radiograph that the store has no canvas of.

    Raises:
        OcclusionError: Radiographs that cannot be decoded, all at once.
    """
    radiographs, store = job.radiographs, job.store
    faults: list[str] = []
    shards: list[Shard] = []
    with Progress(f"{job.label}: decoding", len(radiographs), "radiographs", job.say) as progress:
        for some in in_shards(radiographs):
            key = _canvas_key(recipe, some)
            canvases: Callable[[], NDArray[np.uint8]] = partial(_stored, job, recipe, some, key)
            with store.lock(key):
                if store.has("canvases", key):
                    progress.add(len(some))
                else:
                    drawn, unread = job.decoders.draw(recipe, some, progress.add)
                    faults += unread
                    if store.root is None:
                        canvases = partial(np.asarray, drawn)
                    elif not faults:
                        store.write("canvases", key, {"canvases": drawn})
            shards.append(Shard(some, canvases))
    _refuse_any(job, faults)
    return shards


def canvas_shards(job: Job) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """What a job's encoder is shown with nothing blocked, a shard at a time.

    Yields:
        int64 ``[n]`` rows of the task's radiographs, and their canvases uint8 ``[n, C, H, W]``.
    """
    first = 0
    for shard in draw_shards(job, job.encoder().canvas):
        rows = np.arange(first, first := first + len(shard.radiographs))
        yield rows, shard.canvases()


def _stored(
    job: Job, recipe: CanvasRecipe, radiographs: Sequence[Radiograph], key: str
) -> NDArray[np.uint8]:
    """Canvases that the store has; drawn again should they have been lost or damaged meanwhile."""

    def again() -> Entry:
        drawn, faults = job.decoders.draw(recipe, radiographs, lambda count: None)
        _refuse_any(job, faults)
        return Entry({"canvases": drawn}, {})

    stored: NDArray[np.uint8] = job.store.kept("canvases", key, again).arrays["canvases"]
    return stored


def _refuse_any(job: Job, faults: Sequence[str]) -> None:
    if faults:
        remedy = "fetch these files again or leave them out; nothing was encoded"
        raise unusable(job.corpus.name, faults, remedy=remedy)


def unusable(corpus: str, faults: Sequence[str], *, remedy: str) -> OcclusionError:
    """The error to raise for faults of radiographs, at least one, that were found in drawing."""
    return OcclusionError(
        f"{len(faults)} radiographs of the corpus {corpus!r} cannot be used:\n{listed(faults)}",
        remedy=remedy,
    )


def _canvas_key(recipe: CanvasRecipe, radiographs: Sequence[Radiograph]) -> str:
    # Pillow 13 moves some resized pixels by one grey level against 8.4 to 12.3.
    contents = [radiograph.content for radiograph in radiographs]
    return settings_digest([ENGINE, recipe.name, version("pillow"), contents])
