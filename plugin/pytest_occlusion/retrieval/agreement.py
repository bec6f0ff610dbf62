"""Clinical agreement: the labels of the first report a query retrieves against its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.retrieval.intervals import Resamples, interval, resampled_means
from pytest_occlusion.retrieval.recall import FloatArray
from pytest_occlusion.retrieval.relevance import LabelSets, shares

FIVE = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
"""The competition labels of CheXpert (Irvin et al. 2019, arXiv 1901.07031)."""


@dataclass(frozen=True)
class Score:
    """An F1 in [0, 1], its 95 % interval and its floors."""

    value: float
    low: float
    high: float
    chance: float
    constant: float


@dataclass(frozen=True)
class LabelAgreement:
    """One label: in how many queries it is true, and how it was retrieved, in [0, 1]."""

    label: str
    positives: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Agreement:
    """How well the first reports say what the true ones say.

    Attributes:
        scores: ``micro`` and ``macro`` F1 over all labels, ``micro_5`` and ``macro_5`` over
            CheXpert's five; ``None`` where these five are not all among the labels.
        classes: Every label, in the order given.
    """

    scores: dict[str, Score | None]
    classes: tuple[LabelAgreement, ...]


def agreement(
    first: NDArray[np.integer], labels: LabelSets, names: Sequence[str], resamples: Resamples
) -> Agreement:
    """Compare the labels of the first candidate of each query with the query's own.

    A quotient without a denominator is 0, as scikit-learn has it: a label that is neither true nor
    retrieved anywhere lowers macro F1.

    Args:
        first: ``[N]``, the best candidate of each query.
        labels: Of the same queries and candidates; true is positive.
        names: Of the L labels.
        resamples: Over the patients of the same queries.

    Returns:
        The floors are of expected counts: chance retrieves a report at random, constant the one
        report that gives the highest score when all queries get it (another one for each score).
    """
    told, true = labels.sets[labels.candidate[first]], labels.sets[labels.query]
    # F1 = 2 tp / (tp + fp + tp + fn), and what is in brackets is what was told and what is true.
    hits, marked = told & true, told.astype(np.float64) + true
    count, size = len(names), len(first)
    samples = resampled_means(resamples, np.concatenate([hits, marked], axis=1))
    tp, both = hits.sum(axis=0), marked.sum(axis=0)
    positives = true.sum(axis=0)
    prevalence = labels.candidates @ labels.sets / len(labels.candidate)
    reports = labels.sets[labels.candidates > 0]
    scores: dict[str, Score | None] = {}
    for end, chosen in (("", list(range(count))), ("_5", _five(names))):
        for name, score in (("micro", _micro), ("macro", _macro)):
            if chosen is None:
                scores[name + end] = None
                continue
            low, high = interval(score(samples[:, chosen], samples[:, count:][:, chosen]))
            random, same = (
                score(positives[chosen] * says, positives[chosen] + size * says)
                for says in (prevalence[chosen], reports[:, chosen])
            )
            scores[name + end] = Score(
                value=float(score(tp[chosen], both[chosen])),
                low=low,
                high=high,
                chance=float(random),
                constant=float(same.max()),
            )
    columns = (shares(tp, both - positives), shares(tp, positives), shares(2 * tp, both))
    rows = zip(names, positives.tolist(), *(one.tolist() for one in columns), strict=True)
    return Agreement(scores, tuple(LabelAgreement(*row) for row in rows))


def _five(names: Sequence[str]) -> list[int] | None:
    plain = [name.casefold().replace("_", " ") for name in names]
    five = [name.casefold() for name in FIVE]
    return [plain.index(name) for name in five] if set(five) <= set(plain) else None


def _micro(tp: FloatArray, both: FloatArray) -> FloatArray:
    """F1 of the counts of all labels ``[..., L]`` together: ``[...]``."""
    return shares(2 * tp.sum(axis=-1), both.sum(axis=-1))


def _macro(tp: FloatArray, both: FloatArray) -> FloatArray:
    """Mean over the labels ``[..., L]`` of their F1: ``[...]``."""
    mean: FloatArray = shares(2 * tp, both).mean(axis=-1)
    return mean
