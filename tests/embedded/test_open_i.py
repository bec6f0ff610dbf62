"""Open-i: reports read where pip put them, pictures drawn from their MeSH codes."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

from pytest_occlusion.corpora import load_corpus, open_i
from pytest_occlusion.corpora.base import Corpus, Study
from pytest_occlusion.corpora.open_i import (
    OpenIReport,
    read_reports,
    views_from_captions,
)
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion_fixtures.findings import BOTH, LEFT, RIGHT, Finding
from pytest_occlusion_fixtures.open_i import study_from_mesh

installed = pytest.mark.skipif(
    find_spec("torchxrayvision") is None,
    reason='needs the reports that torchxrayvision carries: pip install "pytest-occlusion[open-i]"',
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_corpus("open-i")


@installed
def test_counts_are_those_of_the_collection(corpus: Corpus) -> None:
    assert corpus.fields["reports"] == 3955
    assert corpus.fields["with_findings"] == 3425
    assert corpus.fields["with_findings_or_impression"] == 3927
    assert len(corpus.studies) == 3826
    assert len(corpus.radiographs) == 7430
    assert len({r.key for r in corpus.radiographs}) == 7430
    views = [radiograph.view for radiograph in corpus.radiographs]
    assert 3200 < views.count("lateral") < 3500


@installed
def test_the_licence_is_said_and_the_package_not_imported(corpus: Corpus) -> None:
    assert any("CC BY-NC-ND 4.0" in note for note in corpus.notes)
    assert "torchxrayvision" not in sys.modules


@installed
def test_every_kept_study_has_a_text_and_a_picture(corpus: Corpus) -> None:
    assert all(study.findings or study.impression for study in corpus.studies)
    assert {r.study for r in corpus.radiographs} == set(range(len(corpus.studies)))
    image = corpus.radiographs[1000].open()
    assert (image.mode, image.size) == ("L", (128, 128))
    assert image.tobytes() == corpus.radiographs[1000].open().tobytes()


def test_without_the_package_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_i, "find_spec", lambda name: None)
    with pytest.raises(OcclusionError, match=r'pip install "pytest-occlusion\[open-i\]"'):
        load_corpus("open-i")


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "NLMCXR_reports.tgz"
    path.write_bytes(b"not an archive")
    with pytest.raises(OcclusionError, match="damaged"):
        list(read_reports(path))


@pytest.fixture
def two_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    reports = [
        OpenIReport(Study("CXR2", "CXR2", ""), ("normal",), ("CXR2_a",), ("PA",)),
        OpenIReport(
            Study("CXR1", "CXR1", "Clear.", "Clear."),
            ("normal",),
            ("CXR1_a", "CXR1_b"),
            ("PA", "lateral"),
        ),
        OpenIReport(
            Study("CXR3", "CXR3", "Large heart.", "", "Large heart."), ("Cardiomegaly",), (), ()
        ),
    ]
    monkeypatch.setattr(open_i, "archive_path", lambda: Path("unused"))
    monkeypatch.setattr(open_i, "read_reports", lambda path: iter(reports))


@pytest.mark.usefixtures("two_reports")
def test_real_radiographs_take_the_place_of_phantoms(tmp_path: Path) -> None:
    for name, level in (("CXR1_a.png", 10), ("CXR1_b.jpg", 200)):
        Image.new("L", (30, 20), level).save(tmp_path / name)
    corpus = load_corpus(f"open-i:{tmp_path}")
    assert [study.key for study in corpus.studies] == ["CXR1"]
    assert [r.view for r in corpus.radiographs] == ["PA", "lateral"]
    assert corpus.radiographs[0].open().size == (30, 20)
    assert corpus.fields["images"] == "real"
    assert corpus.fields["with_findings_or_impression"] == 2
    assert corpus.radiographs[0].content != load_corpus("open-i").radiographs[0].content


@pytest.mark.usefixtures("two_reports")
def test_missing_radiographs_are_listed(tmp_path: Path) -> None:
    Image.new("L", (30, 20)).save(tmp_path / "CXR1_a.png")
    with pytest.raises(OcclusionError, match=r"1 of 2 image files .* missing:\n  - CXR1_b"):
        load_corpus(f"open-i:{tmp_path}")
    with pytest.raises(OcclusionError, match="no such folder"):
        load_corpus(f"open-i:{tmp_path}/nowhere")


@pytest.mark.parametrize(
    ("captions", "views"),
    [
        (["Xray Chest PA and Lateral"] * 2, ("PA", "lateral")),
        (["CHEST 2V FRONTAL/LATERAL XXXX, XXXX XXXX PM"] * 2, ("frontal", "lateral")),
        (["Chest, 2 views, XXXX XXXX"] * 2, ("frontal", "lateral")),
        (["Two-view chest. XXXX hours XXXX, XXXX."] * 2, ("frontal", "lateral")),
        (["CHEST, Two (2) Views XXXX"] * 2, ("frontal", "lateral")),
        (["Chest radiographs, 2 XXXX and lateral"] * 3, ("frontal", "lateral", "")),
        (["AP and lateral chest"] * 2, ("AP", "lateral")),
        (["portable AP chest"] * 2, ("AP", "AP")),
        (["PA and lateral chest"], ("PA",)),
        (["Chest X-XXXX XXXX"] * 2, ("frontal", "frontal")),
        ([], ()),
    ],
)
def test_views_come_from_captions(captions: list[str], views: tuple[str, ...]) -> None:
    assert views_from_captions(captions) == views


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        ("Cardiomegaly/borderline", Finding("cardiomegaly", "", "", 1)),
        ("Cardiomegaly/severe", Finding("cardiomegaly", "", "", 3)),
        ("Opacity/lung/base/left", Finding("opacity", LEFT, "base", 2)),
        ("Opacity/lung/middle lobe/right", Finding("opacity", RIGHT, "middle", 2)),
        ("Pulmonary Atelectasis/lingula", Finding("atelectasis", LEFT, "middle", 2)),
        ("Pulmonary Effusion/left", None),
        ("Pleural Effusion/bilateral/small", Finding("effusion", BOTH, "", 1)),
        ("Lung/hypoinflation/mild", Finding("hypoinflation", "", "", 1)),
        ("Lung/hyperdistention", Finding("hyperinflation", "", "", 2)),
        ("Aorta, Thoracic/tortuous/mild", Finding("tortuous aorta", "", "", 1)),
        ("Calcinosis/aorta", Finding("aortic calcification", "", "", 2)),
        ("Calcinosis/lung/hilum/lymph nodes/right", Finding("hilar calcification", RIGHT, "", 2)),
        ("Diaphragm/right/elevated/mild", Finding("elevated diaphragm", RIGHT, "", 1)),
        ("Costophrenic Angle/left/blunted", Finding("blunted angle", LEFT, "", 1)),
        ("Thoracic Vertebrae/degenerative/mild", Finding("degenerative spine", "", "", 1)),
        ("Implanted Medical Device/aortic valve", Finding("valve prosthesis", "", "", 2)),
        ("Surgical Instruments/abdomen/right", Finding("abdominal clips", "", "", 2)),
        ("Deformity/clavicle/right", None),
        ("normal", None),
        ("No Indexing", None),
    ],
)
def test_mesh_codes_become_findings(code: str, finding: Finding | None) -> None:
    study = study_from_mesh("CXR1", [code], ["PA"])
    assert study.findings == ((finding,) if finding else ())


def test_what_a_code_leaves_open_is_settled_once() -> None:
    first = study_from_mesh("CXR9", ["Nodule"], ["PA"])
    assert first == study_from_mesh("CXR9", ["Nodule"], ["PA"])
    sides = {study_from_mesh(f"CXR{n}", ["Nodule"], ["PA"]).findings[0].side for n in range(20)}
    assert sides == {LEFT, RIGHT}


def test_one_sided_kinds_come_twice_when_bilateral() -> None:
    study = study_from_mesh("CXR1", ["Nodule/lung/bilateral/multiple"], ["PA"])
    assert {finding.side for finding in study.findings} == {LEFT, RIGHT}
