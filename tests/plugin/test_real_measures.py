"""A run on real radiographs with made-up labels: every measure again, by libraries and loops.

The lists and the ranks are those that the run stored; with nothing blocked, ranks are also counted
in scores that are worked out anew. Everything else starts from the table of labels and the texts.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import random
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pytest_occlusion.encoders import load_encoder
from pytest_occlusion.engine.session import Session
from pytest_occlusion.retrieval.ranks import Ranks
from pytest_occlusion.suite.grid import Cell, cells
from pytest_occlusion.suite.merge import build_settings
from pytest_occlusion.suite.suites import find_suite
from tests.conftest import Once
from tests.plugin.forking import Forks

ROOT = Path(__file__).parents[2]
COVID = ROOT.parent / "shared" / "real" / "covid"
CHECKPOINTS = ROOT / "fixtures" / "pytest_occlusion_fixtures" / "checkpoints"
MODELS, KS, DEPTH = ("cxr-repair", "medclip"), (1, 5, 10), 10
ROUNDING = 1e-6
"""Scores of one pair, worked out twice, differ by less."""

NAMES = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum",
    "Fracture", "Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other",
    "Pneumonia", "Pneumothorax", "Support Devices",
)  # fmt: skip
FIVE = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")

SUITE = f"""
suite = "real"
corpus = "manifest:manifest.csv"
labels = "labels.csv"
group-by = ["view", "finding"]
reference = "medclip"
occluders = ["block", "gaussian-noise"]
ratios = [0.0, 0.25]
severities = [0, 2, 4]
ks = {list(KS)}
""" + "".join(
    f'[models.{name}]\nfamily = "{name}"\ncheckpoint = "{CHECKPOINTS}/{name}"\ncanvas-size = 64\n'
    for name in MODELS
)

TESTS = """
def test_recall(occlusion_cell):
    occlusion_cell.assert_accepted()

def test_curve(occlusion_curve):
    occlusion_curve.assert_accepted()

def test_group(occlusion_group):
    occlusion_group.assert_accepted()
