"""Records: the plain data that a worker sends for each cell, and the results document made of them.

Casts to plain data happen in :func:`schema.plain` and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from pytest_occlusion.engine.job import Condition, Measured
from pytest_occlusion.engine.results import CellResult
from pytest_occlusion.engine.session import Session
from pytest_occlusion.gate.provenance import Provenance
from pytest_occlusion.gate.snapshots import pack_bits
from pytest_occlusion.gate.verdicts import Verdict, drift
from pytest_occlusion.insight.claims import CLAIMS, Finding
from pytest_occlusion.occlusion.levels import severity_of
from pytest_occlusion.reporting.rows import (
    beside_recall,
    corruption_rows,
    labels_record,
    merged_rows,
    with_rsum,
)
from pytest_occlusion.reporting.schema import (
    CELL,
    CLAIM,
    CORPUS,
    CURVE,
    MAP,
    MODEL,
    SCHEMA,
    Record,
    plain,
)
from pytest_occlusion.reporting.timings import merged, timing_record
from pytest_occlusion.reporting.views import grouped
from pytest_occlusion.retrieval.degradation import degradation
from pytest_occlusion.retrieval.significance import holm
from pytest_occlusion.suite.table import CLAIM_NAMES

if TYPE_CHECKING:
    from pytest_occlusion.insight.sensitivity import SensitivityMap


def cell_record(
    session: Session, result: CellResult, verdict: Verdict, origin: Provenance
) -> Record:
    """Everything the controller needs to know of one measured cell."""
    cell, measured = result.cell, session.measured(result.cell)
    baseline, fields = verdict.baseline, measured[0].fields
    accepted = None if baseline is None else baseline.provenance
    place = (cell.direction, cell.occluder, float(cell.ratio))
    return {
        "baseline": None if accepted is None else {accepted.id: asdict(accepted)},
        "cell": plain(
            CELL,
            cell,
            result,
            verdict,
            severity=severity_of(cell.occluder, cell.ratio),
            achieved=fields["achieved"],
            verdict=verdict.kind,
            baseline_hits=None if baseline is None else baseline.hits,
            baseline_queries=None if baseline is None else baseline.queries,
            baseline_from=None if accepted is None else accepted.id,
            drift=drift(result, verdict),
            hit_queries=pack_bits(result.hit_queries),
        ),
        "model": plain(
            MODEL, session.record(cell.model), origin, truncated=fields.get("truncated", 0)
        ),
        "corpus": _corpus_record(session),
        "labels": session.once("labels", lambda: labels_record(session)),
        "beside": beside_recall(session, result),
        "notes": list(session.store.notes),
        # Cells that differ in k alone share their rankings.
        "timings": [timing_record(cell.model, [*place, n], one) for n, one in enumerate(measured)],
    }


def _corpus_record(session: Session) -> Record:
    corpus, task = session.corpus, session.task
    counts = {
        "studies": len(corpus.studies),
        "radiographs": len(task.radiographs),
        "patients": len(set(task.radiograph_patient)),
        "texts": len(task.texts),
        "candidates": len(task.candidate_text),
        "dropped": task.dropped,
    }
    return {**plain(CORPUS, corpus, **counts), **corpus.fields}


def claim_record(finding: Finding, expected: str | None) -> Record:
    """Everything the controller needs to know of one claim, and what the suite expects of it."""
    statement = CLAIMS[finding.claim].statement
    return plain(CLAIM, finding, statement=statement, expected=expected)


def map_record(
    session: Session, found: SensitivityMap, measured: Mapping[Condition, Measured]
) -> Record:
    """Everything the controller needs to know of one map, and of what was measured for it."""
    direction = "image-to-text"
    return {
        "map": plain(MAP, found, direction=direction, fill=session.settings.fill),
        "timings": [
            timing_record(found.model, [direction, shown.occluder, shown.ratio, 0], one)
            for shown, one in measured.items()
        ],
    }


def document(
    records: Iterable[Mapping[str, Any]],
    claims: Iterable[Mapping[str, Any]] = (),
    maps: Iterable[Mapping[str, Any]] = (),
    groups: Iterable[Mapping[str, Any]] = (),
    curves: Iterable[Mapping[str, Any]] = (),
    *,
    suite: str,
    protocol: Mapping[str, Any],
    reference: str = "",
) -> Record:
    """Merge records, in any order and from any worker, into one results document.

    The order of cells is that of their ids' fields, not of arrival, so that serial and parallel
    runs give the same document.
    """
    records, maps, groups = list(records), list(maps), list(groups)
    found = {one["cell"]["id"]: dict(one["cell"]) for one in records}
    cells = sorted(found.values(), key=_order)
    _adjust_p_values(cells)
    models = {one["cell"]["model"]: dict(one["model"]) for one in records}
    baselines = {name: kept for one in records for name, kept in (one["baseline"] or {}).items()}
    mapped = {one["map"]["model"]: dict(one["map"]) for one in maps}
    rows = merged_rows([*(one["beside"] for one in records), *curves, *groups])
    rows["rankings"] = with_rsum(rows["rankings"])
    members = {name: own for one in groups for name, own in one["members"].items()}
    return {
        "schema": SCHEMA,
        "suite": suite,
        "corpus": dict(records[-1]["corpus"]) if records else {},
        "protocol": dict(protocol),
        "models": dict(sorted(models.items())),
        "baselines": dict(sorted(baselines.items())),
        "cells": cells,
        "curves": curves_of(cells),
        "claims": sorted(map(dict, claims), key=lambda claim: CLAIM_NAMES.index(claim["claim"])),
        "timings": merged(timing for one in [*records, *maps] for timing in one["timings"]),
        "maps": [mapped[name] for name in sorted(mapped)],
        "labels": dict(records[-1]["labels"]) if records else {},
        **rows,
        "group_notes": list(dict.fromkeys(note for one in groups for note in one["notes"])),
        "members": dict(sorted(members.items())),
        "corruptions": corruption_rows(cells, reference),
    }


def _adjust_p_values(cells: Sequence[Record]) -> None:
    """Add Holm-adjusted p values, over the cells of each model."""
    found = holm([cell["p_value"] for cell in cells], [cell["model"] for cell in cells])
    for cell, p_value in zip(cells, found, strict=True):
        cell["p_adjusted"] = p_value


def _order(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    return cell["model"], cell["direction"], cell["occluder"], cell["ratio"], cell["k"]


def curves_of(cells: Sequence[Mapping[str, Any]]) -> list[Record]:
    """Degradation of every (model, direction, occluder, k), with flags.

    Flags: ``near-chance`` (the interval at 0 % does not clear chance), ``image-blind`` (it clears
    chance but not the best constant ranking, so it is no proof that the image is used),
    ``collapsed`` (the positives of most queries tie), ``not-monotone`` (recall rises with the
    level by more than the intervals explain).
    """
    names, found = ("model", "direction", "occluder", "k"), []
    for place, points in grouped(cells, *names).items():
        points.sort(key=_order)
        ratios, recalls = ([point[name] for point in points] for name in ("ratio", "recall"))
        numbers = degradation(ratios, recalls, chance=points[0]["chance"])
        own = {**dict(zip(names, place, strict=True)), "ratios": ratios, "recalls": recalls}
        found.append(plain(CURVE, numbers, **own, flags=_flags(points)))
    return found


def _flags(points: Sequence[Mapping[str, Any]]) -> list[str]:
    flags = []
    first = points[0]
    # A collapsed encoder scores exactly chance, up to rounding.
    if first["ratio"] == 0 and first["ci_low"] <= first["chance"] + 1e-9:
        flags.append("near-chance")
    elif first["ratio"] == 0 and first["ci_low"] <= first["constant"]:
        flags.append("image-blind")
    if any(point["tied"] > 0.5 for point in points):
        flags.append("collapsed")
    lowest = accumulate((point["ci_high"] for point in points), min)
    if any(after["ci_low"] > low for after, low in zip(points[1:], lowest, strict=False)):
        flags.append("not-monotone")
    return flags
