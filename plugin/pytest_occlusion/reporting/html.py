"""The HTML report: one file that opens anywhere, fetches nothing and says what the document says.

Charts are drawn here as SVG, styles and script lie in ``assets`` and are put inline. The page holds
nothing that the results document does not, no time and no path, so the same document gives the same
bytes; its content security policy forbids every request and any script but its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from html import escape
from importlib.resources import files as package_files
from pathlib import Path

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.reporting.page.claims import claims_section
from pytest_occlusion.reporting.page.curves import (
    curves_section,
    retention_section,
    robustness_section,
)
from pytest_occlusion.reporting.page.data import data_section, packed
from pytest_occlusion.reporting.page.provenance import provenance_section, timings_section
from pytest_occlusion.reporting.page.summary import summary_section
from pytest_occlusion.reporting.page.tables import cells_section, tables_section
from pytest_occlusion.reporting.page.verdicts import verdicts_section
from pytest_occlusion.reporting.reading import completed
from pytest_occlusion.reporting.views import Results

SECTIONS = {
    "summary": "Summary",
    "curves": "Recall curves",
    "tables": "Recall per model",
    "retention": "Retention",
    "robustness": "Accuracy and robustness",
    "maps": "Where the models look",
    "verdicts": "Verdicts",
    "cells": "All cells",
    "claims": "Claims",
    "timings": "Timings",
    "provenance": "Provenance",
    "data": "Data",
}
"""Id -> heading, in the order of the page; ``maps`` only where the run measured some."""


def as_html(results: Results, sheet: bytes | None = None) -> str:
    """The page.

    Args:
        results: A results document, as a run makes it or :func:`reading.read_results` returns it.
        sheet: A gallery (PNG) to put at the end; it shows radiographs, the results never do.
    """
    document = completed(results)
    style, script = _asset("page.css").replace("/*DARK*/", _asset("dark.css")), _asset("page.js")
    title = f"Occlusion suite {document['suite']}"
    makers: dict[str, Callable[[Results], Iterator[str]]] = {
        "summary": summary_section,
        "curves": curves_section,
        "tables": tables_section,
        "retention": retention_section,
        "robustness": robustness_section,
        "maps": _maps_section,
        "verdicts": verdicts_section,
        "cells": cells_section,
        "claims": claims_section,
        "timings": timings_section,
        "provenance": provenance_section,
        "data": data_section,
        "gallery": lambda _: _sheet_section(sheet or b""),
    }
    headings = {name: text for name, text in SECTIONS.items() if name != "maps" or document["maps"]}
    if sheet is not None:
        headings["gallery"] = "What the encoder was shown"
    sections = [
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{heading}</h2>'
        f"{''.join(makers[name](document))}</section>"
        for name, heading in headings.items()
    ]
    links = "".join(f'<li><a href="#{name}">{text}</a></li>' for name, text in headings.items())
    images = "img-src data:; " if document["maps"] or sheet is not None else ""
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        f"{images}base-uri 'none'; form-action 'none'"
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
        f'<script type="application/json" id="results">{packed(results)}</script>',
        f"<script>{script}</script>",
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def read_sheet(path: Path) -> bytes:
    """Read a gallery.

    Raises:
        OcclusionError: No such file, or no PNG.
    """
    try:
        content = path.read_bytes()
    except OSError as fault:
        raise OcclusionError(
            f"{path}: {fault.strerror}", remedy="draw it with python -m pytest_occlusion gallery"
        ) from None
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        raise OcclusionError(
            f"{path}: not a PNG file", remedy="draw it with python -m pytest_occlusion gallery"
        )
    return content


def _maps_section(document: Results) -> Iterator[str]:
    from pytest_occlusion.reporting.page.maps import maps_section  # only where there are maps

    return maps_section(document)


def _sheet_section(sheet: bytes) -> Iterator[str]:
    data = base64.b64encode(sheet).decode()
    yield (
        '<p class="note">This picture shows radiographs of the corpus. Whoever gets this page gets '
        "them too.</p>"
        '<div class="scroll" role="region" tabindex="0" aria-label="Gallery">'
        '<img class="sheet" alt="Radiographs under every occluder at every ratio, as the encoder '
        f'is shown them" src="data:image/png;base64,{data}"></div>'
    )


@cache
def _asset(name: str) -> str:
    return (package_files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
