"""The gate at work: what a session measured meets its baselines, cell by cell.

And calibration: how much do the hits of a cell move when nothing that matters has changed?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pytest_occlusion.encoders.devices import resolve_device
from pytest_occlusion.engine.models import open_encoder
from pytest_occlusion.engine.pipeline import measure
from pytest_occlusion.engine.session import Session
from pytest_occlusion.engine.store import Store
from pytest_occlusion.gate.groups import Flips
from pytest_occlusion.gate.snapshots import read_baseline, snapshot_file
from pytest_occlusion.gate.verdicts import Baseline, Verdict, judge
from pytest_occlusion.retrieval.recall import hit_probability
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
        return read_baseline(self.file(folder, cell.model), cell.id)

    def file(self, folder: Path, model: str) -> Path:
        """Where the baselines of a model lie."""
        return snapshot_file(folder, self.session.settings.suite, model)

    def verdict(self, cell: Cell, baseline: Baseline | None) -> Verdict:
        """The verdict on a cell, under the tolerance in force for it."""
        tolerance = self.tolerance(cell, baseline)
        return judge(self.session.result(cell), baseline, tolerance=tolerance)

    def tolerance(self, cell: Cell, baseline: Baseline | None) -> float:
        """The tolerance in force for a cell: queries, or a share of them below 1."""
        calibrated = baseline.calibrated if baseline else None
        return self.session.settings.tolerance_of(cell.id, cell.model, calibrated)

    def adjusted_p_values(self, folder: Path, model: str) -> dict[Cell, float | None]:
        """Holm-adjusted p values of all selected cells of a model, where they can be compared.

        Worked out once per model: every cell needs the p values of all the others.
        """
        if (folder, model) not in self._adjusted:
            cells = [cell for cell in self.session.wanted if cell.model == model]
            p_values = [self.verdict(cell, self.baseline(folder, cell)).p_value for cell in cells]
            self._adjusted[folder, model] = dict(zip(cells, holm(p_values), strict=True))
        return self._adjusted[folder, model]

    def flips(self, folder: Path, cell: Cell) -> Flips | None:
        """The bits of a cell and of its baseline; ``None`` where flips cannot be told."""
        baseline = self.baseline(folder, cell)
        verdict = self.verdict(cell, baseline)
        if baseline is None or baseline.hit_queries is None or verdict.lost is None:
            return None
        now, seeds = self.session.result(cell).hit_queries, len(self.session.settings.seeds)
        return Flips(baseline.hit_queries, now, verdict.tolerance, seeds)

    def spread(self, cell: Cell) -> float:
        """Standard deviation of a cell's hits over the calibration runs and the run itself."""
        if cell not in self._calibrated:
            together = self.session.together(cell)
            self._calibrated.update(_calibrated_hits(self.session, together))
        hits = [self.session.result(cell).hits, *self._calibrated[cell]]
        return round(float(np.std(hits, ddof=1)), 3)


def _calibrated_hits(session: Session, cells: Sequence[Cell]) -> dict[Cell, list[int]]:
    """The hits of cells of one model that are measured together, in every calibration run.

    It is measured again and again with another batch size, another order of the radiographs (so
    that every batch has other neighbours), and reduced precision in every second run; on a machine
    with a GPU, CPU and GPU take turns. Nothing is read from the store.
    """
    settings, job = session.settings, session.job_of(cells[0].model, cells)
    devices = [str(resolve_device(name)) for name in (settings.device, "auto")]
    found: dict[Cell, list[int]] = {cell: [] for cell in cells}
    for number in range(settings.calibrate):
        # A half of the batch size, twice, a third, three times ... of it.
        odd, step = number % 2, number // 2 + 2
        size = settings.batch_size * step if odd else max(1, settings.batch_size // step)
        precision, device = "bf16" if odd else job.record.precision, devices[odd]
        job.say(
            f"{job.label}: calibration {number + 1} of {settings.calibrate} (batch {size}, "
            f"{precision}, {device})"
        )
        encoder, _ = open_encoder(
            settings.model(job.label), precision=precision, device=device, store=Store(None)
        )
        draw = np.random.Generator(np.random.PCG64(number + 1))
        measured = measure(
            replace(
                job,
                encoder=lambda encoder=encoder: encoder,  # type: ignore[misc]
                engine=None,  # what is varied here, workers would not know
                record=replace(job.record, precision=precision),
                task=job.task.asked_by(draw.permutation(len(job.task.radiographs))),
                batch_size=size,
                store=Store(None),
                first=0,
            )
        )
        for cell in cells:
            ranks = [measured[one, cell.direction].ranks for one in session.conditions(cell)]
            hits = sum(float(hit_probability(one, cell.k).sum()) for one in ranks)
            found[cell].append(round(hits))
    return found
