"""Several runs on one page: models side by side, a curve per run, every cell's verdicts."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_occlusion.__main__ import main
from pytest_occlusion.reporting.board import Board, names_of_files
from pytest_occlusion.reporting.html import as_board
from pytest_occlusion.reporting.reading import completed
from pytest_occlusion.reporting.views import Condition
from tests.reporting.fabricated import results
from tests.reporting.test_html import EVIL, Page, outside

BLOCK = Condition("image-to-text", "block")
NAMES = ("may", "june", "july")


def scaled(factor: float, **changes: Any) -> dict[str, Any]:
    """The fabricated run with all recalls that many times as high."""
    made = copy.deepcopy(results(3, occluders=("block", "center"), ks=(5, 10), **changes))
    for cell in made["cells"]:
        cell["recall"] *= factor
    return made


@pytest.fixture
def runs() -> list[dict[str, Any]]:
    return [scaled(1.0), scaled(0.9), scaled(0.95)]


def board(runs: list[dict[str, Any]]) -> Board:
    return Board(NAMES[: len(runs)], [completed(run) for run in runs])


def test_models_of_all_runs_are_ranked_together(runs: list[dict[str, Any]]) -> None:
    entries = board(runs).entries(BLOCK)
    assert len(entries) == 9
    accuracies = [one.standing.accuracy for one in entries]
    assert accuracies == sorted(accuracies, reverse=True)
    best = entries[0]
    assert best.run == "may"
    cells = {(c["model"], c["occluder"], c["ratio"], c["k"]): c for c in runs[0]["cells"]}
    for entry in (one for one in entries if one.run == "may"):
        own = entry.standing
        whole = cells[own.model, "block", 0.0, own.k]
        assert own.accuracy == whole["recall"]
        assert (entry.low, entry.high) == (whole["ci_low"], whole["ci_high"])
        assert entry.recall == cells[own.model, "block", 0.81, own.k]["recall"]
        assert entry.deepest == "81 %"
        assert sum(entry.verdicts.values()) == 16
    assert [one.run for one in entries if one.standing.front] == ["may"] * sum(
        one.standing.front for one in entries
    )


def test_runs_of_other_corpora_have_a_front_of_their_own(runs: list[dict[str, Any]]) -> None:
    runs[1]["corpus"]["fingerprint"] = "dd" * 32
    made = board(runs)
    fronts = {one.run for one in made.entries(BLOCK) if one.standing.front}
    assert fronts == {"may", "june"}
    assert made.differences == [
        "The runs differ in corpus: formula c0c0c0c0 in may, july; formula dddddddd in june."
    ]
    rows = [row for _, rows, _ in made.history(BLOCK) for row in rows]
    assert all(row.change is not None for row in rows), "may and july can be compared"
    runs[2]["protocol"]["fill"] = "mean"
    rows = [row for _, rows, _ in board(runs).history(BLOCK) for row in rows]
    assert all(row.change is None for row in rows)


def test_a_line_per_run_and_a_panel_per_model(runs: list[dict[str, Any]]) -> None:
    runs[2]["cells"] = [cell for cell in runs[2]["cells"] if cell["model"] != "clip"]
    found = {panel.title: panel for panel in board(runs).panels(BLOCK)}
    assert [line.name for line in found["clip"].lines] == ["may", "june"]
    assert [line.name for line in found["medclip"].lines] == [*NAMES]
    assert [line.place for line in found["medclip"].lines] == [0, 1, 2]
    assert [line.earlier for line in found["medclip"].lines] == [True, True, False]
    assert [bool(line.band) for line in found["medclip"].lines] == [False, False, True]


def test_runs_without_a_common_k_have_no_panel() -> None:
    one, other = results(1, ks=(5,)), results(1, ks=(10,))
    assert not Board(("a", "b"), [completed(one), completed(other)]).panels(BLOCK)


def test_runs_may_have_other_conditions_and_ks(runs: list[dict[str, Any]]) -> None:
    runs[1]["cells"] = [cell for cell in runs[1]["cells"] if cell["occluder"] == "center"]
    runs[2]["cells"] = [cell for cell in runs[2]["cells"] if cell["k"] == 5]
    made = board(runs)
    assert {one.run for one in made.entries(BLOCK)} == {"may", "july"}
    assert "The runs differ in k: 10 in may, june; 5 in july." in made.differences
    Page(as_board(runs, NAMES))


def test_every_cell_through_the_runs(runs: list[dict[str, Any]]) -> None:
    runs[1]["cells"] = [cell for cell in runs[1]["cells"] if cell["ratio"] != 0.25]
    for model, rows, moved in board(runs).history(BLOCK):
        own = [c for c in runs[0]["cells"] if (c["model"], c["occluder"]) == (model, "block")]
        assert len(rows) == len(own) == 16
        for row, cell in zip(rows, sorted(own, key=lambda c: (c["ratio"], c["k"])), strict=True):
            first, middle, last = row.cells
            assert first is not None
            assert last is not None
            assert first["id"] == cell["id"]
            assert (middle is None) == (cell["ratio"] == 0.25)
            assert row.change == pytest.approx(100 * (last["recall"] - first["recall"]))
        assert moved == sum(any(c["verdict"] != "same" for c in row.cells if c) for row in rows)


def test_the_page(runs: list[dict[str, Any]]) -> None:
    text = as_board(runs, NAMES)
    page = Page(text)
    assert as_board(runs, NAMES) == text
    assert not outside(text)
    assert {one["id"] for one in page.every("section")} == {
        "summary",
        "models",
        "curves",
        "history",
    }
    assert len(page.every("figure")) == 2 * 3
    assert len(page.every("details")) == 2 * 3
    assert sum("sorts" in (one.get("class") or "") for one in page.every("table")) == 2
    for name in NAMES:
        assert name in page.words


def test_hostile_names_are_only_text(runs: list[dict[str, Any]]) -> None:
    for run in runs:
        run["suite"] = EVIL
        run["corpus"]["name"] = EVIL
    page = Page(as_board(runs, [f"{number}{EVIL}" for number in range(3)]))
    assert len(page.every("script")) == 1
    assert not page.every("img")


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.json", "b.json"], ["a", "b"]),
        (["may/results.json", "june/results.json"], ["may/results", "june/results"]),
        (["x/may/r.json", "y/may/r.json"], ["1. r", "2. r"]),
    ],
)
def test_runs_are_called_after_their_files(paths: list[str], names: list[str]) -> None:
    assert names_of_files([*map(Path, paths)]) == names


def test_the_command(
    runs: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / f"{name}.json" for name in NAMES]
    for file, run in zip(files, runs, strict=True):
        file.write_text(json.dumps(run))
    out = tmp_path / "board.html"
    assert main(["html", *map(str, files), "--out", str(out)]) == 0
    assert out.read_text() == as_board(runs, NAMES)
    capsys.readouterr()
    sheet = ["--gallery", "sheet.png"]
    assert main(["html", *map(str, files), "--out", str(out), *sheet]) == 2
    assert "--gallery belongs to the page of one run" in capsys.readouterr().err
    before = files[1].read_bytes()
    for given in (files[1:2], files):
        assert main(["html", *map(str, given), "--out", str(files[1])]) == 2
        assert "the page would replace what it is made of" in capsys.readouterr().err
    assert files[1].read_bytes() == before
