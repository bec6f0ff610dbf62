"""Groups of queries in a run: what turns red, what is only shown, what is never named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from PIL import Image

from tests.plugin import toy_family
from tests.plugin.conftest import Project

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


def test_a_loss_in_one_group_is_red_where_the_whole_holds(grouped: Project) -> None:
    grouped.accept()
    grouped.run(expect=0)
    blind_to_lateral(grouped)
    run = grouped.both("--occlusion-json", "out.json", expect=1)
    told = run.stdout.str()
    assert "groups by view, good, block: regressed" in told
    assert "view = lateral, 20 queries" in told
    assert "view = PA" not in told
    assert "accept: pytest" in told
    assert "weights changed" in told
    assert not {cell["verdict"] for cell in results(grouped)["cells"]} & {"regressed", "new"}
    assert "regressed" in verdicts(grouped, "lateral")
    assert verdicts(grouped, "PA") <= {"same", "within-tolerance"}
    grouped.accept()
    grouped.run(expect=0)


def test_an_improvement_in_one_group_is_red_until_accepted(grouped: Project) -> None:
    blind_to_lateral(grouped)
    grouped.accept()
    grouped.checkpoint("good", noise=0.5)
    grouped.run(expect=1).stdout.fnmatch_lines(["*groups by view, good, block: improved*"])
    suite = grouped.path / "suite.toml"
    suite.write_text(suite.read_text().replace("ks =", 'fail-on = "regression"\nks ='))
    grouped.run(expect=0)


def rename_view(project: Project, new: str) -> None:
    project.write_rows(
        [
            {**row, "view": new if row["view"] == "lateral" else row["view"]}
            for row in project.rows()
        ]
    )


def test_a_group_that_is_gone_is_red_until_accepted(grouped: Project) -> None:
    grouped.accept()
    assert json.loads(grouped.snapshot().read_text())["groups"] == {
        "view": {"PA": 40, "lateral": 20}
    }
    rename_view(grouped, "")  # the corpus is the same, as are all cells
    run = grouped.run("--occlusion-json", "out.json", expect=1)
    run.stdout.fnmatch_lines(
        [
            "*groups by view, good, block: vanished*",
            "*accept: pytest*",
            "*view = lateral: 20 queries when accepted; now none, or fewer than 5 patients*",
        ]
    )
    assert {row["group"] for row in results(grouped)["vanished"]} == {"lateral"}
    grouped.accept()
    assert json.loads(grouped.snapshot().read_text())["groups"] == {"view": {"PA": 40}}
    grouped.run(expect=0)


@pytest.mark.parametrize(
    "damaged", [{"view": {"PA": "many"}}, {"view": [40]}, {"view": {}, "a": 1}]
)
def test_damaged_names_of_groups_are_repaired_by_an_update(
    grouped: Project, damaged: dict[str, Any]
) -> None:
    grouped.accept()
    kept = grouped.snapshot().read_text()
    grouped.snapshot().write_text(json.dumps({**json.loads(kept), "groups": damaged}))
    run = grouped.run(expect=1)
    run.stdout.fnmatch_lines(["*good.json: the snapshot file is damaged*", "*-> restore it*"])
    grouped.accept()
    assert json.loads(grouped.snapshot().read_text()) == json.loads(kept)
    grouped.run(expect=0)


def test_a_gate_needs_nothing_new_of_baselines(grouped: Project) -> None:
    suite = grouped.path / "suite.toml"
    gated = suite.read_text()
    suite.write_text(gated.replace(GROUPS, ""))
    grouped.run("--snapshot-update", "-rs").stdout.fnmatch_lines(["*SKIPPED*--occlusion-group-by*"])
    before = grouped.snapshot().read_bytes()
    suite.write_text(gated)
    grouped.run(expect=0)
    blind_to_lateral(grouped)
    grouped.run(expect=1).stdout.fnmatch_lines(["*groups by view, good, block: regressed*"])
    assert grouped.snapshot().read_bytes() == before


def test_groups_that_nobody_gates_are_shown(grouped: Project) -> None:
    grouped.accept()
    blind_to_lateral(grouped)
    suite = grouped.path / "suite.toml"
    suite.write_text(suite.read_text().replace('gate = ["view"]', ""))
    run = grouped.run(
        "--occlusion-group-by", "view,sex,age/20", "--occlusion-json", "out.json", expect=0
    )
    run.stdout.fnmatch_lines(["*groups by age/20 - block*", "*20-39*", "*groups by view - block*"])
    assert verdicts(grouped, "lateral") == {""}
    assert {row["attribute"] for row in results(grouped)["groups"]} == {"view", "sex", "age/20"}


def test_small_groups_are_not_judged_and_smaller_ones_not_named(grouped: Project) -> None:
    suite = grouped.path / "suite.toml"
    text = suite.read_text().replace("minimum = 10", "minimum = 21")
    suite.write_text(text.replace('gate = ["view"]', 'gate = ["view", "ward"]'))
    grouped.accept()
    blind_to_lateral(grouped)
    files = ("json", "csv", "html", "markdown")
    given = [part for name in files for part in (f"--occlusion-{name}", f"out.{name}")]
    run = grouped.run(*given, expect=0)
    lateral = [row for row in results(grouped)["groups"] if row["group"] == "lateral"]
    assert {(row["judged"], row["verdict"]) for row in lateral} == {(False, "")}
    run.stdout.fnmatch_lines(["*(20)*", "*15 groups by ward of fewer than 5 patients, not shown*"])
    written = [run.stdout.str(), run.stderr.str(), grouped.snapshot().read_text()]
    written += [(grouped.path / f"out.{name}").read_text() for name in files]
    assert not any("secret" in text for text in written)


def test_baselines_that_cannot_tell_are_not_green(grouped: Project) -> None:
    grouped.accept()
    content = json.loads(grouped.snapshot().read_text())
    content["hit_queries"] = {}
    grouped.snapshot().write_text(json.dumps(content))
    run = grouped.run(expect=1)
    run.stdout.fnmatch_lines(
        ["*groups by view of good-block cannot be judged: the baselines of 8*"]
    )
    assert run.parseoutcomes()["failed"] == 1


def test_cells_may_be_dealt_out_in_another_way(grouped: Project) -> None:
    documents = []
    for more in ((), ("-n2", "--dist", "loadscope")):
        grouped.run(*more, "--occlusion-json", "out.json", "--occlusion-group-by", "sex,age/20")
        documents.append({**results(grouped), "timings": []})
    assert documents[0] == documents[1]
    assert documents[0]["groups"]
    assert documents[0]["rankings"]


def test_an_attribute_that_the_corpus_does_not_know(grouped: Project) -> None:
    run = grouped.run("--occlusion-group-by", "site", expect=4)
    run.stderr.fnmatch_lines(["*group-by site: the corpus 'manifest' does not know 'site'*"])


def test_only_the_groups(grouped: Project) -> None:
    """Their cells are measured all the same, in one pass."""
    grouped.accept()
    run = grouped.run("-k", "group", "--occlusion-no-store", expect=0)
    assert run.parseoutcomes() == {"passed": 2, "deselected": 16}
