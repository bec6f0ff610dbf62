"""Figures for papers, by matplotlib: the charts of ``charts`` and ``maps`` as files.

The same results give the same bytes: the user's own style is set aside, the ids in SVG files are
salted with a constant, and no file says when or by what it was made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import as_file, files
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pytest_occlusion.engine.store import write_atomically
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.occlusion.levels import is_corruption
from pytest_occlusion.reporting import charts, views
from pytest_occlusion.reporting.catalogue import CHARTS
from pytest_occlusion.reporting.charts import COLOURS, DASHES, MARKERS, Bars, Panel
from pytest_occlusion.reporting.reading import completed
from pytest_occlusion.reporting.views import Condition, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pytest_occlusion.reporting.maps import Map

FORMATS = ("svg", "pdf", "png")

METADATA: Mapping[str, Mapping[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
"""What matplotlib writes of itself, left out."""

PALETTE = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7"),
    *("#b37a00", "#56b4e9", "#333333", "#8a8410"),
)
GREY = "#6b7680"
MARKS, LINES, HATCHES = "os^Dv", ("-", "--", ":"), ("", "//", "..")
FLOOR_LINES = {"chance": (0, (1, 2)), "constant": (0, (6, 2, 1, 2))}

PANEL, MAP_PANEL = (2.3, 2.0), (2.2, 1.8)
"""Inches of one panel, and of one map with its scale and title."""

HOT, COLD, SHOWN = (1.0, 0.48, 0.1), (0.22, 0.71, 1.0), 0.85
"""Blocking hurts, blocking helps, as on the page; opacity at the largest loss."""

DIM = 160
"""White of the mean radiograph, of 255: the colours over it must be seen."""

SHADES = 128


def plot(
    runs: Sequence[Results], folder: Path, formats: Sequence[str], labels: Sequence[str] = ()
) -> list[Path]:
    """Draw every figure that the results allow, and return the files in order.

    Args:
        runs: One results document, two to be overlaid, or one for each of several corpora.
        folder: Where the files go.
        formats: Of ``FORMATS``.
        labels: What two runs are called.

    Raises:
        OcclusionError: matplotlib is missing, a format is unknown, there is nothing to draw, or
            two runs share nothing.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise OcclusionError(
            f"--formats {','.join(formats)}: unknown format {', '.join(unknown) or '(none given)'}",
            remedy=f"choose from {', '.join(FORMATS)}",
        )
    try:
        import matplotlib.style as styles
    except ImportError:
        raise OcclusionError(
            "figures need matplotlib, which is not installed",
            remedy="pip install 'pytest-occlusion[plots]'",
        ) from None
    written = []
    # The user's own style is set aside.
    style = as_file(files(__package__) / "assets" / "figures.mplstyle")
    with style as path, styles.context(path, after_reset=True):
        drawn = dict(_figures([completed(run) for run in runs], labels or ("first", "second")))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise OcclusionError(
                f"{folder}: {fault.strerror}", remedy="give another folder with --out"
            ) from None
        for name, figure in drawn.items():
            for kind in formats:
                data, file = BytesIO(), folder / f"{name}.{kind}"
                figure.savefig(data, format=kind, metadata=dict(METADATA[kind]))
                write_atomically(file, data.getvalue())
                written.append(file)
    return written


def _figures(runs: Sequence[Results], labels: Sequence[str]) -> Iterator[tuple[str, Figure]]:
    """(name of the file, figure) of everything there is to draw."""
    if len(runs) > 2 or len({run["corpus"]["fingerprint"] for run in runs}) > 1:
        yield "corpora", draw(charts.corpora_bars(runs))
    elif len(runs) == 2:
        overlays = {
            f"overlay-{name}": charts.overlay_panels(runs[0], runs[1], condition, labels)
            for condition, name in _names(runs[1])
        }
        if not any(overlays.values()):
            raise OcclusionError(
                "the two runs have no model, occluder and k in common",
                remedy="give runs of the same suite",
            )
        yield from ((name, draw(panels)) for name, panels in overlays.items() if panels)
    elif drawn := [*_curves(runs[0]), *_maps(runs[0])]:
        yield from drawn
    else:
        raise OcclusionError(
            "there is nothing to draw: one blocked share makes no curve, and without ratio 0 "
            "there is no accuracy",
            remedy="measure ratio 0 and at least one other",
        )


