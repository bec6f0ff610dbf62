"""Every collection of the field: its reader and a manifest that says the same must agree."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import shutil
import tarfile
from functools import partial
from pathlib import Path

import pytest

from pytest_occlusion.corpora import Corpus, load_corpus
from pytest_occlusion.corpora.images import ImageFault
from pytest_occlusion.corpora.task import build_task
from pytest_occlusion.corpora.words import view_of
from pytest_occlusion.errors import MissingError, OcclusionError
from tests.corpora.miniatures import NAN, WRITERS, Miniature, chexpert_plus, png, save, write_csv

kinds = pytest.mark.parametrize("kind", WRITERS)


@pytest.fixture
def made(kind: str, tmp_path: Path) -> Miniature:
    if kind in ("parquet", "saved_to_disk"):
        pytest.importorskip("pyarrow")
    if kind == "saved_to_disk":
        pytest.importorskip("datasets")
    return WRITERS[kind](tmp_path / "made")


def told(corpus: Corpus) -> list[tuple[str, ...]]:
    rows = []
    for one in corpus.radiographs:
        study = corpus.studies[one.study]
        texts = study.report, study.findings, study.impression
        rows.append((one.key, one.view, one.content, study.key, study.patient, *texts))
    return sorted(rows)


def manifest_of(made: Miniature, folder: Path) -> str:
    path = write_csv(folder / "same.csv", made.rows)
    return f"manifest:{path}?outside=allow&radiograph=radiograph"


@kinds
def test_a_reader_and_a_manifest_agree(kind: str, made: Miniature, tmp_path: Path) -> None:
    corpus, same = load_corpus(made.spec), load_corpus(manifest_of(made, tmp_path))
    assert told(corpus) == told(same)
    assert len(corpus.radiographs) == len(made.rows) >= 4
    assert corpus.fingerprint == same.fingerprint
    for rule in ("full", "findings+impression"):
        mine = build_task(corpus, text_rule=rule, candidates="texts")
        other = build_task(same, text_rule=rule, candidates="texts")
        assert sorted(mine.texts) == sorted(other.texts)
    for one in corpus.radiographs[:3]:
        again = pickle.loads(pickle.dumps(one))
        assert again.open().size == (32, 32)
        assert again.open().tobytes() == one.open().tobytes()


@kinds
def test_notes_and_representations_tell_nothing_of_anybody(kind: str, made: Miniature) -> None:
    corpus = load_corpus(made.spec)
    text = repr(corpus) + " ".join(corpus.notes) + repr(corpus.steps) + repr(corpus.fields)
    assert not [secret for secret in made.secrets if secret in text]


# What each reader counts and says -----------------------------------------------------------------

STEPS: dict[str, tuple[tuple[int, int], ...]] = {
    # studies and radiographs: all, with findings, with impression, with a text, with a file
    "indiana": ((13, 19), (10, 15), (9, 12), (12, 18), (12, 18)),
    "r2gen": ((10, 20), (0, 0), (0, 0), (10, 20), (10, 20)),
    "r2gen_mimic": ((10, 15), (0, 0), (0, 0), (10, 15), (10, 15)),
    "rexrank": ((13, 19), (10, 15), (9, 12), (12, 18), (12, 18)),
    "rexrank_iu": ((12, 24), (10, 20), (9, 18), (12, 24), (12, 24)),
    "chexpert_plus": ((13, 19), (10, 15), (9, 12), (12, 18), (12, 18)),
    "rexgradient": ((13, 19), (10, 15), (9, 12), (12, 18), (12, 18)),
}
WITHIN: dict[str, tuple[tuple[int, int], ...]] = {
    # of what the test split holds; a row without a text would be refused, so none is left out
    "parquet": ((4, 6), (3, 5), (3, 4), (4, 6)),
    "saved_to_disk": ((4, 6), (3, 5), (3, 4), (4, 6)),
    "image_folder": ((4, 4), (0, 0), (0, 0), (4, 4)),
    "webdataset": ((12, 12), (0, 0), (0, 0), (12, 12)),
}


def counts(corpus: Corpus) -> tuple[tuple[int, int], ...]:
    return tuple((step.studies, step.radiographs) for step in corpus.steps)


@kinds
def test_every_step_is_counted(kind: str, made: Miniature) -> None:
    assert counts(load_corpus(made.spec)) == {**STEPS, **WITHIN}[kind]


@pytest.mark.parametrize("kind", ["r2gen", "r2gen_mimic", "chexpert_plus", "rexgradient"])
def test_splits_are_what_the_collection_says(kind: str, made: Miniature) -> None:
    """R2Gen's list of the test split may be called anything: each study says its own."""
    whole = load_corpus(made.spec)
    assert "rows of every split" in whole.notes[-1]
    for split in ("train", "validate"):
        corpus = load_corpus(made.spec, split=split)
        expected = [row["radiograph"] for row in made.rows if row["split"] == split]
        assert sorted(one.key for one in corpus.radiographs) == sorted(expected)
        assert corpus.fields["split"] == split
    with pytest.raises(OcclusionError, match=r"split 'dev9'"):
        load_corpus(made.spec, split="dev9")


