"""Selective retrieval: does a model know which of its answers are wrong?

Queries are answered in descending order of confidence. Risk is the share of errors among those
that are answered, coverage the share that is answered (Geifman & El-Yaniv 2017, arXiv 1705.08500).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.retrieval.intervals import Resamples, interval, resampled_means
from pytest_occlusion.retrieval.ranks import IntArray
from pytest_occlusion.retrieval.recall import FloatArray
from pytest_occlusion.retrieval.relevance import shares

COVERAGES = np.arange(1, 11) / 10
"""Where the curve of risk is read off."""

BLOCK = 1 << 17
"""Numbers in one block of resamples times queries: they stay in the cache of a core."""


@dataclass(frozen=True)
class Selective:
    """Risk over coverage of one condition.

    Attributes:
        confidence: Mean over the queries.
        area: Area under risk over coverage: the mean of the risks after 1, 2, ... N queries.
        low: Lower end of its 95 % interval.
        high: Upper end.
        random: The area of a random order, which is the risk at full coverage.
        best: The area where every error comes last.
        gain: ``(random - area) / (random - best)``: 1 for the best order, 0 for a random one, below
            0 for a worse; ``None`` where all queries err alike and no order is better than another.
        risks: At each of :data:`COVERAGES`.
    """

    confidence: float
    area: float
    low: float
    high: float
    random: float
    best: float
    gain: float | None
    risks: tuple[float, ...]


def selective(
    confidence: NDArray[np.floating], hits: FloatArray, resamples: Resamples
) -> Selective:
    """Sum up how well confidence tells hits from errors.

    Queries of equal confidence count at the expectation over their orders, so that a model that is
    equally sure of everything has the area of a random order.

    Args:
        confidence: ``[N]``, larger is surer.
        hits: ``[N]``, probability in [0, 1] that a query is answered rightly.
        resamples: Over the patients of the same queries.
    """
    errors = 1 - hits
    once, random = np.ones((1, len(errors)), np.int32), errors.mean(keepdims=True)
    curve, ideal = _ordered(-confidence, errors), _ordered(errors, errors)
    samples = resampled_means(resamples, errors)
    places = np.arange(1, max(len(errors), int(resamples.sizes.max())) + 1)
    harmonic = np.concatenate([[0.0], (1 / places).cumsum()])
    area, best = (float(_areas(one, once, random, harmonic)[0]) for one in (curve, ideal))
    cluster = resamples.cluster[curve.order]
    step = max(1, BLOCK // len(errors))
    for rows in (slice(start, start + step) for start in range(0, len(samples), step)):
        weights = np.take(resamples.weights[rows].astype(np.int32), cluster, axis=1)
        samples[rows] = _areas(curve, weights, samples[rows], harmonic)
    low, high = interval(samples)
    answered = COVERAGES * len(errors)
    until = np.append(curve.start, len(errors))
    wrong = np.concatenate([[0.0], np.add.reduceat(curve.errors, curve.start).cumsum()])
    return Selective(
        confidence=float(confidence.mean(dtype=np.float64)),
        area=area,
        low=low,
        high=high,
        random=float(random[0]),
        best=best,
        gain=float(random[0] - area) / float(random[0] - best) if np.ptp(errors) > 0 else None,
        risks=tuple((np.interp(answered, until, wrong) / answered).tolist()),
    )


@dataclass(frozen=True)
class _Curve:
    """Queries in their order, cut into stretches inside which errors are spread evenly."""

    order: IntArray  # ``[N]``
    errors: FloatArray  # ``[N]``, in that order
    start: IntArray  # ``[U]``, where each stretch starts
    mixed: NDArray[np.bool_]  # ``[U]``, whether its errors differ


def _ordered(keys: NDArray[np.floating], errors: FloatArray) -> _Curve:
    """Sort by ascending key. Queries of one key are one stretch, as are neighbours that err alike.

    The second changes no area and leaves half as many stretches or fewer where errors are 0 or 1.
    """
    order = np.lexsort((errors, keys))
    keys, errors = keys[order], errors[order]
    start = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    mixed = np.maximum.reduceat(errors, start) > errors[start]  # ascending inside a stretch
    alike = (errors[start][1:] == errors[start][:-1]) & ~mixed[1:] & ~mixed[:-1]
    kept = np.append(True, ~alike)
    return _Curve(order, errors, start[kept], mixed[kept])


def _areas(
    curve: _Curve, weights: NDArray[np.int32], risks: FloatArray, harmonic: FloatArray
) -> FloatArray:
    """Area under risk over coverage ``[B]`` where query i occurs ``weights[:, i]`` times.

    Given are the risks at full coverage ``[B]`` and the harmonic numbers from H(0) on. The error at
    place p of n counts in the risks after p, p + 1, ... n queries, that is
    ``1/p + ... + 1/n = H(n) - H(p - 1)`` times. Copies of a query have its confidence, and are
    entered with it.
    """
    ends = np.append(curve.start[1:], len(curve.errors)) - 1
    until = np.take(weights.cumsum(axis=1, dtype=np.int32), ends, axis=1)
    sizes = until[:, -1]
    counted = until * (harmonic[until] - 1)  # the sum of H(p - 1) so far
    counted[:, 1:] -= counted[:, :-1].copy()
    early = counted @ np.where(curve.mixed, 0.0, curve.errors[curve.start])
    if curve.mixed.any():
        inside = np.repeat(curve.mixed, np.diff(np.append(curve.start, len(curve.errors))))
        first = np.searchsorted(np.flatnonzero(inside), curve.start[curve.mixed])
        held = np.add.reduceat(weights[:, inside], first, axis=1)
        wrong = np.add.reduceat(weights[:, inside] * curve.errors[inside], first, axis=1)
        early += (shares(wrong, held) * counted[:, curve.mixed]).sum(axis=1)
    areas: FloatArray = risks * harmonic[sizes] - early / sizes
    return areas