def _curves(results: Results) -> Iterator[tuple[str, Figure]]:
    ways = views.grouped(results["cells"], "direction")
    for condition, name in _names(results):
        own = views.of_condition(results["cells"], condition)
        if len(views.every(own, "ratio")) > 1:
            for chart in CHARTS.values():
                parts: dict[str, list[Panel]] = {}
                for panel in (chart.figure or chart.panels)(results, condition):
                    parts.setdefault(panel.part and f"-{_safe(panel.part)}", []).append(panel)
                for part, panels in parts.items():
                    if any(panel.lines for panel in panels):
                        yield f"{chart.file}-{name}{part}", draw(panels)
    for number, (direction, cells) in enumerate(sorted(ways.items())):
        way = f"-{direction[0]}" if number else ""
        every = [one.occluder for one in views.conditions(cells)]
        for name, corruptions in (("occluders", False), ("corruptions", True)):
            kind = [one for one in every if is_corruption(one) == corruptions]
            if len(kind) > 1 and len(views.every(cells, "ratio")) > 1:
                yield f"{name}{way}", draw(charts.occluder_panels(cells, kind))
        whole = [cell for cell in cells if (cell["ratio"], cell["occluder"]) == (0, every[0])]
        if whole:
            yield f"accuracy{way}", draw([charts.accuracy_bars(whole)])


def _maps(results: Results) -> Iterator[tuple[str, Figure]]:
    """A figure of maps per model, and one of worst places."""
    if not results["maps"]:
        return
    from pytest_occlusion.reporting.maps import maps_of, tile_text, worst_panel

    for record in results["maps"]:
        if record["views"]:
            title = f"{record['model']}: {tile_text(record)}"
            shown = [maps_of(record, view) for view in record["views"]]
            yield f"map-{_safe(record['model'])}", draw_maps(title, shown)
    placed = [record for record in results["maps"] if record["placements"]]
    if placed:
        yield "worst-place", draw([worst_panel(results, record) for record in placed])


def _names(results: Results) -> list[tuple[Condition, str]]:
    """Every condition and what its files are called, with the direction where there are two."""
    found = views.conditions(results["cells"])
    several = len({one.direction for one in found}) > 1
    return [(one, _safe(one.occluder) + (f"-{one.direction}" if several else "")) for one in found]


