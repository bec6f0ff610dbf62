"""Every measure on real radiographs with made-up labels, against independent implementations."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pytest_occlusion.engine.session import Session
from pytest_occlusion.insight.groups import group_results
from pytest_occlusion.insight.retrieved import retrieved_of
from pytest_occlusion.suite.grid import Cell
from pytest_occlusion.suite.merge import build_settings
from pytest_occlusion.suite.suites import Suite

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "real" / "covid"
CHECKPOINT = ROOT / "fixtures" / "pytest_occlusion_fixtures" / "checkpoints" / "cxr-clip"
NAMES = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion",
    "Pleural Other", "Fracture", "Support Devices", "No Finding",
)  # fmt: skip
KS = (1, 5, 10, 20)


@pytest.mark.skipif(not REAL.exists(), reason="needs the real radiographs, which are not here")
def test_numbers_are_those_of_independent_implementations(tmp_path: Path) -> None:
    ir_measures = pytest.importorskip("ir_measures")
    with (REAL / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    draw = np.random.default_rng(0)
    studies = dict.fromkeys(row["study_id"] for row in rows)
    values = {
        one: draw.choice(["1", "0", "-1", ""], 14, p=[0.15, 0.3, 0.05, 0.5]) for one in studies
    }
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["study_id", *NAMES])
        writer.writerows([one, *own] for one, own in values.items())
    table = {
        "suite": "real",
        "corpus": f"manifest:{REAL / 'manifest.csv'}",
        "ratios": [0.0],
        "ks": [*KS],
        "labels": str(tmp_path / "labels.csv"),
        "models": {"m": {"family": "cxr-clip", "checkpoint": str(CHECKPOINT)}},
    }
    settings = build_settings(Suite(table, "real", tmp_path), command_line={})
    session = Session(replace(settings, store=None, device="cpu"), say=lambda line: None)
    session.wanted = [Cell("m", "image-to-text", "block", 0.0, k) for k in KS]
    result = session.result(session.wanted[2])
    found = retrieved_of(session, result.cell)
    task, corpus, encoder = session.task, session.corpus, session.encoder("m")
    # The independent way: everything embedded anew, and sorted.
    opened = [corpus.radiographs[at].open() for at in task.radiographs.tolist()]
    images = np.concatenate(
        [encoder.encode_images(opened[at : at + 64]).numpy() for at in range(0, len(opened), 64)]
    ).astype(np.float64)
    texts = encoder.encode_texts(list(task.texts)).numpy().astype(np.float64)
    scores = images @ texts[task.candidate_text].T
    order = np.argsort(-scores, axis=1, kind="stable")
    place = np.argsort(order, axis=1)[np.arange(len(order)), task.radiograph_group] + 1
    assert result.recall == pytest.approx((place <= 10).mean(), abs=0.005)
    assert found.ranking.mean_rank == pytest.approx(place.mean(), abs=0.05)
    assert result.mrr == pytest.approx((1 / place).mean(), abs=1e-3)
    for one in group_results(session, result.cell.curve, session.grouping("view")):
        inside = [corpus.radiographs[at].view == one.group for at in task.radiographs.tolist()]
        assert one.recall.value == pytest.approx((place[inside] <= one.cell.k).mean(), abs=0.01)

    # Relevance and agreement from the lists of the session, so that near ties are the same.
    first = session.measured(result.cell)[0].ranks.first
    assert first is not None
    shown, best = (np.take_along_axis(scores, one, axis=1) for one in (first, order))
    assert np.allclose(shown, best[:, : first.shape[1]], atol=1e-6), "texts may be embedded alike"
    ids = [one.given_id for one in corpus.studies]
    keys = [ids[corpus.radiographs[at].study] for at in task.radiographs.tolist()]
    asked = [_positive(values[key]) for key in keys]
    there = [_positive(values[ids[at]]) for at in task.candidate_study.tolist()]
    gains = np.asarray([[_jaccard(one, other) for other in there] for one in asked])
    run = [
        ir_measures.ScoredDoc(str(q), str(c), -float(at))
        for q, ranking in enumerate(first.tolist())
        for at, c in enumerate(ranking)
    ]
    known = np.asarray([any(values[key] != "") for key in keys])
    relevant = (gains > 0).sum(1)
    assert found.relevance is not None
    whole = 27720  # a multiple of every number up to 12, so that shares are whole numbers
    for judged, names in (
        (gains == 1, {"P": "precision_same", "Success": "hit_same"}),
        (gains > 0, {"P": "precision_shared", "Success": "hit_shared", "AP": "map"}),
        (np.rint(gains * whole), {"nDCG": "ndcg"}),
    ):
        qrels = [
            ir_measures.Qrel(str(q), str(c), int(value)) for (q, c), value in np.ndenumerate(judged)
        ]
        for theirs, ours in names.items():
            for k in KS:
                measure = getattr(ir_measures, theirs) @ k
                each = np.zeros(len(keys))
                for one in ir_measures.iter_calc([measure], qrels, run):
                    each[int(one.query_id)] = one.value
                if ours == "map":  # theirs is a share of all that are relevant, however many
                    each *= relevant / np.maximum(1, np.minimum(relevant, k))
                score = found.relevance[k][ours]
                assert score.value == pytest.approx(each[known].mean(), abs=1e-9), (ours, k)
    session.close()
    told = [(asked[q], there[first[q, 0]]) for q in range(len(keys)) if known[q]]
    counts = {
        name: (
            sum(name in true and name in said for true, said in told),
            sum((name in true) + (name in said) for true, said in told),
        )
        for name in NAMES
    }
    assert found.agreement is not None
    five = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
    for end, classes in (("", NAMES), ("_5", five)):
        hits, both = zip(*(counts[name] for name in classes), strict=True)
        scores_of = found.agreement.scores
        micro, macro = scores_of["micro" + end], scores_of["macro" + end]
        assert micro is not None
        assert macro is not None
        assert micro.value == pytest.approx(2 * sum(hits) / sum(both))
        f1 = [2 * hit / total if total else 0.0 for hit, total in zip(hits, both, strict=True)]
        assert macro.value == pytest.approx(sum(f1) / len(f1))


def _positive(row: np.ndarray[tuple[int], np.dtype[np.str_]]) -> frozenset[str]:
    """Uncertain counts as positive."""
    return frozenset(
        name for name, value in zip(NAMES, row.tolist(), strict=True) if value in ("1", "-1")
    )


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0
