"""What a parametrized test holds in its hands: a cell or a curve, its result, its verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pytest_occlusion.corpora.groups import Grouping
from pytest_occlusion.engine.results import CellResult
from pytest_occlusion.errors import UnacceptedError
from pytest_occlusion.gate.groups import Judgement, explain_groups, judge_groups
from pytest_occlusion.gate.judging import Gate
from pytest_occlusion.gate.provenance import Provenance, provenance
from pytest_occlusion.gate.snapshots import (
    DamagedError,
    expected_line,
    groups_data,
    groups_index,
    snapshot_data,
    snapshot_index,
    stored_groups,
)
from pytest_occlusion.gate.verdicts import (
    CHANGED,
    SAME,
    WITHIN,
    CurveVerdict,
    Verdict,
    explain,
    explain_curve,
    judge_curve,
    triage,
    turns_red,
)
from pytest_occlusion.insight.claims import CLAIMS, OPPOSITE, Finding, described
from pytest_occlusion.insight.groups import GroupResult, group_results
from pytest_occlusion.suite.grid import Cell, Curve, GroupedCurve, cells_of_curve
from pytest_occlusion.suite.settings import Settings

T = TypeVar("T")

NAMED = 4
"""How many flipped queries of a kind a failure names."""


@dataclass(frozen=True)
class _Check:
    """What cells and curves under test have in common."""

    gate: Gate  # where results and verdicts come from
    folder: Path  # of the test module; baselines lie beside it
    updating: bool  # whether ``--snapshot-update`` was given
    accept: str  # the command that accepts this model's results

    @property
    def settings(self) -> Settings:
        """The run's."""
        return self.gate.session.settings

    def _stored_or(self, nothing: T, read: Callable[[], T]) -> T:
        """What a snapshot file says; ``nothing`` where it is damaged and the update repairs it."""
        try:
            return read()
        except DamagedError:
            if not self.updating:
                raise
            return nothing


