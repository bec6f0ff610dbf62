"""Tables as people have them: columns by name, lists in cells, what is said of what is guessed."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pytest_occlusion.corpora import Corpus, load_corpus
from pytest_occlusion.corpora.columns import NAMES, TEXTS, find_columns, several
from pytest_occlusion.corpora.words import MISSING, split_of, view_of
from pytest_occlusion.errors import OcclusionError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for at, name in enumerate("abcdef"):
        Image.new("L", (4, 4), at).save(tmp_path / f"{name}.png")
    return tmp_path


def table(folder: Path, header: Sequence[str], *rows: Sequence[Any], **options: str) -> Path:
    path = folder / "table.csv"
    with path.open("w", newline="", encoding=options.get("encoding", "utf-8")) as file:
        csv.writer(file, delimiter=options.get("delimiter", ",")).writerows([header, *rows])
    return path


def load(path: Path, query: str = "", **more: Any) -> Corpus:
    return load_corpus(f"manifest:{path}" + (f"?{query}" if query else ""), **more)


def fault(path: Path, query: str = "") -> str:
    with pytest.raises(OcclusionError) as caught:
        load(path, query)
    assert caught.value.remedy
    return str(caught.value)


def told(corpus: Corpus) -> list[tuple[str, ...]]:
    """Key, view, study, patient, findings, impression and report of every radiograph."""
    studies = [corpus.studies[one.study] for one in corpus.radiographs]
    return [
        (
            one.key,
            one.view,
            study.key,
            study.patient,
            study.findings,
            study.impression,
            study.report,
        )
        for one, study in zip(corpus.radiographs, studies, strict=True)
    ]


# Tables of the field ------------------------------------------------------------------------------


def test_cxr_clips_table(folder: Path) -> None:
    """Lists as Python writes them, a column without a name, a plain text where a list was."""
    header = ["", "image", "view", "AP", "PA", "Lateral", "text", "text_augment"]
    path = table(
        folder,
        header,
        [0, "['a.png', 'b.png']", "['PA', 'LATERAL']", "", "", "", "['It is.', 'So.']", "['x']"],
        [1, "c.png", "AP", "", "", "", "Clear.", ""],
    )
    corpus = load(path)
    assert told(corpus) == [
        ("a.png", "PA", "a.png", "a.png", "", "", "It is.\nSo."),
        ("b.png", "lateral", "a.png", "a.png", "", "", "It is.\nSo."),
        ("c.png", "AP", "c.png", "c.png", "", "", "Clear."),
    ]
    assert corpus.notes == (
        "columns guessed from their names: report=text",
        "no column says which study a row is of: each row is a study of its own",
        "no column says who the patients are: confidence intervals resample rows",
    )


@pytest.mark.parametrize(
    ("header", "row", "query", "expected"),
    [
        (  # CheXpert 5x200
            ["Path", "Report Impression", "Edema"],
            ["a.png", "Clear.", "1"],
            "image=Path&report=Report%20Impression",
            ("a.png", "", "a.png", "a.png", "", "", "Clear."),
        ),
        (  # MGCA
            ["Path", "split", "ViewPosition", "impression", "findings"],
            ["a.png", "valid", "PA", "I", "nan"],
            "split=validate",
            ("a.png", "PA", "a.png", "a.png", "", "I", "I"),
        ),
        (  # MedProbCLIP
            ["study_id", "image_paths", "view_names", "findings", "impression"],
            ["s", "a.png", "AP", "F", "I"],
            "",
            ("a.png", "AP", "s", "s", "F", "I", "F\nI"),
        ),
        (  # LLM2CLIP4CXR
            ["img_path", "caption_if"],
            ["a.png", "Clear."],
            "report=caption_if",
            ("a.png", "", "a.png", "a.png", "", "", "Clear."),
        ),
        (  # ROCO: the name without its ending
            ["ID", "Caption"],
            ["a", "Clear."],
            "image=ID&ending=.png",
            ("a.png", "", "a.png", "a.png", "", "", "Clear."),
        ),
        (  # PadChest
            ["ImageID", "StudyID", "PatientID", "Projection", "Report"],
            ["a.png", "s", "p", "AP_horizontal", "Normal."],
            "image=ImageID",
            ("a.png", "AP", "s", "p", "", "", "Normal."),
        ),
    ],
)  # fmt: skip
def test_tables_of_others(
    folder: Path, header: list[str], row: list[str], query: str, expected: tuple[str, ...]
) -> None:
    assert told(load(table(folder, header, row), query)) == [expected]


def test_images_and_views_with_semicolons(folder: Path) -> None:
    header = ["study_id", "patient_id", "image", "view", "report"]
    rows = [["s", "p", "a.png;b.png", "PA;LL", "One."], ["t", "p", "c.png ; d.png", "AP", "Two."]]
    corpus = load(table(folder, header, *rows))
    views = [(one.key, one.view) for one in corpus.radiographs]
    assert views == [("a.png", "PA"), ("b.png", "lateral"), ("c.png", ""), ("d.png", "")]
    assert corpus.notes == ()
    rows = [["s", "p", "a.png|b.png", "PA|LL", "One; and two|three."]]
    other = load(table(folder, header, *rows), "separator=%7C")
    assert [one.view for one in other.radiographs] == ["PA", "lateral"]
    assert other.studies[0].report == "One; and two|three."


def test_columns_that_are_named_come_before_those_that_are_guessed(folder: Path) -> None:
    header = ["image", "Path", "report", "Other Text", "study_id", "patient"]
    path = table(folder, header, ["a.png", "b.png", "A", "B", "s", "p"])
    assert told(load(path, "image=Path&report=Other%20Text"))[0][::6] == ("b.png", "B")
    assert told(load(path, "findings=Other%20Text"))[0][4:] == ("B", "", "B")
    text = fault(path, "report=other_text")
    assert "missing columns other_text (spelled otherwise: 'Other Text')" in text
    assert "missing columns Nowhere\n" in fault(path, "image=Nowhere")


def test_a_radiograph_may_have_a_name_of_its_own(folder: Path) -> None:
    """What is blocked follows from it: the same name, the same masks, wherever the file lies."""
    header = ["image", "dicom", "report"]
    path = table(folder, header, ["a.png", "x1", "A"], ["b.png;c.png", "x2;x3", "B"])
    assert [one[0] for one in told(load(path, "radiograph=dicom"))] == ["x1", "x2", "x3"]
    path = table(folder, header, ["a.png", "x1", "A"], ["b.png", "x1", "B"])
    assert "row 2: its image is called as one in row 1 is" in fault(path, "radiograph=dicom")


def test_an_image_that_is_named_twice_in_a_row(folder: Path) -> None:
    path = table(folder, ["image", "report"], ["a.png;./a.png", "A"])
    assert "row 1: duplicate image, also in row 1" in fault(path)


def test_lists_that_cannot_be_told_from_one_text(folder: Path) -> None:
    header = ["image", "report", "patient_id"]
    path = table(folder, header, ["['a.png' 'b.png']", "A", "['p', 'q']"])
    text = fault(path)
    assert "row 1: image is a list without commas, as numpy prints it" in text
    assert "row 1: patient_id is not a text" in text


# Splits, views, attributes ------------------------------------------------------------------------


def parted(folder: Path) -> Path:
    header = ["image", "study_id", "patient_id", "view", "report", "Fold", "sex", "Age at Study"]
    return table(
        folder,
        header,
        ["a.png", "s1", "p1", "PA", "One.", "train", "F", "40"],
        ["b.png", "s1", "p1", "LL", "One.", "train", "F", "40"],
        ["c.png", "s2", "p2", "AP", "Two.", "VAL", "M", "nan"],
        ["d.png", "s3", "p3", "LATERAL", "Three.", "test", "", "7"],
    )


def test_a_split_is_chosen_by_value(folder: Path) -> None:
    path = parted(folder)
    assert len(load(path, "split-column=Fold").radiographs) == 4
    assert load(path, "split-column=Fold").notes == (
        "rows of every split: train 2, validate 1, test 1",
    )
    for asked in ("validate", "val", "valid"):
        corpus = load(path, f"split-column=Fold&split={asked}")
        assert [one.key for one in corpus.radiographs] == ["c.png"]
        assert corpus.fields == {"split": asked}
        assert corpus.steps[0].name == f"in the {asked} split"
    assert len(load(path, "split-column=Fold", split="train").radiographs) == 2
    with pytest.raises(OcclusionError, match=r"the split is 'test' here, and 'train' beside it"):
        load(path, "split-column=Fold&split=test", split="train")
    text = fault(path, "split-column=Fold&split=dev2")
    assert "no row is in the split 'dev2'\n  -> its splits, with their rows: train 2" in text
    assert "nothing says which split a row is in" in fault(path, "split=test")


def test_frontal_radiographs_and_one_of_each_study(folder: Path) -> None:
    corpus = load(parted(folder), "views=frontal")
    assert [one.key for one in corpus.radiographs] == ["a.png", "c.png"]
    assert [(step.name, step.radiographs) for step in corpus.steps] == [
        ("all", 4),
        ("frontal (PA, AP, frontal)", 2),
        ("  with findings", 0),
        ("  with impression", 0),
        ("with an image file", 2),
    ]
    one = load(parted(folder), "per-study=one")
    assert [radiograph.key for radiograph in one.radiographs] == ["a.png", "c.png", "d.png"]
    path = table(folder, ["image", "report"], ["a.png", "One."])
    assert "nothing says which radiographs are frontal" in fault(path, "views=frontal")
    path = table(folder, ["image", "report", "view"], ["a.png", "One.", "LL"])
    assert "no radiograph is left (all 1, frontal (PA, AP, frontal) 0" in fault(
        path, "views=frontal"
    )


def test_rows_that_name_no_patient_are_counted(folder: Path) -> None:
    header = ["image", "study_id", "patient_id", "report"]
    path = table(folder, header, ["a.png", "s", "p", "A"], ["b.png", "t", "", "B"])
    assert load(path).notes == ("1 rows name no patient: there each study is a patient of its own",)
    assert "unknown encoding" in fault(path, "encoding=%00")


def test_other_columns_can_be_kept(folder: Path) -> None:
    corpus = load(parted(folder), "keep=sex,Age%20at%20Study")
    assert [one.attributes for one in corpus.radiographs] == [
        (("sex", "F"), ("Age at Study", "40")),
        (("sex", "F"), ("Age at Study", "40")),
        (("sex", "M"), ("Age at Study", "")),
        (("sex", ""), ("Age at Study", "7")),
    ]
    assert "Age" not in repr(corpus)
    assert "missing columns race\n  -> keep= names columns" in fault(
        parted(folder), "keep=sex,race"
    )


# Files that are not there, rows without a text ----------------------------------------------------


def test_missing_images_may_be_allowed(folder: Path) -> None:
    header = ["image", "study_id", "patient_id", "report"]
    rows = [["a.png", "s", "p", "A"], ["gone.png", "t", "q", "B"], ["b.png", "u", "r", "C"]]
    path = table(folder, header, *rows)
    assert "say how many may be missing: missing=1 (or a share below 1)" in fault(path)
    for allowed in ("missing=1", "missing=0.34"):
        corpus = load(path, allowed)
        assert [one.key for one in corpus.radiographs] == ["a.png", "b.png"]
        assert corpus.notes == ("a partial download: 1 of 3 image files are missing",)
        assert corpus.fields == {"missing_images": 1}
        assert corpus.steps[-1].radiographs == 2
    assert "row 2: its image file does not exist" in fault(path, "missing=0.3")
    for name in ("a.png", "b.png"):
        (folder / name).unlink()
    assert "3 faults" in fault(path, "missing=3")  # nothing is no partial download


def test_rows_without_a_text_may_be_left_out(folder: Path) -> None:
    path = table(folder, ["image", "report"], ["a.png", "A"], ["b.png", "None"])
    assert "leave such rows out: empty=drop" in fault(path)
    assert [one.key for one in load(path, "empty=drop").radiographs] == ["a.png"]


def test_images_start_at_a_root(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("tables")
    path = table(elsewhere, ["image", "report"], ["a.png", "A"])
    assert [one.open().size for one in load(path, f"root={folder}").radiographs] == [(4, 4)]
    (folder / "sub").mkdir()
    path = table(elsewhere, ["image", "report"], ["../a.png", "A"])
    assert "its image file is outside the folder" in fault(path, f"root={folder / 'sub'}")
    assert len(load(path, f"root={folder / 'sub'}&outside=allow").radiographs) == 1


# Encodings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
def test_encodings_by_name(folder: Path, encoding: str) -> None:
    path = table(
        folder, ["image", "report"], ["a.png", "Zwerchfell hochstehend, ä."], encoding=encoding
    )
    assert load(path, f"encoding={encoding}").studies[0].report.endswith("ä.")
    assert "encoding=latin-1, encoding=utf-16" in fault(path)
    assert "unknown encoding 'utf-7000'" in fault(path, "encoding=utf-7000")


# Cells --------------------------------------------------------------------------------------------

words = st.text(max_size=8).map(str.strip).filter(lambda text: text.casefold() not in MISSING)


@given(st.lists(words, max_size=4))
def test_spelled_lists_are_read_back(items: list[str]) -> None:
    assert several(repr(items)) == items
    assert several(json.dumps(items)) == items
    assert several(repr(tuple(items))) == items


@given(st.text(max_size=30))
def test_any_text_is_read_as_something(text: str) -> None:
    try:
        found = several(text.strip())
    except ValueError as reason:
        assert "numpy" in str(reason)  # noqa: PT017
    else:
        assert all(isinstance(item, str) for item in found)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("[** name **] is well.", ["[** name **] is well."]),
        ("(1) Clear. (2) Well.", ["(1) Clear. (2) Well."]),
        ("[1, 2]", ["[1, 2]"]),
        ("['a', None, 'nan']", ["a", "", ""]),
        ('["a", null, NaN]', ["a", "", ""]),
        ("[[1], ['x']]", ["[[1], ['x']]"]),
        ("[" * 5000, ["[" * 5000]),
        ("__import__('os')", ["__import__('os')"]),
        ("[]", []),
    ],
)
def test_what_is_a_list(cell: str, expected: list[str]) -> None:
    assert several(cell) == expected


@pytest.mark.parametrize(
    ("word", "view"),
    [("postero-anterior", "PA"), ("ANTERO_POSTERIOR", "AP"), ("AP (KUB)", "AP"), ("LL", "lateral"),
     ("XTABLE LATERAL", "lateral"), ("Frontal", "frontal"), ("AP AXIAL", ""), ("PICC LINE", ""),
     ("", ""), ("Erect", ""), ("AP Supine", "AP"), ("PA erect", "PA"), ("portable", "AP"),
     ("AP semi-erect", "AP"), ("PA_ERECT", "PA")],
)  # fmt: skip
def test_views_in_many_words(word: str, view: str) -> None:
    assert view_of(word) == view


@pytest.mark.parametrize("word", ["val", "VALID", " validation ", "dev"])
def test_splits_in_many_words(word: str) -> None:
    assert split_of(word) == "validate"


@pytest.mark.parametrize(("role", "name"), [(r, n) for r, names in NAMES.items() for n in names])
def test_known_names_are_found_however_they_are_spelled(role: str, name: str) -> None:
    header = [name.replace("_", " ").title(), *({"Picture", "Words"} - {role})]
    asked = {"image": "Picture", "findings": "Words"}
    asked = {other: column for other, column in asked.items() if other != role}
    if role in TEXTS:
        asked.pop("findings", None)  # where one text is named, no other is guessed
    columns, notes = find_columns(header, asked, "t")
    assert columns[role] == header[0]
    assert notes == (f"columns guessed from their names: {role}={header[0]}",)
