"""First contact of a model with a corpus: a few radiographs, and what a careful person checks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from pytest_occlusion.corpora.base import Corpus
from pytest_occlusion.corpora.task import build_task
from pytest_occlusion.engine.models import ModelRecord, check_model
from pytest_occlusion.engine.results import CellResult
from pytest_occlusion.engine.session import Session
from pytest_occlusion.suite.grid import cells
from pytest_occlusion.suite.settings import Settings

Made = TypeVar("Made")

RADIOGRAPHS, SEED = 64, 0
"""How many are tried, and the seed of their choice."""

FEWEST = 20
"""Different reports below which even the best model cannot be told from chance at the largest k."""

RATIOS, KS = (0.0, 0.25), (1, 5, 10)


@dataclass(frozen=True)
class Trial:
    """What was seen of a model.

    Attributes:
        record: What it turned out to be.
        corpus: Name of the corpus.
        radiographs: How many were tried, of ``whole`` with a text.
        reports: Their different reports, which are the candidates.
        longest: Tokens of the longest report; ``cut``: how many are longer than the limit.
        off_norm: Largest distance of an embedding's norm from 1.
        alike: Mean cosine between two radiographs, and between two reports.
        speeds: Radiographs and reports a second, each embedded once more.
        device: Where.
        results: Of every ratio and k.
    """

    record: ModelRecord
    corpus: str
    radiographs: int
    whole: int
    reports: int
    longest: int
    cut: int
    off_norm: float
    alike: tuple[float, float]
    speeds: tuple[float, float]
    device: str
    results: tuple[CellResult, ...]

    @property
    def deciding(self) -> CellResult:
        """With nothing blocked, the one of the largest k."""
        return max(self.results, key=lambda one: (-one.cell.ratio, one.cell.k))

    @property
    def too_few(self) -> bool:
        """Whether there are too few different reports for a verdict."""
        return self.reports < FEWEST

    @property
    def at_chance(self) -> bool:
        """Whether it cannot be told from a ranking that ignores the radiograph."""
        found = self.deciding
        return found.ci_low <= max(found.chance, found.constant)


def first_contact(settings: Settings, corpus: Corpus, say: Callable[[str], None]) -> Trial:
    """Try the first model of the settings on a few radiographs of a corpus.

    Args:
        settings: Of one model; ratios and ks are :data:`RATIOS` and those of :data:`KS` that the
            few reports allow. Nothing is kept.
        corpus: From which :data:`RADIOGRAPHS` are drawn; only their reports are candidates.
        say: Where progress lines go.

    Raises:
        OcclusionError: The model cannot be loaded, or a radiograph not be decoded.
    """
    name = settings.grid.models[0]
    if fault := check_model(settings.model(name)):
        raise fault
    rule, candidates = settings.text_rule, settings.candidates
    rows = build_task(corpus, text_rule=rule, candidates=candidates).radiographs
    few = sample(corpus, rows.tolist(), RADIOGRAPHS)
    task = build_task(few, text_rule=rule, candidates=candidates)
    ks = tuple(k for k in KS if k <= len(task.candidate_text))
    grid = replace(settings.grid, ratios=RATIOS, ks=ks)
    here = replace(settings, grid=grid, store=None, engine="local")
    session = Session(here, cells(grid), say=say)
    session.corpus = few
    encoder = session.encoder(name)
    results = tuple(map(session.result, cells(grid)))
    canvases, _ = session.decoders.draw(encoder.canvas, few.radiographs, lambda count: None)
    size = settings.batch_size
    images, fast = timed(lambda: encoder.encode_canvases(canvases, batch_size=size).numpy())
    texts, quick = timed(lambda: encoder.encode_texts(task.texts).numpy())
    norms = np.concatenate([np.linalg.norm(rows, axis=1) for rows in (images, texts)])
    counts = encoder.count_tokens(task.texts)
    trial = Trial(
        record=session.record(name),
        corpus=corpus.name,
        radiographs=len(images),
        whole=len(rows),
        reports=len(texts),
        longest=max(counts),
        cut=sum(count > encoder.token_limit for count in counts),
        off_norm=float(abs(norms - 1).max()),
        alike=(_alike(images), _alike(texts)),
        speeds=(len(images) / fast, len(texts) / quick),
        device=str(encoder.device),
        results=results,
    )
    session.close()
    return trial


def sample(corpus: Corpus, rows: Sequence[int], most: int) -> Corpus:
    """A corpus of at most so many of the radiographs at some positions, and of their studies."""
    drawn = np.random.default_rng(SEED).permutation(np.asarray(rows))[:most]
    chosen = corpus.chosen(sorted(drawn.tolist()))
    places = {study: at for at, study in enumerate(dict.fromkeys(one.study for one in chosen))}
    return replace(
        corpus,
        studies=tuple(corpus.studies[study] for study in places),
        radiographs=tuple(replace(one, study=places[one.study]) for one in chosen),
    )


def timed(work: Callable[[], Made]) -> tuple[Made, float]:
    """What comes of some work, and its seconds."""
    started = time.perf_counter()
    made = work()
    return made, time.perf_counter() - started


def _alike(rows: np.ndarray) -> float:
    """Mean cosine between two different rows of unit norm."""
    count = len(rows)
    return float(((rows @ rows.T).sum() - count) / max(1, count * (count - 1)))
