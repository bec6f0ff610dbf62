"""Recall as tables: per model coloured by height, and every cell to sort and filter."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

from pytest_occlusion.gate.verdicts import CHANGED, IMPROVED, REGRESSED
from pytest_occlusion.occlusion.levels import axis_name, level_text
from pytest_occlusion.reporting import levels, views
from pytest_occlusion.reporting.page.pieces import (
    ORDER,
    SIGNS,
    legend_places,
    per_condition,
    percent,
    scrolling,
    signed,
)
from pytest_occlusion.reporting.views import Cell, Condition, Results

HEAT = 10
"""Steps of the heat scale in the style sheet."""


def tables_section(document: Results) -> Iterator[str]:
    """Recall by ratio and k, a table per model."""
    scale = "".join(f'<span class="h{step}">{10 * step}+</span>' for step in range(HEAT))
    yield (
        f'<p class="key">Recall in percent, and below it the change against the untouched picture. '
        f'<span class="scale" aria-hidden="true">{scale}</span> {SIGNS[REGRESSED]} regressed, '
        f"{SIGNS[IMPROVED]} improved against the baseline.</p>"
    )
    yield from per_condition(document, _heat_tables)


def _heat_tables(document: Results, condition: Condition, cells: Sequence[Cell]) -> Iterator[str]:
    names = legend_places(document)
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
        entries = "".join(f'<td class="n">{percent(c[floor]) if c else ""}</td>' for c in values)
        rows.append(f'<tr class="floors"><th scope="row" class="n">{floor}</th>{entries}</tr>')
    return scrolling(
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
        drop = f"<small>{signed(100 * (cell['recall'] / whole['recall'] - 1), 0)} %</small>"
    return f'<td class="h{step}">{mark}{percent(cell["recall"])}{drop}</td>'


def cells_section(document: Results) -> Iterator[str]:
    """The table of all cells, which the script fills."""
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
    yield scrolling(
        "All cells",
        '<table id="cell-table"><caption>Every cell; a heading sorts by its column</caption>'
        "<thead></thead><tbody></tbody></table>",
    )
    yield '<p><button type="button" id="cell-more">Show more</button></p></div>'
