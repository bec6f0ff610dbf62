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

        What does not fit there together stays on the host until the turn of each batch comes.
        """
        import torch

        host = torch.from_numpy(np.array(canvases))
        if self._stream is None:
            return host.to(self._device), None
        try:  # pragma: no cover - needs a GPU
            with torch.cuda.stream(self._stream):
                # Torch's allocator keeps pinned memory until the copies out of it have ended.
                copied = host.pin_memory().to(self._device, non_blocking=True)
                return copied, self._stream.record_event()
        except torch.OutOfMemoryError:  # pragma: no cover - needs a GPU
            return host, None

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

    def finish(self) -> None:
        """Wait for what this thread has queued: on a GPU, calls return before their work ends."""
        if self._stream is not None:  # pragma: no cover - needs a GPU
            import torch

            torch.cuda.current_stream(self._device).synchronize()
