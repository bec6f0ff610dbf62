"""What the page's template asks for: numbers in words, and the rows of its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pytest_occlusion.gate.verdicts import CHANGED, IMPROVED, NEW, REGRESSED, SAME, WITHIN
from pytest_occlusion.occlusion.levels import axis_name, level_text
from pytest_occlusion.reporting import levels, svg, views
from pytest_occlusion.reporting.charts import FLOORS, Panel
from pytest_occlusion.reporting.terminal import FLAGS
from pytest_occlusion.reporting.views import Cell, Change, Condition, Results, Standing

if TYPE_CHECKING:
    from pytest_occlusion.reporting.maps import Map

Row = Sequence[object]
Changes = Mapping[tuple[str, str | None], Change]

SIGNS = {REGRESSED: "\u25bc", IMPROVED: "\u25b2", NEW: "+", SAME: "=", WITHIN: "\u2248"}
"""So that a verdict is never told by colour alone."""

ORDER = (REGRESSED, IMPROVED, NEW, WITHIN, SAME)

HEAT = 10
"""Steps of the heat scale in the style sheet."""

WIDEST, LISTED = 12, 30
"""Places per side up to which a table has the shape of the grid; beyond, it lists the largest."""

MOVED = 25
"""Cells of one verdict that the verdict list names; the cell table has all."""

OUTCOMES = {"supported": "\u2713", "contradicted": "\u2717"}

SMALL = Markup("{}<br><small>{}</small>")


def thousands(count: int | None) -> str:
    """``1,770``."""
    return f"{count or 0:,}"


def counted(count: int, what: str) -> str:
    """A number with what it counts."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent, empty where there is none."""
    return "" if share is None else f"{100 * share:.{digits}f}"


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign, none at zero."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "\u2212") if float(text) else text[1:]


def plain(value: Any) -> str:
    """A setting's value for people."""
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(one)}" for name, one in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def counts(cells: Iterable[Cell]) -> dict[str, int]:
    """How many cells have which verdict, the gravest first, then whatever else there is."""
    found = Counter(cell["verdict"] for cell in cells)
    places = {kind: place for place, kind in enumerate(ORDER)}
    return {k: found[k] for k in sorted(found, key=lambda k: (places.get(k, len(places)), k))}


def protocol(document: Results) -> dict[str, Any]:
    """The protocol with what was measured."""
    cells = document["cells"]
    names = {"blocked share": "ratios", "severity": "severities"}
    found = levels.levels_of(cells).items()
    return {
        **document["protocol"],
        **{names[name]: ", ".join(texts.values()) for name, texts in found},
        "ks": views.ks_of(cells),
        "occluders": list(dict.fromkeys(cell["occluder"] for cell in cells)),
    }


def heat_tables(document: Results, condition: Condition) -> Iterator[tuple[Any, ...]]:
    """Per model: its name, headings, (level, entries) of every row, and the floors."""
    cells = views.of_condition(document["cells"], condition)
    for model in views.models_of(cells):
        own = {(c["ratio"], c["k"]): c for c in cells if c["model"] == model}
        ks, ratios = views.ks_of(own.values()), sorted({ratio for ratio, _ in own})
        rows = [
            (
                level_text(condition.occluder, ratio),
                [_heat_entry(own.get((ratio, k)), own.get((0.0, k))) for k in ks],
            )
            for ratio in ratios
        ]
        first = [own.get((ratios[0], k)) for k in ks]
        floors = [(name, [percent(c[name]) if c else "" for c in first]) for name in FLOORS]
        yield model, [axis_name(condition.occluder), *(f"R@{k}" for k in ks)], rows, floors


def _heat_entry(cell: Cell | None, whole: Cell | None) -> tuple[int, str, str, str, str]:
    """Step of the scale, sign and name of the verdict, recall, change against nothing blocked."""
    if cell is None:
        return 0, "", "", "", ""
    kind, drop = cell["verdict"], ""
    if whole is not None and cell["ratio"] and whole["recall"] > 0:
        drop = signed(100 * (cell["recall"] / whole["recall"] - 1), 0)
    step = min(HEAT - 1, max(0, int(cell["recall"] * HEAT)))
    return step, SIGNS[kind] if kind in CHANGED else "", kind, percent(cell["recall"]), drop


def standing_rows(
    standing: Iterable[Standing], occluder: str, places: Mapping[str, int]
) -> Iterator[Row]:
    """Every model at one k: accuracy, robustness and what its curve says."""
    for one in sorted(standing, key=lambda one: -one.accuracy):
        yield (
            svg.swatch(places[one.model]) + one.model,
            percent(one.accuracy),
            percent(one.robustness, 0),
            levels.half_text(occluder, one.half),
            "" if one.fit is None else f"{one.fit:.2f}",
            "on the front" if one.front else "",
            "; ".join(FLAGS.get(flag, flag) for flag in one.flags),
        )


