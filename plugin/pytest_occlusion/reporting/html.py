"""The HTML report: one file that opens anywhere, fetches nothing and says what the document says.

Charts are drawn here as SVG, styles and script lie in ``assets`` and are put inline. The page holds
nothing that the results document does not, no time and no path, so the same document gives the same
bytes; its content security policy forbids every request and any script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files as package_files
from typing import Any

from pytest_occlusion.occlusion.levels import axis_name, axis_title, axis_value, level_text
from pytest_occlusion.reporting import levels, svg, views
from pytest_occlusion.reporting.files import headline
from pytest_occlusion.reporting.reading import completed
from pytest_occlusion.reporting.terminal import FLAGS
from pytest_occlusion.reporting.views import Cell, Condition, Results
from pytest_occlusion.verdicts import CHANGED, IMPROVED, NEW, REGRESSED, SAME, WITHIN

BITS_SHOWN = 200_000
"""Characters of ``hit_queries`` up to which the page keeps them; beyond, they would fill it."""

LISTED = 25
"""Cells of one verdict that the verdict list names; the cell table has all."""

HEAT = 10
"""Steps of the heat scale in the style sheet."""

SIGNS = {REGRESSED: "\u25bc", IMPROVED: "\u25b2", NEW: "+", SAME: "=", WITHIN: "\u2248"}
"""So that a verdict is never told by colour alone."""

ORDER = (REGRESSED, IMPROVED, NEW, WITHIN, SAME)

SECTIONS = {
    "summary": "Summary",
    "curves": "Recall curves",
    "tables": "Recall per model",
    "retention": "Retention",
    "robustness": "Accuracy and robustness",
    "verdicts": "Verdicts",
    "cells": "All cells",
    "claims": "Claims",
    "timings": "Timings",
    "provenance": "Provenance",
    "data": "Data",
}
"""Id -> heading, in the order of the page."""


def as_html(results: Results) -> str:
    """The page.

    Args:
        results: A results document, as a run makes it or :func:`reading.read_results` returns it.
    """
    document = completed(results)
    style, script = _asset("page.css").replace("/*DARK*/", _asset("dark.css")), _asset("page.js")
    title = f"Occlusion suite {document['suite']}"
    makers = {
        "summary": _summary,
        "curves": _curves,
        "tables": _tables,
        "retention": _retention,
        "robustness": _robustness,
        "verdicts": _verdicts,
        "cells": _cells,
        "claims": _claims,
        "timings": _timings,
        "provenance": _provenance,
        "data": _data,
    }
    sections = [
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{heading}</h2>'
        f"{''.join(makers[name](document))}</section>"
        for name, heading in SECTIONS.items()
    ]
    links = "".join(f'<li><a href="#{name}">{text}</a></li>' for name, text in SECTIONS.items())
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{escape(title)}</title>",
        f"<style>{style}</style>",
        "</head>",
        "<body>",
        '<a class="skip" href="#summary">Skip to the summary</a>',
        f"<header><h1>{escape(title)}</h1>",
        '<button type="button" id="theme" hidden>Theme: as the system</button></header>',
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>',
        "<main>",
        *sections,
        "</main>",
        f'<script type="application/json" id="results">{_embedded(results)}</script>',
        f"<script>{script}</script>",
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


@cache
def _asset(name: str) -> str:
    return (package_files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# What the page carries of the document


def _keeps_bits(results: Results) -> bool:
    return sum(len(str(cell.get("hit_queries") or "")) for cell in results["cells"]) <= BITS_SHOWN


def _embedded(results: Results) -> str:
    """The document as JSON, cells as rows under one list of names, safe inside a script element."""
    without = () if _keeps_bits(results) else ("hit_queries",)
    columns = [name for name in _columns(results["cells"]) if name not in without]
    packed = {
        "document": {**results, "cells": None},
        "columns": columns,
        "rows": [[cell.get(name) for name in columns] for cell in results["cells"]],
    }
    text = json.dumps(packed, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _columns(cells: Iterable[Cell]) -> list[str]:
    return list(dict.fromkeys(name for cell in cells for name in cell))


# Small pieces


def _percent(share: float | None, digits: int = 1) -> str:
    return "" if share is None else f"{100 * share:.{digits}f}"


def _p(value: float | None) -> str:
    return "" if value is None else f"{value:.1g}"


def _signed(value: float, digits: int = 1) -> str:
    text = f"{value:+.{digits}f}"
    return text.replace("-", "\u2212") if float(text) else text[1:]


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _verdict(kind: str) -> str:
    css = kind if kind in SIGNS else "other"
    sign = SIGNS.get(kind, "?")
    return f'<span class="v {css}"><span aria-hidden="true">{sign}</span> {escape(kind)}</span>'


def _table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numeric: Iterable[int] = (),
) -> str:
    """A table whose first column names the rows; cells are HTML already.

    Args:
        caption: What it is, for everybody.
        heads: Column headings.
        rows: Their cells.
        numeric: Columns that are set right.
    """
    right = set(numeric)
    head = "".join(f'<th scope="col"{_right(i in right)}>{h}</th>' for i, h in enumerate(heads))
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td{_right(i in right)}>{cell}</td>" for i, cell in enumerate(row[1:], 1))
        + "</tr>"
        for row in rows
    )
    return _scrolling(
        caption,
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>",
    )


def _right(yes: bool) -> str:
    return ' class="n"' if yes else ""


def _scrolling(label: str, table: str) -> str:
    """What is too wide scrolls by itself, also by keyboard."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">{table}</div>'
    )


