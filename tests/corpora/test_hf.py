"""Sets in the forms of Hugging Face: shards, splits, pictures in tables and beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_occlusion.corpora import Corpus, load_corpus, members
from pytest_occlusion.corpora.cells import picture_column, pictures_in
from pytest_occlusion.corpora.hf import fetched, find_parts
from pytest_occlusion.corpora.images import ImageFault
from pytest_occlusion.errors import MissingError, OcclusionError
from tests.corpora.miniatures import WRITERS, png, save

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def write(path: Path, rows: Sequence[Mapping[str, Any]], **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(arrow.Table.from_pylist([dict(row) for row in rows]), path, **more)
    return path


def row(case: int, text: str = "Clear.", **more: Any) -> dict[str, Any]:
    return {"image": {"bytes": png(case), "path": f"{case}.png"}, "text": text, **more}


def fault(spec: str) -> str:
    with pytest.raises(OcclusionError) as caught:
        load_corpus(spec)
    assert caught.value.remedy
    assert "hush" not in str(caught.value)
    return str(caught.value)


def pixels(corpus: Corpus) -> list[bytes]:
    return [one.open().tobytes() for one in corpus.radiographs]


def test_a_single_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [row(case, f"Text {case}.") for case in range(5)])
    corpus = load_corpus(f"hf:{path}")
    assert [one.key for one in corpus.radiographs] == [f"/{number}" for number in range(1, 6)]
    assert [study.report for study in corpus.studies] == [f"Text {case}." for case in range(5)]
    assert corpus.notes == (
        "columns guessed from their names: report=text",
        "no column says which study a row is of: each row is a study of its own",
        "no column says who the patients are: confidence intervals resample rows",
    )


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/validation-00000-of-00001-abcdef0123.parquet", "validate"),
        ("default/test/0000.parquet", "test"),
        ("test.parquet", "test"),
    ],
)
def test_splits_by_names_of_files(name: str, split: str, tmp_path: Path) -> None:
    write(tmp_path / name, [row(1)])
    write(tmp_path / "data" / "other-00000-of-00001.parquet", [row(2), row(3)])
    assert {part.split for part in find_parts(tmp_path)} == {split, "other"}
    assert len(load_corpus(f"hf:{tmp_path}?split={split}").radiographs) == 1
    assert len(load_corpus(f"hf:{tmp_path}").radiographs) == 3
    text = fault(f"hf:{tmp_path}?split=dev9")
    assert "no row is in the split 'dev9'\n  -> its splits, with their rows: " in text
    assert f"{split} 1" in text


@pytest.mark.parametrize(
    "names", [("cxr.parquet",), ("part-00000-a.parquet", "part-00001-b.parquet")]
)
def test_a_column_says_the_split_where_no_name_of_a_file_does(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    splits = ["train", "test", "test"]
    for at, name in enumerate(names):
        write(tmp_path / name, [row(n, f"{at} {n}", split=s) for n, s in enumerate(splits)])
    whole = load_corpus(f"hf:{tmp_path}")
    assert len({one.key for one in whole.radiographs}) == 3 * len(names)
    assert len(load_corpus(f"hf:{tmp_path}?split=test").radiographs) == 2 * len(names)


def test_rows_of_later_files_keep_their_numbers(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [row(n, f"{n}", study_id=f"s{n}") for n in range(3)])
    write(tmp_path / "b.parquet", [{**row(4), "text": {"x": "hush"}}])
    text = fault(f"hf:{tmp_path}")
    assert "row 4: text is not a text" in text
    assert "row 1:" not in text
    write(tmp_path / "b.parquet", [row(4)])
    assert any("which study a row is of" in note for note in load_corpus(f"hf:{tmp_path}").notes)


def test_rows_of_a_study_may_be_far_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Radiographs are opened study by study: two places of a table are read forward at once."""
    rows = [row(n % 12, f"{n % 50}", study_id=f"s{n % 50}") for n in range(100)]
    corpus = load_corpus(f"hf:{write(tmp_path / 'x.parquet', rows)}")
    starts = []
    read = members._parquet_rows

    def counted(path: Path, column: str, at: int) -> Any:
        starts.append(at)
        return read(path, column, at)

    monkeypatch.setattr(members, "_parquet_rows", counted)
    members._cells.cache_clear()
    found = pixels(corpus)
    assert found == [load_png(save(tmp_path / f"{n}.png", n)) for n in _cases(50)]
    assert len(starts) <= 3


def _cases(studies: int) -> list[int]:
    return [n % 12 for study in range(studies) for n in (study, study + studies)]


