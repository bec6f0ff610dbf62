"""Compare two result files, or one with stored baselines, by the same statistics as the gate.

Groups are compared by the bits that say which queries hit and those that say which are in a group.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.errors import SHOWN, OcclusionError
from pytest_occlusion.gate.snapshots import FOLDER, read_baseline, snapshot_file, unpack_bits
from pytest_occlusion.gate.verdicts import (
    ALPHA,
    CHANGED,
    SAME,
    WITHIN,
    Baseline,
    Verdict,
    judge,
    turns_red,
)
from pytest_occlusion.retrieval.significance import holm

CellRecord = Mapping[str, Any]
Difference = dict[str, Any]
"""One cell in two runs, as :func:`as_json` prints it: ``id`` and ``model``; recall ``before`` and
``after``; ``hits_before``, ``hits_after`` and the second run's ``queries``; those ``lost`` and
``gained`` with their ``p_value`` and, over the cells of the model, ``p_adjusted`` (``None`` where
flips cannot be told); the ``verdict``. Of a group also ``attribute`` and ``group``, and whether it
is ``gated``; ``p_adjusted`` is over all that is compared of the model's groups."""

Members = Mapping[str, Mapping[str, str]]
"""Attribute -> group -> which queries are in it, as the results document has it."""


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
    pairs = list(_pairs(before, after))
    counted = [[_counted(cell, bits=same_queries) for cell in pair] for pair in pairs]
    verdicts = [judge(second, first, tolerance=tolerance) for first, second in counted]
    adjusted = holm([one.p_value for one in verdicts], [new["model"] for _, new in pairs])
    return [
        _difference(new, first, second, verdict, p_adjusted)
        | {"before": old["recall"], "after": new["recall"]}
        for (old, new), (first, second), verdict, p_adjusted in zip(
            pairs, counted, verdicts, adjusted, strict=True
        )
    ]


def compare_groups(
    before: Iterable[CellRecord],
    after: Iterable[CellRecord],
    members: Sequence[Members],
    *,
    tolerance: float,
    gated: Collection[tuple[str, str]],
) -> list[Difference]:
    """Compare the groups of cells that both runs have, where both asked the same queries.

    As in the gate, a group has changed if it is beyond the tolerance and significantly so.

    Args:
        before: As :func:`compare`'s.
        after: As :func:`compare`'s.
        members: Of each run; only groups of the same queries in both are compared.
        tolerance: Queries of a group that may change, or a share of them below 1.
        gated: (attribute, group) of those that may turn the comparison red.
    """
    old_members, new_members = members
    shared = [
        (attribute, group, packed)
        for attribute, groups in new_members.items()
        for group, packed in groups.items()
        if old_members.get(attribute, {}).get(group) == packed
    ]
    rows = []
    for old, new in _pairs(before, after):
        hits, now = (_counted(cell, bits=True).hit_queries for cell in (old, new))
        if new["direction"] != "image-to-text" or hits is None or now is None:
            continue
        if len(hits) == len(now):
            for attribute, group, packed in shared:
                inside = _bits(packed, len(now), f"which queries are in {attribute}={group}")
                rows.append((new, attribute, group, _part(hits, inside), _part(now, inside)))
    verdicts = [judge(second, first, tolerance=tolerance) for *_, first, second in rows]
    adjusted = holm([one.p_value for one in verdicts], [row[0]["model"] for row in rows])
    found = []
    for (new, attribute, group, first, second), verdict, p_adjusted in zip(
        rows, verdicts, adjusted, strict=True
    ):
        if verdict.kind in CHANGED and (p_adjusted is None or p_adjusted >= ALPHA):
            verdict = replace(verdict, kind=WITHIN)
        own = {"attribute": attribute, "group": group, "gated": (attribute, group) in gated}
        found.append(_difference(new, first, second, verdict, p_adjusted) | own)
    return found


def gated_groups(*runs: Mapping[str, Any]) -> set[tuple[str, str]]:
    """(attribute, group) of all that is large enough to be judged, of attributes that are gated."""
    rows = [row for run in runs for row in run["groups"]]
    gated = {row["attribute"] for row in rows if row["verdict"]}
    judged = [row for row in rows if row["judged"] and row["attribute"] in gated]
    return {(row["attribute"], row["group"]) for row in judged}


def _pairs(
    before: Iterable[CellRecord], after: Iterable[CellRecord]
) -> Iterator[tuple[CellRecord, CellRecord]]:
    known = {cell["id"]: cell for cell in before}
    return ((known[new["id"]], new) for new in after if new["id"] in known)


