"""Whom each model fails: every curve again for the groups that ``group-by`` names."""

from __future__ import annotations

from pytest_occlusion import GroupCheck


def test_group(occlusion_group: GroupCheck) -> None:
    """No group that the suite gates has changed, even where the whole has not."""
    occlusion_group.assert_accepted()