@pytest.mark.parametrize(
    ("kind", "left"), [("indiana", 12), ("rexrank", 12), ("rexrank_iu", 12), ("rexgradient", 12)]
)
def test_frontal_radiographs(kind: str, left: int, made: Miniature) -> None:
    joint = "&" if "?" in made.spec else "?"
    corpus = load_corpus(f"{made.spec}{joint}views=frontal")
    assert len(corpus.radiographs) == left
    frontal = ("PA", "AP", "frontal")
    expected = [row["radiograph"] for row in made.rows if view_of(row["view"]) in frontal]
    assert sorted(one.key for one in corpus.radiographs) == sorted(expected)


def test_nothing_says_which_of_r2gens_images_is_frontal(tmp_path: Path) -> None:
    made = WRITERS["r2gen"](tmp_path)
    with pytest.raises(OcclusionError, match="nothing says which radiographs are frontal"):
        load_corpus(f"{made.spec}?views=frontal")


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("chexpert_plus", [("sex", "Female"), ("age", "40"), ("race", "Unknown")]),
        ("rexgradient", [("sex", "F"), ("age", "40")]),
        ("indiana", [("finding", "normal")]),
    ],
)
def test_what_is_known_of_patients_is_kept(
    kind: str, attributes: list[tuple[str, str]], made: Miniature
) -> None:
    corpus = load_corpus(made.spec)
    first = [one for one in corpus.radiographs if one.attributes == tuple(attributes)]
    assert first
    names = {tuple(name for name, _ in one.attributes) for one in corpus.radiographs}
    assert names == {tuple(name for name, _ in attributes)}


@pytest.mark.parametrize("kind", [*STEPS, "image_folder"])
def test_missing_images_are_counted_and_named(kind: str, made: Miniature) -> None:
    corpus = load_corpus(made.spec)
    bound = corpus.radiographs[-1].open
    assert isinstance(bound, partial)
    root, name, *_ = bound.args
    (root / name).unlink()
    with pytest.raises(OcclusionError) as caught:
        load_corpus(made.spec)
    text = str(caught.value)
    assert "its image file does not exist" in text
    assert "missing=1" in text
    assert not [secret for secret in made.secrets if secret in text]
    joint = "&" if "?" in made.spec else "?"
    rest = load_corpus(f"{made.spec}{joint}missing=1")
    assert len(rest.radiographs) == len(corpus.radiographs) - 1
    assert rest.fields["missing_images"] == 1


@pytest.mark.parametrize(
    "kind", ["annotations", "chexpert-plus", "hf", "indiana", "rexgradient", "webdataset"]
)
def test_places_that_are_not_there(kind: str, tmp_path: Path) -> None:
    with pytest.raises(OcclusionError, match=f"corpus '{kind}' names no f"):
        load_corpus(f"{kind}:")
    with pytest.raises(MissingError, match="no such f"):
        load_corpus(f"{kind}:{tmp_path / 'none'}")
    with pytest.raises(OcclusionError) as caught:
        load_corpus(f"{kind}:{tmp_path}")
    assert caught.value.remedy
    with pytest.raises(OcclusionError, match="unknown option 'colour'"):
        load_corpus(f"{kind}:{tmp_path}?colour=red")


