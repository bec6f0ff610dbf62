"""Truncated texts per tokenizer: the ``corpus`` command with a suite."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pytest_occlusion import encoders
from pytest_occlusion.__main__ import main
from pytest_occlusion.encoders import register_family
from tests.plugin import toy_family

SUITE = """
suite = "toy"
corpus = "manifest:reports.csv"
text-rule = "full"
[models.short]
family = "toy"
checkpoint = "short.safetensors"
[models.absent]
family = "toy"
checkpoint = "$NOT_SET_HERE/x.safetensors"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A suite of a toy model, which takes 8 words, and five reports, two of them longer."""
    monkeypatch.setattr(encoders, "_REGISTERED", {})
    register_family(toy_family.TOY)
    monkeypatch.setenv("OCCLUSION_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    toy_family.write_checkpoint(tmp_path / "short.safetensors")
    (tmp_path / "suite.toml").write_text(SUITE)
    lines = ["image,study_id,report"]
    for number, words in enumerate((1, 8, 9, 40, 9)):  # the last text is the third's
        Image.new("L", (4, 4)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,secret-{number},{' '.join(['secret'] * words)}")
    (tmp_path / "reports.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str, expect: int = 0) -> str:
    assert main(["corpus", *arguments]) == expect
    captured = capsys.readouterr()
    assert "secret" not in captured.out + captured.err
    return captured.err if expect else captured.out


def line(text: str, name: str) -> list[str]:
    return next(one.split() for one in text.splitlines() if one.startswith(f"  {name} "))


@pytest.mark.usefixtures("folder")
def test_texts_are_counted_as_the_suite_has_them(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "--suite", "suite.toml")
    assert "distinct texts                           4  (rule full)" in text
    assert line(text, "short") == ["short", "2", "50.0", "%", "8", "40"]
    assert "not counted: the environment variable $NOT_SET_HERE is not set" in text


@pytest.mark.usefixtures("folder")
def test_the_command_line_comes_before_the_suite(capsys: pytest.CaptureFixture[str]) -> None:
    spec = ("manifest:reports.csv", "--suite", "suite.toml", "--models", "short")
    text = run(capsys, *spec, "--text-rule", "longest", "--candidates", "studies")
    assert "(rule longest)" in text
    assert "(studies)" in text
    assert "absent" not in text
    assert line(text, "short") == ["short", "2", "50.0", "%", "8", "40"]


@pytest.mark.usefixtures("folder")
def test_without_a_suite_no_model_is_opened(capsys: pytest.CaptureFixture[str]) -> None:
    assert "truncated" not in run(capsys, "manifest:reports.csv")


@pytest.mark.usefixtures("folder")
def test_no_text_under_the_rule(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "--suite", "suite.toml", "--text-rule", "findings")
    assert "no study has a text under the rule 'findings'" in text
    assert "truncated" not in text


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "neither a corpus nor a suite is named"),
        (("embedded", "--models", "short"), "--models without --suite"),
        (("--suite", "nothing"), "unknown suite 'nothing'"),
        (("--suite", "suite.toml", "--models", "other"), "unknown model other"),
        (("--suite", "suite.toml", "--split", "test"), "no row is in the split 'test'"),
        (("embedded", "--split", "test"), "corpus 'embedded' has no splits"),
    ],
)
def test_refusals(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    text = run(capsys, *arguments, expect=2)
    assert said in text
    assert "\n  -> " in text


def test_a_corpus_that_needs_a_variable(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "suite.toml").write_text(SUITE.replace("reports.csv", "$NOT_SET_HERE/r.csv"))
    assert "$NOT_SET_HERE, which is not set" in run(capsys, "--suite", "suite.toml", expect=2)
    assert "short" in run(capsys, "manifest:reports.csv", "--suite", "suite.toml")


def test_a_damaged_checkpoint_is_not_forgiven(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = folder / "suite.toml"
    suite.write_text(SUITE.replace('"short.safetensors"', '"short.safetensors"\nspeed = 3'))
    assert "unknown option 'speed'" in run(capsys, "--suite", "suite.toml", expect=2)
