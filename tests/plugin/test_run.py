"""The plugin from end to end: cells, numbers, JSON, summary."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from pytest_occlusion.engine.decoding import (
    Decoders,  # here, so that runs inside use the class patched
)
from tests.plugin.conftest import Project


def results(project: Project, *args: str) -> dict[str, Any]:
    """Run and read what ``--occlusion-json`` wrote."""
    project.run("--occlusion-json", "out/results.json", *args)
    content: dict[str, Any] = json.loads((project.path / "out" / "results.json").read_text())
    return content


def test_update_then_green(project: Project) -> None:
    project.run("--snapshot-update", expect=0).assert_outcomes(passed=18)
    result = project.run(expect=0)
    result.assert_outcomes(passed=18)
    result.stdout.fnmatch_lines(["*good - block*", "*16 cells: 16 same*"])


def test_measured_again_or_from_the_store_it_is_the_same(project: Project) -> None:
    project.accept()
    serial = results(project, "--occlusion-no-store")
    again = results(project, "--occlusion-no-store")
    warm = results(project)
    for other in (again, warm):
        for part in ("schema", "suite", "corpus", "protocol", "models", "cells", "curves"):
            assert other[part] == serial[part], part


def test_the_numbers_are_right(project: Project) -> None:
    found = results(project)
    assert found["schema"] == 2
    assert found["suite"] == "toy"
    assert found["corpus"]["radiographs"] == 60
    assert len(found["cells"]) == 16
    cells = {cell["id"]: cell for cell in found["cells"]}
    whole, blocked = cells["good-block-r00-k001"], cells["good-block-r81-k001"]
    assert whole["recall"] == 1.0
    assert whole["hits"] == whole["queries"] == 60
    assert whole["chance"] == pytest.approx(1 / 60)
    assert whole["constant"] == pytest.approx(1 / 60)
    assert blocked["recall"] < 0.5
    assert blocked["ci_low"] <= blocked["recall"] <= blocked["ci_high"]
    assert blocked["achieved"] == pytest.approx(14**2 / 16**2)
    assert {curve["k"] for curve in found["curves"]} == {1, 5}
    assert all(timing["model"] in ("good", "other") for timing in found["timings"])


def test_a_missing_baseline_is_red_and_says_how_to_accept(project: Project) -> None:
    result = project.run(expect=1)
    result.stdout.fnmatch_lines(
        [
            "*Recall@1 of good at 0 % blocked (block) has no baseline*",
            "*accept: pytest *--occlusion-models good --snapshot-update",
        ]
    )


@pytest.mark.parametrize(
    "narrowed", [("--occlusion-models", "good"), ("--occlusion-models=good,other",)]
)
def test_the_command_that_accepts_names_models_once(
    project: Project, narrowed: tuple[str, ...]
) -> None:
    result = project.run(*narrowed, "-k", "good-block-r00-k001", expect=1)
    line = next(line for line in result.stdout.lines if "accept: pytest" in line)
    assert " -k good-block-r00-k001 " in line
    assert line.endswith(" --occlusion-models good --snapshot-update")
    assert line.count("--occlusion-models") == line.count("good,other") + 1 == 1


def test_the_command_that_accepts_goes_on_past_other_failures(project: Project) -> None:
    result = project.run("-x", "--maxfail", "3", "--maxfail=2", expect=1)
    line = next(line for line in result.stdout.lines if "accept: pytest" in line)
    assert "-x" not in line.split()
    assert "maxfail" not in line
    assert "3" not in line.split()


def test_new_weights_turn_it_red_and_the_old_ones_green(project: Project) -> None:
    project.accept()
    before = project.snapshot().read_bytes()
    project.checkpoint("good", noise=3.0)
    result = project.run(expect=1)
    result.stdout.fnmatch_lines(
        [
            "*Recall@1 of good at * % blocked (block) fell beyond the tolerance",
            "*accept: pytest *--occlusion-models good --snapshot-update",
            "*baseline * % *60*",
            "*this run * % *60*",
            "*difference*pt*(tolerance 1)*",
            "*flipped*queries lost,*gained; exact McNemar p = *",
            "*weights changed*->*",
            "*unchanged*corpus, protocol, precision, device, code, libraries*",
        ]
    )
    result.stdout.fnmatch_lines(["*regressed:*", "*good-block-r*->*%*hits*"])
    assert not re.search(r"\.py:\d", result.stdout.str())  # no traceback of ours or theirs
    assert project.snapshot().read_bytes() == before
    project.checkpoint("good", noise=0.5)
    project.run(expect=0)


def test_an_improvement_is_red_too(project: Project) -> None:
    project.checkpoint("good", noise=3.0)
    project.accept()
    project.checkpoint("good", noise=0.5)
    result = project.run(expect=1)
    result.stdout.fnmatch_lines(["*rose beyond the tolerance", "*improved:*"])


def test_the_accepting_command_accepts(project: Project) -> None:
    project.accept()
    untouched = project.snapshot("other").read_bytes()
    project.checkpoint("good", noise=3.0)
    project.run(expect=1)
    project.run("--occlusion-models", "good", "--snapshot-update", expect=0)
    assert project.snapshot("other").read_bytes() == untouched
    project.run(expect=0)


def test_selections_lose_no_snapshot(project: Project) -> None:
    project.accept()
    before = {name: project.snapshot(name).read_bytes() for name in ("good", "other")}
    for selection in (
        ("--occlusion-models", "good"),
        ("--occlusion-ratios", "0"),
        ("--occlusion-ks", "5"),
        ("-k", "other and r25"),
        ("--deselect", "test_toy.py::test_recall[good-block-r00-k001]"),
    ):
        result = project.run("--snapshot-update", *selection, expect=0)
        assert "unused" not in result.stdout.str()
        assert "deleted" not in result.stdout.str()
    assert {name: project.snapshot(name).read_bytes() for name in before} == before


def test_values_within_the_tolerance_are_not_rewritten(project: Project) -> None:
    project.accept()
    snapshot = json.loads(project.snapshot().read_text())
    cell = next(name for name, line in snapshot["cells"].items() if line["hits"] > 1)
    snapshot["cells"][cell]["hits"] -= 1
    project.snapshot().write_text(json.dumps(snapshot))
    before = project.snapshot().read_bytes()
    result = project.run("--snapshot-update", expect=0)
    result.stdout.fnmatch_lines(["*1 within-tolerance*"])
    assert project.snapshot().read_bytes() == before


def test_a_damaged_snapshot_is_named_and_repaired_by_an_update(project: Project) -> None:
    project.accept()
    good = project.snapshot().read_bytes()
    project.snapshot().write_bytes(good[: len(good) // 2])
    result = project.run(expect=1)
    result.stdout.fnmatch_lines(["*good.json: the snapshot file is damaged*", "*-> restore it*"])
    project.run("--snapshot-update", expect=0)
    assert project.snapshot().read_bytes() == good


def test_a_changed_protocol_has_no_baseline_and_says_so(project: Project) -> None:
    project.accept()
    result = project.run("--occlusion-fill", "white", expect=0)
    result.stdout.fnmatch_lines(["*no baseline applies: the command line changed fill.*"])


def test_cells_outside_the_suite_pass_as_new(project: Project) -> None:
    project.accept()
    result = project.run("--occlusion-ratios", "0,0.5", expect=0)
    result.stdout.fnmatch_lines(["*4 same, 4 new*"])


def test_a_changed_report_is_seen_in_the_triage(project: Project) -> None:
    project.accept()
    rows = project.rows()
    for row in rows[:30]:
        row["report"] = row["report"].replace("secret report ", "secret report 9")
    project.write_rows(rows)
    project.run(expect=1).stdout.fnmatch_lines(["*corpus changed*->*", "*unchanged*weights*"])


def test_seeds_are_pooled(project: Project) -> None:
    found = results(project, "--occlusion-seed", "0,1,2")
    assert {cell["queries"] for cell in found["cells"]} == {180}
    one = {cell["id"]: cell for cell in results(project, "--occlusion-seed", "1")["cells"]}
    cells = {cell["id"]: cell for cell in found["cells"]}
    assert cells["good-block-r00-k001"]["recall"] == one["good-block-r00-k001"]["recall"]
    assert cells["good-block-r49-k001"]["hits"] != 3 * one["good-block-r49-k001"]["hits"]


def test_both_directions(project: Project) -> None:
    found = results(project, "--occlusion-direction", "both")
    reverse = [cell for cell in found["cells"] if cell["direction"] == "text-to-image"]
    assert len(reverse) == 16
    assert reverse[0]["id"].endswith("-t2i")


def test_every_occluder_in_one_run(project: Project) -> None:
    names = "block,patches,pixels,center,border"
    found = results(project, "--occlusion-occluders", names, "--occlusion-models", "good")
    assert {cell["occluder"] for cell in found["cells"]} == set(names.split(","))
    whole = {cell["hits"] for cell in found["cells"] if not cell["ratio"] and cell["k"] == 1}
    assert len(whole) == 1


def test_an_interrupted_run_goes_on(project: Project) -> None:
    project.run("-k", "good and r25")
    toy = project.path / "toy_family.py"
    counting = toy.read_text().replace(
        "embed_canvases=lambda canvases: project",
        'embed_canvases=lambda canvases: open("seen", "a").write("x") and project',
    )
    toy.write_text(counting)
    project.run("-k", "good")
    assert (project.path / "seen").read_text() == "xxx"  # r00, r49, r81; r25 was there


def test_identifiers_and_texts_stay_inside(project: Project) -> None:
    outputs = []
    for args in (("--snapshot-update",), (), ("-vv", "--junitxml", "out/junit.xml")):
        if args and args[0] == "-vv":
            project.checkpoint("good", noise=3.0)
        run = project.run(*args, "--occlusion-json", "out/results.json")
        outputs.append(run.stdout.str() + run.stderr.str())
    files = [
        path
        for folder in ("out", "store", "baselines")
        for path in (project.path / folder).rglob("*")
        if path.is_file()
    ]
    assert len(files) > 8
    outputs += [path.read_bytes().decode("latin-1") for path in files]
    assert not [text for text in outputs if "secret" in text]


def test_speed_is_shown_and_written(project: Project) -> None:
    args = ("--occlusion-json", "results.json")
    result = project.run(*args)
    result.stdout.fnmatch_lines(["speed of what*", "good: drawn */s, *encoded */s, *ranked*"])
    found = json.loads((project.path / "results.json").read_text())["timings"]
    assert {one["model"] for one in found} == {"good", "other"}
    for one in found:
        assert one["radiographs"] == 60
        assert one["ranked"] == one["encoded_images"] == 4 * 60
        assert min(one["encode_seconds"], one["rank_seconds"], one["wait_seconds"]) > 0
    assert "speed of what" not in project.run(*args).stdout.str()


def test_a_run_leaves_nothing_open(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its process goes on, as in a notebook."""
    closed: list[int] = []
    close = Decoders.close

    def counting(self: Decoders) -> None:
        close(self)
        closed.append(len(self._workers))

    monkeypatch.setattr(Decoders, "close", counting)
    project.run()
    assert closed == [0]


def test_radiographs_are_opened_ahead_where_no_canvas_can_be_known(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        Decoders, "open_ahead", lambda self, batches: asked.append(sum(map(len, batches)))
    )
    project.run()
    assert asked == [60], "the second model may show the canvases of the first"
    project.checkpoint("good", noise=2.0)
    project.run()
    assert asked == [60], "new weights show canvases that are known"
    project.run("--occlusion-no-store")
    assert asked == [60, 60, 60]
