"""What stands beside recall: where positives rank, what else was retrieved, and how surely.

Recall of the one right report calls an interchangeable report an error. Labels tell how relevant
the others are; the gap of the two best scores tells how sure a model was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.corpora.labels import Labels
from pytest_occlusion.engine.job import Measured
from pytest_occlusion.engine.session import Session
from pytest_occlusion.retrieval.agreement import Agreement, Score, agreement
from pytest_occlusion.retrieval.intervals import Resamples, intervals, repeated, resampled_means
from pytest_occlusion.retrieval.recall import FloatArray, hit_probability, middle_rank
from pytest_occlusion.retrieval.relevance import (
    MEASURES,
    LabelSets,
    label_sets,
    relevance_at_k,
    relevance_floors,
)
from pytest_occlusion.retrieval.selective import Selective, selective
from pytest_occlusion.suite.grid import REVERSE, Cell, focus_k

SHOWN = (1, 5, 10)
"""List lengths that the field reports, and sums to RSUM (MedProbCLIP, CXR-CLIP)."""


@dataclass(frozen=True)
class Ranking:
    """Where the positives of one condition rank; a recall is ``None`` with fewer candidates."""

    recall_1: float | None
    recall_5: float | None
    recall_10: float | None
    mean_rank: float


@dataclass(frozen=True)
class Labelled:
    """Labels of the queries and candidates of a session's task, and what follows for all models."""

    session: Session

    @cached_property
    def queries(self) -> NDArray[np.bool_]:
        """Bool ``[N]``: whose labels are known."""
        return self._labels.known[self._studies]

    @cached_property
    def sets(self) -> LabelSets:
        """Of those queries and all candidates; a report of which nothing is known matches none."""
        return label_sets(
            self._of(self._studies[self.queries]), self._of(self.session.task.candidate_study)
        )

    @cached_property
    def floors(self) -> dict[str, tuple[FloatArray, FloatArray]]:
        """Chance and constant of every measure, over the list lengths."""
        return relevance_floors(self.sets, self.session.settings.grid.ks)

    @cached_property
    def names(self) -> list[str]:
        """Of the labels."""
        return list(self._labels.names)

    @cached_property
    def prevalence(self) -> dict[str, float]:
        """Label -> the share of the queries that have it."""
        shares = self._of(self._studies[self.queries]).mean(axis=0)
        return dict(zip(self.names, shares.tolist(), strict=False))

    def resamples(self, times: int) -> Resamples:
        """Of the patients of those queries, each asked several times."""
        if times not in self._resamples:
            own = self.session.resamples("image-to-text")
            self._resamples[times] = repeated(own, self.queries, times)
        return self._resamples[times]

    @cached_property
    def _resamples(self) -> dict[int, Resamples]:
        return {}

    @cached_property
    def _labels(self) -> Labels:
        found = self.session.labels
        if found is None:
            raise ValueError("asked of a corpus without labels")
        return found

    @cached_property
    def _studies(self) -> NDArray[np.int64]:
        """Of each query."""
        radiographs = self.session.corpus.radiographs
        return np.asarray([radiographs[at].study for at in self.session.task.radiographs.tolist()])

    def _of(self, studies: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Positive labels of studies, and last whether none are known, if there are such."""
        found = self._labels.positives(self.session.settings.uncertain)[studies]
        if self._labels.known.all():
            return found
        return np.column_stack([found, ~self._labels.known[studies]])


@dataclass(frozen=True)
class Retrieved:
    """Everything beside recall of one condition; ``None`` where nobody can tell."""

    ranking: Ranking
    relevance: dict[int, dict[str, Score]] | None
    agreement: Agreement | None
    selective: Selective | None


def labelled_of(session: Session) -> Labelled | None:
    """The labels of a session's task, made once; ``None`` where no query's are known."""
    if session.labels is None:
        return None
    labelled = session.once("labelled", lambda: Labelled(session))
    return labelled if labelled.queries.any() else None


def retrieved_of(session: Session, cell: Cell) -> Retrieved:
    """What stands beside a measured cell, for all list lengths."""
    measured, ks = session.measured(cell), session.settings.grid.ks
    ranking = ranking_of(measured)
    if cell.direction == REVERSE:
        return Retrieved(ranking, None, None, None)
    labelled = labelled_of(session)
    told = labelled is not None and len(_first(measured)) == len(measured)
    return Retrieved(
        ranking,
        relevance_of(labelled, measured, ks) if labelled and told else None,
        agreement_of(labelled, measured) if labelled and told else None,
        selective_of(session, measured, focus_k(ks)),
    )


def ranking_of(measured: Sequence[Measured]) -> Ranking:
    """Where positives rank, over all mask seeds."""
    ranks = [one.ranks for one in measured]
    first, five, ten = (
        float(np.mean([hit_probability(one, k) for one in ranks]))
        if k <= ranks[0].candidates
        else None
        for k in SHOWN
    )
    return Ranking(first, five, ten, float(np.mean([middle_rank(one) for one in ranks])))


def relevance_of(
    labelled: Labelled, measured: Sequence[Measured], ks: Sequence[int]
) -> dict[int, dict[str, Score]]:
    """List length -> measure -> how relevant the first candidates are by their labels."""
    found = [
        relevance_at_k(first[labelled.queries], labelled.sets, ks) for first in _first(measured)
    ]
    by_query = np.stack([np.mean([one[name] for one in found], axis=0) for name in MEASURES], 1)
    means = resampled_means(labelled.resamples(1), by_query)
    low, high = intervals(means)
    values = by_query.mean(axis=0)
    result: dict[int, dict[str, Score]] = {k: {} for k in ks}
    for row, name in enumerate(MEASURES):
        for at, k in enumerate(ks):
            numbers = values[row, at], low[row, at], high[row, at]
            floors = (floor[at] for floor in labelled.floors[name])
            result[k][name] = Score(*map(float, (*numbers, *floors)))
    return result


def agreement_of(labelled: Labelled, measured: Sequence[Measured]) -> Agreement:
    """How far the first report says what the true one says."""
    sets, seeds = labelled.sets, len(measured)
    names = labelled.names
    asked = LabelSets(sets.sets[:, : len(names)], np.tile(sets.query, seeds), sets.candidate)
    best = np.concatenate([first[labelled.queries, 0] for first in _first(measured)])
    return agreement(best, asked, names, labelled.resamples(seeds))


def selective_of(session: Session, measured: Sequence[Measured], k: int) -> Selective | None:
    """Whether the gap of the two best scores tells hits from errors, over conditions and seeds."""
    gaps = [one.ranks.gap for one in measured]
    if any(gap is None for gap in gaps) or measured[0].ranks.candidates < 2:
        return None
    every = np.ones(len(session.task.radiographs), np.bool_)
    hits = np.concatenate([hit_probability(one.ranks, k) for one in measured])
    confidence = np.concatenate([gap for gap in gaps if gap is not None])
    own = repeated(session.resamples("image-to-text"), every, len(measured))
    return selective(confidence, hits, own)


def _first(measured: Sequence[Measured]) -> list[NDArray[np.int32]]:
    return [one.ranks.first for one in measured if one.ranks.first is not None]
