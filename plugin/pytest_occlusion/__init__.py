"""pytest-occlusion: how much report retrieval is lost when part of the radiograph is blocked?

The names below are the public interface. They are imported when first used, so that importing this
package, and starting pytest with its plugin, costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_occlusion.corpora import Corpus, load_corpus
    from pytest_occlusion.encoders import Encoder, load_encoder
    from pytest_occlusion.errors import OcclusionError
    from pytest_occlusion.hooks.checks import CellCheck, ClaimCheck, CurveCheck, GroupCheck
    from pytest_occlusion.insight.sensitivity import SensitivityMap
    from pytest_occlusion.occlusion import corrupt, occlude
    from pytest_occlusion.retrieval.ranks import Ranks, rank_candidates
    from pytest_occlusion.retrieval.recall import recall_at_k

__all__ = [
    "CellCheck",
    "ClaimCheck",
    "Corpus",
    "CurveCheck",
    "Encoder",
    "GroupCheck",
    "OcclusionError",
    "Ranks",
    "SensitivityMap",
    "corrupt",
    "load_corpus",
    "load_encoder",
    "occlude",
    "rank_candidates",
    "recall_at_k",
]

_HOMES = {
    "CellCheck": "hooks.checks",
    "ClaimCheck": "hooks.checks",
    "Corpus": "corpora",
    "CurveCheck": "hooks.checks",
    "Encoder": "encoders",
    "GroupCheck": "hooks.checks",
    "OcclusionError": "errors",
    "Ranks": "retrieval.ranks",
    "SensitivityMap": "insight.sensitivity",
    "corrupt": "occlusion",
    "load_corpus": "corpora",
    "load_encoder": "encoders",
    "occlude": "occlusion",
    "rank_candidates": "retrieval.ranks",
    "recall_at_k": "retrieval.recall",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module."""
    if name == "__version__":
        from importlib.metadata import version

        return version("pytest-occlusion")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
