"""Quick runs in words: what is red first, what is not certain, nothing in two places."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_occlusion.errors import OcclusionError, UnacceptedError
from pytest_occlusion.gate.growing import Part
from pytest_occlusion.gate.quick import NO_SIGN, QuickVerdict, SeenCell
from pytest_occlusion.gate.verdicts import NEW, REGRESSED
from pytest_occlusion.hooks.quick import QuickCurveCheck
from pytest_occlusion.reporting.quick import (
    as_json,
    as_markdown,
    explain_quick,
    quick_record,
    summary,
)
from pytest_occlusion.reporting.reading import read_results
from pytest_occlusion.suite.grid import Cell

WHOLE = Part("block", None, None, 354, 2124, 201, 96, 0.005, 2e-7, 0.07, 2e-7, regressed=True)
LEVEL = Part("block", 0.25, None, 44, 264, 30, 10, 0.01, 0.2, 0.1, 0.4)
FEW = Part("block", None, 5, 354, 354, 30, 10, 0.01, 0.2, 0.1, 0.4)
CELLS = [Cell("m", "image-to-text", "block", ratio, 5) for ratio in (0.25, 0.36)]
LOST = QuickVerdict(
    "m",
    [WHOLE, LEVEL, FEW],
    {CELLS[0]: SeenCell(44, 9, 2, 0.01), CELLS[1]: SeenCell(44, 1, 1, 0.01)},
    {},
    354,
    300,
    14160,
    1,
)


def told(verdict: QuickVerdict, width: int = 80) -> list[str]:
    return [line.text for line in summary([quick_record(verdict)], "0.1", width)]


def test_cells_of_what_regressed() -> None:
    assert [LOST.kind(cell) for cell in CELLS] == [REGRESSED, NO_SIGN]
    assert LOST.red
    level = replace(LEVEL, regressed=True)
    other = replace(LOST, parts=[replace(WHOLE, regressed=False), level, FEW])
    assert [other.kind(cell) for cell in CELLS] == [REGRESSED, NO_SIGN]
    assert replace(LOST, cells={}, lacking={CELLS[0]: "why"}).kind(CELLS[0]) == NEW


def test_a_loss_of_all_together_makes_the_worst_cell_red() -> None:
    """Of cells with tolerances of their own none may have lost too much, and yet all together."""
    cells = [Cell("m", "image-to-text", "block", 0.25, k) for k in (1, 5, 10)]
    seen = [SeenCell(1000, 49, 0, 0.1), SeenCell(1000, 9, 0, 0.02), SeenCell(1000, 8, 0, 0.02)]
    verdict = replace(LOST, parts=[WHOLE], cells=dict(zip(cells, seen, strict=True)))
    assert not any(one.beyond for one in seen)
    assert [verdict.kind(cell) for cell in cells] == [REGRESSED, NO_SIGN, NO_SIGN]


def test_a_curve_is_red_for_a_level_too() -> None:
    """Where only curves are asked for, no cell would tell."""
    level = replace(LEVEL, regressed=True)
    verdict = replace(LOST, parts=[replace(WHOLE, regressed=False), level, FEW])
    gate: Any = SimpleNamespace(cells=lambda model: CELLS, verdict=lambda folder, model: verdict)
    check = QuickCurveCheck(gate, Path(), "pytest x", "pytest x --snapshot-update", CELLS[0].curve)
    with pytest.raises(UnacceptedError, match="m lost recall") as fault:
        check.assert_accepted()
    assert fault.value.brief == "curve m-block: -7.6 pt in a sample (block 25 %)"
    verdict = replace(verdict, parts=[replace(one, regressed=False) for one in verdict.parts])
    check.assert_accepted()


def test_the_explanation_begins_with_what_to_do() -> None:
    lines = explain_quick(LOST, full="pytest x")
    assert lines[0] == "m lost recall: -4.9 pt (block, all)"
    assert lines[1] == "  measure it whole: pytest x"
    marked = [line for line in lines if line.endswith("!")]
    assert len(marked) == 1
    assert "block, all " in marked[0]
    assert all(len(line) <= 80 for line in lines)


def test_the_summary_fits_and_says_what_it_is() -> None:
    lines = told(LOST)
    assert all(len(line) <= 80 for line in lines)
    assert lines[2].split() == ["m", "354", "2.5", "%", "-4.9", "pt", "regressed", "(p", "2e-07)"]
    assert "300 of 354 forward passes were made" in " ".join(lines)


@pytest.mark.parametrize(
    ("whole", "level", "said"),
    [
        ({"p_adjusted": 0.3, "highest": 0.012}, {}, "no sign of loss down to 1.2 points"),
        ({"p_adjusted": 0.01, "highest": 0.03}, {}, "no significant loss (p 0.01), up to 3.0 pt"),
        ({"p_adjusted": 0.3, "highest": -0.01}, {}, "no sign of loss down to 0.0 points"),
        ({"p_adjusted": 0.3, "highest": 0.0001}, {}, "no sign of loss down to 0.1 points"),
        (
            {"p_adjusted": 1e-9, "highest": 0.06, "tolerance": 0.05},
            {},
            "a loss within the tolerance, up to 6.0 pt",
        ),
        (
            {"p_adjusted": 0.3},
            {"regressed": True, "p_adjusted": 1e-5},
            "regressed: block 25 % (p 1e-05)",
        ),
    ],
)
def test_verdicts_in_words(whole: dict[str, float], level: dict[str, float], said: str) -> None:
    parts = [replace(WHOLE, regressed=False, **whole), replace(LEVEL, **level)]  # type: ignore[arg-type]
    assert told(replace(LOST, parts=parts))[2].endswith(said)


def test_no_change_has_no_minus() -> None:
    none = replace(WHOLE, lost=1, gained=1, regressed=False, p_adjusted=1.0)
    assert "+0.0 pt" in told(replace(LOST, parts=[none]))[2]
    assert "+0.0 pt" in told(replace(LOST, parts=[replace(none, gained=0)]))[2]


def test_what_was_not_judged_is_said() -> None:
    lines = told(QuickVerdict("m", (), {}, {CELLS[0]: "there is no baseline"}))
    assert "m: 1 cell not judged: there is no baseline" in lines
    lines = told(QuickVerdict("m", (), {}, {}))
    assert any(line.startswith("m not judged: no selected cell is one") for line in lines)


def test_a_headline_is_not_green_where_something_was_not_judged() -> None:
    green = replace(LOST, parts=[replace(WHOLE, regressed=False)])
    assert (
        as_markdown([quick_record(green)], "s", "60s").splitlines()[0].endswith("no sign of loss")
    )
    faulty = {"model": "n", "fault": "its measurement failed"}
    text = as_markdown([quick_record(green), faulty], "s", "60s")
    assert text.splitlines()[0].endswith(": n not judged, or not whole")
    assert "- n not judged: its measurement failed" in text
    lacking = quick_record(replace(green, lacking={CELLS[0]: "there is no baseline"}))
    assert "no sign of loss" not in as_markdown([lacking], "s", "60s").splitlines()[0]


def test_long_names_and_several_occluders_line_up() -> None:
    name = "cxr-clip-swin-mimic"
    noise = replace(WHOLE, occluder="noise", regressed=False, p_adjusted=1.0)
    lines = told(replace(LOST, model=name, parts=[WHOLE, LEVEL, noise]))
    assert lines[3].index("-4.9 pt") == lines[4].index("-4.9 pt")
    assert re.search(r"^  noise .* pt  no sign of loss", lines[4])
    assert all(len(line) <= 80 for line in lines)


def test_files(tmp_path: Path) -> None:
    record = quick_record(LOST)
    text = as_markdown([record], "ours", "0.1")
    assert text.startswith("### Occlusion, suite ours, quick (0.1): m lost recall\n")
    assert "| m | block | 354 (2.5 %) | -4.9 pt | regressed (p 2e-07) |" in text
    file = tmp_path / "out.json"
    file.write_text(as_json([record], "ours", "0.1"))
    assert json.loads(file.read_text())["models"][0]["parts"][0]["loss"] == pytest.approx(
        0.0494, 1e-2
    )
    with pytest.raises(OcclusionError, match="of a quick run, which measured a sample"):
        read_results(file)
