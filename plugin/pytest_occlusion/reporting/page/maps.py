"""Where the models look: a map per view and quantity, and the worst place to block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from pytest_occlusion.occlusion.levels import axis_title
from pytest_occlusion.reporting import svg
from pytest_occlusion.reporting.maps import (
    Line,
    Map,
    chance_of,
    maps_of,
    placement_lines,
    tile_text,
)
from pytest_occlusion.reporting.mapsvg import STEPS, map_chart
from pytest_occlusion.reporting.page.pieces import legend_places, table
from pytest_occlusion.reporting.views import Results
from pytest_occlusion.suite.grid import MAIN_OCCLUDER

WIDEST = 12
"""Places per side up to which a table has the shape of the grid; beyond, it lists the largest."""

LISTED = 30


def maps_section(document: Results) -> Iterator[str]:
    """A block per model; the script hides those of models that are not chosen."""
    scale = "".join(f'<span class="hot{step}">&nbsp;</span>' for step in range(2, STEPS + 1, 2))
    yield (
        '<p class="key">What retrieval loses, on average over the radiographs, when the place is '
        "blocked. "
        f'<span class="scale film" aria-hidden="true">{scale}</span> up to the largest loss of '
        'each map; <span class="scale film" aria-hidden="true"><span class="cold4">&nbsp;</span>'
        '<span class="cold8">&nbsp;</span></span> blocking helps. Dot: the 95 % interval over '
        "patients leaves out 0. Frame: the largest loss. Below each map lies the mean of all "
        "radiographs of the view as the encoder is shown them; it is nobody's radiograph, and is "
        "left out where a view has few patients.</p>"
    )
    names = legend_places(document)
    for record in document["maps"]:
        place = names.get(record["model"])
        chosen = "" if place is None else f' data-m="{place}"'
        yield f"<div{chosen}><h3>{escape(record['model'])}: {escape(tile_text(record))}</h3>"
        for view in record["views"]:
            found = maps_of(record, view)
            title = (
                f"{view['view']}, {view['queries']:,} radiographs of {view['patients']:,} patients"
            )
            yield f'<h4>{escape(title)}</h4><div class="maps">'
            for one in found:
                peak = one.peak
                where = f"most at row {peak.row}, column {peak.column}: {one.told(peak)}"
                yield (
                    f"<figure>{map_chart(one)}<figcaption><strong>{escape(one.title)}</strong>"
                    f"<br>{escape(where)}</figcaption></figure>"
                )
            yield f"</div><details><summary>Numbers, {escape(view['view'])}</summary>"
            yield from map(_numbers, found)
            yield "</details>"
        yield from _worst(document, record)
        yield "</div>"


def _numbers(one: Map) -> str:
    caption = f"{one.title}, {one.model}, {one.view}, with 95 % intervals"
    if one.grid > WIDEST:
        largest = sorted(one.places, key=lambda place: -place.value)[:LISTED]
        return table(
            f"{caption}: the {len(largest)} largest",
            ["row", "column", "loss"],
            [[str(place.row), str(place.column), one.told(place)] for place in largest],
            numeric=range(3),
        )
    rows = [one.places[at : at + one.grid] for at in range(0, len(one.places), one.grid)]
    return table(
        caption,
        ["row", *(f"column {column}" for column in range(1, one.grid + 1))],
        [
            [
                str(row[0].row),
                *(
                    f"{one.shown(place.value)}<br><small>{one.shown(place.low)} to "
                    f"{one.shown(place.high)}</small>"
                    for place in row
                ),
            ]
            for row in rows
        ],
        numeric=range(1, one.grid + 1),
    )


def _worst(document: Results, record: Mapping[str, Any]) -> Iterator[str]:
    """Recall with the tile anywhere and at each radiograph's worst place."""
    lines = placement_lines(document, record)
    k = record["k"]
    series = [
        svg.Series(
            number=place,
            title=f"{line.name}: "
            + ", ".join(f"{y:.1f} % at {x:.2g} %" for x, y, _, _ in line.points),
            points=[(x, y) for x, y, _, _ in line.points],
            band=[(low, high) for _, _, low, high in line.points],
            model=False,
        )
        for place, line in enumerate(lines)
    ]
    chance = chance_of(document, record)
    chart = svg.curve_chart(
        f"Recall at {k} of {record['model']} against the blocked share, by where the tile stands",
        series,
        floors=[] if chance is None else [("chance", chance)],
        x_top=max(x for line in lines for x, _, _, _ in line.points),
        x_label=axis_title(MAIN_OCCLUDER),
        y_label=f"R@{k}, %",
    )
    legend = "".join(
        f"<li>{svg.swatch(place)}{escape(line.name)}</li>" for place, line in enumerate(lines)
    )
    yield (
        "<h4>The worst place of each radiograph</h4>"
        '<p class="key">Chosen with the own report in sight: a lower bound on what any place of '
        "the grid leaves, not what an accident costs.</p>"
        f'<div class="charts"><figure>{chart}</figure></div><ul class="legend">{legend}</ul>'
    )
    yield table(
        f"R@{k} of {record['model']} in percent, with 95 % intervals",
        ["blocked", *(line.name for line in lines)],
        _rows(lines),
        numeric=range(len(lines) + 1),
    )


def _rows(lines: Sequence[Line]) -> list[list[str]]:
    shares = sorted({x for line in lines for x, _, _, _ in line.points})
    rows = []
    for share in shares:
        found = [next((p for p in line.points if p[0] == share), None) for line in lines]
        entries = [
            "" if p is None else f"{p[1]:.1f}<br><small>{p[2]:.1f} to {p[3]:.1f}</small>"
            for p in found
        ]
        rows.append([f"{share:.3g} %", *entries])
    return rows
