"""The terminal summary: models side by side."""

from __future__ import annotations

from typing import Any

from pytest_occlusion.reporting.maps import summary_lines
from pytest_occlusion.reporting.terminal import _curve_lines, _overview, _table
from tests.reporting.fabricated import map_record
from tests.reporting.fabricated import results as fabricated


def cell(model: str, ratio: float, recall: float, **changes: Any) -> dict[str, Any]:
    return {
        "model": model, "ratio": ratio, "recall": recall, "chance": 0.01, "k": 10,
        "occluder": "block", "direction": "image-to-text", **changes,
    }  # fmt: skip


def test_models_stand_side_by_side_in_multiples_of_chance() -> None:
    cells = [cell("clip", 0.0, 0.021), cell("cxr-clip", 0.0, 0.3), cell("cxr-clip", 0.25, 0.1)]
    cells.append(cell("clip", 0.0, 0.9, k=100))
    assert [line.text for line in _overview(cells, 80)] == [
        "",
        "all models - block: R@10 in multiples of chance",
        "blocked      clip  cxr-clip",
        "    0 %       2.1      30.0",
        "   25 %         -      10.0",
    ]


def test_many_models_are_broken_into_blocks_that_fit() -> None:
    cells = [cell(f"model-number-{number}", 0.0, 0.1) for number in range(12)]
    lines = [line.text for line in _overview(cells, 80)]
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("blocked") for line in lines) == 3


def test_one_model_needs_no_overview_and_every_occluder_has_its_own() -> None:
    assert list(_overview([cell("clip", 0.0, 0.1)], 80)) == []
    cells = [
        cell(model, 0.25, 0.1, occluder=occluder, direction="text-to-image")
        for model in ("a", "b")
        for occluder in ("block", "center")
    ]
    titles = [line.text for line in _overview(cells, 80) if "all models" in line.text]
    assert titles == [
        "all models - block, report to image: R@10 in multiples of chance",
        "all models - center, report to image: R@10 in multiples of chance",
    ]


def test_a_curve_near_chance_is_not_measured_by_what_it_retains() -> None:
    first = cell("clip", 0.0, 0.02)
    curve = {
        **first, "recalls": [0.02, 0.01], "area": 0.9, "half_ratio": 0.23, "r_squared": 0.1,
    }  # fmt: skip

    def lines(flags: list[str]) -> list[str]:
        results: Any = {"curves": [{**curve, "flags": flags}]}
        return [line.text for line in _curve_lines(results, [first], unicode=False)]

    assert lines([])[0].endswith("area under retention 0.90; half gone at 23 %; linear R2 0.10")
    near = lines(["near-chance"])
    assert "retention" not in near[0]
    assert near[1] == "flags: near chance at 0 %"


def test_maps_fit_into_80_columns() -> None:
    maps = [
        map_record(number, f"model-number-{number}", grid) for number, grid in ((0, 4), (1, 64))
    ]
    lines = [text for text, _ in summary_lines(maps)]
    assert max(map(len, lines)) <= 80
    assert lines[:5] == [
        "model-number-0 - map: 4 x 4 places, 6.2 % of the image each",
        "PA, 1,200 radiographs, most is lost at",
        "  row 3, column 2   similarity lost: 0.050 [0.044, 0.056]",
        "  row 3, column 2   places lost in the ranking: 21.0 [18.4, 23.6]",
        "  row 3, column 2   R@10 lost, points: 11.0 [9.6, 12.4]",
    ]
    assert "R@10 50.0 % whole; 25 % blocked: 25.0 on average, 5.0 [3.0, 7.0] at worst" in lines


def test_an_activation_that_nothing_told_is_said() -> None:
    results = fabricated()
    cells = [one for one in results["cells"] if one["model"] == "clip"]

    def lines() -> list[str]:
        return [line.text for line in _table(results, cells, width=80, unicode=False)]

    before = lines()
    results["models"]["clip"]["assumed"] = {"quick-gelu": True, "head-width": 64}
    said = [line for line in lines() if line not in before]
    assert said == ["activation quick-gelu is assumed: the checkpoint does not tell"]