# Annotation files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", r"not JSON \(line 1\)"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no annotation file"),
        ("{}", "no annotation file"),
        ('{"train": [{"id": "hush"}]}', "no annotation file"),
        ('{"train": [3]}', "no annotation file"),
        ('{"hush": {"report": "hush"}}', "no annotation file"),
        ('{"train": [{"id": "a", "image_path": [["hush"]], "report": "hush"}]}', "row 1: image is"),
        ('{"train": [{"id": "a", "image_path": null, "report": "hush"}]}', "row 1: image is empty"),
    ],
)
def test_files_that_are_no_annotations(content: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(OcclusionError, match=says) as caught:
        load_corpus(f"annotations:{path}")
    assert caught.value.remedy
    assert "hush" not in str(caught.value)


def test_the_folder_of_images(tmp_path: Path) -> None:
    made = WRITERS["r2gen"](tmp_path)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(OcclusionError, match="its image file does not exist"):
        load_corpus(made.spec)
    assert load_corpus(f"{made.spec}?images={tmp_path / 'elsewhere'}").radiographs
    with pytest.raises(OcclusionError, match="nowhere: no such folder\n  -> images= names"):
        load_corpus(f"{made.spec}?images={tmp_path / 'nowhere'}")


def test_rexranks_file_of_chexpert_plus(tmp_path: Path) -> None:
    """Bare NaN for a view and for findings; the patient stands in the key."""
    for name in ("0.png", "1.png"):
        save(tmp_path / "valid" / name, 1)
    study = {
        "image_path": ["valid/0.png", "valid/1.png"],
        "key_image_path": "valid/0.png",
        "report": "Impression: hush",
        "section_findings": NAN,
        "section_impression": "Clear.",
        "frontal_lateral": ["Frontal", "Lateral"],
        "ap_pa": ["AP", NAN],
        "sex": "Female",
    }
    (tmp_path / "ReXRank_CheXpertPlus.json").write_text(json.dumps({"patient7_study1": study}))
    corpus = load_corpus(f"annotations:{tmp_path / 'ReXRank_CheXpertPlus.json'}?keep=sex")
    assert [one.view for one in corpus.radiographs] == ["AP", "lateral"]
    assert corpus.radiographs[0].attributes == (("sex", "Female"),)
    (only,) = corpus.studies
    assert (only.patient, only.findings, only.report) == ("patient7", "", "Clear.")


# Indiana ------------------------------------------------------------------------------------------


def test_kaggles_pictures_and_nlms_reports_are_the_same_studies(tmp_path: Path) -> None:
    """One collection, two ways: the same studies, radiographs, patients and texts."""
    WRITERS["indiana"](tmp_path)
    kaggle = load_corpus(f"indiana:{tmp_path}")
    images = [one.key for one in kaggle.radiographs]
    for path in tmp_path.rglob("13_IM*.png"):
        path.unlink()  # of the study without a text, whose report is not written
    write_nlm(tmp_path / "reports", kaggle)
    nlm = load_corpus(f"open-i:{tmp_path / 'images'}?reports={tmp_path / 'reports'}")
    assert [
        one.key for one in sorted(nlm.radiographs, key=lambda one: images.index(one.key))
    ] == images
    assert nlm.fingerprint == kaggle.fingerprint


def write_nlm(folder: Path, corpus: Corpus) -> None:
    """The reports of NLM that say the same."""
    folder.mkdir()
    for at, study in enumerate(corpus.studies):
        images = "".join(
            f'<parentImage id="{one.key}"><caption>Chest</caption></parentImage>'
            for one in corpus.radiographs
            if one.study == at
        )
        (folder / f"{at}.xml").write_text(
            f'<eCitation><uId id="{study.key}"/><MedlineCitation><Article><Abstract>'
            f'<AbstractText Label="FINDINGS">{study.findings}</AbstractText>'
            f'<AbstractText Label="IMPRESSION">{study.impression}</AbstractText>'
            f"</Abstract></Article></MedlineCitation>{images}</eCitation>"
        )


def test_tables_of_indiana_that_do_not_fit(tmp_path: Path) -> None:
    WRITERS["indiana"](tmp_path)
    path = tmp_path / "indiana_projections.csv"
    path.write_text(path.read_text() + "4000,4000_IM-1-1.dcm.png,Frontal\n")
    with pytest.raises(OcclusionError, match=r"row 20: indiana_reports\.csv has no row for it"):
        load_corpus(f"indiana:{tmp_path}")
    path.write_text("uid,projection\n")
    with pytest.raises(OcclusionError, match="missing columns filename"):
        load_corpus(f"indiana:{tmp_path}")
    path.unlink()
    with pytest.raises(OcclusionError, match=r"there is no indiana_projections\.csv"):
        load_corpus(f"indiana:{tmp_path}")


# CheXpert Plus and ReXGradient --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "ending"),
    [("", ".png"), ("PNG", ".png"), ("PNG/PNG", ".png"), ("CheXpert-v1.0", ".jpg"),
     ("CheXpert-v1.0-small", ".jpg")],
)  # fmt: skip
def test_wherever_chexperts_pictures_lie(folder: str, ending: str, tmp_path: Path) -> None:
    made = chexpert_plus(tmp_path, folder=folder, ending=ending)
    corpus = load_corpus(made.spec)
    assert len(corpus.radiographs) == len(made.rows)
    assert corpus.radiographs[0].open().size == (32, 32)


