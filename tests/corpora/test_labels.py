"""Labels of reports: from attributes, lists or a table beside the corpus; and who is in a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pytest_occlusion.corpora import Corpus, Radiograph, Study, load_corpus
from pytest_occlusion.corpora.groups import SMALLEST, group_queries, known_attributes
from pytest_occlusion.corpora.labels import Labels, read_labels
from pytest_occlusion.corpora.task import Task, build_task
from pytest_occlusion.errors import MissingError, OcclusionError


def black() -> Image.Image:
    return Image.new("L", (2, 2))


def corpus(rows: Sequence[Mapping[str, str]], *, views: int = 1) -> Corpus:
    """A study per row, each of a patient of its own unless the row says whose."""
    studies = tuple(
        Study(f"s{at}", row.get("patient", f"p{at}"), f"report {at}") for at, row in enumerate(rows)
    )
    radiographs = tuple(
        Radiograph(
            f"s{at}/{view}",
            at,
            row.get("view", ""),
            f"{at}:{view}",
            f"radiograph {at}",
            black,
            tuple((name, value) for name, value in row.items() if name not in ("view", "patient")),
        )
        for at, row in enumerate(rows)
        for view in range(views)
    )
    return Corpus("test", studies, radiographs)


def table(tmp_path: Path, text: str, name: str = "labels.csv") -> tuple[str]:
    path = tmp_path / name
    path.write_text(text)
    return (str(path),)


def found(labels: Labels | None, uncertain: str = "positive") -> list[list[str]]:
    """The positive labels of every study."""
    assert labels is not None
    rows = labels.positives(uncertain)
    return [[n for n, own in zip(labels.names, row, strict=True) if own] for row in rows]


# Labels ------------------------------------------------------------------------------------------


def test_values_of_chexpert() -> None:
    made = corpus(
        [{"Edema": "1.0", "Pneumonia": "-1"}, {"Edema": "0", "Pneumonia": " 1 "}, {"Edema": ""}]
    )
    labels = read_labels(made, ("auto",))
    assert labels is not None
    assert labels.names == ("Edema", "Pneumonia")
    assert labels.values.tolist() == [[1, -1], [0, 1], [0, 0]]
    assert labels.known.tolist() == [True, True, False]
    assert labels.notes == ("labels: nothing is known of 1 of 3 studies",)
    assert found(labels, "positive") == [["Edema", "Pneumonia"], ["Pneumonia"], []]
    assert found(labels, "negative") == [["Edema"], ["Pneumonia"], []]


def test_lists_with_a_mark_between_or_as_json() -> None:
    made = corpus(
        [{"finding": "mass | nodule"}, {"finding": '["nodule", "scar"]'}, {"finding": ""}]
    )
    assert found(read_labels(made, ("auto",))) == [["mass", "nodule"], ["nodule", "scar"], []]


def test_the_strongest_of_the_radiographs_of_a_study_counts() -> None:
    one, *_ = corpus([{"Edema": "0"}]).radiographs
    study = (Study("s", "p", "report"),)
    for values, expected in ((("0", "-1"), -1), (("-1", "1", ""), 1), (("", "0"), 0)):
        shown = tuple(
            Radiograph(f"r{at}", 0, "", "", "", one.open, (("Edema", value),))
            for at, value in enumerate(values)
        )
        labels = read_labels(Corpus("test", study, shown), ("Edema",))
        assert labels is None or labels.values.tolist() == [[expected]]


@pytest.mark.parametrize(
    ("key", "names"),
    [("study_id", ["s0", "s1"]), ("subject_id", ["p0", "p1"]), ("dicom_id", ["s0/0", "s1/0"])],
)
def test_a_table_by_study_patient_or_radiograph(tmp_path: Path, key: str, names: list[str]) -> None:
    rows = f"{key},Edema,note\n{names[0]},1,x\n{names[1]},0,y\nother,1,z\n"
    labels = read_labels(corpus([{}, {}]), table(tmp_path, rows))
    assert found(labels) == [["Edema"], []]
    assert labels is not None
    assert labels.origin == "labels.csv"
    assert labels.notes == ("labels.csv: no labels in note",)


def test_no_labels_where_none_are_wanted_or_known() -> None:
    assert read_labels(corpus([{"Edema": "1"}]), ("none",)) is None
    assert read_labels(corpus([{"sex": "F"}]), ("auto",)) is None


def test_the_embedded_corpus_knows_its_findings() -> None:
    labels = read_labels(load_corpus("embedded"), ("auto",))
    assert labels is not None
    assert labels.known.all()
    at = labels.names.index("no finding")
    alone = labels.values[labels.values[:, at] == 1]
    assert (alone.sum(1) == 1).all(), "nothing else is found in a study without a finding"


FAULTS: dict[str, tuple[list[dict[str, str]], str | list[str]]] = {
    "missing": ([{}], "none.csv"),
    "no key": ([{}], "Edema\n1\n"),
    "other corpus": ([{}], "study_id,Edema\nx,1\n"),
    "no labels": ([{}], "study_id,name\ns0,secret words\n"),
    "no attribute": ([{"Edema": "1"}, {"secret": "x"}], ["Oedema"]),
    "numpy": ([{"finding": "['a' 'b']"}], ["finding"]),
    "too many": ([{"note": f"word {n}"} for n in range(201)], ["note"]),
}
"""Attributes of the studies, and names or a table of labels."""


@pytest.mark.parametrize(
    ("case", "problem", "remedy"),
    [
        ("missing", "none.csv: no such file", "CSV tables"),
        ("no key", "has none of the columns dicom_id", "study_id"),
        ("other corpus", "none of its rows is of a study of the corpus 'test'", "spelled"),
        ("no labels", "no column has labels", "holds 1, 0, -1 or nothing"),
        ("no attribute", "has no attribute Oedema", "it has: Edema, secret"),
        ("numpy", "a cell is a list without commas", "with lists as JSON"),
        ("too many", "note comes to 201 labels", "200 are the most"),
    ],
)
def test_what_is_wrong_with_labels(tmp_path: Path, case: str, problem: str, remedy: str) -> None:
    rows, given = FAULTS[case]
    asked: Sequence[str] = [str(tmp_path / given)] if given == "none.csv" else given
    if isinstance(given, str) and given != "none.csv":
        asked = table(tmp_path, given)
    with pytest.raises(OcclusionError) as fault:
        read_labels(corpus(rows), asked)
    assert problem in fault.value.problem
    assert remedy in fault.value.remedy
    assert "secret words" not in str(fault.value)
    assert isinstance(fault.value, MissingError) == (case == "missing")


# Groups ------------------------------------------------------------------------------------------


def task_of(made: Corpus) -> Task:
    return build_task(made, text_rule="full", candidates="studies")


def groups(made: Corpus, attribute: str, **given: Any) -> dict[str, list[int]]:
    """The rows of every group that has a name."""
    labels = read_labels(made, ("auto",))
    found = group_queries(made, task_of(made), attribute, labels, "positive")
    return {name: np.flatnonzero(own).tolist() for name, own in found.members.items()}


def test_views_attributes_bands_and_findings() -> None:
    row = {"view": "PA", "sex": "F", "age": "063Y", "Edema": "1", "Mass": ""}
    other = {"view": "lateral", "sex": "M ", "age": "39.5", "Edema": "0", "Mass": ""}
    made = corpus([row] * 5 + [other] * 6 + [{"view": "", "sex": " ", "age": ""}])
    first, rest = [*range(5)], [*range(5, 11)]
    assert groups(made, "view") == {"PA": first, "lateral": rest}
    assert groups(made, "sex") == {"F": first, "M": rest}
    assert groups(made, "age/20") == {"20-39": rest, "60-79": first}
    assert groups(made, "finding") == {"Edema": first, "none": rest}
    assert known_attributes(made) == ["view", "sex", "age", "Edema", "Mass"]
    found = group_queries(made, task_of(made), "sex", None, "positive")
    assert found.notes == ("sex is not known of 1 of 12 radiographs",)
    assert found.known.tolist() == [True] * 11 + [False]
    assert found.patients == {"F": 5, "M": 6}


def test_one_radiograph_in_several_groups() -> None:
    made = corpus([{"finding": "mass|scar"}] * 5 + [{"finding": "scar"}] * 5)
    assert groups(made, "finding") == {"mass": [*range(5)], "scar": [*range(10)]}


def test_numbers_stand_by_size() -> None:
    made = corpus([{"age": str(age)} for age in (100, 9, 25) for _ in range(5)])
    assert list(groups(made, "age/10")) == ["0-9", "20-29", "100-109"]


@given(st.floats(-1000, 1000), st.integers(1, 50))
def test_every_number_lies_in_its_band(number: float, width: int) -> None:
    (name,) = groups(corpus([{"x": repr(number)}] * 5), f"x/{width}")
    low = int(name.partition(" to ")[0] if " to " in name else name.partition("-")[0])
    assert low <= number < low + width
    assert low % width == 0


def test_a_group_of_few_patients_has_no_name() -> None:
    """Patients count: many radiographs of four of them still tell who they are."""
    rows = [{"ward": "secret", "patient": f"p{at % (SMALLEST - 1)}"} for at in range(40)]
    made = corpus(rows + [{"ward": "open"}] * SMALLEST, views=2)
    found = group_queries(made, task_of(made), "ward", None, "positive")
    assert list(found.members) == ["open"]
    assert found.known.all()
    assert found.notes == ("1 groups by ward of fewer than 5 patients, not shown",)
    assert "secret" not in str((found.notes, list(found.members), dict(found.patients)))


@pytest.mark.parametrize(
    ("attribute", "problem", "remedy"),
    [
        ("site", "does not know 'site'", "it knows: sex, zip"),
        ("sex/20", "some values are not numbers", "group by sex itself"),
        ("zip", "101 different values", "zip/20"),
    ],
)
def test_what_cannot_be_grouped(attribute: str, problem: str, remedy: str) -> None:
    made = corpus([{"sex": "secret", "zip": str(10_000 + n % 101)} for n in range(505)])
    with pytest.raises(OcclusionError) as fault:
        group_queries(made, task_of(made), attribute, None, "positive")
    assert problem in fault.value.problem
    assert remedy in fault.value.remedy
    assert "secret" not in str(fault.value)


def test_a_table_by_study_reaches_every_report_of_a_study(tmp_path: Path) -> None:
    """One study_id with two texts is two studies; a table of labels knows it by its id."""
    for name in ("a.png", "b.png"):
        black().save(tmp_path / name)
    rows = "image,study_id,report\na.png,s,one text\nb.png,s,another\n"
    (tmp_path / "reports.csv").write_text(rows)
    made = load_corpus(f"manifest:{tmp_path / 'reports.csv'}")
    assert len({study.key for study in made.studies}) == 2
    assert {study.given_id for study in made.studies} == {"s"}
    labels = read_labels(made, table(tmp_path, "study_id,Edema\ns,1\n"))
    assert found(labels) == [["Edema"], ["Edema"]]
