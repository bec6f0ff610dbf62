"""Where pytest is started above or beside the package whose ``pyproject.toml`` configures us."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.plugin.conftest import Project

SUITE = """
suite = "{name}"
ratios = [0.0, 0.25]
ks = [1]
[models.{name}]
family = "clip"
checkpoint = "a.pt"
"""


def package(root: Path, name: str, *, configured: bool = True) -> None:
    """A package with a suite of two cells, and tests of them."""
    (root / name / "benchmarks" / "suites").mkdir(parents=True)
    (root / name / "benchmarks" / "suites" / "ours.toml").write_text(SUITE.format(name=name))
    test = "def test_recall(occlusion_cell): pass\n"
    (root / name / "benchmarks" / f"test_{name}.py").write_text(test)
    if configured:
        (root / name / "pyproject.toml").write_text('[tool.occlusion]\nsuite = "ours"\n')


@pytest.fixture
def mono(pytester: pytest.Pytester) -> Path:
    pytester.makefile(".ini", pytest="[pytest]")
    package(pytester.path, "ml")
    return pytester.path


def collected(pytester: pytest.Pytester, *args: str) -> str:
    return pytester.runpytest("--co", "-q", *args).stdout.str()


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("ml",),
        ("ml/benchmarks/test_ml.py::test_recall",),
        ("--occlusion-no-store",),
        ("ml", "--occlusion-no-store"),
        ("-c", "pytest.ini", "--rootdir", "ml/benchmarks"),
    ],
)
def test_the_configuration_nearest_to_the_tests_is_used(
    pytester: pytest.Pytester, mono: Path, args: tuple[str, ...]
) -> None:
    out = collected(pytester, *args)
    assert "test_recall[ml-block-r00-k001]" in out
    assert "2 tests collected" in out


def test_tests_that_are_not_ours_may_lie_anywhere(pytester: pytest.Pytester, mono: Path) -> None:
    package(mono, "other")
    (mono / "other" / "benchmarks" / "test_other.py").write_text("def test_other(): pass\n")
    assert "3 tests collected" in collected(pytester)


@pytest.mark.parametrize("args", [(), ("ml", "web"), ("ml/benchmarks", "web/benchmarks")])
def test_two_configurations_are_refused(
    pytester: pytest.Pytester, mono: Path, args: tuple[str, ...]
) -> None:
    package(mono, "web")
    result = pytester.runpytest("--co", "-q", *args)
    out = result.stdout.str() + result.stderr.str()
    said = [str(mono / name / "pyproject.toml") for name in ("ml", "web")]
    assert f"tests of this run are configured by {said[0]} and by {said[1]}" in out
    assert "--occlusion-suite" in out
    assert "Traceback" not in out


def test_one_suite_may_be_named_for_all(pytester: pytest.Pytester, mono: Path) -> None:
    package(mono, "web")
    out = collected(pytester, "--occlusion-suite", "ml/benchmarks/suites/ours.toml")
    assert "4 tests collected" in out
    assert "test_web.py::test_recall[ml-block-r25-k001]" in out


@pytest.mark.parametrize("above", [True, False], ids=["configured above", "configured nowhere"])
def test_a_package_with_other_tests_beside_it_is_refused(
    pytester: pytest.Pytester, mono: Path, above: bool
) -> None:
    package(mono, "plain", configured=False)
    if above:
        (mono / "pyproject.toml").write_text('[tool.occlusion]\nsuite = "embedded"\n')
    out = collected(pytester)
    assert "tests of this run are configured by" in out
    assert str(mono / "ml" / "pyproject.toml") in out
    other = str(mono / "pyproject.toml") if above else f"nothing (no [tool.occlusion] up to {mono}"
    assert f"by {other}" in out


def test_a_run_from_above_is_the_packages_own(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its suite, its baselines beside its tests, and the same summary on workers."""
    names = [path.name for path in project.path.iterdir()]
    for name in names:
        target = project.path / "ml" / name
        target.parent.mkdir(exist_ok=True)
        shutil.move(project.path / name, target)
    project.pytester.makeini("[pytest]\n")
    monkeypatch.setenv("OCCLUSION_STORE", str(project.path / "store"))
    monkeypatch.syspath_prepend(project.path / "ml")
    monkeypatch.setenv("PYTHONPATH", str(project.path / "ml"), prepend=":")
    quiet = ("-p", "no:cacheprovider", "-W", "error")
    result = project.pytester.runpytest(*quiet, "--snapshot-update")
    assert result.ret == 0, result.stdout.str()
    assert {path.name for path in (project.path / "ml/baselines/toy").iterdir()} == {
        "good.json",
        "other.json",
    }
    result = project.pytester.runpytest(*quiet, "-n", "2")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*16 cells: 16 same*"])
    refused = project.pytester.runpytest(*quiet, "-n", "2", "--occlusion-json", "r.json")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(["*no suite is configured: * pyproject.toml up to *"])


def test_without_syrupy_the_remedy_is_told(project: Project) -> None:
    result = project.run("-p", "no:syrupy", expect=2)
    result.stdout.fnmatch_lines(["*through the plugin syrupy, which is not there*"])
    result.stdout.fnmatch_lines(["*run without '-p no:syrupy'*"])
