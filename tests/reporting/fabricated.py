"""Results documents drawn from formulas: as many models, occluders and ks as a test asks for."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from typing import Any

from pytest_occlusion.occlusion.levels import is_corruption, level_tag, severity_of
from pytest_occlusion.reporting import schema
from pytest_occlusion.reporting.record import _adjust_p_values, curves_of

RATIOS = (0.0, 0.09, 0.16, 0.25, 0.36, 0.49, 0.64, 0.81)
KS = (5, 10, 20, 30, 50, 100)
OCCLUDERS = ("block", "patches", "pixels", "center", "border")
NAMES = ("clip", "cxr-repair", "medclip", "cxr-clip")
QUERIES, CANDIDATES = 1770, 858
SECOND = (
    *("labels", "rankings", "relevance", "agreement", "selective", "groups", "group_notes"),
    *("members", "group_curves", "vanished", "corruptions"),
)
"""What schema 1 did not have."""

LATER = ("claims", "baselines", "maps", *SECOND)
"""What the first version did not write."""
HURTS = {"block": 1.0, "patches": 0.75, "pixels": 0.6, "center": 1.25, "border": 0.7}


def results(
    models: int = 4,
    *,
    occluders: Sequence[str] = OCCLUDERS,
    ratios: Sequence[float] = RATIOS,
    ks: Sequence[int] = KS,
    baselines: bool = True,
    claims: bool = True,
    maps: int = 0,
    findings: int = 0,
) -> dict[str, Any]:
    """A document as a run would write it.

    With baselines, the second model has new weights and lost recall, the third gained some, the
    fourth runs under newer libraries and is the same, and the fifth never had a baseline. The
    first ``maps`` models have sensitivity maps. With ``findings``, all that schema 2 has is
    measured beside recall, for groups by sex, view and that many findings.
    """
    names = [NAMES[i] if i < len(NAMES) else f"model-{i:02}" for i in range(models)]
    cells = [
        cell(number, name, occluder, ratio, k, baselines=baselines)
        for number, name in enumerate(names)
        for occluder in occluders
        for ratio in ratios
        for k in ks
    ]
    _adjust_p_values(cells)
    return {
        "schema": 2,
        "suite": "fabricated",
        "corpus": {
            "name": "formula",
            "fingerprint": "c0" * 32,
            "studies": 994,
            "radiographs": QUERIES,
            "patients": 832,
            "texts": CANDIDATES,
            "candidates": CANDIDATES,
            "dropped": 0,
            "notes": ["Numbers from a formula."],
        },
        "protocol": {
            "split": "",
            "text_rule": "findings+impression",
            "candidates": "texts",
            "fill": "black",
            "seeds": [0],
        },
        "models": {name: model(number, name) for number, name in enumerate(names)},
        "baselines": {
            f"base{number}": origin(number, name, before=True)
            for number, name in enumerate(names)
            if baselines and number != 4
        },
        "cells": cells,
        "curves": curves_of(cells),
        "claims": claim_records() if claims else [],
        "timings": [timing(number, name) for number, name in enumerate(names)],
        "maps": [map_record(number, name) for number, name in enumerate(names[:maps])],
        **{name: [] for name in SECOND},
        "labels": schema.plain(schema.LABELS),
        "members": {},
        **(second(cells, findings) if findings else {}),
    }


FINDINGS = ("Atelectasis", "Cardiomegaly", "Edema", "Pleural Effusion", "Hernia")


def groups_of(findings: int) -> dict[str, dict[str, int]]:
    """Attribute -> group -> its queries; the last finding is too rare to be judged."""
    names = [FINDINGS[i] if i < len(FINDINGS) else f"finding {i}" for i in range(findings)]
    sizes = {name: 400 - 5 * number for number, name in enumerate(names)} | {names[-1]: 17}
    return {
        "finding": dict(sorted(sizes.items())),
        "sex": {"F": 800, "M": 970},
        "view": {"PA": 1200, "lateral": 570},
    }


def second(cells: Sequence[dict[str, Any]], findings: int) -> dict[str, Any]:
    """What schema 2 has: lateral views of the second model regressed, women lose most."""
    places = ("model", "direction", "occluder", "ratio")
    at = {tuple(one[name] for name in places): one for one in cells}
    whole = {key[0]: one["recall"] for key, one in at.items() if one["ratio"] == 0}
    own = [(dict(zip(places, key, strict=True)), one) for key, one in at.items()]
    groups = [
        row for one in cells for row in group_rows(one, groups_of(findings)) if one["k"] in (5, 10)
    ]
    levels = sorted({one["ratio"] for one in cells})
    pooled = [{**place, "ratio": None} for place, one in own if one["ratio"] == levels[-1]]
    corrupted = sorted({one["occluder"] for one in cells if is_corruption(one["occluder"])})
    models = sorted(whole)

    def score(value: float) -> dict[str, float]:
        around = {"low": value - 0.02, "high": value + 0.02}
        return {"value": value, **around, "chance": 0.11, "constant": 0.24}

    return {
        "labels": {
            "names": [*FINDINGS],
            "origin": "labels.csv",
            "uncertain": "positive",
            "prevalence": {name: 0.3 - number / 20 for number, name in enumerate(FINDINGS)},
            "missing": 3,
            "notes": ["Hernia: few positives."],
        },
        "rankings": [
            {
                **place,
                "recall_1": one["recall"] / 4,
                "recall_5": one["recall"],
                "recall_10": one["recall"] * 1.2,
                "mean_rank": 210.4 * (1 + place["ratio"]),
                "median_rank": one["median_rank"],
                "mrr": one["mrr"],
                "rsum": 245 * one["recall"],
                "ways": 1,
            }
            for place, one in own
        ],
        "relevance": [
            {
                **place,
                "k": k,
                "measures": {
                    name: score(0.3 + one["recall"] / (2 + number))
                    for number, name in enumerate(schema.MEASURES)
                },
            }
            for place, one in own
            for k in (5, 10)
        ],
        "agreement": [
            {
                **place,
                "scores": {
                    "micro": score(0.3 + one["recall"] / 2),
                    "macro": score(0.2 + one["recall"] / 2),
                    "micro_5": None,
                    "macro_5": None,
                },
                "classes": [
                    {
                        "label": name,
                        "positives": 300 - number,
                        "precision": one["recall"],
                        "recall": one["recall"] / 2,
                        "f1": None if name == "Hernia" else 0.66 * one["recall"],
                    }
                    for number, name in enumerate(FINDINGS)
                ],
            }
            for place, one in own
        ],
        "selective": [
            {
                **place,
                "k": 10,
                "confidence": 0.04 * recalled,
                "area": 0.8 - recalled,
                "low": 0.78 - recalled,
                "high": 0.82 - recalled,
                "random": 1 - recalled,
                "best": 0.5 - recalled / 2,
                "gain": 0.31,
                "risks": [0.4 + 0.06 * n - recalled / 2 for n in range(10)],
            }
            for place, recalled in (
                *((place, one["recall"]) for place, one in own),
                *((place, whole[place["model"]] / 2) for place in pooled),
            )
        ],
        "groups": groups,
        "group_notes": ["age/20: 2 groups of fewer than 5 patients are not named."],
        "members": {
            attribute: {
                group: base64.b64encode(bytes([number + 1] * 222)).decode()
                for number, group in enumerate(sizes)
            }
            for attribute, sizes in groups_of(findings).items()
        },
        "group_curves": [
            {
                "model": model,
                "direction": "image-to-text",
                "occluder": "block",
                "k": 10,
                "attribute": "sex",
                "group": "F",
                "verdict": "regressed",
                "difference": -11.5,
                "tolerance": 4.0,
                "p_value": 1e-4,
                "p_adjusted": 2e-3,
            }
            for model in models[:1]
        ],
        "vanished": [
            {"model": model, "attribute": "sex", "group": "O", "queries": 12}
            for model in models[:1]
        ],
        "corruptions": [
            {
                "model": model,
                "direction": "image-to-text",
                "k": 10,
                "reference": models[0],
                "mmi": 0.31,
                "mce": None if model == models[0] else 0.91,
                "relative_mce": None,
                "parts": [
                    {"corruption": name, "mmi": 0.3, "ce": 0.9, "relative_ce": 1.1}
                    for name in corrupted
                ],
            }
            for model in models
            if corrupted
        ],
    }


def group_rows(one: dict[str, Any], groups: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    """A cell's groups; the first of an attribute is lower, and falls further under blocking."""
    found = []
    for attribute, sizes in groups.items():
        for number, (group, queries) in enumerate(sizes.items()):
            lower = (0.04 if number == 0 else -0.02) * (1 + one["ratio"])
            hits = round(queries * max(0.01, one["recall"] - lower))
            gated = attribute in ("sex", "view") and one["baseline_hits"] is not None
            moved = 30 * (gated and group == "lateral" and one["model"] == NAMES[1])
            blocked = one["ratio"] > 0
            found.append(
                {
                    **{name: one[name] for name in ("model", "direction", "occluder", "ratio")},
                    "k": one["k"],
                    "attribute": attribute,
                    "group": group,
                    "queries": queries,
                    "patients": queries // 2,
                    "hits": hits,
                    "recall": hits / queries,
                    "ci_low": max(0.0, hits / queries - 0.03),
                    "ci_high": hits / queries + 0.03,
                    "retention": 1 - one["ratio"],
                    "gap": -lower,
                    "gap_low": -lower - 0.01,
                    "gap_high": -lower + 0.01,
                    "widening": -lower * one["ratio"] if blocked else None,
                    "widening_low": -lower * one["ratio"] - 0.01 if blocked else None,
                    "widening_high": -lower * one["ratio"] + 0.01 if blocked else None,
                    "widening_p": 0.001 + number / 9 if blocked else None,
                    "widening_p_adjusted": min(1.0, 0.004 + number / 3) if blocked else None,
                    "judged": queries >= 30,
                    "verdict": ("regressed" if moved else "same") if gated else "",
                    "tolerance": 9 if gated else None,
                    "baseline_hits": hits + moved if gated else None,
                    "lost": moved + 2 if gated else None,
                    "gained": 2 if gated else None,
                    "p_value": (1e-7 if moved else 1.0) if gated else None,
                    "p_adjusted": (1e-6 if moved else 1.0) if gated else None,
                }
            )
    return found


