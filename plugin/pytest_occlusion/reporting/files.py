"""Result files: JSON for programs, CSV for spreadsheets, Markdown for CI, HTML to look at."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pytest_occlusion.engine.store import write_atomically
from pytest_occlusion.gate.verdicts import CHANGED
from pytest_occlusion.insight.claims import told_of
from pytest_occlusion.occlusion import levels
from pytest_occlusion.reporting import beside, schema, views
from pytest_occlusion.reporting.views import Cell, Results

SCORE_PARTS = {"": "value", **{f"_{part}": part for part in ("low", "high", "chance", "constant")}}
"""End of a column -> part of a score."""

CSV_COLUMNS = (
    *("suite", "model", "direction", "occluder", "ratio", "severity", "achieved", "k"),
    *("recall", "ci_low", "ci_high", "hits", "queries", "chance", "constant"),
    *("median_rank", "mrr", "verdict", "tolerance", "baseline_hits", "lost", "gained", "p_value"),
    *("p_adjusted", "drift", "attribute", "group", "patients", "retention"),
    *("gap", "gap_low", "gap_high", "widening", "widening_low", "widening_high"),
    *("widening_p", "widening_p_adjusted", "mean_rank", "recall_1", "rsum"),
    *(f"{name}{part}" for name in schema.MEASURES for part in SCORE_PARTS),
    *("confidence", "area", "gain"),
)

SHOWN = 20
"""Cells of one verdict that the Markdown names."""


def as_json(results: Results) -> str:
    """The results document itself."""
    return json.dumps(results, indent=1, allow_nan=False) + "\n"


def as_csv(results: Results) -> str:
    """One row per cell, then one per group; a corruption has a severity where others have a ratio.

    Rankings do not depend on k, and stand in the rows of every one.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    rankings = _by_place(results.get("rankings", ()), without="k")
    others = [_by_place(results.get(name, ())) for name in ("relevance", "selective")]
    for cell in (*results["cells"], *results.get("groups", ())):
        own = {"suite": results["suite"], **cell}
        if "group" not in cell:
            relevance, selective = (found.get(_place(cell), {}) for found in others)
            ranked = rankings.get(_place(cell, "k"), {})
            own |= {name: ranked.get(name) for name in ("mean_rank", "recall_1", "rsum")}
            own |= {name: selective.get(name) for name in ("confidence", "area", "gain")}
            for measure, score in relevance.get("measures", {}).items():
                own |= {f"{measure}{end}": score[part] for end, part in SCORE_PARTS.items()}
        if levels.is_corruption(cell["occluder"]):
            own |= {"ratio": "", "severity": levels.severity_of(cell["occluder"], cell["ratio"])}
        writer.writerow(own)
    return text.getvalue()


def _place(row: Cell, without: str = "") -> tuple[Any, ...]:
    """What tells apart the rows of a section."""
    names = ("model", "direction", "occluder", "ratio", "k")
    return tuple(row[name] for name in names if name != without)


def _by_place(rows: Iterable[Cell], without: str = "") -> dict[tuple[Any, ...], Cell]:
    return {_place(row, without): row for row in rows}


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
