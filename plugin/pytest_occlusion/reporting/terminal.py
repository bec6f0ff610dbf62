"""The terminal summary: a table per curve, regressions last; 80 columns, readable without colour.

Everything is a function from the results document to lines.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pytest_occlusion.gate.verdicts import CHANGED, NEW, REGRESSED, SAME, WITHIN
from pytest_occlusion.insight.claims import told_of
from pytest_occlusion.occlusion.levels import axis_name, level_text
from pytest_occlusion.reporting import beside, views
from pytest_occlusion.reporting.beside import Table
from pytest_occlusion.reporting.timings import per_second, speed_lines
from pytest_occlusion.reporting.views import Cell, Condition, Results

LABEL = 7
"""Columns of the first one: the six ks of the default suite fit into 80 beside it."""

COLUMN = 10
BASELINE = 13
SHOWN_CHANGES = 8
OUTCOME = 14
NARROW = 80
BARS = {True: " ▁▂▃▄▅▆▇█", False: " .:-=+*#@"}


class Line(NamedTuple):
    """One line of output."""

    text: str = ""
    markup: Mapping[str, bool] = {}  # pytest's terminal writer's, e.g. ``{"red": True}``


BOLD = {"bold": True}
RED = {"red": True, "bold": True}
GREEN = {"green": True}
YELLOW = {"yellow": True}
FAINT = {"light": True}


def summary(
    results: Results,
    *,
    width: int,
    unicode: bool,
    notes: Sequence[str],
    unwritten: Sequence[str] = (),
) -> list[Line]:
    """All lines of the summary of a results document.

    Args:
        results: As a run makes it.
        width: Columns of the terminal.
        unicode: Whether bars may be drawn with block characters.
        notes: Further lines to say once (damaged store entries, a run without a baseline).
        unwritten: Ids of cells that were to be stored and were not.
    """
    lines = [*_head(results)]
    for group in views.grouped(results["cells"], "model", "direction", "occluder").values():
        lines += [Line(), *_table(results, group, width=width, unicode=unicode)]
    lines += _overview(results["cells"], width)
    for name in beside.SECTIONS:
        for table in beside.tables(results, name, brief=True):
            lines += [Line(), *_beside(table, width)]
    if results.get("claims"):
        lines += [Line(), *_claims(results["claims"])]
    if results.get("maps"):
        from pytest_occlusion.reporting.maps import summary_lines  # only where there are maps

        lines.append(Line())
        lines += [Line(text, BOLD if head else {}) for text, head in summary_lines(results["maps"])]
    if speeds := list(speed_lines(results["timings"])):
        lines += [Line(), Line("speed of what was measured in this run", BOLD), *map(Line, speeds)]
    lines += [Line(note, YELLOW) for note in (*beside.notes(results), *notes)]
    lines += [Line(), *_accepted(results["cells"]), *_verdicts(results["cells"], "cells")]
    if gated := [row for row in results.get("groups", ()) if row["verdict"]]:
        lines += _verdicts(gated, "numbers of groups")
    if unwritten:
        text = (
            f"{len(unwritten)} baselines were NOT stored, {unwritten[0]} among them: the process "
            "ended before it could, or the folder cannot be written to. The old ones are whole; "
            "run with --snapshot-update again."
        )
        lines.append(Line(text, RED))
    return [part for line in lines for part in wrapped(line, width)]


def wrapped(line: Line, width: int) -> list[Line]:
    """Sentences broken at the edge of the terminal; tables are made to fit."""
    if len(line.text) <= width or line.text.startswith(" "):
        return [line]
    parts = textwrap.wrap(line.text, width, subsequent_indent="  ", break_on_hyphens=False)
    return [Line(part, line.markup) for part in parts]


def _head(results: Results) -> Iterator[Line]:
    corpus, protocol = results["corpus"], results["protocol"]
    yield Line(f"suite {results['suite']}: {views.corpus_text(results)}")
    seeds = ", ".join(map(str, protocol["seeds"]))
    yield Line(
        f"corpus {corpus['name']} {corpus['fingerprint'][:8]}; fill {protocol['fill']}, mask seed "
        f"{seeds}; {protocol['text_rule']}"
    )
    yield from map(Line, corpus["notes"])


def _titled(cell: Cell) -> str:
    return Condition(cell["direction"], cell["occluder"]).short


def _label(occluder: str) -> int:
    """Columns of the levels."""
    name = axis_name(occluder)
    return LABEL if len(name) <= LABEL else len(name) + 1


def _blocks(values: Sequence[Any], room: int, column: int) -> list[Sequence[Any]]:
    """As many values side by side as there is room for."""
    count = max(1, room // column)
    return [values[start : start + count] for start in range(0, len(values), count)]


def _table(results: Results, cells: Sequence[Cell], *, width: int, unicode: bool) -> Iterator[Line]:
    first = cells[0]
    model = results["models"][first["model"]]
    yield Line(f"{first['model']} - {_titled(first)}", BOLD)
    fresh = [one for one in results["timings"] if one["fresh"] and one["model"] == first["model"]]
    rate = per_second(fresh, "encoded_images", "encode_seconds")
    yield Line(
        f"{model['family']} {model['variant']}, weights {model['weights'][:8]}, "
        f"{model['device']} {model['precision']}, "
        + (f"{rate:,.0f} images/s" if rate else "from store")
    )
    if model["assumed"].get("quick-gelu"):
        yield Line("activation quick-gelu is assumed: the checkpoint does not tell")
    yield from map(Line, views.cut_texts(results, first["model"]))
    for ks in _blocks(views.ks_of(cells), width - _label(first["occluder"]) - BASELINE, COLUMN):
        yield from _block(cells, ks)
    yield from _curve_lines(results, cells, unicode=unicode)


def _block(cells: Sequence[Cell], ks: Sequence[int]) -> Iterator[Line]:
    """Recall in percent with the drop against 0 %, and the largest change against the baseline."""
    occluder = cells[0]["occluder"]
    label, rows = _label(occluder), views.by_level(cells, "k", ks)
    heads = "".join(f"{f'R@{k}':>5}{'':5}" for k in ks)
    yield Line(f"{axis_name(occluder):<{label}}{heads}{'vs baseline':>{BASELINE}}", FAINT)
    whole = rows.get(0.0, [None] * len(ks))
    for level, row in rows.items():
        text = "".join(map(_entry, row, whole))
        change, markup = _against_baseline([cell for cell in row if cell])
        yield Line(f"{level_text(occluder, level):>{label}}{text}{change:>{BASELINE}}", markup)
    for name, values in views.floor_rows(rows):
        entries = "".join(f"{100 * value:5.1f}{'':5}" for value in values)
        yield Line(f"{name.replace('constant', 'const.'):<{label}}{entries}", FAINT)


def _entry(cell: Cell | None, whole: Cell | None) -> str:
    if cell is None:
        return f"{'-':>5}{'':5}"
    drop = views.drop(cell, whole)
    shown = "" if drop is None else f"{drop:+.0f}%" if round(drop) else "0%"
    return f"{100 * cell['recall']:5.1f}{shown:>5}"


def _against_baseline(row: Sequence[Cell]) -> tuple[str, Mapping[str, bool]]:
    known = [cell for cell in row if cell["baseline_hits"] is not None]
    if not known:
        return "none", {}
    if all(cell["verdict"] == SAME for cell in known):
        return "same", {}
    worst = max(known, key=lambda cell: (cell["verdict"] in CHANGED, abs(views.moved(cell))))
    points = 100 * views.moved(worst)
    text = f"{points:+.{0 if abs(points) > 9.9 else 1}f} R@{worst['k']}"
    if any(cell["verdict"] == REGRESSED for cell in known):
        return f"{text} !", RED
    return text, YELLOW if worst["verdict"] in CHANGED else {}


def _overview(cells: Sequence[Cell], width: int) -> Iterator[Line]:
    """Models side by side at one k, as multiples of chance; a table per occluder and direction."""
    focus = views.focus_k(cells)
    groups = views.grouped((c for c in cells if c["k"] == focus), "occluder", "direction")
    for group in groups.values():
        title, models = _titled(group[0]), views.every(group, "model")
        if len(models) < 2:
            continue
        yield Line()
        yield Line(f"all models - {title}: R@{focus} in multiples of chance", BOLD)
        occluder, column = group[0]["occluder"], max(8, *(len(model) + 2 for model in models))
        label = _label(occluder)
        for shown in _blocks(models, width - label, column):
            heads = "".join(f"{model:>{column}}" for model in shown)
            yield Line(f"{axis_name(occluder):<{label}}{heads}", FAINT)
            for level, row in views.by_level(group, "model", shown).items():
                multiples = (f"{one['recall'] / one['chance']:.1f}" if one else "-" for one in row)
                entries = "".join(f"{text:>{column}}" for text in multiples)
                yield Line(f"{level_text(occluder, level):>{label}}{entries}")


def _beside(table: Table, width: int) -> Iterator[Line]:
    """A table of what is measured beside recall, in blocks of columns that fit."""
    yield Line(table.title, BOLD)
    texts = [table.heads] + [[*row.keys, *(one.text for one in row.entries)] for row in table.rows]
    widths = [max(map(len, column)) + 2 for column in zip(*texts, strict=True)]
    blocks: list[list[int]] = [[]]
    for at in table.numeric:
        if sum(widths[: table.keys]) + sum(widths[one] for one in (*blocks[-1], at)) > width:
            blocks.append([])
        blocks[-1].append(at)
    for block in blocks:
        before: Sequence[str] = ()
        for number, text in enumerate(texts):
            keys = text[: table.keys]
            same = 0 if number == 0 or keys[:1] != before[:1] else len(keys) - 1
            shown = [f"{key:<{room}}" for key, room in zip(keys, widths, strict=False)]
            shown[:same] = [" " * room for room in widths[:same]]
            entries = "".join(f"{text[at]:>{widths[at]}}" for at in block)
            faint = number == 0 or text[0] in views.FLOORS
            yield Line(f"{''.join(shown)}{entries}".rstrip(), FAINT if faint else {})
            before = keys
    yield from map(Line, table.notes)


def _curve_lines(results: Results, cells: Sequence[Cell], *, unicode: bool) -> Iterator[Line]:
    focus, names = views.focus_k(cells), ("model", "direction", "occluder")
    for curve in results["curves"]:
        if curve["k"] != focus or any(curve[name] != cells[0][name] for name in names):
            continue
        parts = [f"R@{focus} {sparkline(curve['recalls'], unicode=unicode)}"]
        # Where nothing stands above chance, shares of it are those of noise.
        stands = "near-chance" not in curve["flags"]
        if stands and curve["area"] is not None:
            parts.append(f"area under retention {curve['area']:.2f}")
        if stands and curve["half_ratio"] is not None:
            parts.append(f"half gone at {views.half_text(curve['occluder'], curve['half_ratio'])}")
        if stands and curve["r_squared"] is not None:
            parts.append(f"linear R2 {curve['r_squared']:.2f}")
        yield Line("; ".join(parts))
        if curve["flags"]:
            yield Line(f"flags: {', '.join(views.flag_texts(curve['flags']))}", YELLOW)


def sparkline(values: Sequence[float], *, unicode: bool) -> str:
    """One bar per value, the highest value full."""
    bars = BARS[unicode]
    top = max(values, default=0.0)
    if top <= 0:
        return bars[0] * len(values)
    return "".join(bars[max(1, round(value / top * (len(bars) - 1)))] for value in values)


def _claims(claims: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """What the paper's findings came to here, with numbers."""
    yield Line("claims of Deanda et al. 2025, 95 % intervals over patients", BOLD)
    for claim in claims:
        mark = GREEN if claim["outcome"] == "supported" else YELLOW
        yield Line(f"{claim['outcome']:<{OUTCOME}}{claim['statement']}", mark)
        for parts in ([f"({claim['unit']})", *claim["notes"]], told_of(claim)):
            yield from map(Line, _under(parts))


