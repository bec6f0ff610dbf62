"""Canvases on their way to the device: copied while the device works on those before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Staged:
    """Canvases that are on the device, or will be before anything there reads them.

    Attributes:
        canvases: uint8 ``[n, C, H, W]``.
        arrived: On a GPU, the event that ends their copy; ``None`` where there was none.
    """

    canvases: torch.Tensor
    arrived: Any = None

    def rows(self, first: int, last: int) -> torch.Tensor:
        """Some of them; work queued on this thread's stream from now on finds them complete."""
        if self.arrived is not None:  # pragma: no cover - needs a GPU
            import torch

            stream = torch.cuda.current_stream(self.canvases.device)
            stream.wait_event(self.arrived)
            # Their memory was taken on the copying stream: it must not be given to the next copy
            # while this one still reads it.
            self.canvases.record_stream(stream)
        return self.canvases[first:last]


@dataclass(frozen=True)
class Stage:
    """The way from host to device: plain on a CPU; pinned, on a stream of its own, on a GPU.

    Attributes:
        device: Where canvases go.
        stream: The copying stream of a GPU.
    """

    device: torch.device
    stream: Any = None

    def put(self, canvases: NDArray[np.uint8]) -> Staged:
        """Start a copy of host canvases ``[n, C, H, W]``; on a GPU it is not waited for.

        Should they not fit on the GPU together, they stay on the host, and each batch is copied
        when its turn comes.
        """
        import torch

        host = torch.from_numpy(np.array(canvases))
        if self.stream is None:
            return Staged(host.to(self.device))
        return self._copy(host)  # pragma: no cover - needs a GPU

    def _copy(self, host: torch.Tensor) -> Staged:  # pragma: no cover - needs a GPU
        import torch

        try:
            with torch.cuda.stream(self.stream):
                # Torch's allocator keeps pinned memory until the copies out of it have ended.
                copied = host.pin_memory().to(self.device, non_blocking=True)
                return Staged(copied, self.stream.record_event())
        except torch.OutOfMemoryError:
            return Staged(host)

    def finish(self) -> None:
        """Wait for what this thread has queued: on a GPU, calls return before their work ends."""
        if self.stream is not None:  # pragma: no cover - needs a GPU
            import torch

            torch.cuda.current_stream(self.device).synchronize()


def stage_to(device: torch.device) -> Stage:
    """The way to one device."""
    if device.type != "cuda":
        return Stage(device)
    import torch  # pragma: no cover - needs a GPU

    stream: Any = torch.cuda.Stream  # torch does not type it
    return Stage(device, stream(device))  # pragma: no cover - needs a GPU
