"""What ``init`` finds in a folder, and what it writes for it."""

from __future__ import annotations

import csv
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.suite import starting
from pytest_occlusion.suite.merge import read_settings
from pytest_occlusion.suite.starting import Start, look, plan_start, start_lines, write_start
from pytest_occlusion.suite.suites import embedded_checkpoint


def begin(folder: Path) -> tuple[Start, list[str]]:
    found = look(folder)
    start = plan_start(folder, found)
    write_start(start)
    return start, list(start_lines(start, found, folder))


def suite_of(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "benchmarks" / "suites").glob("*.toml")
    return tomllib.loads(path.read_text())


def write_table(path: Path, rows: int, **names: str) -> None:
    """A table of that many studies with a picture each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"image": "image", "report": "report", **names}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns.values())
        for number in range(rows):
            picture = f"{number}.png"
            Image.new("L", (8, 8), number % 256).save(path.parent / picture)
            writer.writerow([picture, f"report {number}"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "My project!"
    made.mkdir()
    return made


def test_an_empty_folder_gets_a_suite_that_can_be_read(folder: Path) -> None:
    start, lines = begin(folder)
    assert start.suite == "my-project"
    settings = read_settings(None, folder, {}, None)
    assert settings.suite == "my-project"
    assert settings.corpus == "embedded"
    assert settings.grid == settings.suite_grid
    (model,) = settings.models
    assert Path(model.checkpoint) == embedded_checkpoint("cxr-clip")
    assert "  model   none; a tiny one stands in" in lines
    assert "ubuntu-latest" in (folder / ".github/workflows/occlusion.yml").read_text()
    compile((folder / "benchmarks/test_retrieval.py").read_text(), "test", "exec")
    assert {path.relative_to(folder).parts[0] for path in folder.rglob("*") if path.is_file()} == {
        "benchmarks",
        ".github",
        "pyproject.toml",
    }


def test_a_table_is_the_corpus_and_ks_fit_it(folder: Path) -> None:
    write_table(folder / "data" / "reports.csv", 30, image="Path", report="Caption")
    _, lines = begin(folder)
    suite = suite_of(folder)
    assert suite["corpus"] == "manifest:../../data/reports.csv"
    assert suite["ks"] == [5, 10]
    assert "          30 radiographs, 30 distinct reports" in lines
    assert "self-hosted" in (folder / ".github/workflows/occlusion.yml").read_text()


def test_what_can_be_read_is_preferred(folder: Path) -> None:
    (folder / "annotations.json").write_text('{"images": []}')
    write_table(folder / "reports.csv", 12)
    start, lines = begin(folder)
    assert suite_of(folder)["corpus"] == "manifest:../../reports.csv"
    assert not start.faulty
    assert "          not taken: annotations:annotations.json?split=test" in lines


def test_a_table_of_three_studies_is_asked_for_the_first(folder: Path) -> None:
    write_table(folder / "reports.csv", 1)
    begin(folder)
    assert suite_of(folder)["ks"] == [1]


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("mimic-cxr-2.0.0-split.csv.gz", "mimic-cxr:../../data"),
        ("df_chexpert_plus_240401.csv", "chexpert-plus:../../data?split=validate"),
        ("indiana_reports.csv", "indiana:../../data"),
        ("NLMCXR_reports.tgz", "open-i:../../data"),
        ("ReXRank_MIMICCXR_test.json", "annotations:../../data/ReXRank_MIMICCXR_test.json"),
        ("annotation.json", "annotations:../../data/annotation.json?split=test"),
        ("deid_png", "rexgradient:../../data?split=test"),
        ("dataset_dict.json", "hf:../../data"),
        ("00000.tar", "webdataset:../../data"),
    ],
)
def test_published_collections_are_known_by_their_files(folder: Path, name: str, spec: str) -> None:
    (folder / "data").mkdir()
    (folder / "data" / name).write_bytes(b"")
    (folder / "data" / "tables").mkdir()
    (folder / "data" / "tables" / "own.csv").write_text("image,report\na.png,text\n")
    start, lines = begin(folder)
    assert suite_of(folder)["corpus"] == spec
    assert start.faulty, "an empty file is no collection"
    assert "the corpus cannot be read yet:" in lines
    assert not any("own.csv" in line for line in lines), "a collection's tables are its own"


def test_checkpoints_are_models_under_names_of_their_own(folder: Path) -> None:
    for place in ("old", "new"):
        shutil.copytree(embedded_checkpoint("clip"), folder / place / "Best Model.v2")
    shutil.copytree(embedded_checkpoint("medclip"), folder / "medclip")
    (folder / "weights.pt").write_bytes(b"no checkpoint")
    (folder / "optimizer.pt").write_bytes(b"nor this")
    _, lines = begin(folder)
    models = suite_of(folder)["models"]
    assert {name: one["family"] for name, one in models.items()} == {
        "best-model": "clip",
        "best-model-2": "clip",
        "medclip": "medclip",
    }
    assert sum('may be of family "cxr-repair"' in line for line in lines) == 2
    assert (folder / "benchmarks/suites/my-project.toml").read_text().count("# may be of") == 2
    assert models["medclip"]["checkpoint"] == "../../medclip"
    passed = [line for line in lines if "passed over" in line]
    assert len(passed) == 1
    assert "weights.pt" in passed[0]
    settings = read_settings(None, folder, {}, None)
    assert all(Path(model.checkpoint).exists() for model in settings.models)


def test_of_many_checkpoints_four_are_opened(folder: Path) -> None:
    for epoch in range(6):
        shutil.copytree(embedded_checkpoint("clip"), folder / f"epoch-{epoch}")
    _, lines = begin(folder)
    assert len(suite_of(folder)["models"]) == starting.MODELS
    assert sum("4 others were looked at" in line for line in lines) == 2


@pytest.mark.parametrize("hidden", [".cache", "node_modules", "venv", "a/b/c"])
def test_folders_of_others_are_left_alone(folder: Path, hidden: str) -> None:
    write_table(folder / hidden / "reports.csv", 3)
    start, _ = begin(folder)
    assert start.corpus == "embedded"


def test_a_table_of_something_else_is_passed_over_with_the_reason(folder: Path) -> None:
    (folder / "prices.csv").write_text("day,price\n1,2\n")
    _, lines = begin(folder)
    (passed,) = [line for line in lines if "passed over" in line]
    assert passed == "  passed over: prices.csv: missing columns image, report"


def test_only_a_bounded_number_of_files_is_looked_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        (folder / f"a{number}.txt").touch()
    write_table(folder / "reports.csv", 1)
    monkeypatch.setattr(starting, "MOST", 5)
    assert not look(folder).corpora


def test_numbers_in_names_of_checkpoints_stay(folder: Path) -> None:
    for place in ("old", "new"):
        shutil.copytree(embedded_checkpoint("cxr-clip"), folder / place / "epoch-10")
    begin(folder)
    assert set(suite_of(folder)["models"]) == {"epoch-10", "epoch-10-2"}


@pytest.mark.parametrize("name", ["d$HOME.csv", "my table?.csv", "a$b.pt"])
def test_names_that_suites_would_read_otherwise_are_passed_over(folder: Path, name: str) -> None:
    write_table(folder / "reports.csv", 2)
    (folder / "reports.csv").rename(folder / name)
    start, lines = begin(folder)
    assert start.corpus == "embedded"
    assert any("mean something in suites" in line and name in line for line in lines)


def test_the_next_steps_lead_into_the_folder(folder: Path) -> None:
    start = plan_start(folder, look(folder))
    lines = list(start_lines(start, look(folder), folder.parent))
    assert lines[lines.index("next") + 1] == f"  cd {folder.name}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[project\n", "cannot be added (Expected"),
        ("[project]\ndescription = '\xfc'\n".encode("latin-1"), "cannot be added ('utf-8' codec"),
        (b"[tool]\nblack = 1\ntool = 3\n[x]\n", ""),
        (b"tool = {black = {}}\n", "cannot be added (Cannot"),
    ],
)
def test_a_project_file_without_room_for_a_table(folder: Path, content: bytes, said: str) -> None:
    (folder / "pyproject.toml").write_bytes(content)
    if not said:
        begin(folder)
        return
    with pytest.raises(OcclusionError) as caught:
        begin(folder)
    assert said in str(caught.value)
    assert (folder / "pyproject.toml").read_bytes() == content
    assert not (folder / "benchmarks").exists()


@pytest.mark.parametrize(
    "text",
    ['[tool."occlusion"]\nx = 1\n', "[ tool . occlusion ]\n", "[tool]\nocclusion = {x = 1}\n"],
)
def test_a_table_of_ours_is_known_however_it_is_spelled(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(text)
    with pytest.raises(OcclusionError, match="set up already"):
        begin(folder)


def test_words_of_ours_elsewhere_are_no_table(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("# see tool.occlusion\n[tool.occlusionist]\n")
    begin(folder)
    assert read_settings(None, folder, {}, None).suite == "my-project"


def test_ends_of_lines_stay_as_they_are(folder: Path) -> None:
    (folder / "pyproject.toml").write_bytes(b"[project]\r\nname = 'x'\r\n")
    begin(folder)
    content = (folder / "pyproject.toml").read_bytes()
    assert content.count(b"\n") == content.count(b"\r\n") == 5


def test_nothing_is_left_where_the_project_file_cannot_be_written(folder: Path) -> None:
    start = plan_start(folder, look(folder))
    (folder / "pyproject.toml").mkdir()
    with pytest.raises(OcclusionError, match="nothing was written"):
        write_start(start)
    assert not [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'", "[project]\nname = 'x'\n"])
def test_a_projects_own_table_is_added_to(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(text)
    begin(folder)
    after = (folder / "pyproject.toml").read_text()
    assert after.startswith(text)
    assert tomllib.loads(after)["tool"]["occlusion"] == {"suite": "my-project"}


@pytest.mark.parametrize(
    ("there", "text"),
    [
        ("benchmarks/test_retrieval.py", "mine"),
        ("benchmarks/suites/my-project.toml", "mine"),
        (".github/workflows/occlusion.yml", "mine"),
        ("pyproject.toml", '[tool.occlusion]\nsuite = "mine"\n'),
    ],
)
def test_nothing_is_replaced_and_then_nothing_is_written(
    folder: Path, there: str, text: str
) -> None:
    path = folder / there
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    with pytest.raises(OcclusionError, match="set up already, and nothing was written") as caught:
        begin(folder)
    assert str(path) in str(caught.value)
    assert [one for one in folder.rglob("*") if one.is_file()] == [path]
    assert path.read_text() == text


def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    start = plan_start(folder, look(folder))
    (folder / "benchmarks").write_text("a file")
    with pytest.raises(OcclusionError, match="choose a folder that can be written"):
        write_start(start)
    assert not (folder / "pyproject.toml").exists(), "nothing is configured half"


@pytest.mark.parametrize(
    ("name", "suite"), [("paper", "ours"), ("embedded", "ours"), ("---", "ours"), ("A b", "a-b")]
)
def test_suites_have_names_that_ids_can_hold(tmp_path: Path, name: str, suite: str) -> None:
    (tmp_path / name).mkdir()
    assert begin(tmp_path / name)[0].suite == suite


def test_names_out_of_files_lose_what_a_terminal_would_obey(folder: Path) -> None:
    (folder / "a\x1b[31m.csv").write_text("day,price\n1,2\n")
    _, lines = begin(folder)
    assert all(line.isprintable() for line in lines)
