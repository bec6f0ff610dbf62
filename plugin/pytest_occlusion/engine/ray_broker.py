"""The process that talks to a Ray cluster, on behalf of the run.

Ray ends a driver whose head is gone, prints much and installs handlers: here it does so apart from
pytest, and what it prints goes to a file. The run sends requests for workers and is told of
answers, of workers that come and of those that end. Which piece goes where, it decides itself.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

INLINE = 64 * 1024
"""Bytes of a part of a request; Ray carries arguments of up to 100 KB inside the call."""

MOST = 8_000_000
"""Bytes of all parts of a request; Ray puts what goes beyond 10 MiB into shared memory."""

POLL, SCAN = 0.02, 1.0
"""Seconds between two looks at answers, and at the nodes."""

PROBE, MISSED = 5.0, 3
"""Seconds between two knocks at the head, and how many it may leave unanswered."""

FAILED = 3
"""Workers that may end before they are of any use before a node is given up."""

HEAD = 20
"""Seconds within which a head answers at first."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a cluster.

    Attributes:
        address: HOST:PORT of the head, ``auto``, or nothing for one on this machine alone.
        cpus: Cores of a worker.
        gpus: GPUs of a worker, or a fraction of one; ``None`` for one where a node has any.
        most: Workers at most; 0 for as many as there is room for.
        local_cpus: Cores of a cluster on this machine.
        log: File for what Ray prints.
        temporary: Folder for a cluster on this machine.
    """

    address: str
    cpus: int
    gpus: float | None
    most: int
    local_cpus: int
    log: Path
    temporary: Path


def serve(pipe: Connection, asked: Asked) -> None:
    """Until the run lets go of the pipe: pass on requests and answers."""
    _print_to(asked.log)
    os.environ |= {
        "RAY_gcs_rpc_server_reconnect_timeout_s": str(int(PROBE * MISSED)),
        "RAY_DEDUP_LOGS": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    }
    fault = _connect(asked)
    if fault:
        pipe.send(("fault", *fault))
        return
    broker = _Broker(pipe, asked)
    try:
        broker.run()
    except (EOFError, BrokenPipeError):
        pass
    finally:
        import ray

        threading.Timer(10, os._exit, [1]).start()  # it may wait for a head that is gone
        ray.shutdown()
        os._exit(0)


def _print_to(log: Path) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)


def _connect(asked: Asked) -> tuple[str, str] | None:
    """Join the cluster; gives what is wrong and what to do."""
    if asked.address and asked.address != "auto":
        try:
            _knock(asked.address, HEAD)
        except OSError as fault:
            return (
                f"the head of the Ray cluster at {asked.address} does not answer ({fault})",
                "see that `ray start --head` runs there and that its port (6379) can be reached",
            )
    try:
        import ray
    except ImportError:
        return "Ray is not installed", "pip install 'pytest-occlusion[ray]'"
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
    try:
        if asked.address:
            ray.init(asked.address, **quiet)
        else:
            ray.init(
                "local",
                num_cpus=asked.local_cpus,
                include_dashboard=False,
                _temp_dir=str(asked.temporary),
                **quiet,
            )
    except Exception as fault:
        where = asked.address or "this machine"
        return (
            f"no Ray cluster at {where} can be joined: {str(fault).splitlines()[0]}",
            f"run pytest on one of its nodes; {asked.log} says more",
        )
    return None


def _knock(address: str, seconds: float) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()


@dataclass
class _Hand:
    """A worker, and the calls it has not answered: reference -> number of the request."""

    actor: Any
    node: str
    calls: dict[Any, int] = field(default_factory=dict)
    useful: bool = False  # whether it has ever answered


@dataclass
class _Broker:
    pipe: Connection
    asked: Asked
    hands: dict[str, _Hand] = field(default_factory=dict)
    tables: dict[int, Any] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    scanned: float = 0.0
    lost: str = ""
    said: queue.SimpleQueue[tuple[Any, ...]] = field(default_factory=queue.SimpleQueue)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def run(self) -> None:
        threading.Thread(target=self._probe, daemon=True).start()
        threading.Thread(target=self._listen, daemon=True).start()
        self._scan()
        self.pipe.send(("ready", list(self.hands)))
        requests: dict[str, Callable[..., None]] = {
            "give": self.give,
            "table": self.share,
            "forget": self.forget,
            "stop": self.stop,
        }
        while True:
            while (message := self._heard()) is not None:
                requests[message[0]](*message[1:])
            self._answers()
            if time.monotonic() - self.scanned > SCAN:
                self._scan()
            if self.lost:
                self.pipe.send(("fault", self.lost, "start the head again, then run again"))
                return

    def _listen(self) -> None:
        """Take what the run says at once, or with the pipe full both ways all would wait."""
        while True:
            try:
                self.said.put(self.pipe.recv())
            except (EOFError, OSError):
                self.said.put(("stop",))
                return

    def _heard(self) -> tuple[Any, ...] | None:
        """The next request; waits a little for one while no answer is to be waited for."""
        waiting = any(hand.calls for hand in self.hands.values())
        with contextlib.suppress(queue.Empty):
            return self.said.get(block=not waiting, timeout=None if waiting else POLL)
        return None

    def stop(self) -> None:
        """The run has let go."""
        raise EOFError

    # Requests -------------------------------------------------------------------------------------

    def give(self, worker: str, number: int, request: bytes, table: int | None) -> None:
        """Call a worker.

        Requests with a table are numbers alone. What others hold, texts and names, stays inside
        the calls: Ray may write what lies in shared memory to a disk.
        """
        hand = self.hands.get(worker)
        if hand is None:  # it ended meanwhile, which was said
            return
        parts: list[Any] = [request[at : at + INLINE] for at in range(0, len(request), INLINE)]
        if table is not None:
            import ray

            parts = [ray.put(request)]
        elif len(request) > MOST:
            longest = f"{len(request) / 1e6:.0f} MB of texts or names in one call of a worker"
            remedy = "use a smaller --occlusion-batch-size"
            self.pipe.send(("fault", f"{longest}; Ray carries {MOST / 1e6:.0f} MB", remedy))
            return
        shared = None if table is None else self.tables[table]
        hand.calls[hand.actor.do.remote(shared, *parts)] = number

    def share(self, number: int, content: Any) -> None:
        """Share what many requests need: once per node, in its memory."""
        import ray

        self.tables[number] = ray.put(content)

    def forget(self, number: int) -> None:
        """A table that no further request needs."""
        self.tables.pop(number, None)

    # Answers and nodes ----------------------------------------------------------------------------

    def _answers(self) -> None:
        import ray

        calls = [call for hand in self.hands.values() for call in hand.calls]
        if not calls:
            return
        for call in ray.wait(calls, num_returns=len(calls), timeout=POLL)[0]:
            worker = next((n for n, hand in self.hands.items() if call in hand.calls), None)
            if worker is None:  # its worker ended, seen at another call
                continue
            try:
                answer = ray.get(call)
            except ray.exceptions.RayTaskError as fault:
                cause = str(fault).strip().splitlines()[-1]
                self.pipe.send(("fault", f"a worker raised {cause}", f"{self.asked.log} says more"))
            except ray.exceptions.RayError as fault:
                self._gone(worker, f"{type(fault).__name__}: {str(fault).strip().splitlines()[0]}")
            else:
                hand = self.hands[worker]
                hand.useful, number = True, hand.calls.pop(call)
                self.failed.pop(hand.node, None)
                self.pipe.send(("done", worker, number, answer))

    def _gone(self, worker: str, reason: str) -> None:
        import ray

        hand = self.hands.pop(worker)
        if not hand.useful:
            self.failed[hand.node] += 1
        with contextlib.suppress(Exception):
            ray.kill(hand.actor)
        self.pipe.send(("gone", worker, reason))

    def _scan(self) -> None:
        """See which nodes there are: workers for new ones, none for those that went."""
        import ray

        nodes = {one["NodeID"]: one for one in ray.nodes() if one["Alive"]}  # type: ignore[no-untyped-call]
        for worker in [name for name, hand in self.hands.items() if hand.node not in nodes]:
            self._gone(worker, "its node is gone")
        for name, node in nodes.items():
            there = sum(hand.node == name for hand in self.hands.values())
            gpus = self._gpus(node["Resources"])
            while there < self._room(node["Resources"], gpus) and self.failed[name] < FAILED:
                if self.asked.most and len(self.hands) >= self.asked.most:
                    break
                self._begin(name, node.get("NodeManagerHostname", name[:8]), gpus)
                there += 1
        self.scanned = time.monotonic()

    def _gpus(self, resources: Mapping[str, float]) -> float:
        """GPUs of a worker on a node."""
        if self.asked.gpus is None:
            return 1.0 if resources.get("GPU", 0) >= 1 else 0.0
        return self.asked.gpus

    def _room(self, resources: Mapping[str, float], gpus: float) -> int:
        """Workers for which a node has room."""
        room = int(resources.get("CPU", 0)) // self.asked.cpus
        return min(room, int(resources.get("GPU", 0) / gpus)) if gpus else room

    def _begin(self, node: str, host: str, gpus: float) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from pytest_occlusion.engine.ray_worker import Worker

        options = {
            "num_cpus": self.asked.cpus,
            "num_gpus": gpus,
            "max_restarts": 0,
            "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False),
        }
        name = f"{host}/{next(self._numbers)}"
        self.hands[name] = _Hand(ray.remote(Worker).options(**options).remote(), node)
        if self.scanned:  # the first ones are told of together
            self.pipe.send(("joined", name))

    def _probe(self) -> None:
        """Knock at the head: Ray's own calls may wait for it for ever."""
        import ray

        address, missed = ray.get_runtime_context().gcs_address, 0
        while missed < MISSED:
            time.sleep(PROBE)
            try:
                _knock(address, PROBE)
                missed = 0
            except OSError:
                missed += 1
        self.lost = f"the head of the Ray cluster at {address} is gone"
        time.sleep(PROBE)  # for the loop to tell; should it hang, the end of this process does
        os._exit(1)
