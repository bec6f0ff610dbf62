"""The HTML report: one file that opens anywhere, fetches nothing and says what the document says.

Templates, styles and script lie in ``assets``; the templates escape whatever they are given. The
page holds nothing that the results document does not, no time and no path, so the same document
gives the same bytes; its content security policy forbids every request and any script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.reporting import beside, charts, page, svg, views
from pytest_occlusion.reporting.board import Board
from pytest_occlusion.reporting.catalogue import CHARTS
from pytest_occlusion.reporting.reading import completed
from pytest_occlusion.reporting.views import Results

OWN = [name for name in CHARTS if name not in ("curves", *beside.SECTIONS)]
"""Charts that are a section; the others stand in one with tables."""

OPTIONAL = ("maps", *beside.SECTIONS)
"""Sections only of documents that have them."""

SECTIONS = {
    "summary": "Summary",
    "curves": CHARTS["curves"].heading,
    "tables": "Recall per model",
    **{name: chart.heading for name, chart in CHARTS.items() if name in OWN},
    "robustness": "Accuracy and robustness",
    **{name: section.heading for name, section in beside.SECTIONS.items()},
    "maps": "Where the models look",
    "verdicts": "Verdicts",
    "cells": "All cells",
    "claims": "Claims",
    "timings": "Timings",
    "provenance": "Provenance",
    "data": "Data",
}
"""Id -> heading, in the order of the page."""

BITS_SHOWN = 200_000
"""Characters of ``hit_queries`` up to which the page keeps them; beyond, they would fill it."""


def as_html(results: Results, sheet: bytes | None = None) -> str:
    """The page of a results document.

    Args:
        results: As a run makes it or :func:`reading.read_results` returns it.
        sheet: A gallery (PNG) to put at the end; it shows radiographs, the results never do.
    """
    document = completed(results)
    headings = {
        name: text for name, text in SECTIONS.items() if name not in OPTIONAL or document[name]
    }
    if sheet is not None:
        headings["gallery"] = "What the encoder was shown"
    bits = sum(len(str(cell.get("hit_queries") or "")) for cell in document["cells"])
    given: dict[str, Any] = {
        "document": document,
        "schema": results.get("schema"),
        "headings": headings,
        "complete": bits <= BITS_SHOWN,
        "packed": _packed(results, "" if bits <= BITS_SHOWN else "hit_queries"),
        "sheet": sheet,
    }
    if document["maps"]:
        from pytest_occlusion.reporting import maps  # only where there are maps

        given["maps"] = maps
    return _rendered("page", given, images=bool(document["maps"]) or sheet is not None)


BOARD = {
    "summary": "Summary",
    "models": "Models of all runs",
    "curves": "Curves",
    "history": "History of every cell",
}
"""Id -> heading of the page of several runs."""


def as_board(runs: Sequence[Results], names: Sequence[str]) -> str:
    """The page of several runs, side by side: a team's record.

    Args:
        runs: Their documents, the oldest first.
        names: What each is called, all different.
    """
    documents = [completed(run, name) for run, name in zip(runs, names, strict=True)]
    given = {"headings": BOARD, "board": Board(names, documents)}
    return _rendered("board", given, images=False)


def read_sheet(path: Path) -> bytes:
    """Read a gallery.

    Raises:
        OcclusionError: No such file, or no PNG.
    """
    try:
        content, fault = path.read_bytes(), "not a PNG file"
    except OSError as error:
        content, fault = b"", str(error.strerror)
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        remedy = "draw it with python -m pytest_occlusion gallery"
        raise OcclusionError(f"{path}: {fault}", remedy=remedy)
    return content


@cache
def _template(name: str) -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    for module in (beside, charts, page, svg, views):
        environment.globals[module.__name__.rpartition(".")[2]] = module
    for filter_ in (page.percent, page.plain, page.signed, page.thousands):
        environment.filters[filter_.__name__] = filter_
    environment.globals |= {"CHARTS": CHARTS, "OWN": OWN}
    environment.filters |= {"px": svg.number, "base64": _in_base64}
    # Indentation and blank lines are for who reads the templates.
    text = "".join(map(_asset, ("charts.html", "parts.html", f"{name}.html")))
    lines = (line.strip() for line in text.splitlines())
    return environment.from_string("\n".join(line for line in lines if line))


def _rendered(name: str, given: Mapping[str, Any], *, images: bool) -> str:
    """A page by its template, with style and script."""
    style = _asset("page.css").replace("/*DARK*/", _asset("dark.css"))
    script = _asset("theme.js") + _asset(f"{name}.js")
    own = {
        "policy": _policy(style, script, images=images),
        "style": Markup(style),  # noqa: S704 - ours, as is the script
        "script": Markup(script),  # noqa: S704
    }
    return _template(name).render({**given, **own}) + "\n"


def _in_base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


@cache
def _asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _packed(results: Results, without: str) -> Markup:
    """The document as JSON, its long tables as rows under one list of names each.

    It is safe inside a script element.
    """
    tables: dict[str, Any] = {}
    for name in ("cells", "groups"):
        table = results.get(name, ())
        columns = [n for n in dict.fromkeys(n for row in table for n in row) if n != without]
        rows = [[row.get(column) for column in columns] for row in table]
        tables |= {name: {"columns": columns, "rows": rows}} if name in results else {}
    parts = {"document": {**results, **dict.fromkeys(tables)}, "tables": tables}
    text = json.dumps(parts, separators=(",", ":"), allow_nan=False)
    for character in "&<>":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704


def _policy(style: str, script: str, *, images: bool) -> str:
    """No request, and nothing but our own style and script."""
    hashes = (_in_base64(hashlib.sha256(part.encode()).digest()) for part in (style, script))
    own = [f"'sha256-{digest}'" for digest in hashes]
    return (
        f"default-src 'none'; style-src {own[0]}; script-src {own[1]}; "
        f"{'img-src data:; ' if images else ''}base-uri 'none'; form-action 'none'"
    )
