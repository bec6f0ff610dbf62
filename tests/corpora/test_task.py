"""Tasks: which text stands for a study, what is a candidate, what is positive for what."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pytest_occlusion.corpora import Corpus, Radiograph, Study, load_corpus
from pytest_occlusion.corpora.digests import combined_digest
from pytest_occlusion.corpora.task import CANDIDATES, TEXT_RULES, Task, build_task, folded
from pytest_occlusion.errors import OcclusionError


def black() -> Image.Image:
    return Image.new("L", (2, 2))


def corpus(*studies: tuple[Study, int]) -> Corpus:
    """Studies with their number of radiographs."""
    radiographs = [
        Radiograph(f"{study.key}/{i}", position, "", f"{study.key}:{i}", f"radiograph {i}", black)
        for position, (study, count) in enumerate(studies)
        for i in range(count)
    ]
    return Corpus("test", tuple(study for study, _ in studies), tuple(radiographs))


def study(key: str, report: str = "", findings: str = "", impression: str = "") -> Study:
    return Study(key, f"patient of {key}", report, findings, impression)


def task_of(texts: Sequence[str], candidates: str = "texts", **given: Any) -> Task:
    made = corpus(*((study(f"s{i}", text), 1) for i, text in enumerate(texts)))
    return build_task(made, text_rule="full", candidates=candidates, **given)


def positive_texts(task: Task) -> list[str]:
    """The text of each radiograph's positive candidate."""
    return [task.texts[task.candidate_text[group]] for group in task.radiograph_group]


# Text rules --------------------------------------------------------------------------------------

BOTH = study("s", "R", "Findings", "I")
ONLY_FINDINGS = study("s", "R", findings="F")
ONLY_IMPRESSION = study("s", "R", impression="I")
NEITHER = study("s", "R")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("findings+impression", ["Findings\nI", "F", "I", "R"]),
        ("longest", ["Findings", "F", "I", "R"]),
        ("impression", ["I", "", "I", ""]),
        ("findings", ["Findings", "F", "", ""]),
        ("full", ["R", "R", "R", "R"]),
    ],
)
def test_text_rules(rule: str, expected: list[str]) -> None:
    found = [TEXT_RULES[rule](one) for one in (BOTH, ONLY_FINDINGS, ONLY_IMPRESSION, NEITHER)]
    assert found == expected


def test_every_rule_is_covered_here() -> None:
    assert set(TEXT_RULES) == {"findings+impression", "longest", "impression", "findings", "full"}
    assert set(CANDIDATES) == {"texts", "studies"}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("No  acute\n\tfinding.", " no ACUTE finding. ", True),
        ("Straße", "STRASSE", True),
        ("a\u00a0b", "a b", True),
        ("No finding.", "No finding", False),
        ("ab", "a b", False),
    ],
)
def test_folding(one: str, other: str, same: bool) -> None:
    assert (folded(one) == folded(other)) is same


@given(st.text())
def test_folding_twice_changes_nothing_more(text: str) -> None:
    once = folded(text)
    assert once == once.strip()
    assert folded(once.upper()) == folded(text.upper())


# Candidates --------------------------------------------------------------------------------------


def test_texts_are_folded_into_one_candidate() -> None:
    task = task_of(["Clear.", "Edema.", " CLEAR. ", "Clear."])
    assert task.texts == ("Clear.", "Edema.")
    assert task.candidate_text.tolist() == [0, 1]
    assert task.radiograph_group.tolist() == [0, 1, 0, 0]
    assert task.candidate_patient == ("patient of s0", "patient of s1")


def test_studies_are_candidates_of_their_own() -> None:
    task = task_of(["Clear.", "Edema.", " CLEAR. ", "Clear."], "studies")
    assert task.texts == ("Clear.", "Edema.")
    assert task.candidate_text.tolist() == [0, 1, 0, 0]
    assert task.radiograph_group.tolist() == [0, 1, 2, 3]
    assert task.candidate_patient == tuple(f"patient of s{i}" for i in range(4))


def test_all_radiographs_of_a_study_share_its_positive() -> None:
    made = corpus((study("a", "A"), 2), (study("b", "B"), 3))
    task = build_task(made, text_rule="full", candidates="texts")
    assert task.radiograph_group.tolist() == [0, 0, 1, 1, 1]
    assert task.radiographs.tolist() == [0, 1, 2, 3, 4]
    assert task.radiograph_patient == ("patient of a",) * 2 + ("patient of b",) * 3


def test_studies_without_a_text_drop_their_radiographs() -> None:
    made = corpus((study("a", impression="A"), 2), (study("b", findings="B"), 3), (NEITHER, 1))
    task = build_task(made, text_rule="impression", candidates="texts")
    assert task.radiographs.tolist() == [0, 1]
    assert task.dropped == 4
    assert task.texts == ("A",)


def test_studies_without_radiographs_are_no_candidates() -> None:
    made = corpus((study("a", "A"), 0), (study("b", "B"), 1), (study("c", " \n "), 1))
    task = build_task(made, text_rule="full", candidates="studies")
    assert task.texts == ("B",)
    assert task.dropped == 1


@pytest.mark.parametrize("candidates", sorted(CANDIDATES))
def test_an_empty_corpus(candidates: str) -> None:
    for made in (corpus(), corpus((study("a", findings="F"), 2)), corpus((study("a", "A"), 0))):
        with pytest.raises(OcclusionError) as caught:
            build_task(made, text_rule="impression", candidates=candidates)
        text = str(caught.value)
        assert "corpus 'test' is empty" in text
        assert f"none of its {len(made.radiographs)} radiographs" in text
        assert "'impression'" in text
        assert "choose another text rule (findings+impression, longest" in caught.value.remedy


