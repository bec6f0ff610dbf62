"""The findings of Deanda et al. 2025 on this suite: supported, contradicted, or undecided."""

from __future__ import annotations

from pytest_occlusion import ClaimCheck


def test_claim(occlusion_claim: ClaimCheck) -> None:
    """The claim does not come to the opposite of what the suite expects; see the summary."""
    occlusion_claim.assert_expected()
