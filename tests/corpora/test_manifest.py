"""Manifests: three kinds of table, every fault by its row, and no word of what a row holds."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from pytest_occlusion.corpora import Corpus, load_corpus
from pytest_occlusion.corpora.images import ImageFault
from pytest_occlusion.errors import OcclusionError, printable

Rows = Sequence[Mapping[str, Any]]

SECRETS = ("hush-image", "hush-study", "hush-patient", "hush-report")
"""Parts of every planted name and text; none may ever be printed."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "c.png", "hush-image.png"):
        Image.new("L", (4, 4), 100 + len(name) + ord(name[0])).save(tmp_path / name)
    (tmp_path / "empty.png").touch()
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nothing.png")
    return tmp_path


def write_csv(folder: Path, rows: Rows, name: str = "m.csv") -> Path:
    path = folder / name
    with path.open("w", newline="", encoding="utf-8") as file:
        columns = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_json_lines(folder: Path, rows: Rows, name: str = "m.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(folder: Path, rows: Rows, name: str = "m.parquet") -> Path:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = folder / name
    parquet.write_table(arrow.Table.from_pylist([dict(row) for row in rows]), path)
    return path


WRITERS: dict[str, Callable[[Path, Rows], Path]] = {
    "csv": write_csv,
    "jsonl": write_json_lines,
    "parquet": write_parquet,
}
kinds = pytest.mark.parametrize("kind", sorted(WRITERS))


def row(image: str = "a.png", study_id: str = "s1", report: str = "Clear.", **more: Any) -> Any:
    return {"image": image, "study_id": study_id, "report": report, **more}


def load_manifest(path: Path, **more: Any) -> Corpus:
    return load_corpus(f"manifest:{path}", **more)


def fault(path: Path) -> str:
    with pytest.raises(OcclusionError) as caught:
        load_manifest(path)
    text = str(caught.value)
    assert caught.value.remedy
    assert printable(str(path)) in text
    rest = text.replace(printable(str(path)), "")
    assert not [secret for secret in SECRETS if secret in rest]
    return text


def kept(corpus: Corpus) -> list[tuple[Any, ...]]:
    return [
        (
            radiograph.key,
            radiograph.view,
            corpus.studies[radiograph.study].key,
            corpus.studies[radiograph.study].patient,
            corpus.studies[radiograph.study].report,
        )
        for radiograph in corpus.radiographs
    ]


# What is read ------------------------------------------------------------------------------------


@kinds
def test_all_kinds_of_table_say_the_same(kind: str, folder: Path) -> None:
    rows = [
        row("a.png", "s1", 'Lines\nand, "commas" ß', patient_id="p1", view="PA"),
        row("b.png", "s1", 'Lines\nand, "commas" ß', patient_id="p1", view="lateral"),
        row("c.png", "s2", "Other.", patient_id="p2", view=""),
    ]
    corpus = load_manifest(WRITERS[kind](folder, rows))
    assert corpus.name == "manifest"
    assert corpus.notes == ()
    again = pickle.loads(pickle.dumps(corpus.radiographs[0]))  # it crosses process borders
    assert again.open().getpixel((0, 0)) == corpus.radiographs[0].open().getpixel((0, 0))
    assert kept(corpus) == [
        ("a.png", "PA", "s1", "p1", 'Lines\nand, "commas" ß'),
        ("b.png", "lateral", "s1", "p1", 'Lines\nand, "commas" ß'),
        ("c.png", "", "s2", "p2", "Other."),
    ]
    assert len(corpus.studies) == 2
    assert [one.where for one in corpus.radiographs] == ["row 1", "row 2", "row 3"]
    assert load_corpus(f"manifest:{WRITERS[kind](folder, rows)}").fingerprint == corpus.fingerprint
    assert corpus.fingerprint == load_manifest(write_csv(folder, rows)).fingerprint


def test_a_csv_of_a_spreadsheet(folder: Path) -> None:
    """A byte order mark, CRLF, quotes, blank lines, trailing commas, cells in another order."""
    path = folder / "M.CSV"
    path.write_bytes(
        b"\xef\xbb\xbfreport,extra,study_id,image\r\n"
        b'"No, really.\r\nSecond ""line""",x,s1, a.png \r\n'
        b"\r\n"
        b"Clear.,,s2,b.png,,\r\n"
    )
    assert kept(load_manifest(path)) == [
        ("a.png", "", "s1", "s1", 'No, really.\r\nSecond "line"'),
        ("b.png", "", "s2", "s2", "Clear."),
    ]


def test_json_lines_with_blank_lines_numbers_and_nulls(folder: Path) -> None:
    path = folder / "m.ndjson"
    path.write_text(
        '\ufeff{"image": "a.png", "study_id": 50414267, "report": "x", "view": null}\n\n'
        '{"image": "b.png", "study_id": 2, "report": "y"}\n',
        encoding="utf-8",
    )
    assert [one[2] for one in kept(load_manifest(path))] == ["50414267", "2"]


def test_sections_instead_of_a_report(folder: Path) -> None:
    rows = [
        {"image": "a.png", "study_id": "s", "findings": "F", "impression": "I"},
        {"image": "b.png", "study_id": "t", "findings": "", "impression": "only I"},
    ]
    first, second = load_manifest(write_csv(folder, rows)).studies
    assert (first.report, first.findings, first.impression) == ("F\nI", "F", "I")
    assert (second.report, second.findings, second.impression) == ("only I", "", "only I")


def test_images_lie_beside_the_table_or_anywhere(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("home")
    Image.new("L", (4, 4)).save(home / "h.png")
    monkeypatch.setenv("HOME", str(home))
    (folder / "tables").mkdir()
    rows = [row("../a.png"), row(str(folder / "b.png"), "s2"), row("~/h.png", "s3")]
    path = write_csv(folder / "tables", rows)
    corpus = load_corpus(f"manifest:{path}?outside=allow")
    assert [radiograph.open().size for radiograph in corpus.radiographs] == [(4, 4)] * 3


def test_images_outside_the_folder_are_refused_unless_allowed(folder: Path) -> None:
    (folder / "tables").mkdir()
    Image.new("L", (4, 4)).save(folder / "tables" / "in.png")
    inside = str(folder / "tables" / "in.png")
    rows = [row("../hush-image.png"), row(str(folder / "b.png"), "s2"), row(inside, "s3")]
    rows += [row("x/../../c.png", "s4"), row("../tables-more/a.png", "s5")]
    (folder / "tables" / "x").mkdir()
    (folder / "tables-more").mkdir()  # begins like the table's own folder
    Image.new("L", (4, 4)).save(folder / "tables-more" / "a.png")
    path = write_csv(folder / "tables", rows)
    text = fault(path)
    assert "4 faults in 5 rows" in text
    for number in (1, 2, 4, 5):
        assert f"row {number}: its image file is outside the folder of the table" in text
    assert "manifest:FILE?outside=allow" in text
    assert len(load_corpus(f"manifest:{path}?outside=allow").radiographs) == 5


def test_links_may_lead_anywhere(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "images").symlink_to(folder)
    (elsewhere / "one.png").symlink_to(folder / "b.png")
    rows = [row("images/a.png"), row("one.png", "s2")]
    corpus = load_manifest(write_csv(elsewhere, rows))
    assert [radiograph.open().size for radiograph in corpus.radiographs] == [(4, 4)] * 2
    link = tmp_path_factory.mktemp("links") / "linked"
    link.symlink_to(folder)
    real = write_csv(folder, [row(str(folder / "a.png"))])  # told by the folder's real name
    assert len(load_manifest(link / real.name).radiographs) == 1


def test_radiographs_of_a_study_stand_together(folder: Path) -> None:
    rows = [row("a.png", "s1"), row("b.png", "s2", "Other."), row("c.png", "s1")]
    corpus = load_manifest(write_csv(folder, rows))
    assert [one.key for one in corpus.radiographs] == ["a.png", "c.png", "b.png"]
    assert [one.study for one in corpus.radiographs] == [0, 0, 1]
    assert [one.where for one in corpus.radiographs] == ["row 1", "row 3", "row 2"]


def test_several_texts_of_one_study_id(folder: Path) -> None:
    """Published cases: one id, several images, each described by a text of its own."""
    rows = [row("a.png", "s1", "One."), row("b.png", "s1", "Two."), row("c.png", "s1", "One.")]
    corpus = load_manifest(write_csv(folder, rows))
    assert [study.report for study in corpus.studies] == ["One.", "Two."]
    assert len({study.key for study in corpus.studies}) == 2
    assert {study.patient for study in corpus.studies} == {"s1"}
    assert [one.study for one in corpus.radiographs] == [0, 0, 1]
    assert corpus.notes == (
        "no column says who the patients are: confidence intervals resample studies",
        "1 texts differ from their study's first; each counts as a study of its own",
    )


@given(st.permutations(range(6)))
def test_the_order_of_rows_changes_no_key(
    tmp_path_factory: pytest.TempPathFactory, order: list[int]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for number in range(6):
        Image.new("L", (4, 4), number).save(folder / f"{number}.png")
    texts = ["One.", "Two.", "One.", "Three.", "Alone.", "Alone."]
    rows = [row(f"{at}.png", "s1" if at < 4 else "s2", text) for at, text in enumerate(texts)]

    def keys(corpus: Corpus) -> dict[str, str]:
        return {one.key: corpus.studies[one.study].key for one in corpus.radiographs}

    first = load_manifest(write_json_lines(folder, rows, "order.jsonl"))
    again = load_manifest(write_json_lines(folder, [rows[at] for at in order], "order.jsonl"))
    assert keys(again) == keys(first)
    assert again.fingerprint == first.fingerprint
    assert len(set(keys(first).values())) == 4
    assert keys(first)["4.png"] == "s2"


def test_content_follows_the_pixels(folder: Path) -> None:
    path = write_csv(folder, [row()])
    before = load_manifest(path)
    assert load_manifest(path).fingerprint == before.fingerprint
    Image.new("L", (4, 4), 7).save(folder / "a.png")
    after = load_manifest(path)
    assert after.radiographs[0].content != before.radiographs[0].content
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("name", ["m.csv", "m.tsv"])
def test_other_delimiters_are_seen_in_the_header(folder: Path, delimiter: str, name: str) -> None:
    rows = [["study_id", "image", "report"], ["s1", "a.png", '"Small, stable; clear."']]
    (folder / name).write_text("".join(delimiter.join(cells) + "\n" for cells in rows))
    assert kept(load_manifest(folder / name))[0][-1] == "Small, stable; clear."
    (folder / name).write_text(delimiter.join(("Study ID", "Image")) + "\n")
    assert "missing columns report" in fault(folder / name)


def test_a_line_that_tells_excel_the_separator(folder: Path) -> None:
    (folder / "m.csv").write_text("sep=;\nimage;study_id;report\na.png;s1;Small, clear.\n")
    assert kept(load_manifest(folder / "m.csv"))[0][-1] == "Small, clear."


def test_pictures_in_a_table_are_for_another_reader(folder: Path) -> None:
    rows = [{**row(), "image": {"bytes": b"hush-image", "path": None}}]
    text = fault(write_parquet(folder, rows))
    assert "1 faults in 1 rows" in text
    assert "tables with pictures in them are read by hf:FILE" in text


def test_a_packed_table(folder: Path) -> None:
    path = write_csv(folder, [row()])
    (folder / "m.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert kept(load_manifest(folder / "m.csv.gz")) == kept(load_manifest(path))


MISSING = ("NaN", "nan", "-nan", "None", "NULL", "null", "N/A", "NA", "<NA>", "#N/A", "NaT", "  ")


@kinds
@pytest.mark.parametrize("word", MISSING)
def test_words_for_missing_values_are_empty(kind: str, word: str, folder: Path) -> None:
    """What pandas, R and spreadsheets write is no text, no patient, no view and no candidate."""
    empty = {"findings": word, "patient_id": word, "view": word}
    rows = [{"image": "a.png", "study_id": "s1", "impression": "Nan sign, none.", **empty}]
    corpus = load_manifest(WRITERS[kind](folder, rows))
    assert kept(corpus) == [("a.png", "", "s1", "s1", "Nan sign, none.")]
    assert corpus.studies[0].findings == ""
    text = fault(WRITERS[kind](folder, [{**rows[0], "impression": word, "study_id": word}]))
    assert "row 1: the report is empty" in text
    assert "row 1: study_id is empty" in text


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_numbers_that_are_none_are_empty(kind: str, folder: Path) -> None:
    rows = [row(patient_id=float("nan"), findings=None), row("b.png", "s2", patient_id=2.5)]
    studies = load_manifest(WRITERS[kind](folder, rows)).studies
    assert [(study.patient, study.findings) for study in studies] == [("s1", ""), ("2.5", "")]


def test_no_other_column_of_a_parquet_file_is_read(folder: Path) -> None:
    rows = [row(pixels=b"hush-image", more=[["hush-report"]])]
    assert len(load_manifest(write_parquet(folder, rows)).radiographs) == 1


# Faults of tables --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.csv", "no such file"),
        ("x" * 400 + ".csv", "no such file"),
        ("a\0.csv", "no such file"),
        (".", "is a folder"),
    ],
)
def test_a_missing_file_and_a_folder(tmp_path: Path, name: str, words: str) -> None:
    assert f"{words}\n  -> name the manifest file itself" in fault(tmp_path / name)
    with pytest.raises(OcclusionError, match="no such file"):
        load_corpus("manifest:~nobody-of-that-name/m.csv")


@kinds
def test_a_column_that_is_there_twice_is_named(kind: str, folder: Path) -> None:
    """One that nobody reads may be there twice."""
    names = ["image", "study_id", "note", "report", "note", "report"]
    path = folder / f"m.{kind}"

    def write(names: list[str]) -> None:
        if kind == "csv":
            path.write_text(",".join(names) + "\na.png,s,x,hush-report,x,y\n")
        elif kind == "jsonl":
            path.write_text("{" + ", ".join(f'"{name}": "a.png"' for name in names) + "}\n")
        else:
            arrow = pytest.importorskip("pyarrow")
            parquet = pytest.importorskip("pyarrow.parquet")
            parquet.write_table(arrow.table([["a.png"]] * len(names), names=names), path)

    write(names)
    assert "columns that occur twice: report\n  -> leave one of each out" in fault(path)
    write(["more" if at == 5 else name for at, name in enumerate(names)])
    assert len(load_manifest(path).radiographs) == 1


@pytest.mark.parametrize("name", ["m.xlsx", "m", "m.CSV.txt"])
def test_an_unknown_kind_of_table(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("x")
    text = fault(tmp_path / name)
    assert "unknown kind of table" in text
    assert ".csv, .jsonl, .ndjson, .parquet" in text


@kinds
def test_an_empty_table(kind: str, folder: Path) -> None:
    if kind == "csv":
        path = folder / "m.csv"
        path.write_text("image,study_id,report\n")
    else:
        path = WRITERS[kind](folder, [])
    text = fault(path)
    assert "the table has no rows" in text
    assert "one row per radiograph" in text


@kinds
@pytest.mark.parametrize(
    ("columns", "missing"),
    [
        (("study_id", "report"), "image"),
        (("image", "study_id", "view"), "report"),
        (("patient_id",), "image, report"),
    ],
)
def test_missing_columns(kind: str, columns: tuple[str, ...], missing: str, folder: Path) -> None:
    text = fault(WRITERS[kind](folder, [dict.fromkeys(columns, "hush-report")]))
    assert f"missing columns {missing}" in text
    assert f"say which they are ({'&'.join(f'{n}=COLUMN' for n in missing.split(', '))})" in text


def test_a_table_without_a_header_is_not_quoted(folder: Path) -> None:
    path = folder / "m.csv"
    path.write_text("hush-image.png,hush-study,hush-report of hush-patient\nb.png,s,r\n")
    assert "missing columns image, report" in fault(path)


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_not_utf8(folder: Path, name: str) -> None:
    (folder / name).write_bytes('{"image": "hush-image é"}\n'.encode("latin-1"))
    text = fault(folder / name)
    assert "not UTF-8 (byte 22)" in text
    assert "save the table as UTF-8" in text
    (folder / name).write_bytes("image,study_id,report\n".encode("utf-16"))
    assert "not UTF-8 (byte 0)" in fault(folder / name)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('image,study_id,report\na.png,s,"hush-report\n', "not a CSV table"),
        ('image,study_id,report\na.png,s,"x"hush-report\n', "not a CSV table"),
        ("image,study_id,report\na.png,s," + "x" * 200_000, "not a CSV table"),
    ],
)
def test_not_a_csv_table(folder: Path, content: str, words: str) -> None:
    (folder / "m.csv").write_text(content)
    text = fault(folder / "m.csv")
    assert words in text
    assert "quote texts" in text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("hush-report", "line 2 is not JSON"),
        ('{"image": "hush-image', "line 2 is not JSON"),
        ('["hush-image"]', "line 2 is not a JSON object"),
        ("3", "line 2 is not a JSON object"),
        ('{"study_id": ' + "1" * 5000 + "}", "line 2 is not JSON"),
        ("[" * 100_000, "line 2 is not JSON"),
    ],
)
def test_not_json_lines(folder: Path, line: str, words: str) -> None:
    (folder / "m.jsonl").write_text(json.dumps(row()) + "\n" + line + "\n")
    text = fault(folder / "m.jsonl")
    assert words in text
    assert "per line" in text


