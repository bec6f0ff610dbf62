"""The gate's promises: quiet when nothing matters has changed, awake when recall is lost."""

from __future__ import annotations

from types import ModuleType

import pytest

from pytest_occlusion.suite.table import TOLERANCE
from tests.scripts import load_script

QUERIES = 1770
# Recall@10 of the embedded cxr-repair checkpoint over the ratios, and as many flips as bf16 causes.
HITS = [883, 695, 580, 463, 352, 182, 64, 15]
FLIPS = [15, 23, 20, 18, 15, 12, 8, 4]


@pytest.fixture(scope="module")
def rates() -> ModuleType:
    return load_script("gate_rates")


def test_innocent_reruns_are_never_red(rates: ModuleType) -> None:
    cells = 6  # 48 cells in all, as the embedded suite has per model
    found = rates.simulate(HITS * cells, QUERIES, FLIPS * cells, tolerance=TOLERANCE)
    assert found.reruns == 200
    assert found.red_runs == 0


def test_a_loss_of_two_points_is_caught(rates: ModuleType) -> None:
    for hits, flips in zip(HITS[:6], FLIPS, strict=False):
        found = rates.simulate([hits], QUERIES, [flips], tolerance=TOLERANCE, loss=0.02)
        assert found.red_runs > 0.95 * found.reruns


def test_the_simulation_can_be_red(rates: ModuleType) -> None:
    assert rates.simulate(HITS, QUERIES, FLIPS, tolerance=0.002).red_runs > 100
    assert rates.simulate(HITS, QUERIES, FLIPS, tolerance=0.2, loss=0.02).red_runs == 0
