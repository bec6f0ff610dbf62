"""What of the cluster's engine needs no cluster; ``tests/plugin/test_cluster_run.py`` has one."""

from __future__ import annotations

import multiprocessing
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_occlusion.encoders.base import Family
from pytest_occlusion.engine import cluster, crew, ray_broker, ray_worker
from pytest_occlusion.engine.session import Session
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.suite.merge import build_settings
from pytest_occlusion.suite.suites import find_suite


def session(**changed: Any) -> Session:
    return Session(build_settings(find_suite("embedded", Path.cwd()), command_line=changed))


def test_this_process_is_no_cluster() -> None:
    assert session().cluster is None


@pytest.mark.parametrize("address", ["10.0.0.1:6379", "auto", "[fe80::1]:6379"])
def test_the_head_of_the_environment(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    joined = session(engine="ray").cluster
    assert joined is not None
    assert joined.address == address
    named = session(engine="ray://head:1").cluster
    assert named is not None
    assert named.address == "head:1", "what is named counts"


@pytest.mark.parametrize("address", ["local", "ray://head:10001", "head"])
def test_an_address_that_is_no_head(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(OcclusionError, match=r"RAY_ADDRESS is .*no head[\s\S]*6379"):
        _ = session(engine="ray").cluster


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_knocking_at_a_head(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host.strip("[]"), 0), family=family)
    except OSError:
        pytest.skip("no such addresses here")
    with server:
        ray_broker._knock(f"{host}:{server.getsockname()[1]}", 1)
    with pytest.raises(OSError, match=r"refused"):
        ray_broker._knock(f"{host}:1", 1)


class Actor:
    """Stands for a worker: what it is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.do = self

    def remote(self, *given: Any) -> int:
        self.calls.append(given)
        return len(self.calls)


class Told:
    """Stands for the way back to the run."""

    def __init__(self) -> None:
        self.messages: list[tuple[Any, ...]] = []

    def send(self, message: tuple[Any, ...]) -> None:
        self.messages.append(message)


def test_texts_travel_inside_calls_and_never_beside_them(tmp_path: Path) -> None:
    asked = ray_broker.Asked("", 1, None, 0, 1, tmp_path / "log", tmp_path)
    actor, told = Actor(), Told()
    broker = ray_broker._Broker(told, asked)  # type: ignore[arg-type]
    broker.hands["w"] = ray_broker._Hand(actor, "node")
    request = bytes(5_000_000)
    broker.give("w", 1, request, None)
    table, *parts = actor.calls[0]
    assert table is None
    assert b"".join(parts) == request
    assert max(map(len, parts)) < 100_000, "or Ray puts it into shared memory"
    broker.give("w", 2, bytes(8_000_001), None)
    assert len(actor.calls) == 1
    assert told.messages[0][0] == "fault"
    assert "batch-size" in told.messages[0][2]
    broker.give("gone", 3, request, None)  # was told of already
    assert len(actor.calls) == 1


def ticket(record: Any) -> ray_worker.Ticket:
    told = session().settings.models[0]
    return ray_worker.Ticket(told, b"", record, "cpu", 64, 1, None, "token")


class Record:
    """Stands for a model's."""

    weights = "a" * 64


def test_a_worker_like_this_process_fits() -> None:
    facts = ray_worker.Facts("node-7", ray_worker.versions(), weights=Record.weights)
    assert crew.unfit(facts, ticket(Record)) is None


def test_what_differs_is_named_with_both_values() -> None:
    here = ray_worker.versions()
    there = {**here, "torch": "0.1", "python": "3.0.0"}
    del there["numpy"]
    facts = ray_worker.Facts("node-7", there, weights="b" * 64)
    fault = crew.unfit(facts, ticket(Record))
    assert fault is not None
    for part in (
        "the node node-7 is not as this one",
        f"python 3.0.0 (here {here['python']})",
        f"torch 0.1 (here {here['torch']})",
        f"numpy none (here {here['numpy']})",
        "weights of cxr-repair bbbbbbbbbbbb (here aaaaaaaaaaaa)",
    ):
        assert part.replace("cxr-repair", ticket(Record).model.name) in fault.problem


def test_a_family_that_workers_could_not_find(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = Family(name="inside", load=lambda *given: None, options={})  # type: ignore[arg-type]
    monkeypatch.setattr(cluster, "get_family", lambda name: inside)
    with pytest.raises(OcclusionError, match=r"cannot be told[\s\S]*module of their own"):
        cluster._packed_family("inside")
    assert cluster._packed_family("clip") == b""


def test_answers_in_order() -> None:
    found = cluster.in_order(iter([(2, "c"), (0, "a"), (1, "b")]), 3)
    assert list(found) == ["a", "b", "c"]


def test_distinct_candidates_are_counted_where_it_matters() -> None:
    rows = np.repeat(np.eye(4, dtype=np.float32), 3, axis=0)
    assert cluster.distinct_count(12, lambda: rows) == 4

    def never() -> Any:
        raise AssertionError

    assert cluster.distinct_count(100_000, never) == 100_000


def test_a_worker_says_what_it_was_asked_in_vain() -> None:
    import pickle

    worker = ray_worker.Worker()
    answer = pickle.loads(worker.do(None, crew.packed("draw", [])))
    assert isinstance(answer, OcclusionError)
    assert "raised RuntimeError: nothing is open" in answer.problem
    assert "--occlusion-engine local" in answer.remedy


def test_the_run_is_listened_to_while_nobody_asks_for_its_words(tmp_path: Path) -> None:
    """Both sides could wait for ever, each with more to say than the pipe holds."""
    ours, theirs = multiprocessing.Pipe()
    asked = ray_broker.Asked("", 1, None, 0, 1, tmp_path / "log", tmp_path)
    broker = ray_broker._Broker(theirs, asked)
    threading.Thread(target=broker._listen, daemon=True).start()
    for number in range(20):
        ours.send(("table", number, bytes(1_000_000)))
    heard = [broker._heard() for _ in range(20)]
    assert [one[1] for one in heard if one is not None] == list(range(20))
    ours.close()
    assert broker.said.get() == ("stop",)
    assert broker._heard() is None
    theirs.close()