def _under(parts: Sequence[str]) -> list[str]:
    """Parts that stay whole, as many as fit on a line, indented below an outcome."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) + 2 <= NARROW:
            lines[-1] += f"; {part}"
        else:
            lines.append(f"{'':{OUTCOME}}{part}")
    return lines


def _accepted(cells: Sequence[Cell]) -> Iterator[Line]:
    """What moved far since it was first accepted, and what was stored."""
    yield from (Line(text, YELLOW) for text in views.drift_texts(cells))
    if written := [cell["id"] for cell in cells if cell["written"]]:
        shown = ", ".join(written[:3]) + (", ..." if len(written) > 3 else "")
        yield Line(f"{len(written)} baselines written: {shown}", YELLOW)


def _verdicts(cells: Sequence[Cell], what: str) -> Iterator[Line]:
    """How many cells, or numbers of groups, have each verdict, and which changed."""
    counts = Counter(cell["verdict"] for cell in cells)
    order = [SAME, WITHIN, NEW, *CHANGED[::-1]]
    text = ", ".join(f"{counts[kind]} {kind}" for kind in order if kind in counts)
    markup = RED if counts[REGRESSED] else YELLOW if counts.keys() & {NEW, *CHANGED} else GREEN
    yield Line(f"{len(cells)} {what}: {text}", markup)
    for kind in CHANGED[::-1]:
        if found := views.largest_changes(cells, kind):
            yield Line(f"{kind}:", RED if kind == REGRESSED else YELLOW)
        for cell in found[:SHOWN_CHANGES]:
            for text in _change_lines(cell):
                yield Line(f"  {text}", RED if kind == REGRESSED else {})
        if len(found) > SHOWN_CHANGES:
            yield Line(f"  ... and {len(found) - SHOWN_CHANGES} more")


def _change_lines(cell: Cell) -> list[str]:
    """What moved and how far, below each other where both do not fit."""
    name, before = views.name_of(cell), views.baseline_recall(cell) or 0.0
    text = (
        f"{100 * before:.1f} -> {100 * cell['recall']:.1f} %  "
        f"{cell['hits'] - cell['baseline_hits']:+} hits"
    )
    if "group" in cell:
        text += f" of {cell['queries']:,}"
    if cell["p_value"] is not None:
        text += f"  p {cell['p_value']:.0e}"
    return [f"{name}  {text}"] if len(name) + len(text) < NARROW - 4 else [name, f"  {text}"]
