"""Quick runs: a sample is judged, nothing is accepted, a full run goes on from there."""

from __future__ import annotations

import json
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_occlusion.engine.decoding import Decoders
from pytest_occlusion.engine.estimate import Speeds
from pytest_occlusion.errors import OcclusionError
from tests.plugin.conftest import MODELS, WIDE, Project

QUICK = ("--occlusion-quick", "0.5")

OTHERS = """
def test_group(occlusion_group):
    occlusion_group.assert_accepted()

def test_claim(occlusion_claim):
    occlusion_claim.assert_expected()

def test_map(occlusion_map):
    assert occlusion_map

def test_mine(occlusion_cell):
    assert occlusion_cell.result.recall > 2

def test_my_curve(occlusion_curve):
    assert occlusion_curve.results(1)
"""


def encoded(project: Project) -> int:
    """Forward passes of the last run with a results file, which may be quick."""
    content = json.loads((project.path / "out.json").read_text())
    if content["schema"] == "quick-1":
        return sum(model["encoded"] for model in content["models"])
    passes = {one["pass"]: one for one in content["timings"] if one["fresh"]}
    return sum(one["encoded_images"] for one in passes.values())


def cells(project: Project) -> list[tuple[Any, ...]]:
    content = json.loads((project.path / "out.json").read_text())
    return [(c["id"], c["hits"], c["verdict"], c["hit_queries"]) for c in content["cells"]]


def models(project: Project) -> dict[str, Any]:
    content = json.loads((project.path / "out.json").read_text())
    return {model["model"]: model for model in content["models"]}


def test_unchanged_weights_and_then_the_whole(project: Project) -> None:
    project.accept()
    before = project.snapshot().read_bytes()
    (project.path / "store").rename(project.path / "old")
    run = project.run(*QUICK, "--occlusion-json", "out.json", expect=0)
    run.assert_outcomes(passed=18)
    told = run.stdout.str()
    assert "quick verdicts on a sample (0.5)" in told
    assert re.search(r"^good +\d+ +\d+ % +\+0\.0 pt  no sign of loss down to \d+\.\d points$", told,
                     re.MULTILINE)  # fmt: skip
    assert "same" not in told.replace("can say `same`", "")
    made = encoded(project)
    assert 0 < made <= 240, "half of 480"
    assert {one["verdict"] for one in models(project).values()} == {"no-sign"}
    again = project.run(*QUICK, "--occlusion-json", "out.json", expect=0)
    assert encoded(project) == 0
    assert again.parseoutcomes() == {"passed": 18}
    # The whole goes on from there, and comes to what it comes to without.
    project.run("--occlusion-json", "out.json", expect=0)
    assert encoded(project) == 480 - made
    found = cells(project)
    (project.path / "store").rename(project.path / "sampled")
    project.run("--occlusion-json", "out.json", expect=0)
    assert encoded(project) == 480
    assert found == cells(project)
    # And a quick run has nothing to do where the whole was measured.
    project.run(*QUICK, "--occlusion-json", "out.json", expect=0)
    assert encoded(project) == 0
    # Nor where it was encoded and the run was stopped before it ranked.
    shutil.rmtree(project.path / "store" / "v1" / "ranks")
    project.run(*QUICK, "--occlusion-json", "out.json", expect=0)
    assert encoded(project) == 0
    assert project.snapshot().read_bytes() == before


