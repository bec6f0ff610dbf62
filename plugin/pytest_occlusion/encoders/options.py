"""Checks of option values that several families share."""

from __future__ import annotations

from pytest_occlusion.errors import OcclusionError

LARGEST_SIDE = 4096
"""Pixels; beyond it a canvas size is a slip of the keyboard."""


def choose(option: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return an option's value when it is one of those allowed; raise OcclusionError otherwise."""
    if value not in allowed:
        raise OcclusionError(
            f"{option} = {value!r} is unknown", remedy=f"use one of {', '.join(allowed)}."
        )
    return value


def check_side(value: int, default: int) -> int:
    """Return a canvas size in pixels when it is from 1 to 4096; raise OcclusionError otherwise."""
    if not 1 <= value <= LARGEST_SIDE:
        raise OcclusionError(
            f"canvas-size = {value} is out of range",
            remedy=f"use {default}, upstream's, unless the weights were trained on another canvas.",
        )
    return value
