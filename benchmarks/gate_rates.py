"""How often the gate cries wolf, and how often it sleeps: simulated from two real runs.

    python benchmarks/gate_rates.py FP32.json BF16.json

Both files are written by ``--occlusion-json`` (the second with ``--occlusion-precision bf16``). The
share of queries that flip between them is taken as what an innocent re-run does; re-runs with that
rate, and re-runs that truly lose recall on top, are then judged as the gate judges.

Files of a run with ``--occlusion-group-by`` say which queries are in which group: then the groups
are judged as well, and groups that alone lose recall. There the real flips are used: which of the
two runs came first is drawn for each query.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pytest_occlusion.gate.groups import Bits, Flips, judge_groups
from pytest_occlusion.gate.snapshots import unpack_bits
from pytest_occlusion.gate.verdicts import allowed_flips
from pytest_occlusion.insight.groups import GroupResult
from pytest_occlusion.retrieval.intervals import Spread
from pytest_occlusion.retrieval.significance import mcnemar
from pytest_occlusion.suite.grid import REVERSE, Cell
from pytest_occlusion.suite.table import SMALLEST_GROUP, TOLERANCE

RERUNS = 200

LOSSES = (0.05, 0.1, 0.2)
"""True losses of one group, at every level."""

TWELVE = 12
"""Groups of a suite that asks for a few: all by other attributes, and the largest findings."""

FINDING = "finding"


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


@dataclass(frozen=True)
class GroupTest:
    """One test of groups: those by one attribute, of one curve.

    Attributes:
        cells: Of the curve.
        hits: Which queries hit in the two runs, for each cell.
        groups: Group -> bool ``[queries]``.
        seeds: Mask seeds, under each of which the same queries are asked.
    """

    cells: Sequence[Cell]
    hits: Sequence[tuple[Bits, Bits]]
    groups: Mapping[str, Bits]
    seeds: int = 1

    @cached_property
    def _asked(self) -> list[tuple[int, GroupResult]]:
        """Place of the cell and what is judged; the gate looks at names and sizes alone."""
        nothing, unknown = Spread(0.0, 0.0, 0.0), (None,) * 5
        return [
            (at, GroupResult(cell, "", name, int(own.sum()), 0, 0, nothing, *unknown))
            for at, cell in enumerate(self.cells)
            for name, own in self.groups.items()
        ]

    def red(self, runs: Sequence[tuple[Bits, Bits]], tolerance: float = TOLERANCE) -> bool:
        """Whether the bits of a baseline and of a re-run, cell by cell, turn the test red.

        Files do not say whose queries are whose, so that each flips by itself in the curves' test.
        """
        queries = len(runs[0][0])
        allowed = allowed_flips(tolerance, queries)
        both = [Flips(before, now, allowed, self.seeds) for before, now in runs]
        judgement = judge_groups(
            [result for _, result in self._asked],
            [both[at] for at, _ in self._asked],
            self.groups,
            np.tile(np.arange(queries // self.seeds), self.seeds),
            smallest=SMALLEST_GROUP * self.seeds,
        )
        return judgement.red("any")

    def runs(
        self, draw: np.random.Generator, group: str = "", loss: float = 0.0
    ) -> list[tuple[Bits, Bits]]:
        """Bits of a baseline and of a re-run, in which a group loses recall if one is named.

        Which of the two runs came first is drawn for each query, in all cells at once: were nothing
        changed, either could have, so this is the null hypothesis of the gate's tests. Each query
        keeps its own flips at all levels.
        """
        queries = len(self.hits[0][0])
        own = self.groups[group] if group else np.zeros(queries, np.bool_)
        swapped = np.tile(draw.random(queries // self.seeds) < 0.5, self.seeds)
        fate = draw.random(queries)  # of a query in all cells: who is lost is lost at every level
        pairs = []
        for one, other in self.hits:
            before, now = np.where(swapped, other, one), np.where(swapped, one, other)
            share = loss * own.sum() / max(1, (now & own).sum())
            pairs.append((before, now & ~(own & (fate < share))))
        return pairs


def group_tests(
    before: Mapping[str, Any], after: Mapping[str, Any], attribute: str, most: int | None = None
) -> list[GroupTest]:
    """The tests of an attribute's groups, or of its largest, one for each curve of a document."""
    seeds = len(before["protocol"]["seeds"])
    queries = before["cells"][0]["queries"]
    members = {n: unpack_bits(t, queries) for n, t in before["members"][attribute].items()}
    judged = [name for name, own in members.items() if own.sum() >= SMALLEST_GROUP * seeds]
    largest = sorted(judged, key=lambda name: -members[name].sum())[:most]
    groups = {name: members[name] for name in judged if name in largest}
    known = {cell["id"]: cell for cell in after["cells"]}
    curves: dict[tuple[str, str], list[tuple[Cell, tuple[Bits, Bits]]]] = {}
    for cell in before["cells"]:
        if cell["direction"] != REVERSE:
            place = Cell(*(cell[n] for n in ("model", "direction", "occluder", "ratio", "k")))
            both = [unpack_bits(one["hit_queries"], queries) for one in (cell, known[cell["id"]])]
            curves.setdefault((place.model, place.occluder), []).append((place, (both[0], both[1])))
    return [
        GroupTest([cell for cell, _ in own], [both for _, both in own], groups, seeds)
        for own in curves.values()
    ]


