"""Compare two result files, or one with stored baselines, by the same statistics as the gate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.gate.snapshots import FOLDER, read_baseline, snapshot_file, unpack_bits
from pytest_occlusion.gate.verdicts import (
    ALPHA,
    IMPROVED,
    NEW,
    REGRESSED,
    SAME,
    WITHIN,
    allowed_flips,
    kind_of,
    turns_red,
)
from pytest_occlusion.retrieval.significance import holm, mcnemar

SHOWN = 20


@dataclass(frozen=True)
class Difference:
    """One cell in two runs.

    Attributes:
        id: The cell.
        model: Its model.
        before: Recall in the first run.
        after: Recall in the second.
        hits_before: Hits in the first run.
        hits_after: Hits in the second.
        queries: Queries of the second.
        lost: Queries that hit in the first and miss in the second; ``None`` where that cannot be
            told.
        gained: The other way round.
        p_value: Exact McNemar test.
        p_adjusted: Holm-adjusted over the cells of the model.
        verdict: Under the tolerance given.
    """

    id: str
    model: str
    before: float
    after: float
    hits_before: int
    hits_after: int
    queries: int
    lost: int | None
    gained: int | None
    p_value: float | None
    p_adjusted: float | None
    verdict: str


def against_baselines(results: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """The stored baselines of a run's cells, in the form of cells.

    Args:
        results: The run.
        folder: The folder of baselines, or the one it lies in.
    """
    folder = folder.parent if folder.name == FOLDER else folder
    cells = []
    for cell in results["cells"]:
        stored = read_baseline(snapshot_file(folder, results["suite"], cell["model"]), cell["id"])
        if stored is not None:
            cells.append(
                {
                    **{name: cell[name] for name in ("id", "model")},
                    "recall": stored.hits / stored.queries,
                    "hits": stored.hits,
                    "queries": stored.queries,
                    "bits": stored.hit_queries,
                }
            )
    return cells


def compare(
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
    *,
    tolerance: float,
    same_queries: bool = True,
) -> list[Difference]:
    """Compare cells that both runs have.

    Two checkpoints under different names are compared by giving one run's cells the other's model
    name first; see :func:`renamed`.

    Args:
        before: Cells of the first run.
        after: Cells of the second.
        tolerance: Queries that may change, or a share of them below 1.
        same_queries: Whether the runs ask the same queries in the same order (same corpus); only
            then can flips be told.
    """
    known = {cell["id"]: cell for cell in before}
    pairs = [(known[cell["id"]], cell) for cell in after if cell["id"] in known]
    flips = [_flips(old, new) if same_queries else None for old, new in pairs]
    p_values = [None if pair is None else mcnemar(*pair) for pair in flips]
    adjusted = _adjusted([new["model"] for _, new in pairs], p_values)
    return [
        Difference(
            id=new["id"],
            model=new["model"],
            before=old["recall"],
            after=new["recall"],
            hits_before=old["hits"],
            hits_after=new["hits"],
            queries=new["queries"],
            lost=pair[0] if pair else None,
            gained=pair[1] if pair else None,
            p_value=p,
            p_adjusted=p_adjusted,
            verdict=kind_of(
                new["hits"],
                new["queries"],
                old["hits"],
                old["queries"],
                allowed_flips(tolerance, new["queries"]),
            ),
        )
        for (old, new), pair, p, p_adjusted in zip(pairs, flips, p_values, adjusted, strict=True)
    ]


def renamed(cells: Sequence[Mapping[str, Any]], old: str, new: str) -> list[dict[str, Any]]:
    """Cells of one model under another model's name."""
    return [
        {**cell, "model": new, "id": new + str(cell["id"])[len(old) :]}
        for cell in cells
        if cell["model"] == old
    ]


