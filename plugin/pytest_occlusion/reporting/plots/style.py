"""What all figures share: a fixed style, panels, one legend, looks that do without colour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.occlusion.levels import axis_title, axis_value
from pytest_occlusion.reporting.views import Cell, Curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METADATA: Mapping[str, Mapping[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
"""What matplotlib writes of itself, left out."""

STYLE: Mapping[str, Any] = {
    "svg.hashsalt": "pytest-occlusion",
    "pdf.fonttype": 42,  # text that a publisher can select and replace
    "font.family": "DejaVu Sans",  # comes with matplotlib, so it is the same everywhere
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#d8dde2",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "savefig.dpi": 200,
    "text.parse_math": False,  # names are shown as they are, dollars and all
}

COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7"),
    *("#b37a00", "#56b4e9", "#333333", "#8a8410"),
)

MARKERS = ("o", "s", "^", "D", "v")

LINES = ("-", "--", ":")

PANEL = (2.3, 2.0)
"""Inches of one panel."""

COLUMNS = 3

LEGEND_COLUMNS = 4


def require_matplotlib() -> None:
    """Refuse in words when matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise OcclusionError(
            "figures need matplotlib, which is not installed",
            remedy="pip install 'pytest-occlusion[plots]'",
        ) from None


@contextmanager
def fixed_style() -> Iterator[None]:
    """Our style on matplotlib's defaults, whatever the user's matplotlibrc says."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(dict(STYLE))  # type: ignore[arg-type]
        yield


def rendered(figure: Figure, kind: str) -> bytes:
    """One figure as a file's bytes; inside :func:`fixed_style` only."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    data = BytesIO()
    figure.savefig(data, format=kind, metadata=dict(METADATA[kind]))
    return data.getvalue()


def panels(count: int, legend_rows: int) -> tuple[Figure, list[Axes]]:
    """A grid of equal panels with room for the legend below."""
    from matplotlib.figure import Figure

    columns = _columns(count)
    rows = -(-count // columns)
    size = max(columns, 2) * PANEL[0], rows * PANEL[1] + 0.15 + 0.15 * legend_rows
    figure = Figure(figsize=size, layout="constrained")
    axes = [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
    return figure, axes


def legend_rows(entries: int, columns: int = LEGEND_COLUMNS) -> int:
    """Rows that a legend of so many entries takes."""
    return -(-entries // columns)


def legend(figure: Figure, axes: Sequence[Axes], columns: int = LEGEND_COLUMNS) -> None:
    """One legend below all panels, with whatever is in any of them."""
    entries: dict[str, Any] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(list(entries.values()), list(entries), loc="outside lower center", ncols=columns)


def _columns(count: int) -> int:
    """Four panels make a square, others rows of three."""
    return 2 if count == 4 else min(count, COLUMNS)


def look_of(place: int) -> dict[str, Any]:
    """Colour, marker and dash of the model at that place; never colour alone."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": LINES[place // len(COLOURS) % len(LINES)],
    }


def label_of(name: str) -> str:
    """A name for the legend, which leaves out what starts with an underscore."""
    return f" {name}" if name.startswith("_") else name


def finish(
    panel: Axes, title: str, label: str, occluder: str, *, first: bool, last_row: bool
) -> None:
    """Title, axes from zero, names on the outer sides only."""
    panel.set_title(title)
    panel.set_ylim(bottom=0)
    if first:
        panel.set_ylabel(label)
    if last_row:
        panel.set_xlabel(axis_title(occluder))


def in_grid(place: int, count: int) -> dict[str, bool]:
    """Whether a panel is the first of its row and the last of its column."""
    columns = _columns(count)
    return {"first": place % columns == 0, "last_row": place + columns >= count}


def draw_curve(
    panel: Axes, curve: Curve, look: Mapping[str, Any], label: str, *, band: bool
) -> None:
    """One curve, with its interval where it is asked for."""
    occluder = curve.cells[0]["occluder"]
    xs = [axis_value(occluder, ratio) for ratio in curve.ratios]
    if band:
        panel.fill_between(
            xs,
            [100 * cell["ci_low"] for cell in curve.cells],
            [100 * cell["ci_high"] for cell in curve.cells],
            color=look["color"],
            alpha=0.15,
            linewidth=0,
        )
    panel.plot(xs, [100 * recall for recall in curve.recalls], label=label_of(label), **look)


BARS = 0.84
"""Share of a group's place that its bars fill."""


def draw_bars(
    panel: Axes,
    groups: Sequence[Cell | None],
    label: str,
    *,
    place: int,
    count: int,
    pattern: int,
) -> list[float]:
    """One bar with its interval in every group that has a cell.

    Args:
        panel: Where to draw.
        groups: The cell of each group, from left to right.
        label: For the legend.
        place: Which bar of each group, from 0.
        count: Bars of a group.
        pattern: Which hatching, so that colour is never alone.

    Returns:
        The middle of each bar.
    """
    width = BARS / count
    cells = [(at, cell) for at, cell in enumerate(groups) if cell is not None]
    middles = [at + width * (place - (count - 1) / 2) for at, _ in cells]
    panel.bar(
        middles,
        [100 * cell["recall"] for _, cell in cells],
        width,
        yerr=[
            [100 * max(0.0, cell["recall"] - cell["ci_low"]) for _, cell in cells],
            [100 * max(0.0, cell["ci_high"] - cell["recall"]) for _, cell in cells],
        ],
        error_kw={"linewidth": 0.7},
        color=COLOURS[place % len(COLOURS)],
        hatch=("", "//", "..")[pattern % 3],
        edgecolor="white",
        linewidth=0.3,
        label=label_of(label),
    )
    return middles


def draw_floors(panel: Axes, cell: Cell) -> None:
    """What a ranking without the image comes to."""
    for name, line in (("chance", (0, (1, 2))), ("constant", (0, (6, 2, 1, 2)))):
        panel.axhline(100 * cell[name], color="#6b7680", linewidth=0.9, linestyle=line, label=name)
