"""Device names, worker numbers and exact arithmetic."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pytest_occlusion.encoders import devices
from pytest_occlusion.encoders.devices import (
    exact_matmul,
    resolve_device,
    visible_gpus,
    worker_number,
)
from pytest_occlusion.errors import OcclusionError


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 0)
    assert resolve_device("auto") == torch.device("cpu")
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(OcclusionError, match="finds no usable GPU"):
        resolve_device("cuda")


@pytest.mark.parametrize(("worker", "index"), [("", 0), ("gw0", 0), ("gw3", 1), ("gw4", 0)])
def test_workers_share_out_the_gpus(
    monkeypatch: pytest.MonkeyPatch, worker: str, index: int
) -> None:
    gpus(monkeypatch, 2)
    monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
    assert resolve_device("auto") == torch.device("cuda", index)
    assert resolve_device("cuda") == torch.device("cuda", index)
    assert resolve_device("cuda:0") == torch.device("cuda", 0)


def test_gpus_are_counted_where_there_is_a_driver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(devices, "DRIVER_TRACES", [str(tmp_path / "none"), str(tmp_path)])
    assert visible_gpus() == 3
    monkeypatch.setattr(devices, "DRIVER_TRACES", [str(tmp_path / "none")])
    assert visible_gpus() == 0


def test_worker_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    assert worker_number() == 0
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw12")
    assert worker_number() == 12
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "master")
    assert worker_number() == 0


def test_wrong_names(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OcclusionError, match="'gpu' is not a device name"):
        resolve_device("gpu")
    gpus(monkeypatch, 1)
    with pytest.raises(OcclusionError, match="only 1 GPU"):
        resolve_device("cuda:1")


def test_exact_matmul_restores_what_was_set() -> None:
    torch.set_float32_matmul_precision("high")
    try:
        with exact_matmul():
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cuda.matmul.allow_tf32
            assert not torch.backends.cudnn.allow_tf32
            with exact_matmul():
                pass
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.skipif(
    not hasattr(torch.backends.cudnn, "conv"), reason="this torch has no fp32_precision switches"
)
def test_exact_matmul_after_the_new_switches() -> None:
    # In a process of its own: torch cannot go back from the new names to the old ones.
    script = """
import torch
from pytest_occlusion.encoders.devices import exact_matmul
torch.backends.cuda.matmul.fp32_precision = "tf32"
torch.backends.cudnn.conv.fp32_precision = "tf32"
with exact_matmul():
    print(torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision)
print(torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision)
"""
    command = [sys.executable, "-W", "error", "-c", script]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    inside, after = run.stdout.split("\n")[:2]
    assert "tf32" not in inside
    assert after == "tf32 tf32"
