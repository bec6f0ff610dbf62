"""The curves: recall over the blocked share, for one model and occluder."""

from __future__ import annotations

from pytest_occlusion import CurveCheck


def test_curve(occlusion_curve: CurveCheck) -> None:
    """The curve as a whole has not moved: small losses at every ratio add up."""
    occlusion_curve.assert_accepted()
