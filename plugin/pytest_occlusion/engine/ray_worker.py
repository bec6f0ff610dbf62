"""What a worker on a cluster does: it opens a model once, then does the pieces it is given.

Imported on the nodes; it knows nothing of the cluster itself. Requests and answers are plain data,
pickled. What names a patient or quotes a report is never printed or logged here.
"""

from __future__ import annotations

import os
import pickle
import platform
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.encoders import register_family
from pytest_occlusion.engine.decoding import Decoders
from pytest_occlusion.engine.drawing import draw_shards
from pytest_occlusion.engine.embedding import embed_batches, embed_images
from pytest_occlusion.engine.job import Bench, Condition
from pytest_occlusion.engine.local import device_name
from pytest_occlusion.engine.models import ModelRecord, check_model, open_encoder
from pytest_occlusion.engine.pieces import Answer, Floats, Questions, Shown, answered
from pytest_occlusion.engine.shipping import shipped_model
from pytest_occlusion.engine.store import Store
from pytest_occlusion.errors import MissingError, OcclusionError
from pytest_occlusion.suite.settings import ModelSettings

if TYPE_CHECKING:
    from pytest_occlusion.encoders.base import Encoder

Groups = NDArray[np.int64]
Table = tuple[Floats, Groups]
"""Candidates ``[M, D]`` and their groups ``[M]``."""

PACKAGES = ("pytest-occlusion", "torch", "transformers", "open_clip_torch", "numpy", "pillow")
"""Those whose versions may move a number."""


