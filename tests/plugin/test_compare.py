"""``python -m pytest_occlusion compare``: two runs, or a run and its baselines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_occlusion.__main__ import main
from tests.plugin.conftest import Project


@pytest.fixture
def runs(project: Project) -> tuple[Path, Path]:
    """Results with good weights and with worse ones; the baselines are of the good ones."""
    project.run("--snapshot-update", "--occlusion-json", "a.json", expect=0)
    project.checkpoint("good", noise=3.0)
    project.run("--occlusion-json", "b.json", expect=1)
    return project.path / "a.json", project.path / "b.json"


def test_a_loss_is_red_and_shown(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(runs[0]), str(runs[1])]) == 1
    text = capsys.readouterr().out
    assert text.startswith("16 cells compared: ")
    assert "regressed" in text
    assert "good-block-r00-k001" in text
    assert all(len(line) <= 80 for line in text.splitlines())
    assert main(["compare", str(runs[0]), str(runs[0])]) == 0
    assert "16 cells compared: 16 same; 0 significant" in capsys.readouterr().out


def test_the_same_statistics_as_the_gate(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(runs[0]), str(runs[1]), "--format", "json"]) == 1
    compared = {cell["id"]: cell for cell in json.loads(capsys.readouterr().out)["cells"]}
    for cell in json.loads(runs[1].read_text())["cells"]:
        for name in ("lost", "gained", "p_value", "p_adjusted"):
            assert compared[cell["id"]][name] == cell[name]


def test_against_baselines_and_fail_on(
    runs: tuple[Path, Path], project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = str(project.path / "baselines")
    assert main(["compare", str(runs[0]), "--against", stored]) == 0
    assert main(["compare", str(runs[1]), "--against", stored, "--format", "markdown"]) == 1
    assert "| good-block-r00-k001 | 100.0 % |" in capsys.readouterr().out
    assert main(["compare", str(runs[1]), str(runs[0])]) == 1  # an improvement
    assert main(["compare", str(runs[1]), str(runs[0]), "--fail-on", "regression"]) == 0


def test_two_checkpoints_of_one_run(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["compare", str(runs[0]), str(runs[0]), "--models", "good=other"])
    assert code == 1
    assert "8 cells compared" in capsys.readouterr().out


CELL = {
    "id": "a",
    "model": "m",
    "occluder": "block",
    "hit_queries": "AA==",
    **dict.fromkeys(("ratio", "recall", "hits", "chance", "constant", "ci_low", "ci_high"), 0),
    "k": 1,
    "queries": 9,
}
DOCUMENT = {"schema": 1, "corpus": {"fingerprint": "c"}, "cells": [CELL]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        ("{", "not a result file"),
        ("[]", "it has no cells"),
        ('{"schema": 9, "cells": []}', "schema 9, this version reads 1 and 2"),
        ('{"schema": 1, "cells": []}', "results.json: damaged: it holds no cell"),
        ('{"schema": 1, "cells": [{"id": "a"}]}', "results.json: damaged: cells[a] has no model"),
        (json.dumps(DOCUMENT), "a: which queries hit cannot be read"),
    ],
)
def test_faulty_files(
    content: str | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    assert main(["compare", str(path), str(path)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "->" in error


def test_what_to_compare_with_must_be_said(
    runs: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(runs[0])]) == 2
    assert main(["compare", str(runs[0]), str(runs[1]), "--models", "nobody=good"]) == 2
    assert "no cell in common" in capsys.readouterr().err
