"""Compare two result files, or one with stored baselines, by the same statistics as the gate."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_occlusion.errors import SHOWN, OcclusionError
from pytest_occlusion.gate.snapshots import FOLDER, read_baseline, snapshot_file, unpack_bits
from pytest_occlusion.gate.verdicts import ALPHA, CHANGED, SAME, WITHIN, Baseline, judge, turns_red
from pytest_occlusion.retrieval.significance import holm

CellRecord = Mapping[str, Any]
Difference = dict[str, Any]
"""One cell in two runs, as :func:`as_json` prints it: ``id`` and ``model``; recall ``before`` and
``after``; ``hits_before``, ``hits_after`` and the second run's ``queries``; those ``lost`` and
``gained`` with their ``p_value`` and, over the cells of the model, ``p_adjusted`` (``None`` where
flips cannot be told); the ``verdict``."""


def against_baselines(results: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The stored baselines of a run's cells, in their form; from a folder of baselines or above."""
    folder = folder.parent if folder.name == FOLDER else folder
    cells = []
    for cell in results["cells"]:
        stored = read_baseline(snapshot_file(folder, results["suite"], cell["model"]), cell["id"])
        if stored is not None:
            name = {"id": cell["id"], "model": cell["model"]}
            cells.append({**name, "recall": stored.recall, "stored": stored})
    return cells


def compare(
    before: Iterable[CellRecord],
    after: Iterable[CellRecord],
    *,
    tolerance: float,
    same_queries: bool = True,
) -> list[Difference]:
    """Compare cells that both runs have.

    Args:
        before: Cells of the first run; those of another model are :func:`renamed` before.
        after: Cells of the second.
        tolerance: Queries that may change, or a share of them below 1.
        same_queries: Whether the runs ask the same queries in the same order (same corpus); only
            then can flips be told.
    """
    known = {cell["id"]: cell for cell in before}
    pairs = [(known[new["id"]], new) for new in after if new["id"] in known]
    counted = [[_counted(cell, bits=same_queries) for cell in pair] for pair in pairs]
    verdicts = [judge(second, first, tolerance=tolerance) for first, second in counted]
    adjusted = holm([one.p_value for one in verdicts], [new["model"] for _, new in pairs])
    return [
        {
            "id": new["id"],
            "model": new["model"],
            "before": old["recall"],
            "after": new["recall"],
            "hits_before": first.hits,
            "hits_after": second.hits,
            "queries": second.queries,
            "lost": verdict.lost,
            "gained": verdict.gained,
            "p_value": verdict.p_value,
            "p_adjusted": p_adjusted,
            "verdict": verdict.kind,
        }
        for (old, new), (first, second), verdict, p_adjusted in zip(
            pairs, counted, verdicts, adjusted, strict=True
        )
    ]


def renamed(cells: Iterable[CellRecord], old: str, new: str) -> list[dict[str, Any]]:
    """Cells of one model under another model's name."""
    return [
        {**cell, "model": new, "id": new + str(cell["id"])[len(old) :]}
        for cell in cells
        if cell["model"] == old
    ]


def _counted(cell: CellRecord, *, bits: bool) -> Baseline:
    stored = cell.get("stored")
    if isinstance(stored, Baseline):
        return stored
    packed = cell.get("hit_queries") if bits else None
    try:
        hit_queries = unpack_bits(packed, cell["queries"]) if packed else None
    except (ValueError, TypeError) as fault:
        raise OcclusionError(
            f"{cell['id']}: which queries hit cannot be read ({fault})",
            remedy="write the results again with pytest --occlusion-json PATH",
        ) from fault
    return Baseline(cell["hits"], cell["queries"], hit_queries, provenance=None)


def is_red(differences: Iterable[Difference], fail_on: str) -> bool:
    """Whether the comparison fails, by the gate's own settings."""
    return any(turns_red(one["verdict"], one["p_adjusted"], fail_on) for one in differences)


def as_text(differences: Sequence[Difference]) -> str:
    """A table of what changed most, for a terminal of 80 columns."""
    rows = _rows(differences, TEXT, p_form=".0e")
    head = f"{'cell':<34}{'before':>8}{'after':>8}{'hits':>7}{'p':>9}{'p Holm':>9}"
    more = [f"... and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else []
    table = [head, *rows[:SHOWN], *more] if rows else []
    return "\n".join([_count_line(differences), *table]) + "\n"


def as_markdown(differences: Sequence[Difference]) -> str:
    """The same as a Markdown table."""
    rows = _rows(differences, MARKDOWN, p_form=".1g")
    head = [
        "| cell | before | after | hits | lost / gained | p | p (Holm) |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    table = [*head, *rows[:SHOWN]] if rows else []
    return "\n".join([f"### {_count_line(differences)}", "", *table]) + "\n"


def as_json(differences: Sequence[Difference]) -> str:
    """Every cell, as JSON."""
    return json.dumps({"schema": 1, "cells": differences}, indent=1) + "\n"


FORMATS = {"text": as_text, "markdown": as_markdown, "json": as_json}

TEXT = "{id:<34}{before:>8.1f}{after:>8.1f}{hits:>+7}{p:>9}{p_holm:>9}"
MARKDOWN = "| {id} | {before:.1f} % | {after:.1f} % | {hits:+} | {flips} | {p} | {p_holm} |"


def _rows(differences: Sequence[Difference], row: str, *, p_form: str) -> list[str]:
    """What is beyond the tolerance, the largest loss first."""
    changed = [one for one in differences if one["verdict"] in CHANGED]
    rows = []
    for one in sorted(changed, key=lambda one: float(one["after"] - one["before"])):
        p, p_holm = (
            "" if one[name] is None else format(one[name], p_form)
            for name in ("p_value", "p_adjusted")
        )
        flips = "" if one["lost"] is None else f"{one['lost']} / {one['gained']}"
        before, after = 100 * one["before"], 100 * one["after"]
        hits = one["hits_after"] - one["hits_before"]
        told = {"before": before, "after": after, "hits": hits, "p": p, "p_holm": p_holm}
        rows.append(row.format(id=one["id"], flips=flips, **told))
    return rows


def _count_line(differences: Sequence[Difference]) -> str:
    counts = Counter(one["verdict"] for one in differences)
    order = (SAME, WITHIN, *reversed(CHANGED))
    text = ", ".join(f"{counts[kind]} {kind}" for kind in order if kind in counts)
    p_values = [p for one in differences if (p := one["p_adjusted"]) is not None]
    significant = f"{sum(p < ALPHA for p in p_values)} significant"
    return f"{len(differences)} cells compared: {text or 'none in common'}; {significant}"
