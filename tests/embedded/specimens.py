"""Studies with one finding each, and how they differ from the same chest without it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion_fixtures.findings import KINDS, Finding, SyntheticStudy
from pytest_occlusion_fixtures.phantom import draw_radiograph
from pytest_occlusion_fixtures.sampler import sample_study

SEED = 4242


def specimen(number: int, view: str, *findings: Finding) -> SyntheticStudy:
    """The same person for the same number, with exactly these findings."""
    return replace(sample_study(SEED, number), findings=findings, views=(view,), carried=())


def all_findings(severity: int | None = None) -> list[Finding]:
    """Every kind on every side, its sites taken in turn, in every severity it comes in."""
    found = []
    for kind, record in KINDS.items():
        grades = [g for g in (1, 2, 3) if record.severities[g - 1] and severity in (None, g)]
        sites = list(record.sites)
        for number, (side, grade) in enumerate((s, g) for s in record.sides for g in grades):
            found.append(Finding(kind, side, sites[number % len(sites)], grade))
    return found


@cache
def pixels(number: int, view: str, *findings: Finding) -> NDArray[np.float32]:
    """A phantom averaged down to the 64 px that the tiny encoders see, float32."""
    drawn = draw_radiograph(specimen(number, view, *findings), 0, 128)
    shrunk: NDArray[np.float32] = drawn.reshape(64, 2, 64, 2).mean((1, 3), dtype=np.float32)
    return shrunk


def change(number: int, view: str, finding: Finding) -> NDArray[np.float32]:
    """What a finding adds to the picture of a chest that is otherwise the same."""
    return pixels(number, view, finding) - pixels(number, view)
