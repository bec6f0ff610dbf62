"""Result files, what is missing, and life without xdist or pytest-benchmark."""

from __future__ import annotations

import csv
from xml.etree import ElementTree

import pytest

from tests.plugin.conftest import Project

BOTH_WAYS = pytest.mark.parametrize("parallel", [(), ("-n", "2")], ids=["serial", "n2"])


def test_csv_has_a_row_per_cell(project: Project) -> None:
    project.run("--occlusion-csv", "out.csv")
    with (project.path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16
    assert {row["verdict"] for row in rows} == {"new"}
    assert float(rows[0]["recall"]) == 1.0


@BOTH_WAYS
def test_markdown_headlines_and_regressions(project: Project, parallel: tuple[str, ...]) -> None:
    project.accept()
    project.run(*parallel, "--occlusion-markdown", "sum.md", expect=0)
    assert "all 16 cells hold" in (project.path / "sum.md").read_text()
    project.checkpoint("good", noise=3.0)
    project.run(*parallel, "--occlusion-markdown", "sum.md", expect=1)
    text = (project.path / "sum.md").read_text()
    assert text.startswith("### Occlusion suite toy: ")
    assert "cells regressed" in text.splitlines()[0]
    assert "| good-block-r00-k001 | 100.0 % |" in text
    assert "<details><summary>good, block, image-to-text</summary>" in text


def test_junit_properties(project: Project) -> None:
    project.run("--junitxml", "junit.xml", "-k", "good and r25")
    tree = ElementTree.parse(project.path / "junit.xml")
    found = [
        {item.attrib["name"] for item in case.iter("property")} for case in tree.iter("testcase")
    ]
    assert all("recall" in names and "verdict" in names for names in found)


@BOTH_WAYS
def test_missing_models_are_skipped_when_allowed(
    project: Project, parallel: tuple[str, ...]
) -> None:
    project.accept()
    (project.path / "good.safetensors").unlink()
    result = project.run(*parallel, "--occlusion-allow-missing", "-rs", expect=0)
    result.assert_outcomes(passed=9, skipped=9)
    result.stdout.fnmatch_lines(["*occlusion: missing: good: *"])


@BOTH_WAYS
def test_a_run_without_any_cell_fails(project: Project, parallel: tuple[str, ...]) -> None:
    (project.path / "good.safetensors").unlink()
    (project.path / "other.safetensors").unlink()
    result = project.run(*parallel, "--occlusion-allow-missing", expect=1)
    result.stdout.fnmatch_lines(["*no cell was executed*"])


def test_a_missing_corpus_is_skipped_when_allowed(project: Project) -> None:
    suite = project.path / "suite.toml"
    suite.write_text(suite.read_text().replace("manifest:reports.csv", "manifest:$NOT_SET/x.csv"))
    assert "$NOT_SET, which is not set" in project.run(expect=4).stderr.str()
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
