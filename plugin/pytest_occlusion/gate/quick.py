"""Quick verdicts: a sample of forward passes meets the stored hits of the same queries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pytest_occlusion.engine.job import Condition
from pytest_occlusion.engine.quick import FORWARD, passes_in, sampled
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.gate.growing import Part, Side, grow, level_weights
from pytest_occlusion.gate.judging import Gate
from pytest_occlusion.gate.provenance import Provenance, provenance_of
from pytest_occlusion.gate.verdicts import NEW, REGRESSED, Baseline, allowed_flips, allowed_in_mean
from pytest_occlusion.suite.grid import Cell, Curve
from pytest_occlusion.suite.settings import Quick

NO_SIGN = "no-sign"
"""No loss was seen, down to a size that is said. Never ``same``: a sample cannot know that."""

ALPHA = 0.0048
"""Chance that a quick run of all models of a suite turns red though none of them lost anything.

Each model has its part, also where only some are selected."""


@dataclass(frozen=True)
class SeenCell:
    """A cell in the sample."""

    passes: int
    lost: int
    gained: int
    allowed: float  # loss that it tolerates, as a share

    @property
    def loss(self) -> float:
        """Share of the passes that was lost on balance."""
        return (self.lost - self.gained) / self.passes if self.passes else 0.0

    @property
    def beyond(self) -> bool:
        """Whether more was lost than half of what it tolerates, as a curve is held to."""
        return 2 * self.loss > self.allowed


@dataclass(frozen=True)
class QuickVerdict:
    """What a sample says of a model.

    Attributes:
        model: Which one.
        parts: Of every curve that has baselines: the whole, its levels, its ks.
        cells: What was seen of every cell that was looked at.
        lacking: Cells that could not be looked at -> why.
        passes: Forward passes of the sample; ``encoded`` of them in this run.
        every: Those of a full run.
        looks: How often the sample was looked at.
        origin: Where the numbers come from; ``None`` where nothing was measured.
        accepted: The same of the baselines.
    """

    model: str
    parts: Sequence[Part]
    cells: Mapping[Cell, SeenCell]
    lacking: Mapping[Cell, str]
    passes: int = 0
    encoded: int = 0
    every: int = 0
    looks: int = 0
    origin: Provenance | None = None
    accepted: Provenance | None = None

    def kind(self, cell: Cell) -> str:
        """Verdict of a cell: red if it lost, and a part that it belongs to is found to have."""
        if cell in self.lacking:
            return NEW
        hurt = [part for part in self.parts if part.regressed and part.covers(cell)]
        return REGRESSED if any(cell in self._at_fault(part) for part in hurt) else NO_SIGN

    def _at_fault(self, part: Part) -> list[Cell]:
        """Cells of a part that regressed that lost too much; the worst one where none did alone."""
        own = [cell for cell in self.cells if part.covers(cell)]
        beyond = [cell for cell in own if self.cells[cell].beyond]
        return beyond or [max(own, key=lambda cell: self.cells[cell].loss)]

    def worst(self, occluder: str) -> Part | None:
        """The surest of the parts of a curve that regressed."""
        own = [one for one in self.parts if one.occluder == occluder and one.regressed]
        return min(own, key=lambda part: part.p_adjusted, default=None)

    @property
    def red(self) -> bool:
        """Whether any part regressed."""
        return any(part.regressed for part in self.parts)


@dataclass(frozen=True)
class QuickGate:
    """Quick verdicts on the models of a gate's session, each worked out once."""

    gate: Gate
    _known: dict[tuple[Path, str], QuickVerdict | OcclusionError] = field(default_factory=dict)

    def cells(self, model: str) -> list[Cell]:
        """Selected cells of a model that a sample can judge: the suite's, from images to texts."""
        session = self.gate.session
        return [
            cell
            for cell in session.wanted
            if cell.model == model and cell.direction == FORWARD and cell in session.settings.gated
        ]

    def verdict(self, folder: Path, model: str) -> QuickVerdict:
        """The verdict on a model against the baselines beside the tests of a folder.

        Raises:
            OcclusionError: What stopped the measurement, or a baseline that cannot be read.
        """
        key = folder, model
        if key not in self._known:
            try:
                self._known[key] = self._look(folder, model)
            except OcclusionError as fault:
                self._known[key] = fault
        found = self._known[key]
        if isinstance(found, OcclusionError):  # the same for all tests of the model
            raise found
        return found

    def _look(self, folder: Path, model: str) -> QuickVerdict:
        session, settings = self.gate.session, self.gate.session.settings
        of_model = self.cells(model)
        stored = {cell: self.gate.baseline(folder, cell) for cell in of_model}
        lacking = {cell: why for cell in of_model if (why := self._lacks(stored[cell]))}
        looked = [cell for cell in of_model if cell not in lacking]
        if not looked:
            return QuickVerdict(model, (), {}, lacking)
        one = sampled(session, model, looked)
        shown = [condition.shown for condition in one.conditions]
        sides = [
            self._side(curve, [c for c in looked if c.curve == curve], stored, shown)
            for curve in dict.fromkeys(cell.curve for cell in looked)
        ]
        every = len(one.passes)
        asked = settings.quick or Quick(share=1.0)
        budget = (
            passes_in(session, one, asked.seconds / len({cell.model for cell in session.wanted}))
            if asked.seconds
            else math.ceil(asked.share * every)
        )
        grown = grow(
            sides,
            one.passes,
            one.hits,
            session.resamples(FORWARD).cluster,
            budget=min(every, max(budget, len(shown))),
            alpha=ALPHA / len(settings.models),
        )
        seen: dict[Cell, SeenCell] = {}
        for side, counts in zip(sides, grown.counts, strict=True):
            passes = {p.ratio: p.passes for p in grown.parts if p.occluder == side.occluder}
            for (ratio, k), counted in counts.items():
                cell = Cell(model, FORWARD, side.occluder, ratio, k)
                own = side.allowed[side.ratios.index(ratio), side.ks.index(k)]
                seen[cell] = SeenCell(passes[ratio], *counted, float(own))
        first = stored[looked[0]]
        return QuickVerdict(
            model,
            grown.parts,
            seen,
            lacking,
            passes=grown.passes,
            encoded=one.encoded,
            every=every,
            looks=grown.looks,
            origin=provenance_of(session, looked[0], one.device),
            accepted=first.provenance if first else None,
        )

    def _lacks(self, baseline: Baseline | None) -> str:
        """Why a cell cannot be compared query by query; nothing where it can."""
        session = self.gate.session
        if baseline is None:
            return "there is no baseline"
        queries = len(session.task.radiographs) * len(session.settings.seeds)
        if baseline.hit_queries is None or len(baseline.hit_queries) != queries:
            return "its baseline does not say which of these queries hit"
        origin = baseline.provenance
        if origin is None:
            return "its baseline does not say of which corpus it is"
        if origin.corpus != session.corpus.fingerprint:
            return "its baseline is of another corpus"
        return ""

    def _side(
        self,
        curve: Curve,
        own: Sequence[Cell],
        stored: Mapping[Cell, Baseline | None],
        shown: Sequence[Condition],
    ) -> Side:
        session = self.gate.session
        ratios = list(dict.fromkeys(cell.ratio for cell in own))
        ks = list(dict.fromkeys(cell.k for cell in own))
        count = len(session.task.radiographs)
        level = np.full(len(shown), -1, np.int64)
        offset = np.zeros(len(shown), np.int64)
        for place, ratio in enumerate(ratios):
            some = session.conditions(Cell(curve.model, FORWARD, curve.occluder, ratio, ks[0]))
            for number, condition in reversed([*enumerate(some)]):
                at = shown.index(condition.shown)
                level[at], offset[at] = place, number * count
        queries = count * len(session.settings.seeds)
        before = np.zeros((len(ratios), queries, len(ks)), np.bool_)
        asked = np.zeros((len(ratios), len(ks)), np.bool_)
        flips = np.zeros(asked.shape, np.int64)
        for cell in own:
            level_at, k_at = ratios.index(cell.ratio), ks.index(cell.k)
            if (one := stored[cell]) and one.hit_queries is not None:
                before[level_at, :, k_at] = one.hit_queries
                asked[level_at, k_at] = True
                flips[level_at, k_at] = allowed_flips(self.gate.tolerance(cell, one), queries)
        return Side(
            occluder=curve.occluder,
            ratios=ratios,
            ks=ks,
            level=level,
            offset=offset,
            before=before,
            asked=asked,
            allowed=flips / queries,
            allowed_whole=allowed_in_mean(float(np.median(flips[asked]))) / queries,
            weights=level_weights(before, asked, ks, len(session.task.candidate_text)),
        )
