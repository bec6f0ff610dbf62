"""The workers of a Ray cluster as the run sees them: opened, given pieces, gone.

A process of its own talks to Ray (``ray_broker``); what it says comes here.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import pickle
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_occlusion.engine import ray_broker
from pytest_occlusion.engine.decoding import no_script
from pytest_occlusion.engine.parallel import usable_cores
from pytest_occlusion.engine.ray_worker import Facts, Ticket, versions
from pytest_occlusion.engine.sharing import Done, Gone, Joined, Sharing
from pytest_occlusion.engine.shipping import shipment
from pytest_occlusion.engine.store import Store
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.suite.settings import RaySettings

START, PATIENCE = 60.0, 300.0
"""Seconds in which workers should be at work, after which the run begins with those that are, and
seconds without any worker after which it ends."""

GONE = "what was stored so far is kept: run again, and only pieces in hand are done anew"
"""What to do when a cluster is lost."""


class Crew:
    """Workers on a cluster; see :class:`sharing.Crew`."""

    def __init__(
        self, address: str, settings: RaySettings, store: Store, say: Callable[[str], None]
    ) -> None:
        """Start the process that talks to the cluster, and wait until it does."""
        self._say = say
        temporary = Path(tempfile.mkdtemp(prefix="ray-"))  # its owner's alone
        self.log = _log_beside(store.root)
        asked = ray_broker.Asked(
            address=address,
            cpus=settings.cpus,
            gpus=settings.gpus,
            most=settings.workers,
            local_cpus=usable_cores(),
            log=self.log,
            temporary=temporary,
        )
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=ray_broker.serve, args=(theirs, asked), daemon=True)
        with no_script():
            self._process.start()
        theirs.close()
        self._end = weakref.finalize(self, _end, self._process, self._pipe, temporary)
        self._ids = itertools.count()
        self._requests: dict[int, int] = {}  # id -> number of a piece of this round
        self._opening: dict[int, str] = {}
        self._open: dict[str, Facts] = {}
        self._known: set[str] = set()
        self._ticket: Ticket | None = None
        self._shipment: int | None = None
        self._sent: set[str] = set()
        self._late: set[str] = set()  # for whom no further model waits
        self._begun = False
        self._encode: Callable[[Any], tuple[bytes, int | None]] = lambda piece: (b"", None)
        self.stored = False  # whether all workers see the store
        self._events: list[Done | Joined | Gone] = []
        self._handle()  # all that comes first, but faults, is that the cluster is joined

    def close(self) -> None:
        """End the process; workers end with it."""
        self._end()

    # Opening --------------------------------------------------------------------------------------

    def open(self, ticket: Ticket) -> None:
        """Open a model on every worker.

        Raises:
            OcclusionError: A node does not have what this one has, or no worker comes.
        """
        self._ticket, self._shipment, self._begun = ticket, None, False
        self._open.clear()
        self._opening.clear()  # what is still said of the model before is not waited for
        self._sent.clear()
        self._requests.clear()
        for worker in self._known:
            self._ask_to_open(worker)
        start = time.monotonic()
        while not self._open:
            self._handle()
        while time.monotonic() - start < START and not self._late.issuperset(
            self._opening.values()
        ):
            self._handle(timeout=1.0)
        self._late = set(self._opening.values())
        self.stored = ticket.store is not None and all(f.sees_store for f in self._open.values())
        if ticket.store is not None and not self.stored:
            blind = sorted({f.node for f in self._open.values() if not f.sees_store})
            self._say(
                f"the store {ticket.store} is not seen by {', '.join(blind)}: canvases are not "
                "kept, embeddings come back through Ray and are kept here"
            )
            for worker in self._open:
                self._request(worker, ("forgo",), None)
        self._begun = True
        self._events.clear()

    def _ask_to_open(self, worker: str, table: int | None = None) -> None:
        number = self._request(worker, ("open", self._ticket), table)
        self._opening[number] = worker

    def _files(self) -> int | None:
        """The table of the model's files; ``None`` where it is not read from files here."""
        assert self._ticket is not None
        if self._shipment is None and (files := shipment(self._ticket.model)):
            self._shipment = self.table(files)
        return self._shipment

    def _opened(self, worker: str, facts: Facts) -> None:
        assert self._ticket is not None
        sent = worker in self._sent
        if facts.missing and not sent and (files := self._files()) is not None:
            self._sent.add(worker)
            self._say(f"{facts.node}: {self._ticket.model.name} is not there and is sent")
            self._ask_to_open(worker, files)
            return
        wrong = facts.fault or unfit(facts, self._ticket)
        if wrong and not self._begun:
            raise wrong
        if wrong or (self.stored and not facts.sees_store):
            reason = wrong.problem if wrong else "it does not see the store"
            self._say(f"{facts.node} came and is not asked: {reason}")
            self._known.discard(worker)
            return
        self._open[worker] = facts
        if self._begun and self._ticket.store is not None and not self.stored:
            self._request(worker, ("forgo",), None)
        self._events.append(Joined(worker))

    # Pieces ---------------------------------------------------------------------------------------

    @property
    def workers(self) -> list[str]:
        """Those that have the model open."""
        return list(self._open)

    @property
    def facts(self) -> list[Facts]:
        """What these said of themselves."""
        return list(self._open.values())

    def share(
        self, pieces: Sequence[Any], encode: Callable[[Any], tuple[bytes, int | None]]
    ) -> Iterator[tuple[int, Any]]:
        """Have pieces done: numbers and answers as they come.

        Args:
            pieces: Of any kind.
            encode: A piece -> the request, and the table that goes with it.

        Raises:
            OcclusionError: What a worker raised first, or the cluster is lost.
        """
        self._encode = encode
        self._requests.clear()
        for done in Sharing(pieces, self).answers():
            if isinstance(done.answer, OcclusionError):
                raise done.answer
            yield done.number, done.answer

    def give(self, worker: str, number: int, piece: Any) -> None:
        """See :class:`sharing.Crew`."""
        request, table = self._encode(piece)
        self._requests[self._send(worker, request, table)] = number

    def events(self) -> list[Done | Joined | Gone]:
        """See :class:`sharing.Crew`."""
        while not self._events:
            self._handle()
        found, self._events = self._events, []
        return found

    def table(self, content: Any) -> int:
        """Put something into the memory of the nodes that many requests need; gives its number."""
        number = next(self._ids)
        self._tell("table", number, content)
        return number

    def forget(self, table: int) -> None:
        """Free a table."""
        self._tell("forget", table)

    # The process ----------------------------------------------------------------------------------

    def _request(self, worker: str, request: tuple[Any, ...], table: int | None) -> int:
        return self._send(worker, packed(*request), table)

    def _send(self, worker: str, request: bytes, table: int | None) -> int:
        number = next(self._ids)
        self._tell("give", worker, number, request, table)
        return number

    def _tell(self, *message: Any) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            raise self._lost() from None

    def _handle(self, timeout: float | None = None) -> None:
        """Take one message, if one comes in time."""
        received = self._receive(timeout)
        if received is None:
            return
        kind, *given = received
        if kind == "done":
            worker, number, answer = given
            if number in self._opening:
                del self._opening[number]
                found = pickle.loads(answer)  # noqa: S301 - from our own worker
                if isinstance(found, OcclusionError):
                    raise found
                self._opened(worker, found)
            elif number in self._requests:
                piece = self._requests.pop(number)
                self._events.append(Done(piece, pickle.loads(answer)))  # noqa: S301
        elif kind == "ready":
            self._known |= set(given[0])
        elif kind == "joined":
            self._known.add(given[0])
            self._ask_to_open(given[0])
        elif kind == "gone":
            worker, reason = given
            self._known.discard(worker)
            self._opening = {n: one for n, one in self._opening.items() if one != worker}
            if self._open.pop(worker, None):
                self._events.append(Gone(worker, reason))

    def _receive(self, timeout: float | None = None) -> tuple[Any, ...] | None:
        waited = 0.0
        while True:
            step = 1.0 if timeout is None else timeout
            try:
                if self._pipe.poll(step):
                    message: tuple[Any, ...] = self._pipe.recv()
                    if message[0] == "fault":
                        raise OcclusionError(message[1], remedy=f"{message[2]}. {GONE}.")
                    return message
            except (EOFError, OSError):
                raise self._lost() from None
            waited += step
            if timeout is not None:
                return None
            if waited >= PATIENCE and not getattr(self, "_open", None):
                raise OcclusionError(
                    f"no worker of the Ray cluster began within {PATIENCE:.0f} s",
                    remedy="see `ray status` for free cores and GPUs, and whether "
                    f"pytest-occlusion is installed on its nodes; {self.log} says more",
                )

    def _lost(self) -> OcclusionError:
        return OcclusionError("the Ray cluster is lost", remedy=f"{self.log} says why. {GONE}.")


