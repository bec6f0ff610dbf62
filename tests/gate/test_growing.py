"""Growing samples: the counts by hand, the tests' levels, and when they stop."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.engine.sampling import Passes
from pytest_occlusion.gate.growing import (
    FINEST,
    WHOLE_SHARE,
    Bits,
    Part,
    Side,
    find_parts,
    grow,
    judged,
    level_weights,
    spent,
)
from pytest_occlusion.suite.grid import Cell

KS = (1, 5)
RATIOS = (0.0, 0.25)


def side_of(before: Bits, asked: Bits | None = None) -> Side:
    """A curve whose conditions 0 and 1 are its levels; condition 2 is of another curve."""
    return Side(
        occluder="block",
        ratios=RATIOS,
        ks=KS,
        level=np.array([0, 1, -1]),
        offset=np.zeros(3, np.int64),
        before=before,
        asked=np.ones((2, 2), np.bool_) if asked is None else asked,
        allowed=np.array([[0.01, 0.01], [0.01, 0.2]]),
        allowed_whole=0.005,
        weights=np.array([3, 1]),
    )


@given(st.integers(0, 10_000), st.integers(0, 40))
def test_counts_and_p_values_by_hand(seed: int, size: int) -> None:
    draw = np.random.default_rng(seed)
    before = draw.random((2, 12, 2)) < 0.5
    passes = Passes(draw.integers(0, 12, size), draw.integers(0, 3, size))
    now, patients = draw.random((size, 2)) < 0.5, draw.integers(0, 4, 12)
    asked = np.array([[True, draw.random() < 0.5], [draw.random() < 0.5, True]])
    side = side_of(before, asked)
    parts, counts = find_parts(side, passes, now, patients)
    kinds = [(None, None), (0.0, None), (0.25, None), (None, 1), (None, 5)]
    assert [(part.ratio, part.k) for part in parts] == kinds
    for part in parts:
        lost = gained = shown = hits = 0
        totals: dict[int, int] = {}
        for at, (row, where) in enumerate(zip(passes.rows, passes.shown, strict=True)):
            if where == 2 or part.ratio not in (None, RATIOS[where]):
                continue
            columns = [c for c, k in enumerate(KS) if part.k in (None, k) and asked[where, c]]
            shown, hits, balance = shown + bool(columns), hits + len(columns), 0
            for column in columns:
                old, new = bool(before[where, row, column]), bool(now[at, column])
                lost, gained = lost + (old and not new), gained + (new and not old)
                balance += int(new) - int(old)
            whose, weight = int(patients[row]), (3, 1)[where] if part.is_whole else 1
            totals[whose] = totals.get(whose, 0) + weight * balance
        assert (part.passes, part.lost, part.gained) == (shown, lost, gained)
        assert part.asked == hits
        sizes = [abs(total) for total in totals.values() if total]
        every = itertools.product((1, -1), repeat=len(sizes))
        sums = [sum(map(int.__mul__, signs, sizes)) for signs in every]
        expected = np.mean([one <= sum(totals.values()) for one in sums])
        assert part.p_value == pytest.approx(expected)
    assert len(counts) == asked.sum()
    for (ratio, k), (lost, gained) in counts.items():
        at, column = RATIOS.index(ratio), KS.index(k)
        own = [n for n in range(size) if passes.shown[n] == at]
        both = [(bool(before[at, passes.rows[n], column]), bool(now[n, column])) for n in own]
        assert (lost, gained) == (both.count((True, False)), both.count((False, True)))


def test_seeds_have_bits_of_their_own() -> None:
    before = np.zeros((1, 4, 1), np.bool_)
    before[0, 2:] = True  # two queries, of which only the second seed hits
    side = Side("block", (0.25,), (1,), np.array([0, 0]), np.array([0, 2]), before,
                np.ones((1, 1), np.bool_), np.zeros((1, 1)), 0.0, np.ones(1, np.int64))  # fmt: skip
    passes = Passes(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]))
    parts, _ = find_parts(side, passes, np.zeros((4, 1), np.bool_), np.array([0, 1]))
    assert parts[0].lost == 2


def test_weights_follow_what_there_is_to_lose() -> None:
    before = np.zeros((4, 100, 1), np.bool_)
    for level, hits in enumerate((81, 21, 6, 5)):
        before[level, :hits] = True
    asked = np.ones((4, 1), np.bool_)
    assert level_weights(before, asked, (5,), 100).tolist() == [FINEST, 2, 0, 0]
    assert level_weights(before[3:], asked[3:], (5,), 100).tolist() == [1], "of nothing, all alike"
    both = np.concatenate([before, np.ones_like(before)], axis=2)
    only = np.array([[True, False]] * 4)
    assert level_weights(both, only, (5, 9), 100).tolist() == [FINEST, 2, 0, 0]


def test_every_part_has_the_tolerance_of_its_cells() -> None:
    side = side_of(np.ones((2, 3, 2), np.bool_))
    passes = Passes(np.array([0, 1]), np.array([0, 1]))
    parts, _ = find_parts(side, passes, np.ones((2, 2), np.bool_), np.arange(3))
    assert [part.tolerance for part in parts] == pytest.approx([0.005, 0.01, 0.105, 0.01, 0.105])


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_the_interval_covers_losses_of_patients(share: float) -> None:
    """Of patients with four radiographs, who lose all of them or none."""
    patients = np.repeat(np.arange(200), 4)
    side = side_of(np.ones((2, 800, 2), np.bool_))
    passes = Passes(np.arange(800), np.tile([0, 1], 400))
    missed = 0
    for seed in range(400):
        lost = np.random.default_rng(seed).random(200) < share
        now = np.repeat(~lost[patients][:, None], 2, axis=1)
        missed += find_parts(side, passes, now, patients)[0][0].highest < share
    assert missed <= 400 * 0.05


def test_the_interval_covers_losses_whenever_it_stops() -> None:
    """Of a loss just above the one at which a sample ends, which each look might take for less."""
    share, missed, order = 0.102, 0, np.arange(1024)
    side = replace(side_of(np.ones((2, 1024, 2), np.bool_)), allowed_whole=0.05)
    for seed in range(600):
        kept = np.random.default_rng(seed).random((1024, 1)) >= share
        now = known(np.repeat(kept, 2, axis=1))
        came = grow([side], Passes(order, order % 2), now, order, budget=1024, alpha=0.0)
        missed += came.parts[0].highest < share
    assert missed <= 600 * 0.045  # 15 expected; 39 if each look had the chance anew


def part_of(p: float, *, ratio: float | None = None, lost: int = 50, k: int | None = None) -> Part:
    return Part("block", ratio, k, 100, 600, lost, 0, 0.01, p, 0.2)


def test_families_have_their_shares() -> None:
    alpha = 0.001
    whole, others = part_of(alpha * WHOLE_SHARE * 0.99), [part_of(0.5, ratio=r) for r in RATIOS]
    assert judged([whole, *others], alpha)[0].regressed
    assert not judged([part_of(alpha * WHOLE_SHARE), *others], alpha)[0].regressed
    rest = alpha * (1 - WHOLE_SHARE)
    few = judged([part_of(0.5), part_of(rest / 2 * 0.99, ratio=0.0), others[1]], alpha)
    assert [part.regressed for part in few] == [False, True, False]
    few = judged([part_of(0.5), part_of(rest / 2, ratio=0.0), others[1]], alpha)
    assert not any(part.regressed for part in few), "Holm: of two, the first is held to half"


def test_a_loss_inside_the_tolerance_is_none() -> None:
    assert not judged([part_of(1e-9, lost=6)], 0.001)[0].regressed
    assert judged([part_of(1e-9, lost=7)], 0.001)[0].regressed


def test_looks_spend_the_chance_and_no_more() -> None:
    used = [spent(share) for share in (0.0, 0.125, 0.25, 0.5, 1.0)]
    assert used[0] == 0
    assert used[-1] == 1
    assert used == sorted(used)


def known(now: Bits) -> Callable[[int, int], Bits]:
    return lambda first, last: now[first:last]


def grown(
    *, lost: float, queries: int = 400, budget: int = 800, seed: int = 0, flips: float = 0.0
) -> tuple[list[bool], int, float]:
    """Whether parts regressed, the passes, and how far down nothing was seen."""
    draw = np.random.default_rng(seed)
    before = draw.random((2, queries, 2)) < 0.5
    now = before.copy()
    now[(draw.random(now.shape) < 2 * lost) & before] = False
    now ^= draw.random(now.shape) < flips
    order = draw.permutation(queries)
    passes = Passes(np.tile(order, 2), np.repeat([0, 1], queries))
    asked = []

    def hits(first: int, last: int) -> Bits:
        asked.append((first, last))
        return now[passes.shown[first:last], passes.rows[first:last]]

    came = grow([side_of(before)], passes, hits, np.arange(queries), budget=budget, alpha=0.001)
    assert len(asked) == came.looks
    assert [first for first, _ in asked] == [0, *(last for _, last in asked[:-1])], "each once"
    return [part.regressed for part in came.parts], came.passes, came.parts[0].highest


def test_a_large_loss_is_seen_at_the_first_look() -> None:
    red, passes, _ = grown(lost=0.2)
    assert red[0]
    assert passes == 128, "the first doubling after an eighth of the budget"


def test_no_change_at_all_needs_no_more_passes() -> None:
    red, passes, highest = grown(lost=0.0, queries=2000, budget=4000)
    assert not any(red)
    assert passes == 1024, "a quarter of the budget"
    assert 0 < highest <= 0.01


def test_what_stays_unclear_takes_the_whole_budget() -> None:
    red, passes, highest = grown(lost=0.0, flips=0.1, budget=400)
    assert not any(red)
    assert passes == 400
    assert highest > 0.01


def test_flips_that_cancel_are_seldom_red() -> None:
    """Of runs in which a fifth of all hits changes and none is lost on balance."""
    red = sum(any(grown(lost=0.0, flips=0.2, seed=seed)[0]) for seed in range(300))
    assert red <= 3  # 0.3 expected


def test_each_look_is_held_to_what_it_adds() -> None:
    """A loss whose p value lies between what two looks have by themselves and together."""
    before = np.ones((1, 256, 1), np.bool_)
    lost = 10  # p is 2^-10
    order = np.arange(256)
    asked, weights = np.ones((1, 1), np.bool_), np.ones(1, np.int64)
    side = Side("block", (0.0,), (1,), np.array([0]), np.array([0]), before, asked,
                np.full((1, 1), 0.001), 0.001, weights)  # fmt: skip

    def red(alpha: float) -> bool:
        now = np.ones((256, 1), np.bool_)
        now[200 : 200 + lost] = False  # all after the last look but one
        came = grow([side], Passes(order, order * 0), known(now), order, budget=256, alpha=alpha)
        assert came.passes == 256
        return came.parts[0].regressed

    needed = 2.0**-lost / WHOLE_SHARE
    assert not red(needed / (1 - spent(0.5)) * 0.999)
    assert red(needed / (1 - spent(0.5)) * 1.001)


def test_many_small_losses_and_few_large_gains_are_no_loss() -> None:
    """The sum counts: a fifth lose one hit of two, a tenth gain both; the mean holds."""
    red = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        before = np.ones((2, 400, 2), np.bool_)
        fate = draw.random(400)
        before[:, fate < 0.1] = False
        passes = Passes(np.tile(np.arange(400), 2), np.repeat([0, 1], 400))
        now = before[passes.shown, passes.rows].copy()
        row = fate[passes.rows]
        now[row < 0.1] = True
        now[(row > 0.1) & (row < 0.3), 0] = False
        came = grow([side_of(before)], passes, known(now), np.arange(400), budget=800, alpha=0.01)
        red += any(part.regressed for part in came.parts if part.is_whole)
    assert red <= 8  # 2 expected


def test_nothing_shown_is_nothing_known() -> None:
    side = side_of(np.ones((2, 3, 2), np.bool_))
    nobody = Passes(np.zeros(0, np.int64), np.zeros(0, np.int64))
    parts, counts = find_parts(side, nobody, np.zeros((0, 2), np.bool_), np.arange(3))
    assert all(part.p_value == 1 and part.highest == 1 and part.loss == 0 for part in parts)
    assert set(counts.values()) == {(0, 0)}


def test_what_a_part_covers() -> None:
    cell = Cell("m", "image-to-text", "block", 0.25, 5)
    assert part_of(0.1).covers(cell)
    assert part_of(0.1, ratio=0.25).covers(cell)
    assert not part_of(0.1, ratio=0.0).covers(cell)
    assert part_of(0.1, k=5).covers(cell)
    assert not part_of(0.1, k=1).covers(cell)
    assert not part_of(0.1).covers(Cell("m", "image-to-text", "pixels", 0.25, 5))
