"""Which red test is explained, and the table that stands for the others."""

from __future__ import annotations

import re
from typing import Any

from pytest_occlusion.reporting import views
from pytest_occlusion.reporting.reds import Red, others, told
from tests.reporting.fabricated import KS, results

MODEL = "cxr-repair"
"""The one that fabricated results let lose."""


def reds(model: str = MODEL, kind: str = "regressed") -> list[Red]:
    found = results(occluders=("block", "center"))["cells"]
    return [Red(model, "", c) for c in found if c["model"] == model and c["verdict"] == kind]


def test_the_cell_that_lost_most_is_explained() -> None:
    own = reds()
    losses = [views.moved(red.cell) for red in own if red.cell]
    assert losses[told(own)] == min(losses) < 0


def altered(red: Red, **changes: Any) -> Red:
    assert red.cell is not None
    return Red(red.model, red.text, {**red.cell, **changes})


def test_losses_are_explained_before_gains_and_both_before_the_rest() -> None:
    loss, *rest = reds()
    gain, new = altered(rest[0], verdict="improved"), altered(rest[1], verdict="new")
    curve = Red(MODEL, "curve cxr-repair-block: R@5 -20.1 hits in the mean")
    assert told([curve, new, gain, loss]) == 3
    assert told([curve, new, gain]) == 2
    assert told([curve, new]) == 1
    assert told([curve, curve]) == 0


def test_every_red_cell_has_its_number() -> None:
    own = reds()
    title, lines = others([*own, Red(MODEL, "curve of it: R@5 -20.1 hits in the mean")], 80)
    assert (
        title == f"all {len(own) + 1} of {MODEL}: {len(own)} cells regressed, 1 curve (-vv: whole)"
    )
    assert lines[-1] == "curve of it: R@5 -20.1 hits in the mean"
    told_of = " ".join(lines).split()
    for red in own:
        assert red.cell is not None
        assert f"{100 * views.moved(red.cell):+.1f}" in told_of
    numbers = [word for word in told_of if re.fullmatch(r"[+-]\d+\.\d", word) and word != "-20.1"]
    assert len(numbers) == len(own)
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith(("block", "center")) for line in lines) == 2


def test_a_narrow_terminal_gets_blocks_of_columns() -> None:
    _, lines = others(reds(), 40)
    tables = [line for line in lines if "R@" in line]
    assert max(map(len, tables)) <= 40
    assert [word for line in tables for word in line.split() if word.startswith("R@")] == [
        f"R@{k}" for k in KS
    ] * 2


def test_cells_without_a_baseline_are_new() -> None:
    own = [altered(red, verdict="new", baseline_hits=None) for red in reds()]
    title, lines = others(own, 80)
    assert f"{len(own)} cells new" in title
    assert not lines


def test_one_of_a_kind_is_not_many() -> None:
    text = "groups by sex, x, block: regressed"
    title, _ = others(
        [altered(reds()[0]), Red(MODEL, text), Red(MODEL, "curve x"), Red(MODEL, "curve y")], 80
    )
    assert title == f"all 4 of {MODEL}: 1 cell regressed, 2 curves, 1 test of groups (-vv: whole)"
    assert others([Red("", "full")] * 2, 80)[0] == "the same in 1 test more"


def test_a_fault_is_one_reason_and_so_is_a_model() -> None:
    fault = Red("", "the store is full")
    assert fault.reason != Red("", "another").reason
    assert fault.reason == Red("", "the store is full").reason
    assert Red(MODEL, "a").reason == Red(MODEL, "b").reason != fault.reason
    assert others([fault] * 5, 80) == ("the same in 4 tests more", [])


def test_severities_are_levels_too() -> None:
    cells = [
        altered(red, occluder="blur", ratio=float(number)).cell
        for number, red in enumerate(reds()[:3], 1)
    ]
    _, lines = others([Red(MODEL, "", cell) for cell in cells], 80)
    assert any("blur" in line for line in lines)
