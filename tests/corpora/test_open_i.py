"""Open-i with its real radiographs, on a miniature of what NLM distributes."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.__main__ import main
from pytest_occlusion.corpora import Corpus, load_corpus
from pytest_occlusion.corpora import open_i as corpus_module
from pytest_occlusion.corpora.images import ImageFault
from pytest_occlusion.corpora.open_i import image_key, parse_report, read_reports
from pytest_occlusion.errors import MissingError, OcclusionError
from tests.corpora import open_i
from tests.corpora.open_i import CASES


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return open_i.write_tree(tmp_path / "open-i")


def load(root: Path, query: str = "", **more: Any) -> Corpus:
    return load_corpus(f"open-i:{root}{query}", **more)


def fault(root: Path, query: str = "", kind: type[OcclusionError] = OcclusionError) -> str:
    with pytest.raises(kind) as caught:
        load(root, query)
    assert caught.value.remedy
    return str(caught.value)


def shown(corpus: Corpus) -> list[tuple[str, str, str, int]]:
    return [
        (
            one.key,
            one.view,
            corpus.studies[one.study].key,
            int(np.asarray(one.open(), dtype=int).max()),
        )
        for one in corpus.radiographs
    ]


EXPECTED = [
    ("CXR1_1_IM-0001-3001", "PA", "CXR1", 1),
    ("CXR1_1_IM-0001-4001", "lateral", "CXR1", 6),
    ("CXR10_IM-0002-1001", "frontal", "CXR10", 21),
    ("CXR10_IM-0002-2001", "lateral", "CXR10", 26),
    ("CXR100_IM-0002-1001", "AP", "CXR100", 41),
    ("CXR101_IM-7-1-1", "PA", "CXR101", 61),
    ("CXR101_IM-7-1-2", "lateral", "CXR101", 66),
    ("CXR101_IM-8-1", "", "CXR101", 71),
]


# What is read ------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", ["png", "flat", "dicom", "both"])
@pytest.mark.parametrize("reports", ["folder", "tgz"])
def test_every_distribution_gives_the_same_studies(
    tmp_path: Path, images: str, reports: str
) -> None:
    corpus = load(open_i.write_tree(tmp_path / "r", images=images, reports=reports))
    assert shown(corpus) == EXPECTED
    assert corpus.studies[0].report == "Case 0 clear.\nNormal 0."
    assert corpus.studies[2].impression == "Case 2 normal."
    assert corpus.fields["files"] == ("dicom" if images == "dicom" else "png")
    if images == "both":
        assert load(tmp_path / "r", "?images=dicom").fields["files"] == "dicom"
    assert corpus.fields["images"] == "real"
    assert not any("torchxrayvision" in note for note in corpus.notes)
    assert any("CC BY-NC-ND" in note for note in corpus.notes)


def test_frontal_radiographs_as_cxr_clip_takes_them(root: Path) -> None:
    corpus = load(root, "?views=frontal")
    assert shown(corpus) == [one for one in EXPECTED if one[1] in ("PA", "AP", "frontal")]
    assert corpus.fields["views"] == "frontal"


def test_every_filter_is_counted(root: Path) -> None:
    steps = load(root, "?views=frontal").steps
    assert [(step.name, step.studies, step.radiographs) for step in steps] == [
        ("in the collection", 6, 9),
        ("  with findings", 3, 7),
        ("  with impression", 3, 6),
        ("with findings or impression", 4, 8),
        ("frontal (PA, AP, frontal)", 4, 4),
        ("with an image file", 4, 4),
    ]


def test_reports_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The miniature's archive stands where pip would have put the real one."""
    root = open_i.write_tree(tmp_path / "r", reports="none")
    open_i.write_archive(tmp_path / "packaged.tgz")
    monkeypatch.setattr(corpus_module, "archive_path", lambda: tmp_path / "packaged.tgz")
    corpus = load(root)
    assert shown(corpus) == EXPECTED
    assert corpus.notes[0].endswith("read from torchxrayvision")


