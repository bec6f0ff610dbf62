"""Degradation: curves whose summary is known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_occlusion.retrieval.degradation import degradation

RATIOS = (0.0, 0.09, 0.16, 0.25, 0.36, 0.49, 0.64, 0.81)


def test_a_straight_line() -> None:
    found = degradation(RATIOS, [0.6 - 0.5 * p for p in RATIOS], chance=0.1)
    assert found.slope == pytest.approx(-0.5)
    assert found.r_squared == pytest.approx(1.0)
    assert found.half_ratio == pytest.approx(0.5)  # (0.6 + 0.1) / 2 = 0.35
    assert found.retention == pytest.approx([1 - p * 0.5 / 0.6 for p in RATIOS])
    assert found.above_chance == pytest.approx([1 - p for p in RATIOS])
    assert found.area == pytest.approx(1 - 0.405 * 0.5 / 0.6)


@pytest.mark.parametrize("level", [0.1, 0.3, 1 / 3, 0.7, 1.0])
@pytest.mark.parametrize("count", [3, 7, 8])
def test_a_flat_curve(level: float, count: int) -> None:
    found = degradation(RATIOS[:count], [level] * count, chance=0.01)
    assert found.retention == (1.0,) * count
    assert found.above_chance == (1.0,) * count
    assert found.area == pytest.approx(1.0)
    assert found.half_ratio is None
    assert found.slope == pytest.approx(0.0, abs=1e-12)
    assert found.r_squared is None


def test_a_curve_at_chance() -> None:
    found = degradation(RATIOS, [0.05] * 8, chance=0.05)
    assert found.above_chance == ()
    assert found.half_ratio is None
    assert found.retention == (1.0,) * 8


def test_a_curve_below_chance() -> None:
    found = degradation((0, 0.5), (0.01, 0.02), chance=0.05)
    assert found.above_chance == ()
    assert found.half_ratio is None
    assert found.retention == pytest.approx((1.0, 2.0))


def test_nothing_retrieved_at_all() -> None:
    found = degradation(RATIOS, [0.0] * 8, chance=0.0)
    assert found.retention == found.above_chance == ()
    assert found.area is None
    assert found.half_ratio is None
    assert found.slope == 0
    assert found.r_squared is None


def test_without_ratio_zero_nothing_is_relative() -> None:
    found = degradation((0.25, 0.5, 0.75), (0.3, 0.2, 0.1), chance=0.01)
    assert found.retention == found.above_chance == ()
    assert found.area is None
    assert found.half_ratio is None
    assert found.slope == pytest.approx(-0.4)
    assert found.r_squared == pytest.approx(1.0)


def test_a_single_ratio() -> None:
    found = degradation((0.0,), (0.4,), chance=0.1)
    assert found.retention == (1.0,)
    assert found.area is None
    assert found.half_ratio is None
    assert found.slope is None
    assert found.r_squared is None


def test_two_ratios_have_a_slope_and_no_fit() -> None:
    found = degradation((0.0, 0.5), (0.4, 0.2), chance=0.0)
    assert found.slope == pytest.approx(-0.4)
    assert found.r_squared is None
    assert found.half_ratio == pytest.approx(0.5)


def test_half_is_found_between_ratios_at_the_first_crossing() -> None:
    found = degradation((0.0, 0.2, 0.4, 0.6, 0.8), (0.9, 0.7, 0.3, 0.6, 0.1), chance=0.1)
    assert found.half_ratio == pytest.approx(0.3)


def test_half_exactly_at_a_ratio() -> None:
    found = degradation((0.0, 0.25, 0.5), (0.5, 0.25, 0.1), chance=0.0)
    assert found.half_ratio == pytest.approx(0.25)


def test_no_curve_at_all() -> None:
    found = degradation((), (), chance=0.1)
    assert found.retention == ()
    assert (found.area, found.half_ratio, found.slope, found.r_squared) == (None,) * 4


@given(
    st.lists(st.floats(0.01, 0.99), min_size=1, max_size=9, unique=True).map(sorted),
    st.data(),
)
def test_area_is_the_trapezoids_and_the_line_is_numpys(
    tail: list[float], data: st.DataObject
) -> None:
    ratios = [0.0, *tail]
    assume(min(np.diff(ratios)) > 1e-4)
    recalls = data.draw(
        st.lists(st.floats(0.01, 1), min_size=len(ratios), max_size=len(ratios)), label="recalls"
    )
    found = degradation(ratios, recalls, chance=0.001)
    whole = np.asarray(recalls) / recalls[0]
    area = sum(
        (whole[i] + whole[i + 1]) / 2 * (ratios[i + 1] - ratios[i]) for i in range(len(tail))
    )
    assert found.area == pytest.approx(area / ratios[-1])
    slope, start = np.polyfit(ratios, recalls, 1)
    assert found.slope == pytest.approx(slope, abs=1e-8)
    if found.r_squared is not None:
        assert -1e-9 <= found.r_squared <= 1 + 1e-9
        if np.ptp(recalls) > 1e-3:
            residual = np.asarray(recalls) - start - slope * np.asarray(ratios)
            assert found.r_squared == pytest.approx(1 - residual.var() / np.var(recalls), abs=1e-6)
