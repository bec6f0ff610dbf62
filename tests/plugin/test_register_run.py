"""A suite that names models of the register: one measured, one not fetched yet."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip  # noqa: F401 - as torch: a run inside this process must not import it twice
import pytest

from tests.encoders.formula import write_state
from tests.encoders.tiny import state_of, vit_shapes, write_vocabulary
from tests.plugin.conftest import Project

SUITE = """
suite = "known"
corpus = "manifest:reports.csv"
ratios = [0.0, 0.25]
ks = [1]
[models.one]
model = "chexzero"
checkpoint = "best_64_5e-05_original_22000_0.864.pt"
tokenizer = "bpe.txt.gz"
[models.other]
model = "clip"
"""


@pytest.fixture
def known(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (project.path / "suite.toml").write_text(SUITE)
    write_state(project.path / "best_64_5e-05_original_22000_0.864.pt", state_of(vit_shapes()))
    write_vocabulary(project.path / "bpe.txt.gz")
    return project


def test_a_known_model_runs_with_its_own_preprocessing(known: Project) -> None:
    asked = ("--occlusion-models", "one", "--occlusion-json", "run.json")
    known.run(*asked, "--snapshot-update", expect=0)
    text = (known.path / "run.json").read_text()
    model = json.loads(text)["models"]["one"]
    assert model["family"] == "cxr-repair"
    assert model["settings"]["canvas-size"] == 320
    assert "secret" not in text


def test_one_that_is_not_here_is_missing_and_says_how_to_fetch_it(known: Project) -> None:
    refused = known.run(expect=4)
    said = refused.stdout.str() + refused.stderr.str()
    assert "not fetched yet" in said
    assert "python -m pytest_occlusion fetch clip-vit-b-32" in said
    result = known.run("--occlusion-allow-missing", "--snapshot-update", "-rs", expect=0)
    result.stdout.fnmatch_lines(["*occlusion: missing: other: *ViT-B-32.pt: not fetched yet*"])
