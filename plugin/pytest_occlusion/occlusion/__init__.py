"""Occlusion: which pixels of a canvas are blocked, and what they are replaced by.

And corruptions of the same canvases, to set occlusion beside them. Usable as a library on its own:
needs torch and Pillow, and imports no other room but :mod:`pytest_occlusion.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_occlusion.occlusion.names import CORRUPTIONS, FILLS
from pytest_occlusion.occlusion.registry import OCCLUDERS

if TYPE_CHECKING:
    from pytest_occlusion.occlusion.apply import Prepared, achieved_area, corrupt, occlude, prepare

__all__ = [
    "CORRUPTIONS",
    "FILLS",
    "OCCLUDERS",
    "Prepared",
    "achieved_area",
    "corrupt",
    "occlude",
    "prepare",
]


def __getattr__(name: str) -> object:
    """Import torch only when something that needs it is asked for."""
    if name in __all__:  # the names of occluders and fills are already here
        from pytest_occlusion.occlusion import apply

        return getattr(apply, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
