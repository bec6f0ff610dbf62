"""Threads: in order, with the first fault raised, and torch left as it was found."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.engine.parallel import batch_map, batch_threads, usable_cores


@given(st.lists(st.integers(), max_size=30), st.integers(0, 4), st.none() | st.integers(0, 5))
def test_equals_map(items: list[int], threads: int, ahead: int | None) -> None:
    found = batch_map(lambda item: item * 2, items, threads=threads, ahead=ahead)
    assert list(found) == [item * 2 for item in items]


@pytest.mark.parametrize(("threads", "ahead"), [(1, 0), (1, 3), (3, 2)])
def test_no_more_items_are_taken_than_may_wait(threads: int, ahead: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(50):
            taken.append(item)
            yield item

    found = batch_map(lambda item: item, items(), threads=threads, ahead=ahead)
    for count, item in enumerate(found, start=1):
        assert item == count - 1
        assert len(taken) <= count - 1 + threads + ahead
    assert len(taken) == 50


def test_items_are_taken_here_while_a_thread_works() -> None:
    """The second item is read while the first is being worked on, even with one thread."""
    reading = threading.Event()
    readers: set[str] = set()

    def items() -> Iterator[int]:
        yield 0
        readers.add(threading.current_thread().name)
        reading.set()
        yield 1

    def work(item: int) -> int:
        assert reading.wait(30)
        return item

    assert list(batch_map(work, items(), threads=1, ahead=1)) == [0, 1]
    assert readers == {threading.current_thread().name}


def test_results_come_in_order_however_long_each_takes() -> None:
    """The first item cannot finish before the second has."""
    second = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second.wait(30)
        if item == 1:
            second.set()
        return item

    assert list(batch_map(work, range(5), threads=2)) == [0, 1, 2, 3, 4]


def test_one_thread_means_this_thread() -> None:
    names = batch_map(lambda _: threading.current_thread().name, range(3), threads=1)
    assert set(names) == {threading.current_thread().name}


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_first_fault_is_raised_and_the_rest_is_dropped(threads: int) -> None:
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        if item >= 3:
            raise ValueError(f"item {item}")
        return item

    found = batch_map(work, range(1000), threads=threads)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="item 3"):
        next(found)
    assert list(found) == []
    assert set(started) >= {0, 1, 2, 3}


def test_an_abandoned_map_cancels_what_has_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can go on before the pool is being shut down, which is after the cancelling."""
    gate = threading.Event()
    done: list[int] = []
    shutdown = ThreadPoolExecutor.shutdown

    def open_gate(pool: ThreadPoolExecutor, *args: Any, **options: Any) -> None:
        gate.set()
        shutdown(pool, *args, **options)

    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", open_gate)

    def work(item: int) -> int:
        if item:
            assert gate.wait(30)
        done.append(item)
        return item

    found = batch_map(work, range(50), threads=2)
    assert next(found) == 0
    found.close()
    assert len(done) <= 3  # the first, and one that each thread had begun


def test_cores_are_shared_among_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    assert usable_cores() == 8
    for workers, expected in (("1", 8), ("3", 2), ("8", 1), ("30", 1), ("0", 8)):
        monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", workers)
        assert usable_cores() == expected


def test_cores_where_the_system_has_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.delenv("PYTEST_XDIST_WORKER_COUNT", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert usable_cores() == 1


def test_torch_runs_on_one_thread_inside_and_as_before_outside() -> None:
    before = torch.get_num_threads()
    with batch_threads(torch.device("cpu")) as threads:
        assert torch.get_num_threads() == 1
        assert threads == usable_cores()
    assert torch.get_num_threads() == before


def test_products_in_new_threads_are_not_split() -> None:
    """Split over two threads, these products differ in their last bits on many machines."""
    draw = torch.Generator().manual_seed(0)
    rows = [torch.rand(1, 256, generator=draw) for _ in range(20)]
    matrix = torch.rand(256, 32, generator=draw)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with batch_threads(torch.device("cpu")):
            here = [row @ matrix for row in rows]
            for threads, ahead in [(1, 1), (2, None), (3, 2)]:
                there = batch_map(lambda row: row @ matrix, rows, threads=threads, ahead=ahead)
                assert all(map(torch.equal, there, here)), threads
    finally:
        torch.set_num_threads(before)


def test_torch_is_restored_after_a_fault() -> None:
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="inside"), batch_threads(torch.device("cpu")):
        raise RuntimeError("inside")
    assert torch.get_num_threads() == before


def test_a_gpu_gets_one_thread() -> None:
    before = torch.get_num_threads()
    with batch_threads(torch.device("cuda")) as threads:
        assert threads == 1
        assert torch.get_num_threads() == before
