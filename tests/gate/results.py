"""Hand-made results and provenances for the tests of what is built on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pytest_occlusion.engine.results import CellResult
from pytest_occlusion.gate.provenance import Provenance
from pytest_occlusion.suite.grid import Cell

PROVENANCE = Provenance(
    weights="3f2a" * 16,
    corpus="c0" * 32,
    protocol="b1" * 32,
    precision="fp32",
    device="cpu",
    code="pytest-occlusion 0.1.0, engine 1, clip revision 1",
    libraries="python 3.11.7, torch 2.6.0, numpy 2.1.0",
)


def result(hits: Sequence[bool] | int, queries: int = 0, **cell: Any) -> CellResult:
    """A cell whose queries hit as given, or whose first ``hits`` of ``queries`` do."""
    bits = [i < hits for i in range(queries)] if isinstance(hits, int) else list(hits)
    place = {
        "model": "clip",
        "direction": "image-to-text",
        "occluder": "block",
        "ratio": 0.25,
        "k": 10,
        **cell,
    }
    recall = sum(bits) / len(bits)
    return CellResult(
        cell=Cell(**place),
        recall=recall,
        hits=sum(bits),
        queries=len(bits),
        chance=0.01,
        constant=0.02,
        ci_low=recall,
        ci_high=recall,
        median_rank=1.0,
        mrr=recall,
        tied=0.0,
        hit_queries=np.array(bits, dtype=np.bool_),
    )
