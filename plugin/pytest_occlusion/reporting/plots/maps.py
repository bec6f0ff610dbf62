"""Figures of sensitivity maps: a panel per view and quantity, and the worst place to block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_occlusion.reporting.maps import (
    Map,
    chance_of,
    grey_levels,
    maps_of,
    placement_lines,
    tile_text,
)
from pytest_occlusion.reporting.plots.style import (
    finish,
    in_grid,
    legend,
    legend_rows,
    look_of,
    panels,
)
from pytest_occlusion.reporting.views import Results
from pytest_occlusion.suite.grid import MAIN_OCCLUDER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANEL = (2.2, 1.8)
"""Inches of one map with its scale and title."""

DIM = 160
"""White of the mean radiograph, of 255: the colours over it must be seen."""

SHOWN = 0.85
"""Opacity of the largest loss; it falls to nothing at 0."""

HOT, COLD = (1.0, 0.48, 0.1), (0.22, 0.71, 1.0)
"""Blocking hurts, blocking helps; as on the page."""

STEPS = 128
LEGEND_COLUMNS = 3


def map_figures(results: Results) -> Iterator[tuple[str, Figure]]:
    """(name of the file, figure): a map per model, and one figure of worst places."""
    for record in results["maps"]:
        safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in record["model"])
        if record["views"]:
            yield f"map-{safe}", _map_figure(record)
    if any(record["placements"] for record in results["maps"]):
        yield "worst-place", _worst_figure(results)


def _map_figure(record: Mapping[str, Any]) -> Figure:
    from matplotlib.figure import Figure

    found = [maps_of(record, view) for view in record["views"]]
    rows, columns = len(found), len(found[0])
    size = columns * PANEL[0], rows * PANEL[1] + 0.3
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(f"{record['model']}: {tile_text(record)}", fontsize=8)
    for row, maps in enumerate(found):
        for column, one in enumerate(maps):
            panel = figure.add_subplot(rows, columns, row * columns + column + 1)
            _draw(figure, panel, one)
            panel.set_title(one.title if row == 0 else "")
            if column == 0:
                panel.set_ylabel(one.view)
    return figure


def _draw(figure: Figure, panel: Axes, one: Map) -> None:
    import numpy as np
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Rectangle

    top = max(abs(place.value) for place in one.places) or 1.0
    extent = (0.5, one.grid + 0.5, one.grid + 0.5, 0.5)
    losses = np.asarray([place.value for place in one.places]).reshape(one.grid, one.grid)
    if one.picture is not None:
        grey = np.frombuffer(grey_levels(one.picture), dtype=np.uint8)
        grey = grey.reshape(one.picture["height"], one.picture["width"])
        panel.imshow(grey, cmap="gray", vmin=0, vmax=255 * 255 / DIM, extent=extent)
    panel.set_facecolor("black")
    steps = [SHOWN * step / STEPS for step in range(STEPS + 1)]
    cold, hot = [(*COLD, step) for step in steps[:0:-1]], [(*HOT, step) for step in steps]
    shown = panel.imshow(
        losses, cmap=ListedColormap([*cold, *hot]), vmin=-top, vmax=top, extent=extent, zorder=2
    )
    sure = [place for place in one.places if place.certain]
    panel.scatter(
        [place.column for place in sure],
        [place.row for place in sure],
        s=2.5,
        color="white",
        edgecolors="black",
        linewidths=0.3,
        zorder=3,
    )
    peak = one.peak
    if peak.value > 0:
        corner = (peak.column - 0.5, peak.row - 0.5)
        panel.add_patch(Rectangle(corner, 1, 1, fill=False, color="white", linewidth=1.2, zorder=4))
    panel.grid(visible=False)
    panel.set_xticks([1, one.grid])
    panel.set_yticks([1, one.grid])
    panel.set_xlim(0.5, one.grid + 0.5)
    panel.set_ylim(one.grid + 0.5, 0.5)
    scale = figure.colorbar(shown, ax=panel, shrink=0.85, pad=0.03).ax
    scale.set_facecolor("black")
    scale.tick_params(labelsize=6)


def _worst_figure(results: Results) -> Figure:
    """A panel per model: recall with the tile anywhere and at the worst place."""
    records = [record for record in results["maps"] if record["placements"]]
    names: list[str] = []
    lines = [placement_lines(results, record) for record in records]
    for one in (line for group in lines for line in group):
        if one.name not in names:
            names.append(one.name)
    figure, axes = panels(len(records), legend_rows(len(names) + 1, LEGEND_COLUMNS))
    for place, (record, group, panel) in enumerate(zip(records, lines, axes, strict=True)):
        for line in group:
            look = look_of(names.index(line.name))
            xs = [x for x, _, _, _ in line.points]
            lows, highs = ([point[i] for point in line.points] for i in (2, 3))
            panel.fill_between(xs, lows, highs, color=look["color"], alpha=0.15, linewidth=0)
            panel.plot(xs, [y for _, y, _, _ in line.points], label=line.name, **look)
        chance = chance_of(results, record)
        if chance is not None:
            panel.axhline(chance, color="#6b7680", linewidth=0.9, linestyle=":", label="chance")
        finish(
            panel,
            record["model"],
            f"R@{record['k']}, %",
            MAIN_OCCLUDER,
            **in_grid(place, len(records)),
        )
    legend(figure, axes, LEGEND_COLUMNS)
    return figure
