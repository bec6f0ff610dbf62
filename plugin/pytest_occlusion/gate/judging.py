"""The gate at work: what a session measured meets its baselines, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pytest_occlusion.engine.session import Session
from pytest_occlusion.gate.snapshots import read_baseline, snapshot_file
from pytest_occlusion.gate.verdicts import Baseline, Verdict, judge
from pytest_occlusion.retrieval.significance import holm
from pytest_occlusion.suite.grid import Cell


@dataclass(frozen=True)
class Gate:
    """Judges the cells of a session."""

    session: Session
    _adjusted: dict[tuple[Path, str], dict[Cell, float | None]] = field(default_factory=dict)
    _calibrated: dict[Cell, list[int]] = field(default_factory=dict)

    def baseline(self, folder: Path, cell: Cell) -> Baseline | None:
        """The baseline of a cell; ``None`` for a cell that is not gated or has none yet."""
        if cell not in self.session.settings.gated:
            return None
        return read_baseline(
            snapshot_file(folder, self.session.settings.suite, cell.model), cell.id
        )

    def verdict(self, cell: Cell, baseline: Baseline | None) -> Verdict:
        """The verdict on a cell, under the tolerance in force for it."""
        calibrated = baseline.calibrated if baseline else None
        tolerance = self.session.settings.tolerance_of(cell.id, cell.model, calibrated)
        return judge(self.session.result(cell), baseline, tolerance=tolerance)

    def adjusted_p_values(self, folder: Path, model: str) -> dict[Cell, float | None]:
        """Holm-adjusted p values of all selected cells of a model, where they can be compared.

        Worked out once per model: every cell needs the p values of all the others.
        """
        if (folder, model) not in self._adjusted:
            cells = [cell for cell in self.session.wanted if cell.model == model]
            p_values = [self.verdict(cell, self.baseline(folder, cell)).p_value for cell in cells]
            self._adjusted[folder, model] = dict(zip(cells, holm(p_values), strict=True))
        return self._adjusted[folder, model]

    def spread(self, cell: Cell) -> float:
        """Standard deviation of a cell's hits over the calibration runs and the run itself."""
        if cell not in self._calibrated:
            from pytest_occlusion.gate.calibration import calibrated_hits

            together = self.session.together(cell)
            self._calibrated.update(calibrated_hits(self.session, together))
        hits = [self.session.result(cell).hits, *self._calibrated[cell]]
        return round(float(np.std(hits, ddof=1)), 3)
