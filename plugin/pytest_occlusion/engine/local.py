"""The engine of this process: threads on a CPU, one stream of batches on a GPU."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pytest_occlusion.corpora.base import Radiograph
from pytest_occlusion.encoders.base import Encoder
from pytest_occlusion.engine.drawing import Shard, draw_shards
from pytest_occlusion.engine.embedding import embed_batches, embed_images
from pytest_occlusion.engine.job import Condition, Job, Want
from pytest_occlusion.engine.parallel import batch_map, batch_threads
from pytest_occlusion.engine.pieces import Answer, Floats, Slice, answered, asked_of

if TYPE_CHECKING:
    import torch


@contextmanager
def local_engine(job: Job) -> Iterator[LocalEngine]:
    """The engine, with torch set up for exact products and for batches side by side."""
    encoder = job.encoder()  # imports torch in its own way, so before anything else does

    from pytest_occlusion.encoders.devices import exact_matmul

    with exact_matmul(), batch_threads(encoder.device) as threads:
        yield LocalEngine(job, encoder, threads)


@dataclass
class LocalEngine:
    """See :class:`pieces.Engine`."""

    job: Job
    encoder: Encoder
    threads: int
    _drawn: list[Shard] = field(default_factory=list)

    @property
    def device(self) -> str:
        """``cpu``, or the GPU by its name."""
        return device_name(self.encoder)

    def draw(self, shards: Sequence[Sequence[Radiograph]]) -> list[str]:
        """Draw what the store has not."""
        self._drawn, faults = draw_shards(self.job, self.encoder.canvas, shards)
        return faults

    def texts(self, batches: Sequence[Sequence[str]]) -> Iterator[tuple[Floats, list[int]]]:
        """Embed batches of texts."""
        return embed_batches(self.encoder, batches, self.threads)

    def images(
        self, shards: Sequence[Sequence[Radiograph]], conditions: Sequence[Condition]
    ) -> tuple[dict[Condition, torch.Tensor], dict[str, Any]]:
        """Embed what was drawn; the embeddings stay on the device."""
        return embed_images(self.job, self.encoder, self._drawn, conditions, self.threads)

    def rows(self, want: Want, images: dict[Condition, torch.Tensor], texts: Floats) -> None:
        """All are ranked together."""

    def ranks(
        self, slices: Sequence[Slice], images: dict[Condition, torch.Tensor], texts: Floats
    ) -> Iterator[tuple[Answer, float]]:
        """Rank on the device, several slices side by side."""
        import torch

        candidates = torch.from_numpy(texts).to(self.encoder.device)

        def rank(one: Slice) -> tuple[Answer, float]:
            start = time.perf_counter()
            shown = images[one.condition.shown]
            queries, others = (candidates, shown) if one.reverse else (shown, candidates)
            answer = answered(queries[one.first : one.last], others, asked_of(self.job, one))
            return answer, time.perf_counter() - start

        yield from batch_map(rank, slices, threads=self.threads)

    def peak_bytes(self) -> int | None:
        """Of the GPU, or of this process."""
        from pytest_occlusion.encoders.devices import peak_bytes

        return peak_bytes(self.encoder.device)


def device_name(encoder: Encoder) -> str:
    """What results call the device of an encoder."""
    if encoder.device.type != "cuda":
        return encoder.device.type
    import torch  # pragma: no cover - needs a GPU

    return f"cuda ({torch.cuda.get_device_name(encoder.device)})"  # pragma: no cover
