"""The part ``growth``: what the numbers of radiographs, ratios and ks cost."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from peers.common import settings_for, timed
from pytest_occlusion.corpora.base import Corpus
from pytest_occlusion.engine.session import Session
from pytest_occlusion.suite.grid import cells
from pytest_occlusion.suite.settings import Settings
from pytest_occlusion.suite.table import RATIOS

COUNTS = (250, 500, 1000, 2000)
AT_RATIOS = 500
"""Radiographs of the tables by ratios and by ks."""


@dataclass(frozen=True)
class Point:
    """One size that is measured.

    Attributes:
        radiographs: How many.
        ratios: How many of the suite's.
        ks: How many cut-offs.
    """

    radiographs: int
    ratios: int
    ks: int


def growth(chosen: Any) -> None:
    """Print seconds by radiographs, by ratios and by ks, and how well a line fits."""
    settings = settings_for(chosen)
    corpus = Session(settings).corpus
    every = len(RATIOS)
    tables: dict[str, tuple[list[Point], Callable[[Point], int]]] = {
        "radiographs": ([Point(n, every, 6) for n in COUNTS], lambda point: point.radiographs),
        "ratios": ([Point(AT_RATIOS, n, 6) for n in (1, 2, 4, 6, 8)], lambda point: point.ratios),
        "ks": ([Point(AT_RATIOS, 1, n) for n in (1, 6, 24)], lambda point: point.ks),
    }
    points = list(dict.fromkeys(point for table, _ in tables.values() for point in table))
    seconds: dict[Point, list[list[float]]] = {point: [] for point in points}
    _cost(settings, corpus, chosen.model, points[0])  # imports and first-use costs are nobody's
    for _ in range(chosen.rounds):
        for point in points:
            seconds[point].append(_cost(settings, corpus, chosen.model, point))
    for name, (table, size) in tables.items():
        print(f"  {name:>11}{'whole s':>9}{'draw s':>8}{'encode s':>10}{'rank s':>8}{'rest s':>8}")
        totals = []
        for point in table:
            middle = [statistics.median(column) for column in zip(*seconds[point], strict=True)]
            whole, draw, encode, rank, rest = middle
            totals.append(whole)
            print(f"  {size(point):>11}{whole:9.2f}{draw:8.2f}{encode:10.2f}{rank:8.3f}{rest:8.3f}")
        print(f"  {fit([size(point) for point in table], totals)}")


def fit(sizes: Sequence[int], seconds: Sequence[float]) -> str:
    """The straight line through the totals, and what share of their variance it explains."""
    slope, start = np.polyfit(sizes, seconds, 1)
    left = np.asarray(seconds) - (slope * np.asarray(sizes) + start)
    explained = 1 - float(np.var(left) / max(np.var(seconds), 1e-12))
    return f"{start:.2f} s + {1000 * slope:.2f} ms each; R2 {explained:.4f}"


def _cost(settings: Settings, corpus: Corpus, model: str, point: Point) -> list[float]:
    """Seconds of the whole, of drawing, encoding and ranking, and of what then makes results."""
    grid = replace(
        settings.grid,
        models=(model,),
        ratios=tuple(RATIOS[: point.ratios]),
        ks=tuple(range(1, point.ks + 1)),
    )
    session = Session(replace(settings, grid=grid), wanted=cells(grid), say=lambda line: None)
    session.corpus = enlarged(corpus, point.radiographs)
    session.encoder(model)
    whole, _ = timed(partial(list, map(session.result, session.wanted)))
    done = {id(one): one for cell in session.wanted for one in session.measured(cell)}.values()
    fields = next(iter(done)).fields
    draw, encode = fields["draw_seconds"], fields["text_seconds"] + fields["encode_seconds"]
    rank = sum(one.fields["rank_seconds"] for one in done)
    return [whole, draw, encode, rank, max(0.0, whole - draw - encode - rank)]


def enlarged(corpus: Corpus, count: int) -> Corpus:
    """The first radiographs, and beyond the corpus's end the first ones again by other names."""
    radiographs = list(corpus.radiographs)
    while len(radiographs) < count:
        turn = len(radiographs) // len(corpus.radiographs)
        radiographs += [
            replace(one, key=f"{one.key}/{turn}", content=f"{one.content}/{turn}")
            for one in corpus.radiographs
        ]
    return replace(corpus, radiographs=tuple(radiographs[:count]))
