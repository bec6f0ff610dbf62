"""Verdicts on groups: what turns red, what does not, and what a failure says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pytest_occlusion.gate.groups import (
    Flips,
    Judgement,
    explain_groups,
    judge_groups,
)
from pytest_occlusion.insight.groups import GroupResult
from pytest_occlusion.retrieval.intervals import Spread
from pytest_occlusion.retrieval.significance import mcnemar
from pytest_occlusion.suite.grid import Cell, Curve

CURVE = Curve("clip", "image-to-text", "block")
RATIOS, KS = (0.0, 0.25, 0.49), (5, 10)
CELLS = [Cell("clip", "image-to-text", "block", ratio, k) for ratio in RATIOS for k in KS]
N = 1000

Bits = NDArray[np.bool_]


def members() -> dict[str, Bits]:
    """Nine tenths frontal, the rest lateral, five of them in a group of their own as well."""
    lateral = np.arange(N) % 10 == 0
    few = lateral & (np.arange(N) < 50)
    return {"frontal": ~lateral, "lateral": lateral, "few": few}


def results(groups: Sequence[str]) -> list[GroupResult]:
    own = members()
    return [
        GroupResult(
            cell, "view", group, int(own[group].sum()), 9, 0, Spread(0, 0, 0),
            None, None, None, None, None,
        )
        for cell in CELLS
        for group in groups
    ]  # fmt: skip


def judged(
    before: Sequence[Bits], now: Sequence[Bits], tolerance: int = 10, smallest: int = 30
) -> tuple[list[GroupResult], Judgement]:
    """Of baselines and bits of every cell."""
    found = results(["frontal", "lateral", "few"])
    both = {
        cell: Flips(old, new, tolerance) for cell, old, new in zip(CELLS, before, now, strict=True)
    }
    patients = np.arange(N, dtype=np.int64) // 2
    flips = [both[one.cell] for one in found]
    return found, judge_groups(found, flips, members(), patients, smallest=smallest)


def kinds(found: list[GroupResult], judgement: Judgement, group: str) -> set[str]:
    pairs = zip(found, judgement.cells, strict=True)
    return {"" if one is None else one.kind for result, one in pairs if result.group == group}


@pytest.fixture
def before() -> list[Bits]:
    draw = np.random.default_rng(0)
    return [draw.random(N) < 0.5 for _ in CELLS]


def without(bits: Bits, group: str, count: int) -> Bits:
    """The first hits of a group are lost."""
    now = bits.copy()
    now[np.flatnonzero(bits & members()[group])[:count]] = False
    return now


def test_nothing_changed(before: list[Bits]) -> None:
    found, judgement = judged(before, before)
    assert kinds(found, judgement, "frontal") == kinds(found, judgement, "lateral") == {"same"}
    assert kinds(found, judgement, "few") == {""}, "too few to be judged"
    assert not judgement.curves
    assert not judgement.red("any")


def test_a_loss_within_the_tolerance_of_the_whole_is_red(before: list[Bits]) -> None:
    now = [without(before[0], "lateral", 20), *before[1:]]
    found, judgement = judged(before, now, tolerance=20)
    first = next(
        one
        for result, one in zip(found, judgement.cells, strict=True)
        if one is not None and result.cell == CELLS[0] and result.group == "lateral"
    )
    assert (first.kind, first.tolerance, first.lost, first.gained) == ("regressed", 2, 20, 0)
    assert first.baseline_hits == (before[0] & members()["lateral"]).sum()
    assert first.p_value == pytest.approx(2 * 0.5**20)
    assert first.p_adjusted == pytest.approx(first.p_value * 12), "two groups of six cells"
    assert kinds(found, judgement, "frontal") == {"same"}
    assert judgement.red("regression")


def test_an_improvement_is_red_until_accepted(before: list[Bits]) -> None:
    worse = [without(before[0], "lateral", 20), *before[1:]]
    _, judgement = judged(worse, before, tolerance=20)
    assert judgement.red("any")
    assert not judgement.red("regression")
    assert not judgement.red("significant-regression")


def test_what_chance_explains_is_not_red(before: list[Bits]) -> None:
    """Three of a hundred are more than their share of the tolerance, and no proof of anything."""
    now = [without(before[0], "lateral", 3), *before[1:]]
    found, judgement = judged(before, now)
    assert kinds(found, judgement, "lateral") == {"same", "within-tolerance"}
    assert not judgement.red("any")


def test_a_small_loss_at_every_level_is_a_curve_s(before: list[Bits]) -> None:
    """No cell is significant after Holm, but the same patients lose everywhere."""
    draw = np.random.default_rng(1)
    now = []
    for bits in before:
        held = np.flatnonzero(bits & members()["lateral"])
        changed = bits.copy()
        changed[draw.choice(held, 9, replace=False)] = False
        now.append(changed)
    found, judgement = judged(before, now)
    assert kinds(found, judgement, "lateral") == {"within-tolerance"}
    assert {(one.group, one.k, one.kind) for one in judgement.curves} == {
        ("lateral", 5, "regressed"),
        ("lateral", 10, "regressed"),
    }
    assert {one.difference for one in judgement.curves} == {-9.0}
    assert judgement.red("regression")


def test_cells_without_bits_are_not_judged(before: list[Bits]) -> None:
    found = results(["lateral"])
    patients = np.arange(N, dtype=np.int64)
    judgement = judge_groups(found, [None] * len(found), members(), patients, smallest=30)
    assert set(judgement.cells) == {None}
    assert not judgement.red("any")


def test_a_group_that_is_gone_is_red_however_fail_on_is_set() -> None:
    for fail_on in ("any", "regression", "significant-regression"):
        assert Judgement([], vanished={"lateral": 40}).red(fail_on)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_counts_are_those_of_a_loop(seed: int, tolerance: int) -> None:
    draw = np.random.default_rng(seed)
    before = [draw.random(N) < 0.4 for _ in CELLS]
    now = [bits ^ (draw.random(N) < 0.05) for bits in before]
    found, judgement = judged(before, now, tolerance)
    bits = dict(zip(CELLS, zip(before, now, strict=True), strict=True))
    for result, one in zip(found, judgement.cells, strict=True):
        if one is None:
            assert result.group == "few"
            continue
        old, new = bits[result.cell]
        lost = gained = hits = 0
        for query, inside in enumerate(members()[result.group]):
            hits += bool(inside and old[query])
            lost += bool(inside and old[query] and not new[query])
            gained += bool(inside and new[query] and not old[query])
        assert (one.baseline_hits, one.lost, one.gained) == (hits, lost, gained)
        assert one.tolerance == max(1, -(-tolerance * result.queries // N))
        assert one.p_adjusted >= one.p_value
        if one.kind in ("regressed", "improved"):
            assert abs(gained - lost) > one.tolerance
            assert one.p_adjusted < 0.025


def test_innocent_changes_of_twelve_groups_are_never_red() -> None:
    """200 re-runs in which as many queries flip as between precisions, each way alike."""
    draw = np.random.default_rng(7)
    groups = {f"g{n}": np.arange(N) % 12 == n for n in range(12)}
    found = [
        GroupResult(
            cell, "site", name, int(own.sum()), 9, 0, Spread(0, 0, 0),
            None, None, None, None, None,
        )
        for cell in CELLS
        for name, own in groups.items()
    ]  # fmt: skip
    patients = np.arange(N, dtype=np.int64) // 2
    for _ in range(200):
        flips = {}
        for cell in CELLS:
            before = draw.random(N) < 0.3
            flips[cell] = Flips(before, before ^ (draw.random(N) < 0.006), 10)
        judgement = judge_groups(
            found, [flips[one.cell] for one in found], groups, patients, smallest=30
        )
        assert not judgement.red("any")


def test_what_a_failure_says(before: list[Bits]) -> None:
    now = [without(bits, "lateral", 25) for bits in before]
    found, judgement = judged(before, now, tolerance=40)
    judgement = Judgement(judgement.cells, judgement.curves, {"AP": 31})
    told = explain_groups(
        CURVE, "view", found, judgement, triage=["  weights changed"], accept="pytest ACCEPT"
    )
    hits = int((before[0] & members()["lateral"]).sum())
    assert told[0] == "groups by view, clip, block: regressed and vanished"
    assert told[1] == "  accept: pytest ACCEPT"
    assert "  view = lateral, 100 queries" in told
    row = next(line for line in told if line.startswith("  R@5 0 %"))
    assert row.split()[3:8] == [f"{hits:.1f}", "%", f"{hits - 25:.1f}", "%", "25"]
    assert "  ... and 2 more of its cells" in told
    assert any(line.startswith("  R@5 all levels") and "-25.0 hits" in line for line in told)
    assert "  view = AP: 31 queries when accepted; now none, or fewer than 5 patients" in told
    assert told[-2:] == ["", "  weights changed"]
    assert max(map(len, told)) <= 80


def asked(group: str, cells: Sequence[Cell], queries: int) -> list[GroupResult]:
    nothing = Spread(0, 0, 0)
    return [
        GroupResult(cell, "view", group, queries, 9, 0, nothing, None, None, None, None, None)
        for cell in cells
    ]


def test_a_query_of_several_mask_seeds_counts_once() -> None:
    """With nothing blocked every seed shows the same picture: six flips are not eighteen."""
    before = np.ones(100, np.bool_)
    now = before.copy()
    now[:6] = False
    own, seeds = np.ones(300, np.bool_), 3
    flips = Flips(np.tile(before, seeds), np.tile(now, seeds), 3, seeds)
    judgement = judge_groups(
        asked("all", CELLS[:1], 300), [flips], {"all": own}, np.arange(300), smallest=30
    )
    (one,) = judgement.cells
    assert one is not None
    assert (one.lost, one.gained, one.kind) == (18, 0, "within-tolerance")
    assert one.p_value == 2 * 0.5**6


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_p_is_that_of_a_count_over_queries(seed: int, seeds: int) -> None:
    draw = np.random.default_rng(seed)
    before, now = draw.random((2, 40 * seeds)) < 0.5
    member = draw.random(40) < 0.7
    judgement = judge_groups(
        asked("some", CELLS[:1], 1),
        [Flips(before, now, 5, seeds)],
        {"some": np.tile(member, seeds)},
        np.tile(np.arange(40), seeds),
        smallest=0,
    )
    worse = better = 0
    for query in np.flatnonzero(member):
        own = [query + 40 * at for at in range(seeds)]
        balance = sum(int(now[at]) - int(before[at]) for at in own)
        worse, better = worse + (balance < 0), better + (balance > 0)
    (one,) = judgement.cells
    assert one is not None
    assert one.p_value == mcnemar(worse, better)


def test_curves_are_a_family_of_their_own_in_which_patients_flip_together() -> None:
    """Nine losses at every level: of nine patients that is a proof, of two it is none."""
    before = np.ones(N, np.bool_)
    now = before.copy()
    now[:9] = False
    cells = [cell for cell in CELLS if cell.k == 5]
    for patients, proof in ((np.arange(N), True), (np.arange(N) // 5, False)):
        judgement = judge_groups(
            asked("all", cells, N),
            [Flips(before, now, 10)] * len(cells),
            {"all": np.ones(N, np.bool_)},
            patients,
            smallest=30,
        )
        assert {one.kind for one in judgement.cells if one is not None} == {"within-tolerance"}
        assert [one.kind for one in judgement.curves] == ["regressed"] * proof
        for one in judgement.curves:
            assert (one.difference, one.tolerance) == (-9.0, 5.0)
            assert one.p_value == one.p_adjusted == pytest.approx(2 / 2**9, rel=0.5)


def test_one_level_is_no_curve() -> None:
    before, now = np.ones(N, np.bool_), np.zeros(N, np.bool_)
    flips, own = [Flips(before, now, 10)], {"all": np.ones(N, np.bool_)}
    judgement = judge_groups(asked("all", CELLS[:1], N), flips, own, np.arange(N), smallest=30)
    assert judgement.curves == []
    assert judgement.red("regression")


def test_a_curve_of_which_one_cell_has_no_baseline_is_not_judged() -> None:
    before, now = np.ones(N, np.bool_), np.arange(N) >= 9
    cells = [cell for cell in CELLS if cell.k == 5]
    flips = [Flips(before, now, 10), None, Flips(before, now, 10)]
    own = {"all": np.ones(N, np.bool_)}
    judgement = judge_groups(asked("all", cells, N), flips, own, np.arange(N), smallest=30)
    assert [one is None for one in judgement.cells] == [False, True, False]
    assert judgement.curves == []


def test_the_smallest_group_that_is_judged() -> None:
    before, now = np.ones(N, np.bool_), np.zeros(N, np.bool_)
    for size, judged_too in ((30, True), (29, False)):
        own = {"some": np.arange(N) < size}
        flips = [Flips(before, now, 10)]
        found = asked("some", CELLS[:1], size)
        judgement = judge_groups(found, flips, own, np.arange(N), smallest=30)
        assert judgement.red("any") == judged_too
