"""Result files: JSON for programs, CSV for spreadsheets, Markdown for CI, HTML to look at."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path

from pytest_occlusion.engine.store import write_atomically
from pytest_occlusion.gate.verdicts import CHANGED
from pytest_occlusion.insight.claims import told_of
from pytest_occlusion.occlusion import levels
from pytest_occlusion.reporting import beside, views
from pytest_occlusion.reporting.views import Results

CSV_COLUMNS = (
    *("suite", "model", "direction", "occluder", "ratio", "severity", "achieved", "k"),
    *("recall", "ci_low", "ci_high", "hits", "queries", "chance", "constant"),
    *("median_rank", "mrr", "verdict", "tolerance", "baseline_hits", "lost", "gained", "p_value"),
    *("p_adjusted", "drift"),
)

SHOWN = 20
"""Cells of one verdict that the Markdown names."""


def as_json(results: Results) -> str:
    """The results document itself."""
    return json.dumps(results, indent=1, allow_nan=False) + "\n"


def as_csv(results: Results) -> str:
    """One row per cell; a corruption has a severity where an occluder has a ratio."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for cell in results["cells"]:
        own = {"ratio": ""} if levels.is_corruption(cell["occluder"]) else {}
        writer.writerow({"suite": results["suite"], **cell, **own})
    return text.getvalue()


def as_markdown(results: Results) -> str:
    """A job summary: headline, what changed, and every table folded away."""
    from jinja2 import Environment, StrictUndefined  # only runs that ask for it pay for its import

    text = (files(__package__) / "assets" / "summary.md").read_text(encoding="utf-8")
    environment = Environment(  # noqa: S701 - Markdown, for whoever may see the run
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["bar"] = lambda entry: entry.strip().replace("|", "\\|")
    given = {"views": views, "beside": beside, "levels": levels, "told_of": told_of}
    template = environment.from_string(text, {**given, "CHANGED": CHANGED, "SHOWN": SHOWN})
    return template.render(results=results)


def as_html(results: Results) -> str:
    """One page with charts that opens anywhere."""
    from pytest_occlusion.reporting import html  # only runs that ask for it pay for its import

    return html.as_html(results)


WRITERS: dict[str, Callable[[Results], str]] = {
    "json": as_json,
    "csv": as_csv,
    "markdown": as_markdown,
    "html": as_html,
}
"""Kind of file, as its option is called -> how it is made."""


def write_results(outputs: Mapping[str, Path], results: Results) -> None:
    """Write every file that was asked for, each whole or not at all."""
    for kind, path in outputs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, WRITERS[kind](results).encode())
