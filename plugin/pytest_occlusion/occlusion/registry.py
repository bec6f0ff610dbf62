"""The occluders: what they are called, what they block, and which function does it.

Read without importing torch: a function's module is imported when it is asked for.
"""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

from pytest_occlusion.occlusion.names import parse_tile, unknown

if TYPE_CHECKING:
    from pytest_occlusion.occlusion.masks import Occluder

OCCLUDERS: dict[str, tuple[str, str]] = {
    "block": ("one square at a random place", "pytest_occlusion.occlusion.masks:block"),
    "patches": (
        "random cells of a 14 x 14 grid (16 px on a 224 px canvas)",
        "pytest_occlusion.occlusion.masks:patches",
    ),
    "pixels": ("scattered single pixels", "pytest_occlusion.occlusion.masks:pixels"),
    "center": ("one square in the middle", "pytest_occlusion.occlusion.masks:center"),
    "border": ("all but a square in the middle", "pytest_occlusion.occlusion.masks:border"),
}
"""Registry: name -> what it blocks, and its function."""


def find_occluder(name: str) -> Occluder:
    """The occluder of a name: one of :data:`OCCLUDERS`, or a tile at the place that it names.

    Raises:
        OcclusionError: A name that is neither.
    """
    if placed := parse_tile(name):
        from pytest_occlusion.occlusion.masks import tile

        return tile(*placed)
    if name not in OCCLUDERS:
        raise unknown("occluder", name, OCCLUDERS)
    found: Occluder = pkgutil.resolve_name(OCCLUDERS[name][1])
    return found
