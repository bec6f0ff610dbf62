"""The gate at work: what a session measured meets its baselines, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pytest_occlusion.engine.session import Session
from pytest_occlusion.gate.provenance import Provenance, provenance
from pytest_occlusion.gate.snapshots import read_baseline, snapshot_file
from pytest_occlusion.gate.verdicts import Baseline, Verdict, judge
from pytest_occlusion.retrieval.significance import holm
from pytest_occlusion.suite.grid import Cell


@dataclass(frozen=True)
class Gate:
    """Judges the cells of a session.

    Attributes:
        session: Where results come from.
    """

    session: Session
    _adjusted: dict[tuple[Path, str], dict[Cell, float]] = field(default_factory=dict)
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

    def adjusted_p_values(self, folder: Path, model: str) -> dict[Cell, float]:
        """Holm-adjusted p values of all selected cells of a model that can be compared.

        Worked out once per model: every cell needs the p values of all the others.
        """
        if (folder, model) not in self._adjusted:
            found: dict[Cell, float] = {}
            for cell in self.session.wanted:
                if cell.model == model:
                    verdict = self.verdict(cell, self.baseline(folder, cell))
                    if verdict.p_value is not None:
                        found[cell] = verdict.p_value
            adjusted = dict(zip(found, holm(list(found.values())), strict=True))
            self._adjusted[folder, model] = adjusted
        return self._adjusted[folder, model]

    def provenance(self, cell: Cell) -> Provenance:
        """Where a cell's numbers come from."""
        session = self.session
        return provenance(
            session.record(cell.model),
            corpus=session.corpus.fingerprint,
            protocol={**session.settings.protocol(), "direction": cell.direction},
            device=str(session.measured(cell)[0].fields.get("device", "cpu")),
        )

    def spread(self, cell: Cell) -> float:
        """Standard deviation of a cell's hits over the calibration runs and the run itself."""
        if cell not in self._calibrated:
            from pytest_occlusion.gate.calibration import calibrated_hits

            together = self.session.together(cell)
            self._calibrated.update(calibrated_hits(self.session, together))
        hits = [self.session.result(cell).hits, *self._calibrated[cell]]
        return round(float(np.std(hits, ddof=1)), 3)
