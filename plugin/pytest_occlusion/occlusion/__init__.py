"""Occlusion: which pixels of a canvas are blocked, and what they are replaced by.

Usable as a library on its own; needs nothing but torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_occlusion.occlusion.names import FILLS, OCCLUDERS

if TYPE_CHECKING:
    from pytest_occlusion.occlusion.apply import (
        Occlusion,
        achieved_area,
        occlude,
        prepare_occlusion,
    )

__all__ = ["FILLS", "OCCLUDERS", "Occlusion", "achieved_area", "occlude", "prepare_occlusion"]


def __getattr__(name: str) -> object:
    """Import torch only when something that needs it is asked for."""
    if name in {"Occlusion", "achieved_area", "occlude", "prepare_occlusion"}:
        from pytest_occlusion.occlusion import apply

        return getattr(apply, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