def test_chexperts_table(tmp_path: Path) -> None:
    made = chexpert_plus(tmp_path)
    table = tmp_path / "df_chexpert_plus_240401.csv"
    with pytest.raises(OcclusionError, match="missing columns weight"):
        load_corpus(f"{made.spec}?keep=weight")
    assert load_corpus(f"{made.spec}?keep=race").radiographs[0].attributes == (("race", "Unknown"),)
    table.write_text(table.read_text().replace("section_findings", "section_found", 1))
    with pytest.raises(OcclusionError, match="missing columns section_findings"):
        load_corpus(made.spec)
    table.unlink()
    with pytest.raises(OcclusionError, match=r"there is no df_chexpert_plus_\*\.csv"):
        load_corpus(made.spec)


def test_rexgradients_files(tmp_path: Path) -> None:
    made = WRITERS["rexgradient"](tmp_path)
    path = tmp_path / "metadata" / "test_metadata_view_position.json"
    path.write_text('["hush"]')
    with pytest.raises(OcclusionError, match="no object of studies"):
        load_corpus(made.spec)
    assert len(load_corpus(f"{made.spec}?split=train").studies) == 4
    shutil.rmtree(tmp_path / "metadata")
    with pytest.raises(OcclusionError, match=r"there is no .*_metadata_view_position"):
        load_corpus(made.spec)


# Shards -------------------------------------------------------------------------------------------


def test_shards_that_cannot_be_read(tmp_path: Path) -> None:
    made = WRITERS["webdataset"](tmp_path)
    shard = tmp_path / "shards" / "00000.tar"
    whole = shard.read_bytes()
    assert len(load_corpus(f"webdataset:{shard}").studies) == 5
    shard.write_bytes(whole[:700])
    with pytest.raises(OcclusionError, match=r"00000\.tar: a damaged shard \(ReadError\)"):
        load_corpus(made.spec)
    shard.write_bytes(whole.replace(b'{"study_id"', b'["study_id"'))
    with pytest.raises(OcclusionError, match=r"row 1: its \.json member cannot be read") as caught:
        load_corpus(made.spec)
    assert "hush" not in str(caught.value)
    packed = tmp_path / "packed" / "00000.tar.gz"
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(whole))
    for place in (packed, packed.parent):
        with pytest.raises(OcclusionError, match="a packed shard cannot be read in places"):
            load_corpus(f"webdataset:{place}")


def test_a_shard_that_is_cut_after_it_was_listed(tmp_path: Path) -> None:
    made = WRITERS["webdataset"](tmp_path)
    corpus = load_corpus(made.spec)
    shard = tmp_path / "shards" / "00001.tar"
    shard.write_bytes(shard.read_bytes()[:600])
    with pytest.raises(ImageFault, match=r"row 12: cannot be read \(the file ends before"):
        corpus.radiographs[-1].open()


