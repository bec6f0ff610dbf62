"""Canvases on their way to the device: copied while the device works on those before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Staged = tuple["torch.Tensor", Any]
"""Canvases uint8 ``[n, C, H, W]`` that are on the device, or will be before anything there reads
them, and on a GPU the event that ends their copy."""


class Stage:
    """The way from host to device: plain on a CPU; pinned, on a stream of its own, on a GPU."""

    def __init__(self, device: torch.device) -> None:
        """Lead to one device."""
        import torch

        self._device = device
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def put(self, canvases: NDArray[np.uint8]) -> Staged:
        """Start a copy of host canvases ``[n, C, H, W]``; on a GPU it is not waited for.

        What does not fit there together, or cannot be pinned, stays on the host until the turn of
        each batch comes.
        """
        import torch

        if self._stream is None:
            return torch.from_numpy(np.array(canvases)).to(self._device), None
        try:
            with torch.cuda.stream(self._stream):  # pragma: no cover - needs a GPU
                host = torch.empty(canvases.shape, dtype=torch.uint8, pin_memory=True)
                host.numpy()[...] = canvases
                # Torch's allocator keeps pinned memory until the copies out of it have ended.
                return host.to(self._device, non_blocking=True), self._stream.record_event()
        except RuntimeError:  # torch's own of the device's memory, and CUDA's of memory to pin
            return torch.from_numpy(np.array(canvases)), None

    def rows(self, staged: Staged, first: int, last: int) -> torch.Tensor:
        """Some of them; work queued on this thread's stream from now on finds them complete."""
        canvases, arrived = staged
        if arrived is not None:  # pragma: no cover - needs a GPU
            import torch

            stream = torch.cuda.current_stream(self._device)
            stream.wait_event(arrived)
            # Their memory was taken on the copying stream: it must not be given to the next copy
            # while this one still reads it.
            canvases.record_stream(stream)
        return canvases[first:last].to(self._device, non_blocking=True)
