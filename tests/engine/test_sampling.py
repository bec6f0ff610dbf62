"""Samples: everything once, patients together, every beginning like the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pytest_occlusion.corpora.base import Corpus, Radiograph, Study
from pytest_occlusion.corpora.task import Task, build_task
from pytest_occlusion.engine.sampling import all_passes


def picture() -> Image.Image:
    return Image.new("L", (4, 4))


def corpus_of(patients: Sequence[Sequence[tuple[str, ...]]]) -> tuple[Corpus, Task]:
    """Patients, each with studies, each with the views of its radiographs."""
    studies: list[Study] = []
    radiographs: list[Radiograph] = []
    for patient, views_of in enumerate(patients):
        for views in views_of:
            at = len(studies)
            studies.append(Study(f"s{at}", f"p{patient}", f"text {at}"))
            radiographs += [
                Radiograph(f"r{len(radiographs) + n}", at, view, f"c{at}-{n}", "row", picture)
                for n, view in enumerate(views)
            ]
    corpus = Corpus("made", tuple(studies), tuple(radiographs))
    return corpus, build_task(corpus, text_rule="findings+impression", candidates="texts")


KINDS = st.lists(
    st.lists(st.sampled_from([("PA",), ("AP",), ("PA", "lateral")]), min_size=1, max_size=3),
    min_size=1,
    max_size=30,
)


@given(KINDS, st.integers(1, 9), st.integers(0, 5))
def test_every_radiograph_is_shown_once_under_every_condition(
    patients: list[list[tuple[str, ...]]], conditions: int, seed: int
) -> None:
    corpus, task = corpus_of(patients)
    passes = all_passes(corpus, task, conditions, seed=seed)
    rows = range(len(task.radiographs))
    shown = Counter(zip(passes.rows.tolist(), passes.shown.tolist(), strict=True))
    assert shown == {(row, at): 1 for row in rows for at in range(conditions)}
    first = passes.part(0, len(rows))
    assert sorted(first.rows.tolist()) == [*rows], "all are shown before any is shown again"
    named = [task.radiograph_patient[row] for row in first.rows]
    changes = sum(one != other for one, other in pairwise(named))
    assert changes == len(set(named)) - 1, "patients stay together"


@given(KINDS, st.integers(1, 9), st.data())
def test_every_block_has_each_condition_once(
    patients: list[list[tuple[str, ...]]], conditions: int, data: st.DataObject
) -> None:
    corpus, task = corpus_of(patients)
    passes = all_passes(corpus, task, conditions)
    blocks = len(task.radiographs) // conditions
    if blocks:
        at = conditions * data.draw(st.integers(0, blocks - 1))
        assert sorted(passes.part(at, at + conditions).shown.tolist()) == [*range(conditions)]


def test_beginnings_have_the_strata_of_the_whole() -> None:
    common: list[Sequence[tuple[str, ...]]] = [[("PA", "lateral")], [("AP",)], [("PA",), ("AP",)]]
    kinds = [common[0]] * 300 + [common[1]] * 150 + [common[2]] * 50
    kinds += [[("PA",)] * (3 + n) for n in range(20)]  # one of each
    corpus, task = corpus_of(kinds)
    passes = all_passes(corpus, task, 8)
    for share in (0.1, 0.25, 0.5):
        few = passes.part(0, round(share * len(task.radiographs)))
        patients = {task.radiograph_patient[row] for row in few.rows}
        counts = Counter(
            0 if n < 300 else 1 if n < 450 else 2 if n < 500 else 3
            for n in (int(name[1:]) for name in patients)
        )
        for stratum, size in enumerate((300, 150, 50)):
            assert abs(counts[stratum] - share * size) <= 0.03 * size + 1
        assert 0 < counts[3] < 20 * share * 2.5 + 1, "single ones are not drawn together"
        assert max(Counter(few.shown.tolist()).values()) - len(few) / 8 < 1 + 1


def test_the_seed_decides_and_nothing_else() -> None:
    corpus, task = corpus_of([[("PA", "lateral")], [("AP",)]] * 40)
    one, again = (all_passes(corpus, task, 4) for _ in range(2))
    np.testing.assert_array_equal(one.rows, again.rows)
    np.testing.assert_array_equal(one.shown, again.shown)
    other = all_passes(corpus, task, 4, seed=1)
    assert one.rows.tolist() != other.rows.tolist()


@pytest.mark.parametrize("added", [1, 7])
def test_more_patients_do_not_shuffle_the_others(added: int) -> None:
    kinds: list[list[tuple[str, ...]]] = [[("PA",)]] * 60
    (few, task), (more, larger) = corpus_of(kinds), corpus_of(kinds + [[("PA",)]] * added)
    order = [row for row in all_passes(more, larger, 1).rows.tolist() if row < 60]
    assert order == all_passes(few, task, 1).rows.tolist()
