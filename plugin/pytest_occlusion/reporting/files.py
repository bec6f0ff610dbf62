"""Result files: JSON for programs, CSV for spreadsheets, Markdown for CI, HTML to look at."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_occlusion.engine.store import write_atomically
from pytest_occlusion.gate.verdicts import IMPROVED, REGRESSED
from pytest_occlusion.insight.claims import told_of
from pytest_occlusion.occlusion.levels import axis_name, is_corruption, level_text
from pytest_occlusion.reporting.views import baseline_recall, curve_groups, headline, ks_of

Results = Mapping[str, Any]

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
    lines = [f"### {headline(results)}", ""]
    for kind in (REGRESSED, IMPROVED):
        changed = [cell for cell in results["cells"] if cell["verdict"] == kind]
        if changed:
            lines += [*_changes(kind, changed), ""]
    for (model, direction, occluder), cells in curve_groups(results["cells"]).items():
        title = f"{model}, {occluder}, {direction}"
        lines += [f"<details><summary>{title}</summary>", "", *_table(cells), "", "</details>", ""]
    if results.get("claims"):
        lines += [*_claims(results["claims"]), ""]
    corpus = results["corpus"]
    lines.append(
        f"{corpus['radiographs']:,} radiographs of {corpus['studies']:,} studies, "
        f"{corpus['candidates']:,} candidate texts; corpus `{corpus['fingerprint'][:8]}`"
    )
    for name, model in results["models"].items():
        lines.append(
            f"- {name}: weights `{model['weights'][:8]}`, {model['device']}, {model['precision']}"
        )
    return "\n".join(lines) + "\n"


def _claims(claims: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "<details><summary>claims of Deanda et al. 2025</summary>",
        "",
        "| claim | outcome | numbers, 95 % intervals |",
        "|---|---|---|",
    ]
    for claim in claims:
        numbers = told_of(claim)
        text = "<br>".join([claim["unit"], *numbers, *claim["notes"]])
        lines.append(f"| {claim['statement']} | {claim['outcome']} | {text} |")
    return [*lines, "", "</details>"]


def _changes(kind: str, cells: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        f"| {kind} | baseline | now | hits | lost / gained | p |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for cell in cells[:SHOWN]:
        before = baseline_recall(cell) or 0.0
        p = "" if cell["p_value"] is None else f"{cell['p_value']:.1g}"
        flips = "" if cell["lost"] is None else f"{cell['lost']} / {cell['gained']}"
        lines.append(
            f"| {cell['id']} | {100 * before:.1f} % | {100 * cell['recall']:.1f} % | "
            f"{cell['hits'] - cell['baseline_hits']:+} | {flips} | {p} |"
        )
    if len(cells) > SHOWN:
        lines.append(f"| ... and {len(cells) - SHOWN} more | | | | | |")
    return lines


def _table(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    by_place = {(cell["ratio"], cell["k"]): cell for cell in cells}
    ks, occluder = ks_of(cells), cells[0]["occluder"]
    lines = [
        f"| {axis_name(occluder)} | " + " | ".join(f"R@{k}" for k in ks) + " |",
        "|---:|" + "---:|" * len(ks),
    ]
    for ratio in sorted({cell["ratio"] for cell in cells}):
        row = [by_place.get((ratio, k)) for k in ks]
        entries = [f"{100 * cell['recall']:.1f}" if cell else "" for cell in row]
        lines.append(f"| {level_text(occluder, ratio)} | " + " | ".join(entries) + " |")
    floors = [next(cell for cell in cells if cell["k"] == k) for k in ks]
    for name in ("chance", "constant"):
        entries = [f"{100 * cell[name]:.1f}" for cell in floors]
        lines.append(f"| {name} | " + " | ".join(entries) + " |")
    return lines


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
