"""Verdicts: baseline + result + provenance -> same, within tolerance, regressed, improved, new."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.engine.results import CellResult
from pytest_occlusion.gate.provenance import Provenance, changes
from pytest_occlusion.occlusion.levels import level_sentence
from pytest_occlusion.retrieval.degradation import area_under
from pytest_occlusion.retrieval.significance import mcnemar, sign_flip

SAME, WITHIN, NEW = "same", "within-tolerance", "new"
REGRESSED, IMPROVED = "regressed", "improved"
CHANGED = (REGRESSED, IMPROVED)
"""Verdicts that turn a gated cell red."""

REPEATABILITY = 2.8
"""1.96 x sqrt(2): the repeatability limit in standard deviations (ISO 5725-6)."""

WIDTH = 80
"""Columns that explanations keep to."""

ALPHA = 0.05
"""Chance of any false alarm among the cells of a model, for ``significant-regression``."""


@dataclass(frozen=True)
class Baseline:
    """What a snapshot holds of one cell; ``None`` where it does not say."""

    hits: int  # accepted
    queries: int  # that they are out of
    hit_queries: NDArray[np.bool_] | None  # ``[queries]``, which ones
    provenance: Provenance | None  # under what they were accepted
    first: int | None = None  # hits that were accepted first of all
    spread: float | None = None  # standard deviation of the hits over calibration runs

    @property
    def recall(self) -> float:
        """Share of the queries that hit; 0 of none."""
        return self.hits / self.queries if self.queries else 0.0

    @property
    def calibrated(self) -> int | None:
        """Repeatability limit in queries: two runs differ by more in one case of twenty."""
        return None if self.spread is None else max(1, math.ceil(REPEATABILITY * self.spread))


@dataclass(frozen=True)
class Verdict:
    """How a cell stands against its baseline; ``None`` where flips cannot be told."""

    kind: str  # ``same``, ``within-tolerance``, ``regressed``, ``improved`` or ``new``
    tolerance: int  # queries that might change, net
    baseline: Baseline | None = None  # what was compared with, if anything
    lost: int | None = None  # queries that hit in the baseline and miss now
    gained: int | None = None  # the other way round
    p_value: float | None = None  # exact two-sided McNemar test on those queries


def allowed_flips(tolerance: float, queries: int) -> int:
    """The tolerance in queries: shares round up, so that a set of any size allows one."""
    if tolerance >= 1:
        return int(tolerance)
    return math.ceil(round(tolerance * queries, 9))  # 0.07 * 100 is 7.000000000000001


def allowed_in_mean(flips: float) -> float:
    """What hits may change in the mean over a curve of whose cells each allows so many flips.

    Flips at different ratios partly cancel in the mean, so it is held to half: a small loss at
    every ratio, which no single cell would show, is caught.
    """
    return max(1.0, flips / 2)


def within(hits: int, queries: int, baseline_hits: int, baseline_queries: int, flips: int) -> bool:
    """Whether a cell passes: the one rule, used by verdicts and snapshots alike."""
    return queries == baseline_queries and abs(hits - baseline_hits) <= flips


def judge(result: CellResult | Baseline, baseline: Baseline | None, *, tolerance: float) -> Verdict:
    """Compare what was measured, or another baseline, with what was accepted, if anything.

    The tolerance is in queries, or a share of them below 1. Another number of queries never passes,
    whatever the recall.
    """
    flips = allowed_flips(tolerance, result.queries)
    if baseline is None:
        return Verdict(NEW, flips)
    if within(result.hits, result.queries, baseline.hits, baseline.queries, flips):
        kind = SAME if result.hits == baseline.hits else WITHIN
    else:
        better = result.hits * baseline.queries > baseline.hits * result.queries
        kind = IMPROVED if better else REGRESSED
    before, now = baseline.hit_queries, result.hit_queries
    if before is None or now is None or len(before) != len(now):
        return Verdict(kind, flips, baseline)
    lost, gained = int((before & ~now).sum()), int((~before & now).sum())
    return Verdict(kind, flips, baseline, lost, gained, mcnemar(lost, gained))


def turns_red(kind: str, p_adjusted: float | None, fail_on: str) -> bool:
    """Whether a verdict fails its test; where flips cannot be told, any regression is significant.

    ``fail_on`` is ``any``, ``regression`` or ``significant-regression``.
    """
    if kind == NEW or fail_on == "any":
        return kind == NEW or kind in CHANGED
    significant = fail_on == "regression" or p_adjusted is None or p_adjusted < ALPHA
    return kind == REGRESSED and significant


def drift(result: CellResult, verdict: Verdict) -> int | None:
    """Hits gained or lost since the first accepted value, where that exceeds the tolerance."""
    old = verdict.baseline
    # Where the first is still the baseline, the verdict itself says it all.
    if old is None or old.first in (None, old.hits) or old.queries != result.queries:
        return None
    moved = result.hits - (old.first or 0)
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

    ``accept`` is the command that makes the result the baseline, ``flipped`` are lines that name
    the queries that flipped.
    """
    cell, old = result.cell, verdict.baseline
    name = f"Recall@{cell.k} of {cell.model} at {level_sentence(cell.occluder, cell.ratio)}"
    if old is None:
        return [
            f"{name} has no baseline: measured {100 * result.recall:.1f} % "
            f"({result.hits:,} of {result.queries:,} queries)",
            f"  accept: {accept}",
        ]
    lines = [
        f"{name} {'fell' if verdict.kind == REGRESSED else 'rose'} beyond the tolerance",
        f"  accept: {accept}",
        "",
        f"  {'':<12}{'recall':>10}{'hits':>9}{'queries':>10}",
        f"  {'baseline':<12}{100 * old.recall:>8.1f} %{old.hits:>9,}{old.queries:>10,}",
        f"  {'this run':<12}{100 * result.recall:>8.1f} %{result.hits:>9,}{result.queries:>10,}",
        f"  {'difference':<12}{100 * (result.recall - old.recall):>+7.1f} pt"
        f"{result.hits - old.hits:>+9,}   (tolerance {verdict.tolerance})",
    ]
    if verdict.lost is not None:
        lines.append(
            f"  {'flipped':<12}{verdict.lost:,} queries lost, {verdict.gained:,} gained; exact "
            f"McNemar p = {verdict.p_value:.2g}"
        )
    return [*lines, *flipped, "", *triage(old.provenance, current)]


