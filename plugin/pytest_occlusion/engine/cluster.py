"""The engine of a Ray cluster: pieces go to workers on its nodes, results come back.

Embeddings are kept in the store, by the workers where all nodes see it, else by this process.
"""

from __future__ import annotations

import contextlib
import pickle
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np

from pytest_occlusion.corpora.base import Radiograph
from pytest_occlusion.corpora.progress import Progress
from pytest_occlusion.encoders import FAMILIES, get_family
from pytest_occlusion.engine.crew import Crew, packed
from pytest_occlusion.engine.drawing import refuse_any
from pytest_occlusion.engine.embedding import embedding_keys
from pytest_occlusion.engine.job import Condition, Job, Want
from pytest_occlusion.engine.pieces import Answer, Floats, Slice, asked_of, shown_to
from pytest_occlusion.engine.ray_worker import Encoded, Ticket
from pytest_occlusion.engine.store import Store
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.retrieval.tiles import COLUMNS, distinct_rows, tile_rows
from pytest_occlusion.suite.grid import REVERSE
from pytest_occlusion.suite.settings import ModelSettings, RaySettings

NONE = np.empty(0, np.int64)
"""In place of the candidates' groups, which lie beside the candidates."""

SLICES = 8
"""Slices of queries per worker, over all that is ranked."""


@dataclass
class Cluster:
    """A connection to a cluster, for all models of a run."""

    address: str
    settings: RaySettings
    store: Store
    say: Callable[[str], None]
    crew: Crew | None = field(default=None, init=False)

    @contextlib.contextmanager
    def engine(self, job: Job, *, model: ModelSettings, device: str) -> Iterator[ClusterEngine]:
        """The engine of one job, whose model is open on the workers.

        Raises:
            OcclusionError: The cluster cannot be reached, or a node does not fit.
        """
        if self.crew is None:
            self.crew = Crew(self.address, self.settings, self.store, self.say)
        token = f"seen-{secrets.token_hex(8)}"
        ticket = Ticket(
            model=model,
            family=_packed_family(model.family),
            record=job.record,
            device=device,
            batch_size=job.batch_size,
            threads=self.settings.cpus,
            store=None if self.store.root is None else self.store.root.absolute(),
            token=token,
        )
        with _left(self.store, token):  # to the end, for workers that come later
            self.crew.open(ticket)
            yield ClusterEngine(job, self.crew)

    def close(self) -> None:
        """Let go of the cluster."""
        if self.crew is not None:
            self.crew.close()
            self.crew = None


def _packed_family(name: str) -> bytes:
    """A family that is not built in, for workers; it is found there by its module."""
    if name in FAMILIES:
        return b""
    try:
        return pickle.dumps(get_family(name))
    except (pickle.PicklingError, AttributeError, TypeError) as fault:
        raise OcclusionError(
            f"the family {name!r} cannot be told to workers: {fault}",
            remedy="define its functions at the top of a module of their own, which a conftest "
            "imports, and put that where the Python of every node finds it",
        ) from fault


@contextlib.contextmanager
def _left(store: Store, token: str) -> Iterator[None]:
    """Leave a mark in the store, by which workers know it; theirs are taken away too."""
    if store.root is None:
        yield
        return
    root = store.root
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        (root / token).write_text(token, encoding="ascii")
    except OSError:  # a store that cannot be written is met where something is written
        yield
        return
    try:
        yield
    finally:
        for mark in root.glob(f"{token}*"):
            with contextlib.suppress(OSError):
                mark.unlink()