def shard(folder: Path, *members: tuple[str, bytes]) -> str:
    """A shard with members as they are given."""
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / "0.tar", "w") as archive:
        for name, payload in members:
            member = tarfile.TarInfo(name)
            member.size = len(payload)
            archive.addfile(member, io.BytesIO(payload))
    return f"webdataset:{folder}"


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("a.png", b"x"), ("a.txt", b"One."), ("a.txt", b"Two.")], "row 1: a second member .txt"),
        (
            [("a.png", b"x"), ("a.json", b'{"text": "j"}'), ("a.txt", b"t")],
            "row 1: its .txt member",
        ),
        ([("a.png", b"x"), ("a.txt", "hush \xe4".encode("latin-1"))], "1: its .txt member can"),
        ([("a.png", b"x"), ("a.json", b"[]")], "row 1: its .json member holds no object"),
        ([("a.png", b"x"), ("a.json", b"[" * 100_000)], "row 1: its .json member cannot be read"),
    ],
)
def test_samples_that_are_told_twice_or_not_at_all(
    members: list[tuple[str, bytes]], says: str, tmp_path: Path
) -> None:
    whole = [("z.png", png(1)), ("z.txt", b"Clear.")]
    with pytest.raises(OcclusionError) as caught:
        load_corpus(shard(tmp_path, *members, *whole))
    assert says in str(caught.value)
    assert "hush" not in str(caught.value)


def test_masks_in_shards_are_no_radiographs(tmp_path: Path) -> None:
    spec = shard(tmp_path, ("a.png", png(1)), ("a.mask.png", png(2)), ("a.txt", b"Clear."))
    corpus = load_corpus(spec)
    assert [one.key for one in corpus.radiographs] == ["0/a"]
    assert "pictures with longer endings are passed over: .mask.png" in corpus.notes


def test_indianas_reports_are_checked(tmp_path: Path) -> None:
    """A comma without quotes would cut a report, a second row would replace one."""
    WRITERS["indiana"](tmp_path)
    path = tmp_path / "Indiana_reports.csv"
    whole = path.read_text()
    path.write_text(whole + "2,,,,,,hush,hush\n")
    with pytest.raises(OcclusionError, match="row 14: its uid is that of an earlier row"):
        load_corpus(f"indiana:{tmp_path}")
    path.write_text(whole + "99,,,,,,Heart, hush,hush\n")
    with pytest.raises(OcclusionError, match="row 14: more cells than columns"):
        load_corpus(f"indiana:{tmp_path}")


def test_chexperts_studies_below_any_folder(tmp_path: Path) -> None:
    made = chexpert_plus(tmp_path)
    table = tmp_path / "df_chexpert_plus_240401.csv"
    before = load_corpus(made.spec)
    (tmp_path / "X").symlink_to(tmp_path / "PNG" / "PNG")
    text = table.read_text().replace("train/patient", "X/train/patient")
    table.write_text(text.replace("valid/patient", "X/valid/patient").replace("X/X/", "X/"))
    after = load_corpus(made.spec)
    assert [study.key for study in after.studies] == [study.key for study in before.studies]


def test_odd_entries_of_annotation_files_are_rows(tmp_path: Path) -> None:
    save(tmp_path / "0.png", 1)
    good = {"id": "a", "image_path": ["0.png"], "report": "x"}
    content = {"info": {"by": "us"}, "train": [good, {"id": "hush", "report": "y"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(OcclusionError, match="row 2: image is empty"):
        load_corpus(f"annotations:{tmp_path / 'a.json'}")
    (tmp_path / "a.json").write_text('{"hush": {}, "hush": {}}')
    with pytest.raises(OcclusionError, match="an object has a name twice"):
        load_corpus(f"annotations:{tmp_path / 'a.json'}")


def test_rexgradients_odd_files(tmp_path: Path) -> None:
    made = WRITERS["rexgradient"](tmp_path)
    folder = tmp_path / "metadata"
    path = folder / "test_metadata_view_position.json"
    studies = json.loads(path.read_text())
    for one in studies.values():
        one["ImagePath"] = 5
    path.write_text(json.dumps(studies))
    with pytest.raises(OcclusionError, match="its image file does not exist"):
        load_corpus(f"{made.spec}?split=test")
    path.rename(folder / "val_metadata_view_position.json")
    with pytest.raises(OcclusionError, match="two files of one split: "):
        load_corpus(made.spec)
