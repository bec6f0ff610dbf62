"""Snapshots: bits and cells round trip, files merge and never lose a cell, damage is named."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from syrupy.data import Snapshot, SnapshotCollection

from pytest_occlusion.engine.results import CellResult
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.gate.provenance import Provenance
from pytest_occlusion.gate.snapshots import (
    RecallSnapshot,
    pack_bits,
    read_baseline,
    snapshot_data,
    snapshot_file,
    snapshot_index,
    unpack_bits,
)

from .results import PROVENANCE, result


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = snapshot_file(tmp_path, "team", "clip")
    path.parent.mkdir(parents=True)
    return path


def write(
    file: Path,
    results: list[CellResult],
    origin: Provenance = PROVENANCE,
    spread: float | None = None,
) -> None:
    """What syrupy does with the cells of one file."""
    collection = SnapshotCollection(location=str(file))
    for one in results:
        index = snapshot_index(file.parent.name, file.stem, one.cell.id)
        data = snapshot_data(one, origin, tolerance=2, spread=spread)
        collection.add(
            Snapshot(name=f"test_recall[{index}]", data=json.dumps(data, sort_keys=True))
        )
    RecallSnapshot.write_snapshot_collection(snapshot_collection=collection)


def stored(file: Path, one: CellResult) -> str | None:
    index = snapshot_index(file.parent.name, file.stem, one.cell.id)
    data = RecallSnapshot().read_snapshot_data_from_location(
        snapshot_location=str(file), snapshot_name=f"test_recall[{index}]", session_id="s"
    )
    assert data is None or isinstance(data, str)
    return data


# Bits --------------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), max_size=70))
def test_bits_round_trip(bits: list[bool]) -> None:
    text = pack_bits(np.array(bits, dtype=np.bool_))
    assert text.isascii()
    assert unpack_bits(text, len(bits)).tolist() == bits
    with pytest.raises(ValueError, match="bytes for"):
        unpack_bits(text, len(bits) + 8)


@pytest.mark.parametrize("text", ["not base64!", "AAA", "é", "AA==\n"])
def test_bits_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever base64 says
        unpack_bits(text, 8)


# Files -------------------------------------------------------------------------------------------


def test_a_cell_round_trips(file: Path) -> None:
    one = result([True, False, True, True, False, False, True, True, True])
    write(file, [one])
    found = read_baseline(file, one.cell.id)
    assert found is not None
    assert (found.hits, found.queries) == (6, 9)
    assert found.hit_queries is not None
    assert found.hit_queries.tolist() == one.hit_queries.tolist()
    assert found.provenance == PROVENANCE
    assert read_baseline(file, "clip-block-r99-k010") is None


def test_absent_files_and_cells_are_none(file: Path) -> None:
    assert read_baseline(file, "x") is None
    assert stored(file, result(1, 2)) is None


def test_merging_keeps_every_other_cell(file: Path) -> None:
    first, second = result(5, 10, k=5), result(6, 10, k=10)
    write(file, [first, second])
    newer = replace(PROVENANCE, weights="91cc" * 16)
    write(file, [result(9, 10, k=10)], newer)
    kept, changed = (read_baseline(file, one.cell.id) for one in (first, second))
    assert kept is not None
    assert changed is not None
    assert (kept.hits, kept.provenance) == (5, PROVENANCE)
    assert (changed.hits, changed.provenance) == (9, newer)
    write(file, [first], newer)
    content = json.loads(file.read_text())
    assert set(content["provenance"]) == {newer.id}
    assert content["provenance"][newer.id] == asdict(newer)


def test_the_file_reads_as_a_list_of_cells(file: Path) -> None:
    results = [result(i, 100, ratio=i / 100, k=k) for i in range(4) for k in (5, 1000)]
    write(file, results[::-1])
    text = file.read_text(encoding="utf-8")
    content = json.loads(text)
    assert list(content) == ["schema", "suite", "model", "provenance", "cells", "hit_queries"]
    assert (content["schema"], content["suite"], content["model"]) == (1, "team", "clip")
    assert list(content["cells"]) == sorted(one.cell.id for one in results)
    for one in results:
        lines = [line for line in text.splitlines() if f'"{one.cell.id}"' in line]
        expected = {"hits": one.hits, "queries": 100, "from": PROVENANCE.id}
        assert len(lines) == 2
        assert lines[0].strip().rstrip(",") == f'"{one.cell.id}": {json.dumps(expected)}'
    assert text.endswith("}\n")
    assert "\r" not in text


def test_one_changed_cell_is_a_diff_of_two_lines(file: Path) -> None:
    write(file, [result(i, 100, ratio=i / 100) for i in range(9)])
    before = file.read_text().splitlines()
    write(file, [result(50, 100, ratio=0.04)])
    after = file.read_text().splitlines()
    assert len(before) == len(after)
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 2


def test_the_first_accepted_hits_outlive_updates(file: Path) -> None:
    for hits, first in ((40, 40), (41, 40), (45, 40), (40, 40), (30, 40)):
        write(file, [result(hits, 100)])
        found = read_baseline(file, result(hits, 100).cell.id)
        assert found is not None
        assert (found.hits, found.first) == (hits, first)
    write(file, [result(20, 50)])
    found = read_baseline(file, result(20, 50).cell.id)
    assert found is not None
    assert found.first == 20


def test_a_calibrated_spread_outlives_updates(file: Path) -> None:
    one = result(40, 100)
    write(file, [one], spread=1.25)
    write(file, [result(41, 100)])
    found = read_baseline(file, one.cell.id)
    assert found is not None
    assert found.spread == 1.25


def test_writing_the_same_again_changes_no_byte(file: Path) -> None:
    results = [result(i, 100, ratio=i / 100) for i in range(3)]
    write(file, results)
    before = file.read_bytes()
    write(file, results[::-1])
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["clip.json"]


def test_no_text_and_no_identifier_can_be_in_it(file: Path) -> None:
    write(file, [result(3, 10)])
    content = json.loads(file.read_text())
    (cell,) = content["cells"].values()
    assert set(cell) == {"hits", "queries", "from"}


# Damage ------------------------------------------------------------------------------------------


def damaged(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def edit(text: str) -> str:
        content = json.loads(text)
        change(content)
        return json.dumps(content)

    return edit


def first_cell(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(iter(content["cells"].values()))
    return found


DAMAGE: dict[str, Callable[[str], str]] = {
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "a merge conflict": lambda text: "<<<<<<< HEAD\n" + text,
    "a list": lambda text: "[]",
    "no cells": damaged(lambda content: content.pop("cells")),
    "cells in a list": damaged(lambda content: content.update(cells=[1])),
    "a cell that is a number": damaged(
        lambda content: content["cells"].update(dict.fromkeys(content["cells"], 3))
    ),
    "no hits": damaged(lambda content: first_cell(content).pop("hits")),
    "hits in words": damaged(lambda content: first_cell(content).update(hits="many")),
    "hits without end": damaged(lambda content: first_cell(content).update(hits=float("inf"))),
    "hits of nothing": damaged(lambda content: first_cell(content).update(hits=None)),
    "first hits in words": damaged(lambda content: first_cell(content).update(first="many")),
    "a spread in words": damaged(lambda content: first_cell(content).update(spread="wide")),
    "bits cut short": damaged(
        lambda content: content["hit_queries"].update(dict.fromkeys(content["cells"], "AA=="))
    ),
    "bits in a list": damaged(
        lambda content: content["hit_queries"].update({cell: [1] for cell in content["cells"]})
    ),
    "bits nowhere": damaged(lambda content: content.update(hit_queries=[])),
    "a provenance in a list": damaged(lambda content: content.update(provenance=[])),
    "an unhashable provenance": damaged(lambda content: first_cell(content).update({"from": []})),
    "a strange provenance": damaged(
        lambda content: next(iter(content["provenance"].values())).update(colour="red")
    ),
}


@pytest.mark.parametrize("damage", sorted(DAMAGE))
def test_damage_names_the_file_and_the_repair(file: Path, damage: str) -> None:
    one = result(20, 40)
    write(file, [one])
    file.write_text(DAMAGE[damage](file.read_text()))
    with pytest.raises(OcclusionError) as caught:
        read_baseline(file, one.cell.id)
    assert f"{file}: the snapshot file is damaged" in str(caught.value)
    assert "version control" in caught.value.remedy
    assert "--snapshot-update" in caught.value.remedy


@pytest.mark.parametrize("damage", sorted(DAMAGE))
def test_an_update_repairs_damage(file: Path, damage: str) -> None:
    one = result(20, 40)
    write(file, [one])
    file.write_text(DAMAGE[damage](file.read_text()))
    new = json.dumps(snapshot_data(result(20, 40), PROVENANCE, tolerance=0))
    old = stored(file, one)
    if old is not None:
        RecallSnapshot().matches(serialized_data=new, snapshot_data=old)
    write(file, [one])
    found = read_baseline(file, one.cell.id)
    assert found is not None
    assert found.hits == 20


@pytest.mark.parametrize(
    "line", [3, None, [1], {"hits": 1, "queries": 2, "from": []}, {"hits": 1, "queries": 2}]
)
def test_an_update_copes_with_what_stands_in_other_cells(file: Path, line: object) -> None:
    one = result(20, 40)
    write(file, [one])
    content = json.loads(file.read_text())
    content["cells"]["clip-block-r99-k001"] = line
    file.write_text(json.dumps(content))
    write(file, [one])
    found = read_baseline(file, one.cell.id)
    assert found is not None
    assert found.hits == 20


def test_a_file_that_is_not_utf8(file: Path) -> None:
    file.write_bytes(b"\xff\xfe{}")
    with pytest.raises(OcclusionError, match="damaged"):
        read_baseline(file, "x")


def test_a_folder_in_place_of_the_file(file: Path) -> None:
    file.mkdir()
    with pytest.raises(OcclusionError, match="damaged"):
        read_baseline(file, "x")


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema_says_which(file: Path, schema: object) -> None:
    write(file, [result(1, 2)])
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": schema}))
    with pytest.raises(OcclusionError) as caught:
        read_baseline(file, result(1, 2).cell.id)
    assert f"{file}: snapshot schema {schema!r}, this version reads 1" in str(caught.value)
    assert "update pytest-occlusion" in caught.value.remedy


def test_hand_written_cells_need_only_hits_and_queries(file: Path) -> None:
    one = result(1, 2)
    content = {"schema": 1, "cells": {one.cell.id: {"hits": 1, "queries": 2}}}
    file.write_text(json.dumps(content))
    found = read_baseline(file, one.cell.id)
    assert found is not None
    assert (found.hits, found.queries) == (1, 2)
    assert found.hit_queries is None
    assert found.provenance is None
    other = result(2, 2, k=99)
    write(file, [other])
    assert read_baseline(file, one.cell.id) == found
    assert read_baseline(file, other.cell.id) is not None


# Matching ----------------------------------------------------------------------------------------

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["hits", "queries", "tolerance"]), inner, max_size=3),
    ),
    max_leaves=5,
)


@given(st.one_of(st.text(max_size=6), json_values.map(json.dumps)), json_values.map(json.dumps))
def test_matches_never_raises(one: str, other: str) -> None:
    extension = RecallSnapshot()
    for new, old in ((one, other), (other, one), (one, one)):
        found = extension.matches(serialized_data=new, snapshot_data=old)
        assert isinstance(found, bool)


@example(10**400, 1.5, "hits")
@example(1.5, 10**400, "hits")
@given(json_values, json_values, st.sampled_from(["hits", "queries", "tolerance", "spread"]))
def test_one_strange_value_never_matches_by_raising(new: Any, old: Any, name: str) -> None:
    flags = {"accepted": False, "anew": False, "spread": None}
    good = {"hits": 3, "queries": 9, "tolerance": 1, **flags}
    assert RecallSnapshot().matches(
        serialized_data=json.dumps(good), snapshot_data=json.dumps(good)
    )
    extension = RecallSnapshot()
    strange_new, strange_old = {**good, name: new}, {**good, name: old}
    for left, right in ((strange_new, good), (good, strange_old), (strange_new, strange_old)):
        found = extension.matches(serialized_data=json.dumps(left), snapshot_data=json.dumps(right))
        assert isinstance(found, bool)


@pytest.mark.parametrize(
    ("hits", "queries", "expected"),
    [(40, 100, True), (42, 100, True), (43, 100, False), (38, 100, True), (40, 99, False)],
)
def test_matching_is_the_rule_of_the_verdicts(hits: int, queries: int, expected: bool) -> None:
    extension = RecallSnapshot()
    new = extension.serialize(snapshot_data(result(hits, queries), PROVENANCE, tolerance=2))
    old = extension.serialize(snapshot_data(result(40, 100), PROVENANCE, tolerance=0))
    assert extension.matches(serialized_data=new, snapshot_data=old) is expected


def test_what_is_accepted_always_matches_and_what_is_calibrated_never() -> None:
    extension = RecallSnapshot()
    old = extension.serialize(snapshot_data(result(40, 100), PROVENANCE, tolerance=0))
    new = snapshot_data(result(10, 100), PROVENANCE, tolerance=0, accepted=True)
    assert extension.matches(serialized_data=extension.serialize(new), snapshot_data=old)
    new = snapshot_data(result(40, 100), PROVENANCE, tolerance=9, spread=0.5)
    assert not extension.matches(serialized_data=extension.serialize(new), snapshot_data=old)


# What syrupy asks --------------------------------------------------------------------------------


def test_syrupy_finds_every_cell_and_deletes_none(file: Path) -> None:
    results = [result(i, 10, k=i + 1) for i in range(5)]
    write(file, results)
    extension = RecallSnapshot()
    collection = extension.read_snapshot_collection(snapshot_location=str(file))
    assert {snapshot.name for snapshot in collection} == {one.cell.id for one in results}
    extension.delete_snapshots(
        snapshot_location=str(file), snapshot_names={one.cell.id for one in results}
    )
    assert all(read_baseline(file, one.cell.id) for one in results)
    assert not list(extension.discover_snapshots())


def test_serialized_data_is_what_is_read_back(file: Path) -> None:
    one = result([True, False, True])
    data = snapshot_data(one, PROVENANCE, tolerance=1)
    write(file, [one])
    found = json.loads(str(stored(file, one)))
    assert found == {"hits": 2, "queries": 3, "from": PROVENANCE.id}
    assert RecallSnapshot().matches(
        serialized_data=json.dumps(data), snapshot_data=json.dumps(found)
    )


# Several processes -------------------------------------------------------------------------------


def write_some(file: Path, worker: int) -> None:
    origin = replace(PROVENANCE, device=f"device {worker}")
    for i in range(8):
        write(file, [result(i, 16, k=100 * worker + i + 1)], origin)


def test_concurrent_merges_lose_nothing(file: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, mp_context=context) as pool:
        list(pool.map(partial(write_some, file), range(4)))
    content = json.loads(file.read_text())
    assert len(content["cells"]) == len(content["hit_queries"]) == 32
    assert len(content["provenance"]) == 4
    for worker in range(4):
        for i in range(8):
            found = read_baseline(file, result(i, 16, k=100 * worker + i + 1).cell.id)
            assert found is not None
            assert found.hits == i
            assert found.provenance is not None
            assert found.provenance.device == f"device {worker}"
    assert [path.name for path in file.parent.iterdir()] == ["clip.json"]