def map_table(one: Map) -> tuple[str, Sequence[str], Iterable[Row], range]:
    """A map in numbers, in the shape of its grid; of a large one only where most is lost."""
    caption = f"{one.title}, {one.model}, {one.view}, with 95 % intervals"
    if one.grid > WIDEST:
        largest = sorted(one.places, key=lambda place: -place.value)[:LISTED]
        rows: list[Row] = [(place.row, place.column, one.told(place)) for place in largest]
        return f"{caption}: the {len(rows)} largest", ["row", "column", "loss"], rows, range(1, 3)
    entries = [
        SMALL.format(one.shown(p.value), f"{one.shown(p.low)} to {one.shown(p.high)}")
        for p in one.places
    ]
    numbers = range(1, one.grid + 1)
    rows = [(n, *entries[one.grid * (n - 1) : one.grid * n]) for n in numbers]
    return caption, ["row", *(f"column {n}" for n in numbers)], rows, numbers


def worst_rows(panel: Panel) -> Iterator[Row]:
    """Recall of every line at every blocked share."""
    lines = [
        {x: (y, *ends) for (x, y), ends in zip(line.points, line.band, strict=True)}
        for line in panel.lines
    ]
    for share in sorted({x for line in lines for x in line}):
        found = [line.get(share) for line in lines]
        yield (
            f"{share:.3g} %",
            *(SMALL.format(f"{p[0]:.1f}", f"{p[1]:.1f} to {p[2]:.1f}") if p else "" for p in found),
        )


def change_rows(changes: Changes) -> Iterator[Row]:
    """What changed since the baselines were accepted; models without a change come last."""
    for one in sorted(changes.values(), key=lambda one: one.known and not one.changed):
        text = Markup("<br>").join(
            Markup("<b>{}</b> {} \u2192 {}").format(*change) for change in one.changed
        )
        none = "nothing recorded" if one.known else "the baseline does not say"
        yield one.model, thousands(one.cells), text or none, ", ".join(one.unchanged)


def moved_rows(found: Iterable[Cell], changes: Changes) -> Iterator[Row]:
    """The cells that changed most, with what changed under them."""

    def difference(cell: Cell) -> float:
        before = views.baseline_recall(cell)
        return 0.0 if before is None else float(cell["recall"] - before)

    for cell in sorted(found, key=lambda cell: -abs(difference(cell)))[:MOVED]:
        cause = changes.get((cell["model"], cell["baseline_from"]))
        chances = (cell["p_value"], cell["p_adjusted"])
        yield (
            Markup("<code>{}</code>").format(cell["id"]),
            percent(views.baseline_recall(cell)),
            percent(cell["recall"]),
            signed(100 * difference(cell)),
            "" if cell["lost"] is None else f"{cell['lost']:,} / {cell['gained']:,}",
            *("" if p is None else f"{p:.1g}" for p in chances),
            cause.suggests if cause else "",
        )


def drifted_cells(cells: Iterable[Cell]) -> list[Cell]:
    """Cells beyond the tolerance of their first value, the furthest first."""
    return sorted((c for c in cells if c["drift"]), key=lambda c: -abs(c["drift"]))


def filters(cells: Sequence[Cell]) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """(field, label, (value, text) of its choices) of the table of all cells."""
    labels = {
        "model": "Model",
        "occluder": "Occluder",
        "direction": "Direction",
        "ratio": "Severity or blocked" if "severity" in levels.levels_of(cells) else "Blocked",
        "k": "k",
        "verdict": "Verdict",
    }
    for field, label in labels.items():
        values: Iterable[Any] = dict.fromkeys(cell[field] for cell in cells)
        if field in ("k", "verdict"):
            values = sorted(values) if field == "k" else counts(cells)
        options = [(str(value), str(value)) for value in values]
        if field != "direction" or len(options) > 1:
            yield field, label, levels.choices(cells) if field == "ratio" else options


def claim_rows(claims: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """Every claim: what it says, what it came to, and its numbers as bars on one scale."""
    for claim in claims:
        outcome, expected = claim["outcome"], claim["expected"]
        statement, state = claim["statement"], f"{OUTCOMES.get(outcome, '?')} {outcome}"
        for text in (claim["unit"], *claim["notes"]):
            statement = SMALL.format(statement, plain(text))
        if expected is not None:
            same = "as expected" if expected == outcome else f"expected: {plain(expected)}"
            state = SMALL.format(state, same)
        yield statement, state, Markup().join(_estimates(claim["estimates"]))


def _estimates(estimates: Sequence[Mapping[str, Any]]) -> Iterator[Markup]:
    ends = [one[name] for one in estimates for name in ("low", "high", "threshold", "value")]
    for one in estimates:
        yield Markup('<div class="estimate">{}<span>{}</span></div>').format(
            svg.interval_bar(one, (min(ends), max(ends))),
            f"{plain(one.get('label'))}: {one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}]; "
            f"compared with {one['threshold']:g}",
        )


def timing_rows(timings: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """Every pass and what it took."""
    for one in timings:
        seconds = [one[f"{name}_seconds"] for name in ("draw", "text", "encode", "rank")]
        speed = one["images_per_second"]
        yield (
            one["model"],
            one["pass"],
            "measured" if one["fresh"] else "from the store",
            *("" if value is None else f"{value:,.2f}" for value in seconds),
            thousands(one["encoded_images"]),
            "" if speed is None else f"{speed:,.0f}",
        )
