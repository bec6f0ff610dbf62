"""The embedded corpus: everything known at once, nothing drawn before it is asked for."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from pytest_occlusion.corpora import load_corpus
from pytest_occlusion.corpora.base import Corpus
from pytest_occlusion.corpora.embedded import load_embedded
from pytest_occlusion.corpora.task import build_task


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_embedded()


def test_scale_and_order(corpus: Corpus) -> None:
    assert corpus.fields["studies"] == len(corpus.studies) == 994
    assert corpus.fields["radiographs"] == len(corpus.radiographs) == 1770
    assert corpus.fields["patients"] == len({study.patient for study in corpus.studies})
    assert [r.study for r in corpus.radiographs] == sorted(r.study for r in corpus.radiographs)
    assert {r.view for r in corpus.radiographs} == {"PA", "AP", "lateral"}
    assert len({r.key for r in corpus.radiographs}) == 1770
    assert len({r.content for r in corpus.radiographs}) == 1770


def test_studies_carry_their_sections(corpus: Corpus) -> None:
    for study in corpus.studies:
        assert study.report == " ".join(p for p in (study.findings, study.impression) if p)


def test_positions_name_nobody(corpus: Corpus) -> None:
    for number, radiograph in enumerate(corpus.radiographs, 1):
        assert radiograph.where == f"radiograph {number}"


def test_a_radiograph_opens_in_another_process_as_it_does_here(corpus: Corpus) -> None:
    radiograph = corpus.radiographs[17]
    image = radiograph.open()
    assert (image.mode, image.size) == ("L", (128, 128))
    again = pickle.loads(pickle.dumps(radiograph)).open()
    assert np.array_equal(np.asarray(image), np.asarray(again))


def test_the_size_is_part_of_the_content(corpus: Corpus) -> None:
    small = load_embedded(size=64)
    assert small.radiographs[0].open().size == (64, 64)
    assert small.radiographs[0].content != corpus.radiographs[0].content
    assert small.fingerprint != corpus.fingerprint
    assert small.studies == corpus.studies


def test_the_fingerprint_is_repeatable(corpus: Corpus) -> None:
    assert load_corpus("embedded").fingerprint == corpus.fingerprint


def test_a_changed_generator_changes_every_content(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_occlusion_fixtures.digest.generator_digest", lambda: "0" * 64)
    changed = load_embedded()
    pairs = zip(changed.radiographs, corpus.radiographs, strict=True)
    assert all(a.content != b.content for a, b in pairs)


def test_loading_draws_nothing_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pytest_occlusion.corpora.embedded import load_embedded; load_embedded()\n"
        "print(sorted({'numpy', 'PIL', 'torch', 'pytest_occlusion_fixtures.phantom'} "
        "& set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == "[]"


def test_how_far_rankings_that_ignore_the_image_come_by_luck(corpus: Corpus) -> None:
    """The figures of docs/embedded.md: reports repeat, so twice chance is nothing special."""
    task = build_task(corpus, text_rule="findings+impression", candidates="texts")
    candidates = len(task.candidate_text)
    share = np.bincount(task.radiograph_group, minlength=candidates) / len(task.radiographs)
    draw = np.random.default_rng(0)
    chosen = [draw.choice(candidates, 10, replace=False) for _ in range(20_000)]
    multiples = share[np.stack(chosen)].sum(1) / (10 / candidates)
    assert multiples.mean() == pytest.approx(1, abs=0.01)
    assert (multiples > 2).mean() == pytest.approx(0.074, abs=0.004)
    assert np.quantile(multiples, [0.025, 0.975]) == pytest.approx([0.73, 2.28], abs=0.03)
