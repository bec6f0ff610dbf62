"""Verdicts: baseline + result + provenance -> same, within tolerance, regressed, improved, new."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.engine.results import CellResult
from pytest_occlusion.gate.provenance import Provenance, changes, shown_change
from pytest_occlusion.occlusion.levels import level_sentence
from pytest_occlusion.retrieval.significance import mcnemar, sign_flip

SAME, WITHIN, REGRESSED, IMPROVED, NEW = (
    "same",
    "within-tolerance",
    "regressed",
    "improved",
    "new",
)
CHANGED = (REGRESSED, IMPROVED)
"""Verdicts that turn a gated cell red."""

REPEATABILITY = 2.8
"""1.96 x sqrt(2): the repeatability limit in standard deviations (ISO 5725-6)."""

ALPHA = 0.05
"""Chance of any false alarm among the cells of a model, for ``significant-regression``."""


@dataclass(frozen=True)
class Baseline:
    """What a snapshot holds of one cell.

    Attributes:
        hits: Accepted hits.
        queries: Queries they are out of.
        hit_queries: bool ``[queries]``, which ones; ``None`` where the snapshot does not say.
        provenance: Under what they were accepted; ``None`` where the snapshot does not say.
        first: Hits that were accepted first of all.
        spread: Standard deviation of the hits over calibration runs, if there were any.
    """

    hits: int
    queries: int
    hit_queries: NDArray[np.bool_] | None
    provenance: Provenance | None
    first: int | None = None
    spread: float | None = None

    @property
    def calibrated(self) -> int | None:
        """Repeatability limit in queries: two runs differ by more in one case of twenty."""
        return None if self.spread is None else max(1, math.ceil(REPEATABILITY * self.spread))


@dataclass(frozen=True)
class Verdict:
    """How a cell stands against its baseline.

    Attributes:
        kind: ``same``, ``within-tolerance``, ``regressed``, ``improved`` or ``new``.
        tolerance: Queries that might change, net.
        baseline: What was compared with, if anything.
        lost: Queries that hit in the baseline and miss now; ``None`` where that cannot be told.
        gained: The other way round.
        p_value: Exact two-sided McNemar test on those queries.
    """

    kind: str
    tolerance: int
    baseline: Baseline | None = None
    lost: int | None = None
    gained: int | None = None
    p_value: float | None = None


def allowed_flips(tolerance: float, queries: int) -> int:
    """The tolerance in queries: shares round up, so that a set of any size allows one."""
    if tolerance >= 1:
        return int(tolerance)
    return math.ceil(round(tolerance * queries, 9))  # 0.07 * 100 is 7.000000000000001


def within(hits: int, queries: int, baseline_hits: int, baseline_queries: int, flips: int) -> bool:
    """Whether a cell passes: the one rule, used by verdicts and snapshots alike."""
    return queries == baseline_queries and abs(hits - baseline_hits) <= flips


def kind_of(hits: int, queries: int, baseline_hits: int, baseline_queries: int, flips: int) -> str:
    """The verdict's name; another number of queries never passes, whatever the recall."""
    if within(hits, queries, baseline_hits, baseline_queries, flips):
        return SAME if hits == baseline_hits else WITHIN
    better = hits * baseline_queries > baseline_hits * queries
    return IMPROVED if better else REGRESSED


def judge(result: CellResult, baseline: Baseline | None, *, tolerance: float) -> Verdict:
    """Compare a result with its baseline.

    Args:
        result: What was measured.
        baseline: What was accepted, or ``None``.
        tolerance: Queries, or a share of them below 1.
    """
    flips = allowed_flips(tolerance, result.queries)
    if baseline is None:
        return Verdict(NEW, flips)
    kind = kind_of(result.hits, result.queries, baseline.hits, baseline.queries, flips)
    if baseline.hit_queries is None or len(baseline.hit_queries) != len(result.hit_queries):
        return Verdict(kind, flips, baseline)
    lost = int((baseline.hit_queries & ~result.hit_queries).sum())
    gained = int((~baseline.hit_queries & result.hit_queries).sum())
    return Verdict(kind, flips, baseline, lost, gained, mcnemar(lost, gained))


def turns_red(kind: str, p_adjusted: float | None, fail_on: str) -> bool:
    """Whether a verdict fails its test.

    Args:
        kind: The verdict.
        p_adjusted: Holm-adjusted p value of the cell; ``None`` where flips cannot be told.
        fail_on: ``any``, ``regression`` or ``significant-regression``.
    """
    if kind == NEW:
        return True
    if fail_on == "any":
        return kind in CHANGED
    if fail_on == "regression" or p_adjusted is None:
        return kind == REGRESSED
    return kind == REGRESSED and p_adjusted < ALPHA


def drift(result: CellResult, verdict: Verdict) -> int | None:
    """Hits gained or lost since the first accepted value, where that exceeds the tolerance."""
    baseline = verdict.baseline
    if baseline is None or baseline.first is None or baseline.queries != result.queries:
        return None
    if baseline.first == baseline.hits:  # never accepted anew: the verdict itself says it all
        return None
    moved = result.hits - baseline.first
    return moved if abs(moved) > verdict.tolerance else None


