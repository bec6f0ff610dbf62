"""Beside plugins that projects have: the same numbers, verdicts, summary and baselines.

Each plugin lies in a folder of its own, so that no other test loads it: ``OCCLUSION_PLUGINS`` names
the folder of these folders, and ``.ci/run`` fills it. (pytest-timeout comes with the tests.)
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.conftest import UNNEEDED, Project, workers

FOLDER = os.environ.get("OCCLUSION_PLUGINS", "")

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def beside(project: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Run]:
    """Given the name of a plugin, what runs the project's tests with it."""

    def loaded(name: str) -> Run:
        place = Path(FOLDER) / name
        if not FOLDER or not place.is_dir():
            pytest.skip(f"needs {name} in the folder that OCCLUSION_PLUGINS names")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place), *sys.path]))
        unneeded = [part for own in UNNEEDED if own != name for part in ("-p", f"no:{own}")]

        def run(*args: str) -> pytest.RunResult:
            return project.pytester.runpytest_subprocess(
                *unneeded, "-W", "error", "--occlusion-store", "store", *args
            )

        return run

    return loaded


def numbers(project: Project) -> list[tuple[Any, ...]]:
    """What a run wrote of every cell, in the order of their ids."""
    cells = json.loads((project.path / "out.json").read_text())["cells"]
    names = ("id", "hits", "verdict", "hit_queries", "baseline_hits", "p_value")
    return sorted(tuple(cell[name] for name in names) for cell in cells)


def plain(project: Project, *args: str) -> list[tuple[Any, ...]]:
    project.run("--occlusion-json", "out.json", *args)
    return numbers(project)


@workers
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("rerunfailures", ("--reruns", "1")),
        ("randomly", ("-p", "randomly", "-p", "no:hypothesispytest", "--randomly-seed", "7")),
        ("cov", ("--cov", "toy_family", "--cov-report", "term")),
        ("timeout", ("--timeout", "300")),
        ("html", ("--html", "report.html", "--self-contained-html")),
        ("sugar", ()),
        ("subtests", ()),
    ],
)
def test_numbers_verdicts_and_baselines_are_the_same(
    project: Project,
    beside: Callable[[str], Run],
    parallel: tuple[str, ...],
    name: str,
    args: tuple[str, ...],
) -> None:
    run = beside(name)
    project.accept()
    accepted = project.snapshot().read_bytes()
    project.checkpoint("good", noise=3.0)
    wanted = plain(project)
    red = run(*parallel, *args, "--occlusion-json", "out.json")
    told = red.stdout.str()
    assert red.ret == 1, told
    assert numbers(project) == wanted
    assert "INTERNALERROR" not in told
    assert told.count("fell beyond the tolerance\n") == 1, "one cell is explained"
    assert "(-vv: whole)" in told
    assert "16 cells: " in told
    assert "secret" not in told
    assert project.snapshot().read_bytes() == accepted
    updated = run(*parallel, *args, "--snapshot-update")
    assert updated.ret == 0, updated.stdout.str()
    after = project.snapshot().read_bytes()
    assert after != accepted
    green = run(*parallel, *args)
    assert green.ret == 0, green.stdout.str()
    assert "16 cells: " in green.stdout.str()
    assert project.snapshot().read_bytes() == after


def test_a_page_of_pytest_html_has_the_messages(
    project: Project, beside: Callable[[str], Run]
) -> None:
    project.accept()
    project.checkpoint("good", noise=3.0)
    beside("html")("--html", "report.html", "--self-contained-html")
    page = (project.path / "report.html").read_text()
    assert "fell beyond the tolerance" in page
    assert "weights changed" in page
    assert "secret" not in page


def test_cells_inside_subtests(project: Project, beside: Callable[[str], Run]) -> None:
    project.accept()
    (project.path / "test_toy.py").write_text(
        "def test_recall(occlusion_cell, subtests):\n"
        "    with subtests.test(msg='accepted'):\n"
        "        occlusion_cell.assert_accepted()\n"
    )
    run = beside("subtests")
    assert run().ret == 0
    project.checkpoint("good", noise=3.0)
    red = run()
    assert red.ret == 1
    assert "fell beyond the tolerance" in red.stdout.str()
