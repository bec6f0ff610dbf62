"""Timings: one record per pass, its rankings added up, a short line per model."""

from __future__ import annotations

from typing import Any

from pytest_occlusion.reporting.terminal import summary
from pytest_occlusion.reporting.timings import merged, speed_lines
from tests.reporting.fabricated import results, timing


def record(ratio: float, **changes: Any) -> dict[str, Any]:
    """What one cell of a pass sends."""
    return {
        "model": "clip", "pass": "a", "fresh": True, "of": ["image-to-text", "block", ratio, 0],
        "ranked": 100, "rank_seconds": 0.5, "draw_seconds": 2.0, "encode_seconds": 9.0,
        "wait_seconds": 1.0, "encoded_images": 800, "radiographs": 100, "peak_bytes": 3 << 29,
        **changes,
    }  # fmt: skip


def test_cells_that_differ_in_k_share_a_ranking() -> None:
    found = merged([record(0.0), record(0.25), record(0.25), record(0.0)])
    assert len(found) == 1
    assert (found[0]["ranked"], found[0]["rank_seconds"]) == (200, 1.0)
    assert (found[0]["encoded_images"], found[0]["encode_seconds"]) == (800, 9.0)
    assert "of" not in found[0]


def test_the_order_of_arrival_does_not_matter() -> None:
    records = [record(0.0), record(0.25, **{"pass": "b"}), record(0.0, model="other")]
    assert merged(records) == merged(records[::-1])
    assert [(one["model"], one["pass"]) for one in merged(records)] == [
        ("clip", "a"), ("clip", "b"), ("other", "a"),
    ]  # fmt: skip


def test_a_line_per_model() -> None:
    records = [record(0.0), record(0.25, **{"pass": "b"}), record(0.0, model="old", fresh=False)]
    assert list(speed_lines(merged(records))) == [
        "clip: drawn 50/s, encoded 89/s, ranked 200/s, wait 10 %, 1.5 GiB"
    ]


def test_what_is_not_known_is_left_out() -> None:
    names = ("draw_seconds", "encode_seconds", "wait_seconds", "rank_seconds", "peak_bytes")
    unknown = record(0.0, **dict.fromkeys(names))
    assert list(speed_lines([unknown])) == []
    assert list(speed_lines([{**unknown, "rank_seconds": 1e-5}])) == ["clip: ranked 10,000k/s"]


def test_lines_of_the_longest_published_name_fit() -> None:
    document = results(5, occluders=("block",))
    largest = {"encoded_images": 250_000, "ranked": 25_000, "peak_bytes": 99 << 30}
    wide = {**timing(0, "cxr-clip-swin"), **largest, "wait_seconds": 100.0}
    lines = [line.text for line in summary(document, width=80, unicode=True, notes=[])]
    assert "speed of what was measured in this run" in lines
    assert max(map(len, speed_lines([wide]))) <= 80
    assert max(map(len, lines)) <= 80


def test_a_models_table_says_how_fast_it_encoded_or_that_it_did_not() -> None:
    document = results(2, occluders=("block",))
    first, second = document["models"]
    twice = [record(0.0, model=first, **{"pass": name}) for name in "ab"]
    stored = record(0.0, model=first, fresh=False, encoded_images=10**6)
    idle = record(0.0, model=second, encode_seconds=0.0, encoded_images=0)
    document["timings"] = [*twice, stored, idle]
    lines = [line.text for line in summary(document, width=100, unicode=True, notes=[])]
    said = [text.rpartition(", ")[2] for text in lines if ", weights " in text]
    assert set(said[: len(said) // 2]) == {"89 images/s"}
    assert set(said[len(said) // 2 :]) == {"from store"}
