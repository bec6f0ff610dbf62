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
from pytest_occlusion.insight.groups import GroupResult, Spread
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
    assert "  view = lateral, 100 queries" in told
    row = next(line for line in told if line.startswith("  R@5 0 %"))
    assert row.split()[3:8] == [f"{hits:.1f}", "%", f"{hits - 25:.1f}", "%", "25"]
    assert "  ... and 2 more of its cells" in told
    assert any(line.startswith("  R@5 all levels") and "-25.0 hits" in line for line in told)
    assert "  view = AP: 31 queries when accepted, none in the data" in told
    assert told[-3:] == ["  weights changed", "", "  accept: pytest ACCEPT"]
    assert max(map(len, told)) <= 80
