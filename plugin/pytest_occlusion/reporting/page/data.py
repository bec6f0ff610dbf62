"""The results document inside the page, and the section that offers it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from html import escape

from pytest_occlusion.reporting.views import Cell, Results

BITS_SHOWN = 200_000
"""Characters of ``hit_queries`` up to which the page keeps them; beyond, they would fill it."""


def keeps_bits(results: Results) -> bool:
    """Whether the page is small enough to carry which queries hit."""
    return sum(len(str(cell.get("hit_queries") or "")) for cell in results["cells"]) <= BITS_SHOWN


def packed(results: Results) -> str:
    """The document as JSON, cells as rows under one list of names, safe inside a script element."""
    without = () if keeps_bits(results) else ("hit_queries",)
    columns = [name for name in _columns(results["cells"]) if name not in without]
    parts = {
        "document": {**results, "cells": None},
        "columns": columns,
        "rows": [[cell.get(name) for name in columns] for cell in results["cells"]],
    }
    text = json.dumps(parts, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _columns(cells: Iterable[Cell]) -> list[str]:
    return list(dict.fromkeys(name for cell in cells for name in cell))


def data_section(document: Results) -> Iterator[str]:
    """What the page carries and how to get it out."""
    kept = keeps_bits(document)
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
