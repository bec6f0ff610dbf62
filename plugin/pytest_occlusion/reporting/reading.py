"""Reading a results document back, also one that an earlier version wrote."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_occlusion.errors import OcclusionError

SCHEMAS = (1,)
"""Schemas that can be read. A field that was added later does not make a new schema: readers take
what an earlier version did not write from the tables below."""

WRITER = "pytest --occlusion-json PATH"
WRITE_AGAIN = f"write it again with {WRITER}"

IDENTITY = {"id": str, "model": str, "occluder": str}
NUMBERS = ("ratio", "k", "recall", "hits", "queries", "chance", "constant", "ci_low", "ci_high")
"""What every cell has had since the first version."""

CELL_DEFAULTS: Mapping[str, Any] = {
    "direction": "image-to-text",
    "severity": None,
    "achieved": None,
    "median_rank": None,
    "mrr": None,
    "tied": 0.0,
    "verdict": "new",
    "tolerance": 0,
    "baseline_hits": None,
    "baseline_queries": None,
    "baseline_from": None,
    "lost": None,
    "gained": None,
    "p_value": None,
    "p_adjusted": None,
    "drift": None,
    "written": False,
}

MODEL_DEFAULTS: Mapping[str, Any] = {
    **dict.fromkeys(("family", "variant", "weights", "precision", "device", "canvas"), ""),
    **dict.fromkeys(("protocol", "libraries", "code"), ""),
    "settings": {},
    "assumed": {},
    "token_limit": 0,
    "truncated": 0,
}

CORPUS_DEFAULTS: Mapping[str, Any] = {
    **dict.fromkeys(("name", "fingerprint"), ""),
    **dict.fromkeys(("studies", "radiographs", "patients", "texts", "candidates", "dropped"), 0),
    "notes": [],
}

TIMING_DEFAULTS: Mapping[str, Any] = {
    **dict.fromkeys(("draw_seconds", "text_seconds", "encode_seconds", "rank_seconds")),
    "fresh": False,
    "images_per_second": None,
    "encoded_images": 0,
    **dict.fromkeys(("wait_seconds", "radiographs", "ranked", "peak_bytes")),
}

MAP_QUANTITIES = ("similarity", "rank", "recall")

CURVE_NUMBERS = ("area", "half_ratio", "slope", "r_squared")


def read_results(path: Path) -> dict[str, Any]:
    """Read what ``--occlusion-json`` wrote.

    Raises:
        OcclusionError: No such file, damaged, or of a schema that this version does not know.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise OcclusionError(f"{path}: no such file", remedy=f"write it with {WRITER}") from None
    except (OSError, ValueError, RecursionError) as fault:
        raise OcclusionError(f"{path}: not a result file ({fault})", remedy=WRITE_AGAIN) from fault
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise OcclusionError(
            f"{path}: not a result file (it has no cells)",
            remedy=WRITE_AGAIN,
        )
    if content.get("schema") not in SCHEMAS:
        raise OcclusionError(
            f"{path}: schema {content.get('schema')!r}, this version reads "
            f"{', '.join(map(str, SCHEMAS))}",
            remedy="update pytest-occlusion",
        )
    return content


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number")


def read_checked(path: Path) -> dict[str, Any]:
    """Read a results file for drawing: as it was written, every part of it looked at.

    Raises:
        OcclusionError: As :func:`read_results`, or a part of it is not what it should be.
    """
    content = read_results(path)
    try:
        completed(content)
    except _DamagedError as fault:
        raise OcclusionError(f"{path}: damaged: {fault}", remedy=WRITE_AGAIN) from None
    return content


class _DamagedError(Exception):
    """What is wrong with a results document, in words."""


def completed(results: Mapping[str, Any]) -> dict[str, Any]:
    """The document with defaults where an earlier version wrote nothing; the original is kept."""
    if not results["cells"]:
        raise _DamagedError("it holds no cell")
    cells = [_cell(number, cell) for number, cell in enumerate(results["cells"])]
    models = _table(results, "models")
    for cell in cells:
        models.setdefault(cell["model"], {})
    return {
        **results,
        "suite": str(results.get("suite", "")),
        "cells": cells,
        "models": {name: _model(name, model) for name, model in models.items()},
        "corpus": _corpus(_table(results, "corpus")),
        "protocol": _table(results, "protocol"),
        "baselines": {
            name: _with({}, one, f"baseline {name}")
            for name, one in _table(results, "baselines").items()
        },
        "curves": [_curve(number, one) for number, one in enumerate(_list(results, "curves"))],
        "claims": [_claim(number, one) for number, one in enumerate(_list(results, "claims"))],
        "timings": [_timing(number, one) for number, one in enumerate(_list(results, "timings"))],
        "maps": [_map(number, one) for number, one in enumerate(_list(results, "maps"))],
    }


def _cell(number: int, cell: Any) -> dict[str, Any]:
    name = f"cell {number}"
    found = _with(CELL_DEFAULTS, cell, name)
    for field, kind in IDENTITY.items():
        if not isinstance(found.get(field), kind):
            raise _DamagedError(f"{name} has no {field}")
    for field in NUMBERS:
        if not _is_number(found.get(field)):
            raise _DamagedError(f"{name} ({found['id']}) has no number as its {field}")
    for field, default in CELL_DEFAULTS.items():
        value, text = found[field], isinstance(default, str) or field == "baseline_from"
        if not (value is None or (isinstance(value, str) if text else _is_number(value))):
            raise _DamagedError(f"{name} ({found['id']}) has {value!r} as its {field}")
    if found["queries"] < 1:
        raise _DamagedError(f"{name} ({found['id']}) has no queries")
    return found


