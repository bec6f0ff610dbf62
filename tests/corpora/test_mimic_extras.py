"""What people keep beside MIMIC-CXR: sections in a table, copies, labels and tables of patients."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest

from pytest_occlusion.__main__ import main
from pytest_occlusion.corpora import Corpus, load_corpus
from pytest_occlusion.errors import MissingError
from tests.corpora import mimic
from tests.corpora.test_mimic_cxr import counts, fault, load, shown_secrets


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return mimic.write_tree(tmp_path / "root")


# Sections in a table ------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("place", ["found", "named"])
def test_sections_of_the_table_are_the_texts(tmp_path: Path, ending: str, place: str) -> None:
    root = mimic.write_tree(tmp_path / "root", reports="none")
    folder = root if place == "found" else tmp_path
    path = folder / f"{mimic.SECTIONED}{ending}"
    mimic.write_table(path, mimic.sectioned_rows())
    corpus = load(root, "" if place == "found" else f"?reports={path}")
    assert counts(corpus) == [
        ("in the validate split", 13, 22),
        ("with a report", 13, 22),
        ("with findings", 9, 16),
        ("with impression", 10, 17),
        ("with findings or impression", 10, 17),
        ("with an image file", 10, 17),
    ]
    assert corpus.fields["without_headings"] == 2
    first = next(one for one in corpus.studies if one.key == mimic.study_id(0))
    assert first.findings == "Case 0 of hush-report, number 0.  Clear."
    assert first.impression == "Case 0 of hush-report, number 0.\n Sectioned, as it is."
    assert first.report == f"{first.findings}\n{first.impression}"
    (note,) = corpus.notes[1:]
    assert note.startswith(f"texts are the sections of {path.name}, other texts than")
    assert "not comparable" in note
    assert corpus.fingerprint != load(mimic.write_tree(tmp_path / "zip")).fingerprint


@pytest.mark.parametrize("reports", ["zip", "folder"])
def test_reports_that_are_there_go_before_the_table(tmp_path: Path, reports: str) -> None:
    root = mimic.write_tree(tmp_path, reports=reports)
    before = load(root).fingerprint
    mimic.write_table(root / mimic.SECTIONED, mimic.sectioned_rows())
    assert load(root).fingerprint == before
    assert len(load(root).notes) == 1


def test_a_study_that_the_table_lacks_has_no_report(root: Path, tmp_path: Path) -> None:
    mimic.write_table(tmp_path / "own.csv", mimic.sectioned_rows()[1:])
    query = f"?reports={tmp_path / 'own.csv'}"
    text = fault(root, query)
    assert "0 of 15 image files and 1 of 13 reports are missing" in text
    assert "row 1: its report does not exist" in text
    corpus = load(root, f"{query}&missing=1")
    assert (len(corpus.studies), corpus.fields["missing_reports"]) == (9, 1)


def test_faulty_tables_of_sections(root: Path, tmp_path: Path) -> None:
    path, rows = tmp_path / "own.csv", mimic.sectioned_rows()
    query = f"?reports={path}"
    mimic.write_table(path, [*rows, rows[0]])
    said = f"1 faulty rows:\n  - row {len(rows) + 1}: the study of row 1"
    assert said in fault(root, query)
    mimic.write_table(path, [{"study": row["study"], "findings": "hush"} for row in rows])
    text = fault(root, query)
    assert "missing columns impression" in text
    assert "it has the columns study, impression, findings" in text
    mimic.write_table(path, [{**rows[0], "study": "s1"}])
    assert "holds no report of the split" in fault(root, f"{query}&missing=0.9")


# Copies -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reports", ["zip", "folder"])
def test_png_copies_beside_the_published_names(tmp_path: Path, reports: str) -> None:
    """And, in the second case, reports unpacked beside the folders of the pictures."""
    root = mimic.write_tree(tmp_path, images="png", reports=reports)
    for query in ("", "?images=png"):
        corpus = load(root, query)
        assert (len(corpus.studies), len(corpus.radiographs)) == (10, 17)
        assert corpus.fields["images"] == "png"
    assert np.array_equal(
        np.asarray(next(one for one in corpus.radiographs if one.where == "row 1").open()),
        mimic.pattern(0),
    )
    assert "17 of 17 image files" in fault(root, "?images=jpg")


def test_png_goes_after_jpg_and_before_dicom(root: Path, tmp_path: Path) -> None:
    def add(images: str) -> None:
        mimic.write_tree(tmp_path / images, images=images)
        shutil.copytree(tmp_path / images / "files", root / "files", dirs_exist_ok=True)

    add("png")
    assert load(root).fields["images"] == "jpg"
    assert load(root, "?images=png").fields["images"] == "png"
    add("dicom")
    for path in (root / "files").rglob("*.jpg"):
        path.unlink()
    assert load(root).fields["images"] == "png"
    assert load(root, "?images=dicom").fields["images"] == "dicom"


@pytest.mark.parametrize("folder", ["", "files", "resized 512"])
@pytest.mark.parametrize("images", ["jpg", "png"])
def test_all_copies_in_one_folder(tmp_path: Path, images: str, folder: str) -> None:
    root = mimic.write_tree(tmp_path / "root", images=images)
    before = load(root)
    (root / "a").mkdir()
    (root / "a" / f"hush-other.{images}").write_bytes(b"hush")
    mimic.flatten(root, folder, f".{images}")
    corpus = load(root)
    assert corpus.fingerprint == before.fingerprint
    assert corpus.fields == before.fields
    assert corpus.radiographs[0].open().mode == "L"
    next(iter((root / folder).glob(f"{mimic.dicom_id(0, 0)}*"))).unlink()
    text = fault(root)
    assert "1 of 17 image files" in text
    assert "row 1: its image file does not exist" in text


def test_published_names_go_before_a_folder_of_copies(root: Path, tmp_path: Path) -> None:
    before = load(root).fingerprint
    other = mimic.write_tree(tmp_path / "other", images="png")
    mimic.flatten(other, "small", ".png")
    shutil.copytree(other / "small", root / "small")
    assert load(root).fingerprint == before
    assert load(root, "?images=png").fields["images"] == "png"


# Attributes ---------------------------------------------------------------------------------------


def known(corpus: Corpus, number: int, view: int = 0) -> dict[str, str]:
    key = mimic.dicom_id(number, view)
    return dict(next(one for one in corpus.radiographs if one.key == key).attributes)


def test_labels_of_studies(root: Path) -> None:
    mimic.write_labels(root)
    corpus = load(root, f"?attributes={root / mimic.CHEXPERT}")
    for one in corpus.radiographs:
        assert tuple(name for name, _ in one.attributes) == mimic.LABELS
    assert known(corpus, 1)["Atelectasis"] == "1.0"
    assert known(corpus, 2)["Cardiomegaly"] == "-1.0"
    assert known(corpus, 0)["Atelectasis"] == ""
    both = [one.attributes for one in corpus.radiographs if one.key.endswith(("14", "15"))]
    assert both[0] is both[1]  # of two radiographs of a study
    assert corpus.notes == load(root).notes
    assert corpus.fingerprint == load(root).fingerprint


def test_labels_of_the_test_studies_by_radiologists(root: Path) -> None:
    mimic.write_labels(root)
    query = f"?attributes={root / mimic.TEST_LABELS}"
    corpus = load(root, query, split="test")
    assert known(corpus, 18)["Airspace Opacity"] == ("", "1.0", "0.0", "-1.0")[(18 + 7) % 4]
    assert len(corpus.notes) == 1
    corpus = load(root, query)
    assert set(known(corpus, 0).values()) == {""}
    assert corpus.notes[1] == f"{mimic.TEST_LABELS} has no row for 22 of 22 radiographs"


def test_tables_of_patients(root: Path, tmp_path: Path) -> None:
    """Several files, by paths that start where the suite's do."""
    mimic.write_patients(tmp_path)
    mimic.write_labels(root)
    files = f"{mimic.PATIENTS},{mimic.ADMISSIONS},root/{mimic.CHEXPERT}"
    corpus = load_corpus(f"mimic-cxr:root?attributes={files}", base=tmp_path)
    first, third = known(corpus, 0), known(corpus, 2)
    assert list(first)[:5] == ["sex", "age", "dod", "race", "marital_status"]
    assert len(first) == 5 + 14
    assert [first[name] for name in ("sex", "age", "dod")] == ["F", "40", ""]
    assert [first[name] for name in ("race", "marital_status")] == ["A-hush", ""]
    assert [third[name] for name in ("sex", "race")] == ["M", "A-hush"]
    (note,) = corpus.notes[1:]
    assert note == (
        f"{mimic.ADMISSIONS}: rows of one subject_id differ, the first value counts: race of 1"
    )


