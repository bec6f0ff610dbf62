"""Charts over the levels: recall, retention, and accuracy against robustness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from pytest_occlusion.occlusion.levels import axis_name, axis_title, axis_value, level_text
from pytest_occlusion.reporting import levels, svg, views
from pytest_occlusion.reporting.page.pieces import (
    legend_places,
    per_condition,
    percent,
    table,
)
from pytest_occlusion.reporting.terminal import FLAGS
from pytest_occlusion.reporting.views import Cell, Condition, Results


def curves_section(document: Results) -> Iterator[str]:
    """Recall over the levels, a chart per k, with the choice of what is shown."""
    names = legend_places(document)
    found = views.conditions(document["cells"])
    choices = "".join(
        f'<option value="{place}">{escape(one.title)}</option>' for place, one in enumerate(found)
    )
    choices += '<option value="all">all</option>' if len(found) > 1 else ""
    boxes = "".join(
        f'<li><label><input type="checkbox" data-model="{number}" checked>'
        f"{svg.swatch(number)}{escape(name)}</label></li>"
        for name, number in names.items()
    )
    yield (
        '<form class="controls" aria-label="What the charts show">'
        f'<p class="needs-script" hidden><label>Occluder <select id="condition">{choices}</select>'
        "</label></p>"
        f'<fieldset><legend>Models</legend><ul class="legend">{boxes}</ul>'
        '<p class="needs-script" hidden><button type="button" data-models="all">All</button> '
        '<button type="button" data-models="none">None</button></p></fieldset></form>'
    )
    yield (
        '<p class="key">Shaded: 95 % intervals. Thin dotted in the same colour: the accepted '
        "baseline. <em>chance</em>: a random ranking; <em>constant</em>: the best ranking that "
        "ignores the image.</p>"
    )
    yield from per_condition(document, _curve_charts)


def _curve_charts(document: Results, condition: Condition, cells: Sequence[Cell]) -> Iterator[str]:
    names, name = legend_places(document), condition.occluder
    x_top = axis_value(name, max((cell["ratio"] for cell in cells), default=0) or 1)
    every = views.curves(cells)
    yield '<div class="charts">'
    for k in views.ks_of(cells):
        chosen = [curve for curve in every if curve.k == k]
        first = chosen[0].cells[0]
        series = [
            svg.Series(
                number=names[curve.model],
                title=f"{curve.model}: "
                + ", ".join(
                    f"{percent(c['recall'])} at {level_text(name, c['ratio'])}" for c in curve.cells
                ),
                points=[(axis_value(name, c["ratio"]), 100 * c["recall"]) for c in curve.cells],
                band=[(100 * c["ci_low"], 100 * c["ci_high"]) for c in curve.cells],
                ghost=[(axis_value(name, ratio), 100 * recall) for ratio, recall in curve.baseline],
            )
            for curve in chosen
        ]
        chart = svg.curve_chart(
            f"Recall at {k} against the {levels.axis_words(name)}, {condition.title}; "
            "the numbers are in the tables below",
            series,
            floors=[(floor, 100 * first[floor]) for floor in ("chance", "constant")],
            x_top=x_top,
            x_label=axis_title(name),
            y_label=f"R@{k}, %",
        )
        yield f"<figure>{chart}<figcaption>R@{k}</figcaption></figure>"
    yield "</div>"


def retention_section(document: Results) -> Iterator[str]:
    """What is left of the recall at 0 %, a small chart per model."""
    yield (
        '<p class="key">Share of the recall at 0 % that is left, in percent; a line per list '
        f"length, from {_ends(document)}: the longer the list, the thicker the line.</p>"
    )
    yield from per_condition(document, _retention_charts)


def _ends(document: Results) -> str:
    ks = views.ks_of(document["cells"])
    return f"R@{ks[0]} to R@{ks[-1]}"


def _retention_charts(
    document: Results, condition: Condition, cells: Sequence[Cell]
) -> Iterator[str]:
    names, occluder = legend_places(document), condition.occluder
    x_top = axis_value(occluder, max((cell["ratio"] for cell in cells), default=0) or 1)
    every = views.curves(cells)
    yield '<div class="multiples">'
    for model in views.models_of(cells):
        lines = [
            (curve.k, [(axis_value(occluder, x), 100 * left) for x, left in curve.retention])
            for curve in sorted(every, key=lambda one: one.k)
            if curve.model == model and curve.retention
        ]
        name = escape(model)
        if not lines:
            chart = '<p class="note">No recall at 0 % to retain.</p>'
        else:
            ks = f"R@{lines[0][0]} to R@{lines[-1][0]}" if len(lines) > 1 else f"R@{lines[0][0]}"
            chart = svg.retention_chart(
                f"Retention of {model}, {condition.title}, {ks}", lines, x_top, axis_name(occluder)
            )
        yield (f'<figure data-m="{names[model]}">{chart}<figcaption>{name}</figcaption></figure>')
    yield "</div>"


def robustness_section(document: Results) -> Iterator[str]:
    """Accuracy against robustness, with the Pareto front."""
    yield (
        '<p class="key">Robustness is the area under retention: 100 % loses nothing. The line is '
        "the Pareto front: no model is better than those on it in both. Models drawn open do not "
        "clear a ranking that ignores the image at 0 %; they have nothing to lose and are left out "
        "of the front.</p>"
    )
    yield from per_condition(document, _scatter)


def _scatter(document: Results, condition: Condition, cells: Sequence[Cell]) -> Iterator[str]:
    names, k = legend_places(document), views.focus_k(cells)
    standing = views.standings(document, condition, k)
    if not standing:
        yield '<p class="note">Needs ratio 0 and at least one other.</p>'
        return
    dots = [
        svg.Dot(names[s.model], s.model, (100 * s.accuracy, 100 * s.robustness), not s.clears)
        for s in standing
    ]
    front = sorted({(100 * s.accuracy, 100 * s.robustness) for s in standing if s.front})
    yield f"<figure>{svg.scatter(f'Accuracy against robustness at R@{k}', dots, front)}</figure>"
    numbers = views.summaries(document, condition, k)
    rows = []
    for one in sorted(standing, key=lambda s: -s.accuracy):
        curve = numbers[one.model]
        half, fit = curve["half_ratio"], curve["r_squared"]
        flags = "; ".join(FLAGS.get(flag, str(flag)) for flag in curve["flags"])
        rows.append(
            [
                f"{svg.swatch(names[one.model])}{escape(one.model)}",
                percent(one.accuracy),
                percent(one.robustness, 0),
                levels.half_text(condition.occluder, half),
                "" if fit is None else f"{fit:.2f}",
                "on the front" if one.front else "",
                escape(flags),
            ]
        )
    yield table(
        f"R@{k} of every model, {condition.title}",
        [
            *("model", "R at 0 %, %", "robustness, %", "half gone at", "linear R\u00b2"),
            *("Pareto", "flags"),
        ],
        rows,
        numeric=range(1, 5),
    )