def test_lost_recall_is_red_and_told_once(project: Project) -> None:
    project.accept()
    before = project.snapshot().read_bytes()
    project.checkpoint("good", noise=3.0)
    files = ("--junitxml", "junit.xml", "--occlusion-json", "out.json", "--occlusion-markdown",
             "out.md")  # fmt: skip
    seen = []
    for parallel in ((), ("-n", "2")):
        run = project.run(*QUICK, *files, *parallel, "--maxfail=50", expect=1)
        told = run.stdout.str()
        assert told.count("good lost recall: -") == 1
        assert "  measure it whole: pytest " in told
        command = re.search(r"measure it whole: (.*)", told)
        assert command
        assert command[1].endswith("--occlusion-models good")
        assert "quick" not in command[1]
        assert "maxfail" not in command[1]
        assert "weights changed" in told
        assert re.search(r"-- all \d of good: \d cells regressed in a sample, 1 curve", told)
        assert re.search(r"^good .* regressed \(p \de-\d\d\)$", told, re.MULTILINE)
        assert re.search(r"^other .* no sign of loss down to ", told, re.MULTILINE)
        red = run.parseoutcomes()["failed"]
        assert 5 < red <= 9
        assert all("good" in line for line in run.stdout.lines if line.startswith("FAILED"))
        seen.append((red, models(project), (project.path / "out.md").read_text()))
        roots = ET.parse(project.path / "junit.xml").getroot()
        kinds = {one.get("value") for one in roots.iter("property") if one.get("name") == "verdict"}
        assert kinds == {"regressed", "no-sign"}
        for model in seen[-1][1].values():
            model.pop("encoded")
    assert seen[0] == seen[1], "two workers come to the same"
    assert "good lost recall" in seen[0][2]
    assert "| good | block | " in seen[0][2]
    for text in ("secret", "report "):
        assert text not in seen[0][2] + json.dumps(seen[0][1]) + told
    assert project.snapshot().read_bytes() == before


def test_gains_are_green(project: Project) -> None:
    project.checkpoint("good", noise=3.0)
    project.accept()
    project.checkpoint("good", noise=0.0)
    told = project.run(*QUICK, expect=0).stdout.str()
    assert re.search(r"^good .* \+\d+\.\d pt  no sign of loss down to 0\.0 points", told,
                     re.MULTILINE)  # fmt: skip


def test_without_baselines_nothing_is_measured(project: Project) -> None:
    run = project.run(*QUICK, "--occlusion-json", "out.json", expect=1)
    told = run.stdout.str()
    assert told.count("good: there is no baseline, and a quick run accepts nothing") == 1
    assert "the same in 7 tests more" in told
    assert f"its baselines: {project.snapshot()}" in told
    assert "measure it whole: pytest" in told
    assert re.search(r"accept what it finds: pytest .*--snapshot-update$", told, re.MULTILINE)
    assert "0 forward passes" not in told
    assert "good: 8 cells not judged: there is no baseline" in told
    assert models(project)["good"]["verdict"] == "new"
    assert encoded(project) == 0
    assert not project.snapshot().exists()


def test_a_cell_without_baseline_is_left_out_and_those_beside_it_are_judged(
    project: Project,
) -> None:
    project.accept()
    file = project.snapshot()
    content = json.loads(file.read_text())
    del content["cells"]["good-block-r25-k005"]
    file.write_text(json.dumps(content))
    run = project.run(*QUICK, "-k", "good", "--occlusion-json", "out.json", expect=1)
    run.assert_outcomes(failed=1, passed=8, deselected=9)
    good = models(project)["good"]
    assert good["every"] == 240
    assert [*good["lacking"]] == ["good-block-r25-k005"]
    counted = {(one["ratio"], one["k"]): (one["passes"], one["asked"]) for one in good["parts"]}
    at_25, of_all = counted[0.25, None][0], counted[None, None][0]
    assert counted[0.25, None] == (at_25, at_25)
    assert counted[None, 5] == (of_all - at_25, of_all - at_25)
    assert counted[None, None] == (of_all, 2 * of_all - at_25)
    # What is left of that level is judged, or a loss of it would be green.
    project.checkpoint("good", noise=3.0)
    run = project.run(*QUICK, "-rf", "-vv", "-k", "good", expect=1)
    assert "FAILED test_toy.py::test_recall[good-block-r25-k001]" in run.stdout.str()


@pytest.mark.parametrize("left_out", ["r25-k005", "r00-k001"])
def test_any_cells_may_be_selected(project: Project, left_out: str) -> None:
    project.accept()
    args = ("--deselect", f"test_toy.py::test_recall[good-block-{left_out}]", "-k", "recall")
    project.run(*QUICK, *args, expect=0).assert_outcomes(passed=15, deselected=3)
    project.checkpoint("good", noise=3.0)
    run = project.run(*QUICK, *args, "-vv", "-rf", expect=1)
    # As --lf does.
    failed = [line.split()[1] for line in run.stdout.lines if line.startswith("FAILED")]
    assert 0 < len(failed) <= 7
    again = project.run(*QUICK, *failed, expect=1)
    assert again.parseoutcomes() == {"failed": len(failed)}