def versions() -> dict[str, str]:
    """Of Python and the packages, as they are here."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@dataclass(frozen=True)
class Ticket:
    """Everything a worker has to know of a model before it is given pieces."""

    model: ModelSettings
    family: bytes  # pickled, if it is not built in: by the names of a module and what is in it
    record: ModelRecord
    device: str
    batch_size: int
    threads: int
    store: Path | None
    token: str  # names the file by which a store is recognised


@dataclass(frozen=True)
class Facts:
    """What a worker says of itself; ``fault`` where it cannot work."""

    node: str
    versions: Mapping[str, str]
    device: str = ""
    weights: str = ""
    sees_store: bool = False
    missing: bool = False  # whether files of the model are not there
    fault: OcclusionError | None = None


@dataclass(frozen=True)
class Encoded:
    """What came of :class:`Shown` radiographs; embeddings only where no store keeps them."""

    embeddings: Mapping[Condition, Floats]
    faults: Sequence[str]
    fields: Mapping[str, Any]
    peak_bytes: int | None


class Worker:
    """Lives in a process of a node; does one request at a time."""

    def __init__(self) -> None:
        """Nothing is open yet."""
        self._bench: Bench | None = None
        self._encoder: Encoder | None = None
        self._threads = 1
        self._decoders = Decoders(most=1)  # as many as it has cores, once it knows
        self._requests: dict[str, Callable[..., Any]] = {
            one.__name__: one
            for one in (self.open, self.forgo, self.draw, self.texts, self.images, self.ranks)
        }

    def do(self, table: Any, *parts: bytes) -> bytes:
        """Do a request: its name and arguments, pickled and cut into parts.

        Args:
            table: The last argument, where it is one that many requests share.
            parts: Each short enough to travel inside the call: what is longer, Ray puts into
                shared memory, and from there onto a disk when that is full.

        Returns:
            The method's answer, or the :class:`OcclusionError` that it raised, pickled. Of any
            other exception the places in the code, and what it said.
        """
        name, given = pickle.loads(b"".join(parts))  # noqa: S301 - from who started this
        try:
            more = () if table is None else (table,)
            answer = self._requests[name](*given, *more)
        except OcclusionError as fault:
            answer = fault
        except Exception as fault:
            places = " < ".join(
                f"{Path(one.filename).name}:{one.lineno}"
                for one in reversed(traceback.extract_tb(fault.__traceback__))
            )
            answer = OcclusionError(
                f"a worker on {socket.gethostname()} raised {type(fault).__name__}: {fault} "
                f"({places})",
                remedy="this is a bug, of a family of yours perhaps; --occlusion-engine local "
                "shows it in full",
            )
        return pickle.dumps(answer)

    def open(self, ticket: Ticket, shipped: Mapping[str, Any] | None = None) -> Facts:
        """Open a model, or say why not; in place of the one before."""
        self._bench = self._encoder = None
        here = Facts(node=socket.gethostname(), versions=versions())
        sees = ticket.store is not None and _met(ticket.store, ticket.token)
        here = replace(here, sees_store=sees)
        model = ticket.model
        try:
            _register(ticket)
            if shipped is not None:
                model = shipped_model(model, shipped)
            if fault := check_model(model):
                return replace(here, missing=isinstance(fault, MissingError), fault=fault)
            encoder, record = open_encoder(
                model, precision=ticket.record.precision, device=ticket.device, store=Store(None)
            )
        except OcclusionError as fault:
            return replace(here, fault=fault)
        import torch

        torch.set_num_threads(1)
        self._threads, self._encoder = ticket.threads, encoder
        self._decoders.most = ticket.threads
        self._bench = Bench(
            label=ticket.model.name,
            record=ticket.record,
            store=Store(ticket.store if sees else None),
            batch_size=ticket.batch_size,
            say=lambda line: None,
            decoders=self._decoders,
        )
        return replace(here, device=device_name(encoder), weights=record.weights)

    @property
    def bench(self) -> Bench:
        """What an opened model is worked with."""
        if self._bench is None:
            raise RuntimeError("nothing is open")
        return self._bench

    @property
    def encoder(self) -> Encoder:
        """The opened one."""
        if self._encoder is None:
            raise RuntimeError("nothing is open")
        return self._encoder

    def forgo(self) -> None:
        """Do without the store: not every node sees it."""
        self._bench = replace(self.bench, store=Store(None))

    def draw(self, shard: Sequence[Any]) -> list[str]:
        """Draw the canvases of a shard into the store; gives faults."""
        return self._noted(draw_shards(self.bench, self.encoder.canvas, [shard])[1])

    def texts(self, batch: Sequence[str]) -> tuple[Floats, list[int]]:
        """Embed a batch of texts."""
        found: tuple[Floats, list[int]]
        found = self._exactly(lambda: next(embed_batches(self.encoder, [batch], 1)))
        return found

    def images(self, shown: Shown) -> Encoded:
        """Embed a shard under some conditions."""
        from pytest_occlusion.encoders.devices import peak_bytes

        shards, faults = draw_shards(self.bench, self.encoder.canvas, [shown.radiographs])
        if faults:
            return Encoded({}, self._noted(faults), {}, None)
        found, fields = self._exactly(
            lambda: embed_images(self.bench, self.encoder, shards, shown.conditions, self._threads)
        )
        kept = self.bench.store.root is not None
        arrays = {} if kept else {one: rows.cpu().numpy() for one, rows in found.items()}
        return Encoded(arrays, (), fields, peak_bytes(self.encoder.device))

    def ranks(self, queries: Floats, asked: Questions, table: Table) -> tuple[Answer, float]:
        """Rank the queries of a slice among the candidates of a table; gives the seconds too."""
        import torch

        start, device = time.perf_counter(), self.encoder.device
        candidates, groups = table
        with warnings.catch_warnings():
            # Shared memory cannot be written to, which torch warns of; nobody writes to it.
            warnings.simplefilter("ignore", UserWarning)
            rows, others = (torch.from_numpy(one).to(device) for one in (queries, candidates))
        whole = replace(asked, candidate_groups=groups)
        answer = self._exactly(lambda: answered(rows, others, whole))
        return answer, time.perf_counter() - start

    def _exactly(self, work: Callable[[], Any]) -> Any:
        from pytest_occlusion.encoders.devices import exact_matmul

        with exact_matmul():
            return work()

    def _noted(self, faults: Sequence[str]) -> list[str]:
        node = socket.gethostname()
        return [f"{fault} (on {node})" for fault in faults]


def _register(ticket: Ticket) -> None:
    if not ticket.family:
        return
    try:
        register_family(pickle.loads(ticket.family))  # noqa: S301 - from who started this
    except (ImportError, AttributeError) as fault:
        raise OcclusionError(
            f"the family {ticket.model.family!r} is not known on {socket.gethostname()}: {fault}",
            remedy="put its module where the Python of every node finds it",
        ) from fault


def _met(store: Path, token: str) -> bool:
    """Whether a store is the one in which this token was left; an own mark is left there too."""
    try:
        seen = (store / token).read_text(encoding="ascii") == token
        (store / f"{token}.{os.getpid()}.{sys.platform}").write_text("seen", encoding="ascii")
    except OSError:
        return False
    return seen