def map_record(number: int, name: str, grid: int = 4) -> dict[str, Any]:
    """Most is lost at row 3, column 2 of the frontal view; the lateral one has no picture."""

    def losses(scale: float, place: int) -> dict[str, list[float]]:
        value = [scale * (math.sin(at + number) / 9) for at in range(grid * grid)]
        value[place] = scale
        return {
            "value": value,
            "low": [one - scale / 8 for one in value],
            "high": [one + scale / 8 for one in value],
        }

    def spread(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.02, "high": value + 0.02}

    grey = base64.b64encode(bytes(range(0, 240, 20)) * 8).decode()
    return {
        "model": name,
        "direction": "image-to-text",
        "grid": grid,
        "ratio": 1 / grid**2,
        "fill": "black",
        "k": 10,
        "whole": spread(0.5),
        "views": [
            {
                "view": view,
                "queries": queries,
                "patients": queries - 3,
                "picture": {"width": 12, "height": 8, "grey": grey} if view == "PA" else None,
                "losses": {
                    "similarity": losses(0.05, place),
                    "rank": losses(21.0, place),
                    "recall": losses(0.11, place),
                },
            }
            for view, queries, place in (("PA", 1200, 2 * grid + 1), ("lateral", 25, 0))
        ],
        "placements": [
            {
                "ratio": ratio,
                "achieved": ratio,
                "mean": spread(0.5 - ratio),
                "worst_similarity": spread(0.3 - ratio),
                "worst_rank": spread(0.27 - ratio),
                "gap": spread(0.2),
            }
            for ratio in (1 / grid**2, 0.25)
        ],
    }


