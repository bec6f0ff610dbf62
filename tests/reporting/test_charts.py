"""Charts as data: what the page and the figures draw, made once from the results document."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pytest_occlusion.reporting import charts, svg, views
from pytest_occlusion.reporting.html import as_html
from pytest_occlusion.reporting.maps import worst_panel
from pytest_occlusion.reporting.plots import plot
from tests.reporting.fabricated import results

BLOCK = views.Condition("image-to-text", "block")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return results(3, occluders=("block", "center"), ratios=(0.0, 0.25, 0.81), ks=(5, 10), maps=1)


def test_recall_is_the_cells(document: dict[str, Any]) -> None:
    panels = charts.recall_panels(document, BLOCK)
    assert [panel.title for panel in panels] == ["R@5", "R@10"]
    for panel, k in zip(panels, (5, 10), strict=True):
        assert panel.names == ["clip", "cxr-repair", "medclip", "chance", "constant"]
        for line in panel.lines:
            own = [c for c in document["cells"] if c["occluder"] == "block"]
            own = [c for c in own if (c["model"], c["k"]) == (line.name, k)]
            assert line.points == [(100 * c["ratio"], 100 * c["recall"]) for c in own]
            assert line.band == [(100 * c["ci_low"], 100 * c["ci_high"]) for c in own]
            assert [y for _, y in line.accepted] == [100 * views.baseline_recall(c) for c in own]  # type: ignore[operator]
        assert dict(panel.floors)["chance"] == pytest.approx(100 * k / 858)


def test_retention_is_the_same_either_way(document: dict[str, Any]) -> None:
    found = [
        {
            frozenset((panel.title, line.name)): line.points
            for panel in panels
            for line in panel.lines
        }
        for panels in (
            charts.retention_panels(document, BLOCK, per_model=way) for way in (True, False)
        )
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 3 * 2
    assert all(points[0] == (0.0, 100.0) for points in found[0].values())


def test_a_hole_keeps_panels_and_places_in_order(document: dict[str, Any]) -> None:
    cells = [c for c in document["cells"] if (c["model"], c["k"]) != ("clip", 5)]
    panels = charts.retention_panels({**document, "cells": cells}, BLOCK, per_model=False)
    assert [panel.title for panel in panels] == ["R@5", "R@10"]
    assert [(line.name, line.place) for line in panels[0].lines] == [
        ("cxr-repair", 1),
        ("medclip", 2),
    ]


def test_the_second_run_lies_on_top(document: dict[str, Any]) -> None:
    later = results(2, occluders=("block",), ratios=(0.0, 0.25), ks=(10, 20))
    panels = charts.overlay_panels(document, later, BLOCK, ("before", "after"))
    assert [panel.title for panel in panels] == ["clip", "cxr-repair"]
    for panel in panels:
        drawn = [(line.name, line.place, line.earlier) for line in panel.lines]
        assert drawn == [("before", 1, True), ("after", 0, False)]
        assert len(panel.lines[1].points) == 2
    assert charts.overlay_panels(document, later, views.Condition("", "block"), ("a", "b")) == []


def test_floors_span_the_bars_that_share_them(document: dict[str, Any]) -> None:
    whole = [c for c in document["cells"] if (c["ratio"], c["occluder"]) == (0, "block")]
    bars = charts.accuracy_bars(whole)
    assert {name: len(own) for name, own in bars.series.items()} == dict.fromkeys(
        ("clip", "cxr-repair", "medclip"), 2
    )
    for at, (start, end, value) in enumerate(bars.floors["chance"]):
        assert (start, end) == pytest.approx((at - charts.FILLED / 2, at + charts.FILLED / 2))
        assert value == pytest.approx(100 * (5, 10)[at] / 858)
    assert len(bars.floors["chance"]) == 2


def test_no_two_of_120_looks_are_one() -> None:
    kinds = charts.COLOURS, charts.MARKERS
    looks = {(n % kinds[0], n % kinds[1], n // kinds[0] % charts.DASHES) for n in range(120)}
    assert len(looks) == 120
    assert len(svg.SHAPES) == charts.MARKERS
    assert len(svg.DASHES) == charts.DASHES


def test_page_and_figures_draw_the_same_lines(document: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page = as_html(document)
    plot([document], tmp_path, ["svg"])
    worst = worst_panel(document, document["maps"][0])
    assert worst.x_end == max(x for line in worst.lines for x, _ in line.points) == 25
    for name, panels in (
        ("recall-block", charts.recall_panels(document, BLOCK)),
        ("worst-place", [worst]),
    ):
        said = re.findall(r"<!-- (.*?) -->", (tmp_path / f"{name}.svg").read_text())
        for panel in panels:
            assert {*panel.names, panel.title, panel.x_label} <= set(said)
            chart = page[page.index(f'aria-label="{panel.told}"') :].partition("</svg>")[0]
            assert chart.count('class="line"') == chart.count('class="band"') == len(panel.lines)
            assert all(
                f"<title>{name}: " in chart for name in panel.names if name not in views.FLOORS
            )
            assert panel.x_label in chart
