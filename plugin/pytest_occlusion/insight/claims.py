"""The findings of Deanda et al. 2025 (arXiv 2501.09134), asked of any suite.

Each claim is a statement about recalls, judged by a 95 % interval that resamples patients: every
model and condition sees the same resamples, so differences are paired. What comes out is one of
``OUTCOMES``; a claim is never made to hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pytest_occlusion.engine.session import Later, Session
from pytest_occlusion.occlusion.levels import is_corruption
from pytest_occlusion.retrieval.degradation import area_under, line_through, retained
from pytest_occlusion.retrieval.intervals import interval
from pytest_occlusion.retrieval.recall import FloatArray
from pytest_occlusion.suite.grid import MAIN_OCCLUDER, Cell, Grid, focus_k
from pytest_occlusion.suite.settings import Settings
from pytest_occlusion.suite.table import OUTCOMES, ROLES

SUPPORTED, CONTRADICTED, NO_POWER = OUTCOMES

OPPOSITE = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}

CLIP, REPAIR, MEDCLIP, CXR_CLIP = ROLES

REGIONS = ("block", "center", "border", "patches")
"""Occluders that are compared at :data:`REGION_RATIO`."""

LINEAR = 0.9
"""Share of a curve's variance from which a straight line is called a good account of it."""

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
    """What claims are judged by: recalls with their resamples, and who plays which part."""

    settings: Settings  # the run's; models, ratios and ks are those selected
    recalls: Callable[[Cell], FloatArray]  # ``[1 + B]``: of the whole sample, of every resample
    floor: Callable[[Cell], float]  # recall of a random ranking

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


def region_cells(settings: Settings, model: str, names: Sequence[str]) -> list[Cell]:
    """Cells beside a model's curves that the named claims compare.

    They are asked only of models that see (:meth:`Evidence.sees`), which ratio 0 tells.
    """
    grid = settings.grid
    asked = any(CLAIMS[name].regions for name in names) and model in roles(settings).values()
    blocked = not grid.ratios[0] and any(grid.ratios)
    if not asked or not blocked or all(is_corruption(name) for name in grid.occluders):
        return []
    ratio, k = region_ratio(grid), focus_k(grid.ks)
    return [Cell(model, grid.directions[0], region, ratio, k) for region in REGIONS]


def asked_later(session: Session, names: Sequence[str]) -> Later:
    """What the named claims will need beside the cells of a session."""
    settings = session.settings
    return Later(lambda model: region_cells(settings, model, names), evidence_of(session).sees)


@dataclass(frozen=True)
class Estimate:
    """One number (``cxr-clip - medclip``) of the whole sample, its 95 % interval, and its bar."""

    label: str
    value: float
    low: float
    high: float
    threshold: float

    @property
    def outcome(self) -> str:
        """Supported above the threshold, contradicted below, without power across it."""
        if self.low > self.threshold:
            return SUPPORTED
        return CONTRADICTED if self.high < self.threshold else NO_POWER


@dataclass(frozen=True)
class Finding:
    """What a claim came to."""

    claim: str  # its name
    outcome: str  # one of ``OUTCOMES``
    unit: str  # of the estimates, e.g. ``share of 48 cells``
    estimates: tuple[Estimate, ...]
    notes: tuple[str, ...] = ()  # what was left out, and why


def _estimate(label: str, values: FloatArray, threshold: float = 0.0) -> Estimate:
    low, high = interval(values[1:])
    return Estimate(label, float(values[0]), low, high, threshold)


Answer = tuple[str, Sequence[Estimate], Sequence[str]]
"""Unit, estimates and notes of a :class:`Finding`."""


def combined(estimates: Sequence[Estimate]) -> str:
    """Supported when all estimates say so, contradicted when any does, else without power."""
    outcomes = {estimate.outcome for estimate in estimates}
    if CONTRADICTED in outcomes:
        return CONTRADICTED
    return SUPPORTED if outcomes == {SUPPORTED} else NO_POWER


def _best(evidence: Evidence) -> Answer:
    leader = evidence.role(CXR_CLIP)
    evidence.needs_sight()
    others = np.stack([evidence.everywhere(model) for model in evidence.others(CXR_CLIP)])
    leads = (evidence.everywhere(leader) > others.max(0)).mean(0)
    return f"share of {others.shape[1]} cells", [_estimate(f"{leader} leads", leads, 0.5)], ()


def _second(evidence: Evidence) -> Answer:
    first, second = evidence.role(CXR_CLIP), evidence.role(REPAIR)
    evidence.needs_sight()
    rest = np.stack([evidence.everywhere(m) for m in evidence.others(CXR_CLIP, REPAIR)])
    own = evidence.everywhere(second)
    comes_second = ((own < evidence.everywhere(first)) & (own > rest.max(0))).mean(0)
    estimate = _estimate(f"{second} behind {first} alone", comes_second, 0.5)
    return f"share of {rest.shape[1]} cells", [estimate], ()