def test_other_tests_need_no_suite(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_mine(): pass")
    pytester.runpytest(*QUICK).assert_outcomes(passed=1)


def test_maps_of_the_suite_are_skipped(project: Project) -> None:
    project.accept()
    suite = project.path / "suite.toml"
    suite.write_text(f"map = 2\n{suite.read_text()}")
    (project.path / "test_map.py").write_text("def test_map(occlusion_map):\n    raise OSError\n")
    run = project.run(*QUICK, expect=0)
    run.assert_outcomes(passed=18, skipped=2)
    assert "passes" not in run.stdout.str().partition("test_map.py")[0], "no map is announced"


def test_what_no_check_has_is_an_error(project: Project) -> None:
    project.accept()
    file = project.path / "test_typo.py"
    file.write_text("def test_typo(occlusion_cell):\n    occlusion_cell.assert_acepted()\n")
    run = project.run(*QUICK, "-k", "typo and good-block-r00-k001", expect=1)
    assert "object has no attribute 'assert_acepted'" in run.stdout.str()


def test_another_corpus_cannot_be_compared(project: Project) -> None:
    project.accept()
    rows = project.rows()
    rows[0]["report"] = "report 900"
    project.write_rows(rows)
    told = project.run(*QUICK, expect=1).stdout.str()
    assert "its baseline is of another corpus, and a quick run accepts nothing" in told
    project.write_rows(rows[1:])
    told = project.run(*QUICK, expect=1).stdout.str()
    assert "its baseline does not say which of these queries hit" in told
    file = project.snapshot()
    content = json.loads(file.read_text())
    del content["provenance"]
    file.write_text(json.dumps(content))
    project.write_rows(rows)
    told = project.run(*QUICK, expect=1).stdout.str()
    assert "its baseline does not say of which corpus it is" in told


def test_a_damaged_baseline_is_a_fault(project: Project) -> None:
    project.accept()
    project.snapshot().write_text("{")
    told = project.run(*QUICK, expect=1).stdout.str()
    assert told.count("the snapshot file is damaged") == 1
    assert "no sign of loss" in told, "of the other model"


def test_occluders_seeds_directions_and_what_a_sample_cannot_judge(project: Project) -> None:
    (project.path / "suite.toml").write_text(f"{WIDE}seed = [0, 1]\n{MODELS}")
    project.write_rows([{**row, "view": "PA"} for row in project.rows()])
    project.accept()
    (project.path / "test_others.py").write_text(OTHERS)
    project.checkpoint("good", noise=3.0)
    run = project.run(*QUICK, "-rsf", "--occlusion-json", "out.json", expect=1)
    told = run.stdout.str()
    found = models(project)
    # Of block and pixels two seeds at two levels each, of noise one severity; nothing blocked once.
    assert found["good"]["every"] == 60 * (1 + 4 + 4 + 2)
    wholes = [p for p in found["good"]["parts"] if p["ratio"] is None and p["k"] is None]
    assert [part["occluder"] for part in wholes] == ["block", "pixels", "gaussian-noise"]
    assert {one["verdict"] for one in found.values()} == {"regressed", "no-sign"}
    assert re.search(r"^  pixels +-\d+\.\d pt  regressed ", told, re.MULTILINE)
    failed = [line for line in run.stdout.lines if line.startswith("FAILED")]
    assert len(failed) == 1
    assert "good" in failed[0]
    reasons = "\n".join(line for line in run.stdout.lines if line.startswith("SKIPPED"))
    assert "test_others.py: a quick run measures a sample only" in reasons.replace(":2", "")
    assert "a quick run measures a sample only: this cell is not one" in reasons
    assert "a quick run measures a sample only: this curve is not one" in reasons
    assert "a quick run measures a sample only: `result` is of a full one" in reasons
    assert "a quick run measures a sample only: `results` is of a full one" in reasons
    assert not re.search(r"test_mine|test_my_curve|test_group|test_claim", "\n".join(failed))


def test_seconds(project: Project) -> None:
    project.accept()
    (project.path / "store").rename(project.path / "old")
    told = project.run("--occlusion-quick", "600s", expect=0).stdout.str()
    assert "quick verdicts on a sample (600s)" in told


@pytest.mark.parametrize(
    ("seconds", "texts", "fit"),
    [
        (2.0, 20, 0),  # texts take all of it
        (2.9, 20, 80),  # 90, down to 64 and quarters of it
        (12.0, 20, 896),
        (10.0, 0, 896),
        (1e9, 20, 5000),
        (float("inf"), 20, 5000),
    ],
)
def test_passes_that_fit(
    monkeypatch: pytest.MonkeyPatch, seconds: float, texts: int, fit: int
) -> None:
    from pytest_occlusion.engine import quick

    speeds = Speeds(draw=0.004, image=0.006, text=0.1, rank=0.0, width=4, memory=None)
    monkeypatch.setattr(quick, "measured_speeds", lambda *args: speeds)
    monkeypatch.setattr(quick, "unranked", lambda job: [job])
    monkeypatch.setattr(quick, "texts_key", lambda job: "key")
    monkeypatch.setattr("time.perf_counter", lambda: 0.0)
    told: list[str] = []
    store = SimpleNamespace(has=lambda kind, key: not texts)
    job = SimpleNamespace(label="good", store=store, task=SimpleNamespace(texts="x" * texts))
    one: Any = SimpleNamespace(job=job, conditions=[SimpleNamespace(shown=1)], passes="x" * 5000)
    session: Any = SimpleNamespace(encoder=lambda name: None, settings=None, say=told.append)
    assert quick.passes_in(session, one, seconds) == fit
    assert bool(told) == (fit == 0)
    monkeypatch.setattr(quick, "unranked", lambda job: [])
    assert quick.passes_in(session, one, seconds) == 5000, "all is stored"


def test_too_little_is_a_pass_of_each_condition(project: Project) -> None:
    project.accept()
    project.run("--occlusion-quick", "0.0001", "--occlusion-json", "out.json", expect=0)
    assert [one["passes"] for one in models(project).values()] == [4, 4]


def test_without_a_store(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.accept()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    run = project.run(*QUICK, "--occlusion-no-store", "--occlusion-json", "out.json", expect=0)
    assert "passed" in run.stdout.str()
    assert encoded(project) > 0
    assert "forward passes were made\n" in run.stdout.str(), "no full run goes on from nothing"
    assert not [*scratch.glob("occlusion-*")], "nothing is left"


def test_a_fault_of_a_model_is_told_once(project: Project) -> None:
    project.accept()
    project.checkpoint("good", bias=float("nan"))
    run = project.run(*QUICK, expect=1)
    told = run.stdout.str()
    assert told.count("embeddings are not finite") == 1
    assert "the same in 8 tests more" in told


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--occlusion-quick", "0"), "0: a share of the forward passes below 1 is needed, or sec"),
        (("--occlusion-quick", "10"), "10: a share of the forward passes below 1 is needed"),
        ((*QUICK, "--occlusion-map", "2"), "with --occlusion-map: a sample has no map"),
        ((*QUICK, "--occlusion-engine", "ray"), "with --occlusion-engine: this process measures"),
        (("--occlusion-quick", "0.1s"), "0.1s: a share of the forward passes"),
        (("--occlusion-quick", "-1"), "a share of the forward passes"),
        (("--occlusion-quick", "much"), "much: a share of the forward passes"),
        ((*QUICK, "--snapshot-update"), "with --snapshot-update: a sample accepts nothing"),
        ((*QUICK, "--occlusion-plan"), "with --occlusion-plan: a plan is of a full run"),
        ((*QUICK, "--occlusion-csv", "a.csv"), "with --occlusion-csv: a sample has no cells"),
        ((*QUICK, "--occlusion-html", "a.html"), "with --occlusion-html: a sample has no curves"),
        ((*QUICK, "--occlusion-fill", "white"), "none applies: the command line changed fill"),
    ],
)
def test_what_does_not_go_together(project: Project, given: tuple[str, ...], said: str) -> None:
    run = project.run(*given, expect=4)
    told = run.stderr.str() + run.stdout.str()
    assert said in told
    assert "\n  -> " in told


