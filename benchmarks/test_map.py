"""Where each model looks: a tile slides over the radiographs (``--occlusion-map N``)."""

from __future__ import annotations

import math

from pytest_occlusion import SensitivityMap


def test_map(occlusion_map: SensitivityMap) -> None:
    """The map is complete; what it shows is recorded, not judged."""
    for view in occlusion_map.views:
        for losses in view.losses.values():
            assert losses.value.shape == (occlusion_map.grid, occlusion_map.grid)
            assert math.isfinite(float(losses.value.sum()))