def test_the_most_specific_key_counts(root: Path, tmp_path: Path) -> None:
    """And the index of pandas, identifiers and words for nothing are no attributes."""
    path = tmp_path / "own.csv"
    row = mimic.split_rows()[1]
    path.write_text(
        ";Unnamed: 0;subject_id;study_id;dicom_id;stay_id;Reading Site\n"
        f"0;0;{row['subject_id']};{row['study_id']};{row['dicom_id']};7;north\n"
        f"1;1;{row['subject_id']};{row['study_id']};hush;7;south\n"
        f"1;1;{row['subject_id']};{row['study_id']};{mimic.dicom_id(1, 0)};7;NaN\n"
    )
    corpus = load(root, f"?attributes={path}")
    assert known(corpus, 0, 1) == {"reading_site": "north"}
    assert known(corpus, 0, 0) == known(corpus, 1) == {"reading_site": ""}
    assert corpus.notes[1] == "own.csv has no row for 20 of 22 radiographs"


def test_an_attribute_of_two_tables(root: Path, tmp_path: Path) -> None:
    mimic.write_labels(root)
    shutil.copy(root / mimic.CHEXPERT, tmp_path / "negbio.csv.gz")
    text = fault(root, f"?attributes={root / mimic.CHEXPERT},{tmp_path / 'negbio.csv.gz'}")
    assert "attributes that are given twice" in text
    assert f"Edema (of {root / mimic.CHEXPERT} and of {tmp_path / 'negbio.csv.gz'})" in text
    (tmp_path / "own.csv").write_text("subject_id,sex,gender\n1,F,F\n")
    path = tmp_path / "own.csv"
    assert f"sex (of {path} and of {path})" in fault(root, f"?attributes={path}")
    (tmp_path / "own.csv").write_text("subject_id,sex,sex\n1,F,F\n")
    assert "columns that occur twice: sex" in fault(root, f"?attributes={path}")
    # One file named twice is one file.
    assert load(root, f"?attributes={root / mimic.CHEXPERT},{root / mimic.CHEXPERT}")


