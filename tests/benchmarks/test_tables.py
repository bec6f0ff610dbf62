"""``benchmarks/tables.py``: what it prints of a run's results."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.scripts import load_script

LEVELS = {"block": [0.0, 0.25, 0.81], "blur": [0.0, 0.6, 1.0]}
RECALLS = {
    ("plain", "block"): [0.4, 0.2, 0.1],
    ("plain", "blur"): [0.4, 0.3, 0.123],
    ("better", "block"): [0.8, 0.4, 0.15],
    ("better", "blur"): [0.8, 0.6, 0.456],
}


@pytest.fixture
def results() -> dict[str, Any]:
    cells = [
        {
            "id": f"{model}-{occluder}-{direction}-{level}-{k}",
            "model": model,
            "occluder": occluder,
            "direction": direction,
            "ratio": level,
            "k": k,
            "hits": 0,
            "queries": 1000,
            "recall": recall if (k, direction) == (10, "image-to-text") else 0.9,
            "ci_low": recall - 0.05,
            "ci_high": recall + 0.1,
            "chance": 0.05,
            "constant": 0.3,
        }
        for (model, occluder), recalls in RECALLS.items()
        for level, recall in zip(LEVELS[occluder], recalls, strict=True)
        for k in (5, 10)
        for direction in ("image-to-text", "text-to-image")
    ]
    curves = [
        {"model": model, "occluder": occluder, "k": k, "direction": direction, "area": area}
        for (model, occluder), area in zip(RECALLS, (0.5, 0.75, 0.25, None), strict=True)
        for k in (5, 10)
        for direction in ("text-to-image", "image-to-text")
    ]
    for curve in curves:
        if (curve["k"], curve["direction"]) != (10, "image-to-text"):
            curve["area"] = 0.99
    estimate = {"label": "plain", "value": -1.234, "low": -2.0, "high": -0.5, "threshold": 0.0}
    claim = {
        "claim": "best",
        "statement": "it falls",
        "outcome": "supported",
        "unit": "points",
        "estimates": [estimate],
        "notes": ["without better"],
    }
    return {
        "schema": 1,
        "corpus": {"candidates": 1234},
        "cells": cells,
        "curves": curves,
        "claims": [claim],
    }


def printed(
    results: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str], *args: str
) -> str:
    path = folder / "results.json"
    path.write_text(json.dumps(results))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tables.py", str(path), *args])
        load_script("tables").main()
    return capsys.readouterr().out


def test_every_table(
    results: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(results, tmp_path, capsys, "--models", "better,plain")
    assert text.split("\n\n") == [
        "R@10 in multiples of chance (5.00 %, 1,234 candidate texts; the best ranking that ignores "
        "the image: 6.0)",
        "| | 0 % | 25 % | 81 % | area |\n"
        "|---|---:|---:|---:|---:|\n"
        "| `better` | 16.0 | 8.0 | 3.0 | 0.25 |\n"
        "| `plain` | 8.0 | 4.0 | 2.0 | 0.50 |",
        "at the highest ratio, with intervals",
        "- `better`: 3.00 [2.00, 5.00]\n- `plain`: 2.00 [1.00, 4.00]",
        "area under the retention of R@10",
        "| | `better` | `plain` |\n|---|---:|---:|\n| `block` | 0.25 | 0.50 |\n| `blur` | | 0.75 |",
        "R@10 in percent of better",
        "| severity | 0 | 3 | 5 |\n|---|---:|---:|---:|\n| `blur` | 80.0 | 60.0 | 45.6 |",
        "claims",
        "| claim | outcome | numbers, 95 % intervals |\n"
        "|---|---|---|\n"
        "| it falls | supported | points: plain -1.23 [-2.00, -0.50]; without better |",
        "",
    ]


def test_severities_without_an_untouched_picture(
    results: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results["cells"] = [cell for cell in results["cells"] if cell["ratio"]]
    text = printed(results, tmp_path, capsys)
    assert "R@10 in percent of better\n\n| severity | 3 | 5 |" in text
    assert (
        load_script("tables")
        .table(["", "a", "b", "c"], [["x", "", "", "1"]])
        .endswith("\n| x | | | 1 |")
    )


def test_groups_with_enough_queries(
    results: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One row per group that is judged, at this k and direction under blocks."""
    row = {
        "model": "better", "direction": "image-to-text", "occluder": "block", "ratio": 0.0, "k": 10,
        "attribute": "view", "group": "PA", "queries": 1200, "patients": 40, "hits": 960,
        "recall": 0.8, "ci_low": 0.751, "ci_high": 0.856, "retention": None,
        "gap": None, "gap_low": None, "gap_high": None, "judged": True, "verdict": "",
        **dict.fromkeys(("widening", "widening_low", "widening_high", "widening_p")),
        **dict.fromkeys(("widening_p_adjusted", "tolerance", "baseline_hits", "lost", "gained")),
        **dict.fromkeys(("p_value", "p_adjusted")),
    }  # fmt: skip
    half = {**row, "ratio": 0.25, "recall": 0.4, "ci_low": 0.35, "ci_high": 0.45, "retention": 0.5}
    others = [
        {**row, "k": 5},
        {**row, "occluder": "patches"},
        {**row, "group": "AP", "judged": False},
    ]
    results |= {"schema": 2, "groups": [row, half, {**half, "ratio": 0.81}, *others]}
    text = printed(results, tmp_path, capsys)
    assert (
        "groups of better\n\n| better, R@10 in percent | n | 0 % | 25 % | left at 25 % |\n"
        "|---|---:|---:|---:|---:|\n| view: PA | 1,200 | 80.0 [75, 86] | 40.0 [35, 45] | 50 % |\n"
    ) in text
    assert "view: AP" not in text


def test_a_file_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["tables.py", str(tmp_path / "none.json")])
    with pytest.raises(SystemExit):
        load_script("tables").main()
    assert "none.json: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--models", "plain,nobody"), "not in the file: nobody; there: plain, better"),
        (("-k", "7"), "the file has no cell at k = 7"),
    ],
)
def test_what_is_not_there(
    args: tuple[str, ...],
    says: str,
    results: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        printed(results, tmp_path, capsys, *args)
    assert says in capsys.readouterr().err
