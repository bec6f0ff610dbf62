"""Groups and what was retrieved, against loops over queries and resamples drawn one by one."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_occlusion.corpora.groups import Grouping, group_queries
from pytest_occlusion.engine.job import Measured
from pytest_occlusion.engine.session import Session
from pytest_occlusion.insight.groups import GroupResult, group_results
from pytest_occlusion.insight.retrieved import Labelled, retrieved_of
from pytest_occlusion.retrieval.ranks import Ranks
from pytest_occlusion.retrieval.recall import hit_probability
from pytest_occlusion.suite.grid import Cell, Curve
from pytest_occlusion.suite.merge import build_settings
from pytest_occlusion.suite.suites import Suite
from tests.corpora.test_labels import corpus

QUERIES, LEVELS, KS = 60, (0.0, 0.25, 0.49), [1, 5]
CURVE = Curve("m", "image-to-text", "block")


class Measurements(Session):
    """A session in which ranks are made up, and nothing else."""

    def result(self, cell: Cell) -> Any:
        return None

    def measured(self, cell: Cell) -> list[Measured]:
        return [self._made_up(cell.ratio, seed) for seed in self.settings.seeds]

    @cached_property
    def _kept(self) -> dict[tuple[float, int], Measured]:
        return {}

    def _made_up(self, ratio: float, seed: int) -> Measured:
        if (ratio, seed) not in self._kept:
            draw = np.random.default_rng([int(100 * ratio), seed])
            above = draw.integers(0, 3 + int(20 * ratio), QUERIES)
            order = np.stack([draw.permutation(QUERIES) for _ in range(QUERIES)]).astype(np.int32)
            one = np.ones(QUERIES, dtype=np.int64)
            tied = (draw.random(QUERIES) < 0.2).astype(np.int64)
            gap = draw.random(QUERIES).astype(np.float32)
            ranks = Ranks(above, tied, one, one, QUERIES, order[:, :5], gap)
            self._kept[ratio, seed] = Measured(ranks, {}, fresh=False)
        return self._kept[ratio, seed]


def session(*, seeds: tuple[int, ...] = (0,), ratios: tuple[float, ...] = LEVELS) -> Measurements:
    rows = [
        {
            "patient": f"p{at // 3}",
            "sex": "FM"[at // 3 % 2] if at % 7 else "",
            "finding": "mass" if at % 4 else "mass|scar",
        }
        for at in range(QUERIES)
    ]
    table = {
        "suite": "made-up",
        "ks": KS,
        "ratios": [*ratios],
        "seed": [*seeds],
        "candidates": "studies",
        "text-rule": "full",
        "models": {"m": {"family": "clip", "checkpoint": "x"}},
    }
    settings = build_settings(Suite(table, "made-up", Path()), command_line={})
    made = Measurements(replace(settings, store=None))
    made.__dict__["corpus"] = corpus(rows)
    return made


def grouping(made: Session, attribute: str = "sex") -> Grouping:
    return group_queries(made.corpus, made.task, attribute, made.labels, "positive")


def loops(made: Session, one: GroupResult, weights: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Recall of the group and its gap to the rest, with every query counted so many times."""
    split = made.grouping("sex")
    own: list[float] = []
    rest: list[float] = []
    for query in range(QUERIES):
        hits = [float(hit_probability(m.ranks, one.cell.k)[query]) for m in made.measured(one.cell)]
        if split.known[query]:
            into = own if split.members[one.group][query] else rest
            into += [sum(hits) / len(hits)] * int(weights[query])
    return sum(own) / len(own), sum(own) / len(own) - sum(rest) / len(rest)


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_every_number_of_a_group_is_that_of_a_loop(seeds: tuple[int, ...]) -> None:
    made = session(seeds=seeds)
    found = group_results(made, CURVE, grouping(made))
    assert [one.group for one in found] == ["F", "M"] * 6
    drawn = made.resamples("image-to-text")
    every = np.ones(QUERIES)
    clean = {(one.group, one.cell.k): loops(made, one, every) for one in found[:4]}
    for one in found:
        recall, gap = loops(made, one, every)
        before = clean[one.group, one.cell.k]
        assert one.recall.value == pytest.approx(recall)
        assert one.gap is not None
        assert one.gap.value == pytest.approx(gap)
        assert one.retention == pytest.approx(recall / before[0])
        assert one.queries == grouping(made).members[one.group].sum() * len(seeds)
        assert one.hits == round(recall * one.queries)
        if one.cell.ratio == 0:
            assert one.widening is None
            assert one.widening_p is None
        else:
            assert one.widening is not None
            assert one.widening.value == pytest.approx(gap - before[1])
            assert 0 <= (one.widening_p or 0) <= (one.widening_p_adjusted or 0) <= 1
    one, first = found[-1], found[2]
    assert one.cell.k == first.cell.k == 5
    again = []
    for row in drawn.weights:
        weights = row[drawn.cluster]
        recall, gap = loops(made, one, weights)
        again.append((recall, gap - loops(made, replace(first, group=one.group), weights)[1]))
    low, high = np.quantile(again, [0.025, 0.975], axis=0)
    assert (one.recall.low, one.recall.high) == pytest.approx((low[0], high[0]))
    assert one.widening is not None
    assert (one.widening.low, one.widening.high) == pytest.approx((low[1], high[1]))