"""

Document = dict[str, Any]


def made_up() -> dict[str, list[str]]:
    """Values of the labels, a row for every radiograph; those of one study are the same."""
    with (COVID / "manifest.csv").open(encoding="utf-8") as file:
        studies = {row["image"]: row["study_id"] for row in csv.DictReader(file)}
    values = {
        study: random.Random(study).choices(["1", "0", "-1", ""], [2, 4, 1, 8], k=len(NAMES))
        for study in studies.values()
    }
    return {image: values[study] for image, study in studies.items()}


def measure(folder: Path, count: int, forks: Forks) -> None:
    (folder / "images").symlink_to(COVID / "images")
    with (COVID / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[: count + 1]
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    (folder / "suite.toml").write_text(SUITE)
    (folder / "test_real.py").write_text(TESTS)
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["radiograph", *NAMES], *([image, *row] for image, row in made_up().items())]
        )
    given = ["--occlusion-suite=suite.toml", "--occlusion-store=store", "--occlusion-json=out.json"]
    call = ("pytest", "-q", "-p", "no:cacheprovider", "--snapshot-update", "--rootdir=.")
    with contextlib.chdir(folder):
        done = forks.run(*call, *given)
    assert done.ret == 0, done.stdout.str() + done.stderr.str()


@pytest.fixture(scope="module", params=[62, pytest.param(248, marks=pytest.mark.slow)])
def run(request: pytest.FixtureRequest, once: Once, forks: Forks) -> tuple[Document, Session]:
    """The document of a run on so many radiographs, and a session that reads what it stored."""
    if not COVID.is_dir():
        pytest.skip("needs ../shared/real/covid, which is not shipped")
    count = request.param
    folder = once(f"real-{count}", partial(measure, count=count, forks=forks))
    found = find_suite(str(folder / "suite.toml"), folder)
    settings = replace(build_settings(found, command_line={}), store=folder / "store")
    session = Session(settings, wanted=cells(settings.grid), say=lambda line: None)
    for cell in cells(settings.grid):
        session.result(cell)
        assert not any(one.fresh for one in session.measured(cell))
    return json.loads((folder / "out.json").read_text()), session


def ranks_of(session: Session, row: Document) -> Ranks:
    """What was stored of the condition that a row of the document is about."""
    place = row["model"], row["direction"], row["occluder"], row["ratio"]
    (one,) = session.measured(Cell(*place, KS[0]))
    return one.ranks


def labels_of(session: Session) -> tuple[list[set[str]], list[set[str]]]:
    """Positive labels of every query and of every candidate, an uncertain one among them."""
    table = {
        image: {name for name, value in zip(NAMES, values, strict=True) if value in ("1", "-1")}
        for image, values in made_up().items()
    }
    radiographs, task = session.corpus.radiographs, session.task
    of_study = {one.study: table[one.key] for one in radiographs}
    queries = [table[radiographs[at].key] for at in task.radiographs.tolist()]
    return queries, [of_study[at] for at in task.candidate_study.tolist()]


def hits_of(ranks: Ranks, k: int) -> list[float]:
    """Expectation over the orders of tied candidates, a query at a time (one positive each)."""
    return [
        sum(above + place < k for place in range(tied + 1)) / (tied + 1)
        for above, tied in zip(ranks.above.tolist(), ranks.tied.tolist(), strict=True)
    ]


def near(found: float | None, expected: float | None) -> None:
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-9))


def test_the_run_has_what_is_compared(run: tuple[Document, Session]) -> None:
    document, session = run
    assert len(session.task.radiographs) in (62, 248)
    assert document["labels"]["missing"] == 0
    assert sorted(document["labels"]["names"]) == sorted(NAMES)
    conditions = len(MODELS) * (2 + 3)
    counts = {name: len(document[name]) for name in ("rankings", "agreement", "relevance")}
    assert counts == {"rankings": conditions, "agreement": conditions, "relevance": 3 * conditions}
    assert len(document["selective"]) == conditions + len(MODELS) * 2
    assert {row["attribute"] for row in document["groups"]} == {"view", "finding"}
    assert len(document["corruptions"]) == len(MODELS) * len(KS)


@pytest.mark.parametrize("model", MODELS)
def test_ranks_and_lists_are_those_of_a_full_sort(
    run: tuple[Document, Session], model: str
) -> None:
    """Of whole radiographs, opened and embedded anew; scores that differ by rounding are equal."""
    document, session = run
    options: dict[str, Any] = {"canvas-size": 64}
    encoder = load_encoder(model, checkpoint=CHECKPOINTS / model, device="cpu", **options)
    corpus, task = session.corpus, session.task
    pictures = []
    for at in task.radiographs.tolist():
        with Image.open(COVID / corpus.radiographs[at].key) as picture:
            pictures.append(picture.copy())
    images, texts = encoder.encode_images(pictures), encoder.encode_texts(list(task.texts))
    scores = (images.double() @ texts.double().T).numpy()[:, task.candidate_text]
    ranks = ranks_of(
        session, {"model": model, "direction": "image-to-text", "occluder": "block", "ratio": 0.0}
    )
    assert ranks.first is not None
    places = []
    for query, row in enumerate(scores):
        own = row[task.radiograph_group[query]]
        above = sum(value > own + ROUNDING for value in row)
        tied = sum(abs(value - own) <= ROUNDING for value in row) - 1
        assert (above, tied) == (ranks.above[query], ranks.tied[query])
        places.append((above, tied))
        listed = row[ranks.first[query]]
        assert len(set(ranks.first[query].tolist())) == DEPTH
        assert listed == pytest.approx(np.sort(row)[::-1][:DEPTH], abs=ROUNDING)
    (told,) = [
        row for row in document["rankings"] if (row["model"], row["occluder"], row["ratio"])
        == (model, "block", 0.0)
    ]  # fmt: skip
    near(told["mean_rank"], sum(above + 1 + tied / 2 for above, tied in places) / len(places))


def test_rankings_equal_loops(run: tuple[Document, Session]) -> None:
    document, session = run
    for row in document["rankings"]:
        ranks = ranks_of(session, row)
        pairs = list(zip(ranks.above.tolist(), ranks.tied.tolist(), strict=True))
        recalls = [float(np.mean(hits_of(ranks, k))) for k in KS]
        for k, recall in zip(KS, recalls, strict=True):
            near(row[f"recall_{k}"], recall)
        near(row["rsum"], 100 * sum(recalls))
        middle = [above + 1 + tied / 2 for above, tied in pairs]
        near(row["mean_rank"], sum(middle) / len(middle))
        near(row["median_rank"], float(np.median(middle)))
        inverse = [
            sum(1 / (above + 1 + place) for place in range(tied + 1)) / (tied + 1)
            for above, tied in pairs
        ]
        near(row["mrr"], sum(inverse) / len(inverse))


def test_relevance_equals_a_library(run: tuple[Document, Session]) -> None:
    """P, Success and AP of ir-measures, in which AP is a share of all that are relevant."""
    ir_measures = pytest.importorskip("ir_measures")
    document, session = run
    queries, candidates = labels_of(session)
    overlaps = [[overlap(own, other) for other in candidates] for own in queries]
    judged = {}
    for name, least in (("same", 1.0), ("shared", 1e-9)):
        judged[name] = [
            ir_measures.Qrel(str(q), str(c), 1)
            for q, row in enumerate(overlaps)
            for c, value in enumerate(row)
            if value >= least
        ]
    relevant = [sum(value > 0 for value in row) for row in overlaps]
    asked = {
        "same": {ir_measures.P: "precision_same", ir_measures.Success: "hit_same"},
        "shared": {
            ir_measures.P: "precision_shared", ir_measures.Success: "hit_shared",
            ir_measures.AP: "map",
        },
    }  # fmt: skip
    wanted = {(row["model"], row["occluder"], row["ratio"], row["k"]): row for row in
              document["relevance"]}  # fmt: skip
    for place in sorted({key[:3] for key in wanted}):
        row = wanted[(*place, KS[0])]
        ranks = ranks_of(session, row)
        assert ranks.first is not None
        listed = [
            ir_measures.ScoredDoc(str(q), str(c), -float(at))
            for q, best in enumerate(ranks.first.tolist())
            for at, c in enumerate(best)
        ]
        for name, measures in asked.items():
            wished = {theirs @ k: (ours, k) for theirs, ours in measures.items() for k in KS}
            sums: dict[tuple[str, int], float] = defaultdict(float)
            for one in ir_measures.iter_calc(list(wished), judged[name], listed):
                ours, k = wished[one.measure]
                many = relevant[int(one.query_id)]
                sums[ours, k] += one.value * (many / min(many, k) if ours == "map" else 1)
            for (ours, k), total in sums.items():
                told = wanted[(*place, k)]["measures"][ours]["value"]
                near(told, total / len(queries))
        for k in KS:  # theirs takes whole gains only
            gains = [
                [overlaps[q][c] for c in best[:k]] for q, best in enumerate(ranks.first.tolist())
            ]
            ideal = [sorted(row, reverse=True)[:k] for row in overlaps]
            shares = [discounted(a) / discounted(b) for a, b in zip(gains, ideal, strict=True)]
            near(wanted[(*place, k)]["measures"]["ndcg"]["value"], sum(shares) / len(shares))


def overlap(own: set[str], other: set[str]) -> float:
    """Jaccard; no label is a label."""
    one, two = own or {"none"}, other or {"none"}
    return len(one & two) / len(one | two)


def discounted(gains: list[float]) -> float:
    return sum(gain / math.log2(2 + place) for place, gain in enumerate(gains))


def test_agreement_equals_loops(run: tuple[Document, Session]) -> None:
    document, session = run
    queries, candidates = labels_of(session)
    for row in document["agreement"]:
        ranks = ranks_of(session, row)
        assert ranks.first is not None
        told = [candidates[c] for c in ranks.first[:, 0].tolist()]
        counts = {}
        for name in NAMES:
            pairs = [(name in a, name in b) for a, b in zip(told, queries, strict=True)]
            counts[name] = [
                pairs.count(pair) for pair in ((True, True), (True, False), (False, True))
            ]
        for one in row["classes"]:
            tp, fp, fn = counts[one["label"]]
            assert one["positives"] == tp + fn
            near(one["precision"], tp / (tp + fp) if tp + fp else 0)
            near(one["recall"], tp / (tp + fn) if tp + fn else 0)
            near(one["f1"], f1(tp, fp, fn))
        for end, names in (("", NAMES), ("_5", FIVE)):
            near(row["scores"]["micro" + end]["value"],
                 f1(*(sum(counts[name][at] for name in names) for at in range(3))))  # fmt: skip
            own = [f1(*counts[name]) for name in names]
            near(row["scores"]["macro" + end]["value"], sum(own) / len(own))


def f1(tp: int, fp: int, fn: int) -> float:
    return 2 * tp / (2 * tp + fp + fn) if tp else 0.0


def test_agreement_equals_a_library(run: tuple[Document, Session]) -> None:
    pytest.importorskip("torchmetrics")
    from torchmetrics.functional.classification import multilabel_f1_score

    document, session = run
    queries, candidates = labels_of(session)

    def table(labels: list[set[str]]) -> torch.Tensor:
        return torch.tensor([[int(name in one) for name in NAMES] for one in labels])

    for row in document["agreement"]:
        ranks = ranks_of(session, row)
        assert ranks.first is not None
        told = table([candidates[c] for c in ranks.first[:, 0].tolist()])
        for average in ("micro", "macro"):
            theirs = multilabel_f1_score(told, table(queries), len(NAMES), average=average)
            assert row["scores"][average]["value"] == pytest.approx(theirs.item(), abs=1e-6)


def test_selective_retrieval_equals_a_loop(run: tuple[Document, Session]) -> None:
    """Of equal gaps every order counts alike: each takes the mean error of all of that gap."""
    document, session = run
    for row in document["selective"]:
        levels = [row["ratio"]]
        if row["ratio"] is None:
            levels = list(session.settings.grid.levels(row["occluder"]))
        pairs: list[tuple[float, float]] = []
        for level in levels:
            ranks = ranks_of(session, {**row, "ratio": level})
            assert ranks.gap is not None
            pairs += [
                (gap, 1 - hit)
                for gap, hit in zip(ranks.gap.tolist(), hits_of(ranks, row["k"]), strict=True)
            ]
        alike = defaultdict(list)
        for gap, error in pairs:
            alike[gap].append(error)
        errors = [
            sum(alike[gap]) / len(alike[gap])
            for gap in sorted(alike, reverse=True)
            for _ in alike[gap]
        ]
        near(row["area"], area(errors))
        near(row["best"], area(sorted(error for _, error in pairs)))
        near(row["random"], sum(errors) / len(errors))
        gain = (row["random"] - row["area"]) / (row["random"] - row["best"])
        near(row["gain"], gain)
        assert row["confidence"] == pytest.approx(np.mean([gap for gap, _ in pairs]), abs=1e-9)


def area(errors: list[float]) -> float:
    sums, total = [], 0.0
    for count, error in enumerate(errors, 1):
        total += error
        sums.append(total / count)
    return sum(sums) / len(sums)


def test_groups_equal_loops(run: tuple[Document, Session]) -> None:
    document, session = run
    queries, _ = labels_of(session)
    chosen = session.corpus.chosen(session.task.radiographs.tolist())
    belongs = {
        "view": [{one.view} if one.view else set() for one in chosen],
        "finding": [own or {"none"} for own in queries],
    }
    clean: dict[tuple[Any, ...], tuple[float, float]] = {}
    for row in sorted(document["groups"], key=lambda row: float(row["ratio"])):
        hits = hits_of(ranks_of(session, row), row["k"])
        of = belongs[row["attribute"]]
        own = [hit for hit, groups in zip(hits, of, strict=True) if row["group"] in groups]
        rest = [
            hit for hit, groups in zip(hits, of, strict=True) if groups - {row["group"]}
            and row["group"] not in groups
        ]  # fmt: skip
        patients = {
            patient
            for patient, groups in zip(session.task.radiograph_patient, of, strict=True)
            if row["group"] in groups
        }
        assert (row["queries"], row["patients"]) == (len(own), len(patients))
        recall = sum(own) / len(own)
        near(row["recall"], recall)
        gap = recall - sum(rest) / len(rest)
        near(row["gap"], gap)
        place = tuple(row[name] for name in ("model", "occluder", "k", "attribute", "group"))
        before = clean.setdefault(place, (recall, gap))
        near(row["retention"], recall / before[0] if before[0] else None)
        near(row["widening"], gap - before[1] if row["ratio"] else None)


def test_corruption_errors_equal_loops(run: tuple[Document, Session]) -> None:
    """One corruption, so each part is the mean; medclip is the reference and 1 by definition."""
    document, session = run

    def recall(model: str, level: float, k: int) -> float:
        place = {"model": model, "direction": "image-to-text", "occluder": "gaussian-noise"}
        return float(np.mean(hits_of(ranks_of(session, {**place, "ratio": level}), k)))

    levels = session.settings.grid.levels("gaussian-noise")
    for row in document["corruptions"]:
        own, other = (
            [recall(model, level, row["k"]) for level in levels]
            for model in (row["model"], "medclip")
        )
        lost, others = (sum(one[0] - value for value in one[1:]) for one in (own, other))
        near(row["mmi"], lost / own[0] / (len(own) - 1) if own[0] else None)
        near(row["mce"], sum(1 - v for v in own[1:]) / sum(1 - v for v in other[1:]))
        near(row["relative_mce"], lost / others if others > 1e-12 else None)
