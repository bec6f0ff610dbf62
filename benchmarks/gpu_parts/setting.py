"""What every part is given, and what the machine is."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_parts.record import OutOfTimeError
from pytest_occlusion.engine.parallel import usable_cores

if TYPE_CHECKING:
    import torch

ROOT = Path(__file__).parents[2]


@dataclass
class Setting:
    """What a part is given.

    Attributes:
        device: Where encoders run.
        small: Small counts, tiny pictures and tiny towers, for a CPU.
        folder: For what a part writes; it is removed at the end.
        budget: Seconds for everything.
        processes: Checkpoints that are tried at a time, each in a process; 0 for none of its own.
    """

    device: torch.device
    small: bool
    folder: Path
    budget: float
    processes: int = 0
    start: float = field(default_factory=time.monotonic)

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def left(self) -> float:
        """Seconds that are left of the budget."""
        return self.budget - (time.monotonic() - self.start)

    def needs(self, seconds: float, what: str) -> None:
        """Leave it where no such time is left; a small run is never that long."""
        if self.left < (min(seconds, 1.0) if self.small else seconds):
            raise OutOfTimeError(f"{what} takes about {seconds:.0f} s, {self.left:.0f} s are left")

    def wait(self) -> None:
        """Let the device end what it was given: calls return before their work ends."""
        if self.on_gpu:
            import torch

            torch.cuda.synchronize(self.device)


def describe(device: torch.device, *, small: bool) -> dict[str, Any]:
    """What the machine and the libraries are; whatever nobody tells is left blank."""
    import torch

    names = ("torch", "torchvision", "transformers", "open_clip_torch", "timm", "numpy", "pillow")
    found: dict[str, Any] = {"device": str(device)}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        found["card"] = card.name
        found["GPU memory, GiB"] = round(card.total_memory / 2**30, 1)
        found["compute capability"] = f"{card.major}.{card.minor}"
        found["driver"] = _answer(
            "nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"
        )
        found["CUDA"] = str(torch.version.cuda)
        found["cuDNN"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
    found |= {name: _version(name) for name in ("pytest-occlusion", *names)}
    found |= {
        "python": platform.python_version(),
        "CPUs": usable_cores(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "date (UTC)": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "commit": _answer("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"),
        "sizes": "small" if small else "full",
        "torch threads": torch.get_num_threads(),
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    }
    return {name: value for name, value in found.items() if value != ""}


def paths() -> str:
    """``PYTHONPATH`` for another process, which may run in another folder."""
    places = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return os.pathsep.join(str(Path(place).absolute()) for place in places)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _answer(*command: str) -> str:
    """The first line that a program prints; blank where there is no such program."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().partition("\n")[0] if done.returncode == 0 else ""