def test_without_ratio_0_nothing_is_compared_with_it() -> None:
    made = session(ratios=(0.25, 0.49))
    found = group_results(made, CURVE, grouping(made))
    assert {(one.retention, one.widening, one.widening_p) for one in found} == {(None, None, None)}


def test_one_group_has_no_rest() -> None:
    """Whoever has a label is all there is to compare with."""
    made = session()
    found = group_results(made, CURVE, grouping(made, "finding"))
    assert {one.gap is None for one in found if one.group == "mass"} == {True}
    assert {one.gap is None for one in found if one.group == "scar"} == {False}


def test_no_group_is_no_result() -> None:
    made = session()
    empty = Grouping("sex", {}, np.ones(QUERIES, np.bool_), {})
    assert group_results(made, CURVE, empty) == []


def test_what_stands_beside_recall() -> None:
    made = session(seeds=(0, 1))
    cell = Cell("m", "image-to-text", "block", 0.25, 5)
    found = retrieved_of(made, cell)
    ranks = [one.ranks for one in made.measured(cell)]
    middle = [1 + one.above[q] + one.tied[q] / 2 for one in ranks for q in range(QUERIES)]
    assert found.ranking.mean_rank == pytest.approx(sum(middle) / len(middle))
    assert found.ranking.recall_1 == pytest.approx(
        np.mean([hit_probability(one, 1) for one in ranks])
    )
    assert found.relevance is not None
    assert found.agreement is not None
    labels = [{"mass"} if at % 4 else {"mass", "scar"} for at in range(QUERIES)]
    same = [
        sum(labels[c] == labels[q] for c in one.first[q]) / 5
        for one in ranks
        if one.first is not None
        for q in range(QUERIES)
    ]
    assert found.relevance[5]["precision_same"].value == pytest.approx(sum(same) / len(same))
    assert found.relevance[5]["precision_shared"].value == 1
    told = [
        (labels[q], labels[one.first[q][0]])
        for one in ranks
        if one.first is not None
        for q in range(QUERIES)
    ]
    tp = sum(len(true & said) for true, said in told)
    both = sum(len(true) + len(said) for true, said in told)
    micro = found.agreement.scores["micro"]
    assert micro is not None
    assert micro.value == pytest.approx(2 * tp / both)
    assert found.agreement.scores["micro_5"] is None
    assert found.selective is not None
    assert found.selective.random == pytest.approx(
        1 - np.mean([hit_probability(one, 1) for one in ranks])
        if len(made.settings.grid.ks) == 1
        else 1 - np.mean([hit_probability(one, 5) for one in ranks])
    )


def test_studies_of_which_nothing_is_known_are_left_out() -> None:
    """They ask nothing, and as candidates they are relevant to nobody."""
    made = session()
    rows = [{"finding": "mass" if at % 2 else ""} for at in range(QUERIES)]
    made.__dict__["corpus"] = corpus(rows)
    labelled = Labelled(made)
    assert labelled.queries.tolist() == [bool(at % 2) for at in range(QUERIES)]
    assert len(labelled.sets.query) == QUERIES // 2
    assert labelled.prevalence == {"mass": 1.0}
    found = retrieved_of(made, Cell("m", "image-to-text", "block", 0.25, 5))
    ranks = made.measured(Cell("m", "image-to-text", "block", 0.25, 5))[0].ranks
    assert ranks.first is not None
    assert found.relevance is not None
    known = [sum(c % 2 for c in ranks.first[q]) / 5 for q in range(1, QUERIES, 2)]
    assert found.relevance[5]["precision_shared"].value == pytest.approx(sum(known) / len(known))


def test_no_labels_no_relevance() -> None:
    made = session()
    made.__dict__["corpus"] = corpus([{"sex": "F"}] * QUERIES)
    found = retrieved_of(made, Cell("m", "image-to-text", "block", 0.25, 5))
    assert (found.relevance, found.agreement) == (None, None)
    assert found.selective is not None