def _safe(name: str) -> str:
    """For any file system."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in name)


def draw(panels: Sequence[Panel | Bars]) -> Figure:
    """Equal panels over one legend; four make a square, others rows of three."""
    from matplotlib.figure import Figure

    columns = 2 if len(panels) == 4 else min(len(panels), 3)
    rows = -(-len(panels) // columns)
    names = {name for panel in panels for name in panel.names}
    legend_columns = 4 if all(len(name) < 20 for name in names) else 3
    high = rows * PANEL[1] + 0.15 + 0.15 * -(-len(names) // legend_columns)
    figure = Figure(figsize=(max(columns, 2) * PANEL[0], high), layout="constrained")
    entries: dict[str, Any] = {}
    for number, panel in enumerate(panels):
        ax = figure.add_subplot(rows, columns, number + 1)
        if isinstance(panel, Bars):
            _draw_bars(ax, panel)
        else:
            _draw_curves(ax, panel)
        ax.set_title(panel.title)
        ax.set_ylim(bottom=0)
        # Names of axes on the outer sides only.
        ax.set_xlabel(panel.x_label if number + columns >= len(panels) else "")
        ax.set_ylabel("" if number % columns else panel.y_label)
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    if len(panels) == 1 and isinstance(panel, Bars):
        figure.set_figwidth(min(9.0, max(4.6, 0.12 * len(panel.groups) * len(panel.names))))
    shown = list(entries.values()), list(entries)
    figure.legend(*shown, loc="outside lower center", ncols=legend_columns)
    return figure


def _draw_curves(ax: Axes, panel: Panel) -> None:
    for line in panel.lines:
        look: dict[str, Any] = {
            "color": PALETTE[line.place % COLOURS],
            "marker": MARKS[line.place % MARKERS],
            "linestyle": LINES[line.place // COLOURS % DASHES],
        }
        if line.earlier:
            look |= {"linestyle": "--", "markerfacecolor": "white"}
        xs, ys = zip(*line.points, strict=True)
        if line.band and len(panel.lines) <= COLOURS:
            lows, highs = zip(*line.band, strict=True)
            ax.fill_between(xs, lows, highs, color=look["color"], alpha=0.15, linewidth=0)
        ax.plot(xs, ys, label=_label(line.name), **look)
    for name, value in panel.floors:
        ax.axhline(value, color=GREY, linewidth=0.9, linestyle=FLOOR_LINES[name], label=name)


def _draw_bars(ax: Axes, panel: Bars) -> None:
    for place, (name, bars) in enumerate(panel.series.items()):
        at, values, lows, highs = np.reshape(bars, (-1, 4)).T
        ax.bar(
            at,
            values,
            panel.width,
            # Lists, not an array: of a single bar matplotlib 3.10 makes a number in a way that
            # numpy 1.26 warns of.
            yerr=np.maximum(0, [values - lows, highs - values]).tolist(),
            error_kw={"linewidth": 0.7},
            color=PALETTE[place % COLOURS],
            hatch=HATCHES[place % len(HATCHES)],
            edgecolor="white",
            linewidth=0.3,
            label=_label(name),
        )
    for name, spans in panel.floors.items():
        starts, ends, height = zip(*spans, strict=True)
        ax.hlines(height, starts, ends, "black", FLOOR_LINES[name], label=name, linewidth=1)
    slant: dict[str, Any] = {"rotation": 25, "ha": "right"}
    short = all(len(name) < 6 for name in panel.groups)
    ax.set_xticks(range(len(panel.groups)), panel.groups, **({} if short else slant))
    ax.grid(axis="x", visible=False)


def _label(name: str) -> str:
    """A name for the legend, which leaves out what starts with an underscore."""
    return f" {name}" if name.startswith("_") else name


def draw_maps(title: str, rows: Sequence[Sequence[Map]]) -> Figure:
    """A row of maps per view."""
    from matplotlib.figure import Figure

    size = len(rows[0]) * MAP_PANEL[0], len(rows) * MAP_PANEL[1] + 0.3
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=8)
    axes = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for row, maps in enumerate(rows):
        for ax, one in zip(axes[row], maps, strict=True):
            _draw_map(figure, ax, one)
            ax.set_title(one.title if row == 0 else "")
        axes[row][0].set_ylabel(maps[0].view)
    return figure


def _draw_map(figure: Figure, ax: Axes, one: Map) -> None:
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Rectangle

    top, peak, end = one.top or 1.0, one.peak, one.grid + 0.5
    extent = (0.5, end, end, 0.5)
    if one.picture:
        with Image.open(BytesIO(one.png)) as picture:
            grey = np.asarray(picture)
        ax.imshow(grey, cmap="gray", vmin=0, vmax=255 * 255 / DIM, extent=extent)
    ax.set_facecolor("black")
    shades = [SHOWN * shade / SHADES for shade in range(SHADES + 1)]
    colours = [*((*COLD, shade) for shade in shades[:0:-1]), *((*HOT, shade) for shade in shades)]
    losses = np.asarray([place.value for place in one.places]).reshape(one.grid, one.grid)
    shown = ax.imshow(
        losses, cmap=ListedColormap(colours), vmin=-top, vmax=top, extent=extent, zorder=2
    )
    sure = [(place.column, place.row) for place in one.places if place.certain]
    xs, ys = zip(*sure, strict=True) if sure else ((), ())
    ax.scatter(xs, ys, s=2.5, color="white", edgecolors="black", linewidths=0.3, zorder=3)
    if peak.value > 0:
        corner = (peak.column - 0.5, peak.row - 0.5)
        ax.add_patch(Rectangle(corner, 1, 1, fill=False, color="white", linewidth=1.2, zorder=4))
    ax.grid(visible=False)
    ax.set(xticks=[1, one.grid], yticks=[1, one.grid], xlim=(0.5, end), ylim=(end, 0.5))
    scale = figure.colorbar(shown, ax=ax, shrink=0.85, pad=0.03).ax
    scale.set_facecolor("black")
    scale.tick_params(labelsize=6)
