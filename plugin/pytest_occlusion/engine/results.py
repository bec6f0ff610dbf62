"""From ranks to the numbers of a cell: recall, floors, interval, which queries hit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.corpora.task import Task
from pytest_occlusion.engine.job import Measured
from pytest_occlusion.retrieval.intervals import Resamples, intervals, resampled_means
from pytest_occlusion.retrieval.recall import (
    chance_recall,
    constant_recall,
    hit_probability,
    mean_reciprocal_rank,
    middle_rank,
)
from pytest_occlusion.suite.grid import REVERSE, Cell


@dataclass(frozen=True)
class CellResult:
    """What one cell measured."""

    cell: Cell
    recall: float  # share of queries with a hit, ties at their expectation, in [0, 1]
    hits: int  # expected ones over all queries, rounded; whole where nothing ties
    queries: int  # counted once per mask seed
    chance: float  # recall of a random ranking
    constant: float  # recall of the best ranking that ignores the query
    ci_low: float  # ends of the 95 % interval of ``recall``
    ci_high: float
    median_rank: float  # over the queries
    mrr: float  # mean reciprocal rank
    tied: float  # share of queries whose positive ties with another candidate
    hit_queries: NDArray[np.bool_]  # ``[queries]``, in corpus order, seed after seed


def cell_results(
    cells: Sequence[Cell], measured: Sequence[Measured], task: Task, resamples: Resamples
) -> list[CellResult]:
    """Results of cells of one (model, direction, occluder, ratio), which differ in k.

    Args:
        cells: Which ones.
        measured: Ranks of their condition, one per mask seed; their queries are pooled.
        task: What was retrieved from what.
        resamples: Of the patients behind the queries.
    """
    direction = cells[0].direction
    groups = np.arange(len(task.candidate_text)) if direction == REVERSE else task.radiograph_group
    ranks = [one.ranks for one in measured]
    # One column per k, averaged over seeds: a patient's queries stay together in every resample.
    chances = [[hit_probability(one, cell.k) for cell in cells] for one in ranks]
    by_query = np.mean(chances, axis=0).T
    low, high = intervals(resampled_means(resamples, by_query))
    median = float(np.median(np.concatenate([middle_rank(one) for one in ranks])))
    mrr = float(np.mean([mean_reciprocal_rank(one) for one in ranks]))
    tied = float(np.mean([(one.tied > 0).mean() for one in ranks]))
    results = []
    for column, cell in enumerate(cells):
        pooled = np.concatenate([seed[column] for seed in chances])
        results.append(
            CellResult(
                cell=cell,
                recall=float(pooled.mean()),
                hits=round(float(pooled.sum())),
                queries=len(pooled),
                chance=chance_recall(ranks[0], cell.k),
                constant=constant_recall(groups, cell.k),
                ci_low=float(low[column]),
                ci_high=float(high[column]),
                median_rank=median,
                mrr=mrr,
                tied=tied,
                hit_queries=pooled >= 0.5,
            )
        )
    return results
