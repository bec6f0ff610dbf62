"""Verdicts on groups: did anything change for some queries that the whole does not show?

Worked out from the bits that baselines hold anyway. A group has few queries, so a change counts
only if it is beyond the tolerance and significant as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.corpora.labels import SMALLEST
from pytest_occlusion.gate.verdicts import (
    ALPHA,
    CHANGED,
    IMPROVED,
    REGRESSED,
    SAME,
    WITHIN,
    allowed_in_mean,
)
from pytest_occlusion.insight.groups import GroupResult
from pytest_occlusion.occlusion.levels import level_text
from pytest_occlusion.retrieval.degradation import area_under
from pytest_occlusion.retrieval.significance import holm, mcnemar, sign_flip
from pytest_occlusion.suite.grid import Curve

Bits = NDArray[np.bool_]

SHARE = ALPHA / 2
"""Chance of any false alarm among the cells of a test's groups, and again among their curves."""

TOLD = 4
"""Cells of a group that a failure lists."""


@dataclass(frozen=True)
class Flips:
    """What is known of one cell: its bits in the baseline and now, and what it tolerates."""

    before: Bits  # ``[queries]``
    now: Bits
    tolerance: int  # queries of the whole cell that may change
    seeds: int = 1  # mask seeds, under each of which the same queries are asked


@dataclass(frozen=True)
class GroupVerdict:
    """How one group of one cell stands against the baseline."""

    kind: str  # ``same``, ``within-tolerance``, ``regressed`` or ``improved``
    tolerance: int  # queries that may change, net
    baseline_hits: int
    lost: int
    gained: int
    p_value: float  # exact McNemar; a query asked under several mask seeds counts once
    p_adjusted: float  # Holm's, over the groups and cells of a test


@dataclass(frozen=True)
class GroupCurve:
    """A group at one k whose mean hits over the levels changed."""

    group: str
    k: int
    kind: str  # ``regressed`` or ``improved``
    difference: float  # mean change in hits
    tolerance: float
    p_value: float  # sign-flip test on the area, patients flipping together
    p_adjusted: float  # Holm's, over the groups and ks of a test


@dataclass(frozen=True)
class Judgement:
    """What a test of groups came to."""

    cells: Sequence[GroupVerdict | None]  # of each result; ``None`` where it is not judged
    curves: Sequence[GroupCurve] = ()  # those that changed
    vanished: Mapping[str, int] = field(default_factory=dict)  # group -> queries when accepted

    def red(self, fail_on: str) -> bool:
        """Whether the test fails; see ``verdicts.turns_red``."""
        kinds = {one.kind for one in (*self.cells, *self.curves) if one is not None}
        counted = CHANGED if fail_on == "any" else (REGRESSED,)
        return bool(self.vanished) or not kinds.isdisjoint(counted)


def judge_groups(
    results: Sequence[GroupResult],
    flips: Sequence[Flips | None],
    members: Mapping[str, Bits],
    patients: NDArray[np.int64],
    *,
    smallest: int,
) -> Judgement:
    """Judge the groups of one curve by one attribute.

    Args:
        results: All of them.
        flips: Of the cell of each result.
        members: Group -> ``[queries]``, once per mask seed as the bits.
        patients: Of each query, ``[queries]``.
        smallest: Queries of a group that is judged.
    """
    found: list[GroupVerdict | None] = []
    for result, both in zip(results, flips, strict=True):
        own = members[result.group]
        found.append(None if both is None or own.sum() < smallest else _judged(both, own))
    adjusted = holm([None if one is None else one.p_value for one in found])
    cells = [_significant(one, p) for one, p in zip(found, adjusted, strict=True)]
    return Judgement(cells, _curves(results, flips, cells, members, patients))


def _limit(both: Flips, own: Bits) -> int:
    """Queries of a group that may change: its share of what the whole cell tolerates."""
    return max(1, math.ceil(both.tolerance * int(own.sum()) / len(own)))


def _judged(both: Flips, own: Bits) -> GroupVerdict:
    before, now = both.before[own], both.now[own]
    lost, gained = int((before & ~now).sum()), int((~before & now).sum())
    limit = _limit(both, own)
    kind = SAME if not (lost or gained) else WITHIN
    if abs(gained - lost) > limit:
        kind = REGRESSED if lost > gained else IMPROVED
    return GroupVerdict(kind, limit, int(before.sum()), lost, gained, _p_value(both, own), 1.0)


def _p_value(both: Flips, own: Bits) -> float:
    """Exact McNemar of queries by what each lost or gained on balance over the mask seeds.

    With nothing blocked all seeds show the same picture: one flip would count as many.
    """
    change = (both.now.astype(np.int64) - both.before) * own
    balance = change.reshape(both.seeds, -1).sum(axis=0)
    return mcnemar(int((balance < 0).sum()), int((balance > 0).sum()))