@pytest.mark.parametrize("start", range(0, 400, 40))
def test_a_damaged_parquet_file(folder: Path, start: int) -> None:
    path = write_parquet(folder, [row(report="hush-report")])
    data = bytearray(path.read_bytes())
    for at in range(start, start + 40):
        data[at] ^= 0xA5
    path.write_bytes(bytes(data))
    with contextlib.suppress(OcclusionError):  # or it is luck, and the table is whole
        assert len(load_manifest(path).radiographs) == 1


def test_parquet_without_pyarrow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "m.parquet").write_text("image,study_id\n" * 20)
    assert "not a Parquet file" in fault(folder / "m.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    text = fault(folder / "m.parquet")
    assert "reading Parquet needs pyarrow" in text
    assert 'pip install "pytest-occlusion[parquet]"' in text


def test_a_table_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_csv(folder, [row()])

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert "cannot be read (Permission denied)" in fault(path)


# Faults of rows ----------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": ""}, "row 2: image is empty"),
        ({"image": "  "}, "row 2: image is empty"),
        ({"study_id": ""}, "row 2: study_id is empty"),
        ({"report": " \n "}, "row 2: the report is empty"),
        ({"image": "a.png"}, "row 2: duplicate image, also in row 1"),
        ({"image": "./a.png"}, "row 2: duplicate image, also in row 1"),
        ({"image": "empty.png"}, "row 2: its image file is empty"),
        ({"image": "dangling.png"}, "row 2: its image file does not exist"),
        (
            {"image": "x\\hush-image.png"},
            "write / in their place\n  - row 2: its image file does not exist: its path has backs",
        ),
        ({"image": "hush-image.jpg"}, "row 2: its image file does not exist"),
        ({"image": "."}, "row 2: its image file does not exist"),
        ({"image": "hush-image " * 60}, "row 2: its image file does not exist"),
        ({"image": "~hush-patient/a.png"}, "row 2: its image file does not exist"),
        ({"image": "a\0.png"}, "row 2: its image file does not exist"),
        ({"image": "~nobody\0/a.png"}, "row 2: its image file does not exist"),
        (
            {"study_id": "s1", "patient_id": "hush-patient"},
            "row 2: patient_id differs from that of row 1, which has the same study_id",
        ),
    ],
)
def test_faults_name_the_row(kind: str, changes: dict[str, str], words: str, folder: Path) -> None:
    bad = row("hush-image.png", "hush-study", "hush-report", patient_id="hush-patient")
    good = row(patient_id="p1")
    text = fault(WRITERS[kind](folder, [good, {**bad, **changes}, row("c.png", "s3")]))
    assert words in text
    assert "1 faults in 3 rows" in text
    assert "row 1 is the first after the header" in text


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("jsonl", ["hush-report", ["x"]]),
        ("jsonl", {"hush-report": "x"}),
        ("jsonl", "hush-report \ud83d"),  # half of a character
        ("parquet", [["hush-report"]]),
        ("parquet", {"hush-report": "x"}),
    ],
)
@pytest.mark.parametrize("column", ["image", "study_id", "report", "view", "patient_id"])
def test_values_that_are_no_text(kind: str, value: Any, column: str, folder: Path) -> None:
    rows = [row(), {**row("b.png", "s2"), column: value}]
    if kind == "parquet":
        rows = rows[1:]
    text = fault(WRITERS[kind](folder, rows))
    assert f"row {len(rows)}: {column} is not a text" in text


