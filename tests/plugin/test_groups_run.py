"""Groups of queries in a run: what turns red, what is only shown, what is never named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from PIL import Image

from tests.plugin import toy_family
from tests.plugin.conftest import Project, workers

TESTS = """
def test_recall(occlusion_cell):
    occlusion_cell.assert_accepted()

def test_group(occlusion_group):
    occlusion_group.assert_accepted()
"""

GROUPS = """
[groups]
gate = ["view"]
minimum = 10
"""


@pytest.fixture
def grouped(project: Project) -> Project:
    """Every third picture is lateral, and marked; a tolerance that no loss of theirs exceeds."""
    rows = project.rows()
    for number, row in enumerate(rows):
        lateral = number % 3 == 0
        if lateral:
            pixels = toy_family.pattern(number)
            pixels[:4, :4] = 255
            Image.fromarray(pixels).resize((32, 32)).save(project.path / row["image"])
        rows[number] = {
            **row,
            "view": "lateral" if lateral else "PA",
            "sex": "F" if number // 2 % 2 else "M",
            "age": str(20 + number),
            "ward": f"secret-ward-{number // 4}",
        }
    project.write_rows(rows)
    suite = project.path / "suite.toml"
    text = suite.read_text().replace("tolerance = 1", "tolerance = 20")
    kept = 'corpus = "manifest:reports.csv?keep=sex,age,ward"'
    head, models = text.split("[models.good]")
    suite.write_text(
        head.replace('corpus = "manifest:reports.csv"', kept) + "[models.good]" + models + GROUPS
    )
    project.pytester.makepyfile(test_toy=TESTS)
    return project


def blind_to_lateral(project: Project) -> None:
    project.checkpoint("good", noise=0.5, marked=100.0)


def results(project: Project) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((project.path / "out.json").read_text())
    return content


def verdicts(project: Project, group: str) -> set[str]:
    rows = [row for row in results(project)["groups"] if row["group"] == group]
    return {row["verdict"] for row in rows if row["model"] == "good"}


@workers()
def test_a_loss_in_one_group_is_red_where_the_whole_holds(
    grouped: Project, parallel: tuple[str, ...]
) -> None:
    grouped.accept()
    grouped.run(*parallel, expect=0)
    blind_to_lateral(grouped)
    run = grouped.run(*parallel, "--occlusion-json", "out.json", expect=1)
    told = run.stdout.str()
    assert "groups by view, good, block: regressed" in told
    assert "view = lateral, 20 queries" in told
    assert "view = PA" not in told
    assert "accept: pytest" in told
    assert "weights changed" in told
    assert not {cell["verdict"] for cell in results(grouped)["cells"]} & {"regressed", "new"}
    assert "regressed" in verdicts(grouped, "lateral")
    assert verdicts(grouped, "PA") <= {"same", "within-tolerance"}
    assert run.parseoutcomes() == {"passed": 17, "failed": 1} | (
        {"skipped": 0} if "skipped" in run.parseoutcomes() else {}
    )
    grouped.accept()
    grouped.run(*parallel, expect=0 if accepted(grouped) else 1)


def accepted(project: Project) -> bool:
    """Whether an update rewrote the cells; those within their tolerance are left alone."""
    return False


def test_an_improvement_in_one_group_is_red_until_accepted(grouped: Project) -> None:
    blind_to_lateral(grouped)
    grouped.accept()
    grouped.checkpoint("good", noise=0.5)
    grouped.run(expect=1).stdout.fnmatch_lines(["*groups by view, good, block: improved*"])
    suite = grouped.path / "suite.toml"
    suite.write_text(suite.read_text().replace("ks =", 'fail-on = "regression"\nks ='))
    grouped.run(expect=0)
