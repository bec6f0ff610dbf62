"""Settings: one frozen record of everything a run needs to know.

How it comes about is told elsewhere: what a user may write in ``validation``, how suite and
command line are merged in ``merge``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pytest_occlusion.occlusion.levels import SEVERITIES, is_corruption, severity_level

RATIOS = (0.0, 0.09, 0.16, 0.25, 0.36, 0.49, 0.64, 0.81)
"""Eight levels from 0 to 81 % (Deanda et al. 2025); ours are squares, so that a block has sides
of 0, .3, .4 ... .9 of the canvas. The paper does not list its own."""

KS = (5, 10, 20, 30, 50, 100)
"""Recall@k of Deanda et al. 2025."""

TOLERANCE = 0.01
"""Share of the queries of a cell that may change: no red in 200 simulated re-runs that flip as many
queries as bf16 against fp32, while a loss of 2 points of 1,770 queries is caught in 199 of 200
(``benchmarks/gate_rates.py``, table in ``docs/verdicts.md``)."""

DIRECTIONS: dict[str, tuple[str, ...]] = {
    "image-to-text": ("image-to-text",),
    "both": ("image-to-text", "text-to-image"),
}
"""Value of the setting -> directions that are measured."""

PRECISIONS = ("fp32", "bf16", "fp16")
OUTCOMES = ("supported", "contradicted", "no power")
"""What a claim can come to."""

ROLES = ("clip", "cxr-repair", "medclip", "cxr-clip")
"""The four models of Deanda et al. 2025, by family."""

CLAIM_NAMES = (
    "best", "second", "flattest", "near-chance", "proportional", "center", "border", "scattered",
)  # fmt: skip
"""The claims; :mod:`pytest_occlusion.insight.claims` says what they are."""

FAIL_ON = {
    "any": "every change beyond the tolerance, improvements too",
    "regression": "losses beyond the tolerance",
    "significant-regression": "losses beyond the tolerance that are significant (Holm)",
}
"""Value of ``fail-on`` -> what turns a cell red."""


@dataclass(frozen=True)
class ModelSettings:
    """One model of a suite.

    Attributes:
        name: What ids, snapshots and tables call it.
        family: Checkpoint format, a name of the encoder registry.
        checkpoint: Path with variables expanded and made absolute, or an id the family understands.
        tokenizer: Path or hub id, where the family needs one.
        precision: Overrides the suite's.
        tolerance: Overrides the suite's.
        options: The family's own options.
        role: The family that it stands for in claims; its own where empty.
        missing: Names of unset environment variables in its paths.
    """

    name: str
    family: str
    checkpoint: str = ""
    tokenizer: str | None = None
    precision: str | None = None
    tolerance: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    role: str = ""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grid:
    """Which cells exist: models x directions x occluders x levels x ks.

    A corruption is named among the occluders; its levels are the severities.
    """

    models: tuple[str, ...]
    directions: tuple[str, ...]
    occluders: tuple[str, ...]
    ratios: tuple[float, ...]
    ks: tuple[int, ...]
    severities: tuple[int, ...] = SEVERITIES

    def levels(self, occluder: str) -> tuple[float, ...]:
        """The levels of one occluder or corruption, ascending, in [0, 1]."""
        if is_corruption(occluder):
            return tuple(severity_level(severity) for severity in self.severities)
        return self.ratios


@dataclass(frozen=True)
class Settings:
    """Everything a run needs to know.

    Attributes:
        suite: Name that snapshots belong to.
        origin: Where the suite was read, for messages.
        models: All models of the suite, in its order (also those that were not selected).
        grid: The cells to run: what the suite holds, narrowed or changed on the command line.
        suite_grid: The cells of the suite itself; only these have a baseline.
        corpus: Corpus specification with variables expanded.
        corpus_missing: Names of unset environment variables in it.
        base: Folder that relative paths of the suite start from.
        split: Named part of the corpus, where it has parts.
        text_rule: Which text stands for a study.
        candidates: What is retrieved: distinct ``texts`` or ``studies``.
        fill: What blocked pixels become.
        seeds: Mask seeds; several are pooled, each query counting once per seed.
        tolerance: Queries of a cell that may change between hit and miss (net): a whole number, or
            a share of the queries when below 1.
        tolerances: (pattern of cell ids, tolerance), the last match wins over everything else.
        fail_on: Which verdicts turn a cell red.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
        precision: Of the forward passes.
        batch_size: Canvases per forward pass; halves by itself when memory runs out.
        store: Folder of the store; ``None`` keeps nothing.
        ad_hoc: Protocol settings that the command line changed; such a run has no baseline.
        allow_missing: Whether missing checkpoints and corpora are skipped instead of refused.
        outputs: Kind (``json``, ``csv``, ``markdown``, ``html``) -> file to write.
        calibrate: How many times to repeat every model with what must not matter changed.
        show_queries: Whether failures may name radiographs and studies.
        claims: Claim -> outcome that the suite expects; see :mod:`pytest_occlusion.insight.claims`.
        map_grid: Placements per side of the sensitivity map; 0 draws none.
        map_ratios: Further shares that its tile blocks, for the curve of the worst placement.
    """

    suite: str
    origin: str
    models: tuple[ModelSettings, ...]
    grid: Grid
    suite_grid: Grid
    corpus: str
    corpus_missing: tuple[str, ...]
    base: Path
    split: str
    text_rule: str
    candidates: str
    fill: str
    seeds: tuple[int, ...]
    tolerance: float
    tolerances: tuple[tuple[str, float], ...]
    fail_on: str
    device: str
    precision: str
    batch_size: int
    store: Path | None
    ad_hoc: tuple[str, ...]
    allow_missing: bool
    outputs: Mapping[str, Path]
    calibrate: int = 0
    show_queries: bool = False
    claims: Mapping[str, str] = field(default_factory=dict)
    map_grid: int = 0
    map_ratios: tuple[float, ...] = ()

    def model(self, name: str) -> ModelSettings:
        """The settings of one model."""
        return next(model for model in self.models if model.name == name)

    def protocol(self) -> dict[str, Any]:
        """What a number depends on besides weights, corpus and environment; plain data."""
        return {
            "split": self.split,
            "text_rule": self.text_rule,
            "candidates": self.candidates,
            "fill": self.fill,
            "seeds": list(self.seeds),
        }

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

    def gated(self, model: str, direction: str, occluder: str, ratio: float, k: int) -> bool:
        """Whether a cell is compared with a baseline.

        The rule: a cell has a baseline exactly when the suite itself contains it and the command
        line did not change the protocol.
        """
        grid = self.suite_grid
        return (
            not self.ad_hoc
            and model in grid.models
            and direction in grid.directions
            and occluder in grid.occluders
            and ratio in grid.levels(occluder)
            and k in grid.ks
        )

    def precision_of(self, model: ModelSettings) -> str:
        """The precision in force for one model."""
        return model.precision or self.precision
