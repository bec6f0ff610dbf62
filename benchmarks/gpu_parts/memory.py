"""The part ``memory``: what happens on a real card whose memory does not suffice.

The cap is that of torch's allocator for this process; nobody else's memory is touched, and none of
it is managed memory.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from gpu_parts import towers
from gpu_parts.parity import FP32_APART, differences
from gpu_parts.record import Check, Finding, NeedsGpuError
from gpu_parts.setting import Setting
from gpu_parts.suites import made_up_corpus, session_of, settings_for
from pytest_occlusion.encoders import Encoder
from pytest_occlusion.encoders.devices import exact_matmul
from pytest_occlusion.engine.drawing import Shard, draw_shards
from pytest_occlusion.engine.embedding import embed_images
from pytest_occlusion.engine.job import Condition, Job
from pytest_occlusion.engine.pieces import in_shards
from pytest_occlusion.errors import OcclusionError

SHARE = 0.35
"""Of what a whole batch needs beyond the weights: two halvings, or three."""

Cap = Callable[[torch.device, int], contextlib.AbstractContextManager[None]]
"""Device and bytes -> a block in which this process gets no more than these."""


def memory(given: Setting) -> Iterator[Finding]:
    """A batch too large for a capped card comes to the same in halves; one image fails."""
    if not given.on_gpu:
        raise NeedsGpuError("a card's memory is capped")
    given.needs(20, "capping the memory")
    made = towers.write("clip ViT", given.folder / "memory", small=given.small)
    settings = settings_for(given, given.folder / "memory", {"model": (made, "fp32")})
    session = session_of(settings, made_up_corpus(256, 256))
    job = replace(
        session.job_of("model"),
        conditions=[Condition("block", ratio, "black", 0) for ratio in (0.0, 0.25)],
        batch_size=256,
    )
    yield from halved(job, session.encoder("model"), capped)
    session.close()


def halved(job: Job, encoder: Encoder, cap: Cap) -> Iterator[Finding]:
    """The checks, with a cap of any kind."""
    shards = draw_shards(job, encoder.canvas, in_shards(job.radiographs))[0]
    held = _held(encoder.device)
    free, told, peak = _embedded(job, encoder, shards)
    limit = held + int(SHARE * max(0, peak - held))
    with cap(encoder.device, limit):
        tight, after, most = _embedded(job, encoder, shards)
    again, _, _ = _embedded(job, encoder, shards)
    for state, size, bytes_held in (
        ("uncapped", told["batch_size"], peak),
        ("capped", after["batch_size"], most),
    ):
        yield {"state": state, "batch that held": size, "peak MiB": round(bytes_held / 2**20)}
    yield f"cap {limit / 2**20:,.0f} MiB; weights {held / 2**20:,.0f} MiB"
    size = after["batch_size"]
    less = 0 < size < told["batch_size"]
    yield Check("capped, batch that held", size, f"less than {told['batch_size']}", less)
    apart = max(differences(tight[one].cpu(), free[one].cpu())["apart"] for one in free)
    yield Check("capped against uncapped", apart, f"at most {FP32_APART:g}", apart <= FP32_APART)
    apart = max(differences(again[one].cpu(), free[one].cpu())["apart"] for one in free)
    yield Check("uncapped again", apart, "0", apart == 0, must=False)
    yield from refused(job, encoder, shards, cap, limit)


def refused(
    job: Job, encoder: Encoder, shards: list[Shard], cap: Cap, limit: int
) -> Iterator[Finding]:
    """One image that does not fit is an error that says so, and what to do."""

    def greedy(canvases: torch.Tensor) -> torch.Tensor:
        held = torch.empty(limit + 2**20, dtype=torch.uint8, device=canvases.device)
        found = encoder.embed_canvases(canvases)
        del held
        return found

    said = "nothing was raised"
    try:
        with cap(encoder.device, limit):
            _embedded(job, replace(encoder, embed_canvases=greedy), shards)
    except OcclusionError as fault:
        said = str(fault)
    except Exception as fault:
        said = f"{type(fault).__name__}: {fault}"
    line = said.partition("\n")[0][:120]
    clear = "memory does not suffice for one image" in said
    yield Check("one image that does not fit", line, "a clear error", clear)


def _embedded(
    job: Job, encoder: Encoder, shards: list[Shard]
) -> tuple[dict[Condition, torch.Tensor], dict[str, Any], int]:
    """Embeddings, what they cost, and the peak of memory."""
    on_gpu = encoder.device.type == "cuda"
    gc.collect()
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(encoder.device)
    shown = [condition.shown for condition in job.conditions]
    with exact_matmul():
        found, fields = embed_images(job, encoder, shards, shown, 1)
    peak = torch.cuda.max_memory_allocated(encoder.device) if on_gpu else 0
    return {one: rows.cpu() for one, rows in found.items()}, fields, peak


def _held(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


@contextlib.contextmanager
def capped(device: torch.device, most: int) -> Iterator[None]:
    """Let torch take no more than so many bytes of a card."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, most / total), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        torch.cuda.empty_cache()
