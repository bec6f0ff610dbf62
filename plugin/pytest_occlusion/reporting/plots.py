"""Static figures for papers, by matplotlib: the same results give the same bytes.

Everything that would differ from run to run is fixed here: the user's own style is set aside, the
ids in SVG files are salted with a constant, and no file says when or by what it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.occlusion.levels import axis_title, axis_value, is_corruption
from pytest_occlusion.reporting import views
from pytest_occlusion.reporting.reading import completed
from pytest_occlusion.reporting.views import Cell, Condition, Curve, Results
from pytest_occlusion.store import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("svg", "pdf", "png")

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


def plot(
    runs: Sequence[Results], folder: Path, formats: Sequence[str], labels: Sequence[str] = ()
) -> list[Path]:
    """Draw every figure that the results allow.

    Args:
        runs: One results document, two to be overlaid, or one for each of several corpora.
        folder: Where the files go.
        formats: Of ``FORMATS``.
        labels: What the two runs are called.

    Returns:
        The files, in order.

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
    _require_matplotlib()
    runs = [completed(run) for run in runs]
    with _fixed_style():
        drawn = dict(_figures(runs, labels))
        if not drawn:
            raise OcclusionError(
                "there is nothing to draw: one blocked share makes no curve, and without ratio 0 "
                "there is no accuracy",
                remedy="measure ratio 0 and at least one other",
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise OcclusionError(
                f"{folder}: {fault.strerror}", remedy="give another folder with --out"
            ) from None
        written = []
        for name, figure in drawn.items():
            for kind in formats:
                path = folder / f"{name}.{kind}"
                write_atomically(path, rendered(figure, kind))
                written.append(path)
    return written


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise OcclusionError(
            "figures need matplotlib, which is not installed",
            remedy="pip install 'pytest-occlusion[plots]'",
        ) from None


@contextmanager
def _fixed_style() -> Iterator[None]:
    """Our style on matplotlib's defaults, whatever the user's matplotlibrc says."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(dict(STYLE))  # type: ignore[arg-type]
        yield


def rendered(figure: Figure, kind: str) -> bytes:
    """One figure as a file's bytes; inside :func:`_fixed_style` only."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    data = BytesIO()
    figure.savefig(data, format=kind, metadata=dict(METADATA[kind]))
    return data.getvalue()


def _figures(runs: Sequence[Results], labels: Sequence[str]) -> Iterator[tuple[str, Figure]]:
    """(name of the file, figure) of everything there is to draw."""
    if len(runs) > 1:
        from pytest_occlusion.reporting.gaps import gap_figure, several_corpora

        if several_corpora(runs) or len(runs) > 2:
            yield "corpora", gap_figure(runs)
        else:
            yield from _overlays(runs[0], runs[1], labels)
        return
    results = runs[0]
    cells = results["cells"]
    found = views.conditions(cells)
    for condition in found:
        own = views.of_condition(cells, condition)
        name = _file_name(condition, found)
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


def _file_name(condition: Condition, found: Sequence[Condition]) -> str:
    """Safe on any file system; the direction only where there are two."""
    safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in condition.occluder)
    several = len({one.direction for one in found}) > 1
    return f"{safe}-{condition.direction}" if several else safe


# Pieces that figures share


