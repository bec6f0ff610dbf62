"""How often the gate cries wolf, and how often it sleeps: simulated from two real runs.

    python benchmarks/gate_rates.py FP32.json BF16.json

Both files are written by ``--occlusion-json`` (the second with ``--occlusion-precision bf16``). The
share of queries that flip between them is taken as what an innocent re-run does; re-runs with that
rate, and re-runs that truly lose recall on top, are then judged as the gate judges.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pytest_occlusion.gate.snapshots import unpack_bits
from pytest_occlusion.gate.verdicts import allowed_flips
from pytest_occlusion.retrieval.significance import mcnemar
from pytest_occlusion.suite.table import TOLERANCE

RERUNS = 200


@dataclass(frozen=True)
class Rates:
    """What the simulation found.

    Attributes:
        reruns: Simulated runs.
        red_runs: Runs in which any cell turned red.
        red_cells: Red cells over all runs.
        cells: Cells judged over all runs.
    """

    reruns: int
    red_runs: int
    red_cells: int
    cells: int


def flip_counts(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> list[int]:
    """Queries of each cell that differ between two runs."""
    known = {cell["id"]: cell for cell in after}
    counts = []
    for cell in before:
        other = known[cell["id"]]
        old = unpack_bits(cell["hit_queries"], cell["queries"])
        new = unpack_bits(other["hit_queries"], other["queries"])
        counts.append(int((old != new).sum()))
    return counts


def simulate(
    hits: Sequence[int],
    queries: int,
    flips: Sequence[int],
    *,
    tolerance: float,
    loss: float = 0.0,
    reruns: int = RERUNS,
    seed: int = 0,
) -> Rates:
    """Judge simulated re-runs.

    Args:
        hits: Baseline hits of each cell.
        queries: Queries of each cell.
        flips: Queries of each cell that flip in an innocent re-run, on average; half of them are
            lost and half gained.
        tolerance: Queries that may change, or a share of them below 1.
        loss: True loss of recall on top, in [0, 1].
        reruns: Runs to simulate.
        seed: Of the draws.
    """
    draw = np.random.Generator(np.random.PCG64(seed))
    allowed = allowed_flips(tolerance, queries)
    red = np.zeros((reruns, len(hits)), dtype=bool)
    for cell, (hit, flip) in enumerate(zip(hits, flips, strict=True)):
        miss = queries - hit
        wanted = loss * queries + flip / 2
        lost = draw.binomial(hit, min(1.0, wanted / hit) if hit else 0.0, size=reruns)
        gained = draw.binomial(miss, min(1.0, flip / 2 / miss) if miss else 0.0, size=reruns)
        red[:, cell] = np.abs(gained - lost) > allowed
    return Rates(reruns, int(red.any(axis=1).sum()), int(red.sum()), red.size)


def significance_of(loss: float, queries: int, flips: int) -> float:
    """McNemar p of a true loss with innocent flips around it (expected counts)."""
    return mcnemar(round(loss * queries + flips / 2), round(flips / 2))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args()
    before = json.loads(options.before.read_text())["cells"]
    after = json.loads(options.after.read_text())["cells"]
    flips = flip_counts(before, after)
    hits, queries = [cell["hits"] for cell in before], before[0]["queries"]
    default = TOLERANCE
    print(
        f"{len(hits)} cells, {queries} queries; flips between the runs: median "
        f"{np.median(flips):g}, largest {max(flips)}"
    )
    print("| tolerance | queries | innocent runs red | loss of 1 pt red | loss of 2 pt red |")
    print("|---|---:|---:|---:|---:|")
    typical = int(np.argsort(flips)[len(flips) // 2])
    for tolerance in (0.002, 0.005, 0.01, 0.015, 0.02):
        quiet = simulate(hits, queries, flips, tolerance=tolerance)
        power = [
            simulate(
                [hits[typical]], queries, [flips[typical]], tolerance=tolerance, loss=loss
            ).red_runs
            for loss in (0.01, 0.02)
        ]
        mark = " (default)" if tolerance == default else ""
        print(
            f"| {tolerance:g}{mark} | {allowed_flips(tolerance, queries)} | "
            f"{quiet.red_runs} of {RERUNS} | {power[0]} of {RERUNS} | {power[1]} of {RERUNS} |"
        )


if __name__ == "__main__":
    main()
