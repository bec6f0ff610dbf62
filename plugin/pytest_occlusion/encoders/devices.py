"""Where an encoder runs and in which arithmetic."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import torch

PRECISIONS = ("fp32", "bf16", "fp16")
"""Arithmetic of the forward pass: exact float32, or autocast to one of the half formats."""

DRIVER_TRACES = (
    *("/dev/nvidiactl", "/proc/driver/nvidia", "/dev/kfd", "/dev/dxg"),
    "C:/Windows/System32/nvcuda.dll",
)
"""What GPU drivers leave: NVIDIA's on Linux (sandboxes show no ``/proc/driver``), AMD's, that of
WSL, NVIDIA's on Windows."""


def worker_number() -> int:
    """The number of this pytest-xdist worker (``gw3`` -> 3); 0 in a serial run."""
    found = re.fullmatch(r"gw(\d+)", os.environ.get("PYTEST_XDIST_WORKER", ""))
    return int(found[1]) if found else 0


def visible_gpus() -> int:
    """GPUs that torch may use here; none is initialised: workers are still to be started.

    Torch is imported only where there is a driver, so that the question costs nothing elsewhere.
    """
    if not any(Path(trace).exists() for trace in DRIVER_TRACES):
        return 0
    import torch

    return torch.cuda.device_count()


def resolve_device(name: str = "auto") -> torch.device:
    """Turn a device option into a device that exists here.

    ``"auto"`` is a GPU where there is one. Without an index the GPUs are dealt out to pytest-xdist
    workers by number; torch counts only those that ``CUDA_VISIBLE_DEVICES`` lists.

    Returns:
        The device; one of type ``cuda`` always carries its index.

    Raises:
        OcclusionError: The name is no device, or the device is not on this machine.
    """
    import torch

    asked = name.strip().lower()
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked == "auto":
        asked = "cuda" if gpus else "cpu"
    try:
        device = torch.device(asked)
    except RuntimeError as fault:
        raise OcclusionError(
            f"device {name!r} is not a device name", remedy="use auto, cpu, cuda or cuda:N."
        ) from fault
    if device.type != "cuda":
        return device
    if not gpus:
        raise OcclusionError(
            f"device {name!r} was asked for, but torch {torch.__version__} finds no usable GPU",
            remedy="use --occlusion-device cpu (or auto), or check the driver, "
            "CUDA_VISIBLE_DEVICES and that this torch was built with CUDA.",
        )
    index = worker_number() % gpus if device.index is None else device.index
    if index >= gpus:
        raise OcclusionError(
            f"device {name!r} was asked for, but there are only {gpus} GPUs",
            remedy=f"use an index from 0 to {gpus - 1}, or plain cuda.",
        )
    return torch.device("cuda", index)


def peak_bytes(device: torch.device) -> int | None:
    """Most bytes that torch held on a GPU, or this process at all; None where nothing tells."""
    if device.type == "cuda":  # pragma: no cover - needs a GPU
        import torch

        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")  # getrusage would count what the parent held at the fork
    if not status.exists():
        return None
    lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)


@contextlib.contextmanager
def exact_matmul() -> Iterator[None]:
    """Keep float32 products in float32 while the block runs, then restore what was set.

    TF32 rounds the factors to 10 bits, which moves embeddings by about 1e-3: more than a change of
    checkpoint may. The switches belong to the process, not to a thread, so enter this once
    around all threads that encode.
    """
    with contextlib.ExitStack() as stack:
        for get, put, exact in _fp32_switches():
            stack.callback(put, get())
            put(exact)
        yield


def _fp32_switches() -> list[tuple[Callable[[], Any], Callable[[Any], None], Any]]:
    """(get, set, exact value) of every switch that lets torch shorten a float32 factor."""
    import torch

    def attribute(owner: Any, name: str, exact: Any) -> tuple[Any, Any, Any]:
        return (lambda: getattr(owner, name)), (lambda value: setattr(owner, name, value)), exact

    switches = [
        (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
        attribute(torch.backends.cuda.matmul, "allow_tf32", False),
        attribute(torch.backends.cudnn, "allow_tf32", False),
    ]
    try:
        for get, _, _ in switches:
            get()
    except RuntimeError:
        # torch >= 2.9 refuses to answer by the old names once the caller has used the new ones.
        backends: Any = torch.backends
        cuda, cudnn, mkldnn = backends.cuda, backends.cudnn, backends.mkldnn
        owners = (cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv)
        return [attribute(owner, "fp32_precision", "ieee") for owner in owners]
    return switches


def forward_context(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """The autocast block for a forward pass; nothing for ``fp32``. Local to the thread."""
    import torch

    dtypes = {"bf16": torch.bfloat16, "fp16": torch.float16}
    if precision in dtypes:
        return torch.autocast(device.type, dtype=dtypes[precision])
    return contextlib.nullcontext()
