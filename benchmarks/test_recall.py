"""Every cell of the suite: Recall@k of one model, at one blocked share, against its baseline."""

from __future__ import annotations

from pytest_occlusion import CellCheck


def test_recall(occlusion_cell: CellCheck) -> None:
    """Recall@k lies within the tolerance of the stored snapshot."""
    occlusion_cell.assert_accepted()