@pytest.mark.parametrize("place", ["elsewhere/ecgen-radiology", "elsewhere", "elsewhere.tgz"])
def test_reports_elsewhere(root: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.move(root / "ecgen-radiology", tmp_path / "elsewhere")
    open_i.write_archive(tmp_path / "elsewhere.tgz")
    corpus = load_corpus(f"open-i:open-i?reports={place}", base=tmp_path)
    assert shown(corpus) == EXPECTED


def test_links_are_followed(root: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "pictures").symlink_to(root / "NLMCXR_png")
    (linked / "ecgen-radiology").symlink_to(root / "ecgen-radiology")
    (linked / "loop").symlink_to(linked)
    assert shown(load(linked)) == EXPECTED


def test_the_limit_of_pixels_reaches_the_decoder(root: Path) -> None:
    with pytest.raises(ImageFault, match=r"radiograph 1: .* more than max-pixels=79"):
        load(root, "?max-pixels=79").radiographs[0].open()


def test_the_command_counts(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", f"open-i:{root}?views=frontal"]) == 0
    text = capsys.readouterr().out
    assert "corpus open-i, views frontal" in text
    assert "frontal (PA, AP, frontal)                4            4" in text


# Partial downloads -------------------------------------------------------------------------------


def test_missing_radiographs_are_counted_and_named(root: Path) -> None:
    (root / "NLMCXR_png" / "CXR10_IM-0002-2001.png").unlink()
    (root / "NLMCXR_png" / "CXR101_IM-8-1.png").write_bytes(b"")
    text = fault(root)
    assert f"{root}: 2 of 8 image files and 0 of 6 reports are missing:\n" in text
    assert "  - CXR10_IM-0002-2001: its image file does not exist\n" in text
    assert "  - CXR101_IM-8-1: its image file is empty\n" in text
    assert "open-i:ROOT?missing=2 (or a share below 1)" in text
    assert "2 of 8" in fault(root, "?missing=1")
    for allowed in ("?missing=2", "?missing=0.25"):
        corpus = load(root, allowed)
        assert len(corpus.radiographs) == 6
        assert corpus.fields["missing_images"] == 2
        assert (
            "a partial download: 2 of 8 image files and 0 of 6 reports are missing" in corpus.notes
        )


def test_only_what_is_wanted_can_be_missing(root: Path) -> None:
    (root / "NLMCXR_png" / "CXR10_IM-0002-2001.png").unlink()
    assert len(load(root, "?views=frontal").radiographs) == 4


def test_missing_reports_are_counted_and_named(root: Path) -> None:
    (root / "ecgen-radiology" / "100.xml").unlink()
    text = fault(root)
    assert "0 of 7 image files and 1 of 6 reports are missing:\n" in text
    assert "  - CXR100: its report does not exist\n" in text
    corpus = load(root, "?missing=1")
    assert len(corpus.studies) == 3
    assert corpus.fields["missing_reports"] == 1


def test_no_radiograph_at_all_is_never_a_partial_download(root: Path) -> None:
    shutil.rmtree(root / "NLMCXR_png")
    assert "8 of 8 image files" in fault(root)
    assert "8 of 8 image files" in fault(root, "?missing=0.999")
    assert "8 of 8 image files" in fault(root, "?missing=8")


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?views=lateral", "views is 'lateral'\n  -> known: all, frontal"),
        ("?images=jpg", "images is 'jpg'\n  -> known: auto, png, dicom"),
        ("?per-study=one", "unknown option 'per-study'"),
        ("?reports=nowhere", "no such file or folder\n  -> reports= names NLMCXR_reports.tgz"),
    ],
)
def test_faulty_options(root: Path, query: str, said: str) -> None:
    assert said in fault(root, query)


def test_faulty_places(root: Path, tmp_path: Path) -> None:
    assert "nowhere: no such folder" in fault(tmp_path / "nowhere", kind=MissingError)
    (tmp_path / "empty").mkdir()
    assert "empty: holds no reports of Open-i" in fault(root, f"?reports={tmp_path / 'empty'}")


def test_damaged_reports_are_listed(root: Path) -> None:
    folder = root / "ecgen-radiology"
    (folder / "1.xml").write_text("<eCitation>")
    (folder / "10.xml").write_text("<eCitation/>")
    (folder / "100.xml").write_text(open_i.xml_of(CASES[3]))
    (folder / "102.xml").write_bytes(b"<" + b" " * (1 << 20))
    text = fault(root)
    assert f"{folder}: 4 reports cannot be read:" in text
    assert "1.xml: no XML (no element found" in text
    assert "10.xml: holds no report of Open-i" in text
    assert "101.xml: CXR101 once more" in text
    assert "102.xml: too long for a report" in text
    assert "fetch NLMCXR_reports.tgz again" in text


def test_a_damaged_archive(tmp_path: Path) -> None:
    root = open_i.write_tree(tmp_path / "r", reports="tgz")
    path = root / "NLMCXR_reports.tgz"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert f"{path}: a damaged archive" in fault(root)


def test_pydicom_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = open_i.write_tree(tmp_path / "r", images="dicom")
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    assert 'pip install "pytest-occlusion[mimic]"' in fault(root)


def test_entities_do_not_grow_without_bounds() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a0 "ha">'
    bomb += "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    with pytest.raises(ValueError, match="no XML"):
        parse_report(f"{bomb}]><eCitation>&a9;</eCitation>".encode())


# Names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("CXR1_1_IM-0001-3001", "CXR1_IM-0001-3001"),
        ("NLMCXR_png/CXR1_1_IM-0001-3001.png", "CXR1_IM-0001-3001"),
        ("NLMCXR_dcm/1/1_IM-0001-3001.dcm", "CXR1_IM-0001-3001"),
        ("images/images_normalized/1_IM-0001-3001.dcm.png", "CXR1_IM-0001-3001"),
        ("NLMCXR_dcm/CXR1/IM-0001-3001.DCM", "CXR1_IM-0001-3001"),
        ("CXR1016_IM-0013-0001-0002", "CXR1016_IM-0013-0001-0002"),
        ("IM-0001-3001.png", "IM-0001-3001"),
        ("some/other.file.png", "other.file"),
        ("name.with.dots", "name.with.dots"),
    ],
)
def test_spellings_of_an_image(name: str, key: str) -> None:
    assert image_key(name) == key


@pytest.mark.skipif(find_spec("torchxrayvision") is None, reason="needs torchxrayvision's reports")
def test_images_of_the_collection_are_not_confused() -> None:
    reports = list(read_reports(corpus_module.archive_path()))
    images = [image for report in reports for image in report.images]
    assert len({image_key(image) for image in images}) == len(images) == 7470
    assert all(image_key(i).startswith(f"{r.study.key}_") for r in reports for i in r.images)


@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_only_value_errors_escape_from_xml(data: bytes) -> None:
    for payload in (data, b'<eCitation><uId id="CXR1"/>' + data + b"</eCitation>"):
        try:
            report = parse_report(payload)
        except ValueError:
            continue
        assert len(report.images) == len(report.views)