def recall(number: int, occluder: str, ratio: float, k: int) -> float:
    """The first model is at chance; the others start at different heights and fall differently."""
    chance = k / CANDIDATES
    if number == 0:
        return chance * 1.3
    start = (0.12 + 0.38 * ((number * 7) % 20) / 20) * math.pow(k / 5, 0.35)
    falls = math.exp(-HURTS.get(occluder, 1.0) * (1.2 + (number * 3) % 5 + number / 30) * ratio)
    return min(0.97, chance + start * falls)


def cell(
    number: int, name: str, occluder: str, ratio: float, k: int, *, baselines: bool = True
) -> dict[str, Any]:
    """One cell of the formula's curves."""
    hits = round(QUERIES * recall(number, occluder, ratio, k))
    value, spread = hits / QUERIES, 1.96 * math.sqrt(0.25 / QUERIES)
    moved = {1: 40 if ratio < 0.5 else 4, 2: -25 if k > 20 else 0}.get(number, 0)
    known = baselines and number != 4
    lost, gained = max(moved, 0) + 6, max(-moved, 0) + 6
    verdict = "new"
    if known:
        verdict = "same" if not moved else "within-tolerance"
        if abs(moved) > 18:
            verdict = "regressed" if moved > 0 else "improved"
    return {
        "id": f"{name}-{occluder}-{level_tag(occluder, ratio)}-k{k:03}",
        "model": name,
        "direction": "image-to-text",
        "occluder": occluder,
        "ratio": ratio,
        "severity": severity_of(occluder, ratio),
        "achieved": None if is_corruption(occluder) else ratio,
        "k": k,
        "recall": value,
        "hits": hits,
        "queries": QUERIES,
        "chance": k / CANDIDATES,
        "constant": min(0.9, 0.07 + 0.025 * math.sqrt(k)),
        "ci_low": max(0.0, value - spread),
        "ci_high": min(1.0, value + spread),
        "median_rank": 11.0 + number,
        "mrr": value / 2,
        "tied": 0.0,
        "verdict": verdict,
        "tolerance": 18,
        "baseline_hits": hits + moved if known else None,
        "baseline_queries": QUERIES if known else None,
        "baseline_from": f"base{number}" if known else None,
        "lost": lost if known else None,
        "gained": gained if known else None,
        "p_value": (1.0 if not moved else 10.0 ** (-abs(moved) / 8)) if known else None,
        "drift": None,
        "written": False,
        "hit_queries": base64.b64encode(bytes((hits + i) % 256 for i in range(222))).decode(),
    }