def test_surplus_cells_are_found(folder: Path) -> None:
    """A comma without quotes would silently cut the report short."""
    path = folder / "m.csv"
    path.write_text("image,study_id,report\na.png,s,Small, hush-report\nb.png,t,Clear.\n")
    text = fault(path)
    assert "row 1: more cells than columns" in text
    assert "quote" in text


def test_all_faults_come_at_once_and_are_cut_at_twenty(folder: Path) -> None:
    rows = [row("hush-image-" + str(i), f"s{i}") for i in range(25)]
    text = fault(write_csv(folder, rows))
    assert "25 faults in 25 rows" in text
    assert text.count("its image file does not exist") == 20
    assert "row 20:" in text
    assert "row 21:" not in text
    assert "... and 5 more" in text


def test_all_faults_go_to_a_file_on_request(folder: Path) -> None:
    rows = [row("hush-image-" + str(i), f"hush-study{i}", "hush-report") for i in range(25)]
    rows += [row("a.png", "s", ""), row("b.png", "t", "Clear.", patient_id="")]
    path = write_csv(folder, rows)
    assert "manifest:m.csv?faults=FILE writes all faults to a table" in fault(path)
    with pytest.raises(OcclusionError, match=r"all faults are in .*all\.csv"):
        load_corpus(f"manifest:{path}?faults=all.csv", base=folder)
    text = (folder / "all.csv").read_text()
    assert not [secret for secret in SECRETS if secret in text]
    found = list(csv.DictReader(text.splitlines()))
    assert [one["row"] for one in found] == [str(number) for number in range(1, 27)]
    assert {one["column"] for one in found} == {"image", "report"}
    assert all(one["remedy"] and one["problem"] for one in found)
    write_csv(folder, rows[-1:])
    load_corpus(f"manifest:{path}?faults=all.csv", base=folder)
    assert (folder / "all.csv").read_text().splitlines() == ["row,column,problem,remedy"]