def test_its_file_is_not_taken_for_full_results(project: Project) -> None:
    project.accept()
    project.run(*QUICK, "--occlusion-json", "out.json", expect=0)
    run = project.forks.run("pytest_occlusion", "compare", "out.json", "out.json")
    assert run.ret == 2
    assert "of a quick run, which measured a sample" in run.stderr.str() + run.stdout.str()


def test_what_is_not_selected_is_not_judged(project: Project) -> None:
    project.accept()
    project.checkpoint("good", noise=3.0)
    json_file = ("--occlusion-json", "out.json")
    run = project.run(*QUICK, *json_file, "-k", "good-block-r81-k001 and recall", expect=0)
    assert models(project)["good"]["every"] == 60
    assert "regressed" not in run.stdout.str()
    assert "other" not in models(project)
    project.run(*QUICK, *json_file, "-k", "good and curve", expect=1)
    assert models(project)["good"]["every"] == 240
    run = project.run(*QUICK, "--occlusion-ks", "2", expect=1)
    assert "good not judged: no selected cell is one that a sample can judge" in run.stdout.str()


def test_each_cell_has_its_own_tolerance(project: Project) -> None:
    project.accept()
    suite = project.path / "suite.toml"
    text = suite.read_text()
    suite.write_text(f'{text}[tolerances]\n"good-block-r81-*" = 60\n')
    project.checkpoint("good", noise=3.0)
    run = project.run(*QUICK, "-rf", "-vv", expect=1)
    failed = [line for line in run.stdout.lines if line.startswith("FAILED")]
    assert any("good-block-r00" in line for line in failed), "one level's does not hide the others"
    assert not any("r81" in line for line in failed)


