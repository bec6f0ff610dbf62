"""What turns a cell red: tolerances, fail-on, calibration, drift, triage, names of queries."""

from __future__ import annotations

import json
import re
import stat
from typing import Any

import pytest

from tests.plugin.conftest import Project

pytestmark = pytest.mark.usefixtures("measured")


def edit_suite(project: Project, old: str, new: str) -> None:
    suite = project.path / "suite.toml"
    text = suite.read_text()
    assert old in text
    suite.write_text(text.replace(old, new))


def stored(project: Project, model: str = "good") -> dict[str, Any]:
    content: dict[str, Any] = json.loads(project.snapshot(model).read_text())
    return content


def shift(project: Project, cell: str, hits: int) -> None:
    """Pretend that a cell's baseline was ``hits`` higher."""
    content = stored(project)
    content["cells"][cell]["hits"] += hits
    project.snapshot().write_text(json.dumps(content))


def test_fail_on_regression_lets_improvements_pass(project: Project) -> None:
    edit_suite(project, "tolerance = 1", 'tolerance = 1\nfail-on = "regression"')
    project.checkpoint("good", noise=3.0)
    project.accept()
    before = project.snapshot().read_bytes()
    project.checkpoint("good", noise=0.5)
    project.run(expect=0).stdout.fnmatch_lines(["*improved:*"])
    assert project.snapshot().read_bytes() == before
    project.run("--snapshot-update", expect=0)
    assert project.snapshot().read_bytes() != before
    project.checkpoint("good", noise=3.0)
    project.run(expect=1)


def test_fail_on_significant_regression(project: Project) -> None:
    edit_suite(project, "tolerance = 1", 'tolerance = 1\nfail-on = "significant-regression"')
    project.accept()
    shift(project, "good-block-r49-k001", 4)  # beyond the tolerance, yet no query flipped
    result = project.run(expect=0)
    result.stdout.fnmatch_lines(["*1 regressed*"])
    project.checkpoint("good", noise=3.0)
    failed = project.run(expect=1)
    assert failed.parseoutcomes()["failed"] >= 2


def test_tolerance_of_the_model_and_of_a_cell(project: Project) -> None:
    project.accept()
    shift(project, "good-block-r49-k001", 3)
    project.run(expect=1)
    edit_suite(project, "[models.good]", "[models.good]\ntolerance = 3")
    project.run(expect=0)
    edit_suite(project, "[models.good]", '[tolerances]\n"*-r49-*" = 2\n[models.good]')
    project.run(expect=1)
    edit_suite(project, '"*-r49-*" = 2', '"*-r49-*" = 2\n"good-block-r49-k001" = 4')
    project.run(expect=0)


def test_a_small_loss_at_every_ratio_is_caught_by_the_curve(project: Project) -> None:
    edit_suite(project, "tolerance = 1", "tolerance = 4")
    project.accept()
    content = stored(project)
    for cell in content["cells"]:
        if cell.endswith("k001"):
            content["cells"][cell]["hits"] += 3
    project.snapshot().write_text(json.dumps(content))
    result = project.run(expect=1)
    result.assert_outcomes(passed=17, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*the curve good-block has moved (mean *)",
            "*accept: pytest *",
            "*R@1 * %* %*-3.0 *regressed",
        ]
    )


def test_calibration_measures_the_tolerance(project: Project) -> None:
    project.run("--snapshot-update", "--occlusion-calibrate", "4", expect=0)
    cells = stored(project)["cells"]
    assert all("spread" in line for line in cells.values())
    name = max(cells, key=lambda cell: cells[cell]["spread"])
    assert cells["good-block-r00-k001"]["spread"] == 0.0  # never moves: one query is allowed
    shift(project, "good-block-r00-k001", 1)
    project.run(expect=0)
    shift(project, "good-block-r00-k001", 1)
    project.run("-k", "test_recall", expect=1)
    shift(project, "good-block-r00-k001", -2)
    content = stored(project)
    content["cells"][name]["spread"] = 3.0  # limit 2.8 x 3 = 8.4, rounded up
    project.snapshot().write_text(json.dumps(content))
    shift(project, name, 9)
    project.run("-k", "test_recall", expect=0)
    shift(project, name, 1)
    project.run("-k", "test_recall", expect=1)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--occlusion-calibrate", "4"), "give --snapshot-update with it"),
        (("--occlusion-calibrate", "1", "--snapshot-update"), "a spread needs 2 runs or more"),
    ],
)
def test_calibration_faults(project: Project, args: tuple[str, ...], says: str) -> None:
    assert says in project.run(*args, expect=4).stderr.str()


def test_drift_is_remembered_and_reported(project: Project) -> None:
    project.accept()
    first = stored(project)["cells"]["good-block-r25-k001"]["hits"]
    for noise in (1.2, 1.6):
        project.checkpoint("good", noise=noise)
        project.run("--snapshot-update", expect=0)
    line = stored(project)["cells"]["good-block-r25-k001"]
    assert line["first"] == first != line["hits"]
    result = project.run(expect=0)
    result.stdout.fnmatch_lines(["*cells have drifted beyond the tolerance since they were first*"])


