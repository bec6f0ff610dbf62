"""Claims through pytest: judged, recorded, expected, skipped; alone, beside cells."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from tests.plugin.conftest import Project

CLAIMS = """
def test_claim(occlusion_claim):
    occlusion_claim.assert_expected()
"""


@pytest.fixture
def asking(project: Project) -> Project:
    """The project with roles for its models, and a test of the claims."""
    suite = (project.path / "suite.toml").read_text()
    suite = suite.replace("[models.good]", '[models.good]\nrole = "cxr-clip"')
    suite = suite.replace("[models.other]", '[models.other]\nrole = "medclip"')
    (project.path / "suite.toml").write_text(suite)
    project.pytester.makepyfile(test_claims=CLAIMS)
    project.checkpoint("other", noise=2.5)
    return project


def claims(project: Project) -> dict[str, dict[str, object]]:
    document = json.loads((project.path / "r.json").read_text())
    return {claim["claim"]: claim for claim in document["claims"]}


def test_findings_are_shown_and_written(asking: Project) -> None:
    files = ("--occlusion-json", "r.json", "--occlusion-markdown", "r.md", "--junitxml", "r.xml")
    result = asking.run("--snapshot-update", "-rs", *files, expect=0)
    found = claims(asking)
    assert list(found) == [
        *("best", "flattest", "proportional", "center", "border", "scattered"),
    ]
    assert found["best"]["outcome"] == "supported"
    assert found["best"]["unit"] == "share of 8 cells"
    assert found["best"]["expected"] is None
    lines = result.stdout.lines
    start = next(i for i, line in enumerate(lines) if line.startswith("claims of Deanda"))
    end = next(i for i, line in enumerate(lines) if line.startswith("16 baselines written"))
    assert all(len(line) <= 80 for line in lines[start:end])
    result.stdout.fnmatch_lines(
        ["supported     CXR-CLIP retrieves best in most cells", "*good leads *[[]*, *]"]
    )
    result.stdout.fnmatch_lines(["SKIPPED*no model of family, or with the role, cxr-repair"])
    assert (
        "| CXR-CLIP retrieves best in most cells | supported |"
        in (asking.path / "r.md").read_text()
    )
    cells = json.loads((asking.path / "r.json").read_text())["cells"]
    assert {cell["occluder"] for cell in cells} == {"block"}, "claims add no cells of their own"


def test_the_opposite_of_what_the_suite_expects_is_red(asking: Project) -> None:
    suite = asking.path / "suite.toml"
    suite.write_text(suite.read_text() + '[claims]\nbest = "contradicted"\n')
    result = asking.run("test_claims.py", "--occlusion-json", "r.json", expect=1)
    result.stdout.fnmatch_lines(
        [
            "claim 'best' is supported: CXR-CLIP retrieves best in most cells",
            "  the suite 'toy' expects it to be contradicted",
            "*good leads ?.?? [[]?.*",
            "*change best under [[]claims[]] in suite.toml",
        ]
    )
    suite.write_text(suite.read_text().replace("contradicted", "supported"))
    asking.run("test_claims.py", expect=0)


def test_claims_alone_measure_what_they_need(asking: Project) -> None:
    result = asking.run("test_claims.py", "-k", "near-chance or best", "-rs", expect=0)
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["claims were judged, but no cell: result files * need cells too*"])


@pytest.mark.parametrize("asked", [("-k", "center or best"), ()], ids=["claims", "all"])
def test_regions_are_measured_for_models_that_see(asking: Project, asked: tuple[str, ...]) -> None:
    """Three workers for two models share out levels; a claim then asks for regions by itself."""
    asking.checkpoint("other", image=0, bias=1)  # exactly chance
    run = asking.run if asked else partial(asking.both, workers=3)
    run(*asked, "--snapshot-update", expect=0)
    embedded = list((asking.path / "store" / "v1" / "embeddings").rglob("*.safetensors"))
    assert len(embedded) == 2 * 4 + 3  # four ratios of two models, three regions of one


def test_without_a_store_there_is_one_pass_per_model(asking: Project) -> None:
    """What a second one needs is not kept: it would decode all radiographs again."""
    args = ("--occlusion-no-store", "--occlusion-json", "r.json")
    asking.run(*args, "--snapshot-update", expect=0)
    timings = json.loads((asking.path / "r.json").read_text())["timings"]
    assert [one["model"] for one in timings] == ["good", "other"]
    assert {one["encoded_images"] for one in timings} == {60 * (4 + 3)}


def test_a_fault_is_told_once_and_plainly(asking: Project) -> None:
    asking.checkpoint("good", image=float("nan"))
    result = asking.run("test_claims.py", "-k", "best", expect=1)
    text = result.stdout.str()
    assert "model good at 0 %" in text
    assert "Traceback" not in text


def test_no_claim_is_asked_without_the_fixture(project: Project, tmp_path: Path) -> None:
    result = project.run("--snapshot-update", expect=0)
    assert "claims of Deanda" not in result.stdout.str()
