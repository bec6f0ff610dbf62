"""The pipeline: canvases -> occlude on the device -> encode -> ranks, one pass for all ratios.

``measure(job)`` is the one narrow call through which everything above asks for numbers; a
distributed engine could answer it as well. Every stage looks into the store first and leaves its
result there, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import math
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.corpora.base import Corpus, Radiograph
from pytest_occlusion.corpora.task import Task
from pytest_occlusion.decoding import Decoders
from pytest_occlusion.digests import settings_digest
from pytest_occlusion.errors import OcclusionError, listed
from pytest_occlusion.grid import REVERSE
from pytest_occlusion.models import ModelRecord
from pytest_occlusion.occlusion.levels import is_corruption, level_sentence
from pytest_occlusion.parallel import batch_threads, threaded_map
from pytest_occlusion.progress import Progress
from pytest_occlusion.retrieval.ranks import Ranks, rank_groups
from pytest_occlusion.store import Store

if TYPE_CHECKING:
    import torch

    from pytest_occlusion.encoders.base import CanvasRecipe, Encoder

SHARD = 256
"""Radiographs per stored piece: what an interruption can lose at most."""

ENGINE = 2
"""Bumped whenever decoding, masks, fills, texts or ranks change their numbers; part of every key.

2: pictures of 10 to 14 bits in 16-bit files are scaled by the bits they use.
"""


@dataclass(frozen=True)
class Condition:
    """One way the radiographs are shown.

    Attributes:
        occluder: Name of the occluder or corruption.
        ratio: Blocked share, or severity over 5.
        fill: Name of the fill.
        seed: Mask seed.
    """

    occluder: str
    ratio: float
    fill: str
    seed: int

    @property
    def shown(self) -> Condition:
        """The same pictures under one name: at ratio 0 nothing else matters.

        And a corruption blocks nothing, so there is nothing to fill.
        """
        if is_corruption(self.occluder) and self.ratio:
            return Condition(self.occluder, self.ratio, "none", self.seed)
        return self if self.ratio else Condition("none", 0.0, "none", 0)

    @property
    def key(self) -> list[Any]:
        """Plain data for digests."""
        return [self.occluder, self.ratio, self.fill, self.seed]


@dataclass(frozen=True)
class Measured:
    """Ranks of one (model, condition, direction), and how they came about.

    Attributes:
        ranks: Of all queries, in corpus order.
        fields: Plain data: ``truncated`` texts, ``images_per_second`` ..., ``device``.
        fresh: Whether it was computed in this run and not read from the store.
        similarity: float32 ``[N]``, similarity (cosine) of each query with its positive, where the
            job asked for it.
    """

    ranks: Ranks
    fields: Mapping[str, Any]
    fresh: bool
    similarity: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Job:
    """Everything one model's measurement needs.

    Attributes:
        label: The model's name, for progress lines.
        record: What the model is.
        encoder: Opens it; called only when something is missing in the store.
        corpus: Where radiographs come from.
        task: What is retrieved from what.
        conditions: How the radiographs are shown.
        directions: Which way is retrieved.
        store: Where results are kept.
        batch_size: Canvases per forward pass.
        say: Where progress lines go.
        decoders: Where radiographs are decoded.
        similarity: Whether the similarity of each radiograph with its own text is wanted as well.
    """

    label: str
    record: ModelRecord
    encoder: Callable[[], Encoder]
    corpus: Corpus
    task: Task
    conditions: Sequence[Condition]
    directions: Sequence[str]
    store: Store
    batch_size: int
    say: Callable[[str], None]
    decoders: Decoders = field(default_factory=Decoders)
    similarity: bool = False


Want = tuple[Condition, str]


def measure(job: Job) -> dict[Want, Measured]:
    """Ranks for every (condition, direction) of a job.

    Raises:
        OcclusionError: Radiographs that cannot be decoded (all, before anything is encoded),
            embeddings that are not finite or zero, or memory that does not suffice for one image.
    """
    wants = [(condition, way) for condition in job.conditions for way in job.directions]
    keys = {want: _ranks_key(job, *want) for want in wants}
    found = {want: kept for want in wants if (kept := _kept(job, keys[want], want))}
    if len(found) == len(wants):
        return found
    with contextlib.ExitStack() as locks:
        # In one order for every worker, or two of them could wait for each other.
        for key in sorted({keys[want] for want in wants if want not in found}):
            locks.enter_context(job.store.lock(key))
        for want in wants:
            if want not in found and (kept := _kept(job, keys[want], want)):
                found[want] = kept
        missing = [want for want in wants if want not in found]
        if missing:
            for want, measured in _compute(job, missing):
                found[want] = measured
                _write_ranks(job.store, keys[want], measured)
    return found


def _compute(job: Job, wants: Sequence[Want]) -> Iterator[tuple[Want, Measured]]:
    import torch

    from pytest_occlusion.encoders.devices import exact_matmul, peak_bytes
    from pytest_occlusion.occlusion import achieved_area

    radiographs = [job.corpus.radiographs[row] for row in job.task.radiographs]
    encoder = job.encoder()
    shards = _shards(radiographs)
    canvases, drawn_seconds = _draw_all(job, encoder.canvas, shards)
    shown = list(dict.fromkeys(condition.shown for condition, _ in wants))
    with exact_matmul(), batch_threads(encoder.device) as threads:
        texts, text_fields = _texts(job, encoder, threads)
        images, image_fields = _images(job, encoder, shards, canvases, shown, threads)
        fields = {
            **text_fields,
            **image_fields,
            "draw_seconds": drawn_seconds,
            "radiographs": len(radiographs),
            "peak_bytes": peak_bytes(encoder.device),
            "pass": uuid.uuid4().hex[:12],
            "device": _device_name(encoder.device),
        }
        candidates = texts[job.task.candidate_text]
        groups = np.arange(len(candidates))

        def rank(want: Want) -> tuple[Want, Measured]:
            condition, direction = want
            start = time.perf_counter()
            queries = images[condition.shown]
            try:
                if direction == REVERSE:
                    ranks = rank_groups(candidates, queries, groups, job.task.radiograph_group)
                else:
                    ranks = rank_groups(queries, candidates, job.task.radiograph_group, groups)
            except OcclusionError as fault:
                level = level_sentence(condition.occluder, condition.ratio)
                where = f"model {job.label} at {level}"
                raise OcclusionError(f"{where}: {fault.problem}", remedy=fault.remedy) from fault
            seconds = time.perf_counter() - start
            area = achieved_area(
                condition.occluder, condition.ratio, encoder.canvas.height, encoder.canvas.width
            )
            own = {"rank_seconds": seconds, "achieved": area}
            similarity = None
            if job.similarity and direction != REVERSE:
                positives = candidates[torch.from_numpy(job.task.radiograph_group)]
                similarity = (queries * positives).sum(dim=1).float().cpu().numpy()
            return want, Measured(ranks, {**fields, **own}, fresh=True, similarity=similarity)

        yield from threaded_map(rank, wants, threads=threads)


def canvas_shards(job: Job) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """What a job's encoder is shown with nothing blocked, a shard at a time.

    Yields:
        int64 ``[n]`` rows of the task's radiographs, and their canvases uint8 ``[n, C, H, W]``.

    Raises:
        OcclusionError: Radiographs that cannot be decoded, all at once.
    """
    radiographs = [job.corpus.radiographs[row] for row in job.task.radiographs]
    ready, _ = _draw_all(job, job.encoder().canvas, _shards(radiographs))
    rows = np.arange(len(radiographs))
    for number, read in enumerate(ready):
        yield rows[number * SHARD : (number + 1) * SHARD], read()


def _shards(radiographs: Sequence[Radiograph]) -> list[Sequence[Radiograph]]:
    return [radiographs[at : at + SHARD] for at in range(0, len(radiographs), SHARD)]


# Canvases ---------------------------------------------------------------------------------------


def _draw_all(
    job: Job, recipe: CanvasRecipe, shards: Sequence[Sequence[Radiograph]]
) -> tuple[list[Callable[[], NDArray[np.uint8]]], float]:
    """Decode and resize every radiograph once; all faults are found before anything is encoded.

    Gives, per shard, a function that returns its canvases: from the store when there is one, so
    that memory holds one shard at a time.
    """
    start = time.perf_counter()
    total = sum(len(shard) for shard in shards)
    progress = Progress(f"{job.label}: decoding", total, "radiographs", job.say)
    ready: list[Callable[[], NDArray[np.uint8]]] = []
    faults: list[str] = []
    for shard in shards:
        key = _canvas_key(recipe, shard)
        with job.store.lock(key):
            kept = job.store.read("canvases", key)
            if kept is None:
                canvases = _draw(job.decoders, recipe, shard, faults, progress)
                if not faults:
                    job.store.write("canvases", key, {"canvases": canvases})
            else:
                canvases = kept.arrays["canvases"]
                progress.add(len(shard))
        ready.append(_reader(job.store, key, canvases))
    if faults:
        raise OcclusionError(
            f"{len(faults)} radiographs of the corpus {job.corpus.name!r} cannot be used:\n"
            + listed(faults),
            remedy="fetch these files again or leave them out; nothing was encoded",
        )
    return ready, time.perf_counter() - start


def _reader(store: Store, key: str, canvases: NDArray[np.uint8]) -> Callable[[], NDArray[np.uint8]]:
    if store.root is None:
        return lambda: canvases

    def read() -> NDArray[np.uint8]:
        entry = store.read("canvases", key)
        if entry is None:
            raise OcclusionError(
                "stored canvases were lost while the run went on",
                remedy="run again; they are drawn anew",
            )
        result: NDArray[np.uint8] = entry.arrays["canvases"]
        return result

    return read


def _draw(
    decoders: Decoders,
    recipe: CanvasRecipe,
    shard: Sequence[Radiograph],
    faults: list[str],
    progress: Progress,
) -> NDArray[np.uint8]:
    shape = (len(shard), recipe.channels, recipe.height, recipe.width)
    canvases = np.zeros(shape, dtype=np.uint8)
    faults += decoders.draw(recipe, shard, canvases, progress.add)
    return canvases


def _canvas_key(recipe: CanvasRecipe, shard: Sequence[Radiograph]) -> str:
    from importlib.metadata import version

    # Pillow 13 moves some resized pixels by one grey level against 8.4 to 12.3.
    return settings_digest(
        [ENGINE, recipe.name, version("pillow"), [radiograph.content for radiograph in shard]]
    )


# Embeddings -------------------------------------------------------------------------------------


def _texts(job: Job, encoder: Encoder, threads: int) -> tuple[torch.Tensor, dict[str, Any]]:
    """Embeddings of the distinct texts ``[T, D]`` on the device, once per model."""
    import torch

    texts = job.task.texts
    key = settings_digest([ENGINE, job.record.key, settings_digest(list(texts))])
    with job.store.lock(key):
        kept = job.store.read("texts", key)
        if kept is None:
            start = time.perf_counter()
            progress = Progress(f"{job.label}: encoding", len(texts), "texts", job.say)

            def embed(at: int) -> torch.Tensor:
                piece = encoder.embed_texts(texts[at : at + job.batch_size])
                progress.add(len(piece))
                return piece

            pieces = threaded_map(embed, range(0, len(texts), job.batch_size), threads=threads)
            embeddings = torch.cat(list(pieces))
            lengths = encoder.count_tokens(texts)
            fields = {
                "truncated": sum(length > encoder.token_limit for length in lengths),
                "texts": len(texts),
                "text_seconds": time.perf_counter() - start,
            }
            job.store.write("texts", key, {"embeddings": embeddings.cpu().numpy()}, fields)
            return embeddings, fields
    embeddings = torch.from_numpy(np.array(kept.arrays["embeddings"])).to(encoder.device)
    return embeddings, dict(kept.fields)


@dataclass
class _BatchLimit:
    """The batch size in force; falls when memory runs out and stays there."""

    size: int


def _images(
    job: Job,
    encoder: Encoder,
    shards: Sequence[Sequence[Radiograph]],
    canvases: Sequence[Callable[[], NDArray[np.uint8]]],
    conditions: Sequence[Condition],
    threads: int,
) -> tuple[dict[Condition, torch.Tensor], dict[str, Any]]:
    """Embeddings ``[N, D]`` on the device for every condition, shard by shard."""
    import torch

    total = sum(len(shard) for shard in shards) * len(conditions)
    progress = Progress(f"{job.label}: encoding", total, "occluded radiographs", job.say)
    limit = _BatchLimit(job.batch_size)
    seconds, waited, encoded = 0.0, 0.0, 0
    rows: dict[Condition, list[torch.Tensor]] = {condition: [] for condition in conditions}
    for shard, read in zip(shards, canvases, strict=True):
        keys = {condition: _embedding_key(job.record, condition, shard) for condition in conditions}
        done: dict[Condition, torch.Tensor] = {}
        for condition in conditions:
            kept = job.store.read("embeddings", keys[condition])
            if kept is not None:
                array = np.array(kept.arrays["embeddings"])
                done[condition] = torch.from_numpy(array).to(encoder.device)
                progress.add(len(shard))
        missing = [condition for condition in conditions if condition not in done]
        if missing:
            asked = time.perf_counter()
            shown = read()
            start = time.perf_counter()
            done |= _encode(encoder, shown, shard, missing, limit, threads, progress)
            arrays = {condition: done[condition].cpu().numpy() for condition in missing}
            end = time.perf_counter()  # on a GPU the copy to the host is what ends the work
            encoded += len(shard) * len(missing)
            for condition, array in arrays.items():
                job.store.write("embeddings", keys[condition], {"embeddings": array})
            seconds += end - start
            waited += start - asked + time.perf_counter() - end
        for condition in conditions:
            rows[condition].append(done[condition])
    fields = {
        "encode_seconds": seconds,
        "wait_seconds": waited,
        "encoded_images": encoded,
        "images_per_second": encoded / seconds if seconds else None,
        "batch_size": limit.size,
    }
    return {condition: torch.cat(pieces) for condition, pieces in rows.items()}, fields


def _encode(
    encoder: Encoder,
    canvases: NDArray[np.uint8],
    shard: Sequence[Radiograph],
    conditions: Sequence[Condition],
    limit: _BatchLimit,
    threads: int,
    progress: Progress,
) -> dict[Condition, torch.Tensor]:
    """Every condition of one shard, a batch at a time while it is on the device."""
    import torch

    def embed(piece: tuple[int, int, Sequence[Condition]]) -> list[torch.Tensor]:
        first, last, some = piece
        if last - first > limit.size:
            starts = range(first, last, limit.size)
            halves = [(at, min(at + limit.size, last), some) for at in starts]
            return [torch.cat(parts) for parts in zip(*map(embed, halves), strict=True)]
        results: list[torch.Tensor] = []
        try:
            batch = _encode_batch(encoder, canvases[first:last], shard[first:last], some)
            for embeddings in batch:
                results.append(embeddings)
                progress.add(last - first)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as fault:
            if not _is_out_of_memory(fault):
                raise
            if last - first == 1:
                raise OcclusionError(
                    f"memory does not suffice for one image on {encoder.device}",
                    remedy="use --occlusion-device cpu, or free the device",
                ) from fault
            limit.size = max(1, (last - first) // 2)
            progress.add(-len(results) * (last - first))  # they are done again in halves
        else:
            return results
        if encoder.device.type == "cuda":  # pragma: no cover - needs a GPU
            torch.cuda.empty_cache()
        return embed(piece)

    size = limit.size
    spans = [(at, min(at + size, len(shard))) for at in range(0, len(shard), size)]
    # Fewer batches than threads: the conditions of a batch are shared out too, or cores would idle.
    share = math.ceil(len(conditions) / math.ceil(threads / len(spans)))
    groups = [conditions[at : at + share] for at in range(0, len(conditions), share)]
    pieces = [(*span, group) for group in groups for span in spans]
    parts = list(threaded_map(embed, pieces, threads=threads))
    rows: dict[Condition, list[torch.Tensor]] = {condition: [] for condition in conditions}
    for (_, _, group), part in zip(pieces, parts, strict=True):
        for condition, embeddings in zip(group, part, strict=True):
            rows[condition].append(embeddings)
    return {condition: torch.cat(found) for condition, found in rows.items()}


def _encode_batch(
    encoder: Encoder,
    canvases: NDArray[np.uint8],
    radiographs: Sequence[Radiograph],
    conditions: Sequence[Condition],
) -> Iterator[torch.Tensor]:
    """Embeddings of one batch under each condition, in order."""
    import torch

    from pytest_occlusion.occlusion import Corrupted, Occlusion, prepare

    batch = torch.from_numpy(np.array(canvases)).to(encoder.device, non_blocking=True)
    keys = [radiograph.key for radiograph in radiographs]
    prepared: dict[tuple[str, str, int], Occlusion | Corrupted] = {}
    left = Counter((one.occluder, one.fill, one.seed) for one in conditions if one.ratio)
    for condition in conditions:
        canvas = batch
        if condition.ratio:
            how = (condition.occluder, condition.fill, condition.seed)
            if how not in prepared:
                prepared[how] = prepare(
                    batch,
                    name=condition.occluder,
                    fill=condition.fill,
                    keys=keys,
                    seed=condition.seed,
                )
            canvas = prepared[how].at(condition.ratio)
            left[how] -= 1
            if not left[how]:  # a map has hundreds of occluders, each with noise of its own
                del prepared[how]
        yield encoder.embed_canvases(canvas)


def _is_out_of_memory(fault: Exception) -> bool:
    import torch

    if isinstance(fault, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(fault)  # CPU allocators raise a plain RuntimeError
    return "out of memory" in text or "can't allocate memory" in text


def _embedding_key(record: ModelRecord, condition: Condition, shard: Sequence[Radiograph]) -> str:
    radiographs = [[radiograph.key, radiograph.content] for radiograph in shard]
    return settings_digest([ENGINE, record.key, condition.key, settings_digest(radiographs)])


def _device_name(device: torch.device) -> str:
    import torch

    if device.type == "cuda":  # pragma: no cover - needs a GPU
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


# Ranks ------------------------------------------------------------------------------------------


def _ranks_key(job: Job, condition: Condition, direction: str) -> str:
    return settings_digest(
        [
            ENGINE,
            job.record.key,
            condition.shown.key,
            direction,
            job.corpus.fingerprint,
            job.task.digest,
        ]
    )


def _kept(job: Job, key: str, want: Want) -> Measured | None:
    """What the store has, if that is all that the job asks for."""
    found = _read_ranks(job.store, key)
    asked = job.similarity and want[1] != REVERSE
    return None if found and asked and found.similarity is None else found


def _read_ranks(store: Store, key: str) -> Measured | None:
    entry = store.read("ranks", key)
    if entry is None:
        return None
    fields = dict(entry.fields)
    ranks = Ranks(
        **{
            name: entry.arrays[name].astype(np.int64)
            for name in ("above", "tied", "tied_positives", "positives")
        },
        candidates=fields.pop("candidates"),
    )
    return Measured(ranks, fields, fresh=False, similarity=entry.arrays.get("similarity"))


def _write_ranks(store: Store, key: str, measured: Measured) -> None:
    ranks = measured.ranks
    arrays = {
        name: getattr(ranks, name).astype(np.int32)
        for name in ("above", "tied", "tied_positives", "positives")
    }
    if measured.similarity is not None:
        arrays["similarity"] = measured.similarity
    store.write("ranks", key, arrays, {**measured.fields, "candidates": ranks.candidates})