def test_faults_are_written_over_nothing_but_faults(folder: Path) -> None:
    path = write_csv(folder, [row()])
    before = path.read_bytes(), (folder / "a.png").read_bytes()
    for name in ("m.csv", "a.png"):
        with pytest.raises(OcclusionError, match="it is there, and no list of faults"):
            load_corpus(f"manifest:{path}?faults={name}", base=folder)
    assert before == (path.read_bytes(), (folder / "a.png").read_bytes())


def test_a_file_of_faults_that_cannot_be_written(folder: Path) -> None:
    path = write_csv(folder, [row()])
    (folder / "faults").mkdir()
    with pytest.raises(OcclusionError, match=r"faults: cannot be written \(Is a directory\)"):
        load_corpus(f"manifest:{path}?faults=faults", base=folder)


def test_faults_are_grouped_by_column_and_remedy(folder: Path) -> None:
    rows = [row("none.png", "s1", ""), row("nor.png", "s2"), row("a.png", "s3", "")]
    text = fault(write_csv(folder, rows))
    first, second = text.index(" image (2): correct the path"), text.index(" report (2): give a")
    assert first < text.index("row 1: its") < text.index("row 2: its") < second
    assert second < text.index("row 1: the") < text.index("row 3: the")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("manifest:", "corpus 'manifest' names no file"),
        ("manifest:?outside=allow", "corpus 'manifest' names no file"),
        ("manifest:m.csv?outside=yes", "outside is 'yes'\n  -> known: refuse, allow"),
        ("manifest:m.csv?folder=x", "unknown option 'folder'"),
        ("manifest:m.csv?max-pixels=x", "max-pixels is 'x'"),
    ],
)
def test_faulty_options(folder: Path, spec: str, said: str) -> None:
    with pytest.raises(OcclusionError) as caught:
        load_corpus(spec, base=folder)
    assert said in str(caught.value)


