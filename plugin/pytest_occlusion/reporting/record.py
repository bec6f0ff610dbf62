"""Records: the plain data that a worker sends for each cell, and the results document made of them.

Only ints, floats, strings, lists and dicts cross from a worker to the controller: a numpy scalar
would abort the run there. The casts happen here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pytest_occlusion.engine.job import Measured
from pytest_occlusion.engine.results import CellResult
from pytest_occlusion.engine.session import Session
from pytest_occlusion.gate.provenance import Provenance
from pytest_occlusion.gate.snapshots import pack_bits
from pytest_occlusion.gate.verdicts import Verdict, drift
from pytest_occlusion.insight.claims import CLAIMS, Finding
from pytest_occlusion.occlusion.levels import severity_of
from pytest_occlusion.reporting.timings import merged, timing_records
from pytest_occlusion.retrieval.degradation import degradation
from pytest_occlusion.retrieval.significance import holm
from pytest_occlusion.suite.settings import CLAIM_NAMES

SCHEMA = 1
Record = dict[str, Any]


def cell_record(
    session: Session,
    result: CellResult,
    verdict: Verdict,
    origin: Provenance,
) -> Record:
    """Everything the controller needs to know of one measured cell.

    Args:
        session: Where it was measured.
        result: What was measured.
        verdict: How it stands against its baseline.
        origin: Under what it was measured.
    """
    moved = drift(result, verdict)
    cell, measured = result.cell, session.measured(result.cell)
    baseline = verdict.baseline
    accepted = None if baseline is None else baseline.provenance
    achieved = measured[0].fields["achieved"]
    return {
        "baseline": None if accepted is None else {accepted.id: asdict(accepted)},
        "cell": {
            "id": cell.id,
            "model": cell.model,
            "direction": cell.direction,
            "occluder": cell.occluder,
            "ratio": float(cell.ratio),
            "severity": severity_of(cell.occluder, cell.ratio),
            "achieved": None if achieved is None else float(achieved),
            "k": int(cell.k),
            "recall": float(result.recall),
            "hits": int(result.hits),
            "queries": int(result.queries),
            "chance": float(result.chance),
            "constant": float(result.constant),
            "ci_low": float(result.ci_low),
            "ci_high": float(result.ci_high),
            "median_rank": float(result.median_rank),
            "mrr": float(result.mrr),
            "tied": float(result.tied),
            "verdict": verdict.kind,
            "tolerance": int(verdict.tolerance),
            "baseline_hits": None if baseline is None else int(baseline.hits),
            "baseline_queries": None if baseline is None else int(baseline.queries),
            "baseline_from": None if accepted is None else accepted.id,
            "lost": verdict.lost,
            "gained": verdict.gained,
            "p_value": verdict.p_value,
            "drift": moved,
            "written": False,  # until the collector has seen it
            "hit_queries": pack_bits(result.hit_queries),
        },
        "model": _model_record(session, cell.model, origin, measured),
        "corpus": _corpus_record(session),
        "damaged": list(session.store.damaged),
        "timings": timing_records(cell, measured),
    }


def _model_record(
    session: Session, name: str, origin: Provenance, measured: Sequence[Measured]
) -> Record:
    record = session.record(name)
    return {
        "family": record.family,
        "variant": record.variant,
        "weights": record.weights,
        "precision": record.precision,
        "device": origin.device,
        "protocol": origin.protocol,
        "canvas": record.canvas,
        "settings": dict(record.settings),
        "assumed": dict(record.assumed),
        "token_limit": int(record.token_limit),
        "truncated": int(measured[0].fields.get("truncated", 0)),
        "libraries": origin.libraries,
        "code": origin.code,
    }


def _corpus_record(session: Session) -> Record:
    corpus, task = session.corpus, session.task
    return {
        "name": corpus.name,
        "fingerprint": corpus.fingerprint,
        "studies": len(corpus.studies),
        "radiographs": len(task.radiographs),
        "patients": len(set(task.radiograph_patient)),
        "texts": len(task.texts),
        "candidates": len(task.candidate_text),
        "dropped": int(task.dropped),
        "notes": list(corpus.notes),
        **corpus.fields,
    }


def claim_record(finding: Finding, expected: str | None) -> Record:
    """Everything the controller needs to know of one claim.

    Args:
        finding: What it came to.
        expected: What the suite says it comes to.
    """
    return {
        "claim": finding.claim,
        "statement": CLAIMS[finding.claim].statement,
        "outcome": finding.outcome,
        "expected": expected,
        "unit": finding.unit,
        "estimates": [
            {
                "label": one.label,
                "value": float(one.value),
                "low": float(one.low),
                "high": float(one.high),
                "threshold": float(one.threshold),
                "outcome": one.outcome,
            }
            for one in finding.estimates
        ],
        "notes": list(finding.notes),
    }


def document(
    records: Iterable[Mapping[str, Any]],
    claims: Iterable[Mapping[str, Any]] = (),
    maps: Iterable[Mapping[str, Any]] = (),
    *,
    suite: str,
    protocol: Mapping[str, Any],
) -> Record:
    """Merge records, in any order and from any worker, into one results document.

    The order of cells is that of their ids' fields, not of arrival, so that serial and parallel
    runs give the same document.
    """
    cells: dict[str, Record] = {}
    models: dict[str, Record] = {}
    corpus: Record = {}
    baselines: dict[str, Record] = {}
    timings: list[Record] = []
    for record in records:
        cells[record["cell"]["id"]] = dict(record["cell"])
        models[record["cell"]["model"]] = dict(record["model"])
        corpus = dict(record["corpus"])
        baselines.update(record["baseline"] or {})
        timings += record["timings"]
    maps = list(maps)
    mapped = {record["map"]["model"]: dict(record["map"]) for record in maps}
    for record in maps:
        timings += record["timings"]
    ordered = sorted(cells.values(), key=_order)
    _adjust_p_values(ordered)
    return {
        "schema": SCHEMA,
        "suite": suite,
        "corpus": corpus,
        "protocol": dict(protocol),
        "models": {name: models[name] for name in sorted(models)},
        "baselines": {name: baselines[name] for name in sorted(baselines)},
        "cells": ordered,
        "curves": curves_of(ordered),
        "claims": sorted(map(dict, claims), key=lambda claim: CLAIM_NAMES.index(claim["claim"])),
        "timings": merged(timings),
        "maps": [mapped[name] for name in sorted(mapped)],
    }


def _adjust_p_values(cells: Sequence[Record]) -> None:
    """Add Holm-adjusted p values, over the cells of each model."""
    for cell in cells:
        cell["p_adjusted"] = None
    for model in {cell["model"] for cell in cells}:
        tested = [c for c in cells if c["model"] == model and c["p_value"] is not None]
        for cell, p_value in zip(tested, holm([c["p_value"] for c in tested]), strict=True):
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
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for cell in cells:
        key = (cell["model"], cell["direction"], cell["occluder"], cell["k"])
        groups.setdefault(key, []).append(cell)
    curves = []
    for (model, direction, occluder, k), points in groups.items():
        ordered = sorted(points, key=lambda cell: cell["ratio"])
        ratios = [cell["ratio"] for cell in ordered]
        recalls = [cell["recall"] for cell in ordered]
        numbers = degradation(ratios, recalls, chance=ordered[0]["chance"])
        curves.append(
            {
                "model": model,
                "direction": direction,
                "occluder": occluder,
                "k": k,
                "ratios": ratios,
                "recalls": recalls,
                "retention": list(numbers.retention),
                "above_chance": list(numbers.above_chance),
                "area": numbers.area,
                "half_ratio": numbers.half_ratio,
                "slope": numbers.slope,
                "r_squared": numbers.r_squared,
                "flags": _flags(ordered),
            }
        )
    return curves


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
    lowest = points[0]["ci_high"]
    for point in points[1:]:
        if point["ci_low"] > lowest:
            flags.append("not-monotone")
            break
        lowest = min(lowest, point["ci_high"])
    return flags
