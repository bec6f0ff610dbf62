"""The gate's promises: quiet when nothing matters has changed, awake when recall is lost."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pytest_occlusion.gate.snapshots import pack_bits
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


# Groups ------------------------------------------------------------------------------------------

LATERAL = np.arange(400) % 2 == 0


def document(seed: int, flips: float = 0.0) -> dict[str, Any]:
    """Of one curve: laterals hit in nine of ten, the others in one."""
    draw = np.random.default_rng(0)
    noise = np.random.default_rng(seed)
    cells = []
    for ratio in (0.0, 0.25):
        for k in (5, 10):
            bits = draw.random(400) < np.where(LATERAL, 0.9, 0.1)
            bits ^= noise.random(400) < flips
            name = f"m-block-r{100 * ratio:02.0f}-k{k:03}"
            place = {"model": "m", "direction": "image-to-text", "occluder": "block"}
            numbers = {"ratio": ratio, "k": k, "queries": 400, "hits": int(bits.sum())}
            cells.append({"id": name, **place, **numbers, "hit_queries": pack_bits(bits)})
    reverse = {**cells[0], "id": "m-block-r00-k005-t2i", "direction": "text-to-image"}
    groups = {
        "lateral": LATERAL,
        "PA": ~LATERAL,
        "AP": np.arange(400) < 120,
        "few": LATERAL & False,
    }
    return {
        "protocol": {"seeds": [0]},
        "cells": [*cells, reverse],
        "members": {"view": {name: pack_bits(own) for name, own in groups.items()}},
    }


def test_groups_of_a_document(rates: ModuleType) -> None:
    before, after = document(1), document(1, flips=0.02)
    (test,) = rates.group_tests(before, after, "view")
    assert list(test.groups) == ["lateral", "PA", "AP"], "the others are not judged"
    assert len(test.cells) == 4, "the reverse direction has no groups"
    flips = [int((old != new).sum()) for old, new in test.hits]
    assert flips == rates.flip_counts(before["cells"], after["cells"])[:4]
    (largest,) = rates.group_tests(before, after, "view", 2)
    assert list(largest.groups) == ["lateral", "PA"]


def test_innocent_reruns_lose_in_a_group_as_many_as_they_gain(rates: ModuleType) -> None:
    """Also where nine of ten queries hit, and the same flip as between the two files."""
    (test,) = rates.group_tests(document(1), document(1, flips=0.02), "view")
    draw = np.random.default_rng(3)
    counts = np.zeros((2, 2))
    for _ in range(400):
        for (old, new), (before, now) in zip(test.hits, test.runs(draw), strict=True):
            assert ((old != new) == (before != now)).all()
            for row, own in enumerate((LATERAL, ~LATERAL)):
                counts[row] += (before & ~now & own).sum(), (~before & now & own).sum()
    for lost, gained in counts:
        assert lost == pytest.approx(gained, rel=0.1)


def test_innocent_groups_are_never_red_and_those_that_lose_are(rates: ModuleType) -> None:
    tests = rates.group_tests(document(1), document(1, flips=0.01), "view")
    assert not rates.red_reruns(tests).any()
    lost = rates.red_reruns(tests, group="lateral", loss=0.1, reruns=20)
    assert lost.shape == (20,)
    assert lost.all()
    draw = np.random.default_rng(0)
    runs = [tests[0].runs(draw, "lateral", 0.1) for _ in range(50)]
    change = [float(now[LATERAL].mean() - old[LATERAL].mean()) for r in runs for old, now in r]
    assert np.mean(change) == pytest.approx(-0.1, abs=0.01)
    change = [float(now[~LATERAL].mean() - old[~LATERAL].mean()) for r in runs for old, now in r]
    assert np.mean(change) == pytest.approx(0.0, abs=0.01), "the others do not"


def test_the_table_of_groups(rates: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    rates.print_groups(document(1), document(1, flips=0.01), reruns=5)
    lines = capsys.readouterr().out.splitlines()
    assert "| view | 3 | 0 of 5 |" in lines
    assert "| all of them | 3 | 0 of 5 |" in lines
    rates.print_losses(document(1), document(1, flips=0.01), reruns=5)
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| view = ")]
    assert row.startswith("| view = AP | 120 | ")
    assert row.endswith(" | 5 of 5 |"), "a fifth of them, at every level"