def test_the_limit_of_pixels_reaches_the_decoder(folder: Path) -> None:
    path = write_csv(folder, [row()])
    corpus = load_corpus(f"manifest:{path}?max-pixels=15")
    with pytest.raises(ImageFault, match=r"row 1: .* more than max-pixels=15"):
        corpus.radiographs[0].open()


def test_a_split_is_refused_where_there_is_none(folder: Path) -> None:
    path = write_csv(folder, [row()])
    with pytest.raises(
        OcclusionError, match=r"no row is in the split 'test'\n.*nothing says which"
    ):
        load_corpus(f"manifest:{path}", split="test")
    for kind in ("embedded", "open-i"):
        with pytest.raises(OcclusionError, match=f"'{kind}' has no splits, but 'validate'"):
            load_corpus(kind, split="validate")


def test_faults_of_different_kinds_come_together(folder: Path) -> None:
    rows = [row(), row(), row("b.png", ""), row("none.png", "s4"), row("c.png", "s5", "")]
    text = fault(write_csv(folder, rows))
    assert "4 faults in 5 rows" in text
    for words in ("row 2: dup", "row 3: study_id is", "row 4: its image", "row 5: the report"):
        assert words in text


def test_images_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_csv(folder, [row("b.png"), row("hush-image.png", "s2", "hush-report")])

    def refuse(file: Path) -> str:
        if "hush" in file.name:
            raise PermissionError(13, "Permission denied", str(file))
        return "digest"

    monkeypatch.setattr("pytest_occlusion.corpora.files.file_digest", refuse)
    text = fault(path)
    assert "row 2: its image file cannot be read (Permission denied)" in text


