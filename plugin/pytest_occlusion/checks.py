"""What a parametrized test holds in its hands: a cell or a curve, its result, its verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.grid import Cell, Curve
from pytest_occlusion.provenance import Provenance
from pytest_occlusion.results import CellResult
from pytest_occlusion.session import Session
from pytest_occlusion.snapshots import (
    read_baseline,
    snapshot_data,
    snapshot_file,
    snapshot_index,
)
from pytest_occlusion.verdicts import (
    CHANGED,
    NEW,
    Baseline,
    CurveVerdict,
    Verdict,
    explain,
    judge,
    judge_curve,
)


class UnacceptedError(AssertionError):
    """A result that its baseline does not allow; the message is meant to be read as it is."""


@dataclass(frozen=True)
class CellCheck:
    """One cell under test.

    Attributes:
        cell: Which one.
        session: Where results come from.
        folder: Folder of the test module; baselines lie beside it.
        matches: Compares plain data with the stored snapshot of a name (and records an update when
            pytest was told to): syrupy's part.
        updating: Whether ``--snapshot-update`` was given.
        accept: The command that accepts this model's results.
    """

    cell: Cell
    session: Session
    folder: Path
    matches: Callable[[dict[str, object], str], bool]
    updating: bool
    accept: str

    @cached_property
    def result(self) -> CellResult:
        """What was measured; the first cell of a model takes long, the others look it up."""
        return self.session.result(self.cell)

    @property
    def gated(self) -> bool:
        """Whether the cell has a baseline to meet; see ``Settings.gated``."""
        cell = self.cell
        return self.session.settings.gated(
            cell.model, cell.direction, cell.occluder, cell.ratio, cell.k
        )

    @cached_property
    def provenance(self) -> Provenance:
        """Where the result comes from."""
        _ = self.result
        return self.session.provenance(self.cell)

    @cached_property
    def verdict(self) -> Verdict:
        """How the result stands against the baseline."""
        baseline = self._baseline() if self.gated else None
        return judge(self.result, baseline, tolerance=self.session.settings.tolerance)

    def _baseline(self) -> Baseline | None:
        suite = self.session.settings.suite
        try:
            return read_baseline(snapshot_file(self.folder, suite, self.cell.model), self.cell.id)
        except OcclusionError:
            if self.updating:
                return None  # the update repairs the file
            raise

    def assert_accepted(self) -> None:
        """Fail unless the result lies within the tolerance of its baseline.

        A cell that the suite itself does not hold (see :attr:`gated`) always passes.

        Raises:
            UnacceptedError: It does not, or has no baseline yet; the message is a small table with
                the command that accepts.
        """
        if not self.gated:
            return
        verdict = self.verdict
        data = snapshot_data(self.result, self.provenance, tolerance=verdict.tolerance)
        name = snapshot_index(self.session.settings.suite, self.cell.model, self.cell.id)
        if not self.matches(data, name):
            text = explain(self.result, verdict, self.provenance, accept=self.accept)
            raise UnacceptedError("\n".join(text))


@dataclass(frozen=True)
class CurveCheck:
    """One curve (model, direction, occluder) under test.

    Attributes:
        curve: Which one.
        session: Where results come from.
        folder: Folder of the test module; baselines lie beside it.
        accept: The command that accepts this model's results.
        updating: Whether ``--snapshot-update`` was given.
    """

    curve: Curve
    session: Session
    folder: Path
    accept: str
    updating: bool

    def results(self, k: int) -> list[CellResult]:
        """Results over the ratios, in ascending order."""
        return self.session.curve(self.curve, k)

    def verdict(self, k: int) -> CurveVerdict:
        """How the mean hits over the ratios stand against those of the baselines."""
        results = self.results(k)
        settings = self.session.settings
        file = snapshot_file(self.folder, settings.suite, self.curve.model)
        gated = all(
            settings.gated(
                result.cell.model,
                result.cell.direction,
                result.cell.occluder,
                result.cell.ratio,
                result.cell.k,
            )
            for result in results
        )
        baselines = [read_baseline(file, result.cell.id) if gated else None for result in results]
        return judge_curve(results, baselines, tolerance=settings.tolerance)

    def assert_accepted(self) -> None:
        """Fail when a whole curve has moved by more than its tolerance.

        A curve without complete baselines passes: its cells say so themselves. During an update
        nothing is judged.

        Raises:
            UnacceptedError: Naming every k whose curve moved.
        """
        if self.updating:
            return
        moved = []
        for k in self.session.settings.grid.ks:
            verdict = self.verdict(k)
            if verdict.kind in CHANGED:
                moved.append(
                    f"  R@{k:<4} {verdict.kind}: {verdict.difference:+.1f} hits in the mean over "
                    f"the ratios (tolerance {verdict.tolerance:g})"
                )
        if moved:
            lines = [f"the curve {self.curve.id} has moved", *moved, f"  accept: {self.accept}"]
            raise UnacceptedError("\n".join(lines))


__all__ = ["NEW", "CellCheck", "CurveCheck", "UnacceptedError"]
