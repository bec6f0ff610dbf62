"""MIMIC-CXR from its real layout: counts at each step, every refusal, and nobody's name in any."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_occlusion.__main__ import main
from pytest_occlusion.corpora import Corpus, load_corpus, mimic_cxr
from pytest_occlusion.corpora import files as files_module
from pytest_occlusion.corpora.base import Request
from pytest_occlusion.corpora.digests import file_digest
from pytest_occlusion.corpora.files import FileState, content_digests
from pytest_occlusion.corpora.images import ImageFault
from pytest_occlusion.corpora.task import build_task
from pytest_occlusion.engine.store import Store
from pytest_occlusion.errors import MissingError, OcclusionError
from tests.corpora import mimic

pytest.importorskip("pydicom")

SHAPES = [("jpg", "zip"), ("jpg", "folder"), ("dicom", "zip"), ("dicom", "folder")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return mimic.write_tree(tmp_path / "root")


def load(root: Path, query: str = "", split: str = "", **more: Any) -> Corpus:
    return load_corpus(f"mimic-cxr:{root}{query}", split=split, **more)


def fault(root: Path, query: str = "", split: str = "", **more: Any) -> str:
    with pytest.raises(OcclusionError) as caught:
        load(root, query, split, **more)
    assert caught.value.remedy
    text = str(caught.value)
    assert not shown_secrets(text)
    # What a traceback would show besides: causes and contexts hold file names.
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return text


def shown_secrets(text: str) -> list[str]:
    return [secret for secret in mimic.secrets() if secret in text]


def counts(corpus: Corpus) -> list[tuple[str, int, int]]:
    return [(step.name.strip(), step.studies, step.radiographs) for step in corpus.steps]


# What is read ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("images", "reports"), SHAPES)
def test_every_release_gives_the_same_studies(tmp_path: Path, images: str, reports: str) -> None:
    corpus = load(mimic.write_tree(tmp_path, images=images, reports=reports))
    assert corpus.name == "mimic-cxr"
    assert counts(corpus) == [
        ("in the validate split", 13, 22),
        ("with a report", 13, 22),
        ("with findings", 9, 16),
        ("with impression", 9, 16),
        ("with findings or impression", 10, 17),
        ("with an image file", 10, 17),
    ]
    assert (len(corpus.studies), len(corpus.radiographs)) == (10, 17)
    assert corpus.fields["images"] == images
    assert corpus.fields["without_headings"] == 1
    assert corpus.notes == (mimic_cxr.LICENCE,)
    kept = [number for number, one in enumerate(mimic.STUDIES[:13]) if number not in (7, 10, 11)]
    assert sorted(study.key for study in corpus.studies) == sorted(map(mimic.study_id, kept))
    for radiograph in corpus.radiographs:
        number = (int(corpus.studies[radiograph.study].key) - 50_414_267) // 11
        picture = np.asarray(radiograph.open())
        wanted = mimic.pattern(mimic.STUDIES[number].case)
        if images == "jpg":
            picture = picture[1::2, 1::2]
        assert picture.dtype == np.uint8
        assert np.abs(picture.astype(int) - wanted).max() <= (12 if images == "jpg" else 1)


def test_sections_of_awkward_reports(root: Path) -> None:
    found = {
        mimic.STUDIES[(int(study.key) - 50_414_267) // 11].kind: study
        for study in load(root).studies
    }
    said = {
        kind: (study.findings.count("hush"), study.impression.count("hush"))
        for kind, study in found.items()
    }
    assert said == {
        "plain": (1, 1), "title": (1, 1), "bare": (1, 1), "joint": (1, 1), "conclusion": (0, 1),
        "findings": (1, 0), "wet": (1, 1), "addendum": (1, 2),
    }  # fmt: skip
    assert found["wet"].impression == "Case 8 of hush-report, number 8. Normal."
    assert "hasty" in found["wet"].report
    assert found["conclusion"].impression.endswith("The findings were told to ___.")


def test_distinct_texts(root: Path) -> None:
    corpus = load(root)
    task = build_task(corpus, text_rule="findings+impression", candidates="texts")
    assert len(task.texts) == 9  # two studies say the same
    joint = next(text for text in task.texts if text.startswith("Case 4 "))
    assert joint.count("Case 4") == 1  # under one heading for both, said once
    assert len(build_task(corpus, text_rule="impression", candidates="studies").candidate_text) == 9


@pytest.mark.parametrize(("split", "studies"), [("train", 5), ("test", 3), ("validate", 10)])
def test_splits(root: Path, split: str, studies: int) -> None:
    assert len(load(root, split=split).studies) == studies
    assert load(root, split=split).fingerprint != load(root, "?per-study=one").fingerprint


def test_views_and_one_per_study(root: Path) -> None:
    frontal = load(root, "?views=frontal")
    assert counts(frontal)[1] == ("frontal (PA, AP)", 12, 15)
    assert (len(frontal.studies), len(frontal.radiographs)) == (9, 11)
    assert {one.view for one in frontal.radiographs} == {"PA", "AP"}
    assert {one.view for one in load(root).radiographs} == {"PA", "AP", "lateral", ""}
    single = load(root, "?per-study=one")
    assert (len(single.studies), len(single.radiographs)) == (10, 10)
    assert [one.view for one in single.radiographs].count("PA") == 6
    assert load(root, "?views=frontal&per-study=one&missing=0.1").steps[-1].radiographs == 9


def test_rows_and_order(root: Path) -> None:
    """Radiographs are named by their rows; the order of the table decides nothing."""
    corpus = load(root)
    positions = [one.study for one in corpus.radiographs]
    patients = [study.patient for study in corpus.studies]
    assert (positions, patients) == (sorted(positions), sorted(patients))
    rows = [one["dicom_id"] for one in mimic.split_rows()]
    for one in corpus.radiographs:
        assert one.where == f"row {rows.index(one.key) + 1}"
    mimic.write_table(root / mimic.SPLIT_TABLE, mimic.split_rows()[::-1])
    assert load(root).fingerprint == corpus.fingerprint


@pytest.mark.parametrize("place", ["files", "studies", "flat", "zip", "prefixed"])
def test_reports_elsewhere(tmp_path: Path, place: str) -> None:
    root = mimic.write_tree(tmp_path / "root", reports="none")
    beside = mimic.write_tree(tmp_path / "other", reports="folder")
    if place == "files":
        query = "?reports=other"
    elif place == "studies":
        query = "?reports=other/files"
    elif place == "flat":
        (tmp_path / "flat").mkdir()
        for report in beside.rglob("*.txt"):
            shutil.copy(report, tmp_path / "flat")
        query = "?reports=flat"
    else:
        mimic.write_zip(tmp_path / "r.zip", prefix="deep/" if place == "prefixed" else "")
        query = "?reports=r.zip"
    corpus = load_corpus(f"mimic-cxr:root{query}", base=tmp_path)
    assert corpus.fingerprint == load(mimic.write_tree(tmp_path / "plain")).fingerprint
    assert root.is_dir()


def test_tables_elsewhere_and_unpacked(tmp_path: Path) -> None:
    root = mimic.write_tree(tmp_path / "root", images="dicom")
    (tmp_path / "tables").mkdir()
    for name in (mimic.SPLIT_TABLE, mimic.METADATA_TABLE):
        plain = gzip.decompress((root / name).read_bytes())
        (tmp_path / "tables" / name.removesuffix(".gz")).write_bytes(b"\xef\xbb\xbf" + plain)
        (root / name).unlink()
    corpus = load_corpus("mimic-cxr:root?tables=tables&views=frontal", base=tmp_path)
    assert len(corpus.radiographs) == 11


def test_without_metadata_views_are_unknown(tmp_path: Path) -> None:
    corpus = load(mimic.write_tree(tmp_path, metadata=False))
    assert {one.view for one in corpus.radiographs} == {""}
    assert len(corpus.radiographs) == 17


def test_both_kinds_of_image(root: Path) -> None:
    """JPG is taken where there is any, unless DICOM is asked for."""
    mimic.write_tree(root.parent / "dicom", images="dicom")
    shutil.copytree(root.parent / "dicom" / "files", root / "files", dirs_exist_ok=True)
    assert load(root).fields["images"] == "jpg"
    assert load(root, "?images=dicom").fields["images"] == "dicom"
    assert load(root, "?images=dicom").fingerprint != load(root).fingerprint


def test_the_collection_is_only_read(root: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    for path in before:
        path.chmod(stat.S_IRUSR | (stat.S_IXUSR if path.is_dir() else 0))
    load(root, memory=Store(tmp_path / "store"))
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    for path in before:
        path.chmod(0o700)


def test_a_report_that_is_not_utf8(tmp_path: Path) -> None:
    root = mimic.write_tree(tmp_path, reports="folder")
    path = (root / mimic.STUDIES[1].folder(1)).with_suffix(".txt")
    path.write_bytes("FINDINGS: ±1 cm".encode("latin-1"))
    assert "±1 cm" in [study.findings for study in load(root).studies]


# What is missing ---------------------------------------------------------------------------------


def image_path(root: Path, number: int, view: int = 0) -> Path:
    return root / mimic.STUDIES[number].folder(number) / f"{mimic.dicom_id(number, view)}.jpg"


def test_missing_images_are_counted_and_named_by_row(root: Path) -> None:
    image_path(root, 0).unlink()  # row 1
    image_path(root, 1).write_bytes(b"")  # row 3
    text = fault(root)
    assert "2 of 17 image files and 0 of 13 reports are missing" in text
    assert "row 1: its image file does not exist" in text
    assert "row 3: its image file is empty" in text
    assert "missing=2" in text
    fault(root, "?missing=1")
    fault(root, "?missing=0.1")
    for allowed in ("2", "0.2"):
        corpus = load(root, f"?missing={allowed}")
        assert (len(corpus.studies), len(corpus.radiographs)) == (9, 15)
        assert corpus.fields["missing_images"] == 2
        assert corpus.notes[1] == (
            "a partial download: 2 of 17 image files and 0 of 13 reports are missing"
        )


def test_only_what_is_wanted_can_be_missing(root: Path) -> None:
    for number, study in enumerate(mimic.STUDIES):
        if study.split != "validate" or study.kind in ("headless", "marks", "empty"):
            shutil.rmtree(root / study.folder(number))
    assert len(load(root).radiographs) == 17


@pytest.mark.parametrize("reports", ["zip", "folder"])
def test_missing_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reports: str) -> None:
    changed = list(mimic.STUDIES)
    for number in (2, 4):
        one = changed[number]
        changed[number] = mimic.MimicStudy("none", one.views, one.patient, one.split, one.case)
    monkeypatch.setattr(mimic, "STUDIES", changed)
    root = mimic.write_tree(tmp_path, reports=reports)
    text = fault(root)
    assert "0 of 13 image files and 2 of 13 reports are missing" in text
    assert "row 4: its report does not exist" in text
    assert "row 8: its report does not exist" in text
    corpus = load(root, "?missing=2")
    assert counts(corpus)[1] == ("with a report", 11, 18)
    assert corpus.fields["missing_reports"] == 2


def test_long_lists_are_cut(root: Path) -> None:
    shutil.rmtree(root / "files")
    rows = mimic.split_rows()
    extra = [{**rows[0], "dicom_id": f"hush-{number}"} for number in range(10)]
    mimic.write_table(root / mimic.SPLIT_TABLE, rows + extra)
    text = fault(root)
    assert "27 of 27 image files" in text
    assert "... and 7 more" in text


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?view=frontal", "unknown option 'view'"),
        ("?views=lateral", "views is 'lateral'"),
        ("?per-study=two", "per-study is 'two'"),
        ("?images=gif", "images is 'gif'"),
        ("?missing=some", "missing is 'some'"),
    ],
)
def test_faulty_options(root: Path, query: str, said: str) -> None:
    assert said in fault(root, query)


def test_faulty_places(root: Path, tmp_path: Path) -> None:
    assert "split is 'dev'" in fault(root, split="dev")
    with pytest.raises(OcclusionError, match="names no folder"):
        load_corpus("mimic-cxr:")
    with pytest.raises(MissingError, match="no such folder"):
        load(tmp_path / "nothing")
    with pytest.raises(MissingError, match="no such file or folder"):
        load(root, "?reports=nowhere.zip")
    assert "there is no mimic-cxr-2.0.0-split.csv.gz" in fault(tmp_path)


def test_metadata_is_needed_to_choose_views(tmp_path: Path) -> None:
    root = mimic.write_tree(tmp_path, metadata=False)
    for query in ("?views=frontal", "?per-study=one"):
        assert "there is no mimic-cxr-2.0.0-metadata.csv.gz" in fault(root, query)


def damage_rows(root: Path, **changes: str) -> str:
    rows = mimic.split_rows()
    rows[1].update(changes)
    mimic.write_table(root / mimic.SPLIT_TABLE, rows)
    return fault(root)


def test_faulty_rows(root: Path) -> None:
    said = "1 faulty rows in the validate split:\n  - row 2: "
    for identifier in ("", "../../hush", "hush/x", "a" * 200, "hu\nsh"):
        assert said + "dicom_id or study_id is empty" in damage_rows(root, dicom_id=identifier)
    assert said + "dicom_id or study_id is empty" in damage_rows(root, study_id="hush")
    assert said + "subject_id is empty" in damage_rows(root, subject_id="")
    assert said + "the same dicom_id as in row 1" in damage_rows(
        root, dicom_id=mimic.dicom_id(0, 0)
    )
    assert said + "the study of row 1, with another subject_id" in damage_rows(
        root, subject_id=mimic.STUDIES[4].subject
    )


def test_faulty_tables(root: Path) -> None:
    path = root / mimic.SPLIT_TABLE
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "cannot be read (EOFError)" in fault(root)
    path.write_bytes(b"hush, no gzip at all")
    assert "cannot be read (BadGzipFile)" in fault(root)
    path.write_bytes(gzip.compress(b"\xff\xfe\x00"))
    assert "not UTF-8 (byte 0)" in fault(root)
    path.write_bytes(gzip.compress(b""))
    assert "missing columns dicom_id, study_id, subject_id, split" in fault(root)
    path.write_bytes(gzip.compress(b"dicom_id,study_id,subject_id,split\nhush,1\n"))
    assert "row 1: fewer cells than columns" in fault(root)
    path.write_bytes(gzip.compress(b"dicom_id,study_id,subject_id,split\n\nhush,1,1,dev\n"))
    assert "no row is in the validate split (1 rows are in none of" in fault(root)
    path.write_bytes(gzip.compress(b'dicom_id,study_id,subject_id,split\n"hush'))
    assert "not a CSV table (unexpected end of data)" in fault(root)


def test_faulty_archives(root: Path) -> None:
    path = root / mimic.REPORTS
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    assert "not a zip file that can be read (BadZipFile)" in fault(root)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hush.txt", "hush")
    assert "holds no reports" in fault(root)
    with zipfile.ZipFile(path, "w") as archive:
        for number, study in enumerate(mimic.STUDIES):
            text = "hush" * (1 << 20) if number == 1 else study.report
            archive.writestr(f"{study.folder(number)}.txt", text)
    text = fault(root, "?missing=0.9")
    assert "1 reports of the corpus 'mimic-cxr' cannot be read" in text
    assert "row 3: its report is damaged (ValueError)" in text
    spoilt = bytearray(whole)
    spoilt[60 + len(mimic.STUDIES[0].folder(0))] ^= 0xFF  # inside the first report
    path.write_bytes(bytes(spoilt))
    assert "row 1: its report is damaged" in fault(root)


def test_no_reports_at_all(tmp_path: Path) -> None:
    root = mimic.write_tree(tmp_path, reports="none")
    assert "holds no report of the split" in fault(root, "?missing=0.9")


def test_pydicom_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = mimic.write_tree(tmp_path, images="dicom")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert 'pip install "pytest-occlusion[mimic]"' in fault(root)


def test_an_unreadable_image(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(files_module, "file_digest", refuse)
    text = fault(root)
    assert "17 image files cannot be read" in text
    assert "row 1: its image file cannot be read (Permission denied)" in text


def test_a_limit_to_the_size_of_pictures(root: Path) -> None:
    small = next(one for one in load(root, "?max-pixels=7").radiographs if one.where == "row 1")
    with pytest.raises(ImageFault, match=r"row 1: .* more than max-pixels=7"):
        small.open()


def test_damaged_images_say_no_name(tmp_path: Path) -> None:
    for images, suffix in (("jpg", "jpg"), ("dicom", "dcm")):
        root = mimic.write_tree(tmp_path / images, images=images)
        path = image_path(root, 0).with_suffix(f".{suffix}")
        path.write_bytes(path.read_bytes()[:300])
        first = next(one for one in load(root).radiographs if one.where == "row 1")
        with pytest.raises(ImageFault) as caught:
            first.open()
        assert not shown_secrets(str(caught.value))
        assert str(root) not in str(caught.value)
        assert caught.value.__suppress_context__
        path.unlink()
        with pytest.raises(ImageFault, match="no such file"):
            first.open()


# Remembered digests ------------------------------------------------------------------------------


def settle(root: Path) -> None:
    for path in root.rglob("*.jpg"):
        os.utime(path, (1_700_000_000, 1_700_000_000))


def test_a_second_run_reads_no_image(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(root)
    store = Store(tmp_path / "store")
    first = load(root, memory=store)
    assert first.fingerprint == load(root).fingerprint
    reads: list[Path] = []

    def note(path: Path) -> str:
        reads.append(path)
        return file_digest(path)

    monkeypatch.setattr(files_module, "file_digest", note)
    assert load(root, memory=store).fingerprint == first.fingerprint
    assert reads == []
    changed = image_path(root, 0)
    changed.write_bytes(image_path(root, 1).read_bytes())
    os.utime(changed, (1_700_000_001, 1_700_000_001))
    assert load(root, memory=store).fingerprint != first.fingerprint
    assert reads == [changed]
    load(root, split="test", memory=store)
    assert len(reads) == 7
    assert load(root, memory=store, contents=False).radiographs[0].content == ""
    assert len(reads) == 7


def test_what_is_remembered_names_nobody(root: Path, tmp_path: Path) -> None:
    settle(root)
    load(root, memory=Store(tmp_path / "store"))
    files = [path for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert any(path.parent.parent.name == "contents" for path in files)
    for path in files:
        assert path.suffix == ".lock" or stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not [s for s in mimic.secrets() if s.encode() in path.read_bytes() or s in str(path)]


def test_fresh_files_are_not_remembered(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    entry = (tmp_path / "a").stat()
    files = [FileState("a", 1, entry.st_mtime_ns), FileState("gone", 1, 5)]
    asked = Request("", tmp_path, memory=Store(tmp_path / "store"))
    found, faults = content_digests(tmp_path, files, asked)
    assert faults == [(1, "its image file cannot be read (No such file or directory)")]
    (tmp_path / "a").write_bytes(b"2")  # of the same size, in the same tick
    again, _ = content_digests(tmp_path, files, asked)
    assert again[0] != found[0]
    assert again[0] == content_digests(tmp_path, files, Request("", tmp_path))[0][0]


def test_long_reading_says_how_far_it_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_occlusion.corpora.progress.FIRST", 0.0)
    monkeypatch.setattr("pytest_occlusion.corpora.progress.EVERY", 0.0)
    lines: list[str] = []
    load(root, say=lines.append)
    reports = [line for line in lines if " reports (" in line]
    images = [line for line in lines if " image files (" in line]
    assert reports[-1].startswith(f"corpus: reading: {len(reports)} of {len(reports)} reports")
    assert images[-1].startswith(f"corpus: reading: {len(images)} of {len(images)} image files")
    assert not shown_secrets("".join(lines))


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number}" for number in range(6)]
    for name in names:
        (tmp_path / name).write_text(name)
    files = [FileState(name, 1, 5) for name in names]
    monkeypatch.setattr(files_module, "BATCH", 2)
    reads: list[str] = []

    def note(path: Path) -> str:
        reads.append(path.name)
        return file_digest(path)

    def stumble(path: Path) -> str:
        if path.name == "4":
            raise KeyboardInterrupt
        return note(path)

    monkeypatch.setattr(files_module, "file_digest", stumble)
    asked = Request("", tmp_path, memory=Store(tmp_path / "store"))
    with pytest.raises(KeyboardInterrupt):
        content_digests(tmp_path, files, asked)
    reads.clear()
    monkeypatch.setattr(files_module, "file_digest", note)
    found = content_digests(tmp_path, files, asked)
    assert sorted(reads) == ["4", "5"]
    assert found == content_digests(tmp_path, files, Request("", tmp_path))


# The command --------------------------------------------------------------------------------------


def test_the_command_counts(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OCCLUSION_STORE", str(tmp_path / "store"))
    assert main(["corpus", f"mimic-cxr:{root}"]) == 0
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert max(map(len, out.splitlines())) < 80
    last = lines.index("this selection 10 17") + 1
    assert " ".join(lines[last:]) == (
        "The counts differ by -984 studies and -1,753 radiographs: the paper does not say which "
        "views, which sections or which part of the split it kept. Numbers of this corpus are not "
        "those of the paper's table."
    )
    assert lines[:last] == [
        "corpus mimic-cxr, split validate, views all",
        f"note: {mimic_cxr.LICENCE}",
        "",
        "studies radiographs",
        "in the validate split 13 22",
        "with a report 13 22",
        "with findings 9 16",
        "with impression 9 16",
        "with findings or impression 10 17",
        "with an image file 10 17",
        "",
        "patients 6",
        "reports without headings, left 1",
        "queries (radiographs) 17",
        "distinct texts 9 (rule findings+impression)",
        "candidates 9 (texts)",
        "group-by knows view",
        "",
        "Deanda et al. 2025, validate 994 1,770",
        "this selection 10 17",
    ]
    assert not shown_secrets(out)
    assert main(["corpus", f"mimic-cxr:{root}", "--split", "test", "--fingerprint"]) == 0
    out = capsys.readouterr().out
    assert "Deanda" not in out
    assert out.splitlines()[-1] == f"fingerprint {load(root, split='test').fingerprint}"
    image_path(root, 0).unlink()
    assert main(["corpus", f"mimic-cxr:{root}"]) == 2
    assert not shown_secrets(capsys.readouterr().err)


def test_counts_that_agree(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mimic_cxr, "PAPER", (10, 17))
    main(["corpus", f"mimic-cxr:{root}"])
    assert capsys.readouterr().out.splitlines()[-1] == "The counts agree."


def test_tracebacks_name_nobody(root: Path) -> None:
    corpus = load(root)
    assert not shown_secrets(repr(corpus))
    assert not shown_secrets(repr(corpus.studies[0]) + repr(corpus.radiographs[0]))
