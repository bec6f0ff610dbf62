"""A plain linear classifier tells each finding from a normal chest: the pictures carry signal."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_occlusion_fixtures.dice import dice, pick
from pytest_occlusion_fixtures.findings import KINDS, Finding
from tests.embedded.specimens import pixels

NORMALS = 150


def features(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean and sharpest detail of every cell of a 64 px picture.

    Detail is what a 5 px box mean does not explain; its extremes find dots and lines wherever they
    are in the cell, which means alone would not.
    """
    padded = np.pad(picture, 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
    detail = picture - windows.mean((2, 3))
    means = picture.reshape(16, 4, 16, 4).mean((1, 3))
    cells = detail.reshape(8, 8, 8, 8)
    return np.concatenate(
        [means.ravel(), cells.max((1, 3)).ravel(), cells.min((1, 3)).ravel()]
    ).astype(np.float32)


@cache
def normals(view: str) -> NDArray[np.float32]:
    return np.stack([features(pixels(1000 + number, view)) for number in range(NORMALS)])


def positives(kind: str, view: str) -> NDArray[np.float32]:
    """The kind as it comes: any side, site and severity of its own frequencies."""
    record = KINDS[kind]
    rng = dice("separation", kind)
    mild, moderate, severe = record.severities
    rows = []
    # What may lie anywhere needs more examples than what is always in one place.
    for number in range(60 * min(len(record.sites), 3)):
        finding = Finding(
            kind,
            pick(rng, record.sides),
            pick(rng, record.sites),
            pick(rng, {1: mild, 2: moderate, 3: severe}),
        )
        rows.append(features(pixels(2000 + number, view, finding)))
    return np.stack(rows)


def area_under_curve(negative: NDArray[np.floating], positive: NDArray[np.floating]) -> float:
    wins = (positive[:, None] > negative[None]) + 0.5 * (positive[:, None] == negative[None])
    return float(wins.mean())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_linear_classifier_separates_it_from_normal(kind: str) -> None:
    view = "lateral" if KINDS[kind].lateral_only else "PA"
    negative, positive = normals(view), positives(kind, view)
    areas = []
    for fold in range(3):  # ridge regression, three folds
        test_n, test_p = np.arange(NORMALS) % 3 == fold, np.arange(len(positive)) % 3 == fold
        train = np.concatenate([negative[~test_n], positive[~test_p]])
        target = np.concatenate([-np.ones((~test_n).sum()), np.ones((~test_p).sum())])
        weight = np.where(target > 0, 1 / (target > 0).sum(), 1 / (target < 0).sum())
        mean, scale = train.mean(0), train.std(0) + 1.0
        inputs = (train - mean) / scale
        gram = (inputs * np.sqrt(weight)[:, None]) @ (inputs * np.sqrt(weight)[:, None]).T
        dual = np.linalg.solve(gram + 0.5 * np.eye(len(gram)), np.sqrt(weight) * target)
        plane = (inputs * np.sqrt(weight)[:, None]).T @ dual
        score = [(part - mean) / scale @ plane for part in (negative[test_n], positive[test_p])]
        areas.append(area_under_curve(*score))
    assert np.mean(areas) > 0.9, areas