def _listing(entries: Iterable[tuple[str, str]]) -> str:
    """Names and values; empty values are left out."""
    rows = "".join(f"<dt>{escape(n)}</dt><dd>{escape(v)}</dd>" for n, v in entries if v != "")
    return f"<dl>{rows}</dl>"


def _plain(value: Any) -> str:
    """A setting's value for people."""
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(one)}" for name, one in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _per_condition(document: Results, make: Any) -> Iterator[str]:
    """One block per occluder and direction; the script shows the chosen one."""
    for place, condition in enumerate(views.conditions(document["cells"])):
        cells = views.of_condition(document["cells"], condition)
        yield f'<div data-condition="{place}"><h3>{escape(condition.title)}</h3>'
        yield from make(document, condition, cells)
        yield "</div>"


def _numbers(document: Results) -> dict[str, int]:
    """Model -> its place in the legend."""
    return {name: place for place, name in enumerate(views.models_of(document["cells"]))}


# Sections


def _summary(document: Results) -> Iterator[str]:
    cells, corpus = document["cells"], document["corpus"]
    counts: dict[str, int] = {}
    for cell in cells:
        counts[cell["verdict"]] = counts.get(cell["verdict"], 0) + 1
    worst = next((kind for kind in (REGRESSED, IMPROVED, NEW) if counts.get(kind)), SAME)
    sign = "\u2713" if worst == SAME else SIGNS[worst]
    yield (
        f'<p class="headline {worst}"><span aria-hidden="true">{sign}</span> '
        f"{escape(headline(document))}.</p>"
    )
    tiles = "".join(
        f"<li><strong>{count:,}</strong>{_verdict(kind)}</li>"
        for kind, count in views.ordered(ORDER, counts)
    )
    yield f'<ul class="tiles" aria-label="Cells by verdict">{tiles}</ul>'
    yield (
        f"<p>{corpus['radiographs']:,} radiographs of {corpus['studies']:,} studies against "
        f"{corpus['candidates']:,} candidates; {_counted(len(document['models']), 'model')}, "
        f"{_counted(len(views.conditions(cells)), 'condition')}, "
        f"{levels.counted(cells)}, "
        f"{_counted(len(views.ks_of(cells)), 'list length')}.</p>"
    )
    yield from (f'<p class="note">{escape(_plain(note))}</p>' for note in corpus["notes"])
    for name, model in document["models"].items():
        if model["truncated"]:
            yield (
                f'<p class="note">{escape(name)}: {model["truncated"]:,} of {corpus["texts"]:,} '
                f"texts were cut to {model['token_limit']} tokens.</p>"
            )
    written = sum(bool(cell["written"]) for cell in cells)
    if written:
        yield f'<p class="note">{written:,} baselines were written by this run.</p>'