def test_folders_have_baselines_of_their_own(project: Project) -> None:
    tests = (project.path / "test_toy.py").read_text()
    (project.path / "test_toy.py").unlink()
    for name, noise in (("a", 0.5), ("b", 3.0)):
        (project.path / name).mkdir()
        (project.path / name / f"test_{name}.py").write_text(tests)
        project.checkpoint("good", noise=noise)
        project.run(name, "--snapshot-update", expect=0)
    for parallel in ((), ("-n", "2")):
        run = project.run(*QUICK, *parallel, "--occlusion-markdown", "out.md", expect=1)
        told = run.stdout.str()
        assert re.search(r"^good \(a\) .* regressed", told, re.MULTILINE)
        assert re.search(r"^good \(b\) .* no sign of loss", told, re.MULTILINE)
        assert "good (a) lost recall" in (project.path / "out.md").read_text()


def test_models_that_could_not_be_measured_are_named(project: Project) -> None:
    project.accept()
    project.checkpoint("good", bias=float("nan"))
    (project.path / "other.safetensors").unlink()
    (project.path / "store").rename(project.path / "old")
    args = (*QUICK, "--occlusion-allow-missing", "--occlusion-markdown", "out.md")
    run = project.run(*args, expect=1)
    told = run.stdout.str()
    assert "good not judged: its measurement failed" in told
    assert "other not judged: its tests were skipped, as it is missing" in told
    head = (project.path / "out.md").read_text().splitlines()[0]
    assert head.endswith("good, other not judged, or not whole")


def test_a_sample_is_not_drawn_again_and_plans_know_it(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.accept()
    (project.path / "store").rename(project.path / "old")
    project.run("--occlusion-quick", "0.9", "-k", "good", expect=0)
    plan = project.run("--occlusion-plan", "-k", "good", expect=0).stdout.str()
    assert re.search(r"canvases +60 +60 +0 ", plan)
    assert re.search(r"forward passes +240 +216 +24 ", plan)
    _draw_nothing(monkeypatch)
    project.run("-k", "good", expect=0)
    (project.path / "store").rename(project.path / "sampled")
    told = project.run("-k", "good", expect=1).stdout.str()
    assert "they are drawn" in told, "the check can fail"


def test_a_sample_takes_the_canvases_of_the_whole(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.accept()
    project.checkpoint("good", noise=0.01)
    canvases = [*(project.path / "store").glob("v1/canvases/*/*")]
    _draw_nothing(monkeypatch)
    args = ("--occlusion-quick", "0.9", "-k", "good", "--occlusion-json", "out.json")
    assert "no sign of loss" in project.run(*args).stdout.str()
    assert encoded(project) > 0
    assert [*(project.path / "store").glob("v1/canvases/*/*")] == canvases, "none is kept twice"


def _draw_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs fail that decode anything."""
    draw = Decoders.draw

    def refuse(self: Decoders, recipe: Any, radiographs: Any, done: Any) -> Any:
        if radiographs:
            raise OcclusionError("they are drawn")
        return draw(self, recipe, radiographs, done)

    monkeypatch.setattr(Decoders, "draw", refuse)