def test_faulty_tables_of_attributes(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    query = f"?attributes={path}"
    with pytest.raises(MissingError, match="no such file"):
        load(root, query)
    path.write_text("hush,sex\nhush,F\n")
    assert "has none of the columns dicom_id, radiograph_id" in fault(root, query)
    path.write_text("")
    assert "has none of the columns dicom_id, radiograph_id" in fault(root, query)
    path.write_text(f"subject_id,sex\n{mimic.STUDIES[0].subject},F,hush\n")
    assert "1 faulty rows:\n  - row 1: more cells than columns" in fault(root, query)
    path.write_text('subject_id,sex\n"hush')
    assert "not a CSV table (unexpected end of data)" in fault(root, query)
    path.write_bytes(b"subject_id,sex\nhush,\xff\n")
    assert "not UTF-8" in fault(root, query)
    packed = tmp_path / "own.csv.gz"
    packed.write_bytes(gzip.compress(b"subject_id,sex\nhush,F\n")[:-9])
    assert "cannot be read (EOFError)" in fault(root, f"?attributes={packed}")
    path.rename(tmp_path / "own.jsonl")
    text = fault(root, f"?attributes={tmp_path / 'own.jsonl'}")
    assert "attributes are read from CSV tables only" in text


# Splits -------------------------------------------------------------------------------------------


def test_a_split_of_the_specification(root: Path) -> None:
    assert load(root, "?split=test").fingerprint == load(root, split="test").fingerprint
    assert load(root, "?split=test").fields["split"] == "test"
    assert load(root, "?split=test", split="test").fields["split"] == "test"
    text = fault(root, "?split=test", split="train")
    assert "the split is 'test' here, and 'train' beside it" in text
    assert "name it once" in text
    assert "split is 'dev'" in fault(root, "?split=dev")


# The command --------------------------------------------------------------------------------------


def test_the_command_names_nobody(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OCCLUSION_STORE", str(tmp_path / "store"))
    mimic.write_patients(root)
    path = root / mimic.SECTIONED
    mimic.write_table(path, mimic.sectioned_rows())
    query = f"?split=test&reports={path}&attributes={root / mimic.ADMISSIONS}"
    assert main(["corpus", f"mimic-cxr:{root}{query}"]) == 0
    out = capsys.readouterr().out
    assert "corpus mimic-cxr, split test, views all" in out
    assert "note: texts are the sections of" in out
    assert not shown_secrets(out)