@dataclass(frozen=True)
class CellCheck(_Check):
    """One cell under test."""

    cell: Cell
    matches: Callable[[dict[str, Any], str], bool]
    """Compares plain data with the stored snapshot of a name, and records an update when pytest was
    told to: syrupy's part."""

    @cached_property
    def result(self) -> CellResult:
        """What was measured; the first cell of a model takes long, the others look it up."""
        return self.gate.session.result(self.cell)

    @property
    def gated(self) -> bool:
        """Whether the cell has a baseline to meet; see ``Settings.gated``."""
        return self.cell in self.settings.gated

    @cached_property
    def provenance(self) -> Provenance:
        """Where the result comes from."""
        _ = self.result
        return provenance(self.gate.session, self.cell)

    @cached_property
    def verdict(self) -> Verdict:
        """How the result stands against the baseline."""
        baseline = self._stored_or(None, partial(self.gate.baseline, self.folder, self.cell))
        return self.gate.verdict(self.cell, baseline)

    @property
    def writes(self) -> bool:
        """Whether this run stores the cell."""
        moved = self.verdict.kind not in (SAME, WITHIN)
        return self.updating and self.gated and (moved or self.settings.calibrate > 0)

    def stored(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Where data of the cell are stored and what stands there afterwards; plain values."""
        file = str(self.gate.file(self.folder, self.cell.model))
        return {"file": file, "cell": self.cell.id, "line": expected_line(data)}

    @property
    def red(self) -> bool:
        """Whether the verdict fails the test."""
        fail_on, p_adjusted = self.settings.fail_on, None
        if fail_on == "significant-regression" and self.verdict.p_value is not None:
            p_adjusted = self.gate.adjusted_p_values(self.folder, self.cell.model)[self.cell]
        return turns_red(self.verdict.kind, p_adjusted, fail_on)

    def assert_accepted(self) -> None:
        """Fail unless the result lies within the tolerance of its baseline.

        A cell that the suite itself does not hold (see :attr:`gated`) always passes.

        Raises:
            UnacceptedError: It does not, or has no baseline yet; the message is a small table with
                the command that accepts.
        """
        if not self.gated:
            return
        result, verdict, origin = self.result, self.verdict, self.provenance
        data = snapshot_data(
            result,
            origin,
            tolerance=verdict.tolerance,
            accepted=not self.updating and not self.red,
            spread=self.gate.spread(self.cell) if self.settings.calibrate else None,
        )
        if not self.matches(
            data, snapshot_index(self.settings.suite, self.cell.model, self.cell.id)
        ):
            flipped = self._flipped()
            told = explain(result, verdict, origin, accept=self.accept, flipped=flipped)
            raise UnacceptedError("\n".join(told), model=self.cell.model)

    def _flipped(self) -> list[str]:
        """Names of some queries that flipped: opaque, unless the user asked for more."""
        baseline = self.verdict.baseline
        if baseline is None or baseline.hit_queries is None or self.verdict.lost is None:
            return []
        before, now = baseline.hit_queries, self.result.hit_queries
        most = None if self.settings.show_queries else NAMED
        lines = []
        for label, flips in (("lost", before & ~now), ("gained", ~before & now)):
            places = np.flatnonzero(flips).tolist()
            if places:
                named = [self.gate.session.query_name(self.cell, at) for at in places[:most]]
                if len(named) < len(places):
                    named.append(f"... {len(places) - len(named)} more")
                lines.append(f"  {label:<12}{', '.join(named)}")
        return lines


@dataclass(frozen=True)
class CurveCheck(_Check):
    """One curve (model, direction, occluder) under test."""

    curve: Curve

    def results(self, k: int) -> list[CellResult]:
        """Results over the ratios, in ascending order."""
        return self.gate.session.curve(self.curve, k)

    def verdict(self, k: int) -> CurveVerdict:
        """How the mean hits over the ratios stand against those of the baselines."""
        results = self.results(k)
        baselines = [self.gate.baseline(self.folder, result.cell) for result in results]
        limits = [one.calibrated for one in baselines if one and one.calibrated is not None]
        first, calibrated = results[0].cell, max(limits, default=None)
        patients = self.gate.session.resamples(self.curve.direction).cluster
        return judge_curve(
            results,
            baselines,
            tolerance=self.settings.tolerance_of(first.id, first.model, calibrated),
            patients=np.tile(patients, len(results[0].hit_queries) // len(patients)),
        )

    def assert_accepted(self) -> None:
        """Fail when a whole curve has moved by more than its tolerance.

        A curve without complete baselines passes: its cells say so themselves. During an update
        nothing is judged.

        Raises:
            UnacceptedError: Naming every k whose curve moved.
        """
        if self.updating:
            return
        verdicts = {k: self.verdict(k) for k in self.settings.grid.ks}
        moved = {
            k: verdict
            for k, verdict in verdicts.items()
            if verdict.kind in CHANGED
            and turns_red(verdict.kind, verdict.p_value, self.settings.fail_on)
        }
        if moved:
            told = explain_curve(
                self.curve.id,
                moved,
                {k: float(np.mean([one.recall for one in self.results(k)])) for k in moved},
                queries=self.results(self.settings.grid.ks[0])[0].queries,
                accept=self.accept,
            )
            means = (f"R@{k} {verdict.difference:+.1f}" for k, verdict in moved.items())
            raise UnacceptedError(
                "\n".join(told),
                model=self.curve.model,
                brief=f"curve {self.curve.id}: {', '.join(means)} hits in the mean",
            )


@dataclass(frozen=True)
class GroupCheck(_Check):
    """The groups by one attribute, of one curve, under test."""

    asked: GroupedCurve
    matches: Callable[[dict[str, Any], str, dict[str, Any]], bool]
    """As of :class:`CellCheck`; the last says where the data are stored."""

    @property
    def curve(self) -> Curve:
        """Whose cells are asked of every group."""
        return self.asked.curve

    @property
    def attribute(self) -> str:
        """By which the queries are grouped."""
        return self.asked.attribute

    @cached_property
    def grouping(self) -> Grouping:
        """Who is in which group."""
        return self.gate.session.grouping(self.attribute)

    @cached_property
    def results(self) -> list[GroupResult]:
        """Of every cell of the curve and every group."""
        return group_results(self.gate.session, self.curve, self.grouping)

    @property
    def cells(self) -> list[Cell]:
        """Of the curve, in the order of the grid."""
        return cells_of_curve(self.settings.grid, self.curve)

    @property
    def gated(self) -> bool:
        """Whether the groups are judged; see ``Settings.gated``."""
        judged = self.attribute in self.settings.gated_by
        return judged and not self.settings.gated.isdisjoint(self.cells)

    @cached_property
    def judgement(self) -> Judgement:
        """What they came to against the baselines; nothing where they are not gated."""
        if not self.gated:
            return Judgement([None] * len(self.results))
        session, seeds = self.gate.session, len(self.settings.seeds)
        flips = {
            cell: self._stored_or(None, partial(self.gate.flips, self.folder, cell))
            for cell in self.cells
        }
        found = judge_groups(
            self.results,
            [flips[result.cell] for result in self.results],
            {name: np.tile(own, seeds) for name, own in self.grouping.members.items()},
            np.tile(session.resamples(self.curve.direction).cluster, seeds),
            smallest=self.settings.smallest_group * seeds,
        )
        named = partial(stored_groups, self._file, self.attribute)
        stored: Mapping[str, int] = self._stored_or({}, named)
        return replace(
            found, vanished={n: size for n, size in stored.items() if n not in self.sizes}
        )

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Queries of every group, counted once."""
        return {name: int(own.sum()) for name, own in self.grouping.members.items()}

    @property
    def _file(self) -> Path:
        return self.gate.file(self.folder, self.curve.model)

    @property
    def undecided(self) -> list[Cell]:
        """Gated cells with a baseline that does not say which of the same queries hit."""
        cells = self.cells if self.gated else []
        stored = {cell: self.gate.baseline(self.folder, cell) for cell in cells}
        return [c for c in cells if stored[c] and self.gate.flips(self.folder, c) is None]

    def assert_accepted(self) -> None:
        """Fail when a gated group changed beyond its tolerance and significantly, or is gone.

        A cell without a baseline passes: its own test says so. During an update the names of the
        groups are stored, and the cells of groups that changed, which may be inside their own
        tolerance; nothing is judged.

        Raises:
            UnacceptedError: Naming the groups, or cells whose baselines cannot tell.
        """
        if not self.gated:
            return
        if self.updating:
            self._store()
            return
        if lacking := self.undecided:
            lacks = (
                f"groups by {self.attribute} of {self.curve.id} cannot be judged: the baselines of "
                f"{len(lacking)} cells do not say which of these queries hit"
            )
            raise UnacceptedError(
                f"{lacks}\n  accept: {self.accept}", model=self.curve.model, brief=lacks
            )
        if self.judgement.red(self.settings.fail_on):
            cell = self.cells[0]
            baseline = self.gate.baseline(self.folder, cell)
            accepted = baseline.provenance if baseline else None
            told = explain_groups(
                self.curve,
                self.attribute,
                self.results,
                self.judgement,
                triage=triage(accepted, provenance(self.gate.session, cell)),
                accept=self.accept,
            )
            raise UnacceptedError("\n".join(told), model=self.curve.model, brief=told[0])

    def _store(self) -> None:
        suite, model = self.settings.suite, self.curve.model
        data = groups_data(self.attribute, self.sizes)
        index = groups_index(suite, model, self.attribute)
        self.matches(data, index, self._stored(index.rpartition("/")[2], data))
        if not self.judgement.red("any"):
            return
        for cell in self.cells:
            result, origin = self.gate.session.result(cell), provenance(self.gate.session, cell)
            data = snapshot_data(result, origin, tolerance=0, anew=True)
            kept = self._stored(cell.id, expected_line(data))
            self.matches(data, snapshot_index(suite, model, cell.id), kept)

    def _stored(self, name: str, line: Mapping[str, Any]) -> dict[str, Any]:
        """Where something is stored and what stands there afterwards; plain values."""
        return {"file": str(self._file), "cell": name, "line": dict(line)}


@dataclass(frozen=True)
class ClaimCheck:
    """One claim of the paper under test, and what it came to."""

    settings: Settings
    finding: Finding

    @property
    def name(self) -> str:
        """Which one, of :data:`pytest_occlusion.insight.claims.CLAIMS`."""
        return self.finding.claim

    @property
    def expected(self) -> str | None:
        """What the suite says it comes to."""
        return self.settings.claims.get(self.name)

    def assert_expected(self) -> None:
        """Fail when the claim came to the opposite of what the suite expects.

        A suite that expects nothing, and a claim that the data cannot decide, pass: the summary
        shows them. A finding is recorded, not forced.

        Raises:
            UnacceptedError: With the numbers.
        """
        if self.expected is None or OPPOSITE.get(self.finding.outcome) != self.expected:
            return
        settings = self.settings
        lines = [
            f"claim {self.name!r} is {self.finding.outcome}: {CLAIMS[self.name].statement}",
            f"  the suite {settings.suite!r} expects it to be {self.expected}",
            *(f"  {text}" for text in described(self.finding)),
            f"  if this is the new truth, change {self.name} under [claims] in {settings.origin}",
        ]
        raise UnacceptedError("\n".join(lines))
