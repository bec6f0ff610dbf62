"""What a test holds in its hands in a quick run: a cell or a curve, judged by a sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_occlusion.errors import UnacceptedError
from pytest_occlusion.gate.quick import QuickGate, QuickVerdict
from pytest_occlusion.gate.verdicts import NEW, REGRESSED
from pytest_occlusion.reporting.quick import brief_quick, explain_quick
from pytest_occlusion.suite.grid import Cell, Curve

WHOLE = "a quick run measures a sample only"
"""Why tests of a quick run are skipped."""


@dataclass(frozen=True)
class _Quick:
    """What both have in common."""

    gate: QuickGate
    folder: Path  # of the test module; baselines lie beside it
    full: str  # the command that measures this model whole
    accept: str  # and the one that accepts what it then finds

    def __getattr__(self, name: str) -> Any:
        """Skip a test that asks for what only a full run has, such as a result."""
        from pytest_occlusion.hooks.checks import CellCheck, CurveCheck

        if not (hasattr(CellCheck, name) or hasattr(CurveCheck, name)):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        pytest.skip(f"{WHOLE}: `{name}` is of a full one")

    def _refusal(self, verdict: QuickVerdict, brief: str) -> UnacceptedError:
        told = explain_quick(verdict, full=self.full)
        return UnacceptedError("\n".join(told), model=verdict.model, brief=brief)


@dataclass(frozen=True)
class QuickCellCheck(_Quick):
    """One cell under test."""

    cell: Cell

    @property
    def looked_at(self) -> bool:
        """Whether a sample can judge it; see :meth:`QuickGate.cells`."""
        return self.cell in self.gate.cells(self.cell.model)

    @property
    def quick_verdict(self) -> QuickVerdict:
        """Of its model."""
        return self.gate.verdict(self.folder, self.cell.model)

    def assert_accepted(self) -> None:
        """Fail where the sample shows that the cell lost hits.

        A cell from texts to images is skipped, whose candidates would be all radiographs, and one
        that the suite itself does not hold.

        Raises:
            UnacceptedError: It lost, or its baseline cannot be compared with.
        """
        if not self.looked_at:
            pytest.skip(f"{WHOLE}: this cell is not one that a sample can judge")
        kind = self.quick_verdict.kind(self.cell)
        if kind == NEW:
            # The same text for all cells of one reason, so that it is told once.
            why = self.quick_verdict.lacking[self.cell]
            told = f"{self.cell.model}: {why}, and a quick run accepts nothing"
            file = self.gate.gate.file(self.folder, self.cell.model)
            raise UnacceptedError(
                f"{told}\n  its baselines: {file}\n  measure it whole: {self.full}\n"
                f"  accept what it finds: {self.accept}"
            )
        if kind == REGRESSED:
            raise self._refusal(self.quick_verdict, "")


@dataclass(frozen=True)
class QuickCurveCheck(_Quick):
    """One curve (model, direction, occluder) under test."""

    curve: Curve

    def assert_accepted(self) -> None:
        """Fail where the sample shows that the curve lost hits, as a whole or at some level or k.

        Raises:
            UnacceptedError: It did.
        """
        if not any(cell.curve == self.curve for cell in self.gate.cells(self.curve.model)):
            pytest.skip(f"{WHOLE}: this curve is not one that a sample can judge")
        verdict = self.gate.verdict(self.folder, self.curve.model)
        if part := verdict.worst(self.curve.occluder):
            raise self._refusal(verdict, brief_quick(self.curve, part))
