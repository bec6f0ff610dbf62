"""The HTML report: one file that opens anywhere, fetches nothing and says what the document says.

Charts are drawn here as SVG, styles and script lie in ``assets`` and are put inline. The page holds
nothing that the results document does not, no time and no path, so the same document gives the same
bytes; its content security policy forbids every request and any script but its own.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from html import escape
from importlib.resources import files as package_files

from pytest_occlusion.reporting.page.claims import claims_section
from pytest_occlusion.reporting.page.curves import (
    curves_section,
    retention_section,
    robustness_section,
)
from pytest_occlusion.reporting.page.data import data_section, packed
from pytest_occlusion.reporting.page.maps import maps_section
from pytest_occlusion.reporting.page.provenance import provenance_section, timings_section
from pytest_occlusion.reporting.page.summary import summary_section
from pytest_occlusion.reporting.page.tables import cells_section, tables_section
from pytest_occlusion.reporting.page.verdicts import verdicts_section
from pytest_occlusion.reporting.reading import completed
from pytest_occlusion.reporting.views import Results

SECTIONS = {
    "summary": "Summary",
    "curves": "Recall against the blocked share",
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


def as_html(results: Results) -> str:
    """The page.

    Args:
        results: A results document, as a run makes it or :func:`reading.read_results` returns it.
    """
    document = completed(results)
    style, script = _asset("page.css").replace("/*DARK*/", _asset("dark.css")), _asset("page.js")
    title = f"Occlusion suite {document['suite']}"
    makers = {
        "summary": summary_section,
        "curves": curves_section,
        "tables": tables_section,
        "retention": retention_section,
        "robustness": robustness_section,
        "maps": maps_section,
        "verdicts": verdicts_section,
        "cells": cells_section,
        "claims": claims_section,
        "timings": timings_section,
        "provenance": provenance_section,
        "data": data_section,
    }
    headings = {name: text for name, text in SECTIONS.items() if name != "maps" or document["maps"]}
    sections = [
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{heading}</h2>'
        f"{''.join(makers[name](document))}</section>"
        for name, heading in headings.items()
    ]
    links = "".join(f'<li><a href="#{name}">{text}</a></li>' for name, text in headings.items())
    images = "img-src data:; " if document["maps"] else ""
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


@cache
def _asset(name: str) -> str:
    return (package_files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
