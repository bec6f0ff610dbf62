"""``python -m pytest_occlusion try``: what a first contact shows, and what it says at chance."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_occlusion.__main__ import main
from pytest_occlusion.corpora import load_corpus
from pytest_occlusion.engine.trial import RADIOGRAPHS, first_contact, sample
from pytest_occlusion.reporting import commands
from pytest_occlusion.reporting.trial import trial_lines
from pytest_occlusion.suite.merge import build_settings
from pytest_occlusion.suite.suites import Suite
from pytest_occlusion_fixtures import __file__ as fixtures

CHECKPOINTS = Path(fixtures).parent / "checkpoints"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded CXR-CLIP, away from where the suites know it."""
    place = tmp_path_factory.mktemp("try") / "model"
    shutil.copytree(CHECKPOINTS / "cxr-clip", place)
    return place


def test_a_model_that_retrieves(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["try", str(checkpoint), "--corpus", "embedded"]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert max(map(len, lines)) <= 80
    assert "(family cxr-clip)" in lines[0]
    assert f"embedded: {RADIOGRAPHS} of 1,770 radiographs (seed 0)" in said
    assert [line.split()[0] for line in lines if line.startswith("R@")] == ["R@1", "R@5", "R@10"]
    assert lines[-1] == "It retrieves: R@10 is above chance and the constant ranking."
    for row in ("tokens", "norms", "alike", "ties", "speed"):
        assert f"\n{row}" in said


def test_wrong_pairing_is_at_chance(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = load_corpus("embedded", base=Path.cwd())
    last = len(right.studies) - 1
    turned = tuple(replace(one, study=last - one.study) for one in right.radiographs)
    wrong = replace(right, radiographs=tuple(sorted(turned, key=lambda one: one.study)))
    monkeypatch.setattr(commands, "_corpus_of", lambda settings: wrong)
    assert main(["try", str(checkpoint), "--corpus", "embedded"]) == 1
    said = capsys.readouterr().out
    assert "AT CHANCE: R@10 cannot be told" in said
    for cause in (" 1. wrong preprocessing", " 2. wrong tokenizer", " 3. wrong pairing"):
        assert cause in said


def test_a_model_that_sees_nothing(checkpoint: Path) -> None:
    table = {"family": "cxr-clip", "checkpoint": str(checkpoint), "canvas-size": 32}
    suite = Suite({"suite": "try", "corpus": "embedded", "models": {"m": table}}, "try", Path.cwd())
    settings = build_settings(suite, command_line={})
    corpus = load_corpus("embedded", base=Path.cwd())
    trial = first_contact(settings, corpus, lambda line: None)
    assert trial.record.canvas_size == (32, 32)
    assert {one.cell.ratio for one in trial.results} == {0.0, 0.25}
    assert all(one.queries == RADIOGRAPHS for one in trial.results)
    blind = replace(
        trial,
        alike=(0.99999, 0.5),
        results=tuple(replace(one, ci_low=0.0) for one in trial.results),
    )
    assert "All radiographs look the same to it" in "\n".join(trial_lines(blind))


@pytest.mark.parametrize(("rows", "pairs"), [(1, False), (5, True)])
def test_too_few_reports_decide_nothing(
    rows: int,
    pairs: bool,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = load_corpus("embedded", base=Path.cwd())
    few = replace(whole, radiographs=whole.radiographs[:rows])
    monkeypatch.setattr(commands, "_corpus_of", lambda settings: few)
    assert main(["try", str(checkpoint), "--corpus", "embedded"]) == 1
    said = capsys.readouterr().out
    assert "Too few different reports to tell" in said.splitlines()[-1]
    assert ("\nalike" in said) == pairs
    assert "AT CHANCE" not in said


def test_a_sample_keeps_radiographs_with_their_reports() -> None:
    corpus = load_corpus("embedded", base=Path.cwd())
    few = sample(corpus, range(len(corpus.radiographs)), RADIOGRAPHS)
    known = {one.key: corpus.studies[one.study].key for one in corpus.radiographs}
    assert len(few.radiographs) == RADIOGRAPHS
    assert {one.key: few.studies[one.study].key for one in few.radiographs}.items() <= known.items()
    assert {one.study for one in few.radiographs} == set(range(len(few.studies)))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["clop"], "no published model is known as 'clop' (near: clip"),
        (["hf-hub:a/b"], "of which family it is cannot be told"),
        (["MODEL", "--set", "canvas-size"], "--set canvas-size: no value"),
        (["MODEL", "--set", "canvas-size=big"], "canvas-size = 'big' is no int"),
        (["biovil-t", "--family", "clip"], "family = 'clip' contradicts it"),
        (["MODEL", "--set", "=3"], "--set =3: no value"),
        (["MODEL", "--corpus", "nothing:x"], "nothing"),
        (["cxr-repair"], "its authors publish it on a page that only a browser can use"),
        (["MODEL", "--family", "clip"], "family 'clip' was asked for"),
    ],
)
def test_what_cannot_be_tried(
    asked: list[str], said: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(checkpoint) if word == "MODEL" else word for word in asked]
    assert main(["try", "--corpus", "embedded", *given]) == 2
    assert said in capsys.readouterr().err
