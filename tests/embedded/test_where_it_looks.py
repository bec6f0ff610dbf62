"""A map of phantoms whose finding lies in one lung base has its maximum in that lung base."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import pytest_occlusion_fixtures
from pytest_occlusion.corpora.base import Corpus, Radiograph, Study
from pytest_occlusion.corpora.task import build_task
from pytest_occlusion.encoders import load_encoder
from pytest_occlusion.engine.job import Job
from pytest_occlusion.engine.models import record_of
from pytest_occlusion.engine.store import Store
from pytest_occlusion.insight.maps import measured_map
from pytest_occlusion.insight.sensitivity import SensitivityMap
from pytest_occlusion.suite.merge import build_settings
from pytest_occlusion.suite.suites import Suite
from pytest_occlusion_fixtures.findings import LEFT, RIGHT, Finding, SyntheticStudy
from pytest_occlusion_fixtures.grammar import write_report
from pytest_occlusion_fixtures.phantom import draw_radiograph
from tests.embedded.specimens import specimen
from tests.threads import one_thread  # noqa: F401 - a fixture

CHECKPOINTS = Path(pytest_occlusion_fixtures.__file__).parent / "checkpoints"
PATIENTS, GRID = 32, 4

BASAL = {
    "small effusion": Finding("effusion", severity=1),
    "large effusion": Finding("effusion", severity=3),
    "airspace disease": Finding("airspace disease", site="base", severity=2),
}

FINDINGS = {
    f"{name}, {side}": replace(finding, side=side)
    for name, finding in BASAL.items()
    for side in (RIGHT, LEFT)
}


def drawn(study: SyntheticStudy) -> Image.Image:
    return Image.fromarray(draw_radiograph(study, 0, size=128))


@cache
def corpus() -> Corpus:
    """One frontal radiograph each of patients who have one of these findings and nothing else.

    The finding and its side stand for the view, so that one run gives a map of each; nothing else
    of it crosses from one to the other: losses are those of the own report.
    """
    studies: list[Study] = []
    radiographs: list[Radiograph] = []
    for view, finding in FINDINGS.items():
        for number in range(PATIENTS):
            study = replace(specimen(number, "PA", finding), compared=False)
            written = write_report(study)
            name = f"{view} {number}"
            opened = partial(drawn, study)
            place = len(studies)
            studies.append(Study(name, name, written.text, written.findings, written.impression))
            radiographs.append(Radiograph(name, place, view, name, name, opened))
    return Corpus("basal", tuple(studies), tuple(radiographs))


@pytest.fixture(
    scope="module", params=["cxr-clip", pytest.param("cxr-repair", marks=pytest.mark.slow)]
)
def found(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> SensitivityMap:
    """The maps of a model."""
    model, folder = request.param, tmp_path_factory.mktemp("store")
    options: dict[str, Any] = {"canvas-size": 64} if model == "cxr-repair" else {}
    encoder = load_encoder(model, checkpoint=CHECKPOINTS / model, device="cpu", **options)
    suite = {"suite": "basal", "models": {"m": {"family": model, "checkpoint": "m.pt"}}}
    settings = build_settings(Suite(suite, "here", folder), command_line={"map": GRID, "ks": [5]})
    job = Job(
        label=model,
        record=record_of(encoder),
        encoder=lambda: encoder,
        corpus=corpus(),
        task=build_task(corpus(), text_rule="findings+impression", candidates="texts"),
        conditions=(),
        directions=(),
        store=Store(folder),
        batch_size=32,
        say=lambda line: None,
    )
    return measured_map(job, settings)[0]


@pytest.mark.parametrize("view", FINDINGS)
def test_the_maximum_lies_in_that_lung_base(view: str, found: SensitivityMap) -> None:
    losses = found.view(view).losses["similarity"]
    row, column = losses.peak
    assert row >= GRID // 2, losses.value
    assert (column < GRID // 2) == (FINDINGS[view].side == RIGHT), "the patient's right is left"
    assert losses.low[row, column] > 0
    picture = found.view(view).picture
    assert picture is not None
    assert picture.shape == (64, 64)
