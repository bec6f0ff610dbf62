"""Every chart once, as plain data: which lines and bars, in whose place of the legend.

Made from complete results documents (:func:`reading.completed`). ``svg`` draws them into the page,
``plots`` into files. Maps are described in ``maps``, models by accuracy and robustness in
``views``. All values are in percent, all levels as their axis has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.occlusion.levels import axis_title, axis_value, is_corruption
from pytest_occlusion.reporting import views
from pytest_occlusion.reporting.views import FLOORS, Cell, Condition, Results

Point = tuple[float, float]

COLOURS, MARKERS, DASHES = 8, 5, 3
"""How many of each tell lines apart: colour is never alone, and the three repeat only after 120."""


@dataclass(frozen=True)
class Line:
    """A curve."""

    name: str  # for the legend
    place: int  # in the legend, which decides colour, marker and dash
    points: Sequence[Point]
    band: Sequence[Point] = ()  # lower and upper ends of its interval, over the same x
    accepted: Sequence[Point] = ()  # what the baseline says, drawn behind
    earlier: bool = False  # of the first of two runs: dashed and open


@dataclass(frozen=True)
class Panel:
    """Curves over the levels, or over what ``across`` says."""

    title: str
    y_label: str
    occluder: str  # whose levels are on the horizontal axis
    lines: Sequence[Line]  # back to front
    floors: Sequence[tuple[str, float]] = ()  # name and value of horizontal lines
    told: str = ""  # what it shows, in words, for who does not see it
    x_end: float = 100.0  # the largest level, the same for all panels of a kind
    models: bool = True  # whether a line is a model, to be shown and hidden with it
    across: str = ""  # what is on the horizontal axis, if not the levels
    part: str = ""  # panels of one part stand together, and have a file of their own

    @property
    def x_label(self) -> str:
        """What is on the horizontal axis."""
        return self.across or axis_title(self.occluder)

    @property
    def unit(self) -> str:
        """Behind a level."""
        return "" if self.across or is_corruption(self.occluder) else " %"

    @property
    def names(self) -> list[str]:
        """For the legend."""
        return [*(line.name for line in self.lines), *dict(self.floors)]


@dataclass(frozen=True)
class Bars:
    """Bars of recall with nothing blocked.

    Corpora differ in candidates and in how often texts repeat, so each has floors of its own.
    """

    title: str
    groups: Sequence[str]  # which stand at 0, 1, ...
    series: Mapping[str, Sequence[tuple[float, ...]]]  # place, value, low and high of each bar
    floors: Mapping[str, Sequence[tuple[float, float, float]]]  # start, end and value of each line
    width: float  # of a bar
    x_label: str = ""
    y_label: str = "recall with nothing blocked, %"

    @property
    def names(self) -> list[str]:
        """For the legend."""
        return [*self.series, *self.floors]


def recall_line(curve: Sequence[Cell], name: str, place: int) -> Line:
    """Recall over the levels, with its interval and the baseline behind."""
    at = [axis_value(cell["occluder"], cell["ratio"]) for cell in curve]
    before = [views.baseline_recall(cell) for cell in curve]
    return Line(
        name,
        place,
        [(x, 100 * cell["recall"]) for x, cell in zip(at, curve, strict=True)],
        [(100 * cell["ci_low"], 100 * cell["ci_high"]) for cell in curve],
        [(x, 100 * b) for x, b in zip(at, before, strict=True) if b is not None],
    )


def recall_panels(results: Results, condition: Condition) -> list[Panel]:
    """A panel per k with a line per model."""
    cells, places = views.of_condition(results["cells"], condition), views.legend(results)
    name, found = condition.occluder, []
    for k in views.ks_of(cells):
        own = {model: curve for (model, at), curve in views.curves(cells).items() if at == k}
        lines = [recall_line(own[model], model, places[model]) for model in places if model in own]
        told = (
            f"Recall at {k} against the {views.axis_words(name)}, {condition.title}; the numbers "
            "are in the tables below"
        )
        floors = _floors_of(next(iter(own.values())))
        found.append(Panel(f"R@{k}", "recall, %", name, lines, floors, told, x_end(cells)))
    return found


def retention_panels(results: Results, condition: Condition, *, per_model: bool) -> list[Panel]:
    """What is left of the recall at 0 %: a panel per model with a line per k, or the reverse."""
    cells, places = views.of_condition(results["cells"], condition), views.legend(results)
    models, ks = views.every(cells, "model"), views.ks_of(cells)
    kept: dict[str, list[Line]] = {
        title: [] for title in (models if per_model else [f"R@{k}" for k in ks])
    }
    curves = views.curves(cells)
    for model, k in sorted(curves, key=lambda pair: (places[pair[0]], pair[1])):
        title, name = (model, f"R@{k}") if per_model else (f"R@{k}", model)
        left = views.retention(curves[model, k])
        points = [(axis_value(condition.occluder, x), 100 * y) for x, y in left]
        if points:
            place = len(kept[title]) if per_model else places[model]
            kept[title].append(Line(name, place, points))
    return [
        Panel(
            title,
            "recall left, % of that at 0 %",
            condition.occluder,
            lines,
            told=f"Retention of {title}, {condition.title}, "
            + " to ".join(dict.fromkeys(line.name for line in (*lines[:1], *lines[-1:]))),
            x_end=x_end(cells),
        )
        for title, lines in kept.items()
    ]


def x_end(cells: Sequence[Cell]) -> float:
    """The largest level of cells of one occluder, as its axis has it."""
    return axis_value(cells[0]["occluder"], max(cell["ratio"] for cell in cells) or 1.0)


def occluder_panels(cells: Sequence[Cell], occluders: Sequence[str]) -> list[Panel]:
    """The occluders side by side at one k: a panel per model with a line per occluder."""
    every = {name: views.curves(c for c in cells if c["occluder"] == name) for name in occluders}
    return panels_of_models(views.every(cells, "model"), views.focus_k(cells), occluders[0], every)


def overlay_panels(
    before: Results, after: Results, condition: Condition, names: Sequence[str]
) -> list[Panel]:
    """Two runs at one k that both have: a panel per model of both; empty where they share none."""
    old, new = (views.of_condition(run["cells"], condition) for run in (before, after))
    models = [model for model in views.every(new, "model") if model in views.every(old, "model")]
    shared = [cell for cell in new if cell["k"] in views.ks_of(old)]
    if not models or not shared:
        return []
    runs = dict(zip(names[::-1], (views.curves(new), views.curves(old)), strict=True))
    panels = panels_of_models(models, views.focus_k(shared), condition.occluder, runs)
    # The second run has the first place in the legend, and lies on top.
    return [
        replace(one, lines=[replace(line, earlier=line.place > 0) for line in one.lines[::-1]])
        for one in panels
    ]


def panels_of_models(
    models: Sequence[str], k: int, occluder: str, every: Mapping[str, views.Curves]
) -> list[Panel]:
    """A panel per model with a line for each of several sets of curves."""
    found = []
    for model in models:
        own = [(name, curves.get((model, k))) for name, curves in every.items()]
        lines = [recall_line(one, name, at) for at, (name, one) in enumerate(own) if one]
        floors = next((_floors_of(curve) for _, curve in own if curve), [])
        found.append(Panel(model, f"R@{k}, %", occluder, lines, floors))
    return found


def _floors_of(curve: Sequence[Cell]) -> list[tuple[str, float]]:
    return [(name, 100 * curve[0][name]) for name in FLOORS]


FILLED = 0.84
"""Share of a group's place that its bars fill."""


