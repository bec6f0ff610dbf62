"""Figures of one run: recall and retention over the levels, occluders, accuracy at 0 %."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from pytest_occlusion.occlusion.levels import axis_value, is_corruption
from pytest_occlusion.reporting import views
from pytest_occlusion.reporting.plots.style import (
    COLOURS,
    draw_bars,
    draw_curve,
    draw_floors,
    finish,
    in_grid,
    label_of,
    legend,
    legend_rows,
    look_of,
    panels,
)
from pytest_occlusion.reporting.views import Cell, Condition, Curve, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Panel = Callable[["Axes", Sequence[Curve], Sequence[str]], str]


def figures(results: Results) -> Iterator[tuple[str, Figure]]:
    """(name of the file, figure) of everything there is to draw."""
    cells = results["cells"]
    found = views.conditions(cells)
    for condition in found:
        own = views.of_condition(cells, condition)
        name = file_name(condition, found)
        if len({cell["ratio"] for cell in own}) > 1:
            yield f"recall-{name}", _per_k(own, _recall_panel)
            if any(curve.retention for curve in views.curves(own)):
                yield f"retention-{name}", _per_k(own, _retention_panel)
    for direction in dict.fromkeys(one.direction for one in found):
        every = [one.occluder for one in found if one.direction == direction]
        way = "" if direction == found[0].direction else f"-{direction}"
        own = [cell for cell in cells if cell["direction"] == direction]
        for name, corruptions in (("occluders", False), ("corruptions", True)):
            kind = [one for one in every if is_corruption(one) == corruptions]
            if len(kind) > 1 and len({cell["ratio"] for cell in own}) > 1:
                yield f"{name}{way}", _occluders(own, kind)
        whole = [c for c in own if c["ratio"] == 0 and c["occluder"] == every[0]]
        if whole:
            yield f"accuracy{way}", _accuracy(whole)


def file_name(condition: Condition, found: Sequence[Condition]) -> str:
    """Safe on any file system; the direction only where there are two."""
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in condition.occluder)
    several = len({one.direction for one in found}) > 1
    return f"{safe}-{condition.direction}" if several else safe


def _per_k(cells: Sequence[Cell], draw: Panel) -> Figure:
    """A panel per k with all models."""
    ks, models, every = views.ks_of(cells), views.models_of(cells), views.curves(cells)
    figure, axes = panels(len(ks), legend_rows(len(models) + 2))
    for place, (k, panel) in enumerate(zip(ks, axes, strict=True)):
        label = draw(panel, [curve for curve in every if curve.k == k], models)
        finish(panel, f"R@{k}", label, cells[0]["occluder"], **in_grid(place, len(ks)))
    legend(figure, axes)
    return figure


def _recall_panel(panel: Axes, curves: Sequence[Curve], models: Sequence[str]) -> str:
    for curve in curves:
        look = look_of(models.index(curve.model))
        draw_curve(panel, curve, look, curve.model, band=len(models) <= len(COLOURS))
    draw_floors(panel, curves[0].cells[0])
    return "recall, %"


def _retention_panel(panel: Axes, curves: Sequence[Curve], models: Sequence[str]) -> str:
    for curve in curves:
        if curve.retention:
            panel.plot(
                [axis_value(curve.cells[0]["occluder"], x) for x, _ in curve.retention],
                [100 * left for _, left in curve.retention],
                label=label_of(curve.model),
                **look_of(models.index(curve.model)),
            )
    return "recall left, % of that at 0 %"


def _occluders(cells: Sequence[Cell], occluders: Sequence[str]) -> Figure:
    """A panel per model with all occluders, at one k."""
    k, models = views.focus_k(cells), views.models_of(cells)
    figure, axes = panels(len(models), legend_rows(len(occluders) + 2))
    for place, (model, panel) in enumerate(zip(models, axes, strict=True)):
        own = [cell for cell in cells if cell["model"] == model and cell["k"] == k]
        for number, occluder in enumerate(occluders):
            for curve in views.curves([c for c in own if c["occluder"] == occluder]):
                draw_curve(panel, curve, look_of(number), occluder, band=True)
        if own:
            draw_floors(panel, own[0])
        finish(panel, model, f"R@{k}, %", occluders[0], **in_grid(place, len(models)))
    legend(figure, axes)
    return figure


def _accuracy(cells: Sequence[Cell]) -> Figure:
    """Bars at 0 % with intervals and floors, a group per k."""
    ks, models = views.ks_of(cells), views.models_of(cells)
    figure, (panel,) = panels(1, legend_rows(len(models) + 2))
    figure.set_figwidth(min(9.0, max(4.6, 0.12 * len(ks) * (len(models) + 2))))
    by_place = {(cell["model"], cell["k"]): cell for cell in cells}
    for number, model in enumerate(models):
        groups = [by_place.get((model, k)) for k in ks]
        pattern = number // len(COLOURS)
        draw_bars(panel, groups, model, place=number, count=len(models), pattern=pattern)
    for name, line in (("chance", (0, (1, 1))), ("constant", (0, (6, 2, 1, 2)))):
        floors = [next(cell for cell in cells if cell["k"] == k)[name] for k in ks]
        panel.hlines(
            [100 * floor for floor in floors],
            [at - 0.46 for at in range(len(ks))],
            [at + 0.46 for at in range(len(ks))],
            color="black",
            linewidth=1,
            linestyle=line,
            label=name,
        )
    panel.set_xticks(range(len(ks)), [f"R@{k}" for k in ks])
    panel.set_ylabel("recall with nothing blocked, %")
    panel.grid(axis="x", visible=False)
    legend(figure, [panel])
    return figure
