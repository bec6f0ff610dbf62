"""Canvases: every radiograph decoded and resized once per recipe, and kept in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.corpora.base import Radiograph
from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.corpora.progress import Progress
from pytest_occlusion.encoders.base import CanvasRecipe
from pytest_occlusion.engine.job import ENGINE, Bench, Job
from pytest_occlusion.engine.pieces import in_shards
from pytest_occlusion.engine.places import Places, filled, find, noted
from pytest_occlusion.engine.store import Entry
from pytest_occlusion.errors import OcclusionError, listed


@dataclass(frozen=True)
class Shard:
    """Some radiographs of a job and a way to their canvases."""

    radiographs: Sequence[Radiograph]
    canvases: Callable[[], NDArray[np.uint8]]
    """Gives uint8 ``[n, C, H, W]``, read-only where they come from the store: memory then holds
    only the shards that are in use."""


def draw_shards(
    bench: Bench, recipe: CanvasRecipe, pieces: Sequence[Sequence[Radiograph]]
) -> tuple[list[Shard], list[str]]:
    """Decode and resize every radiograph that the store has no canvas of.

    Args:
        bench: Where canvases are kept, and who decodes.
        recipe: What is drawn.
        pieces: Radiographs as they are kept together; see :func:`pieces.in_shards`.

    Returns:
        A shard of each piece, and a line for each radiograph that cannot be decoded.
    """
    store, total = bench.store, sum(map(len, pieces))
    notes = cache(lambda: noted(store, "canvases", canvas_owner(recipe.name)))
    faults: list[str] = []
    shards: list[Shard] = []
    with Progress(f"{bench.label}: decoding", total, "radiographs", bench.say) as progress:
        for some in pieces:
            key = canvas_key(recipe.name, some)
            canvases: Callable[[], NDArray[np.uint8]] = partial(_stored, bench, recipe, some, key)
            with store.lock(key):
                if store.has("canvases", key):
                    progress.add(len(some))
                elif all(one.content in notes() for one in some):  # not kept once more
                    progress.add(len(some))
                    canvases = partial(_looked_up, bench, recipe, some, notes())
                else:
                    drawn, unread = _drawn(bench, recipe, some, notes(), progress.add)
                    faults += unread
                    if store.root is None:
                        canvases = partial(np.asarray, drawn)
                    elif not faults:
                        store.write("canvases", key, {"canvases": drawn})
            shards.append(Shard(some, canvases))
    return shards, faults


def _drawn(
    bench: Bench,
    recipe: CanvasRecipe,
    radiographs: Sequence[Radiograph],
    places: Places,
    done: Callable[[int], None],
) -> tuple[NDArray[np.uint8], list[str]]:
    """As :meth:`Decoders.draw`; what a sample drew is not drawn again."""
    known = find(bench.store, "canvases", places, [one.content for one in radiographs])
    if not known:
        return bench.decoders.draw(recipe, radiographs, done)
    done(len(known))
    left = [at for at in range(len(radiographs)) if at not in known]
    drawn, faults = bench.decoders.draw(recipe, [radiographs[at] for at in left], done)
    return filled(len(radiographs), known, drawn), faults


def _looked_up(
    bench: Bench, recipe: CanvasRecipe, radiographs: Sequence[Radiograph], places: Places
) -> NDArray[np.uint8]:
    """Canvases that lie in entries of other shards; drawn where they were lost meanwhile."""
    drawn, faults = _drawn(bench, recipe, radiographs, places, lambda count: None)
    refuse_any("", faults)
    return drawn


def canvas_shards(job: Job) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """What a job's encoder is shown with nothing blocked, a shard at a time.

    Yields:
        int64 ``[n]`` rows of the task's radiographs, and their canvases uint8 ``[n, C, H, W]``.

    Raises:
        OcclusionError: Radiographs that cannot be decoded, all at once.
    """
    shards, faults = draw_shards(job, job.encoder().canvas, in_shards(job.radiographs))
    refuse_any(job.corpus.name, faults)
    first = 0
    for shard in shards:
        rows = np.arange(first, first := first + len(shard.radiographs))
        yield rows, shard.canvases()


def _stored(
    bench: Bench, recipe: CanvasRecipe, radiographs: Sequence[Radiograph], key: str
) -> NDArray[np.uint8]:
    """Canvases that the store has; drawn again should they have been lost or damaged meanwhile."""

    def again() -> Entry:
        drawn, faults = bench.decoders.draw(recipe, radiographs, lambda count: None)
        refuse_any("", faults)
        return Entry({"canvases": drawn}, {})

    stored: NDArray[np.uint8] = bench.store.kept("canvases", key, again).arrays["canvases"]
    return stored


def refuse_any(corpus: str, faults: Sequence[str]) -> None:
    """Raise what :func:`unusable` gives, if there are any faults."""
    if faults:
        remedy = "fetch these files again or leave them out; nothing was encoded"
        raise unusable(corpus, faults, remedy=remedy)


def unusable(corpus: str, faults: Sequence[str], *, remedy: str) -> OcclusionError:
    """The error to raise for faults of radiographs, at least one, that were found in drawing."""
    owner = f" of the corpus {corpus!r}" if corpus else ""
    return OcclusionError(
        f"{len(faults)} radiographs{owner} cannot be used:\n{listed(faults)}", remedy=remedy
    )


def canvas_key(recipe: str, radiographs: Sequence[Radiograph]) -> str:
    """Under which the store keeps the canvases of radiographs by the recipe of a name."""
    contents = [radiograph.content for radiograph in radiographs]
    return settings_digest([*canvas_owner(recipe), contents])


def canvas_owner(recipe: str) -> list[Any]:
    """What the canvas of a radiograph depends on besides the radiograph; plain data."""
    return [ENGINE, recipe, _pillow()]


@cache
def _pillow() -> str:
    """Pillow 13 moves some resized pixels by one grey level against 8.4 to 12.3."""
    return version("pillow")  # looks through files, for each shard if it were not kept
