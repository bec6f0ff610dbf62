"""Threads: how many this process may use, and how to use them without changing a number.

A product split over two threads may round differently from one that is not. So every forward pass
runs on one thread, and the threads share out whole batches: results do not depend on the number of
cores, and small models run faster too.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """Cores this process may use: its share when several xdist workers run."""
    limited = hasattr(os, "sched_getaffinity")
    available = len(os.sched_getaffinity(0)) if limited else os.cpu_count() or 1
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return max(1, available // max(1, workers))


def batch_map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    threads: int,
    ahead: int | None = None,
) -> Generator[Result, None, None]:
    """``map`` over threads inside :func:`batch_threads`, in order; the first exception ends it.

    Args:
        function: What to call.
        items: With what; taken in the calling thread.
        threads: Calls at a time. With one, and no ``ahead``, the calling thread does them itself.
        ahead: Calls that may wait beside them, where items are large; ``None`` for all at once.
    """
    import torch

    if threads <= 1 and ahead is None:
        yield from map(function, items)
        return
    # A new thread of Python does not know the number that torch was told: until something in it
    # asks torch for that number, matrix products are split over all cores. Then the same picture in
    # the same batch size could get two embeddings, apart in their last bits.
    with ThreadPoolExecutor(max(1, threads), initializer=torch.get_num_threads) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if ahead is not None and len(waiting) >= threads + ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextlib.contextmanager
def batch_threads(device: torch.device) -> Iterator[int]:
    """Set torch up for batches side by side; gives the number of threads to run them on.

    On a GPU that is one: the device itself works in parallel. The previous number of torch threads
    is restored at the end.
    """
    import torch

    if device.type != "cpu":
        yield 1
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield usable_cores()
    finally:
        torch.set_num_threads(before)