def _curves(document: Results) -> Iterator[str]:
    names = _numbers(document)
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
    yield from _per_condition(document, _curve_charts)


def _curve_charts(document: Results, condition: Condition, cells: Sequence[Cell]) -> Iterator[str]:
    names = _numbers(document)
    name = condition.occluder
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
                    f"{_percent(c['recall'])} at {level_text(name, c['ratio'])}"
                    for c in curve.cells
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
            floors=[(name, 100 * first[name]) for name in ("chance", "constant")],
            x_top=x_top,
            x_label=axis_title(name),
            y_label=f"R@{k}, %",
        )
        yield f"<figure>{chart}<figcaption>R@{k}</figcaption></figure>"
    yield "</div>"


def _tables(document: Results) -> Iterator[str]:
    scale = "".join(f'<span class="h{step}">{10 * step}+</span>' for step in range(HEAT))
    yield (
        f'<p class="key">Recall in percent, and below it the change against the untouched picture. '
        f'<span class="scale" aria-hidden="true">{scale}</span> {SIGNS[REGRESSED]} regressed, '
        f"{SIGNS[IMPROVED]} improved against the baseline.</p>"
    )
    yield from _per_condition(document, _heat_tables)


def _heat_tables(document: Results, condition: Condition, cells: Sequence[Cell]) -> Iterator[str]:
    names = _numbers(document)
    yield '<div class="heats">'
    for model in views.models_of(cells):
        own = [cell for cell in cells if cell["model"] == model]
        yield f'<div data-m="{names[model]}">{_heat_table(condition, model, own)}</div>'
    yield "</div>"


def _heat_table(condition: Condition, model: str, cells: Sequence[Cell]) -> str:
    name, by_place = condition.occluder, {(cell["ratio"], cell["k"]): cell for cell in cells}
    ks, ratios = views.ks_of(cells), sorted({cell["ratio"] for cell in cells})
    head = "".join(f'<th scope="col" class="n">R@{k}</th>' for k in ks)
    rows = []
    for ratio in ratios:
        entries = "".join(_heat_cell(by_place, ratio, k) for k in ks)
        rows.append(f'<tr><th scope="row" class="n">{level_text(name, ratio)}</th>{entries}</tr>')
    for floor in ("chance", "constant"):
        values = [by_place.get((ratios[0], k)) for k in ks]
        entries = "".join(f'<td class="n">{_percent(c[floor]) if c else ""}</td>' for c in values)
        rows.append(f'<tr class="floors"><th scope="row" class="n">{floor}</th>{entries}</tr>')
    return _scrolling(
        f"{model}, {condition.title}",
        f'<table class="heat"><caption>{escape(model)}<span class="sr">, {escape(condition.title)}'
        f": recall in percent by {levels.axis_words(name)} and list length</span></caption>"
        "<thead><tr>"
        f'<th scope="col" class="n">{axis_name(name)}</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>",
    )


def _heat_cell(by_place: Mapping[tuple[float, int], Cell], ratio: float, k: int) -> str:
    cell, whole = by_place.get((ratio, k)), by_place.get((0.0, k))
    if cell is None:
        return "<td></td>"
    step = min(HEAT - 1, max(0, int(cell["recall"] * HEAT)))
    mark = ""
    if cell["verdict"] in CHANGED:
        mark = f'<b title="{cell["verdict"]}">{SIGNS[cell["verdict"]]}</b>'
    drop = ""
    if whole is not None and ratio and whole["recall"] > 0:
        drop = f"<small>{_signed(100 * (cell['recall'] / whole['recall'] - 1), 0)} %</small>"
    return f'<td class="h{step}">{mark}{_percent(cell["recall"])}{drop}</td>'


