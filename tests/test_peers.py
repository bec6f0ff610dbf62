"""The straightforward loop is the pipeline's oracle: the same recalls, the dumb way."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pytest_occlusion.corpora.embedded import load_embedded
from pytest_occlusion.grid import cells
from pytest_occlusion.merge import build_settings
from pytest_occlusion.retrieval.ranks import rank_groups
from pytest_occlusion.retrieval.recall import recall_at_k
from pytest_occlusion.session import Session
from pytest_occlusion.suites import find_suite

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from peers.straightforward import sweep, top_k_one_hot


def test_the_pipeline_gives_what_the_loop_gives() -> None:
    suite = find_suite("embedded", Path())
    settings = build_settings(
        suite.table,
        origin=suite.origin,
        base=suite.base,
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