def explain(
    result: CellResult,
    verdict: Verdict,
    current: Provenance,
    *,
    accept: str,
    flipped: Sequence[str] = (),
) -> list[str]:
    """The failure text of a cell: what was expected, what came, why it may be, what to do.

    Args:
        result: What was measured.
        verdict: From :func:`judge`.
        current: Provenance of the result.
        accept: The command that makes the result the baseline.
        flipped: Lines that name the queries that flipped.
    """
    cell = result.cell
    level = level_sentence(cell.occluder, cell.ratio)
    name = f"Recall@{cell.k} of {cell.model} at {level}"
    if verdict.baseline is None:
        return [
            f"{name} has no baseline: measured {percent(result.recall)} "
            f"({result.hits:,} of {result.queries:,} queries)",
            f"  accept: {accept}",
        ]
    old = verdict.baseline
    before = old.hits / old.queries if old.queries else 0.0
    lines = [
        f"{name} {'fell' if verdict.kind == REGRESSED else 'rose'} beyond the tolerance",
        "",
        f"  {'':<12}{'recall':>10}{'hits':>9}{'queries':>10}",
        f"  {'baseline':<12}{percent(before):>10}{old.hits:>9,}{old.queries:>10,}",
        f"  {'this run':<12}{percent(result.recall):>10}{result.hits:>9,}{result.queries:>10,}",
        f"  {'difference':<12}{points(result.recall - before):>10}{result.hits - old.hits:>+9,}"
        f"   (tolerance {verdict.tolerance})",
    ]
    if verdict.lost is not None:
        lines.append(
            f"  {'flipped':<12}{verdict.lost:,} queries lost, {verdict.gained:,} gained; exact "
            f"McNemar p = {verdict.p_value:.2g}"
        )
    lines += flipped
    lines += ["", *triage(old.provenance, current), "", f"  accept: {accept}"]
    return lines


WIDTH = 80
"""Columns that explanations keep to."""


def triage(before: Provenance | None, after: Provenance) -> list[str]:
    """What changed since the baseline was accepted, and what that suggests."""
    if before is None:
        return ["  the snapshot does not say what it was measured with"]
    changed, unchanged = changes(before, after)
    if not changed:
        return [
            "  nothing recorded has changed (weights, corpus, protocol, environment): the run is "
            "not",
            "  deterministic, or a result was altered outside of it",
        ]
    lines = []
    for name, values in changed.items():
        old, new = shown_change(name, *values)
        head = f"  {name + ' changed':<20}{old}"
        fits = len(head) + len(new) + 4 <= WIDTH
        lines += [f"{head} -> {new}"] if fits else [head, f"{'':<22}-> {new}"]
    if unchanged:
        lines.append(f"  {'unchanged':<20}{', '.join(unchanged)}")
    head, rest = f"  {'suggests':<20}", " " * 22
    lines += textwrap.wrap(suggestion(changed), WIDTH, initial_indent=head, subsequent_indent=rest)
    return lines


def suggestion(changed: Collection[str]) -> str:
    """What it suggests that these fields of the provenance changed and no others.

    Args:
        changed: Names of fields of ``provenance.Provenance``, at least one.
    """
    asked = [name for name in ("corpus", "protocol") if name in changed]
    if asked:
        return f"another {' and '.join(asked)}: the two numbers do not answer one question"
    if "weights" not in changed:
        return "the model is the same: look for the cause in what computes it"
    if len(changed) == 1:
        return "the new weights retrieve differently: nothing else changed"
    return "new weights or what computes them: measure the old weights here to tell"


def percent(recall: float) -> str:
    """``0.3124`` -> ``31.2 %``."""
    return f"{100 * recall:.1f} %"


def points(difference: float) -> str:
    """``-0.025`` -> ``-2.5 pt``."""
    return f"{100 * difference:+.1f} pt"


@dataclass(frozen=True)
class CurveVerdict:
    """How a curve stands against the baselines of its cells.

    Attributes:
        kind: As :class:`Verdict`; ``new`` unless every cell of the curve has a baseline.
        difference: Mean change in hits over the ratios.
        tolerance: Mean change that is allowed.
        p_value: Sign-flip permutation test on the change in the area under the curve, patients
            flipping together; ``None`` where the baselines do not say which queries hit.
    """

    kind: str
    difference: float
    tolerance: float
    p_value: float | None = None


def judge_curve(
    results: Sequence[CellResult],
    baselines: Sequence[Baseline | None],
    *,
    tolerance: float,
    patients: NDArray[np.int64] | None = None,
) -> CurveVerdict:
    """Compare the mean hits over a curve with the baselines'.

    Flips at different ratios partly cancel in the mean, so it is held to half of a cell's
    tolerance: a small loss at every ratio, which no single cell would show, is caught.
    """
    flips = max(1.0, allowed_flips(tolerance, results[0].queries) / 2)
    known = [baseline for baseline in baselines if baseline is not None]
    same_queries = all(
        baseline.queries == result.queries for baseline, result in zip(known, results, strict=False)
    )
    if len(known) != len(results) or not same_queries:
        return CurveVerdict(NEW, 0.0, flips)
    changes_in_hits = [
        result.hits - baseline.hits for result, baseline in zip(results, known, strict=True)
    ]
    difference = float(np.mean(changes_in_hits))
    if abs(difference) <= flips:
        kind = SAME if not any(changes_in_hits) else WITHIN
    else:
        kind = REGRESSED if difference < 0 else IMPROVED
    return CurveVerdict(kind, difference, flips, _area_p_value(results, known, patients))


def _area_p_value(
    results: Sequence[CellResult],
    baselines: Sequence[Baseline],
    patients: NDArray[np.int64] | None,
) -> float | None:
    if any(baseline.hit_queries is None for baseline in baselines):
        return None
    change = np.stack(
        [
            result.hit_queries.astype(np.float64) - baseline.hit_queries
            for result, baseline in zip(results, baselines, strict=True)
            if baseline.hit_queries is not None
        ]
    )
    ratios = np.asarray([result.cell.ratio for result in results])
    areas = change[0]
    if len(ratios) > 1:
        areas = ((change[1:] + change[:-1]) / 2 * np.diff(ratios)[:, None]).sum(axis=0)
    return sign_flip(areas, patients)
