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
    found: list[Difference] = []
    for new in after:
        if old := known.get(new["id"]):
            first, second = (_counted(cell, bits=same_queries) for cell in (old, new))
            verdict = judge(second, first, tolerance=tolerance)
            found.append(
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
                    "p_adjusted": None,
                    "verdict": verdict.kind,
                }
            )
    models, p_values = ([one[name] for one in found] for name in ("model", "p_value"))
    for one, p_adjusted in zip(found, adjusted(models, p_values), strict=True):
        one["p_adjusted"] = p_adjusted
    return found


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


def adjusted(models: Sequence[str], p_values: Sequence[float | None]) -> list[float | None]:
    """Holm-adjusted p values, over the cells of each model.

    Args:
        models: Model of each cell.
        p_values: Of each cell; ``None`` where there is none.
    """
    result: list[float | None] = [None] * len(p_values)
    for model in set(models):
        places = [i for i, m in enumerate(models) if m == model and p_values[i] is not None]
        tested = [p for i in places if (p := p_values[i]) is not None]
        for place, p_adjusted in zip(places, holm(tested), strict=True):
            result[place] = p_adjusted
    return result


def is_red(differences: Iterable[Difference], fail_on: str) -> bool:
    """Whether the comparison fails, by the gate's own settings."""
    return any(turns_red(one["verdict"], one["p_adjusted"], fail_on) for one in differences)


def as_text(differences: Sequence[Difference]) -> str:
    """A table of what changed most, for a terminal of 80 columns."""
    lines, changed = [_count_line(differences)], _changed(differences)
    if changed:
        lines.append(f"{'cell':<34}{'before':>8}{'after':>8}{'hits':>7}{'p':>9}{'p Holm':>9}")
    for one in changed[:SHOWN]:
        p, adjusted = (_p_text(one[name], ".0e") for name in ("p_value", "p_adjusted"))
        lines.append(
            f"{one['id']:<34}{100 * one['before']:>8.1f}{100 * one['after']:>8.1f}"
            f"{one['hits_after'] - one['hits_before']:>+7}{p:>9}{adjusted:>9}"
        )
    if len(changed) > SHOWN:
        lines.append(f"... and {len(changed) - SHOWN} more")
    return "\n".join(lines) + "\n"


def as_markdown(differences: Sequence[Difference]) -> str:
    """The same as a Markdown table."""
    lines, changed = [f"### {_count_line(differences)}", ""], _changed(differences)
    if changed:
        lines += [
            "| cell | before | after | hits | lost / gained | p | p (Holm) |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]
    for one in changed[:SHOWN]:
        flips = "" if one["lost"] is None else f"{one['lost']} / {one['gained']}"
        p, adjusted = (_p_text(one[name], ".1g") for name in ("p_value", "p_adjusted"))
        lines.append(
            f"| {one['id']} | {100 * one['before']:.1f} % | {100 * one['after']:.1f} % | "
            f"{one['hits_after'] - one['hits_before']:+} | {flips} | {p} | {adjusted} |"
        )
    return "\n".join(lines) + "\n"


def as_json(differences: Sequence[Difference]) -> str:
    """Every cell, as JSON."""
    return json.dumps({"schema": 1, "cells": differences}, indent=1) + "\n"


FORMATS = {"text": as_text, "markdown": as_markdown, "json": as_json}


def _changed(differences: Sequence[Difference]) -> list[Difference]:
    """What is beyond the tolerance, the largest loss first."""
    found = [one for one in differences if one["verdict"] in CHANGED]
    return sorted(found, key=lambda one: float(one["after"] - one["before"]))


def _p_text(p_value: float | None, form: str) -> str:
    return "" if p_value is None else format(p_value, form)


def _count_line(differences: Sequence[Difference]) -> str:
    counts = Counter(one["verdict"] for one in differences)
    order = (SAME, WITHIN, *reversed(CHANGED))
    text = ", ".join(f"{counts[kind]} {kind}" for kind in order if kind in counts)
    p_values = [p for one in differences if (p := one["p_adjusted"]) is not None]
    significant = f"{sum(p < ALPHA for p in p_values)} significant"
    return f"{len(differences)} cells compared: {text or 'none in common'}; {significant}"
