"""Suites: where they are looked for, and what is said when they are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_occlusion.errors import OcclusionError, printable
from pytest_occlusion.suite.merge import build_settings
from pytest_occlusion.suite.suites import configured, embedded_checkpoint, find_suite

MODEL = '[models.a]\nfamily = "clip"\ncheckpoint = "a.pt"\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "benchmarks" / "suites").mkdir(parents=True)
    return folder


def add_suite(folder: Path, name: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(f'suite = "{name}"\n{MODEL}')
    return path


def pyproject(root: Path, text: str) -> None:
    (root / "pyproject.toml").write_text(text)


def fault(asked: str | None, root: Path) -> str:
    with pytest.raises(OcclusionError) as caught:
        find_suite(asked, root)
    assert caught.value.remedy
    return str(caught.value)


def test_a_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = add_suite(root, "mine")
    found = find_suite(str(path), Path("/elsewhere"))
    assert (found.table["suite"], found.origin, found.base) == ("mine", "mine.toml", root)
    monkeypatch.chdir(root)
    assert find_suite("mine.toml", Path("/elsewhere")).base == root
    monkeypatch.setenv("HOME", str(root))
    assert find_suite("~/mine.toml", Path("/elsewhere")).base == root


def test_a_name(root: Path) -> None:
    folder = root / "benchmarks" / "suites"
    add_suite(folder, "mine")
    found = find_suite("mine", root)
    assert (found.table["suite"], found.origin, found.base) == ("mine", "mine.toml", folder)


def test_an_unknown_name_lists_the_known_ones(root: Path) -> None:
    for name in ("zebra", "antelope"):
        add_suite(root / "benchmarks" / "suites", name)
    text = fault("mine", root)
    assert "unknown suite 'mine'" in text
    assert "antelope" in text
    assert text.index("antelope") < text.index("zebra")
    assert "a .toml file of your own" in text


@pytest.mark.parametrize("asked", ["x" * 400, "a\0b", "", "../mine"])
def test_strange_names(asked: str, root: Path) -> None:
    assert "unknown suite" in fault(asked, root)


@pytest.mark.parametrize(
    "asked", ["none.toml", "~nobody-of-that-name/x.toml", "x" * 400 + ".toml", "a\0.toml"]
)
def test_files_that_are_not_there(asked: str, root: Path) -> None:
    text = fault(asked, root)
    assert printable(asked) in text
    assert ".toml" in text


def test_a_folder_that_is_called_like_a_file(root: Path) -> None:
    (root / "x.toml").mkdir()
    assert "cannot be read" in fault(str(root / "x.toml"), root)


# [tool.occlusion] --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [None, "", "[project]\nname = 'x'\n", "[tool.other]\na = 1\n", "[tool.occlusion]\n"]
)
def test_projects_that_do_not_use_us(root: Path, text: str | None) -> None:
    if text is not None:
        pyproject(root, text)
    assert configured(root) == {}


def test_a_whole_suite_in_pyproject(root: Path) -> None:
    pyproject(
        root, f"[tool.occlusion]\nks = [3]\n{MODEL.replace('models', 'tool.occlusion.models')}"
    )
    found = find_suite(None, root)
    assert found.origin == "pyproject.toml [tool.occlusion]"
    assert found.base == root
    assert found.table["suite"] == "project"
    settings = build_settings(found, command_line={})
    assert settings.grid.ks == (3,)
    assert settings.model("a").checkpoint == str(root / "a.pt")


def test_a_whole_suite_in_pyproject_may_have_a_name(root: Path) -> None:
    models = MODEL.replace("models", "tool.occlusion.models")
    pyproject(root, f'[tool.occlusion]\nsuite = "mine"\n{models}')
    assert find_suite(None, root).table["suite"] == "mine"


def test_pyproject_may_name_a_suite(root: Path) -> None:
    add_suite(root / "benchmarks" / "suites", "mine")
    pyproject(root, '[tool.occlusion]\nsuite = "mine"\n')
    assert find_suite(None, root).table["suite"] == "mine"
    pyproject(root, '[tool.occlusion]\nsuite = "mien"\n')
    assert "unknown suite 'mien'" in fault(None, root)
    assert "did you mean mine?" in fault(None, root)


def test_a_file_that_pyproject_names_lies_beside_it(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    add_suite(root, "mine")
    pyproject(root, '[tool.occlusion]\nsuite = "mine.toml"\n')
    assert find_suite(None, root).base == root


def test_the_command_line_wins_over_pyproject(root: Path) -> None:
    add_suite(root / "benchmarks" / "suites", "mine")
    pyproject(root, '[tool.occlusion]\nsuite = "other"\n')
    assert find_suite("mine", root).table["suite"] == "mine"


def test_settings_without_models_say_what_is_missing(root: Path) -> None:
    pyproject(root, '[tool.occlusion]\nsuite = "mine"\nks = [3]\nfill = "mean"\n')
    text = fault(None, root)
    assert "[tool.occlusion] sets fill, ks but has no models" in text
    assert 'suite = "mine"' in text


def test_nothing_configured_is_said_and_how_to_begin(root: Path) -> None:
    add_suite(root / "benchmarks" / "suites", "embedded")
    told = fault(None, root)
    assert f"no suite is configured: no [tool.occlusion] in a pyproject.toml up to {root}" in told
    assert "python -m pytest_occlusion init" in told


def test_tiny_checkpoints_are_found_by_name() -> None:
    assert (embedded_checkpoint("cxr-clip") / "cxr_clip.tar").is_file()
    with pytest.raises(OcclusionError, match="embedded:cxr-klip does not exist") as caught:
        embedded_checkpoint("cxr-klip")
    assert "did you mean" in str(caught.value)


@pytest.mark.parametrize("text", ["not toml", "tool = 3", "[tool]\nocclusion = 'embedded'\n"])
def test_a_pyproject_that_cannot_be_used(root: Path, text: str) -> None:
    pyproject(root, text)
    assert "pyproject.toml" in fault(None, root)
