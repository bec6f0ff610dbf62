"""Settings: one frozen record of everything a run needs to know.

What a user may write is told in ``table``, how suite and command line are merged in ``merge``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_occlusion.suite.grid import Cell, Grid, cells
from pytest_occlusion.suite.table import SETTINGS


@dataclass(frozen=True)
class ModelSettings:
    """One model of a suite; what is ``None`` is the suite's or the family's."""

    name: str  # what ids, snapshots and tables call it
    family: str  # checkpoint format, a name of the encoder registry
    checkpoint: str = ""  # absolute path, or an id the family understands; variables expanded
    tokenizer: str | None = None  # the same, where the family needs one
    precision: str | None = None
    tolerance: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)  # the family's own
    model: str = ""  # the entry of the register that filled its table in
    role: str = ""  # the family that it stands for in claims; its own where empty
    missing: tuple[str, ...] = ()  # unset environment variables in its paths


@dataclass(frozen=True)
class RaySettings:
    """What a worker on a cluster is given; the table ``[ray]`` of a suite."""

    cpus: int = 1  # cores, and forward passes side by side on a CPU
    gpus: float | None = None  # or a fraction of one; one where a node has any
    workers: int = 0  # at most; 0 for as many as there is room for


@dataclass(frozen=True)
class Quick:
    """How much of the work a quick run may do: one of the two is given, the other is 0."""

    share: float = 0.0  # of the forward passes of a full run, below 1
    seconds: float = 0.0  # for all models together, one after another


def attribute(setting: str) -> str:
    """The attribute of :class:`Settings` that holds a setting of the table."""
    return {"seed": "seeds", "map": "map_grid"}.get(setting, setting.replace("-", "_"))


@dataclass(frozen=True)
class Settings:
    """Everything a run needs to know; what has no comment is described in the table of settings."""

    suite: str  # what snapshots belong to
    origin: str  # where the suite was read, for messages
    base: Path  # folder that relative paths of the suite start from
    models: tuple[ModelSettings, ...]  # all of the suite, also those that were not selected
    grid: Grid  # the cells to run: the suite's, narrowed or changed on the command line
    suite_grid: Grid  # the cells of the suite itself; only these have a baseline
    corpus: str  # variables are expanded
    corpus_missing: tuple[str, ...]  # environment variables in it that are not set
    split: str
    text_rule: str
    candidates: str
    fill: str
    seeds: tuple[int, ...]
    tolerance: float
    tolerances: tuple[tuple[str, float], ...]  # pattern of cell ids, tolerance; the last match wins
    fail_on: str
    engine: str
    device: str
    precision: str
    batch_size: int
    map_grid: int
    map_ratios: tuple[float, ...]
    group_by: tuple[str, ...]  # attributes; those that are gated come with the others
    gated_by: tuple[str, ...]  # attributes whose groups are judged
    smallest_group: int  # queries of a group that is judged
    labels: tuple[str, ...]  # see ``corpora.labels.read_labels``; a table's path is absolute
    uncertain: str
    reference: str
    claims: Mapping[str, str]  # claim -> outcome that the suite expects
    ad_hoc: tuple[str, ...]  # protocol that the command line changed: such a run has no baseline
    ray: RaySettings = RaySettings()
    store: Path | None = None  # ``None`` keeps nothing
    outputs: Mapping[str, Path] = field(default_factory=dict)  # kind -> file to write
    allow_missing: bool = False  # skip what is not on this machine instead of refusing
    calibrate: int = 0  # how many times to repeat every model with what must not matter changed
    quick: Quick | None = None  # look for losses in a sample, and judge nothing else
    show_queries: bool = False  # whether failures may name radiographs and studies

    def model(self, name: str) -> ModelSettings:
        """The settings of one model."""
        return next(model for model in self.models if model.name == name)

    def protocol(self) -> dict[str, Any]:
        """What a number depends on besides weights, corpus and environment; plain data."""
        names = [attribute(name) for name, setting in SETTINGS.items() if setting.protocol]
        values = {name: getattr(self, name) for name in names if name != "corpus"}
        return {**values, "seeds": list(self.seeds)}

    def tolerance_of(self, cell_id: str, model: str, calibrated: int | None = None) -> float:
        """The tolerance in force for one cell.

        In this order: a pattern of the cell's id, what was calibrated for the cell, the model's,
        the suite's (or the command line's).
        """
        for pattern, tolerance in reversed(self.tolerances):
            if fnmatchcase(cell_id, pattern):
                return tolerance
        if calibrated is not None:
            return float(max(1, calibrated))
        own = self.model(model).tolerance
        return self.tolerance if own is None else own

    @cached_property
    def gated(self) -> frozenset[Cell]:
        """Cells that have a baseline: the suite's own, under the suite's protocol."""
        return frozenset(() if self.ad_hoc else cells(self.suite_grid))

    def precision_of(self, model: ModelSettings) -> str:
        """The precision in force for one model."""
        return model.precision or self.precision
