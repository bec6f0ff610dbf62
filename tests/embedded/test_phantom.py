"""Phantoms: repeatable, and each finding where and as large as the study says."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from pytest_occlusion.occlusion import CORRUPTIONS, OCCLUDERS
from pytest_occlusion.suite.table import RATIOS
from pytest_occlusion_fixtures.contact_sheet import contact_sheet
from pytest_occlusion_fixtures.digest import GENERATOR_MODULES, generator_digest
from pytest_occlusion_fixtures.findings import KINDS, LEFT, RIGHT, Finding
from pytest_occlusion_fixtures.phantom import draw_radiograph
from tests.embedded.specimens import all_findings, change, pixels, specimen

VISIBLE = 60
"""Least sum of squares of a change (its root), in grey levels at 64 px; noise alone gives 0."""


@pytest.mark.parametrize("view", ["PA", "AP", "lateral"])
@pytest.mark.parametrize("size", [64, 128, 224])
def test_a_radiograph_is_deterministic(view: str, size: int) -> None:
    study = specimen(3, view, Finding("effusion", LEFT, "", 2))
    first = draw_radiograph(study, 0, size)
    assert first.dtype == np.uint8
    assert first.shape == (size, size)
    assert np.array_equal(first, draw_radiograph(study, 0, size))
    assert 20 < first.mean() < 200
    assert first.std() > 30


def test_exposures_differ_but_show_the_same_patient() -> None:
    study = specimen(5, "PA", Finding("mass", LEFT, "upper lobe", 3))
    exposures = [draw_radiograph(study, 0, 64, number).astype(float) for number in range(4)]
    other = draw_radiograph(specimen(6, "PA"), 0, 64).astype(float)
    for again in exposures[1:]:
        assert not np.array_equal(exposures[0], again)
        assert np.corrcoef(exposures[0].ravel(), again.ravel())[0, 1] > 0.8
    assert not np.array_equal(exposures[0], other)


def test_a_larger_picture_shows_the_same() -> None:
    study = specimen(7, "PA", Finding("cardiomegaly", "", "", 3))
    small, large = draw_radiograph(study, 0, 64), draw_radiograph(study, 0, 256)
    shrunk = large.reshape(64, 4, 64, 4).mean((1, 3))
    assert np.abs(shrunk - small).mean() < 5


@pytest.mark.parametrize("finding", all_findings(), ids=str)
def test_every_finding_is_visible(finding: Finding) -> None:
    views = ["lateral"] if KINDS[finding.kind].lateral_only else ["PA", "lateral"]
    for view in views:
        size = float(np.sqrt(np.square(change(11, view, finding)).sum()))
        assert size > VISIBLE, view


@pytest.mark.parametrize("kind", KINDS)
def test_a_severer_finding_changes_more(kind: str) -> None:
    record = KINDS[kind]
    grades = [grade for grade in (1, 2, 3) if record.severities[grade - 1]]
    side, site = next(iter(record.sides)), next(iter(record.sites))
    view = "lateral" if record.lateral_only else "PA"

    def size(grade: int) -> float:
        finding = Finding(kind, side, site, grade)
        return float(np.mean([np.square(change(n, view, finding)).sum() for n in range(20, 26)]))

    sizes = [size(grade) for grade in grades]
    assert sizes == sorted(sizes)
    if len(sizes) == 3:
        assert sizes[2] > 1.3 * sizes[0]


CROSSES = {"central line"}
"""Kinds that reach over to the other side: every central line ends in the vena cava."""


@pytest.mark.parametrize(
    "finding",
    [f for f in all_findings() if f.side in (LEFT, RIGHT) and f.kind not in CROSSES],
    ids=str,
)
def test_sides_follow_the_radiographic_convention(finding: Finding) -> None:
    """The patient's left is on the right of a frontal picture."""
    added = change(13, "PA", finding)
    if finding.kind == "scoliosis":  # where the spine went, not what it left behind
        added = np.maximum(added, 0)
        added[:, np.r_[:22, 42:64]] = 0
    weight = np.abs(added) * (np.abs(added) > 6)
    across = np.linspace(-1, 1, weight.shape[1])
    centre = float((weight.sum(0) * across).sum() / weight.sum())
    assert centre > 0.04 if finding.side == LEFT else centre < -0.04, centre