def _difference(
    new: CellRecord, first: Baseline, second: Baseline, verdict: Verdict, p_adjusted: float | None
) -> Difference:
    return {
        "id": new["id"],
        "model": new["model"],
        "before": first.recall,
        "after": second.recall,
        "hits_before": first.hits,
        "hits_after": second.hits,
        "queries": second.queries,
        "lost": verdict.lost,
        "gained": verdict.gained,
        "p_value": verdict.p_value,
        "p_adjusted": p_adjusted,
        "verdict": verdict.kind,
    }


def _part(hit_queries: NDArray[np.bool_], inside: NDArray[np.bool_]) -> Baseline:
    """Of some of the queries."""
    hits = hit_queries[inside]
    return Baseline(int(hits.sum()), len(hits), hits, provenance=None)


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
    hits = _bits(packed, cell["queries"], f"{cell['id']}: which queries hit") if packed else None
    return Baseline(cell["hits"], cell["queries"], hits, provenance=None)


def _bits(packed: str, count: int, what: str) -> NDArray[np.bool_]:
    try:
        return unpack_bits(packed, count)
    except (ValueError, TypeError) as fault:
        raise OcclusionError(
            f"{what} cannot be read ({fault})",
            remedy="write the results again with pytest --occlusion-json PATH",
        ) from fault


def is_red(differences: Iterable[Difference], fail_on: str) -> bool:
    """Whether the comparison fails, by the gate's own settings."""
    return any(turns_red(one["verdict"], one["p_adjusted"], fail_on) for one in differences)


def as_text(differences: Sequence[Difference], groups: Sequence[Difference] = ()) -> str:
    """A table of what changed most, for a terminal of 80 columns; groups have their own."""
    lines = []
    for title, compared in _tables(differences, groups):
        rows = _rows(compared, TEXT, p_form=".0e")
        head = f"{'group' if compared is groups else 'cell':<{ROOM}}{TEXT_HEAD}"
        more = [f"... and {len(rows) - SHOWN} more"] if len(rows) > SHOWN else []
        lines += [title, *([head, *rows[:SHOWN], *more] if rows else [])]
    return "\n".join(lines) + "\n"


def as_markdown(differences: Sequence[Difference], groups: Sequence[Difference] = ()) -> str:
    """The same as Markdown tables."""
    parts = []
    for title, compared in _tables(differences, groups):
        rows = _rows(compared, MARKDOWN, p_form=".1g")
        what = "group" if compared is groups else "cell"
        head = [
            f"| {what} | before | after | hits | lost / gained | p | p (Holm) |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]
        table = [*head, *rows[:SHOWN]] if rows else []
        parts.append("\n".join([f"### {title}", "", *table]) + "\n")
    return "\n".join(parts)


def as_json(differences: Sequence[Difference], groups: Sequence[Difference] = ()) -> str:
    """Every cell and every group, as JSON."""
    return json.dumps({"schema": 1, "cells": differences, "groups": groups}, indent=1) + "\n"


def _tables(
    differences: Sequence[Difference], groups: Sequence[Difference]
) -> Iterator[tuple[str, Sequence[Difference]]]:
    """Headline and what it is about: the cells, and their groups where there are any."""
    yield _count_line(differences, "cells"), differences
    if groups:
        red = sum(one["gated"] and one["verdict"] in CHANGED for one in groups)
        yield f"{_count_line(groups, 'numbers of groups')}; {red} changed are gated", groups


FORMATS = {"text": as_text, "markdown": as_markdown, "json": as_json}

ROOM = 34
"""Columns of names."""

TEXT_HEAD = f"{'before':>8}{'after':>8}{'hits':>7}{'p':>9}{'p Holm':>9}"
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
        name = f"{one['id']} {one['attribute']}={one['group']}" if "group" in one else one["id"]
        if len(name) > ROOM and row == TEXT:
            name = f"{name}\n{'':{ROOM}}"  # its numbers below it
        rows.append(row.format(id=name, flips=flips, **told))
    return rows


def _count_line(differences: Sequence[Difference], what: str) -> str:
    counts = Counter(one["verdict"] for one in differences)
    order = (SAME, WITHIN, *reversed(CHANGED))
    text = ", ".join(f"{counts[kind]} {kind}" for kind in order if kind in counts)
    p_values = [p for one in differences if (p := one["p_adjusted"]) is not None]
    significant = f"{sum(p < ALPHA for p in p_values)} significant"
    return f"{len(differences)} {what} compared: {text or 'none in common'}; {significant}"
