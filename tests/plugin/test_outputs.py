"""Result files, what is missing, and life without xdist or pytest-benchmark."""

from __future__ import annotations

import csv
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pytest_occlusion.plugin import JUNIT
from tests.plugin.conftest import Project

pytestmark = pytest.mark.usefixtures("measured")


def test_csv_has_a_row_per_cell(project: Project) -> None:
    project.run("--occlusion-csv", "out.csv")
    with (project.path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    assert {row["verdict"] for row in rows} == {"new"}
    assert float(rows[0]["recall"]) == 1.0


def test_markdown_headlines_and_regressions(project: Project) -> None:
    project.accept()
    project.run("--occlusion-markdown", "sum.md", expect=0)
    assert "all 16 cells hold" in (project.path / "sum.md").read_text()
    project.checkpoint("good", noise=3.0)
    project.run("--occlusion-markdown", "sum.md", expect=1)
    text = (project.path / "sum.md").read_text()
    assert text.startswith("### Occlusion suite toy: ")
    assert "cells regressed" in text.splitlines()[0]
    assert "| good-block-r00-k001 | 100.0 % |" in text
    assert "<details><summary>good, block, image-to-text</summary>" in text


def test_junit_properties(project: Project) -> None:
    project.run("--junitxml", "junit.xml", "-k", "test_recall and good and r25")
    tree = ElementTree.parse(project.path / "junit.xml")
    cases = list(tree.iter("testcase"))
    assert len(cases) == 2
    for case in cases:
        found = {item.attrib["name"]: item.attrib["value"] for item in case.iter("property")}
        assert found.keys() == set(JUNIT)  # and no record written out as text
        assert found["verdict"] == "new"
        assert float(found["recall"]) == int(found["hits"]) / int(found["queries"])


def test_missing_models_are_skipped_when_allowed(project: Project) -> None:
    project.accept()
    (project.path / "good.safetensors").unlink()
    result = project.run("--occlusion-allow-missing", "-rs", expect=0)
    result.assert_outcomes(passed=9, skipped=9)
    result.stdout.fnmatch_lines(["*occlusion: missing: good: *"])
    result.stdout.fnmatch_lines(["8 cells were skipped, or failed before they were measured: *"])


def test_a_run_without_any_cell_fails(project: Project) -> None:
    (project.path / "good.safetensors").unlink()
    (project.path / "other.safetensors").unlink()
    result = project.run("--occlusion-allow-missing", expect=1)
    result.stdout.fnmatch_lines(
        ["no cell was executed: 16 were skipped, or failed before they were measured"]
    )


def test_cells_that_are_skipped_for_any_reason_are_not_green(project: Project) -> None:
    project.accept()
    tests = project.path / "test_toy.py"
    kept = tests.read_text()
    skipped = "import pytest\n@pytest.mark.skip(reason='too slow')\ndef test_recall"
    tests.write_text(kept.replace("def test_recall", skipped))
    result = project.run(expect=1)
    result.assert_outcomes(passed=2, skipped=16)
    result.stdout.fnmatch_lines(
        ["no cell was executed: 16 were skipped, or failed before they were measured"]
    )


def test_cells_that_skip_themselves_are_not_green(project: Project) -> None:
    project.accept()
    tests = project.path / "test_toy.py"
    kept = tests.read_text()
    itself = "import pytest\n" + kept.replace("cell.assert_accepted()", "cell; pytest.skip('slow')")
    tests.write_text(itself)
    result = project.run(expect=1)
    result.assert_outcomes(passed=2, skipped=16)
    result.stdout.fnmatch_lines(["16 cells were skipped, or failed before they were measured: *"])
    # Another test of the same cells is skipped beside the one that judges them.
    tests.write_text(itself.replace("def test_recall", "def test_other") + "\n" + kept)
    result = project.run(expect=0)
    result.assert_outcomes(passed=18, skipped=16)
    assert "skipped, or failed" not in result.stdout.str()


def test_looking_at_what_would_be_set_up_is_no_run(project: Project) -> None:
    project.accept()
    result = project.run("--setup-plan", expect=0)
    assert "no cell was executed" not in result.stdout.str()


def test_properties_of_others_stay(pytester: pytest.Pytester) -> None:
    own = pytester.makepyfile(
        "def test(record_property):\n"
        "    record_property('occlusion', 0.3)\n"
        "    record_property('occlusion_map', 'depth.png')"
    )
    xml = (own, "--junitxml", "junit.xml", "-o", "junit_family=xunit1")
    pytester.runpytest(*xml).assert_outcomes(passed=1)
    text = (pytester.path / "junit.xml").read_text()
    assert 'name="occlusion" value="0.3"' in text
    assert 'name="occlusion_map" value="depth.png"' in text


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "ask for them with --benchmark-enable"),
        (("-p", "no:benchmark"), "pytest-benchmark is switched off"),
        (("-n", "2", "--benchmark-enable"), "pytest-benchmark is off under -n; run them serially"),
    ],
)
def test_timings_that_were_not_taken_are_said(
    project: Project, args: tuple[str, ...], says: str
) -> None:
    timings = Path(__file__).parents[2] / "benchmarks" / "test_encoding.py"
    (project.path / "test_encoding.py").write_text(timings.read_text())
    project.accept()
    # pytest-benchmark warns that xdist switches it off, which our line says as well.
    quiet = ("-W", "ignore::pytest_benchmark.logger.PytestBenchmarkWarning") if "-n" in args else ()
    result = project.run(*quiet, *args, expect=0)
    result.assert_outcomes(passed=18, skipped=6)
    result.stdout.fnmatch_lines([f"6 timings were not taken: {says}"])
    alone = project.run(*quiet, *args, "test_encoding.py", expect=0)
    alone.stdout.fnmatch_lines([f"6 timings were not taken: {says}"])


def test_a_missing_corpus_is_skipped_when_allowed(project: Project) -> None:
    suite = project.path / "suite.toml"
    suite.write_text(suite.read_text().replace("manifest:reports.csv", "manifest:$NOT_SET/x.csv"))
    refused = project.run(expect=4)
    said = refused.stdout.str() + refused.stderr.str()
    assert "$NOT_SET, which is not set" in said
    assert "-> export it" in said
    result = project.run("--occlusion-allow-missing", "-rs", expect=1)
    result.stdout.fnmatch_lines(["*no cell was executed*", "*$NOT_SET*"])


def test_what_is_wrong_is_not_forgiven_as_missing(project: Project) -> None:
    suite = project.path / "suite.toml"
    suite.write_text(suite.read_text().replace('family = "toy"', 'family = "toy"\nspeed = 3', 1))
    result = project.run("--occlusion-allow-missing", expect=4)
    assert "speed" in result.stderr.str()


@pytest.mark.parametrize("without", ["xdist", "benchmark", "randomly"])
def test_it_runs_without(project: Project, without: str) -> None:
    project.run("-p", f"no:{without}", "--snapshot-update", expect=0)
    project.run("-p", f"no:{without}", expect=0).assert_outcomes(passed=18)