def _retention(document: Results) -> Iterator[str]:
    yield (
        '<p class="key">Share of the recall at 0 % that is left, in percent; a line per list '
        f"length, from {_ends(document)}: the longer the list, the thicker the line.</p>"
    )
    yield from _per_condition(document, _retention_charts)


def _ends(document: Results) -> str:
    ks = views.ks_of(document["cells"])
    return f"R@{ks[0]} to R@{ks[-1]}"


def _retention_charts(
    document: Results, condition: Condition, cells: Sequence[Cell]
) -> Iterator[str]:
    names = _numbers(document)
    occluder = condition.occluder
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


def _robustness(document: Results) -> Iterator[str]:
    yield (
        '<p class="key">Robustness is the area under retention: 100 % loses nothing. The line is '
        "the Pareto front: no model is better than those on it in both. Models drawn open do not "
        "clear a ranking that ignores the image at 0 %; they have nothing to lose and are left out "
        "of the front.</p>"
    )
    yield from _per_condition(document, _scatter)


def _scatter(document: Results, condition: Condition, cells: Sequence[Cell]) -> Iterator[str]:
    names, k = _numbers(document), views.focus_k(cells)
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
                _percent(one.accuracy),
                _percent(one.robustness, 0),
                levels.half_text(condition.occluder, half),
                "" if fit is None else f"{fit:.2f}",
                "on the front" if one.front else "",
                escape(flags),
            ]
        )
    yield _table(
        f"R@{k} of every model, {condition.title}",
        [
            *("model", "R at 0 %, %", "robustness, %", "half gone at", "linear R\u00b2"),
            *("Pareto", "flags"),
        ],
        rows,
        numeric=range(1, 5),
    )


def _verdicts(document: Results) -> Iterator[str]:
    changes = views.changes_of(document)
    if not changes:
        yield '<p class="note">No cell has a baseline to compare with.</p>'
    else:
        yield _table(
            "What changed since the baselines were accepted",
            ["model", "cells", "changed", "unchanged"],
            [
                [
                    escape(one.model),
                    f"{one.cells:,}",
                    "<br>".join(
                        f"<b>{escape(name)}</b> {escape(old)} \u2192 {escape(new)}"
                        for name, old, new in one.changed
                    )
                    or ("nothing recorded" if one.known else "the baseline does not say"),
                    escape(", ".join(one.unchanged)),
                ]
                for one in sorted(changes.values(), key=lambda one: one.known and not one.changed)
            ],
            numeric=(1,),
        )
    for kind in (REGRESSED, IMPROVED):
        found = [cell for cell in document["cells"] if cell["verdict"] == kind]
        yield f"<h3>{_verdict(kind)}: {len(found):,} of {len(document['cells']):,} cells</h3>"
        if found:
            yield _change_list(kind, found, changes)
    new = sum(cell["verdict"] == NEW for cell in document["cells"])
    if new:
        yield f"<h3>{_verdict(NEW)}: {new:,} cells have no baseline</h3>"
    drifted = [cell for cell in document["cells"] if cell["drift"]]
    if drifted:
        far = max(drifted, key=lambda cell: abs(cell["drift"]))
        yield (
            f'<p class="note">{len(drifted):,} cells have drifted beyond the tolerance since they '
            f"were first accepted, {escape(far['id'])} furthest ({_signed(far['drift'], 0)} hits)."
            "</p>"
        )