def _model(name: str, model: Any) -> dict[str, Any]:
    found = _with(MODEL_DEFAULTS, model, f"model {name}")
    _numbers(found, ("token_limit", "truncated"), f"model {name}")
    return {**found, **{key: _table(found, key) for key in ("settings", "assumed")}}


def _corpus(corpus: Mapping[str, Any]) -> dict[str, Any]:
    found = {**CORPUS_DEFAULTS, **corpus, "notes": _list(corpus, "notes")}
    counts = [name for name, default in CORPUS_DEFAULTS.items() if default == 0]
    _numbers(found, counts, "the corpus")
    known = {name: found[name] or 0 for name in counts}
    return {**found, **known, "fingerprint": str(found["fingerprint"])}


def _timing(number: int, timing: Any) -> dict[str, Any]:
    found = _with({"model": "", "pass": "", **TIMING_DEFAULTS}, timing, f"timing {number}")
    _numbers(found, [name for name in TIMING_DEFAULTS if name != "fresh"], f"timing {number}")
    return found


def _numbers(found: Mapping[str, Any], fields: Iterable[str], name: str) -> None:
    """Refuse what is neither a number nor nothing."""
    for field in fields:
        if not (found[field] is None or _is_number(found[field])):
            raise _DamagedError(f"{name} has {found[field]!r} as its {field}")


def _curve(number: int, curve: Any) -> dict[str, Any]:
    name = f"curve {number}"
    found = _with({"flags": [], **dict.fromkeys(CURVE_NUMBERS)}, curve, name)
    for field in ("model", "occluder", "k"):
        if field not in found:
            raise _DamagedError(f"{name} has no {field}")
    found.setdefault("direction", CELL_DEFAULTS["direction"])
    _numbers(found, CURVE_NUMBERS, name)
    for field in ("ratios", "recalls", "retention", "above_chance"):
        if not all(map(_is_number, _list(found, field))):
            raise _DamagedError(f"{name} has something else than numbers as its {field}")
    return {**found, "flags": list(map(str, _list(found, "flags")))}


def _claim(number: int, claim: Any) -> dict[str, Any]:
    found = _with({"expected": None, "unit": ""}, claim, f"claim {number}")
    for field in ("claim", "statement", "outcome"):
        if not isinstance(found.get(field), str):
            raise _DamagedError(f"claim {number} has no {field}")
    for estimate in _list(found, "estimates"):
        numbers = ("value", "low", "high", "threshold")
        if not isinstance(estimate, dict) or not all(_is_number(estimate.get(n)) for n in numbers):
            raise _DamagedError(f"claim {number} ({found['claim']}) has an estimate without number")
    return {**found, "estimates": _list(found, "estimates"), "notes": _list(found, "notes")}


def _map(number: int, record: Any) -> dict[str, Any]:
    """A sensitivity map, every number of it looked at: pages draw what it says."""
    name = f"map {number}"
    found = _with({"direction": CELL_DEFAULTS["direction"], "fill": ""}, record, name)
    grid = found.get("grid")
    if not isinstance(found.get("model"), str) or not (isinstance(grid, int) and grid >= 2):
        raise _DamagedError(f"{name} has no model or no grid")
    _numbers(_with({"ratio": "", "k": ""}, record, name), ("ratio", "k"), name)
    _spread(found.get("whole"), name)
    for view in _list(found, "views"):
        shown = _with({"view": "", "picture": None}, view, f"a view of {name}")
        _numbers(_with({"queries": "", "patients": ""}, view, name), ("queries", "patients"), name)
        losses = _table(shown, "losses")
        for quantity in MAP_QUANTITIES:
            numbers = _table(losses, quantity)
            for part in ("value", "low", "high"):
                values = _list(numbers, part)
                if len(values) != grid**2 or not all(map(_is_number, values)):
                    raise _DamagedError(f"{name} has no {grid} x {grid} numbers of its {quantity}")
        if shown["picture"] is not None:
            _check_picture(_table(shown, "picture"), name)
    for one in _list(found, "placements"):
        _numbers(_with({"ratio": ""}, one, name), ("ratio",), name)
        for part in ("mean", "worst_similarity", "worst_rank"):
            _spread(one.get(part), name)
    found["views"] = [{"view": "", "picture": None, **view} for view in _list(found, "views")]
    return {**found, "placements": _list(found, "placements")}


def _spread(spread: Any, name: str) -> None:
    parts = _with({}, spread, f"a recall of {name}")
    if not all(_is_number(parts.get(part)) for part in ("value", "low", "high")):
        raise _DamagedError(f"{name} has a recall without number")


def _check_picture(picture: Mapping[str, Any], name: str) -> None:
    try:
        pixels = len(base64.b64decode(picture["grey"], validate=True))
        whole = pixels == picture["width"] * picture["height"] > 0
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise _DamagedError(f"{name} has a picture that is none")


def _with(defaults: Mapping[str, Any], given: Any, name: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise _DamagedError(f"{name} is not a table")
    return {**defaults, **given}


def _table(results: Mapping[str, Any], name: str) -> dict[str, Any]:
    return _with({}, results.get(name, {}), name)


def _list(results: Mapping[str, Any], name: str) -> list[Any]:
    found = results.get(name, [])
    if not isinstance(found, list):
        raise _DamagedError(f"{name} is not a list")
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
