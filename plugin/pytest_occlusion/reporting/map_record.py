"""Sensitivity maps as the plain data that a worker sends."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.engine.job import Condition, Measured
from pytest_occlusion.engine.session import Session
from pytest_occlusion.insight.sensitivity import Losses, SensitivityMap
from pytest_occlusion.reporting.timings import Record, timing_record


def map_record(
    session: Session, found: SensitivityMap, measured: Mapping[Condition, Measured]
) -> Record:
    """Everything the controller needs to know of one map; ints, floats, strings, lists, dicts.

    Args:
        session: Where it was measured.
        found: The map.
        measured: What was measured for it.
    """
    return {
        "map": {
            "model": found.model,
            "direction": "image-to-text",
            "grid": int(found.grid),
            "ratio": float(found.ratio),
            "fill": session.settings.fill,
            "k": int(found.k),
            "whole": asdict(found.whole),
            "views": [
                {
                    "view": one.view,
                    "queries": int(one.queries),
                    "patients": int(one.patients),
                    "picture": _picture(one.picture),
                    "losses": {name: _losses(losses) for name, losses in one.losses.items()},
                }
                for one in found.views
            ],
            "placements": [asdict(one) for one in found.placements],
        },
        "timings": [
            timing_record(found.model, ["image-to-text", shown.occluder, shown.ratio, 0], one)
            for shown, one in measured.items()
        ],
    }


def _losses(losses: Losses) -> dict[str, list[float]]:
    """Row by row from the top left; nine digits are more than float32 scores have."""
    return {
        name: [round(float(value), 9) for value in values.ravel()]
        for name, values in (("value", losses.value), ("low", losses.low), ("high", losses.high))
    }


def _picture(pixels: NDArray[np.uint8] | None) -> dict[str, Any] | None:
    if pixels is None:
        return None
    height, width = pixels.shape
    grey = base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode()
    return {"width": int(width), "height": int(height), "grey": grey}
