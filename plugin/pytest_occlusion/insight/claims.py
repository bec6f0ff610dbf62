"""The findings of Deanda et al. 2025 (arXiv 2501.09134), asked of any suite.

Each claim is a statement about recalls, judged by a 95 % interval that resamples patients: every
model and condition sees the same resamples, so differences are paired. What comes out is one of
``OUTCOMES``; a claim is never made to hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from pytest_occlusion.suite.settings import OUTCOMES, ROLES, Settings

SUPPORTED, CONTRADICTED, NO_POWER = OUTCOMES

OPPOSITE = {SUPPORTED: CONTRADICTED, CONTRADICTED: SUPPORTED}

CLIP, REPAIR, MEDCLIP, CXR_CLIP = ROLES

REGIONS = ("block", "center", "border", "patches")
"""Occluders that are compared at that share."""

LINEAR = 0.9
"""Share of a curve's variance from which a straight line is called a good account of it."""


@dataclass(frozen=True)
class Estimate:
    """One number with its 95 % interval.

    Attributes:
        label: What it is, e.g. ``cxr-clip - medclip``.
        value: On the whole sample.
        low: Lower end.
        high: Upper end.
        threshold: What the interval is compared with.
    """

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


def combined(estimates: Sequence[Estimate]) -> str:
    """Supported when all estimates say so, contradicted when any does, else without power."""
    outcomes = {estimate.outcome for estimate in estimates}
    if CONTRADICTED in outcomes:
        return CONTRADICTED
    return SUPPORTED if outcomes == {SUPPORTED} else NO_POWER


def _finding(
    claim: str, unit: str, estimates: Sequence[Estimate], notes: Sequence[str] = ()
) -> Finding:
    return Finding(claim, combined(estimates), unit, tuple(estimates), tuple(notes))


def _best(evidence: Evidence) -> Finding:
    leader = evidence.role(CXR_CLIP)
    evidence.needs_sight()
    others = np.stack([evidence.everywhere(model) for model in evidence.others(CXR_CLIP)])
    leads = (evidence.everywhere(leader) > others.max(0)).mean(0)
    count = others.shape[1]
    return _finding("best", f"share of {count} cells", [_estimate(f"{leader} leads", leads, 0.5)])


def _second(evidence: Evidence) -> Finding:
    first, second = evidence.role(CXR_CLIP), evidence.role(REPAIR)
    evidence.needs_sight()
    rest = np.stack([evidence.everywhere(m) for m in evidence.others(CXR_CLIP, REPAIR)])
    own = evidence.everywhere(second)
    comes_second = ((own < evidence.everywhere(first)) & (own > rest.max(0))).mean(0)
    estimate = _estimate(f"{second} behind {first} alone", comes_second, 0.5)
    return _finding("second", f"share of {rest.shape[1]} cells", [estimate])


def _flattest(evidence: Evidence) -> Finding:
    flat = evidence.role(MEDCLIP)
    models, notes = evidence.seeing()
    if flat not in models:
        raise UnaskableError(f"{flat} is near chance at 0 %, so it has nothing to retain")
    areas = {
        model: area_under(
            evidence.grid.ratios, retained(evidence.curve(model), evidence.chance(model))
        )
        for model in models
    }
    estimates = [
        _estimate(f"{flat} - {model}", areas[flat] - areas[model])
        for model in models
        if model != flat
    ]
    if not estimates:
        raise UnaskableError(f"no other model than {flat} has recall to lose")
    unit = f"area under retention above chance, R@{evidence.k}"
    return _finding("flattest", unit, estimates, notes)


def _near_chance(evidence: Evidence) -> Finding:
    model = evidence.role(CLIP)
    multiples = evidence.whole(model) / evidence.chance(model)
    estimate = _estimate(f"{model} at 0 %", multiples, NEAR)
    outcome = OPPOSITE.get(estimate.outcome, estimate.outcome)
    unit = f"multiples of chance, R@{evidence.k}; near is up to {NEAR:g}"
    return Finding("near-chance", outcome, unit, (estimate,))


def _proportional(evidence: Evidence) -> Finding:
    models, notes = evidence.seeing()
    estimates = [
        _estimate(model, line_through(evidence.grid.ratios, evidence.curve(model))[1], LINEAR)
        for model in models
    ]
    unit = f"R2 of a line through R@{evidence.k}; good is above {LINEAR:g}"
    return _finding("proportional", unit, estimates, notes)


def _compared(name: str, cheaper: Sequence[str], dearer: str) -> Callable[[Evidence], Finding]:
    """Blocking with ``dearer`` costs more recall than with each of ``cheaper``, area for area."""

    def judge(evidence: Evidence) -> Finding:
        models, notes = evidence.seeing()
        ratio = region_ratio(evidence.grid)
        estimates = []
        for model in models:
            worse = evidence.at(model, ratio, occluder=dearer)
            estimates += [
                _estimate(
                    f"{model}, {better} - {dearer}",
                    100 * (evidence.at(model, ratio, occluder=better) - worse),
                )
                for better in cheaper
            ]
        unit = f"points of R@{evidence.k} at {100 * ratio:g} % blocked"
        return _finding(name, unit, estimates, notes)

    return judge


@dataclass(frozen=True)
class Claim:
    """A statement and how it is judged.

    Attributes:
        statement: In words.
        judge: Evidence -> finding; raises UnaskableError where the suite cannot say.
        regions: Whether it compares occluders beyond the suite's own.
    """

    statement: str
    judge: Callable[[Evidence], Finding]
    regions: bool = False


CLAIMS: Mapping[str, Claim] = {
    "best": Claim("CXR-CLIP retrieves best in most cells", _best),
    "second": Claim("CXR-RePaiR comes second in most cells", _second),
    "flattest": Claim("MedCLIP retains the largest share above chance", _flattest),
    "near-chance": Claim("CLIP is near chance with nothing blocked", _near_chance),
    "proportional": Claim("recall falls in proportion to the blocked area", _proportional),
    "center": Claim(
        "the centre matters more than its area",
        _compared("center", ("block",), "center"),
        regions=True,
    ),
    "border": Claim(
        "the border matters less than its area",
        _compared("border", ("border",), "block"),
        regions=True,
    ),
    "scattered": Claim(
        "scattered blocking costs less than one block",
        _compared("scattered", ("patches",), "block"),
        regions=True,
    ),
}
"""Name -> claim. The first five are findings of the paper; the others are questions that its
experiments on occluders raise."""


def described(finding: Finding) -> list[str]:
    """Lines for people: every number with its interval, then what was left out."""
    lines = [told(one.label, one.value, one.low, one.high) for one in finding.estimates]
    return [f"({finding.unit})", *lines, *finding.notes]


def told(label: str, value: float, low: float, high: float) -> str:
    """One number with its interval, for people."""
    return f"{label} {_rounded(value)} [{_rounded(low)}, {_rounded(high)}]"


def told_of(claim: Mapping[str, Any]) -> list[str]:
    """The numbers of a claim's record, for people."""
    return [told(one["label"], one["value"], one["low"], one["high"]) for one in claim["estimates"]]


def _rounded(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 9.995 else f"{value:.1f}"