def _change_list(
    kind: str,
    found: Sequence[Cell],
    changes: Mapping[tuple[str, str | None], views.Change],
) -> str:
    """The cells that changed most, with what changed under them."""

    def difference(cell: Cell) -> float:
        before = views.baseline_recall(cell)
        return 0.0 if before is None else float(cell["recall"] - before)

    ranked = sorted(found, key=lambda cell: -abs(difference(cell)))
    rows = []
    for cell in ranked[:LISTED]:
        cause = changes.get((cell["model"], cell["baseline_from"]))
        flips = "" if cell["lost"] is None else f"{cell['lost']:,} / {cell['gained']:,}"
        rows.append(
            [
                f"<code>{escape(cell['id'])}</code>",
                _percent(views.baseline_recall(cell)),
                _percent(cell["recall"]),
                _signed(100 * difference(cell)),
                flips,
                _p(cell["p_value"]),
                _p(cell["p_adjusted"]),
                escape(cause.suggests if cause else ""),
            ]
        )
    more = len(found) - LISTED
    rest = (
        f'<p>And {more:,} more: see <a href="#cells">all cells</a>, by verdict and change.</p>'
        if more > 0
        else ""
    )
    table = _table(
        f"Cells that {kind}, largest change first",
        [
            *("cell", "baseline, %", "now, %", "points", "lost / gained"),
            *("p", "p (Holm)", "what changed"),
        ],
        rows,
        numeric=range(1, 7),
    )
    return table + rest


def _cells(document: Results) -> Iterator[str]:
    cells = document["cells"]

    def select(name: str, label: str, values: Iterable[tuple[str, str]]) -> str:
        options = "".join(f'<option value="{escape(v)}">{escape(t)}</option>' for v, t in values)
        return (
            f'<label>{label} <select data-filter="{name}"><option value="">all</option>{options}'
            "</select></label>"
        )

    def same(values: Iterable[Any]) -> list[tuple[str, str]]:
        return [(str(value), str(value)) for value in values]

    directions = dict.fromkeys(cell["direction"] for cell in cells)
    kinds = views.ordered(ORDER, dict.fromkeys((cell["verdict"] for cell in cells), 0))
    filters = [
        '<label>Contains <input type="search" id="contains" autocomplete="off"></label>',
        select("model", "Model", same(views.models_of(cells))),
        select("occluder", "Occluder", same(dict.fromkeys(c["occluder"] for c in cells))),
        select(
            "ratio",
            "Severity or blocked" if levels.any_corrupted(cells) else "Blocked",
            levels.choices(cells),
        ),
        select("k", "k", same(views.ks_of(cells))),
        select("verdict", "Verdict", same(kind for kind, _ in kinds)),
    ]
    if len(directions) > 1:
        filters.insert(3, select("direction", "Direction", same(directions)))
    yield (
        '<noscript><p class="note">Sorting and filtering need the script inside this page; the '
        "tables above hold the numbers.</p></noscript>"
        '<div class="needs-script" hidden>'
        f'<form class="controls row" aria-label="Filter cells">{"".join(filters)}</form>'
        '<p id="cell-count" role="status"></p>'
    )
    yield _scrolling(
        "All cells",
        '<table id="cell-table"><caption>Every cell; a heading sorts by its column</caption>'
        "<thead></thead><tbody></tbody></table>",
    )
    yield '<p><button type="button" id="cell-more">Show more</button></p></div>'


def _claims(document: Results) -> Iterator[str]:
    if not document["claims"]:
        yield '<p class="note">No claim was asked of this run.</p>'
        return
    signs = {"supported": "\u2713", "contradicted": "\u2717"}
    rows = []
    for claim in document["claims"]:
        outcome = claim["outcome"]
        expected = claim["expected"]
        state = f"{signs.get(outcome, '?')} {escape(outcome)}"
        if expected is not None:
            same = "as expected" if expected == outcome else f"expected: {expected}"
            state += f"<br><small>{escape(_plain(same))}</small>"
        notes = "".join(
            f"<br><small>{escape(_plain(one))}</small>" for one in (claim["unit"], *claim["notes"])
        )
        rows.append([escape(claim["statement"]) + notes, state, _estimates(claim["estimates"])])
    yield _table(
        "Claims of Deanda et al. 2025, with 95 % intervals over patients; the upright line is what "
        "an interval is compared with",
        ["claim", "outcome", "estimates"],
        rows,
    )


