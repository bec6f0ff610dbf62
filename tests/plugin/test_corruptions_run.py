"""Corruptions through pytest: cells with a severity, baselines, claims, reports."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest

from tests.plugin.conftest import Project

CORRUPTED = ("--occlusion-occluders", "block,gaussian-noise,rotation")


def cells(project: Project, name: str = "r.json") -> dict[str, dict[str, Any]]:
    document = json.loads((project.path / name).read_text())
    return {cell["id"]: cell for cell in document["cells"]}


@pytest.fixture
def corrupted(project: Project) -> Project:
    """The project, its suite holding two corruptions beside blocks."""
    suite = (project.path / "suite.toml").read_text()
    (project.path / "suite.toml").write_text(
        'occluders = ["block", "gaussian-noise", "rotation"]\nseverities = [0, 2, 5]\n' + suite
    )
    return project


def test_a_suite_with_corruptions(corrupted: Project) -> None:
    corrupted.accept()
    files = ("--occlusion-json", "r.json", "--occlusion-csv", "r.csv")
    result = corrupted.run(*files, expect=0)
    found = cells(corrupted)
    assert len(found) == 2 * 2 * (4 + 3 + 3)
    one = found["good-gaussian-noise-s2-k005"]
    assert (one["ratio"], one["severity"], one["achieved"]) == (0.4, 2, None)
    assert one["verdict"] == "same"
    assert found["good-block-r25-k005"]["severity"] is None
    whole = [found[f"good-{tag}-k005"]["hits"] for tag in ("rotation-s0", "block-r00")]
    assert whole[0] == whole[1]
    assert found["good-rotation-s5-k001"]["recall"] < found["good-rotation-s0-k001"]["recall"]
    result.stdout.fnmatch_lines(["good - gaussian-noise", "severity *R@1 *R@5 *", "*2 *"])
    with (corrupted.path / "r.csv").open() as file:
        assert {row["severity"] for row in csv.DictReader(file)} == {"", "0", "2", "5"}
    assert "good-rotation-s5-k001" in corrupted.snapshot().read_text()


def test_corruptions_on_the_command_line_leave_baselines_alone(project: Project) -> None:
    project.accept()
    before = project.snapshot().read_bytes()
    result = project.run(
        *CORRUPTED, "--occlusion-severities", "0,3", "--occlusion-json", "r.json",
        expect=0,
    )  # fmt: skip
    found = cells(project)
    assert {i.split("-")[-2] for i in found if "noise" in i or "rotation" in i} == {"s0", "s3"}
    assert {c["verdict"] for i, c in found.items() if "block" in i} == {"same"}
    assert {c["verdict"] for i, c in found.items() if "block" not in i} == {"new"}
    assert project.snapshot().read_bytes() == before
    assert "secret" not in result.stdout.str()


def test_a_regression_names_the_severity(corrupted: Project) -> None:
    corrupted.accept()
    corrupted.checkpoint("good", noise=3.0)
    result = corrupted.run("-k", "good-gaussian-noise-s2-k001", expect=1)
    result.stdout.fnmatch_lines(
        ["*Recall@1 of good at severity 2 (gaussian-noise) fell beyond the tolerance"]
    )


def test_claims_ignore_corruptions(corrupted: Project) -> None:
    suite = corrupted.path / "suite.toml"
    named = suite.read_text().replace("[models.good]", '[models.good]\nrole = "cxr-clip"')
    suite.write_text(named.replace("[models.other]", '[models.other]\nrole = "medclip"'))
    corrupted.pytester.makepyfile(
        test_claims="def test_claim(occlusion_claim):\n    occlusion_claim.assert_expected()\n"
    )
    corrupted.run(
        "test_claims.py", "test_toy.py", "--snapshot-update", "--occlusion-json", "r.json"
    )
    corrupted.run("test_claims.py", "test_toy.py", "--occlusion-json", "r.json", expect=0)
    claims = json.loads((corrupted.path / "r.json").read_text())["claims"]
    best = next(claim for claim in claims if claim["claim"] == "best")
    assert best["unit"] == "share of 8 cells"  # 4 ratios x 2 ks of the block
    result = corrupted.run("test_claims.py", "--occlusion-occluders", "blur", "-rs", expect=0)
    assert "the run has no occluder" in result.stdout.str()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("--occlusion-severities", "1,6"),
            "--occlusion-severities holds 6; severities are 0 to 5",
        ),
        (("--occlusion-severities", "x"), "--occlusion-severities is not a list of whole numbers"),
        (("--occlusion-severities", "2,2"), "--occlusion-severities names a severity twice"),
        (("--occlusion-occluders", "fog"), "unknown fog; known: block, patches, pixels, center, "),
    ],
)
def test_faults(project: Project, arguments: tuple[str, ...], says: str) -> None:
    result = project.run(*arguments, expect=4)
    assert says in result.stderr.str()
