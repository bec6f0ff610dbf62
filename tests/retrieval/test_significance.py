"""Paired tests against enumeration, and the rates that the gate promises."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.gate.verdicts import allowed_flips
from pytest_occlusion.retrieval.significance import holm, loss_p_value, sign_flip

QUERIES = 1770
DEFAULT_TOLERANCE = 0.01


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_step_down_procedure_rejects(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for alpha in (0.01, 0.05, 0.3):
        rejected = set()
        order = sorted(range(len(p_values)), key=lambda i: p_values[i])
        for place, i in enumerate(order):
            if (len(p_values) - place) * p_values[i] > alpha:
                break
            rejected.add(i)
        # Equal p values stop together in the adjusted form, whatever their order.
        assert {i for i, p in enumerate(adjusted) if p is not None and p <= alpha} == rejected


def test_holm_takes_every_family_by_itself_and_leaves_out_what_was_not_tested() -> None:
    p_values, families = [0.01, None, 0.02, 0.5, 0.04], ["a", "a", "b", "b", "a"]
    assert holm(p_values, families) == [0.02, None, 0.04, 0.5, 0.04]
    assert holm([]) == []


def test_sign_flip_equals_enumeration() -> None:
    differences = np.array([0.5, 0.25, 0.75, -0.25, 0.0, 1.0, 0.5])
    moved = differences[differences != 0]
    sums = [abs((np.array(signs) * moved).sum()) for signs in product((1, -1), repeat=len(moved))]
    exact = np.mean(np.array(sums) >= abs(moved.sum()) - 1e-9)
    assert sign_flip(differences) == pytest.approx(exact, abs=0.02)


def test_sign_flip_of_nothing_and_of_much() -> None:
    assert sign_flip(np.zeros(50)) == 1.0
    assert sign_flip(np.ones(50)) == pytest.approx(1 / 10_001)
    assert sign_flip(-np.ones(50)) == pytest.approx(1 / 10_001)


def test_patients_flip_together() -> None:
    differences = np.ones(40)
    assert sign_flip(differences, np.arange(40) // 10) > 0.05  # four patients prove little
    assert sign_flip(differences, np.arange(40)) < 0.01


def test_sign_flip_is_seeded() -> None:
    differences = np.random.default_rng(0).normal(0.1, 1, 60)
    assert sign_flip(differences) == sign_flip(differences)
    assert sign_flip(differences) != sign_flip(differences, seed=1)


def test_sizes_of_the_default_tolerance() -> None:
    assert allowed_flips(DEFAULT_TOLERANCE, QUERIES) == 18


@given(st.lists(st.integers(-6, 6), max_size=9))
def test_losses_equal_enumeration(totals: list[int]) -> None:
    sizes = [abs(total) for total in totals if total]
    sums = [sum(map(int.__mul__, signs, sizes)) for signs in product((1, -1), repeat=len(sizes))]
    expected = np.mean([one <= sum(totals) for one in sums])
    assert loss_p_value(np.array(totals, np.int64)) == pytest.approx(expected)


def test_many_patients_are_as_good_as_few(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    for tilt in (0.5, 0.53, 0.56):
        totals = np.where(draw.random(1500) < tilt, -1, 1) * draw.integers(0, 7, 1500) * 2
        exact = loss_p_value(totals)
        monkeypatch.setattr("pytest_occlusion.retrieval.significance.EXACT", 10)
        assert loss_p_value(totals) == pytest.approx(exact, rel=0.05)
        monkeypatch.undo()
    assert loss_p_value(np.full(100_000, -1)) > 0, "no p value is zero"
    assert loss_p_value(np.full(100_000, 1)) == 1


def test_gains_are_no_losses() -> None:
    assert loss_p_value(np.array([3, 1, 2])) == 1
    assert loss_p_value(np.array([-3, -1, -2])) == pytest.approx(1 / 8)
    assert loss_p_value(np.zeros(5, np.int64)) == 1
