"""Sensitivity maps of a suite's models: which conditions they need, what they cost, the pictures.

The tiles are conditions like any other: the pipeline encodes, stores and ranks them, so a map that
was interrupted goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.engine.drawing import canvas_shards
from pytest_occlusion.engine.job import ENGINE, Condition, Job, Measured
from pytest_occlusion.engine.pipeline import measure
from pytest_occlusion.engine.session import Session
from pytest_occlusion.engine.store import Entry
from pytest_occlusion.insight.sensitivity import (
    UNKNOWN,
    Sample,
    SensitivityMap,
    placements,
    spreads,
    view_maps,
)
from pytest_occlusion.occlusion.names import tile_ratio, tiles
from pytest_occlusion.retrieval.intervals import draw_resamples
from pytest_occlusion.retrieval.recall import hit_probability, middle_rank
from pytest_occlusion.suite.grid import focus_k
from pytest_occlusion.suite.settings import Settings

if TYPE_CHECKING:
    from pytest_occlusion.encoders.base import Encoder

SHOWN_PATIENTS = 30
"""Patients of a view from which its mean radiograph is shown: the mean of a few still looks like
them."""

PICTURE = 96
"""Longest side of a mean radiograph, in pixels: enough to find one's way, small in a file."""

FORWARD = "image-to-text"


def map_ratios(settings: Settings) -> list[float]:
    """Shares that tiles block, ascending: one cell of the grid, and what else was asked for."""
    return sorted({tile_ratio(settings.map_grid), *settings.map_ratios})


def map_conditions(settings: Settings) -> list[Condition]:
    """Nothing blocked, then every tile size at every placement.

    Only the first mask seed is used: a tile stands where its name says, whatever the seed.
    """
    fill, seed = settings.fill, settings.seeds[0]
    return [Condition("none", 0.0, "none", 0)] + [
        Condition(tile, ratio, fill, seed)
        for ratio in map_ratios(settings)
        for tile in tiles(settings.map_grid)
    ]


def map_cost(settings: Settings) -> str:
    """What a map costs, in words, before anything long starts."""
    grid, sizes = settings.map_grid, len(map_ratios(settings))
    passes = grid**2 * sizes
    several = f" x {sizes} tile sizes" if sizes > 1 else ""
    run = settings.grid
    curves = max(1, sum(r > 0 for r in run.ratios) * len(run.occluders) * len(settings.seeds))
    return (
        f"map of {grid} x {grid} places{several}: {passes:,} forward passes per radiograph and "
        f"model, {passes / curves:.1f} times its curves"
    )


def measured_map(
    job: Job, settings: Settings
) -> tuple[SensitivityMap, Mapping[Condition, Measured]]:
    """Measure one model's map; also what was measured for it, by condition.

    Args:
        job: The model's job; its conditions and directions are replaced by the map's.
        settings: With a ``map_grid``.
    """
    conditions = map_conditions(settings)
    job = replace(job, conditions=conditions, directions=[FORWARD], similarity=True, first=0)
    measured = {condition: one for (condition, _), one in measure(job).items()}
    k = focus_k(settings.grid.ks)
    samples = {
        condition: Sample(
            np.asarray(one.similarity, dtype=np.float64),
            middle_rank(one.ranks),
            hit_probability(one.ranks, k),
        )
        for condition, one in measured.items()
        if one.similarity is not None  # the job asked for it
    }
    whole, patients, grid = samples[conditions[0]], job.task.radiograph_patient, settings.map_grid
    own = tile_ratio(grid)
    resamples = draw_resamples(patients)
    tiles_of = {
        ratio: [one for one in conditions if one.ratio == ratio] for ratio in map_ratios(settings)
    }
    views = view_maps(
        whole,
        [samples[one] for one in tiles_of[own]],
        grid=grid,
        views=views_of(job),
        patients=patients,
    )
    shown = [one.view for one in views if one.patients >= SHOWN_PATIENTS]
    pictures = mean_radiographs(job, shown) if shown else {}
    found = SensitivityMap(
        model=job.label,
        grid=grid,
        ratio=own,
        k=k,
        whole=spreads(whole.hit[:, None], resamples)[0],
        views=tuple(replace(one, picture=pictures.get(one.view)) for one in views),
        placements=tuple(
            placements(
                [samples[one] for one in sized],
                ratio=ratio,
                achieved=float(measured[sized[0]].fields["achieved"]),
                resamples=resamples,
            )
            for ratio, sized in tiles_of.items()
        ),
    )
    return found, measured


def session_map(
    session: Session, model: str
) -> tuple[SensitivityMap, Mapping[Condition, Measured]]:
    """The map of one model of a session; what it costs is said where it is not in the store yet."""

    @cache
    def encoder() -> Encoder:
        session.say(f"{model}: {map_cost(session.settings)}")
        return session.encoder(model)

    return measured_map(replace(session.job_of(model), encoder=encoder), session.settings)


def views_of(job: Job) -> list[str]:
    """The view of every query, in the task's order."""
    return [radiograph.view or UNKNOWN for radiograph in job.radiographs]


def mean_radiographs(job: Job, views: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    """The mean of what the encoder is shown, per view: uint8 ``[h, w]``, at most 96 px a side.

    Kept in the store under the canvas recipe, so that models that share one, and later runs, do
    not decode again.
    """
    shown = [job.corpus.fingerprint, job.task.radiographs.tolist(), *views]
    key = settings_digest([ENGINE, job.record.canvas, PICTURE, *shown])

    def drawn() -> Entry:
        names = np.asarray(views_of(job))
        totals: dict[str, NDArray[np.float64]] = {}
        counts = dict.fromkeys(views, 0)
        for rows, canvases in canvas_shards(job):
            for view in views:
                chosen = canvases[names[rows] == view]
                total = chosen.sum(axis=(0, 1), dtype=np.float64) / canvases.shape[1]
                totals[view] = totals.get(view, 0.0) + total
                counts[view] += len(chosen)
        return Entry({view: _shrunk(totals[view] / counts[view]) for view in views}, {})

    return dict(job.store.kept("means", key, drawn).arrays)


def _shrunk(picture: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Averaged down to at most ``PICTURE`` pixels a side, rounded to grey levels."""
    for length in picture.shape:  # first the rows, then, turned over, the columns
        size = min(length, PICTURE)
        starts = np.arange(size) * length // size
        widths = np.diff([*starts.tolist(), length])
        picture = (np.add.reduceat(picture, starts, axis=0) / widths[:, None]).T
    return np.floor(picture + 0.5).astype(np.uint8, order="C")
