"""Result files: JSON for programs, CSV for spreadsheets, Markdown for CI, HTML to look at."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_occlusion.engine.store import write_atomically
from pytest_occlusion.gate.verdicts import CHANGED
from pytest_occlusion.insight.claims import told_of
from pytest_occlusion.occlusion.levels import axis_name, is_corruption, level_text
from pytest_occlusion.reporting import views
from pytest_occlusion.reporting.views import Cell, Results

CSV_COLUMNS = (
    *("suite", "model", "direction", "occluder", "ratio", "severity", "achieved", "k"),
    *("recall", "ci_low", "ci_high", "hits", "queries", "chance", "constant"),
    *("median_rank", "mrr", "verdict", "tolerance", "baseline_hits", "lost", "gained", "p_value"),
    *("p_adjusted", "drift"),
)

SHOWN = 20


def as_json(results: Results) -> str:
    """The results document itself."""
    return json.dumps(results, indent=1, allow_nan=False) + "\n"


def as_csv(results: Results) -> str:
    """One row per cell; a corruption has a severity where an occluder has a ratio."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for cell in results["cells"]:
        own = {"ratio": ""} if is_corruption(cell["occluder"]) else {}
        writer.writerow({"suite": results["suite"], **cell, **own})
    return text.getvalue()


def as_markdown(results: Results) -> str:
    """A job summary: headline, what changed, and every table folded away."""
    lines = [f"### {views.headline(results)}", ""]
    for kind in CHANGED:
        changed = [cell for cell in results["cells"] if cell["verdict"] == kind]
        if changed:
            lines += [*_changes(kind, changed), ""]
    groups = views.grouped(results["cells"], "model", "occluder", "direction")
    for names, cells in groups.items():
        lines += _folded(", ".join(names), _table(cells))
    if results.get("claims"):
        lines += _folded("claims of Deanda et al. 2025", _claims(results["claims"]))
    lines.append(f"{views.corpus_text(results)}; corpus `{results['corpus']['fingerprint'][:8]}`")
    for name, model in results["models"].items():
        lines.append(
            f"- {name}: weights `{model['weights'][:8]}`, {model['device']}, {model['precision']}"
        )
    return "\n".join(lines) + "\n"


def _folded(title: str, lines: Iterable[str]) -> list[str]:
    return [f"<details><summary>{title}</summary>", "", *lines, "", "</details>", ""]


def _row(*entries: str) -> str:
    return "|" + "".join(f" {entry} |" if entry else " |" for entry in entries)


def _claims(claims: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield _row("claim", "outcome", "numbers, 95 % intervals")
    yield "|---|---|---|"
    for claim in claims:
        numbers = "<br>".join([claim["unit"], *told_of(claim), *claim["notes"]])
        yield _row(claim["statement"], claim["outcome"], numbers)


def _changes(kind: str, cells: Sequence[Cell]) -> Iterator[str]:
    yield _row(kind, "baseline", "now", "hits", "lost / gained", "p")
    yield "|---|---:|---:|---:|---:|---:|"
    for cell in cells[:SHOWN]:
        yield _row(
            cell["id"],
            f"{100 * (views.baseline_recall(cell) or 0.0):.1f} %",
            f"{100 * cell['recall']:.1f} %",
            f"{cell['hits'] - cell['baseline_hits']:+}",
            views.flips_text(cell),
            "" if cell["p_value"] is None else f"{cell['p_value']:.1g}",
        )
    if len(cells) > SHOWN:
        yield _row(f"... and {len(cells) - SHOWN} more", *[""] * 5)


def _table(cells: Sequence[Cell]) -> Iterator[str]:
    ks, occluder = views.ks_of(cells), cells[0]["occluder"]
    rows = views.by_level(cells, "k", ks)
    yield _row(axis_name(occluder), *(f"R@{k}" for k in ks))
    yield "|---:|" + "---:|" * len(ks)
    for level, row in rows.items():
        entries = (f"{100 * cell['recall']:.1f}" if cell else "" for cell in row)
        yield _row(level_text(occluder, level), *entries)
    for name, values in views.floor_rows(rows):
        yield _row(name, *(f"{100 * value:.1f}" for value in values))


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