def triage(before: Provenance | None, after: Provenance) -> list[str]:
    """What changed since the baseline was accepted, and what that suggests."""
    if before is None:
        return ["  the snapshot does not say what it was measured with"]
    changed, unchanged = changes(asdict(before), asdict(after))
    if not changed:
        return [
            "  nothing recorded has changed (weights, corpus, protocol, environment): the run is "
            "not",
            "  deterministic, or a result was altered outside of it",
        ]
    lines = []
    for name, old, new in changed:
        head = f"  {name + ' changed':<20}{old}"
        fits = len(head) + len(new) + 4 <= WIDTH
        lines += [f"{head} -> {new}"] if fits else [head, f"{'':<22}-> {new}"]
    if unchanged:
        lines.append(f"  {'unchanged':<20}{', '.join(unchanged)}")
    told = suggestion([name for name, _, _ in changed])
    head, rest = f"  {'suggests':<20}", " " * 22
    lines += textwrap.wrap(told, WIDTH, initial_indent=head, subsequent_indent=rest)
    return lines


def suggestion(changed: Collection[str]) -> str:
    """What it suggests that these fields of ``provenance.Provenance`` changed and no others."""
    asked = [name for name in ("corpus", "protocol") if name in changed]
    if asked:
        return f"another {' and '.join(asked)}: the two numbers do not answer one question"
    if "weights" not in changed:
        return "the model is the same: look for the cause in what computes it"
    if len(changed) == 1:
        return "the new weights retrieve differently: nothing else changed"
    return "new weights or what computes them: measure the old weights here to tell"


@dataclass(frozen=True)
class CurveVerdict:
    """How a curve stands against the baselines of its cells; as :class:`Verdict`.

    The p value is of a sign-flip permutation test on the change in the area under the curve,
    patients flipping together; ``None`` where the baselines do not say which queries hit.
    """

    kind: str  # ``new`` unless every cell of the curve has a baseline
    difference: float  # mean change in hits over the ratios
    tolerance: float  # mean change that is allowed
    p_value: float | None = None


def judge_curve(
    results: Sequence[CellResult],
    baselines: Sequence[Baseline | None],
    *,
    tolerance: float,
    patients: NDArray[np.int64] | None = None,
) -> CurveVerdict:
    """Compare the mean hits over a curve with the baselines'; see :func:`allowed_in_mean`."""
    flips = allowed_in_mean(allowed_flips(tolerance, results[0].queries))
    pairs = [(now, old) for now, old in zip(results, baselines, strict=True) if old is not None]
    if len(pairs) != len(results) or any(now.queries != old.queries for now, old in pairs):
        return CurveVerdict(NEW, 0.0, flips)
    moved = [now.hits - old.hits for now, old in pairs]
    difference = float(np.mean(moved))
    if abs(difference) <= flips:
        kind = WITHIN if any(moved) else SAME
    else:
        kind = REGRESSED if difference < 0 else IMPROVED
    changed = [
        now.hit_queries.astype(np.float64) - old.hit_queries
        for now, old in pairs
        if old.hit_queries is not None
    ]
    if len(changed) != len(pairs):
        return CurveVerdict(kind, difference, flips)
    areas, ratios = np.stack(changed), [now.cell.ratio for now in results]
    areas = area_under(ratios, areas) if len(ratios) > 1 else areas[0]
    return CurveVerdict(kind, difference, flips, sign_flip(areas, patients))


def explain_curve(
    name: str,
    moved: Mapping[int, CurveVerdict],
    recalls: Mapping[int, float],
    *,
    queries: int,
    accept: str,
) -> list[str]:
    """The failure text of a curve: for each k that moved the means over the ratios.

    ``recalls`` are those of this run, ``accept`` is the command that makes them the baseline.
    """
    lines = [
        f"the curve {name} has moved (mean over the ratios; sign-flip test)",
        f"  accept: {accept}",
        "",
        f"  {'':<7}{'baseline':>10}{'this run':>10}{'hits':>10}{'tolerance':>11}{'p':>9}",
    ]
    for k, verdict in moved.items():
        before = recalls[k] - verdict.difference / queries
        p = "" if verdict.p_value is None else f"{verdict.p_value:.1g}"
        lines.append(
            f"  {f'R@{k}':<7}{100 * before:>8.1f} %{100 * recalls[k]:>8.1f} %"
            f"{verdict.difference:>+10,.1f}{verdict.tolerance:>11g}{p:>9}  {verdict.kind}"
        )
    return lines
