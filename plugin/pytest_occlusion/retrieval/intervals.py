"""95 % intervals: a bootstrap that resamples patients, the same resamples for every cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.retrieval.recall import FloatArray

RESAMPLES = 1000
"""Enough for percentiles that move by well under a tenth of the interval between seeds."""

BLOCK = 2**20
"""Numbers that are worked on at once: 8 MB."""


@dataclass(frozen=True)
class Resamples:
    """Bootstrap weights over clusters (patients), drawn once per corpus."""

    cluster: NDArray[np.int64]  # ``[N]``, of each query
    weights: NDArray[np.uint16]  # ``[B, C]``, how often each resample holds each cluster
    sizes: FloatArray  # ``[B]``, queries in each resample

    def factors(self) -> Iterable[FloatArray]:
        """The weights as numbers to multiply with, block by block."""
        if self.weights.size <= BLOCK:
            return (self._kept,)
        blocks = _blocks(*self.weights.shape)
        return (self.weights[rows].astype(np.float64) for rows in blocks)

    @cached_property
    def _kept(self) -> FloatArray:
        """Those of few patients; of many they would take four times the memory."""
        return self.weights.astype(np.float64)


@dataclass(frozen=True)
class Spread:
    """A number with its 95 % interval over patients."""

    value: float
    low: float
    high: float


def draw_resamples(
    clusters: Sequence[str] | NDArray[np.integer], *, resamples: int = RESAMPLES, seed: int = 0
) -> Resamples:
    """Draw clusters with replacement, as many as there are.

    Queries of one patient share anatomy and often text, so resampling queries as if they were
    independent would give intervals that are too narrow. A seed makes them reproducible.
    """
    names, cluster, sizes = np.unique(np.asarray(clusters), return_inverse=True, return_counts=True)
    count = len(names)
    generator = np.random.Generator(np.random.PCG64(seed))
    weights = np.empty((resamples, count), np.uint16)  # of 65,000 patients 130 MB, not 520
    for rows in _blocks(resamples, count):
        draws = generator.multinomial(count, np.full(count, 1 / count), size=len(weights[rows]))
        weights[rows] = draws
    drawn = Resamples(cluster.astype(np.int64), weights, np.ones(resamples))
    return replace(drawn, sizes=_weighted(drawn, sizes[:, None].astype(np.float64))[:, 0])


def repeated(resamples: Resamples, rows: NDArray[np.bool_], times: int) -> Resamples:
    """The same resamples of some of the queries ``[N]``, each of which occurs several times.

    A patient's queries stay together, however often they are asked. Resamples that hold none of
    these queries say nothing of them and are left out.
    """
    cluster = np.tile(resamples.cluster[rows], times)
    drawn = replace(resamples, cluster=cluster)
    sizes = resampled_sums(drawn, np.ones(len(cluster)))
    if sizes.all():
        return replace(drawn, sizes=sizes)
    return Resamples(cluster, resamples.weights[sizes > 0], sizes[sizes > 0])


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    """Rows by rows, a million numbers at once."""
    step = max(1, BLOCK // columns)
    return (slice(start, start + step) for start in range(0, rows, step))


def _weighted(resamples: Resamples, totals: FloatArray) -> FloatArray:
    """The sum of what clusters ``[C, K]`` have, in every resample: ``[B, K]``."""
    return np.concatenate([weights @ totals for weights in resamples.factors()])


def resampled_means(resamples: Resamples, values: FloatArray) -> FloatArray:
    """Mean of per-query quantities ``[N]`` or ``[N, K]`` in every resample: ``[B]``, ``[B, K]``."""
    sums = resampled_sums(resamples, values)
    return sums / resamples.sizes.reshape(-1, *[1] * (values.ndim - 1))


def resampled_sums(resamples: Resamples, values: FloatArray) -> FloatArray:
    """Sum of per-query quantities ``[N]`` or ``[N, ...]`` in every resample: ``[B, ...]``."""
    columns = values.reshape(len(values), -1)
    totals = np.zeros((resamples.weights.shape[1], columns.shape[1]))
    np.add.at(totals, resamples.cluster, columns)
    return _weighted(resamples, totals).reshape(-1, *values.shape[1:])


def interval(samples: FloatArray, *, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap samples ``[B]``."""
    low, high = intervals(samples, level=level)
    return float(low), float(high)


def intervals(samples: FloatArray, *, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """The same of many at once: lower and upper ends ``[...]`` of samples ``[B, ...]``."""
    tail = (1 - level) / 2
    low, high = np.quantile(samples, [tail, 1 - tail], axis=0)
    return low, high