def accuracy_bars(cells: Sequence[Cell]) -> Bars:
    """A group per k and a bar per model, from cells of one condition at ratio 0."""
    ks, found = views.ks_of(cells), {(cell["model"], cell["k"]): cell for cell in cells}
    series = {model: [found.get((model, k)) for k in ks] for model in views.every(cells, "model")}
    return _bars("", [f"R@{k}" for k in ks], series)


def _bars(title: str, groups: Sequence[str], series: Mapping[str, Sequence[Cell | None]]) -> Bars:
    """One bar of each series in every group for which it has a cell."""
    width = FILLED / len(series)
    bars: dict[str, list[tuple[float, ...]]] = {name: [] for name in series}
    floors: dict[str, list[tuple[float, float, float]]] = {name: [] for name in FLOORS}
    for at in range(len(groups)):
        for place, (name, cells) in enumerate(series.items()):
            if (cell := cells[at]) is None:
                continue
            middle = at + width * (place - (len(series) - 1) / 2)
            numbers = (100 * cell[part] for part in ("recall", "ci_low", "ci_high"))
            bars[name].append((middle, *numbers))
            for floor, spans in floors.items():
                span = (middle - width / 2, middle + width / 2, 100 * cell[floor])
                if spans and spans[-1][2] == span[2] and span[0] - spans[-1][1] < 0.01:
                    span = (spans.pop()[0], *span[1:])  # one line over all bars of equal floors
                spans.append(span)
    return Bars(title, groups, bars, floors, width)


def corpora_bars(runs: Sequence[Results]) -> list[Bars]:
    """The domain gap: what models retrieve from untouched radiographs of several corpora.

    A panel per k, a group per model and a bar per corpus with its own floors. The first experiment
    of Deanda et al. 2025 (arXiv 2501.09134), for any corpora: a model that was trained on one may
    retrieve worse from another before anything is blocked.

    Raises:
        OcclusionError: Two runs of one corpus, or no model and k that was measured at ratio 0 in
            two of them.
    """
    corpora = _corpora(runs)
    found = [place for cells in corpora.values() for place in cells]
    shared = [place for place in dict.fromkeys(found) if found.count(place) > 1]
    if not shared:
        raise OcclusionError(
            "no model was measured with the same k and nothing blocked on two of the corpora",
            remedy="give runs of the same models that have ratio 0",
        )
    models = list(dict.fromkeys(model for model, _ in shared))
    return [
        _bars(
            f"R@{k}",
            models,
            {name: [own.get((model, k)) for model in models] for name, own in corpora.items()},
        )
        for k in sorted({k for _, k in shared})
    ]


def _corpora(runs: Sequence[Results]) -> dict[str, dict[tuple[str, int], Cell]]:
    """Name of a corpus -> (model, k) -> its cell with nothing blocked."""
    names = [run["corpus"]["name"] or "corpus" for run in runs]
    prints = [run["corpus"]["fingerprint"] for run in runs]
    found: dict[str, dict[tuple[str, int], Cell]] = {}
    for run, name, print_ in zip(runs, names, prints, strict=True):
        if prints.count(print_) > 1:
            raise OcclusionError(
                f"two of the runs are of the same corpus, {name} {print_[:8]}",
                remedy="give one run per corpus; two runs of one corpus are laid over each other",
            )
        own = found.setdefault(name if names.count(name) == 1 else f"{name} {print_[:8]}", {})
        for cell in run["cells"]:
            if cell["ratio"] == 0 and cell["direction"] == "image-to-text":
                own.setdefault((cell["model"], cell["k"]), cell)
    return found
