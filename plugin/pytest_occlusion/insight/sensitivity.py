"""Sensitivity: which places of the radiograph retrieval depends on, and the worst place to block.

A tile slides over a grid of placements (an occlusion map as of Zeiler and Fergus 2014, with the
retrieval of the own report in place of a class score). From the ranks and similarities of every
placement follow, per view, maps of the mean loss, and per radiograph the placement that hurts most.
Deanda et al. 2025 (arXiv 2501.09134) name both questions and leave them open. Plain numpy; nothing
here knows how anything was measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.retrieval.intervals import Resamples, Spread, draw_resamples, resampled_means
from pytest_occlusion.retrieval.recall import FloatArray

QUANTITIES: Mapping[str, str] = {
    "similarity": "similarity of the own report (cosine)",
    "rank": "rank of the own report (places)",
    "recall": "recall (share of the radiographs)",
}
"""Name -> what is lost. All are per-query numbers, so their mean losses are paired and resampled
alike. The rank's loss is the mean of the differences: the median over queries is 0 at most places,
because a small tile leaves most ranks as they are, and reciprocal ranks weigh the head of the list,
which recall@k does already."""

UNKNOWN = "unknown"
"""What radiographs without a recorded view are called."""


@dataclass(frozen=True)
class Sample:
    """What one condition gave, query by query: float64 ``[N]`` each."""

    similarity: FloatArray  # cosine of the query with its positive, in [-1, 1]
    rank: FloatArray  # 1-based; the middle of its ties
    hit: FloatArray  # probability of a hit at k, in [0, 1]


@dataclass(frozen=True)
class Losses:
    """Mean loss per placement against nothing blocked, positive where blocking hurts.

    float64 ``[G, G]`` each, row by row from the top left of the canvas; ``low`` and ``high`` end
    the 95 % intervals, which resample patients.
    """

    value: FloatArray
    low: FloatArray
    high: FloatArray

    @property
    def peak(self) -> tuple[int, int]:
        """(row, column) of the largest loss; the first of equal ones."""
        row, column = np.unravel_index(int(np.argmax(self.value)), self.value.shape)
        return int(row), int(column)


@dataclass(frozen=True)
class ViewMap:
    """The map of one view.

    The picture is uint8 ``[h, w]``, the mean radiograph as the encoder sees it; ``None`` where too
    few patients stand behind it to show.
    """

    view: str  # as the corpus records it, or :data:`UNKNOWN`
    queries: int  # radiographs of that view
    patients: int  # of those
    losses: Mapping[str, Losses]  # name of :data:`QUANTITIES` -> the map
    picture: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Placements:
    """Recall@k when one tile of a size is placed in different ways."""

    ratio: float  # share of the canvas that the tile blocks
    achieved: float  # share that it really blocks, in whole pixels
    mean: Spread  # over all placements: what a random one of them comes to
    worst_similarity: Spread  # each radiograph where its report is least similar
    worst_rank: Spread  # each radiograph where its report ranks lowest
    gap: Spread  # ``mean`` less ``worst_similarity``, paired


@dataclass(frozen=True)
class SensitivityMap:
    """Where one model looks, as far as blocking tells."""

    model: str  # its name
    grid: int  # placements per side, ``G``
    ratio: float  # share of the canvas that the tile of the maps blocks
    k: int  # cut-off of recall
    whole: Spread  # recall@k with nothing blocked
    views: tuple[ViewMap, ...]  # by falling number of radiographs
    placements: tuple[Placements, ...]  # by rising ratio

    def view(self, name: str) -> ViewMap:
        """The map of one view; KeyError where the corpus has no such radiograph."""
        return {one.view: one for one in self.views}[name]


def view_maps(
    whole: Sample,
    tiles: Sequence[Sample],
    *,
    grid: int,
    views: Sequence[str],
    patients: Sequence[str],
) -> list[ViewMap]:
    """Mean losses per view, by falling number of queries, then by name.

    Args:
        whole: With nothing blocked, ``N`` queries.
        tiles: With the tile at each placement, row by row, ``grid * grid`` of them.
        grid: Placements per side.
        views: The view of each query; ``""`` where unknown.
        patients: The patient of each query, resampled for the intervals.
    """
    lost = {
        "similarity": np.stack([whole.similarity - tile.similarity for tile in tiles], axis=1),
        "rank": np.stack([tile.rank - whole.rank for tile in tiles], axis=1),
        "recall": np.stack([whole.hit - tile.hit for tile in tiles], axis=1),
    }
    named = [view or UNKNOWN for view in views]
    found = []
    for view, count in sorted(Counter(named).items(), key=lambda one: (-one[1], one[0])):
        rows = [row for row, name in enumerate(named) if name == view]
        resamples = draw_resamples([patients[row] for row in rows])
        losses = {
            name: Losses(*(part.reshape(grid, grid) for part in _bounds(values[rows], resamples)))
            for name, values in lost.items()
        }
        found.append(ViewMap(view, count, len(resamples.weights.T), losses))
    return found


def _bounds(columns: FloatArray, resamples: Resamples) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean and interval ``[K]`` of per-query numbers ``[N, K]``."""
    low, high = np.quantile(resampled_means(resamples, columns), [0.025, 0.975], axis=0)
    return columns.mean(axis=0), low, high


def placements(
    tiles: Sequence[Sample], *, ratio: float, achieved: float, resamples: Resamples
) -> Placements:
    """Recall with the tile at every placement, and at each radiograph's worst one.

    The worst placement is chosen with the own report in sight, so it bounds from below what any
    placement of the grid leaves; it is no estimate of what accidents cost.
    """
    hits = np.stack([tile.hit for tile in tiles])
    queries = np.arange(hits.shape[1])
    least = np.argmin(np.stack([tile.similarity for tile in tiles]), axis=0)
    last = np.argmax(np.stack([tile.rank for tile in tiles]), axis=0)
    mean, by_similarity, by_rank = hits.mean(axis=0), hits[least, queries], hits[last, queries]
    columns = np.stack([mean, by_similarity, by_rank, mean - by_similarity], axis=1)
    return Placements(ratio, achieved, *spreads(columns, resamples))


def spreads(columns: FloatArray, resamples: Resamples) -> list[Spread]:
    """Mean and interval of every column of per-query numbers ``[N, K]``."""
    return [Spread(*map(float, one)) for one in zip(*_bounds(columns, resamples), strict=True)]