def _log_beside(root: Path | None) -> Path:
    """Where Ray's words go: into the store, or where there is none, to a file of this user's."""
    if root is not None:
        with contextlib.suppress(OSError):
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            (root / "ray.log").open("a").close()
            return root / "ray.log"
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"pytest-occlusion-ray-{user}.log"


def _end(process: Any, pipe: Any, temporary: Path) -> None:
    pipe.close()
    process.join(timeout=15)
    process.kill()
    process.join()
    shutil.rmtree(temporary, ignore_errors=True)


def packed(*request: Any) -> bytes:
    """A request as workers read it: the name of a method, then its arguments."""
    return pickle.dumps((request[0], request[1:]), protocol=pickle.HIGHEST_PROTOCOL)


def unfit(facts: Facts, ticket: Ticket) -> OcclusionError | None:
    """What of a worker differs from this process, so that its numbers might."""
    here = versions()
    names = dict.fromkeys([*here, *facts.versions])
    both = [(name, here.get(name, "none"), facts.versions.get(name, "none")) for name in names]
    different = [f"{name} {there} (here {own})" for name, own, there in both if own != there]
    if facts.weights != ticket.record.weights:
        own, there = ticket.record.weights[:12], facts.weights[:12]
        different.append(f"weights of {ticket.model.name} {there} (here {own})")
    if not different:
        return None
    return OcclusionError(
        f"the node {facts.node} is not as this one: {', '.join(different)}",
        remedy="install the same on all nodes, and give them the same files",
    )
