"""Small pieces that sections share: numbers in words, marks, tables that scroll by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from pytest_occlusion.gate.verdicts import IMPROVED, NEW, REGRESSED, SAME, WITHIN
from pytest_occlusion.reporting import views
from pytest_occlusion.reporting.views import Results

SIGNS = {REGRESSED: "\u25bc", IMPROVED: "\u25b2", NEW: "+", SAME: "=", WITHIN: "\u2248"}
"""So that a verdict is never told by colour alone."""

ORDER = (REGRESSED, IMPROVED, NEW, WITHIN, SAME)


def percent(share: float | None, digits: int = 1) -> str:
    """A share in percent, empty where there is none."""
    return "" if share is None else f"{100 * share:.{digits}f}"


def p_text(value: float | None) -> str:
    """A p value to one digit, empty where there is none."""
    return "" if value is None else f"{value:.1g}"


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign, none at zero."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "\u2212") if float(text) else text[1:]


def counted(count: int, what: str) -> str:
    """A number with what it counts."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def verdict_mark(kind: str) -> str:
    """A verdict with its sign."""
    css = kind if kind in SIGNS else "other"
    sign = SIGNS.get(kind, "?")
    return f'<span class="v {css}"><span aria-hidden="true">{sign}</span> {escape(kind)}</span>'


def table(
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
    return scrolling(
        caption,
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>",
    )


def _right(yes: bool) -> str:
    return ' class="n"' if yes else ""


def scrolling(label: str, table: str) -> str:
    """What is too wide scrolls by itself, also by keyboard."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}">{table}</div>'
    )


def listing(entries: Iterable[tuple[str, str]]) -> str:
    """Names and values; empty values are left out."""
    rows = "".join(f"<dt>{escape(n)}</dt><dd>{escape(v)}</dd>" for n, v in entries if v != "")
    return f"<dl>{rows}</dl>"


def plain(value: Any) -> str:
    """A setting's value for people."""
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(one)}" for name, one in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def per_condition(document: Results, make: Any) -> Iterator[str]:
    """One block per occluder and direction; the script shows the chosen one."""
    for place, condition in enumerate(views.conditions(document["cells"])):
        cells = views.of_condition(document["cells"], condition)
        yield f'<div data-condition="{place}"><h3>{escape(condition.title)}</h3>'
        yield from make(document, condition, cells)
        yield "</div>"


def legend_places(document: Results) -> dict[str, int]:
    """Model -> its place in the legend."""
    return {name: place for place, name in enumerate(views.models_of(document["cells"]))}
