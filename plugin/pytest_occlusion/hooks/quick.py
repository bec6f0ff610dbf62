"""What a test holds in its hands in a quick run: a cell or a curve, judged by a sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from pytest_occlusion.errors import UnacceptedError
from pytest_occlusion.gate.quick import QuickGate, QuickVerdict, quick_cells
from pytest_occlusion.gate.verdicts import NEW, REGRESSED
from pytest_occlusion.reporting.quick import explain_quick
from pytest_occlusion.suite.grid import Cell, Curve

WHOLE = "a quick run measures a sample only"
"""Why tests of a quick run are skipped."""


@dataclass(frozen=True)
class _Quick:
    """What both have in common."""

    gate: QuickGate
    folder: Path  # of the test module; baselines lie beside it
    full: str  # the command that measures this model whole

    def _verdict(self, model: str) -> QuickVerdict:
        return self.gate.verdict(self.folder, model)

    def _refuse(self, verdict: QuickVerdict, brief: str) -> NoReturn:
        told = explain_quick(verdict, full=self.full)
        raise UnacceptedError("\n".join(told), model=verdict.model, brief=brief)

    def _whole(self) -> NoReturn:
        pytest.skip(f"{WHOLE}: what a test asks of a result needs a full one")


@dataclass(frozen=True)
class QuickCellCheck(_Quick):
    """One cell under test."""

    cell: Cell

    @property
    def looked_at(self) -> bool:
        """Whether the sample says anything about it: it has a baseline to meet."""
        return self.cell in quick_cells(self.gate.session, self.cell.model)

    @property
    def verdict(self) -> QuickVerdict:
        """Of its model."""
        return self._verdict(self.cell.model)

    @property
    def result(self) -> NoReturn:
        """There is none: the test is skipped."""
        self._whole()

    def assert_accepted(self) -> None:
        """Fail where the sample shows that the cell lost hits.

        A cell from texts to images is skipped: its candidates would be all radiographs.

        Raises:
            UnacceptedError: It lost, or its baseline cannot be compared with.
        """
        if not self.looked_at:
            pytest.skip(f"{WHOLE}: this cell is not one that a sample can judge")
        kind = self.verdict.kind(self.cell)
        if kind == NEW:
            why = self.verdict.lacking[self.cell]
            told = f"{self.cell.id}: {why}, and a quick run accepts nothing"
            full = f"  measure it whole: {self.full}"
            raise UnacceptedError(f"{told}\n{full}", model=self.cell.model, brief=told)
        if kind == REGRESSED:
            self._refuse(self.verdict, "")


@dataclass(frozen=True)
class QuickCurveCheck(_Quick):
    """One curve (model, direction, occluder) under test."""

    curve: Curve

    def results(self, k: int) -> NoReturn:
        """There are none: the test is skipped."""
        self._whole()

    def verdict(self, k: int) -> NoReturn:
        """There is none of a single k: the test is skipped."""
        self._whole()

    def assert_accepted(self) -> None:
        """Fail where the sample shows that the curve as a whole lost hits.

        Raises:
            UnacceptedError: It did.
        """
        looked = quick_cells(self.gate.session, self.curve.model)
        if not any(cell.curve == self.curve for cell in looked):
            pytest.skip(f"{WHOLE}: this curve is not one that a sample can judge")
        verdict = self._verdict(self.curve.model)
        part = verdict.whole(self.curve.occluder)
        if part is not None and part.regressed:
            brief = f"curve {self.curve.id}: {-100 * part.loss:+.1f} points in the mean of a sample"
            self._refuse(verdict, brief)