def _bits(cell: Mapping[str, Any]) -> NDArray[np.bool_] | None:
    if cell.get("bits") is not None:
        stored: NDArray[np.bool_] = cell["bits"]
        return stored
    packed = cell.get("hit_queries")
    return unpack_bits(packed, cell["queries"]) if packed else None


def _flips(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[int, int] | None:
    before, after = _bits(old), _bits(new)
    if before is None or after is None or len(before) != len(after):
        return None
    return int((before & ~after).sum()), int((~before & after).sum())


def _adjusted(models: Sequence[str], p_values: Sequence[float | None]) -> list[float | None]:
    result: list[float | None] = [None] * len(p_values)
    for model in set(models):
        places = [i for i, m in enumerate(models) if m == model and p_values[i] is not None]
        tested = [p for i in places if (p := p_values[i]) is not None]
        for place, p_adjusted in zip(places, holm(tested), strict=True):
            result[place] = p_adjusted
    return result


def is_red(differences: Sequence[Difference], fail_on: str) -> bool:
    """Whether the comparison fails, by the gate's own settings."""
    return any(
        turns_red(one.verdict, one.p_adjusted, fail_on) for one in differences if one.verdict != NEW
    )


def as_text(differences: Sequence[Difference]) -> str:
    """A table of what changed most, for a terminal of 80 columns."""
    lines = [_count_line(differences)]
    changed = _by_size([d for d in differences if d.verdict in (REGRESSED, IMPROVED)])
    if changed:
        lines.append(f"{'cell':<34}{'before':>8}{'after':>8}{'hits':>7}{'p':>9}{'p Holm':>9}")
    for one in changed[:SHOWN]:
        p, adjusted = ("" if p is None else f"{p:.0e}" for p in (one.p_value, one.p_adjusted))
        lines.append(
            f"{one.id:<34}{100 * one.before:>8.1f}{100 * one.after:>8.1f}"
            f"{one.hits_after - one.hits_before:>+7}{p:>9}{adjusted:>9}"
        )
    if len(changed) > SHOWN:
        lines.append(f"... and {len(changed) - SHOWN} more")
    return "\n".join(lines) + "\n"


def as_markdown(differences: Sequence[Difference]) -> str:
    """The same as a Markdown table."""
    lines = [f"### {_count_line(differences)}", ""]
    changed = _by_size([d for d in differences if d.verdict in (REGRESSED, IMPROVED)])
    if changed:
        lines += [
            "| cell | before | after | hits | lost / gained | p | p (Holm) |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]
    for one in changed[:SHOWN]:
        flips = "" if one.lost is None else f"{one.lost} / {one.gained}"
        p, adjusted = ("" if p is None else f"{p:.1g}" for p in (one.p_value, one.p_adjusted))
        lines.append(
            f"| {one.id} | {100 * one.before:.1f} % | {100 * one.after:.1f} % | "
            f"{one.hits_after - one.hits_before:+} | {flips} | {p} | {adjusted} |"
        )
    return "\n".join(lines) + "\n"


def as_json(differences: Sequence[Difference]) -> str:
    """Every cell, as JSON."""
    return json.dumps({"schema": 1, "cells": [asdict(one) for one in differences]}, indent=1) + "\n"


FORMATS = {"text": as_text, "markdown": as_markdown, "json": as_json}


def _by_size(differences: list[Difference]) -> list[Difference]:
    return sorted(differences, key=lambda one: one.after - one.before)


def _count_line(differences: Sequence[Difference]) -> str:
    counts: dict[str, int] = {}
    for one in differences:
        counts[one.verdict] = counts.get(one.verdict, 0) + 1
    order = (SAME, WITHIN, IMPROVED, REGRESSED)
    text = ", ".join(f"{counts[kind]} {kind}" for kind in order if kind in counts)
    significant = sum(one.p_adjusted is not None and one.p_adjusted < ALPHA for one in differences)
    return (
        f"{len(differences)} cells compared: {text or 'none in common'}; {significant} significant"
    )