@pytest.mark.parametrize(("site", "low", "high"), [("upper lobe", 0.15, 0.5), ("base", 0.5, 0.8)])
@pytest.mark.parametrize("kind", ["opacity", "nodule", "airspace disease", "granuloma"])
def test_sites_are_at_their_height(kind: str, site: str, low: float, high: float) -> None:
    for side in (LEFT, RIGHT):
        weight = np.abs(change(17, "PA", Finding(kind, side, site, 2)))
        weight = weight * (weight > 6)
        down = (np.arange(64) + 0.5) / 64
        assert low < float((weight.sum(1) * down).sum() / weight.sum()) < high


def test_the_heart_is_as_wide_as_the_study_says() -> None:
    def width(number: int, *findings: Finding) -> int:
        row = pixels(number, "PA", *findings)[37:43].mean(0)
        edge = (np.percentile(row[8:56], 15) + np.median(row[30:36])) / 2
        solid = row > edge
        right = next(at for at in range(32, 0, -1) if not solid[at])
        left = next(at for at in range(33, 64) if not solid[at])
        return left - right

    normal = np.mean([width(n) for n in range(30, 40)])
    for grade, least in ((1, 1.1), (2, 1.25), (3, 1.4)):
        large = np.mean([width(n, Finding("cardiomegaly", "", "", grade)) for n in range(30, 40)])
        assert large > least * normal, (grade, large, normal)


def test_a_flat_and_a_high_diaphragm() -> None:
    def dome(finding: Finding) -> float:
        return float(np.mean([pixels(n, "PA", finding)[40:50, 12:20].mean() for n in range(6)]))

    high, flat = Finding("hypoinflation", "", "", 3), Finding("hyperinflation", "", "", 3)
    assert dome(high) > dome(flat) + 40  # belly where the other has lung


def test_chronic_findings_lie_where_they_lay() -> None:
    finding = Finding("granuloma", LEFT, "upper lobe", 2)
    before = specimen(50, "PA", finding)
    after = replace(before, index=before.index + 1)  # a later visit of the same patient
    spots = []
    for visit in (before, after):
        shown = draw_radiograph(visit, 0, 64).astype(float)
        spots.append((shown - draw_radiograph(replace(visit, findings=()), 0, 64)).argmax())
    rows, columns = np.unravel_index(spots, (64, 64))
    assert abs(int(rows[0]) - int(rows[1])) <= 5
    assert abs(int(columns[0]) - int(columns[1])) <= 5


def test_the_digest_covers_every_module_that_decides_a_pixel_or_a_word() -> None:
    assert len(generator_digest()) == 64
    code = (
        "import sys, pytest_occlusion_fixtures.phantom, pytest_occlusion_fixtures.open_i,"
        "pytest_occlusion_fixtures.grammar\n"
        "print(*(m.split('.')[1] for m in sys.modules if m.startswith('pytest_occlusion_f') "
        "and '.' in m))\n"
        "assert not {'torch', 'PIL', 'pytest_occlusion'} & set(sys.modules), 'a heavy import'"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert {f"{name}.py" for name in out.stdout.split()} == set(GENERATOR_MODULES)


def test_the_contact_sheet_shows_every_kind_occluder_and_corruption() -> None:
    size, columns, caption = 64, 8, 14
    sheet = contact_sheet(size=size, scale=1)
    rows = -(-(len(KINDS) + 3) // columns) + len(OCCLUDERS)
    height = (rows + len(CORRUPTIONS)) * (size + caption)
    assert sheet.size == (columns * size, height)
    for number, occluder in enumerate(reversed(OCCLUDERS), 1):
        top = (rows - number) * (size + caption) + caption
        black = [
            float((np.asarray(sheet.crop((left, top, left + size, top + size))) == 0).mean())
            for left in range(0, columns * size, size)
        ]
        for ratio, share in zip(RATIOS, black, strict=True):
            assert share >= ratio - 0.02, (occluder, ratio)
