"""Results files of earlier versions open, damaged ones are refused in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_occlusion.__main__ import main
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.reporting.reading import completed, read_results
from tests.reporting.fabricated import SECOND, earlier, results

Document = dict[str, Any]


@pytest.fixture
def small() -> Document:
    return results(2, occluders=("block",), ratios=(0.0, 0.25, 0.81), ks=(5, 10), maps=2)


def written(folder: Path, document: Any) -> Path:
    path = folder / "r.json"
    path.write_text(json.dumps(document))
    return path


def test_a_complete_document_is_left_as_it_is(small: Document) -> None:
    assert completed(small) == small


def test_reading_returns_what_was_written(small: Document, tmp_path: Path) -> None:
    assert read_results(written(tmp_path, small)) == small


def test_a_file_of_schema_1_opens(small: Document, tmp_path: Path) -> None:
    old = {name: part for name, part in small.items() if name not in SECOND} | {"schema": 1}
    assert read_results(written(tmp_path, old)) == old
    assert completed(old) == small, "what it does not have is empty"


def test_what_earlier_versions_did_not_write_has_a_value(small: Document) -> None:
    old = earlier(small)
    found = completed(old)
    assert found["claims"] == []
    assert found["baselines"] == {}
    assert found["maps"] == []
    assert {cell["baseline_from"] for cell in found["cells"]} == {None}
    assert {cell["p_adjusted"] for cell in found["cells"]} == {None}
    assert "claims" not in old, "the original is kept"


def test_cells_alone_are_enough(small: Document, tmp_path: Path) -> None:
    bare = {
        "schema": 1,
        "cells": [
            {
                name: cell[name]
                for name in (
                    *("id", "model", "occluder", "ratio", "k", "recall", "hits", "queries"),
                    *("chance", "constant", "ci_low", "ci_high"),
                )
            }
            for cell in small["cells"]
        ],
    }
    path = written(tmp_path, bare)
    assert main(["html", str(path), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_an_earlier_file_is_drawn(
    small: Document, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, earlier(small))
    page = tmp_path / "new" / "page.html"
    assert main(["html", str(path), "--out", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    text = page.read_text()
    assert "the baseline does not say" in text
    assert "No claim was asked of this run." in text


def cell(name: str, value: Any) -> Callable[[Document], None]:
    def damage(document: Document) -> None:
        document["cells"][1][name] = value

    return damage


def part(name: str, value: Any) -> Callable[[Document], None]:
    def damage(document: Document) -> None:
        document[name] = value

    return damage


def mapped(*place: Any, value: Any) -> Callable[[Document], None]:
    """Put a value into the second map."""

    def damage(document: Document) -> None:
        found = document["maps"][1]
        for step in place[:-1]:
            found = found[step]
        found[place[-1]] = value

    return damage


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (part("maps", {}), "maps is {}, not a list"),
        (part("maps", [3]), "maps[0] is 3, not a table"),
        (mapped("grid", value="x"), "maps[1].grid is 'x', not a whole number above 1"),
        (mapped("grid", value=5), "maps[1] has no 5 x 5 numbers of its similarity"),
        (mapped("k", value="x"), "maps[1].k is 'x', not a number"),
        (mapped("whole", value=3), "maps[1].whole is 3, not a table"),
        (mapped("views", value=3), "maps[1].views is 3, not a list"),
        (mapped("views", 0, "queries", value=[]), "maps[1].views[0].queries is [], not a number"),
        (mapped("views", 0, "losses", value={}), "maps[1].views[0].losses has no similarity"),
        (mapped("views", 0, "losses", "rank", "low", 0, value="x"), "not a list of numbers"),
        (mapped("views", 0, "picture", "grey", value="!"), "views[0].picture is {"),
        (mapped("views", 0, "picture", "width", value=9), "not a picture: width, height and"),
        (mapped("placements", 0, "mean", value={}), "maps[1].placements[0].mean has no value"),
        (mapped("placements", 0, value=3), "maps[1].placements[0] is 3, not a table"),
        (part("cells", []), "it holds no cell"),
        (part("cells", ["x"]), "cells[0] is 'x', not a table"),
        (cell("recall", None), "cells[clip-block-r00-k010].recall is None, not a number"),
        (cell("recall", "0.3"), "recall is '0.3', not a number"),
        (cell("ratio", []), "ratio is [], not a number"),
        (cell("model", 3), "cells[clip-block-r00-k010].model is 3, not a text"),
        (cell("id", 3), "cells[1].id is 3, not a text"),
        (cell("verdict", 3), "verdict is 3, not a text"),
        (cell("lost", "many"), "lost is 'many', not a number"),
        (cell("written", "x"), "written is 'x', not true or false"),
        (cell("queries", 0), "queries is 0, not a number above 0"),
        (part("models", []), "models is [], not a table"),
        (part("models", {"clip": 3}), "models[clip] is 3, not a table"),
        (part("models", {"clip": {"settings": 3}}), "models[clip].settings is 3, not a table"),
        (part("corpus", 3), "corpus is 3, not a table"),
        (part("corpus", {"notes": "x"}), "corpus.notes is 'x', not a list"),
        (part("corpus", {"studies": "x"}), "corpus.studies is 'x', not a number"),
        (part("models", {"clip": {"truncated": "x"}}), "models[clip].truncated is 'x', not a num"),
        (part("curves", {}), "curves is {}, not a list"),
        (part("curves", [{"model": "a", "occluder": "b"}]), "curves[0] has no k"),
        (part("claims", [{}]), "claims[0] has no claim"),
        (part("timings", [3]), "timings[0] is 3, not a table"),
        (part("timings", [{"encode_seconds": "x"}]), "timings[0].encode_seconds is 'x', not a"),
        (part("schema", 3), "schema 3, this version reads 1 and 2"),
        (part("labels", {"names": "x"}), "labels.names is 'x', not a list"),
        (part("rankings", [{"model": "a", "occluder": "b"}]), "rankings[0] has no ratio"),
        (part("relevance", [{"measures": {}}]), "relevance[0].measures has no precision_same"),
        (part("agreement", [{"scores": {"micro": 3}}]), "scores.micro is 3, not a table"),
        (part("selective", [{"model": 3}]), "selective[0].model is 3, not a text"),
        (part("groups", [3]), "groups[0] is 3, not a table"),
        (
            part("groups", [{"model": "a", "occluder": "b", "ratio": 0}]),
            "groups[0] has no attribute",
        ),
        (part("group_notes", [3]), "group_notes[0] is 3, not a text"),
        (part("members", {"sex": {"F": 3}}), "members[sex][F] is 3, not a text"),
        (part("vanished", [{"queries": "x"}]), "vanished[0].queries is 'x', not a number"),
        (part("corruptions", [{"parts": [{}]}]), "corruptions[0].parts[0] has no corruption"),
    ],
)
def test_damage_is_named(
    damage: Callable[[Document], None],
    says: str,
    small: Document,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(small)
    path = written(tmp_path, small)
    with pytest.raises(OcclusionError) as fault:
        read_results(path)
    assert says in str(fault.value)
    assert str(path) in str(fault.value)
    assert fault.value.remedy
    page = tmp_path / "page.html"
    assert main(["html", str(path), "--out", str(page)]) == 2
    assert says in capsys.readouterr().err
    assert not page.exists()


def test_every_fault_is_named_at_once(small: Document) -> None:
    for one in small["cells"]:
        one["recall"] = None
    small["suite"], small["cells"][0]["recall"] = 3, 1e999
    with pytest.raises(OcclusionError) as fault:
        completed(small, "r.json")
    assert str(fault.value).startswith("r.json: damaged: suite is 3, not a text; cells[clip-")
    assert str(fault.value).count("recall is None") == 3
    assert "recall is inf, not a number" in str(fault.value)
    assert "; and 8 more" in str(fault.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "NaN", '{"schema": 1, "cells": [NaN]}'])
def test_what_is_no_results_file(content: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(OcclusionError, match="not a result file"):
        read_results(path)
    with pytest.raises(OcclusionError, match="no such file"):
        read_results(tmp_path / "nowhere.json")


def test_a_page_that_cannot_be_written(
    small: Document, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    path = written(tmp_path, small)
    assert main(["html", str(path), "--out", str(tmp_path / "file" / "page.html")]) == 2
    assert "->" in capsys.readouterr().err