def _significant(one: GroupVerdict | None, p_adjusted: float | None) -> GroupVerdict | None:
    """The same with its adjusted p value; a change that is not significant is no change."""
    if one is None or p_adjusted is None:
        return None
    kind = WITHIN if one.kind in CHANGED and p_adjusted >= SHARE else one.kind
    own = (one.tolerance, one.baseline_hits, one.lost, one.gained, one.p_value)
    return GroupVerdict(kind, *own, p_adjusted)


def _curves(
    results: Sequence[GroupResult],
    flips: Sequence[Flips | None],
    cells: Sequence[GroupVerdict | None],
    members: Mapping[str, Bits],
    patients: NDArray[np.int64],
) -> list[GroupCurve]:
    """Curves of groups that moved further than they may in the mean, and significantly."""
    rows: dict[tuple[str, int], list[int]] = {}
    for at, result in enumerate(results):
        rows.setdefault((result.group, result.cell.k), []).append(at)
    moved: dict[tuple[str, int], tuple[float, float, float]] = {}
    judged: list[tuple[str, int]] = []
    for key, own in rows.items():
        both = [flips[at] for at in own]
        if len(own) < 2 or any(cells[at] is None for at in own):
            continue
        judged.append(key)
        there = members[key[0]]
        known = [one for one in both if one is not None]
        areas = np.stack([one.now[there].astype(np.float64) - one.before[there] for one in known])
        difference, limit = float(areas.sum(1).mean()), allowed_in_mean(_limit(known[0], there))
        if abs(difference) > limit:
            levels = [results[at].cell.ratio for at in own]
            p_value = sign_flip(area_under(levels, areas), patients[there])
            moved[key] = difference, limit, p_value
    # Those that did not move count as the others of the family.
    adjusted = holm([moved[key][2] if key in moved else 1.0 for key in judged])
    return [
        GroupCurve(*key, REGRESSED if moved[key][0] < 0 else IMPROVED, *moved[key], p)
        for key, p in zip(judged, adjusted, strict=True)
        if key in moved and p is not None and p < SHARE
    ]


def explain_groups(
    curve: Curve,
    attribute: str,
    results: Sequence[GroupResult],
    judgement: Judgement,
    *,
    triage: Sequence[str],
    accept: str,
) -> list[str]:
    """The failure text: which groups, what was expected and what came, why, and what to do."""
    changed = [
        (result, verdict)
        for result, verdict in zip(results, judgement.cells, strict=True)
        if verdict is not None and verdict.kind in CHANGED
    ]
    found = {verdict.kind for _, verdict in changed} | {one.kind for one in judgement.curves}
    told = [kind for kind in CHANGED if kind in found] + ["vanished"] * bool(judgement.vanished)
    lines = [
        f"groups by {attribute}, {curve.model}, {curve.occluder}: {' and '.join(told)}",
        f"  accept: {accept}",
    ]
    groups = [result.group for result, _ in changed] + [one.group for one in judgement.curves]
    for group in dict.fromkeys(groups):
        size = next(result.queries for result in results if result.group == group)
        lines += ["", f"  {attribute} = {group}, {size:,} queries"]
        own = [(result.cell, verdict) for result, verdict in changed if result.group == group]
        if own:
            lines.append(
                f"  {'':<18}{'baseline':>10}{'this run':>10}{'lost':>7}{'gained':>8}"
                f"{'p':>9}{'p (Holm)':>10}"
            )
        for cell, verdict in sorted(own, key=lambda one: one[1].p_value)[:TOLD]:
            now = verdict.baseline_hits + verdict.gained - verdict.lost
            lines.append(
                f"  {f'R@{cell.k} {level_text(cell.occluder, cell.ratio)}':<18}"
                f"{100 * verdict.baseline_hits / size:>8.1f} %{100 * now / size:>8.1f} %"
                f"{verdict.lost:>7,}{verdict.gained:>8,}"
                f"{verdict.p_value:>9.1g}{verdict.p_adjusted:>10.1g}"
            )
        if len(own) > TOLD:
            lines.append(f"  ... and {len(own) - TOLD} more of its cells")
        lines += [
            f"  {f'R@{one.k} all levels':<18}{one.difference:+.1f} hits on average (tolerance "
            f"{one.tolerance:g}); p {one.p_value:.1g}, Holm {one.p_adjusted:.1g}"
            for one in [curve for curve in judgement.curves if curve.group == group][:TOLD]
        ]
    for group, size in judgement.vanished.items():
        before = f"{attribute} = {group}: {size:,} queries when accepted"
        lines += ["", f"  {before}; now none, or fewer than {SMALLEST} patients"]
    return [*lines, "", *triage]
