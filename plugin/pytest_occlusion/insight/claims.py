"""The findings of Deanda et al. 2025 (arXiv 2501.09134), asked of any suite.

Each claim is a statement about recalls, judged by a 95 % interval that resamples patients: every
model and condition sees the same resamples, so differences are paired. What comes out is one of
``OUTCOMES``; a claim is never made to hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pytest_occlusion.engine.session import Later, Session
from pytest_occlusion.insight.evidence import (
    NEAR,
    Evidence,
    UnaskableError,
    evidence_of,
    region_ratio,
    roles,
)
from pytest_occlusion.occlusion.levels import is_corruption
from pytest_occlusion.retrieval.degradation import area_under, line_through, retained
from pytest_occlusion.retrieval.intervals import interval
from pytest_occlusion.retrieval.recall import FloatArray
from pytest_occlusion.suite.grid import Cell, focus_k
from pytest_occlusion.suite.settings import Settings
from pytest_occlusion.suite.table import OUTCOMES, ROLES

SUPPORTED, CONTRADICTED, NO_POWER = OUTCOMES

OPPOSITE = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}

CLIP, REPAIR, MEDCLIP, CXR_CLIP = ROLES

REGIONS = ("block", "center", "border", "patches")
"""Occluders that are compared at that share."""

LINEAR = 0.9
"""Share of a curve's variance from which a straight line is called a good account of it."""


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
    """What a claim came to.

    Attributes:
        claim: Its name.
        outcome: One of ``OUTCOMES``.
        unit: Of the estimates, e.g. ``share of 48 cells``.
        estimates: The numbers behind it.
        notes: What was left out, and why.
    """

    claim: str
    outcome: str
    unit: str
    estimates: tuple[Estimate, ...]
    notes: tuple[str, ...] = ()


def region_cells(settings: Settings, model: str, names: Sequence[str]) -> list[Cell]:
    """Cells beside a model's curves that the named claims compare.

    They are asked only of models that see (:meth:`Evidence.sees`).
    """
    grid = settings.grid
    asked = any(CLAIMS[name].regions for name in names) and model in roles(settings).values()
    if not asked or not any(grid.ratios) or all(is_corruption(name) for name in grid.occluders):
        return []
    ratio, k = region_ratio(grid), focus_k(grid.ks)
    return [Cell(model, grid.directions[0], region, ratio, k) for region in REGIONS]


def asked_later(session: Session, names: Sequence[str]) -> Later:
    """What the named claims will need beside the cells of a session."""
    evidence = evidence_of(session)

    def cells(model: str) -> list[Cell]:
        settings = session.settings
        return region_cells(settings, model, names) if settings.grid.ratios[0] == 0 else []

    return Later(cells, evidence.sees)


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
    """A statement and how it is judged.

    Attributes:
        name: What suites and reports call it.
        statement: In words.
        answer: Evidence -> numbers; raises UnaskableError where the suite cannot say.
        regions: Whether it compares occluders beyond the suite's own.
        below: Whether the numbers support it below their thresholds, not above.
    """

    name: str
    statement: str
    answer: Callable[[Evidence], Answer]
    regions: bool = False
    below: bool = False

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
    return [f"({finding.unit})", *map(_told, map(asdict, finding.estimates)), *finding.notes]


def told_of(claim: Mapping[str, Any]) -> list[str]:
    """The numbers of a claim's record with their intervals, for people."""
    return [_told(one) for one in claim["estimates"]]


def _told(one: Mapping[str, Any]) -> str:
    value, low, high = (
        f"{one[name]:.2f}" if abs(one[name]) < 9.995 else f"{one[name]:.1f}"
        for name in ("value", "low", "high")
    )
    return f"{one['label']} {value} [{low}, {high}]"
