"""The straightforward loop is the pipeline's oracle: the same recalls, the dumb way."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pytest_occlusion.corpora.embedded import load_embedded
from pytest_occlusion.engine.session import Session
from pytest_occlusion.retrieval.ranks import rank_groups
from pytest_occlusion.retrieval.recall import recall_at_k
from pytest_occlusion.suite.grid import cells
from pytest_occlusion.suite.merge import build_settings
from pytest_occlusion.suite.suites import find_suite

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from peers.growth import enlarged, fit
from peers.ranking import OPTIONAL, WAYS, embeddings
from peers.straightforward import sweep, top_k_one_hot
from peers.ties import agreement, verdict


def test_the_pipeline_gives_what_the_loop_gives() -> None:
    settings = build_settings(
        find_suite("embedded", Path()),
        command_line={"ratios": [0.0, 0.25, 0.64], "ks": [1, 10]},
        selected=["cxr-repair"],
    )
    session = Session(settings, wanted=cells(settings.grid), say=lambda line: None)
    corpus = load_embedded()
    session.corpus = replace(corpus, radiographs=corpus.radiographs[:150])
    grid = settings.grid
    loop = sweep(
        session.encoder("cxr-repair"), session.corpus, session.task, ratios=grid.ratios, ks=grid.ks
    )
    for cell in cells(grid):
        found = session.result(cell).recall
        assert found == pytest.approx(loop[cell.ratio, cell.k], abs=1e-6), cell.id
    assert loop[0.0, 10] > loop[0.64, 10] + 0.2


def test_one_hot_recall_is_ours() -> None:
    draw = torch.Generator().manual_seed(3)
    images, texts = torch.randn(40, 8, generator=draw), torch.randn(25, 8, generator=draw)
    positives = np.arange(40) % 25
    ours = recall_at_k(rank_groups(images, texts, positives, np.arange(25)), [1, 5, 25])
    for k, recall in ours.items():
        assert top_k_one_hot(images @ texts.T, positives, k) == pytest.approx(recall)


@pytest.mark.parametrize("name", WAYS)
def test_every_way_of_ranking_gives_the_same_hits(name: str) -> None:
    if name in OPTIONAL:
        pytest.importorskip(name)
    images, texts = embeddings(90)
    images = torch.nn.functional.normalize(images + 0.1 * images.flip(0), dim=1)
    ranks = rank_groups(images, texts, np.arange(90), np.arange(90))
    for k, recall in WAYS[name](images, texts, [1, 3, 20]).items():
        found = agreement(ranks, k, recall)
        assert found.coincides
        assert found.holds


def test_a_peer_may_differ_only_where_a_tie_straddles_k() -> None:
    texts = torch.eye(4)[[0, 1, 1, 2]]  # the second and the third are one text to the encoder
    ranks = rank_groups(torch.eye(4)[[0, 1, 2]], texts, np.array([0, 1, 3]), np.arange(4))
    at_one = [agreement(ranks, 1, hits / 3) for hits in range(4)]
    assert [(one.least, one.most) for one in at_one] == [(2, 3)] * 4
    assert [one.holds for one in at_one] == [False, False, True, True]
    assert not any(one.coincides for one in at_one)
    at_two = agreement(ranks, 2, 1.0)
    assert at_two.coincides
    assert at_two.holds
    assert verdict([at_two, *at_one]) == "1 of 5 recalls are defined alike; 2 DIFFER"
    assert verdict([at_two]) == "1 of 1 recalls are defined alike; all agree, hit for hit"


def test_an_enlarged_corpus_has_keys_and_contents_of_its_own() -> None:
    corpus = load_embedded()
    small = replace(corpus, radiographs=corpus.radiographs[:3])
    large = enlarged(small, 8)
    assert len(large.radiographs) == len({one.key for one in large.radiographs}) == 8
    assert len({one.content for one in large.radiographs}) == 8
    assert large.radiographs[:3] == small.radiographs
    assert enlarged(small, 2).radiographs == small.radiographs[:2]


def test_the_line_through_a_straight_line() -> None:
    assert fit([1, 2, 4], [3.0, 5.0, 9.0]) == "1.00 s + 2000.00 ms each; R2 1.0000"