def _panels(count: int, legend_rows: int) -> tuple[Figure, list[Axes]]:
    """A grid of equal panels with room for the legend below."""
    from matplotlib.figure import Figure

    columns = _columns(count)
    rows = -(-count // columns)
    size = max(columns, 2) * PANEL[0], rows * PANEL[1] + 0.15 + 0.15 * legend_rows
    figure = Figure(figsize=size, layout="constrained")
    axes = [figure.add_subplot(rows, columns, place + 1) for place in range(count)]
    return figure, axes


def _legend_rows(entries: int) -> int:
    return -(-entries // LEGEND_COLUMNS)


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend below all panels, with whatever is in any of them."""
    entries: dict[str, Any] = {}
    for panel in axes:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    figure.legend(
        list(entries.values()), list(entries), loc="outside lower center", ncols=LEGEND_COLUMNS
    )


def _columns(count: int) -> int:
    """Four panels make a square, others rows of three."""
    return 2 if count == 4 else min(count, COLUMNS)


def _look(place: int) -> dict[str, Any]:
    """Colour, marker and dash of the model at that place; never colour alone."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": LINES[place // len(COLOURS) % len(LINES)],
    }


def _label(name: str) -> str:
    """A name for the legend, which leaves out what starts with an underscore."""
    return f" {name}" if name.startswith("_") else name


def _finish(
    panel: Axes, title: str, label: str, occluder: str, *, first: bool, last_row: bool
) -> None:
    panel.set_title(title)
    panel.set_ylim(bottom=0)
    if first:
        panel.set_ylabel(label)
    if last_row:
        panel.set_xlabel(axis_title(occluder))


def _in_grid(place: int, count: int) -> dict[str, bool]:
    """Whether a panel is the first of its row and the last of its column."""
    columns = _columns(count)
    return {"first": place % columns == 0, "last_row": place + columns >= count}


def _curve(panel: Axes, curve: Curve, look: Mapping[str, Any], label: str, *, band: bool) -> None:
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
    panel.plot(xs, [100 * recall for recall in curve.recalls], label=_label(label), **look)


def _floors(panel: Axes, cell: Cell) -> None:
    for name, line in (("chance", (0, (1, 2))), ("constant", (0, (6, 2, 1, 2)))):
        panel.axhline(100 * cell[name], color="#6b7680", linewidth=0.9, linestyle=line, label=name)


# Figures

Panel = Callable[["Axes", Sequence[Curve], Sequence[str]], str]


def _per_k(cells: Sequence[Cell], draw: Panel) -> Figure:
    """A panel per k with all models."""
    ks, models, every = views.ks_of(cells), views.models_of(cells), views.curves(cells)
    figure, axes = _panels(len(ks), _legend_rows(len(models) + 2))
    for place, (k, panel) in enumerate(zip(ks, axes, strict=True)):
        label = draw(panel, [curve for curve in every if curve.k == k], models)
        _finish(panel, f"R@{k}", label, cells[0]["occluder"], **_in_grid(place, len(ks)))
    _legend(figure, axes)
    return figure


def _recall_panel(panel: Axes, curves: Sequence[Curve], models: Sequence[str]) -> str:
    for curve in curves:
        look = _look(models.index(curve.model))
        _curve(panel, curve, look, curve.model, band=len(models) <= len(COLOURS))
    _floors(panel, curves[0].cells[0])
    return "recall, %"


def _retention_panel(panel: Axes, curves: Sequence[Curve], models: Sequence[str]) -> str:
    for curve in curves:
        if curve.retention:
            panel.plot(
                [axis_value(curve.cells[0]["occluder"], x) for x, _ in curve.retention],
                [100 * left for _, left in curve.retention],
                label=_label(curve.model),
                **_look(models.index(curve.model)),
            )
    return "recall left, % of that at 0 %"


def _occluders(cells: Sequence[Cell], occluders: Sequence[str]) -> Figure:
    """A panel per model with all occluders, at one k."""
    k, models = views.focus_k(cells), views.models_of(cells)
    figure, axes = _panels(len(models), _legend_rows(len(occluders) + 2))
    for place, (model, panel) in enumerate(zip(models, axes, strict=True)):
        own = [cell for cell in cells if cell["model"] == model and cell["k"] == k]
        for number, occluder in enumerate(occluders):
            for curve in views.curves([c for c in own if c["occluder"] == occluder]):
                _curve(panel, curve, _look(number), occluder, band=True)
        if own:
            _floors(panel, own[0])
        _finish(panel, model, f"R@{k}, %", occluders[0], **_in_grid(place, len(models)))
    _legend(figure, axes)
    return figure


def _accuracy(cells: Sequence[Cell]) -> Figure:
    """Bars at 0 % with intervals and floors, a group per k."""
    ks, models = views.ks_of(cells), views.models_of(cells)
    figure, (panel,) = _panels(1, _legend_rows(len(models) + 2))
    figure.set_figwidth(min(9.0, max(4.6, 0.12 * len(ks) * (len(models) + 2))))
    by_place = {(cell["model"], cell["k"]): cell for cell in cells}
    width = 0.84 / len(models)
    for number, model in enumerate(models):
        own = [(at, cell) for at, k in enumerate(ks) if (cell := by_place.get((model, k)))]
        look = _look(number)
        panel.bar(
            [at + width * (number - (len(models) - 1) / 2) for at, _ in own],
            [100 * cell["recall"] for _, cell in own],
            width,
            yerr=[
                [100 * max(0.0, cell["recall"] - cell["ci_low"]) for _, cell in own],
                [100 * max(0.0, cell["ci_high"] - cell["recall"]) for _, cell in own],
            ],
            error_kw={"linewidth": 0.7},
            color=look["color"],
            hatch=("", "//", "..")[number // len(COLOURS) % 3],
            edgecolor="white",
            linewidth=0.3,
            label=_label(model),
        )
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
    _legend(figure, [panel])
    return figure


def _overlays(
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
            yield f"overlay-{_file_name(condition, found)}", _overlay(old, new, models, k, names)
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
    figure, axes = _panels(len(models), 1)
    for place, (model, panel) in enumerate(zip(models, axes, strict=True)):
        for cells, look, name in zip((old, new), looks, names, strict=True):
            own = [cell for cell in cells if cell["model"] == model and cell["k"] == k]
            for curve in views.curves(own):
                _curve(panel, curve, look, name, band=True)
        floors = [cell for cell in new if cell["model"] == model and cell["k"] == k]
        if floors:
            _floors(panel, floors[0])
        _finish(panel, model, f"R@{k}, %", new[0]["occluder"], **_in_grid(place, len(models)))
    _legend(figure, axes)
    return figure
