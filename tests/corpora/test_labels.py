"""Labels of reports: from attributes, lists or a table beside the corpus; and who is in a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from pytest_occlusion.corpora import Corpus, Radiograph, Study, load_corpus
from pytest_occlusion.corpora.groups import group_queries, known_attributes
from pytest_occlusion.corpora.labels import SMALLEST, Labels, read_labels
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
    cells = ["mass | nodule", '["nodule", "scar"]', "[]", ""]
    made = corpus([{"finding": cell} for cell in cells] * SMALLEST)
    labels = read_labels(made, ("auto",))
    assert found(labels) == [["mass", "nodule"], ["nodule", "scar"], [], []] * SMALLEST
    assert labels is not None
    assert labels.known.tolist() == [True, True, True, False] * SMALLEST


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


def test_a_column_of_zeros_and_blanks_is_no_list(tmp_path: Path) -> None:
    made = corpus([{"Edema": "0.0", "Fracture": ""}, {"Edema": "-1.0", "Fracture": ""}])
    labels = read_labels(made, ("auto",))
    assert labels is not None
    assert labels.names == ("Edema", "Fracture")
    assert labels.values.tolist() == [[0, 0], [-1, 0]]
    rows = "study,Edema,own\ns0,0.0,\ns1,NaN,\n"
    beside = read_labels(corpus([{}, {}]), table(tmp_path, rows))
    assert beside is not None
    assert (beside.names, beside.values.tolist()) == (("Edema",), [[0], [0]])
    assert beside.known.tolist() == [True, False], "NaN is no value"
    assert beside.notes[0] == "labels.csv: no labels in own"


def test_labels_of_which_nothing_is_known() -> None:
    made = corpus([{"Edema": "", "finding": "[]", "note": " "}] * 3)
    assert read_labels(made, ("auto",)) is None
    assert read_labels(corpus([{"finding": "[]"}]), ("auto",)) is None
    for name in ("Edema", "finding", "note"):
        with pytest.raises(OcclusionError, match=f"{name} names no label of any study") as fault:
            read_labels(made, (name,))
        assert "say none" in fault.value.remedy


def test_a_table_that_lists_findings(tmp_path: Path) -> None:
    rows = "".join(f'p{at},"[""mass"", ""scar""]"\n' if at % 2 else f"p{at},\n" for at in range(12))
    labels = read_labels(corpus([{}] * 12), table(tmp_path, f"patient,finding\n{rows}"))
    assert found(labels) == [["mass", "scar"] if at % 2 else [] for at in range(12)]


def test_a_table_by_study_is_of_all_its_radiographs(tmp_path: Path) -> None:
    made = corpus([{}, {}], views=3)
    labels = read_labels(made, table(tmp_path, "study\tEdema\ns1\t1\ns1\t0\n", "l.tsv"))
    assert found(labels) == [[], ["Edema"]]
    assert labels is not None
    assert labels.known.tolist() == [False, True]
    by_picture = table(tmp_path, "radiograph,Edema\ns0/0,0\ns0/1,-1\ns1/2,1\n")
    labels = read_labels(made, by_picture)
    assert labels is not None
    assert labels.values.tolist() == [[-1], [1]], "the strongest of each study"


def test_a_folder_in_place_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(MissingError, match=r"folder.csv: no such file[\s\S]*has to be set"):
        read_labels(corpus([{}]), (str(tmp_path / "folder.csv"),))


def test_a_label_of_few_patients_has_no_name() -> None:
    """Names of columns are nobody's values, and stay; values of a table do not."""
    rows = [{"finding": "secret words", "Edema": "1", "patient": f"p{at % 4}"} for at in range(40)]
    rows += [{"finding": "scar|other secret", "Edema": "0", "patient": "p9"}]
    rows += [{"finding": "scar", "Edema": "", "patient": f"q{at}"} for at in range(4)]
    made = corpus(rows)
    labels = read_labels(made, ("finding", "Edema"))
    assert labels is not None
    assert labels.names == ("rare label 1", "scar", "rare label 2", "Edema")
    assert "secret" not in str((labels.names, labels.notes, labels.origin))
    assert labels.values.sum(0).tolist() == [1, 5, 40, 40], "they count as any other"
    assert "secret" not in str(group_queries(made, task_of(made), "finding", labels, "positive"))


cells = st.sampled_from(["1", "1.0", "0", "0.0", "-1", "-1.0", "", " 1 "])


