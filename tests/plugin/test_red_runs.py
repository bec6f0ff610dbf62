"""Red runs that can be read: one explanation per model, numbers for the rest, all counted."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from tests.plugin.conftest import Project


def explanations(told: str) -> int:
    return len(re.findall(r"(fell|rose) beyond the tolerance$", told, re.MULTILINE))


def test_new_weights_of_two_models(project: Project) -> None:
    project.accept()
    for name in ("good", "other"):
        project.checkpoint(name, noise=3.0)
    run = project.run("--junitxml", "junit.xml", expect=1)
    told = run.stdout.str()
    count = run.parseoutcomes()["failed"]
    assert count > 8
    assert explanations(told) == 2
    failed = [line for line in run.stdout.lines if line.startswith("FAILED ")]
    assert len(failed) == 2
    assert all(re.search(r" - 1 of \d+: Recall@", line) for line in failed)
    both = [int(one) for one in re.findall(r"-+ all (\d+) of (?:good|other): ", told)]
    assert sum(both) == count
    assert told.count("curve good-block: R@") == told.count("curve other-block: R@") == 1
    failures = [*ET.parse(project.path / "junit.xml").getroot().iter("failure")]
    texts = [failure.text or "" for failure in failures]
    assert all("\n" not in failure.get("message", "") for failure in failures)
    assert len(texts) == count
    assert sum(map(explanations, texts)) == count - 2, "a file of results has all of all cells"
    shown = project.run("-vv", expect=1).stdout.str()
    assert explanations(shown) == 2 * (count - 2), "the short summary has their first lines"
    assert "(-vv: whole)" not in shown


def test_a_single_red_cell_keeps_its_text(project: Project) -> None:
    project.accept()
    project.checkpoint("good", noise=3.0)
    run = project.run("-k", "good-block-r25-k001 and recall", expect=1)
    told = run.stdout.str()
    assert explanations(told) == 1
    assert "(-vv: whole)" not in told


def test_cells_without_baselines_are_told_once(project: Project) -> None:
    run = project.run(expect=1)
    assert run.parseoutcomes()["failed"] == 16
    told = run.stdout.str()
    assert told.count("has no baseline: ") == 2
    assert "all 8 of good: 8 cells new" in told


def test_one_fault_of_many_tests_is_told_once(project: Project) -> None:
    project.checkpoint("good", bias=float("nan"))
    run = project.run("-k", "good", expect=1)
    told = run.stdout.str()
    assert told.count("query embeddings are not finite") == 1
    assert "the same in 8 tests more" in told
    outcomes = run.parseoutcomes()
    assert outcomes.get("errors", 0) + outcomes.get("failed", 0) == 9


def test_failures_of_others_are_left_alone(project: Project) -> None:
    (project.path / "test_mine.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('n', range(3))\n"
        "def test_mine(n, occlusion_cell=None):\n    assert n > 5\n"
        "def test_with_a_cell(occlusion_cell):\n    assert occlusion_cell.result.hits < 0\n"
    )
    told = project.run("-k", "mine", expect=1).stdout.str()
    assert len(re.findall(r"^E +assert \d > 5", told, re.MULTILINE)) == 3
    assert len(re.findall(r"^E .*assert \d+ < 0$", told, re.MULTILINE)) == 16


@pytest.mark.parametrize("how", ["--tb=line", "--tb=no", "--no-summary", "-q"])
def test_other_ways_to_print(project: Project, how: str) -> None:
    run = project.run(how, expect=1)
    assert "16 failed" in run.stdout.lines[-1]
    listed = sum(line.startswith("FAILED ") for line in run.stdout.lines)
    assert listed == {"--no-summary": 0, "-q": 2}.get(how, 16), "what is not told is listed"
