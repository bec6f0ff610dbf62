"""Rows of what stands beside recall: worked out once, merged in one order, summed and compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.engine.job import Measured
from pytest_occlusion.engine.results import cell_results
from pytest_occlusion.gate.groups import GroupVerdict, Judgement
from pytest_occlusion.gate.snapshots import unpack_bits
from pytest_occlusion.insight.groups import group_results
from pytest_occlusion.insight.retrieved import retrieved_of
from pytest_occlusion.reporting import rows
from pytest_occlusion.reporting.schema import Record
from pytest_occlusion.suite.grid import Cell, GroupedCurve
from tests.insight.test_groups import CURVE, KS, QUERIES, Measurements, grouping, session

# Merging -----------------------------------------------------------------------------------------


def record(model: str, attribute: str, occluder: str) -> dict[str, list[Record]]:
    """What one test of groups sends: groups in their own order, within each cell."""
    place = {"model": model, "direction": "image-to-text", "occluder": occluder}
    return {
        "groups": [
            {**place, "attribute": attribute, "ratio": ratio, "k": k, "group": group}
            for ratio in (0.0, 0.25)
            for k in (5, 10)
            for group in ("9-19", "100-119", "M", "F")
        ],
        "selective": [{**place, "ratio": ratio, "k": 10} for ratio in (None, 0.0, 0.25)],
        "vanished": [{"model": model, "attribute": attribute, "group": "AP", "queries": 9}],
    }


RECORDS = [record(m, a, o) for m in "ba" for a in ("sex", "age") for o in ("pixels", "block")]


@given(st.permutations(RECORDS), st.integers(0, len(RECORDS)))
def test_the_order_does_not_depend_on_who_was_first(
    records: list[dict[str, list[Record]]], again: int
) -> None:
    """Also where a test was run twice."""
    found = rows.merged_rows([*records, *records[:again]])
    assert found == rows.merged_rows(RECORDS)
    assert found["rankings"] == []
    assert len(found["groups"]) == 8 * 16
    assert [row["group"] for row in found["groups"]] == ["9-19", "100-119", "M", "F"] * 32
    keys = [tuple(row[name] for name in rows.KEYS["groups"]) for row in found["groups"]]
    assert keys == sorted(keys)
    assert [row["ratio"] for row in found["selective"][:3]] == [0.0, 0.25, None]
    assert [(row["model"], row["attribute"]) for row in found["vanished"]] == [
        (m, a) for m in "ab" for a in ("age", "sex")
    ]


# RSUM --------------------------------------------------------------------------------------------


def ranking(direction: str, *recalls: float | None, **place: Any) -> Record:
    names = ("recall_1", "recall_5", "recall_10")
    about = {"model": "m", "direction": direction, "occluder": "block", "ratio": 0.0, **place}
    return {**about, **dict(zip(names, recalls, strict=True))}


def test_rsum_is_over_the_directions_that_were_measured() -> None:
    both = [ranking("image-to-text", 0.1, 0.2, 0.3), ranking("text-to-image", 0.2, 0.4, 0.6)]
    other = [ranking("image-to-text", 0.5, 0.5, 0.5, ratio=0.25)]
    found = rows.with_rsum([*both, *other])
    assert [row["ways"] for row in found] == [2, 2, 1]
    assert [row["rsum"] for row in found] == pytest.approx([180.0, 180.0, 150.0])
    few = [ranking("image-to-text", 0.1, 0.2, 0.3), ranking("text-to-image", 0.2, 0.4, None)]
    assert [row["rsum"] for row in rows.with_rsum(few)] == [None, None]
    assert rows.with_rsum([]) == []


# Corruptions -------------------------------------------------------------------------------------


def corrupted(model: str, recalls: dict[str, list[float]], **place: Any) -> list[Record]:
    """Cells of severities 0, 1, 2 ... of each corruption."""
    return [
        {
            "model": model,
            "direction": "image-to-text",
            "k": 10,
            "occluder": name,
            "ratio": severity / 5,
            "recall": recall,
            **place,
        }
        for name, own in recalls.items()
        for severity, recall in enumerate(own)
    ]


def test_what_corruptions_cost_beside_a_reference() -> None:
    cells = corrupted("a", {"blur": [0.8, 0.6, 0.4], "jpeg": [0.8, 0.8, 0.6]})
    cells += corrupted("b", {"blur": [0.5, 0.4, 0.2], "jpeg": [0.5, 0.5, 0.4]})
    cells += corrupted("a", {"block": [0.8, 0.1]})
    one, other = rows.corruption_rows(cells, "b")
    assert (one["model"], one["reference"], other["model"]) == ("a", "b", "b")
    blur, jpeg = one["parts"]
    assert [part["corruption"] for part in one["parts"]] == ["blur", "jpeg"]
    assert (blur["mmi"], jpeg["mmi"]) == pytest.approx(((0.2 + 0.4) / 2 / 0.8, 0.1 / 0.8))
    assert (blur["ce"], jpeg["ce"]) == pytest.approx((1.0 / 1.4, 0.6 / 1.1))
    assert (blur["relative_ce"], jpeg["relative_ce"]) == pytest.approx((0.6 / 0.4, 0.2 / 0.1))
    assert one["mmi"] == pytest.approx((blur["mmi"] + jpeg["mmi"]) / 2)
    assert one["mce"] == pytest.approx((blur["ce"] + jpeg["ce"]) / 2)
    assert one["relative_mce"] == pytest.approx((blur["relative_ce"] + jpeg["relative_ce"]) / 2)
    assert (other["mce"], other["relative_mce"]) == pytest.approx((1.0, 1.0))


@pytest.mark.parametrize("reference", ["", "gone"])
def test_without_a_reference_there_is_nothing_to_compare(reference: str) -> None:
    (one,) = rows.corruption_rows(corrupted("a", {"blur": [0.8, 0.6]}), reference)
    assert (one["reference"], one["mce"], one["relative_mce"]) == (None, None, None)
    assert one["mmi"] == pytest.approx(0.25)


def test_a_reference_of_other_severities_is_none() -> None:
    cells = corrupted("a", {"blur": [0.8, 0.6, 0.4]}) + corrupted("b", {"blur": [0.8, 0.6]})
    assert [row["reference"] for row in rows.corruption_rows(cells, "b")] == [None, "b"]
    cells = corrupted("a", {"blur": [0.8, 0.6]}) + corrupted("b", {"blur": [0.8, 0.6]}, k=5)
    assert [row["reference"] for row in rows.corruption_rows(cells, "b")] == [None, "b"]


def test_nothing_is_said_without_clean_pictures_or_corrupted_ones() -> None:
    cells = corrupted("a", {"blur": [0.8, 0.6]})
    assert rows.corruption_rows(cells[1:], "a") == []
    assert rows.corruption_rows(cells[:1], "a") == []
    assert rows.corruption_rows(corrupted("a", {"block": [0.8, 0.6]}), "a") == []


def test_a_reference_that_loses_nothing() -> None:
    cells = corrupted("a", {"blur": [0.8, 0.6]}) + corrupted("b", {"blur": [0.5, 0.5]})
    one, other = rows.corruption_rows(cells, "b")
    assert one["mce"] is not None
    assert (one["relative_mce"], other["relative_mce"]) == (None, None)


# Of a session ------------------------------------------------------------------------------------

CELL = Cell("m", "image-to-text", "block", 0.25, KS[0])


class Keyed(Measurements):
    """Ranks that have a key, as those of the pipeline."""

    def measured(self, cell: Cell) -> list[Measured]:
        own = super().measured(cell)
        return [replace(one, key=f"{cell.ratio}/{at}") for at, one in enumerate(own)]


def keyed(root: Path | None, **changes: Any) -> Keyed:
    made = session(seeds=(0, 1))
    found = Keyed(replace(made.settings, store=root, **changes))
    found.__dict__["corpus"] = made.corpus
    return found


def beside(made: Keyed, k: int = KS[0]) -> dict[str, list[Record]]:
    cell = replace(CELL, k=k)
    (result,) = cell_results(
        [cell], made.measured(cell), made.task, made.resamples("image-to-text")
    )
    return rows.beside_recall(made, result)


def test_rows_are_worked_out_once_for_all_list_lengths_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Cell] = []

    def counted(made: Any, cell: Cell) -> Any:
        asked.append(cell)
        return retrieved_of(made, cell)

    monkeypatch.setattr(rows, "retrieved_of", counted)
    made = keyed(tmp_path)
    first, other = beside(made), beside(made, KS[1])
    assert len(asked) == 1
    assert [[row["k"] for row in own["relevance"]] for own in (first, other)] == [[1], [5]]
    for section in ("rankings", "agreement", "selective"):
        assert first[section] == other[section]
        assert len(first[section]) == 1
    assert beside(keyed(tmp_path)) == first, "what the store gives back is the same"
    assert len(asked) == 1
    beside(keyed(tmp_path, uncertain="negative"))
    beside(keyed(tmp_path, labels=("none",)))
    assert len(asked) == 3, "other labels or another rule are another question"
    beside(keyed(None))
    assert len(asked) == 4, "without a store nothing is kept"


def test_without_labels_nothing_is_said_of_relevance() -> None:
    made = keyed(None, labels=("none",))
    found = beside(made)
    assert (found["relevance"], found["agreement"]) == ([], [])
    assert len(found["rankings"]) == len(found["selective"]) == 1
    assert rows.labels_record(made) == {}


def test_all_levels_of_a_curve_come_together() -> None:
    made = keyed(None)
    (row,) = rows.curve_record(made, CURVE)["selective"]
    assert (row["ratio"], row["occluder"], len(row["risks"])) == (None, "block", 10)
    assert rows.curve_record(made, replace(CURVE, direction="text-to-image")) == {}


def test_a_record_of_groups_is_plain_and_names_who_is_where() -> None:
    made = session(seeds=(0, 1))
    split = grouping(made)
    found = group_results(made, CURVE, split)
    verdict = GroupVerdict("regressed", 1, 20, 9, 2, 0.01, 0.02)
    judgement = Judgement([verdict, *[None] * (len(found) - 1)], vanished={"X": 7})
    sent = rows.group_record(made, GroupedCurve(CURVE, "sex"), split, found, judgement)
    first, second = sent["groups"][:2]
    assert (first["verdict"], first["lost"], first["p_adjusted"]) == ("regressed", 9, 0.02)
    assert (second["verdict"], second["lost"], second["p_adjusted"]) == ("", None, None)
    assert (first["widening"], first["gap"]) == (None, pytest.approx(found[0].gap.value))  # type: ignore[union-attr]
    assert {row["judged"] for row in sent["groups"]} == {False}, "fewer than 30 of each seed"
    assert sent["vanished"] == [{"model": "m", "attribute": "sex", "group": "X", "queries": 7}]
    assert sent["notes"] == ["sex is not known of 9 of 60 radiographs"]
    for name, text in sent["members"]["sex"].items():
        bits = unpack_bits(text, 2 * QUERIES)
        np.testing.assert_array_equal(bits, np.tile(split.members[name], 2))