def test_a_run_that_wrote_says_which_cells(project: Project) -> None:
    result = project.run("--snapshot-update", expect=0)
    result.stdout.fnmatch_lines(["16 baselines written: good-block-r00-k001, *"])
    assert "written:" not in project.run("--snapshot-update").stdout.str()


def test_own_assertions_store_nothing(project: Project) -> None:
    """``.result`` alone is no promise to store; nor is a test that fails before it stores."""
    tests = project.path / "test_toy.py"
    kept = tests.read_text()
    tests.write_text(kept.replace("cell.assert_accepted()", "cell.result.recall >= 0"))
    result = project.run("--snapshot-update", expect=0)
    assert "NOT stored" not in result.stdout.str()
    assert "baselines written" not in result.stdout.str()
    tests.write_text(kept.replace("    occlusion_cell.", "    assert 0\n    occlusion_cell."))
    result = project.run("--snapshot-update", expect=1)
    assert "NOT stored" not in result.stdout.str()
    assert not project.snapshot().exists()


def test_tests_outside_of_the_root_are_stored(project: Project) -> None:
    elsewhere = project.path.parent / f"{project.path.name}-elsewhere"
    elsewhere.mkdir()
    for name in ("test_toy.py", "conftest.py", "toy_family.py"):
        (project.path / name).rename(elsewhere / name)
    args = ("--rootdir", ".", "-c", "pyproject.toml", f"../{elsewhere.name}")
    result = project.run("-n", "2", "--snapshot-update", *args, expect=0)
    result.stdout.fnmatch_lines(["16 baselines written: good-block-r00-k001, *"])
    assert (elsewhere / "baselines" / "toy" / "good.json").exists()
    project.run(*args, expect=0)


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_measured(
    project: Project,
) -> None:
    (project.path / "baselines").write_text("in the way")
    result = project.run("--snapshot-update", expect=4)
    said = result.stdout.str() + result.stderr.str()
    assert "baselines: baselines cannot be stored here" in said
    assert "leave out --snapshot-update" in said
    assert "encoding" not in said


def test_flipped_queries_have_opaque_names_unless_asked(project: Project) -> None:
    project.accept()
    project.checkpoint("good", noise=3.0)
    project.run(expect=1).stdout.re_match_lines([r"  lost +[0-9a-f]{10}, [0-9a-f]{10}, "])
    key = project.path / "store" / "query-names.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    shown = project.run("--occlusion-show-queries", expect=1)
    shown.stdout.fnmatch_lines(["*lost *images/secret-name-*.png*"])


CHANGES = ["weights", "corpus", "protocol", "precision", "device", "code", "libraries"]


SUGGESTED = {
    "weights": "the new weights retrieve differently",
    "corpus": "another corpus: ",
    "protocol": "another protocol: ",
}


@pytest.mark.parametrize("changed", CHANGES)
def test_every_row_of_the_triage(project: Project, changed: str) -> None:
    project.accept()
    args: tuple[str, ...] = ()
    if changed == "weights":
        project.checkpoint("good", noise=3.0)
    elif changed == "corpus":
        rows = project.rows()
        for row in rows[:20]:
            row["report"] = row["report"].replace("secret report ", "secret report 9")
        project.write_rows(rows)
    elif changed == "protocol":
        edit_suite(project, "tolerance = 1", "tolerance = 1\nseed = 5")
    elif changed == "precision":
        args = ("--occlusion-precision", "bf16")
        shift(project, "good-block-r25-k001", 5)  # this model is too robust for bf16 to show
    elif changed == "code":
        toy = project.path / "toy_family.py"
        # Of another length: bytecode of the same second and size would pass for this file's.
        toy.write_text(toy.read_text().replace("revision=1", "revision=12"))
        shift(project, "good-block-r25-k001", 5)
    else:  # neither another device nor other libraries can be had here: the past is changed
        content = stored(project)
        for origin in content["provenance"].values():
            if changed == "device":
                origin["device"] = "cuda (NVIDIA Test)"
            else:
                origin["libraries"] = origin["libraries"].replace("torch ", "torch 0.0.")
        project.snapshot().write_text(json.dumps(content))
        shift(project, "good-block-r25-k001", 5)
    result = project.run(*args, "-k", "test_recall and good", expect=1)
    told = next(text for text in "\n".join(result.stdout.lines).split(f"  {changed} changed ")[1:])
    assert " -> " in told.partition("  unchanged ")[0]
    result.stdout.fnmatch_lines([f"  suggests *{SUGGESTED.get(changed, 'the model is the same')}*"])
    others = [name for name in CHANGES if name != changed]
    unchanged = re.findall(r"  unchanged +(.*)", result.stdout.str())
    assert unchanged
    assert all(set(line.split(", ")) == set(others) for line in unchanged)


def test_another_ratio_list_leaves_the_common_cells_comparable(project: Project) -> None:
    project.accept()
    edit_suite(project, "0.25, 0.49", "0.3, 0.49")
    result = project.run("-k", "test_recall", expect=1)
    result.stdout.fnmatch_lines(["*at 30 % blocked (block) has no baseline*", "*12 same, 4 new*"])


def test_nothing_changed_is_called_what_it_is(project: Project) -> None:
    project.accept()
    shift(project, "good-block-r25-k001", 5)
    project.run(expect=1).stdout.fnmatch_lines(
        ["*nothing recorded has changed*", "*deterministic*"]
    )
