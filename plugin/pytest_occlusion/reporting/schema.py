"""The results document: what it holds, told once, from which runs write it and readers check it.

Schema 2 has groups, relevance by label and the field's own measures beside what schema 1 has. A
part that was added later has a default here, for files of earlier versions. The checks are ours: of
a damaged file they name every fault (msgspec stops at the first), and what a worker holds becomes
plain data by the same tables (pydantic, which costs a process 75 ms, would need that told beside
its models).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from reprlib import repr as shortened
from typing import Any, NamedTuple

Record = dict[str, Any]

SCHEMA = 2
READABLE = (1, SCHEMA)
"""Of the first, what it did not have is empty."""

REQUIRED = object()


class Kind(NamedTuple):
    """A value that is looked at as a whole."""

    words: str  # what it is, for people
    fits: Callable[[Any], bool]
    cast: Callable[[Any], Any]  # plain data out of what a run holds


@dataclass(frozen=True)
class Named:
    """A table whose names are not fixed."""

    shape: Any  # of its values


class Field(NamedTuple):
    """A part of a table with fixed names."""

    shape: Any  # a Kind, a Named, a table of Fields, or a list of one of these
    default: Any = REQUIRED  # what an earlier version did not write; None may also be written


Fields = Mapping[str, Field]


def _fields(shape: Any, *names: str, default: Any = REQUIRED) -> dict[str, Field]:
    return {name: Field(shape, default) for name in names}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _is_picture(value: Any) -> bool:
    try:
        pixels = len(base64.b64decode(value["grey"], validate=True))
        return bool(pixels == value["width"] * value["height"] > 0)
    except (KeyError, TypeError, ValueError):
        return False


def _grey(pixels: Any) -> Record:
    height, width = pixels.shape
    grey = base64.b64encode(pixels.tobytes()).decode()
    return {"width": width, "height": height, "grey": grey}


NUMBER = Kind("a number", _is_number, float)
COUNT = Kind("a number", _is_number, int)
TEXT = Kind("a text", lambda value: isinstance(value, str), str)
FLAG = Kind("true or false", lambda value: isinstance(value, bool), bool)
TABLE = Kind("a table", lambda value: isinstance(value, dict), dict)
GRID = Kind(
    "a list of numbers",  # row by row
    lambda value: isinstance(value, list) and all(map(_is_number, value)),
    lambda values: [round(float(one), 9) for one in values.ravel()],  # float32 scores have fewer
)
PICTURE = Kind("a picture: width, height and as many grey levels in base64", _is_picture, _grey)
QUERIES = Kind("a number above 0", lambda value: _is_number(value) and value >= 1, int)
SIDE = Kind("a whole number above 1", lambda value: isinstance(value, int) and value > 1, int)

DIRECTION = _fields(TEXT, "direction", default="image-to-text")

CELL: Fields = {
    **_fields(TEXT, "id", "model"),
    **DIRECTION,
    **_fields(TEXT, "occluder"),
    **_fields(NUMBER, "ratio"),
    **_fields(COUNT, "severity", default=None),
    **_fields(NUMBER, "achieved", default=None),
    **_fields(COUNT, "k"),
    **_fields(NUMBER, "recall", "ci_low", "ci_high", "chance", "constant"),
    **_fields(COUNT, "hits"),
    **_fields(QUERIES, "queries"),
    **_fields(NUMBER, "median_rank", "mrr", default=None),
    **_fields(NUMBER, "tied", default=0.0),
    **_fields(TEXT, "verdict", default="new"),
    **_fields(COUNT, "tolerance", default=0),
    **_fields(COUNT, "baseline_hits", "baseline_queries", "lost", "gained", default=None),
    **_fields(NUMBER, "p_value", "p_adjusted", default=None),
    **_fields(COUNT, "drift", default=None),
    **_fields(FLAG, "written", default=False),
    **_fields(TEXT, "baseline_from", "hit_queries", default=None),
}

MODEL: Fields = {
    **_fields(TEXT, "family", "variant", "weights", "precision", "device", default=""),
    **_fields(TEXT, "protocol", "canvas", default=""),
    **_fields(TABLE, "settings", "assumed", default={}),
    **_fields(COUNT, "token_limit", "truncated", default=0),
    **_fields(TEXT, "libraries", "code", default=""),
}

CORPUS: Fields = {
    **_fields(TEXT, "name", "fingerprint", default=""),
    **_fields(COUNT, "studies", "radiographs", "patients", "texts", "candidates", default=0),
    **_fields(COUNT, "dropped", default=0),
    **_fields([TEXT], "notes", default=[]),
}
"""What a kind of corpus says beside these is kept as it is."""

CURVE: Fields = {
    **_fields(TEXT, "model"),
    **DIRECTION,
    **_fields(TEXT, "occluder"),
    **_fields(COUNT, "k"),
    **_fields([NUMBER], "ratios", "recalls", "retention", "above_chance", default=[]),
    **_fields(NUMBER, "area", "half_ratio", "slope", "r_squared", default=None),
    **_fields([TEXT], "flags", default=[]),
}

ESTIMATE: Fields = {
    **_fields(TEXT, "label"),
    **_fields(NUMBER, "value", "low", "high", "threshold"),
    **_fields(TEXT, "outcome", default=""),
}

CLAIM: Fields = {
    **_fields(TEXT, "claim", "statement", "outcome"),
    **_fields(TEXT, "expected", default=None),
    **_fields(TEXT, "unit", default=""),
    **_fields([ESTIMATE], "estimates", default=[]),
    **_fields([TEXT], "notes", default=[]),
}

TIMING: Fields = {
    **_fields(TEXT, "model", default=""),
    **_fields(FLAG, "fresh", default=False),
    **_fields(COUNT, "ranked", default=None),
    **_fields(NUMBER, "draw_seconds", "text_seconds", "encode_seconds", default=None),
    **_fields(NUMBER, "wait_seconds", "rank_seconds", "images_per_second", default=None),
    **_fields(COUNT, "encoded_images", "radiographs", "peak_bytes", default=None),
    **_fields(TEXT, "pass", default=""),
}
"""All but ``ranked`` and ``rank_seconds`` are those of the whole pass in each of its cells."""

SPREAD: Fields = _fields(NUMBER, "value", "low", "high")
LOSSES: Fields = _fields(GRID, "value", "low", "high")
QUANTITIES: Fields = _fields(LOSSES, "similarity", "rank", "recall")

VIEW: Fields = {
    **_fields(TEXT, "view", default=""),
    **_fields(COUNT, "queries", "patients"),
    **_fields(PICTURE, "picture", default=None),
    **_fields(QUANTITIES, "losses"),
}

PLACEMENT: Fields = {
    **_fields(NUMBER, "ratio"),
    **_fields(NUMBER, "achieved", default=None),
    **_fields(SPREAD, "mean", "worst_similarity", "worst_rank"),
    **_fields(SPREAD, "gap", default=None),
}

MAP: Fields = {
    **_fields(TEXT, "model"),
    **DIRECTION,
    **_fields(SIDE, "grid"),
    **_fields(NUMBER, "ratio"),
    **_fields(TEXT, "fill", default=""),
    **_fields(COUNT, "k"),
    **_fields(SPREAD, "whole"),
    **_fields([VIEW], "views", default=[]),
    **_fields([PLACEMENT], "placements", default=[]),
}

PLACE: Fields = {
    **_fields(TEXT, "model"),
    **DIRECTION,
    **_fields(TEXT, "occluder"),
    **_fields(NUMBER, "ratio"),
}
"""What was asked of whom, for all that is measured beside recall."""

SCORE: Fields = {**SPREAD, **_fields(NUMBER, "chance", "constant")}

LABELS: Fields = {
    **_fields([TEXT], "names", default=[]),
    **_fields(TEXT, "origin", "uncertain", default=""),
    **_fields(Named(NUMBER), "prevalence", default={}),
    **_fields(COUNT, "missing", default=0),
    **_fields([TEXT], "notes", default=[]),
}

RANKING: Fields = {
    **PLACE,
    **_fields(NUMBER, "recall_1", "recall_5", "recall_10", "rsum", default=None),
    **_fields(NUMBER, "mean_rank", "median_rank", "mrr"),
    **_fields(COUNT, "ways", default=1),
}
"""Recalls are ``None`` with fewer candidates; ``rsum`` is in percent over one or two ``ways``."""

MEASURES: Fields = {
    **_fields(SCORE, "precision_same", "precision_shared", "hit_same", "hit_shared"),
    **_fields(SCORE, "map", "ndcg"),
}

RELEVANCE: Fields = {**PLACE, **_fields(COUNT, "k"), **_fields(MEASURES, "measures")}

AGREED: Fields = {
    **_fields(TEXT, "label"),
    **_fields(COUNT, "positives"),
    **_fields(NUMBER, "precision", "recall", "f1", default=None),
}

AGREEMENT: Fields = {
    **PLACE,
    **_fields(_fields(SCORE, "micro", "macro", "micro_5", "macro_5", default=None), "scores"),
    **_fields([AGREED], "classes", default=[]),
}

SELECTIVE: Fields = {
    **PLACE,
    **_fields(NUMBER, "ratio", default=None),
    **_fields(COUNT, "k"),
    **_fields(NUMBER, "confidence", "area", "low", "high", "random", "best"),
    **_fields(NUMBER, "gain", default=None),
    **_fields([NUMBER], "risks"),
}
"""Over all levels of the occluder where ``ratio`` is ``None``; ``risks`` at even coverages."""

GROUP: Fields = {
    **PLACE,
    **_fields(COUNT, "k"),
    **_fields(TEXT, "attribute", "group"),
    **_fields(QUERIES, "queries"),
    **_fields(COUNT, "patients", "hits"),
    **_fields(NUMBER, "recall", "ci_low", "ci_high"),
    **_fields(NUMBER, "retention", "gap", "gap_low", "gap_high", default=None),
    **_fields(NUMBER, "widening", "widening_low", "widening_high", default=None),
    **_fields(NUMBER, "widening_p", "widening_p_adjusted", default=None),
    **_fields(FLAG, "judged", default=False),
    **_fields(TEXT, "verdict", default=""),
    **_fields(COUNT, "tolerance", "baseline_hits", "lost", "gained", default=None),
    **_fields(NUMBER, "p_value", "p_adjusted", default=None),
}

GROUP_CURVE: Fields = {
    **_fields(TEXT, "model"),
    **DIRECTION,
    **_fields(TEXT, "occluder"),
    **_fields(COUNT, "k"),
    **_fields(TEXT, "attribute", "group", "verdict"),
    **_fields(NUMBER, "difference", "tolerance", "p_value", "p_adjusted"),
}
"""A gated group whose mean hits over all levels changed."""

VANISHED: Fields = {**_fields(TEXT, "model", "attribute", "group"), **_fields(COUNT, "queries")}

CORRUPTED: Fields = {
    **_fields(TEXT, "corruption"),
    **_fields(NUMBER, "mmi", "ce", "relative_ce", default=None),
}

CORRUPTIONS: Fields = {
    **_fields(TEXT, "model"),
    **DIRECTION,
    **_fields(COUNT, "k"),
    **_fields(TEXT, "reference", default=None),
    **_fields(NUMBER, "mmi", "mce", "relative_mce", default=None),
    **_fields([CORRUPTED], "parts", default=[]),
}

DOCUMENT: Fields = {
    **_fields(COUNT, "schema", default=SCHEMA),
    **_fields(TEXT, "suite", default=""),
    **_fields(CORPUS, "corpus", default={}),
    **_fields(TABLE, "protocol", default={}),
    **_fields(Named(MODEL), "models", default={}),
    **_fields(Named(TABLE), "baselines", default={}),
    **_fields([CELL], "cells"),
    **_fields([CURVE], "curves", default=[]),
    **_fields([CLAIM], "claims", default=[]),
    **_fields([TIMING], "timings", default=[]),
    **_fields([MAP], "maps", default=[]),
    **_fields(LABELS, "labels", default={}),
    **_fields([RANKING], "rankings", default=[]),
    **_fields([RELEVANCE], "relevance", default=[]),
    **_fields([AGREEMENT], "agreement", default=[]),
    **_fields([SELECTIVE], "selective", default=[]),
    **_fields([GROUP], "groups", default=[]),
    **_fields([GROUP_CURVE], "group_curves", default=[]),
    **_fields([TEXT], "group_notes", default=[]),
    **_fields(Named(Named(TEXT)), "members", default={}),
    **_fields([VANISHED], "vanished", default=[]),
    **_fields([CORRUPTIONS], "corruptions", default=[]),
}


def plain(fields: Fields, *sources: object, **given: Any) -> Record:
    """A table of the document as ints, floats, strings, lists and dicts.

    Nothing else crosses from a worker to the controller: a numpy scalar would abort the run there.
    A part is what is given, else an attribute of the first source that has one of its name.
    """
    found = {}
    for name, field in fields.items():
        holders = (getattr(one, name) for one in sources if hasattr(one, name))
        value = given[name] if name in given else next(holders, field.default)
        found[name] = None if value is None else _cast(field.shape, value)
    return found


def _cast(shape: Any, value: Any) -> Any:
    if isinstance(shape, Kind):
        return shape.cast(value)
    if isinstance(shape, list):
        return [_cast(shape[0], one) for one in value]
    if isinstance(shape, Named):
        return {name: _cast(shape.shape, one) for name, one in value.items()}
    return plain(shape, **value) if isinstance(value, Mapping) else plain(shape, value)


def filled(shape: Any, value: Any, place: str, faults: list[str]) -> Any:
    """A part of a document with defaults where nothing was written; the original is kept.

    What is wrong with it, by its place in the document, is added to ``faults``.
    """
    match shape, value:
        case Kind(), _ if shape.fits(value):
            return value
        case Named(), dict():
            inner = shape.shape
            return {n: filled(inner, one, f"{place}[{n}]", faults) for n, one in value.items()}
        case [inner], list():
            return [filled(inner, one, _item(place, n, one), faults) for n, one in enumerate(value)]
        case {}, dict():
            return value | {
                name: _part(field, value, name, place, faults) for name, field in shape.items()
            }
    wanted = getattr(shape, "words", "a list" if isinstance(shape, list) else "a table")
    faults.append(f"{place} is {shortened(value)}, not {wanted}")
    return value


def _part(field: Field, table: Record, name: str, place: str, faults: list[str]) -> Any:
    value = table.get(name, field.default)
    if value is REQUIRED:
        faults.append(f"{place} has no {name}")
    if value is REQUIRED or value is field.default is None:
        return None
    return filled(field.shape, value, f"{place}.{name}".lstrip("."), faults)


def _item(place: str, number: int, item: Any) -> str:
    """An item of a list by its own id, or its number."""
    own = item.get("id") if isinstance(item, dict) else None
    return f"{place}[{own if isinstance(own, str) else number}]"