@given(
    st.lists(
        st.tuples(st.sampled_from(["", "A", "a ", "B", "C\nc", "c C"]), st.integers(0, 3)),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from(sorted(CANDIDATES)),
)
def test_every_positive_is_the_radiographs_own_text(
    given_studies: list[tuple[str, int]], candidates: str
) -> None:
    made = corpus(*((study(f"s{i}", text), n) for i, (text, n) in enumerate(given_studies)))
    wanted = [
        folded(made.studies[radiograph.study].report)
        for radiograph in made.radiographs
        if made.studies[radiograph.study].report.strip()
    ]
    if not wanted:
        return
    task = build_task(made, text_rule="full", candidates=candidates)
    assert [folded(text) for text in positive_texts(task)] == wanted
    assert len({folded(text) for text in task.texts}) == len(task.texts)
    assert set(task.candidate_text.tolist()) == set(range(len(task.texts)))
    assert set(task.radiograph_group.tolist()) == set(range(len(task.candidate_text)))
    assert len(task.radiograph_patient) == len(wanted) == len(made.radiographs) - task.dropped
    assert len(task.candidate_patient) == len(task.candidate_text)
    if candidates == "texts":
        assert task.candidate_text.tolist() == list(range(len(task.texts)))


def test_the_digest_follows_texts_and_positives() -> None:
    first = task_of(["A", "B", "A"]).digest
    assert task_of(["A", "B", "A"]).digest == first
    assert task_of(["A", "B", "B"]).digest != first
    assert task_of(["A", "C", "A"]).digest != first
    assert task_of(["A", "B", "A"], "studies").digest != first


# Fingerprints ------------------------------------------------------------------------------------


def shuffled(made: Corpus, seed: int) -> Corpus:
    order = random.Random(seed).sample(range(len(made.studies)), len(made.studies))
    radiographs = [
        Radiograph(one.key, position, one.view, one.content, one.where, one.open)
        for position, old in enumerate(order)
        for one in made.radiographs[::-1]
        if one.study == old
    ]
    return Corpus(made.name, tuple(made.studies[old] for old in order), tuple(radiographs))


STUDIES = (
    (study("a", "A", "F", "I"), 2),
    (study("b", "B"), 1),
    (study("c", "A"), 3),
)


@pytest.mark.parametrize("seed", range(4))
def test_the_fingerprint_does_not_depend_on_the_order(seed: int) -> None:
    made = corpus(*STUDIES)
    assert shuffled(made, seed).fingerprint == made.fingerprint


def test_the_fingerprint_changes_with_anything_else() -> None:
    def changed(place: int, **fields: str) -> Corpus:
        made = list(STUDIES)
        old, count = made[place]
        known = {name: getattr(old, name) for name in old.__dataclass_fields__}
        made[place] = (Study(**{**known, **fields}), count)
        return corpus(*made)

    whole = corpus(*STUDIES)
    others = [
        changed(0, key="x"),
        changed(0, patient="x"),
        changed(0, report="A."),
        changed(0, findings="f"),
        changed(0, impression=""),
        changed(1, report="A"),
        corpus(*STUDIES[:2]),
        corpus(*STUDIES[:2], (STUDIES[2][0], 2)),
        corpus(*STUDIES, STUDIES[1]),
    ]
    for name in ("content", "key"):
        first = whole.radiographs[0]
        fields = {n: getattr(first, n) for n in first.__dataclass_fields__}
        spoiled = Radiograph(**{**fields, name: "x"})
        others.append(Corpus("test", whole.studies, (spoiled, *whole.radiographs[1:])))
    found = [whole.fingerprint, *(other.fingerprint for other in others)]
    assert len(set(found)) == len(found)


def test_a_radiograph_that_moves_to_another_study_changes_the_fingerprint() -> None:
    whole = corpus(*STUDIES)
    first = whole.radiographs[0]
    moved = Radiograph(first.key, 1, first.view, first.content, first.where, first.open)
    other = Corpus("test", whole.studies, (moved, *whole.radiographs[1:]))
    assert other.fingerprint != whole.fingerprint


@given(st.lists(st.text(max_size=4), max_size=6), st.randoms(use_true_random=False))
def test_combined_digests_are_of_multisets(entries: list[str], shuffler: random.Random) -> None:
    mixed = shuffler.sample(entries, len(entries))
    assert combined_digest(mixed) == combined_digest(entries)
    assert combined_digest([*entries, "x"]) != combined_digest(entries)
    assert combined_digest(["".join(entries), "|"]) != combined_digest([*entries, "|", "y"])


# Kinds of corpora --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("mimic", ("unknown corpus 'mimic'", "known kinds: embedded, ", "manifest:")),
        ("", ("unknown corpus ''", "known kinds")),
        ("embedded:x", ("embedded:x", "takes no path")),
        ("manifest", ("names no file", "manifest:reports.csv")),
        ("manifest:", ("names no file", "manifest:reports.csv")),
    ],
)
def test_faults_of_specifications(spec: str, words: tuple[str, ...]) -> None:
    with pytest.raises(OcclusionError) as caught:
        load_corpus(spec)
    for word in words:
        assert word in str(caught.value)
    assert caught.value.remedy
