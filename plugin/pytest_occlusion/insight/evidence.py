"""What claims are judged by: recalls with their resamples, and who plays which part.

Every model and condition sees the same resamples of patients, so differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pytest_occlusion.engine.session import Session
from pytest_occlusion.occlusion.levels import is_corruption
from pytest_occlusion.retrieval.intervals import interval
from pytest_occlusion.retrieval.recall import FloatArray
from pytest_occlusion.suite.grid import MAIN_OCCLUDER, Cell, Grid, focus_k
from pytest_occlusion.suite.settings import Settings
from pytest_occlusion.suite.table import ROLES

REGION_RATIO = 0.36
"""Blocked share at which occluders are compared: of the suite's, the one nearest to it. Much less
hardly hurts, much more leaves nothing to tell apart."""

NEAR = 3.0
"""Multiple of chance up to which a recall is called near chance. A band, because reports repeat: a
ranking that never looks at the image can come to several times chance by luck with common texts."""


class UnaskableError(Exception):
    """A suite without the models, ratios or recall that a claim is about; the text says which."""


@dataclass(frozen=True)
class Evidence:
    """What claims are judged by.

    Attributes:
        settings: The run's; models, ratios and ks are those selected.
        recalls: Cell -> float64 ``[1 + B]``: recall of the whole sample, then of every resample.
        floor: Cell -> recall of a random ranking.
    """

    settings: Settings
    recalls: Callable[[Cell], FloatArray]
    floor: Callable[[Cell], float]

    @property
    def grid(self) -> Grid:
        """What is measured."""
        return self.settings.grid

    @property
    def k(self) -> int:
        """What claims about one k are about."""
        return focus_k(self.grid.ks)

    @cached_property
    def roles(self) -> Mapping[str, str]:
        """Role -> the first selected model that has it."""
        return roles(self.settings)

    def role(self, role: str) -> str:
        """The model that has a role; UnaskableError without one."""
        if role not in self.roles:
            raise UnaskableError(f"the run has no model of family, or with the role, {role}")
        return self.roles[role]

    def others(self, *without: str) -> list[str]:
        """Models that have the other roles; UnaskableError when there is none."""
        found = [model for role, model in self.roles.items() if role not in without]
        if not found:
            raise UnaskableError(f"the run has no other model with a role ({', '.join(ROLES)})")
        return found

    def cell(self, model: str, ratio: float, *, k: int = 0, occluder: str = "") -> Cell:
        """A cell of the first direction; of the main occluder and the k of claims by default."""
        grid = self.grid
        return Cell(model, grid.directions[0], occluder or main_occluder(grid), ratio, k or self.k)

    def at(self, model: str, ratio: float, *, k: int = 0, occluder: str = "") -> FloatArray:
        """Recall of one cell: float64 ``[1 + B]``."""
        return self.recalls(self.cell(model, ratio, k=k, occluder=occluder))

    def whole(self, model: str) -> FloatArray:
        """Recall with nothing blocked: float64 ``[1 + B]``; UnaskableError without ratio 0."""
        if self.grid.ratios[0] != 0:
            raise UnaskableError("the run has no ratio 0")
        return self.at(model, 0.0)

    def everywhere(self, model: str) -> FloatArray:
        """Recall over all ratios and ks: float64 ``[cells, 1 + B]``."""
        grid = self.grid
        return np.stack([self.at(model, ratio, k=k) for ratio in grid.ratios for k in grid.ks])

    def curve(self, model: str) -> FloatArray:
        """Recall over ratio 0 and two or more others at one k: float64 ``[ratios, 1 + B]``."""
        ratios = self.grid.ratios
        if ratios[0] != 0 or len(ratios) < 3:
            raise UnaskableError("curves need ratio 0 and at least two others")
        return np.stack([self.at(model, ratio) for ratio in ratios])

    def chance(self, model: str) -> float:
        """Recall of a random ranking at the k of :attr:`k`."""
        return self.floor(self.cell(model, self.grid.ratios[0]))

    def sees(self, model: str) -> bool:
        """Whether a model clears the band around chance at ratio 0: others have none to lose."""
        return interval(self.whole(model)[1:])[0] > NEAR * self.chance(model)

    def needs_sight(self) -> None:
        """UnaskableError where every model is near chance at 0 %: who leads there is luck."""
        if self.grid.ratios[0] == 0:
            self.seeing()

    def seeing(self) -> tuple[list[str], tuple[str, ...]]:
        """Models with recall to lose, and a note on the others."""
        known = self.others()
        found = [model for model in known if self.sees(model)]
        if not found:
            raise UnaskableError("every model is near chance at 0 %")
        left = [model for model in known if model not in found]
        return found, (f"without {', '.join(left)}: near chance at 0 %",) if left else ()


def roles(settings: Settings) -> dict[str, str]:
    """Role -> the first selected model that has it, in the order of ``ROLES``."""
    found: dict[str, str] = {}
    for model in settings.models:
        if model.name in settings.grid.models:
            found.setdefault(model.role or model.family, model.name)
    return {role: found[role] for role in ROLES if role in found}


def main_occluder(grid: Grid) -> str:
    """What curves are about; UnaskableError where the run has corruptions only."""
    found = [name for name in grid.occluders if not is_corruption(name)]
    if not found:
        raise UnaskableError("the run has no occluder")
    return MAIN_OCCLUDER if MAIN_OCCLUDER in found else found[0]


def region_ratio(grid: Grid) -> float:
    """The ratio at which occluders are compared; UnaskableError when nothing is blocked."""
    blocked = [ratio for ratio in grid.ratios if ratio]
    if not blocked:
        raise UnaskableError("the run blocks nothing")
    return min(blocked, key=lambda ratio: abs(ratio - REGION_RATIO))


def cells_of(settings: Settings) -> list[Cell]:
    """Cells of the curves that claims look at, so that one pass can measure them all."""
    grid = settings.grid
    if all(is_corruption(name) for name in grid.occluders):
        return []
    return [
        Cell(model, grid.directions[0], main_occluder(grid), ratio, k)
        for model in roles(settings).values()
        for ratio in grid.ratios
        for k in grid.ks
    ]


def evidence_of(session: Session) -> Evidence:
    """The evidence of a session; what it asks for is measured when it is asked for."""
    return Evidence(session.settings, session.sampled_recall, lambda c: session.result(c).chance)
