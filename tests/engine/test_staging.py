"""Canvases arrive on the device as they are, whatever else the device is doing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pytest_occlusion.engine.staging import Stage

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    ),
]


def canvases(count: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 64, 64), dtype=np.uint8)


@pytest.mark.parametrize("device", DEVICES)
def test_rows_are_those_of_the_host(device: str) -> None:
    shown = canvases(20, 0)
    shown.flags.writeable = False  # as the store gives them
    stage = Stage(torch.device(device))
    rows = stage.rows(stage.put(shown), 3, 9)
    assert rows.device.type == device
    np.testing.assert_array_equal(rows.cpu().numpy(), shown[3:9])


def test_what_cannot_be_pinned_stays_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(stream: object) -> None:
        raise RuntimeError("CUDA error: out of memory")  # what cudaHostAlloc comes to

    stage = Stage(torch.device("cpu"))
    monkeypatch.setattr(stage, "_stream", object())
    monkeypatch.setattr(torch.cuda, "stream", no_memory)
    staged = stage.put(shown := canvases(5, 0))
    np.testing.assert_array_equal(stage.rows(staged, 1, 4).numpy(), shown[1:4])


@pytest.mark.parametrize("device", DEVICES)
def test_copies_do_not_overtake_the_work_on_those_before(device: str) -> None:
    """Memory of a copy may be used again only when the work that was queued on it has ended."""
    stage = Stage(torch.device(device))
    found = []
    for seed in range(30):
        rows = stage.rows(stage.put(canvases(64, seed)), 0, 64).float()
        for _ in range(20):
            rows = rows + 1
        found.append(rows.sum(dtype=torch.float64))
        del rows
    for seed, total in enumerate(found):
        shown = canvases(64, seed)
        assert float(total) == shown.sum(dtype=np.float64) + 20 * shown.size
