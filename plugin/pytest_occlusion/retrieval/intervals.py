"""95 % intervals: a bootstrap that resamples patients, the same resamples for every cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.retrieval.recall import FloatArray

RESAMPLES = 1000
"""Enough for percentiles that move by well under a tenth of the interval between seeds."""


@dataclass(frozen=True)
class Resamples:
    """Bootstrap weights over clusters (patients), drawn once per corpus."""

    cluster: NDArray[np.int64]  # ``[N]``, of each query
    weights: FloatArray  # ``[B, C]``, how often each resample holds each cluster
    sizes: FloatArray  # ``[B]``, queries in each resample


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
    draws = generator.multinomial(count, np.full(count, 1 / count), size=resamples)
    weights = draws.astype(np.float64)
    return Resamples(cluster.astype(np.int64), weights, weights @ sizes.astype(np.float64))


def resampled_means(resamples: Resamples, values: FloatArray) -> FloatArray:
    """Mean of per-query quantities ``[N]`` or ``[N, K]`` in every resample: ``[B]``, ``[B, K]``."""
    columns = values.reshape(len(values), -1)
    totals = np.zeros((resamples.weights.shape[1], columns.shape[1]))
    np.add.at(totals, resamples.cluster, columns)
    means = (resamples.weights @ totals) / resamples.sizes[:, None]
    return means.reshape(len(means), *values.shape[1:])


def interval(samples: FloatArray, *, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap samples ``[B]``."""
    tail = (1 - level) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)
