"""The gate at work: what a session measured meets its baselines, cell by cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pytest_occlusion.engine.models import open_encoder
from pytest_occlusion.engine.session import Session
from pytest_occlusion.engine.store import Store
from pytest_occlusion.gate.provenance import Provenance, provenance
from pytest_occlusion.gate.snapshots import read_baseline, snapshot_file
from pytest_occlusion.gate.verdicts import Baseline, Verdict, judge
from pytest_occlusion.retrieval.recall import hit_probability
from pytest_occlusion.retrieval.significance import holm
from pytest_occlusion.suite.grid import Cell

if TYPE_CHECKING:
    from pytest_occlusion.encoders.base import Encoder
    from pytest_occlusion.gate.calibration import Variation


@dataclass(frozen=True)
class Gate:
    """Judges the cells of a session.

    Attributes:
        session: Where results come from.
    """

    session: Session
    _adjusted: dict[tuple[Path, str], dict[Cell, float]] = field(default_factory=dict)
    _calibrated: dict[Cell, list[int]] = field(default_factory=dict)

    def holds(self, cell: Cell) -> bool:
        """Whether a cell has a baseline to meet; see ``Settings.gated``."""
        return self.session.settings.gated(
            cell.model, cell.direction, cell.occluder, cell.ratio, cell.k
        )

    def baseline(self, folder: Path, cell: Cell) -> Baseline | None:
        """The baseline of a cell; ``None`` for a cell that is not gated or has none yet."""
        if not self.holds(cell):
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
        hits = self.session.result(cell).hits
        if cell not in self._calibrated:
            self._calibrate(self.session.together(cell))
        return round(float(np.std([hits, *self._calibrated[cell]], ddof=1)), 3)

    def _calibrate(self, cells: Sequence[Cell]) -> None:
        from pytest_occlusion.encoders.devices import resolve_device
        from pytest_occlusion.gate.calibration import calibration_runs, variations

        settings, job = self.session.settings, self.session.job_for(cells)
        own = str(resolve_device(settings.device))
        other = str(resolve_device("auto"))
        planned = variations(
            settings.calibrate,
            batch_size=settings.batch_size,
            precision=job.record.precision,
            devices=(own,) if own == other else (own, other),
        )

        def open_as(variation: Variation) -> Encoder:
            return open_encoder(
                settings.model(job.label),
                precision=variation.precision,
                device=variation.device,
                store=Store(None),
            )[0]

        for cell in cells:
            self._calibrated[cell] = []
        for measured in calibration_runs(job, planned, open_as):
            for cell in cells:
                shown = self.session.conditions(cell)
                ranks = [measured[one, cell.direction].ranks for one in shown]
                hits = sum(float(hit_probability(one, cell.k).sum()) for one in ranks)
                self._calibrated[cell].append(round(hits))