def red_reruns(
    tests: Sequence[GroupTest],
    *,
    group: str = "",
    loss: float = 0.0,
    reruns: int = RERUNS,
    seed: int = 0,
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Bool ``[reruns]``: in which simulated re-runs any of the tests turned red."""
    draw = np.random.Generator(np.random.PCG64(seed))
    return np.array(
        [any(test.red(test.runs(draw, group, loss)) for test in tests) for _ in range(reruns)]
    )


def print_groups(
    before: Mapping[str, Any], after: Mapping[str, Any], *, reruns: int = RERUNS
) -> None:
    """Print how often groups turn red in innocent re-runs."""
    attributes = list(before["members"])
    tests = {name: group_tests(before, after, name) for name in attributes}
    red = {name: red_reruns(own, reruns=reruns) for name, own in tests.items()}
    sizes = {name: len(own[0].groups) for name, own in tests.items()}
    print()
    print("| groups | of at least 30 queries | innocent runs red (any model) |")
    print("|---|---:|---:|")
    for name in attributes:
        print(f"| {name} | {sizes[name]} | {red[name].sum()} of {reruns} |")
    every = np.any([*red.values()], axis=0)
    print(f"| all of them | {sum(sizes.values())} | {every.sum()} of {reruns} |")
    real = [test.red(test.hits) for own in tests.values() for test in own]
    outcome = "red" if any(real) else "green"
    print(f"| all of them, the two files as they are | {sum(sizes.values())} | {outcome} |")
    others = [name for name in attributes if name != FINDING]
    left = TWELVE - sum(sizes[name] for name in others)
    if FINDING in attributes and left > 0:
        few = red_reruns(group_tests(before, after, FINDING, left), reruns=reruns)
        few = np.any([few, *(red[name] for name in others)], axis=0)
        print(f"| {TWELVE} of them | {TWELVE} | {few.sum()} of {reruns} |")


def print_losses(
    before: Mapping[str, Any], after: Mapping[str, Any], *, reruns: int = RERUNS
) -> None:
    """Print how often the smallest group by each attribute turns red when it alone loses recall.

    Of the model that retrieves best; where a group hits less than it is to lose, it loses all.
    """
    print()
    print("| the group that loses at every level | queries | its R@10 |", end="")
    print("".join(f" {100 * loss:g} pt red |" for loss in LOSSES))
    print("|---|---:|---:|" + "---:|" * len(LOSSES))
    for name in before["members"]:
        tests = group_tests(before, after, name)
        best = max(tests, key=lambda test: sum(int(bits.sum()) for bits, _ in test.hits))
        group, own = min(best.groups.items(), key=lambda item: int(item[1].sum()))
        clean = next(b for c, (b, _) in zip(best.cells, best.hits, strict=True) if c.k == 10)
        red = [
            int(red_reruns([best], group=group, loss=loss, reruns=reruns).sum()) for loss in LOSSES
        ]
        counts = " | ".join(f"{count} of {reruns}" for count in red)
        print(f"| {name} = {group} | {own.sum()} | {100 * clean[own].mean():.0f} % | {counts} |")


def significance_of(loss: float, queries: int, flips: int) -> float:
    """McNemar p of a true loss with innocent flips around it (expected counts)."""
    return mcnemar(round(loss * queries + flips / 2), round(flips / 2))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args()
    documents = [json.loads(path.read_text()) for path in (options.before, options.after)]
    before, after = (document["cells"] for document in documents)
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
    if documents[0].get("members"):
        print_groups(*documents)
        print_losses(*documents)


if __name__ == "__main__":
    main()