@given(st.lists(st.lists(cells, min_size=2, max_size=2), min_size=1, max_size=8), st.integers(1, 3))
def test_values_are_those_of_a_loop(rows: list[list[str]], views: int) -> None:
    """Every radiograph of a study says something else; the strongest counts."""
    made = corpus([{}] * len(rows), views=views)
    shown = tuple(
        replace(
            one,
            attributes=(
                ("Edema", rows[(at * 7) % len(rows)][0]),
                ("Mass", rows[at % len(rows)][1]),
            ),
        )
        for at, one in enumerate(made.radiographs)
    )
    assume(any(value.strip() for one in shown for _, value in one.attributes))
    labels = read_labels(replace(made, radiographs=shown), ("Edema", "Mass"))
    expected, known = [], []
    for study in range(len(rows)):
        own = [dict(one.attributes) for one in shown if one.study == study]
        row = []
        for name in ("Edema", "Mass"):
            said = {one[name].strip().removesuffix(".0") for one in own}
            row.append(1 if "1" in said else -1 if "-1" in said else 0)
        expected.append(row)
        known.append(any(value.strip() for one in own for value in one.values()))
    assert labels is not None
    assert labels.values.tolist() == expected
    assert labels.known.tolist() == known
    for rule, values in (("positive", (1, -1)), ("negative", (1,))):
        positive = [[value in values for value in row] for row in expected]
        assert labels.positives(rule).tolist() == positive


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


def test_names_of_groups_are_one_line_that_no_terminal_obeys() -> None:
    rows = [{"ward": "north \n  wing\x1b[31m"}] * 3 + [{"ward": "  north wing\x1b[31m\t"}] * 2
    assert groups(corpus(rows), "ward") == {"north wing\\x1b[31m": [*range(5)]}


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("063Y", "60-79"),
        (" 080y ", "80-99"),
        ("-1", "-20 to -1"),
        ("-20", "-20 to -1"),
        ("0", "0-19"),
        ("19.99", "0-19"),
        ("1e2", "100-119"),
    ],
)
def test_bands(age: str, band: str) -> None:
    assert groups(corpus([{"age": age}] * 5), "age/20") == {band: [*range(5)]}


@pytest.mark.parametrize("age", ["inf", "1e999", "Y", "06M", "6 Y", "40-59", "٣Y5", "forty"])
def test_no_numbers(age: str) -> None:
    with pytest.raises(OcclusionError, match="group-by age/20: some values are not num") as fault:
        groups(corpus([{"age": "40"}] * 5 + [{"age": age}]), "age/20")
    assert age not in str(fault.value)


def test_views_have_no_bands() -> None:
    with pytest.raises(OcclusionError, match="group-by view/20: some values are not numbers"):
        groups(corpus([{"view": "PA"}] * 5), "view/20")


def test_findings_where_nothing_is_known() -> None:
    """Of such a study nobody can say that nothing is found."""
    made = corpus([{"finding": "mass"}] * 5 + [{"finding": ""}] * 5 + [{"finding": "[]"}] * 5)
    assert groups(made, "finding") == {"mass": [*range(5)], "none": [*range(10, 15)]}
    labels = read_labels(made, ("auto",))
    found = group_queries(made, task_of(made), "finding", labels, "positive")
    assert found.known.tolist() == [True] * 5 + [False] * 5 + [True] * 5
    assert found.notes == ("finding is not known of 5 of 15 radiographs",)


@pytest.mark.parametrize(("rule", "rows"), [("positive", 10), ("negative", 5)])
def test_uncertain_findings(rule: str, rows: int) -> None:
    made = corpus([{"Edema": "1"}] * 5 + [{"Edema": "-1"}] * 5 + [{"Edema": "0"}] * 5)
    labels = read_labels(made, ("auto",))
    found = group_queries(made, task_of(made), "finding", labels, rule)
    assert found.members["Edema"].sum() == rows
    assert found.members["none"].sum() == 15 - rows


def test_only_radiographs_of_the_task_are_grouped() -> None:
    """Those without a text ask nothing: their patients do not make a group large enough."""
    made = corpus([{"ward": "secret"}] * 5 + [{"ward": "open"}] * 6)
    studies = (replace(made.studies[0], report=""), *made.studies[1:])
    made = replace(made, studies=studies)
    assert groups(made, "ward") == {"open": [*range(4, 10)]}


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