def origin(number: int, name: str, *, before: bool = False) -> dict[str, str]:
    """What a model was measured with; the second has new weights, the fourth new libraries."""
    weights = "3f2a" if before and number in (1, 2) else f"{number:02x}cc"
    library = "2.6.0" if before and number == 3 else "2.15.0"
    return {
        "weights": weights * 16,
        "corpus": "c0" * 32,
        "protocol": f"b{number % 10}" * 32,
        "precision": "fp32",
        "device": "cpu",
        "code": f"pytest-occlusion 0.1.0, engine 1, {name} revision 1",
        "libraries": f"python 3.11.7, torch {library}, numpy 2.4.6",
    }


def model(number: int, name: str) -> dict[str, Any]:
    """The model's part of the document."""
    found = origin(number, name)
    del found["corpus"]
    return {
        "family": name if name in NAMES else "open-clip",
        "variant": "RN-w16-l1-1-1-1@64px",
        "canvas": f"{name}-bicubic-crop-64",
        "settings": {"canvas-size": 64, "quick-gelu": True, "revision": 1},
        "assumed": {},
        "token_limit": 77,
        "truncated": 65 if number == 1 else 0,
        **found,
    }


def claim_records() -> list[dict[str, Any]]:
    """One claim of each outcome."""

    def estimate(label: str, value: float, threshold: float) -> dict[str, Any]:
        return {
            "label": label,
            "value": value,
            "low": value - 0.06,
            "high": value + 0.05,
            "threshold": threshold,
            "outcome": "supported",
        }

    return [
        {
            "claim": "best",
            "statement": "CXR-CLIP retrieves best in most cells",
            "outcome": "supported",
            "expected": "supported",
            "unit": "share of 48 cells",
            "estimates": [estimate("cxr-clip leads", 0.9, 0.5)],
            "notes": [],
        },
        {
            "claim": "flattest",
            "statement": "MedCLIP retains the largest share above chance",
            "outcome": "contradicted",
            "expected": None,
            "unit": "area under retention above chance, R@10",
            "estimates": [
                estimate("medclip - cxr-repair", -0.21, 0.0),
                estimate("medclip - cxr-clip", -0.33, 0.0),
            ],
            "notes": ["without clip: near chance at 0 %"],
        },
        {
            "claim": "border",
            "statement": "the border matters less than its area",
            "outcome": "no power",
            "expected": None,
            "unit": "points of R@10 at 36 % blocked",
            "estimates": [estimate("cxr-repair, border - block", 0.02, 0.0)],
            "notes": [],
        },
    ]


def timing(number: int, name: str) -> dict[str, Any]:
    """One pass; the last models come from the store."""
    return {
        "model": name,
        "fresh": number < 3,
        "draw_seconds": 10.6,
        "text_seconds": 1.6,
        "encode_seconds": 25.9 + number,
        "wait_seconds": 0.8,
        "rank_seconds": 0.05,
        "ranked": 14160,
        "radiographs": 1770,
        "peak_bytes": 1 << 30,
        "images_per_second": 821.5,
        "encoded_images": 21240,
        "pass": f"7de8687{number:05x}",
    }


def earlier(document: dict[str, Any]) -> dict[str, Any]:
    """The same run as the first version wrote it: without claims, baselines' origins, Holm."""
    later = ("baseline_from", "p_adjusted", "tied", "drift", "written")
    return {
        **{name: part for name, part in document.items() if name not in LATER},
        "schema": 1,
        "cells": [
            {name: value for name, value in one.items() if name not in later}
            for one in document["cells"]
        ],
        "models": {
            name: {field: value for field, value in one.items() if field != "protocol"}
            for name, one in document["models"].items()
        },
    }
