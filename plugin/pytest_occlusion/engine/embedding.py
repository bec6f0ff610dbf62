"""Embeddings: texts once, radiographs once per condition, batch after batch.

One pass over the canvases does all conditions: a batch is occluded on the device in every way that
is asked for while it is there. The batches of all shards are one queue for the threads; canvases
are read ahead of it and finished embeddings written behind it, so that neither is waited for.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_occlusion.corpora.base import Radiograph
from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.corpora.progress import Progress
from pytest_occlusion.encoders.base import Encoder
from pytest_occlusion.engine.drawing import Shard
from pytest_occlusion.engine.job import ENGINE, Bench, Condition
from pytest_occlusion.engine.models import ModelRecord
from pytest_occlusion.engine.parallel import batch_map
from pytest_occlusion.engine.pieces import EVEN, Floats
from pytest_occlusion.engine.places import Places, filled, find, noted
from pytest_occlusion.engine.staging import Stage, Staged
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import torch


def embed_batches(
    encoder: Encoder, batches: Sequence[Sequence[str]], threads: int
) -> Iterator[tuple[Floats, list[int]]]:
    """Embeddings ``[n, D]`` and numbers of tokens of each batch of texts, in order."""

    def embed(texts: Sequence[str]) -> tuple[Floats, list[int]]:
        return encoder.embed_texts(texts).cpu().numpy(), encoder.count_tokens(texts)

    yield from batch_map(embed, batches, threads=threads)


def embedding_keys(
    record: ModelRecord, radiographs: Sequence[Radiograph], conditions: Sequence[Condition]
) -> dict[Condition, str]:
    """Under which the store keeps the embeddings of a shard under each condition."""
    # A map has hundreds of conditions: radiographs are digested once.
    contents = settings_digest([[one.key, one.content] for one in radiographs])
    return {one: settings_digest([*embedding_owner(record, one), contents]) for one in conditions}


def embedding_owner(record: ModelRecord, condition: Condition) -> list[Any]:
    """What the embedding of a radiograph depends on besides the radiograph; plain data."""
    return [ENGINE, record.key, condition.key]


def radiograph_digests(radiographs: Sequence[Radiograph]) -> list[str]:
    """What of each radiograph decides its embeddings: its pixels, and the key of its masks."""
    return [settings_digest([one.key, one.content]) for one in radiographs]


@dataclass(frozen=True)
class _Piece:
    """Work for one thread: rows of a shard under some conditions."""

    shard: Shard
    rows: Sequence[int]  # ascending; a ``range`` where they lie together
    conditions: Sequence[Condition]


@dataclass(frozen=True)
class _Part:
    """One shard: embeddings ``[n, D]`` that are done, on the host; their keys; what is to do."""

    shard: Shard
    done: dict[Condition, torch.Tensor]
    keys: Mapping[Condition, str]
    pieces: Sequence[_Piece]
    known: Mapping[Condition, Mapping[int, Floats]]  # rows that a sample has encoded

    def whole(self, condition: Condition, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """The embeddings of all radiographs, from those of the pieces and what was known."""
        import torch

        found, known = torch.cat([*parts]), self.known.get(condition)
        if not known:
            return found
        return torch.from_numpy(filled(len(self.shard.radiographs), known, found.numpy()))


def embed_images(
    bench: Bench,
    encoder: Encoder,
    shards: Sequence[Shard],
    conditions: Sequence[Condition],
    threads: int,
) -> tuple[dict[Condition, torch.Tensor], dict[str, Any]]:
    """Embeddings ``[N, D]`` on the device for every condition, and what they cost.

    Raises:
        OcclusionError: Memory does not suffice for one image.
    """
    import torch

    total = sum(len(shard.radiographs) for shard in shards) * len(conditions)
    encoded = 0
    with Progress(f"{bench.label}: encoding", total, "occluded radiographs", bench.say) as progress:
        done = _Pass(encoder, Stage(encoder.device), progress, bench.batch_size)
        parts = _parts(bench, encoder, shards, conditions, threads, progress)

        def pieces() -> Iterator[tuple[_Piece, Staged]]:
            for part in parts:
                if part.pieces:
                    staged = done.stage.put(part.shard.canvases())
                    yield from ((piece, staged) for piece in part.pieces)

        start = time.perf_counter()
        ahead = _ahead(encoder.device.type, threads, [len(part.pieces) for part in parts])
        with closing(batch_map(done.timed, pieces(), threads=threads, ahead=ahead)) as results:
            for part in parts:
                rows: dict[Condition, list[torch.Tensor]] = {}
                found = islice(results, len(part.pieces))
                for piece, embedded in zip(part.pieces, found, strict=True):
                    for condition, embeddings in zip(piece.conditions, embedded, strict=True):
                        rows.setdefault(condition, []).append(embeddings)
                for condition, several in rows.items():
                    part.done[condition] = part.whole(condition, several)
                    array = part.done[condition].numpy()
                    bench.store.write("embeddings", part.keys[condition], {"embeddings": array})
                encoded += sum(len(one.rows) * len(one.conditions) for one in part.pieces)
    seconds = sum(done.busy) / max(1, threads)
    fields = {
        "encode_seconds": seconds,
        "wait_seconds": max(0.0, time.perf_counter() - start - seconds) if encoded else 0.0,
        "encoded_images": encoded,
        "images_per_second": encoded / seconds if seconds else None,
        "batch_size": done.batch_size,
    }
    whole = {c: torch.cat([part.done[c] for part in parts]) for c in conditions}
    return {c: embeddings.to(encoder.device) for c, embeddings in whole.items()}, fields


def _ahead(device: str, threads: int, pieces: Sequence[int]) -> int | None:
    """How many pieces wait for a thread; ``None`` for all, as nothing is read meanwhile.

    A GPU is done with a piece before a shard is read, so the next shard is read while all pieces of
    the one before it wait.
    """
    if device != "cpu":
        return 1 + max(pieces, default=0)
    return threads if threads > 1 else None


def _parts(
    bench: Bench,
    encoder: Encoder,
    shards: Sequence[Shard],
    conditions: Sequence[Condition],
    threads: int,
    progress: Progress,
) -> list[_Part]:
    """What the store has of each shard, and how the rest is cut into pieces."""
    import torch

    size = bench.batch_size
    later = sum(math.ceil(len(shard.radiographs) / size) for shard in shards)
    parts = []
    owner = partial(embedding_owner, bench.record)
    # Of all that a sample encoded under a condition, and the same for every shard: read once.
    notes = cache(lambda one: noted(bench.store, "embeddings", owner(one)))
    for shard in shards:
        count = len(shard.radiographs)
        done: dict[Condition, torch.Tensor] = {}
        keys = embedding_keys(bench.record, shard.radiographs, conditions)
        for condition, key in keys.items():
            if kept := bench.store.read("embeddings", key):
                done[condition] = torch.from_numpy(np.array(kept.arrays["embeddings"]))
                progress.add(count)
        missing = sorted((one for one in conditions if one not in done), key=_way)
        known = _known(bench, shard, {one: notes(one) for one in missing})
        untouched = [one for one in missing if one not in known]
        groups = 1 if threads == 1 else math.ceil(EVEN * threads / later)
        share = max(1, math.ceil(len(untouched) / groups))
        asked: list[tuple[Sequence[int], Sequence[Condition]]] = [
            (range(count), untouched[at : at + share]) for at in range(0, len(untouched), share)
        ]
        for condition, rows in known.items():
            progress.add(len(rows))
            if left := [at for at in range(count) if at not in rows]:
                asked.append((left, [condition]))
                continue
            array = filled(count, rows)
            done[condition] = torch.from_numpy(array)
            bench.store.write("embeddings", keys[condition], {"embeddings": array})
        pieces = [
            _Piece(shard, rows[first : first + size], some)
            for rows, some in asked
            for first in range(0, len(rows), size)
        ]
        parts.append(_Part(shard, done, keys, pieces, known))
        later -= math.ceil(count / size)
    return parts


def _known(
    bench: Bench, shard: Shard, notes: Mapping[Condition, Places]
) -> dict[Condition, dict[int, Floats]]:
    """What a sample has encoded of a shard, of the conditions under which it has any."""
    noted_of = {condition: places for condition, places in notes.items() if places}
    if not noted_of:  # of nearly all runs: radiographs need not be digested one by one
        return {}
    digests = radiograph_digests(shard.radiographs)
    found = {one: find(bench.store, "embeddings", ps, digests) for one, ps in noted_of.items()}
    return {condition: rows for condition, rows in found.items() if rows}


@dataclass
class _Pass:
    """One pass over the canvases, by several threads."""

    encoder: Encoder
    stage: Stage  # the way to its device
    progress: Progress  # counts canvases under each condition
    batch_size: int  # falls when memory runs out, and stays there
    busy: list[float] = field(default_factory=list)  # seconds that each piece took

    def timed(self, work: tuple[_Piece, Staged]) -> list[torch.Tensor]:
        start = time.perf_counter()
        # To the host from here, where all that is queued is this piece: whoever copies a result
        # while the next piece runs waits for that too. And on a GPU calls return before they end.
        found = [embeddings.cpu() for embeddings in self.embed(*work)]
        self.busy.append(time.perf_counter() - start)
        return found

    def embed(self, piece: _Piece, staged: Staged) -> list[torch.Tensor]:
        """Embeddings of a piece, one tensor per condition; in halves where memory runs out."""
        import torch

        count = len(piece.rows)
        if count > self.batch_size:
            size = self.batch_size
            smaller = [
                replace(piece, rows=piece.rows[at : at + size]) for at in range(0, count, size)
            ]
            embedded = [self.embed(one, staged) for one in smaller]
            return [torch.cat(several) for several in zip(*embedded, strict=True)]
        results: list[torch.Tensor] = []
        try:
            first = piece.rows[0]
            canvases = self.stage.rows(staged, first, piece.rows[-1] + 1)
            if not isinstance(piece.rows, range):
                canvases = canvases[[at - first for at in piece.rows]]
            for embeddings in _embed_batch(self.encoder, piece, canvases):
                results.append(embeddings)
                self.progress.add(count)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as fault:
            # CPU allocators and CUDA's libraries raise a plain RuntimeError.
            said = re.search("out of memory|can't allocate memory|ALLOC_FAILED", str(fault))
            if not said and not isinstance(fault, (torch.OutOfMemoryError, MemoryError)):
                raise
            if count == 1:
                raise OcclusionError(
                    f"memory does not suffice for one image on {self.encoder.device}",
                    remedy="use --occlusion-device cpu, or free the device",
                ) from fault
            self.batch_size = max(1, count // 2)
            self.progress.add(-len(results) * count)  # they are done again in halves
        else:
            return results
        if self.encoder.device.type == "cuda":  # pragma: no cover - needs a GPU
            torch.cuda.empty_cache()
        return self.embed(piece, staged)


def _embed_batch(encoder: Encoder, piece: _Piece, batch: torch.Tensor) -> Iterator[torch.Tensor]:
    """Embeddings of one batch of canvases under each condition, in order."""
    from pytest_occlusion.occlusion import prepare

    keys = [piece.shard.radiographs[at].key for at in piece.rows]
    # One way at a time: a map has hundreds of occluders, each with noise of its own.
    for (bare, name, fill, seed), alike in groupby(piece.conditions, _way):
        prepared = None if bare else prepare(batch, name=name, fill=fill, keys=keys, seed=seed)
        for condition in alike:
            canvases = prepared.at(condition.ratio) if prepared else batch
            yield encoder.embed_canvases(canvases)


def _way(condition: Condition) -> tuple[bool, str, str, int]:
    """What conditions of the same masks share."""
    return not condition.ratio, condition.occluder, condition.fill, condition.seed