def _flattest(evidence: Evidence) -> Answer:
    flat = evidence.role(MEDCLIP)
    models, notes = evidence.seeing()
    if flat not in models:
        raise UnaskableError(f"{flat} is near chance at 0 %, so it has nothing to retain")
    shares = {model: retained(evidence.curve(model), evidence.chance(model)) for model in models}
    areas = {model: area_under(evidence.grid.ratios, share) for model, share in shares.items()}
    estimates = [
        _estimate(f"{flat} - {model}", areas[flat] - areas[model])
        for model in models
        if model != flat
    ]
    if not estimates:
        raise UnaskableError(f"no other model than {flat} has recall to lose")
    return f"area under retention above chance, R@{evidence.k}", estimates, notes


def _near_chance(evidence: Evidence) -> Answer:
    model = evidence.role(CLIP)
    multiples = evidence.whole(model) / evidence.chance(model)
    unit = f"multiples of chance, R@{evidence.k}; near is up to {NEAR:g}"
    return unit, [_estimate(f"{model} at 0 %", multiples, NEAR)], ()


def _proportional(evidence: Evidence) -> Answer:
    models, notes = evidence.seeing()
    estimates = [
        _estimate(model, line_through(evidence.grid.ratios, evidence.curve(model))[1], LINEAR)
        for model in models
    ]
    return f"R2 of a line through R@{evidence.k}; good is above {LINEAR:g}", estimates, notes


def _compared(cheaper: str, dearer: str) -> Callable[[Evidence], Answer]:
    """Blocking with ``dearer`` costs more recall than with ``cheaper``, area for area."""

    def answer(evidence: Evidence) -> Answer:
        models, notes = evidence.seeing()
        ratio = region_ratio(evidence.grid)
        estimates = []
        for model in models:
            left, worse = (evidence.at(model, ratio, occluder=one) for one in (cheaper, dearer))
            estimates.append(_estimate(f"{model}, {cheaper} - {dearer}", 100 * (left - worse)))
        return f"points of R@{evidence.k} at {100 * ratio:g} % blocked", estimates, notes

    return answer


@dataclass(frozen=True)
class Claim:
    """A statement and how it is judged."""

    name: str  # what suites and reports call it
    statement: str
    answer: Callable[[Evidence], Answer]  # raises UnaskableError where the suite cannot say
    regions: bool = False  # whether it compares occluders beyond the suite's own
    below: bool = False  # whether the numbers support it below their thresholds, not above

    def judge(self, evidence: Evidence) -> Finding:
        """What it comes to; UnaskableError where the suite cannot say."""
        unit, estimates, notes = self.answer(evidence)
        outcome = combined(estimates)
        if self.below:
            outcome = OPPOSITE.get(outcome, outcome)
        return Finding(self.name, outcome, unit, tuple(estimates), tuple(notes))


CLAIMS: Mapping[str, Claim] = {
    claim.name: claim
    for claim in (
        Claim("best", "CXR-CLIP retrieves best in most cells", _best),
        Claim("second", "CXR-RePaiR comes second in most cells", _second),
        Claim("flattest", "MedCLIP retains the largest share above chance", _flattest),
        Claim("near-chance", "CLIP is near chance with nothing blocked", _near_chance, below=True),
        Claim("proportional", "recall falls in proportion to the blocked area", _proportional),
        *(
            Claim(name, statement, _compared(cheaper, dearer), regions=True)
            for name, statement, cheaper, dearer in (
                ("center", "the centre matters more than its area", "block", "center"),
                ("border", "the border matters less than its area", "border", "block"),
                ("scattered", "scattered blocking costs less than one block", "patches", "block"),
            )
        ),
    )
}
"""Name -> claim. The first five are findings of the paper; the others are questions that its
experiments on occluders raise."""


def described(finding: Finding) -> list[str]:
    """Lines for people: every number with its interval, then what was left out."""
    return [f"({finding.unit})", *told_of(asdict(finding)), *finding.notes]


def told_of(claim: Mapping[str, Any]) -> list[str]:
    """The numbers of a claim's record with their intervals, for people."""
    lines = []
    for one in claim["estimates"]:
        value, low, high = (
            f"{one[name]:.2f}" if abs(one[name]) < 9.995 else f"{one[name]:.1f}"
            for name in ("value", "low", "high")
        )
        lines.append(f"{one['label']} {value} [{low}, {high}]")
    return lines