# Anything at all ---------------------------------------------------------------------------------

cells = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["a.png", "b.png", "s1", "p1", ".", "~x/y", "\ud800", "\x00", "x" * 300]),
    st.lists(st.text(max_size=2), max_size=2),
)
table_rows = st.lists(
    st.dictionaries(
        st.sampled_from(["image", "study_id", "report", "findings", "patient_id", "view", "x"]),
        cells,
        max_size=6,
    ),
    max_size=5,
)


@example([{"image": "a.png", "study_id": "s", "report": "\ud800"}])
@given(table_rows)
def test_only_our_errors_escape_from_json_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    Image.new("L", (4, 4)).save(folder / "a.png")
    try:
        corpus = load_manifest(write_json_lines(folder, rows))
    except OcclusionError as error:
        assert error.remedy  # noqa: PT017
    else:
        assert len(corpus.radiographs) == len(rows)
        assert len(corpus.fingerprint) == 64


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
@example(b"image,study_id,report\n,,,\n")
@example(b"image,image,study_id,report\na.png,b,c,d,e\n")
@example(b'image,study_id,report\n"a.png",s,r\n')
@example(b"\xef\xbb\xbf")
@example(b"image,study_id,report\ra.png,s,r\r")
def test_only_our_errors_escape_from_csv(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for header in (b"", b"image,study_id,report\n"):
        (folder / "fuzz.csv").write_bytes(header + content)
        try:
            load_manifest(folder / "fuzz.csv")
        except OcclusionError as error:
            assert error.remedy  # noqa: PT017