@dataclass
class ClusterEngine:
    """See :class:`pieces.Engine`."""

    job: Job
    crew: Crew
    _peak: int | None = None
    _memory: dict[tuple[int, Condition], Floats] = field(default_factory=dict)
    _distinct: dict[Condition | None, int] = field(default_factory=dict)

    @property
    def device(self) -> str:
        """Of the workers, each kind once."""
        return ", ".join(sorted({facts.device for facts in self.crew.facts}))

    def draw(self, shards: Sequence[Sequence[Radiograph]]) -> list[str]:
        """Draw what the store has not; without one that all see, it is done while encoding."""
        if not self.crew.stored:
            return []
        faults: dict[int, list[str]] = {}
        with self._progress("decoding", sum(map(len, shards)), "radiographs") as done:
            for number, found in self.crew.share(shards, lambda one: (packed("draw", one), None)):
                faults[number] = found
                done(len(shards[number]))
        return [fault for number in sorted(faults) for fault in faults[number]]

    def texts(self, batches: Sequence[Sequence[str]]) -> Iterator[tuple[Floats, list[int]]]:
        """Embed batches of texts."""
        asked = self.crew.share(batches, lambda one: (packed("texts", one), None))
        yield from in_order(asked, len(batches))

    def images(
        self, shards: Sequence[Sequence[Radiograph]], conditions: Sequence[Condition]
    ) -> tuple[Images, dict[str, Any]]:
        """Embed what is not in the store."""
        start = time.perf_counter()
        images = Images(self.job, shards, conditions, self._memory)
        missing = [
            (some, [one for one in conditions if not images.has(at, one)])
            for at, some in enumerate(shards)
        ]
        place = {some[0].key: at for at, some in enumerate(shards)}
        pieces = shown_to(missing, len(self.crew.workers))
        total = sum(map(len, shards)) * len(conditions)
        encoded, busy, sizes, faults = 0, 0.0, [self.job.batch_size], {}
        with self._progress("encoding", total, "occluded radiographs") as done:
            done(total - sum(len(one.radiographs) * len(one.conditions) for one in pieces))
            for number, found in self.crew.share(pieces, lambda one: (packed("images", one), None)):
                piece, answer = pieces[number], cast("Encoded", found)
                at = place[piece.radiographs[0].key]
                if answer.faults:
                    faults[at] = answer.faults
                for condition, array in answer.embeddings.items():
                    images.keep(at, condition, array)
                count = len(piece.radiographs) * len(piece.conditions)
                done(count)
                if answer.fields:
                    encoded += answer.fields["encoded_images"]
                    busy += answer.fields["encode_seconds"]
                    sizes.append(answer.fields["batch_size"])
                self._peak = max(self._peak or 0, answer.peak_bytes or 0) or None
        refuse_any(self.job.corpus.name, [f for at in sorted(faults) for f in faults[at]])
        seconds = busy / max(1, len(self.crew.workers))
        waited = time.perf_counter() - start - seconds if encoded else 0.0
        return images, {
            "encode_seconds": seconds,
            "wait_seconds": max(0.0, waited),
            "encoded_images": encoded,
            "images_per_second": encoded / seconds if seconds else None,
            "batch_size": min(sizes),
        }

    def rows(self, want: Want, images: Images, texts: Floats) -> int:
        """Several slices per worker over all that is ranked, in whole tiles."""
        shown, reverse = want[0].shown, want[1] == REVERSE
        if (of := shown if reverse else None) not in self._distinct:
            own = len(self.job.task.radiographs)
            self._distinct[of] = (
                distinct_count(own, lambda: images.rows(shown, 0, own))
                if reverse
                else distinct_count(len(texts), lambda: texts)
            )
        tile = tile_rows(self._distinct[of])
        queries = len(self.job.task.radiographs) * max(1, len(self.job.conditions))
        share = queries // (SLICES * max(1, len(self.crew.workers)))
        return max(1, share // tile) * tile

    def ranks(
        self, slices: Sequence[Slice], images: Images, texts: Floats
    ) -> Iterator[tuple[Answer, float]]:
        """Rank slices; the candidates are in the memory of each node once."""
        own, places = self.job.task.radiograph_group, np.arange(len(texts))
        tables: dict[Condition | None, int] = {}

        def table(of: Condition | None) -> int:
            if of not in tables:
                found = (texts, places) if of is None else (images.rows(of, 0, len(own)), own)
                tables[of] = self.crew.table(found)
            return tables[of]

        def encode(one: Slice) -> tuple[bytes, int]:
            shown, asked = one.condition.shown, asked_of(self.job, one)
            if one.reverse:
                queries, candidates = texts[one.first : one.last], table(shown)
            else:
                queries, candidates = images.rows(shown, one.first, one.last), table(None)
            return packed("ranks", queries, replace(asked, candidate_groups=NONE)), candidates

        answers = in_order(self.crew.share(slices, encode), len(slices))
        for one, after, answer in zip(slices, [*slices[1:], None], answers, strict=True):
            yield answer
            ended = one.reverse and (after is None or after.want != one.want)
            # The radiographs of a condition are many; those of the next take their place.
            if ended and (number := tables.pop(one.condition.shown, None)) is not None:
                self.crew.forget(number)
        if None in tables:
            self.crew.forget(tables.pop(None))

    def peak_bytes(self) -> int | None:
        """The most that any worker has held."""
        return self._peak

    @contextlib.contextmanager
    def _progress(self, doing: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        with Progress(f"{self.job.label}: {doing}", total, unit, self.job.say) as progress:

            def done(count: int) -> None:
                count_of = len(self.crew.workers)
                workers = "worker" if count_of == 1 else "workers"
                progress.label = f"{self.job.label}: {doing} on {count_of} {workers}"
                progress.add(count)

            yield done


@dataclass
class Images:
    """Embeddings of shards under conditions: in the store, or in memory where there is none."""

    job: Job
    shards: Sequence[Sequence[Radiograph]]
    conditions: Sequence[Condition]
    memory: dict[tuple[int, Condition], Floats]

    def __post_init__(self) -> None:
        """Work out under which keys they are stored."""
        record, shown = self.job.record, self.conditions
        self._keys = [embedding_keys(record, some, shown) for some in self.shards]

    def has(self, at: int, condition: Condition) -> bool:
        """Whether a shard is done under a condition."""
        stored = self.job.store.has("embeddings", self._keys[at][condition])
        return stored or (at, condition) in self.memory

    def keep(self, at: int, condition: Condition, embeddings: Floats) -> None:
        """Keep what came back."""
        if self.job.store.root is None:
            self.memory[at, condition] = embeddings
        else:
            self.job.store.write(
                "embeddings", self._keys[at][condition], {"embeddings": embeddings}
            )

    def rows(self, condition: Condition, first: int, last: int) -> Floats:
        """Some rows ``[last - first, D]`` of all radiographs.

        Raises:
            OcclusionError: They were in the store, and are not any more.
        """
        parts, start = [], 0
        for at, some in enumerate(self.shards):
            end = start + len(some)
            if start < last and end > first:
                whole = self._read(at, condition)
                parts.append(whole[max(0, first - start) : last - start])
            start = end
        return np.concatenate(parts)

    def _read(self, at: int, condition: Condition) -> Floats:
        if (at, condition) in self.memory:
            return self.memory[at, condition]
        entry = self.job.store.read("embeddings", self._keys[at][condition])
        if entry is None:
            raise OcclusionError(
                "embeddings went from the store, or were damaged, while they were needed",
                remedy="run again: they are made anew",
            )
        found: Floats = entry.arrays["embeddings"]
        return found


def distinct_count(count: int, candidates: Callable[[], Floats]) -> int:
    """Distinct rows: of many, which make several blocks anyhow, it is all the same how many."""
    import torch

    if count > 2 * COLUMNS:
        return count
    return len(distinct_rows(torch.from_numpy(np.array(candidates())))[0])


def in_order(answers: Iterator[tuple[int, Any]], count: int) -> Iterator[Any]:
    """Numbered answers in the order of their numbers; those that come early wait."""
    early: dict[int, Any] = {}
    for wanted in range(count):
        while wanted not in early:
            number, answer = next(answers)
            early[number] = answer
        yield early.pop(wanted)
