"""The first minutes: what ``init`` writes runs, and ``plan`` says what it would cost."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from pytest_occlusion.__main__ import main
from tests.encoders.tiny import write_hub_model
from tests.plugin.conftest import Project
from tests.plugin.forking import Forks

SMALL = ("--occlusion-ratios", "0,0.25", "--occlusion-ks", "5")


def ours(forks: Forks, *args: str) -> str:
    """What our command line says; not in this process, whose imports pytester would undo."""
    result = forks.run("pytest_occlusion", *args)
    assert result.ret == 0, result.stderr.str()
    return result.stdout.str()


@pytest.fixture(scope="module")
def hub_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made before pytester notes which modules there are: it would take away what this imports."""
    return write_hub_model(tmp_path_factory.mktemp("hub") / "my-clip", "clip")


@pytest.fixture
def table(project: Project, tmp_path: Path) -> Path:
    """The toy project's pictures and table, without its tests and suite."""
    folder = tmp_path / "hospital"
    folder.mkdir()
    shutil.copytree(project.path / "images", folder / "images")
    shutil.copy(project.path / "reports.csv", folder)
    return folder


def runs(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    accepted = pytester.runpytest("benchmarks", *args, "--snapshot-update")
    assert accepted.ret == 0, accepted.stdout.str()
    again = pytester.runpytest("benchmarks", *args)
    assert again.ret == 0, again.stdout.str()
    return again


@pytest.mark.slow
@pytest.mark.usefixtures("hub_model")
def test_an_empty_folder(pytester: pytest.Pytester, forks: Forks) -> None:
    told = ours(forks, "init")
    assert "pytest benchmarks/ --snapshot-update" in told
    store = ("-p", "no:cacheprovider", "--occlusion-store", "store")
    runs(pytester, *store, *SMALL).stdout.fnmatch_lines(["2 cells: 2 same"])


def test_a_folder_with_a_table_and_a_model_of_hugging_face(
    hub_model: Path,
    pytester: pytest.Pytester,
    table: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(hub_model, table / "my-clip")
    monkeypatch.chdir(table)
    assert main(["init"]) == 0
    told = capsys.readouterr().out
    assert "manifest:reports.csv" in told
    assert "my-clip: my-clip" in told
    assert "secret" not in told
    store = ("-p", "no:cacheprovider", "--occlusion-store", "store")
    result = runs(pytester, *store, *SMALL)
    result.stdout.fnmatch_lines(["suite hospital: 60 radiographs*", "2 cells: 2 same"])


def test_tests_without_a_suite_are_told_to_begin(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_recall(occlusion_cell):\n    occlusion_cell.assert_accepted()\n")
    result = pytester.runpytest()
    told = result.stdout.str() + result.stderr.str()
    assert "no suite is configured: no [tool.occlusion] in a pyproject.toml up to" in told
    assert "python -m pytest_occlusion init" in told
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "1 passed" not in told
    assert pytester.runpytest("--co", "-q", "--occlusion-suite", "embedded").ret == 0


# Plans -------------------------------------------------------------------------------------------


def rows(told: str) -> dict[str, list[int]]:
    """Kind of work -> how many in all, in the store, and to do."""
    found = re.findall(r"^  ([a-z ]+?)  +([\d,]+) +([\d,]+) +([\d,]+) ", told, re.MULTILINE)
    return {name: [int(n.replace(",", "")) for n in counts] for name, *counts in found}


def test_a_plan_counts_what_is_to_do_and_runs_nothing(project: Project) -> None:
    first = project.run("--occlusion-plan", "--occlusion-models", "good", expect=0)
    told = first.stdout.str()
    assert first.parseoutcomes().get("passed", 0) == 0
    assert "suite toy: 1 model, 4 levels, 2 ks" in told
    assert rows(told) == {
        "canvases": [60, 0, 60],
        "texts": [60, 0, 60],
        "forward passes": [240, 0, 240],
        "rankings": [4, 0, 4],
    }
    assert "secret" not in told
    assert "every image file is read once, for its digest: not counted" in told
    assert not list((project.path / "store" / "v1").glob("embeddings/*/*"))
    project.run("--occlusion-ratios", "0,0.25", "--occlusion-models", "good")
    told = project.run("--occlusion-plan", "--occlusion-models", "good").stdout.str()
    assert rows(told) == {
        "canvases": [60, 60, 0],
        "texts": [60, 60, 0],
        "forward passes": [120, 0, 120],
        "rankings": [4, 2, 2],
    }
    assert "for its digest" not in told
    project.run("--occlusion-models", "good")
    told = project.run("--occlusion-plan", "--occlusion-models", "good").stdout.str()
    assert rows(told) == {"rankings": [4, 4, 0]}
    assert "all is in the store" in told


def test_a_plan_is_made_by_one_process(project: Project) -> None:
    refused = project.run("-n", "2", "--occlusion-plan", expect=4)
    refused.stderr.fnmatch_lines(["*a plan is made by one process*", "*use -n 0*"])


def test_a_plan_of_the_selected_tests_alone(project: Project) -> None:
    told = project.run("--occlusion-plan", "-k", "other-block-r25-k001 and recall").stdout.str()
    assert "1 model, 1 levels, 1 ks" in told
    assert rows(told)["forward passes"] == [60, 0, 60]


def test_a_plan_names_what_is_missing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.path / "good.safetensors").unlink()
    told = project.run("--occlusion-plan").stdout.str()
    assert "good: cannot be run here\n  good: " in told
    assert "good.safetensors" in told
    assert "without 1 model that cannot be run here:" in told
    assert rows(told)["canvases"] == [60, 0, 60], "the other one is planned"
    monkeypatch.delenv("MIMIC_CXR_ROOT", raising=False)
    paper = Path(__file__).parents[2] / "benchmarks" / "suites" / "paper.toml"
    said = ours(project.forks, "plan", "--suite", str(paper))
    assert "suite paper: 4 models, 8 levels, 6 ks" in said
    assert "corpus mimic-cxr is missing" in said


def test_a_plan_goes_on_beside_a_model_that_is_broken(project: Project) -> None:
    (project.path / "broken.pt").write_bytes(b"no weights")
    with (project.path / "suite.toml").open("a") as suite:
        suite.write('[models.broken]\nfamily = "clip"\ncheckpoint = "broken.pt"\n')
    told = project.run("--occlusion-plan", expect=0).stdout.str()
    assert "broken: cannot be run here" in told
    assert "neither a torch file nor safetensors" in told
    assert "other: toy linear" in told


def test_a_plan_of_nothing(project: Project) -> None:
    told = project.run("--occlusion-plan", "-k", "nothing_there").stdout.str()
    assert "no test that asks for a cell is selected: nothing is planned" in told
    assert "all together" not in told


def test_a_plan_that_nothing_is_left_of(project: Project) -> None:
    for name in ("good", "other"):
        (project.path / f"{name}.safetensors").unlink()
    refused = project.run("--occlusion-plan", expect=4)
    assert "other: cannot be run here" in refused.stdout.str()
    refused.stderr.fnmatch_lines(["*no model of the plan can be run here*"])
    assert "all is in the store" not in refused.stdout.str()


def test_a_plan_without_a_store(project: Project) -> None:
    told = project.run("--occlusion-plan", "--occlusion-no-store").stdout.str()
    assert "nothing is kept" in told
    assert "at most 0 B on disk" in told


# The command line --------------------------------------------------------------------------------


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    import pytest_occlusion

    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"pytest-occlusion {pytest_occlusion.__version__}\n"


COMMANDS = (
    *("init", "plan", "inspect", "models", "fetch", "try", "corpus"),
    *("compare", "html", "plot", "gallery"),
)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_an_example_and_exit_codes_and_no_markup(
    capsys: pytest.CaptureFixture[str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        main([*filter(None, [command]), "--help"])
    told = capsys.readouterr().out
    assert "exit status: 0 " in told
    assert "`" not in told
    assert "example: python -m pytest_occlusion " in told or not command
    assert max(map(len, told.splitlines())) <= 80
    for name in COMMANDS if not command else ():
        assert re.search(rf"^    {name} ", told, re.MULTILINE)


def test_a_folder_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "nowhere"]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err
