"""Figures of two runs laid over each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.reporting import views
from pytest_occlusion.reporting.plots.single import file_name
from pytest_occlusion.reporting.plots.style import (
    draw_curve,
    draw_floors,
    finish,
    in_grid,
    legend,
    panels,
)
from pytest_occlusion.reporting.views import Cell, Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def overlays(
    before: Results, after: Results, labels: Sequence[str]
) -> Iterator[tuple[str, Figure]]:
    """Per condition of both runs: a panel per model of both, first run dashed, second solid."""
    names = labels or ("first", "second")
    drawn = False
    found = views.conditions(after["cells"])
    for condition in found:
        old = views.of_condition(before["cells"], condition)
        new = views.of_condition(after["cells"], condition)
        models = [model for model in views.models_of(new) if model in views.models_of(old)]
        ks = set(views.ks_of(old)) & set(views.ks_of(new))
        if models and ks:
            drawn = True
            k = views.focus_k([cell for cell in new if cell["k"] in ks])
            yield f"overlay-{file_name(condition, found)}", _overlay(old, new, models, k, names)
    if not drawn:
        raise OcclusionError(
            "the two runs have no model, occluder and k in common",
            remedy="give runs of the same suite",
        )


def _overlay(
    old: Sequence[Cell], new: Sequence[Cell], models: Sequence[str], k: int, names: Sequence[str]
) -> Figure:
    looks = (
        {"color": "#d55e00", "marker": "s", "linestyle": "--", "markerfacecolor": "white"},
        {"color": "#0072b2", "marker": "o", "linestyle": "-"},
    )
    figure, axes = panels(len(models), 1)
    for place, (model, panel) in enumerate(zip(models, axes, strict=True)):
        for cells, look, name in zip((old, new), looks, names, strict=True):
            own = [cell for cell in cells if cell["model"] == model and cell["k"] == k]
            for curve in views.curves(own):
                draw_curve(panel, curve, look, name, band=True)
        floors = [cell for cell in new if cell["model"] == model and cell["k"] == k]
        if floors:
            draw_floors(panel, floors[0])
        finish(panel, model, f"R@{k}, %", new[0]["occluder"], **in_grid(place, len(models)))
    legend(figure, axes)
    return figure