def test_damaged_tables_are_named(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list([{"text": "hush"}] * 50).save_to_disk(str(tmp_path / "saved"))
    path = next((tmp_path / "saved").glob("*.arrow"))
    path.write_bytes(path.read_bytes()[:200])
    assert "saved" in fault(f"hf:{tmp_path / 'saved'}")
    table = arrow.table(
        {"image": arrow.array([png(1), None], arrow.binary()), "report": ["a", "b"]}
    )
    parquet.write_table(table, tmp_path / "null.parquet")
    assert "row 2: image is empty" in fault(f"hf:{tmp_path / 'null.parquet'}")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["."]}')
    assert "dataset_dict.json: is damaged" in fault(f"hf:{tmp_path}")


def test_a_radiograph_is_called_the_same_however_much_is_read(tmp_path: Path) -> None:
    for split in ("test", "train"):
        rows = [row(case, f"{split} {case}") for case in range(4)]
        write(tmp_path / f"{split}-0-of-2.parquet", rows[:2])
        write(tmp_path / f"{split}-1-of-2.parquet", rows[2:])
    keys = [one.key for one in load_corpus(f"hf:{tmp_path}").radiographs]
    assert keys == [f"{split}/{number}" for split in ("test", "train") for number in range(1, 5)]
    train = load_corpus(f"hf:{tmp_path}?split=train")
    assert [one.key for one in train.radiographs] == keys[4:]
    assert [one.where for one in train.radiographs] == ["row 1", "row 2", "row 3", "row 4"]


@pytest.mark.parametrize("groups", [1, 3, 100])
def test_pictures_come_from_whatever_row_is_asked_for(groups: int, tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.parquet",
        [row(case % 12, f"{case}") for case in range(100)],
        row_group_size=groups,
    )
    corpus = load_corpus(f"hf:{path}")
    expected = [save(tmp_path / f"{case}.png", case) for case in range(12)]
    for at in (99, 0, 50, 51, 50, 33, 98, 97, 1):
        assert corpus.radiographs[at].open().tobytes() == load_png(expected[at % 12])


def load_png(path: Path) -> bytes:
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("L").tobytes()


def test_null_bytes_name_a_file(tmp_path: Path) -> None:
    """Bytes first, then the path: sets of files that were not embedded have no bytes."""
    rows: list[dict[str, Any]] = [row(1, "One."), row(2, "Two."), row(3, "Three.")]
    rows[1]["image"] = {"bytes": None, "path": "two.png"}
    save(tmp_path / "set" / "two.png", 2)
    save(tmp_path / "set" / "1.png", 9)  # is called as the path of embedded bytes: not read
    path = write(tmp_path / "set" / "x.parquet", rows)
    assert [*pictures_in(path, "image")] == [[""], ["two.png"], [""]]
    corpus = load_corpus(f"hf:{path}")
    whole = load_corpus(f"hf:{write(tmp_path / 'y.parquet', [row(n, 'x') for n in (1, 2, 3)])}")
    assert pixels(corpus) == pixels(whole)
    none = [{**one, "image": {"bytes": None, "path": "gone.png"}} for one in rows[:1]]
    text = fault(f"hf:{write(tmp_path / 'z.parquet', none)}")
    assert "row 1: its image file does not exist" in text


def test_lists_of_pictures(tmp_path: Path) -> None:
    two = [row(case)["image"] for case in (1, 2)]
    rows: list[dict[str, Any]] = [
        {"images": two, "view": ["PA", "LL"], "findings": "F", "impression": None},
        {"images": two[:1], "view": ["AP"], "findings": None, "impression": "I"},
        {"images": [], "view": [], "findings": "hush", "impression": None},
    ]
    path = write(tmp_path / "x.parquet", rows[:2])
    corpus = load_corpus(f"hf:{path}")
    assert [(one.key, one.view) for one in corpus.radiographs] == [
        ("/1.0", "PA"),
        ("/1.1", "lateral"),
        ("/2", "AP"),
    ]
    assert pixels(corpus)[0] == pixels(corpus)[2] != pixels(corpus)[1]
    assert "row 3: image is empty" in fault(f"hf:{write(tmp_path / 'y.parquet', rows)}")


def test_plain_bytes_and_several_columns_of_pictures(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [{"image": png(1), "mask": png(2), "report": "R"}])
    assert picture_column(path, "") == "image"
    assert len(load_corpus(f"hf:{path}").radiographs) == 1
    both = {"left": row(1)["image"], "right": row(2)["image"], "report": "R"}
    path = write(tmp_path / "y.parquet", [both])
    assert "pictures in left, right\n  -> say which are the radiographs" in fault(f"hf:{path}")
    left, right = (load_corpus(f"hf:{path}?image={name}") for name in ("left", "right"))
    assert pixels(left) != pixels(right)
    assert "missing columns centre" in fault(f"hf:{path}?image=centre")