def _estimates(estimates: Sequence[Mapping[str, Any]]) -> str:
    """Each number in words, and beside it as a bar on one scale."""
    if not estimates:
        return ""
    ends = [one[name] for one in estimates for name in ("low", "high", "threshold", "value")]
    scale = (min(ends), max(ends))
    return "".join(
        '<div class="estimate">'
        f"{svg.interval_bar(one['value'], one['low'], one['high'], one['threshold'], scale)}"
        f"<span>{escape(_plain(one.get('label')))}: {one['value']:.2f} "
        f"[{one['low']:.2f}, {one['high']:.2f}]; compared with {one['threshold']:g}</span></div>"
        for one in estimates
    )


def _timings(document: Results) -> Iterator[str]:
    if not document["timings"]:
        yield '<p class="note">No timings were recorded.</p>'
        return

    def seconds(value: float | None) -> str:
        return "" if value is None else f"{value:,.2f}"

    rows = []
    for one in document["timings"]:
        speed = one["images_per_second"]
        rows.append(
            [
                escape(str(one["model"])),
                escape(str(one["pass"])),
                "measured" if one["fresh"] else "from the store",
                *(seconds(one[f"{name}_seconds"]) for name in ("draw", "text", "encode", "rank")),
                f"{one['encoded_images'] or 0:,}",
                "" if speed is None else f"{speed:,.0f}",
            ]
        )
    yield _table(
        "Every pass; what comes from the store shows the times of when it was measured",
        [
            *("model", "pass", "source", "draw, s", "texts, s", "encode, s", "rank, s"),
            *("images", "images/s"),
        ],
        rows,
        numeric=range(3, 9),
    )


def _provenance(document: Results) -> Iterator[str]:
    corpus = {name: value for name, value in document["corpus"].items() if name != "notes"}
    yield "<h3>Corpus</h3>"
    yield _listing((name, _plain(value)) for name, value in corpus.items())
    yield "<h3>Protocol</h3>"
    measured = {
        **levels.measured(document["cells"]),
        "ks": ", ".join(map(str, views.ks_of(document["cells"]))),
        "occluders": ", ".join(dict.fromkeys(cell["occluder"] for cell in document["cells"])),
    }
    protocol = {**document["protocol"], **measured}
    yield _listing((name, _plain(value)) for name, value in protocol.items())
    yield "<h3>Models</h3>"
    for name, model in document["models"].items():
        yield f"<details><summary>{escape(name)}: {escape(_plain(model['family']))}, weights "
        yield f"<code>{escape(_plain(model['weights'])[:8])}</code></summary>"
        yield _listing((field, _plain(value)) for field, value in model.items())
        yield "</details>"
    if document["baselines"]:
        yield "<h3>Baselines</h3>"
    for name, origin in document["baselines"].items():
        yield f"<details><summary>accepted under <code>{escape(name)}</code></summary>"
        yield _listing((field, _plain(value)) for field, value in origin.items())
        yield "</details>"


def _data(document: Results) -> Iterator[str]:
    kept = _keeps_bits(document)
    said = (
        "It is complete."
        if kept
        else "Left out, for size: <code>hit_queries</code>, the bits that say which queries hit. "
        "The file that <code>--occlusion-json</code> wrote has them; without them "
        "<code>compare</code> cannot count flips."
    )
    yield (
        f"<p>The results document lies inside this page (schema {escape(str(document['schema']))})."
        f" {said}</p>"
        '<p class="needs-script" hidden><button type="button" id="download">Download results.json'
        "</button></p>"
        '<noscript><p class="note">Downloading needs the script inside this page; the document is '
        "the script element with the id <code>results</code>.</p></noscript>"
    )