def test_names_of_files_in_a_column(tmp_path: Path) -> None:
    """Parquet without pictures in it is a manifest; so is a folder with a metadata.csv."""
    save(tmp_path / "a" / "one.png", 1)
    path = write(tmp_path / "a" / "x.parquet", [{"image": "one.png", "report": "R"}])
    assert load_corpus(f"hf:{path}").radiographs[0].key == "one.png"
    (tmp_path / "a" / "metadata.jsonl").write_text('{"file_name": "one.png", "text": "R"}\n')
    corpus = load_corpus(f"hf:{tmp_path}")
    assert corpus.radiographs[0].key == "a/one.png"
    assert corpus.radiographs[0].open().size == (32, 32)


def test_attributes_and_empty_texts(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [row(1, sex="F"), row(2, "None", sex="M")])
    assert "row 2: the report is empty" in fault(f"hf:{path}")
    corpus = load_corpus(f"hf:{path}?empty=drop&keep=sex")
    assert [one.attributes for one in corpus.radiographs] == [(("sex", "F"),)]
    assert "missing columns age" in fault(f"hf:{path}?keep=age")


def test_a_set_that_was_saved(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    WRITERS["saved_to_disk"](tmp_path)
    one = datasets.load_from_disk(str(tmp_path / "set"))["test"]
    one.save_to_disk(str(tmp_path / "alone"))
    alone = load_corpus(f"hf:{tmp_path / 'alone'}?radiograph=dicom")
    assert pixels(alone) == pixels(
        load_corpus(f"hf:{tmp_path / 'set'}?split=test&radiograph=dicom")
    )
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": 3}')
    assert "dataset_dict.json: is damaged" in fault(f"hf:{tmp_path / 'set'}")


def test_damage_after_listing_is_told_by_row(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [row(1), row(2)])
    corpus = load_corpus(f"hf:{path}")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ImageFault, match=r"row 2: cannot be read \(the table is damaged\)"):
        corpus.radiographs[1].open()
    assert "not a Parquet file" in fault(f"hf:{path}")
    rows = [{**row(1), "image": {"bytes": b"hush", "path": None}}]
    corpus = load_corpus(f"hf:{write(tmp_path / 'y.parquet', rows)}")
    with pytest.raises(
        ImageFault, match=r"row 1: cannot be decoded \(cannot identify image file\)"
    ):
        corpus.radiographs[0].open()


def test_a_changed_shard_changes_the_fingerprint(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [row(1), row(2)])
    before = load_corpus(f"hf:{path}")
    write(path, [row(1), row(3)])
    after = load_corpus(f"hf:{path}")
    assert after.fingerprint != before.fingerprint
    assert after.radiographs[0].content == before.radiographs[0].content


def test_folders_that_hold_no_set(tmp_path: Path) -> None:
    assert "holds no set" in fault(f"hf:{tmp_path}")
    (tmp_path / "x.txt").write_text("x")
    assert "unknown kind of table '.txt'" in fault(f"hf:{tmp_path / 'x.txt'}")


# The hub ------------------------------------------------------------------------------------------


def test_a_set_of_the_hub_needs_its_commit() -> None:
    for revision in ("", "?revision=main"):
        text = fault(f"hf:owner/name{revision}")
        assert "a set of the hub needs its commit" in text
        assert "hf:owner/name?revision=COMMIT" in text
    with pytest.raises(MissingError, match="no such folder or file"):
        load_corpus("hf:no-such-folder")


def test_the_hubs_layout_goes_through_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library makes Arrow files of a repository; these are read as if saved to disk."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    made = WRITERS["parquet"](tmp_path / "made")
    place = made.spec.removeprefix("hf:").partition("?")[0]
    _, parts = fetched(place, "test", "", "")
    assert {(part.split, part.file.suffix) for part in parts} == {("test", ".arrow")}
    rows = [names for part in parts for names in pictures_in(part.file, "image")]
    assert rows == [[""]] * len(made.rows)
    with pytest.raises(OcclusionError, match=r"no split 'train'\n  -> its splits: test"):
        fetched(place, "train", "", "")


def test_what_the_library_says_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no network\nand a long text")

    monkeypatch.setattr(datasets, "get_dataset_split_names", refuse)
    commit = "0" * 40
    with pytest.raises(MissingError, match=r"owner/name: cannot be fetched \(no network\)\n  -> "):
        load_corpus(f"hf:owner/name?revision={commit}")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    text = fault(f"hf:owner/name?revision={commit}")
    assert 'pip install "pytest-occlusion[hf]"' in text
    assert json.dumps(commit)[1:-1] not in text
