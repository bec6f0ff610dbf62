"""Canvases drawn in processes of their own: on all cores, and safe from a decoder that crashes.

Each process is an executor of one worker, not one of several in a pool: so it is known which
radiographs ended it, and a process that remembers what it has drawn is asked for it again.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle
from multiprocessing import parent_process
from multiprocessing.context import SpawnContext, SpawnProcess
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.corpora.base import Radiograph
from pytest_occlusion.corpora.images import ImageFault
from pytest_occlusion.encoders.base import CanvasRecipe
from pytest_occlusion.engine.parallel import usable_cores

WORTHWHILE = 32
"""Radiographs for which one more process pays: it takes about as long to start."""

TOGETHER = 8
"""Radiographs that a process is asked for at a time: waking it takes longer than a small canvas."""

AHEAD, AHEAD_PIXELS = 2048, 2**27
"""Most radiographs that are opened ahead, and most pixels of them that one process keeps."""

UNPICKLABLE = (pickle.PicklingError, AttributeError, TypeError)
"""What pickle raises for functions inside functions: only this process can call them."""

Draw = Callable[[Any], NDArray[np.uint8]]
Answer = NDArray[np.uint8] | Exception


@dataclass
class Decoders:
    """The decoding processes of one run: started when needed first, kept for its other models."""

    most: int = field(default_factory=usable_cores)  # how many there may be
    _workers: list[_Worker] = field(default_factory=list)
    _ahead: list[Future[Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """See that no process is left when the run lets go of this."""
        weakref.finalize(self, _end, self._workers)

    def close(self) -> None:
        """End the processes; the next use starts new ones."""
        _end(self._workers)

    def start(self, radiographs: int) -> None:
        """Start as many as pay, without waiting for them."""
        wanted = max(1, min(self.most, radiographs // WORTHWHILE))
        while len(self._workers) < wanted:
            self._workers.append(_Worker())

    def open_ahead(self, batches: Sequence[Sequence[Radiograph]]) -> None:
        """Have radiographs opened in the background, until it is known what to draw of them.

        In batches as they will be given to :meth:`draw`, which tells of faults, call by call.
        """
        with contextlib.suppress(*UNPICKLABLE):
            for radiographs in batches:
                if len(self._ahead) * TOGETHER < AHEAD:
                    self._ahead += [future for *_, future in self._ask(_keep, radiographs)]

    def draw(
        self, recipe: CanvasRecipe, radiographs: Sequence[Radiograph], done: Callable[[int], None]
    ) -> tuple[NDArray[np.uint8], list[str]]:
        """Decode radiographs and draw their canvases; ``done`` is called with 1 after each.

        Returns:
            uint8 ``[N, C, H, W]``, and a line for each radiograph that cannot be used, in order.

        Raises:
            Exception: Whatever else a corpus or recipe raised.
        """
        shape = (len(radiographs), recipe.channels, recipe.height, recipe.width)
        canvases, faults = np.zeros(shape, dtype=np.uint8), []
        with contextlib.closing(self._answers(radiographs, recipe.draw)) as answers:
            for at, (one, answer) in enumerate(zip(radiographs, answers, strict=True)):
                if isinstance(answer, ImageFault):
                    faults.append(f"{one.where}: {answer.reason}")
                elif isinstance(answer, Exception):
                    raise answer
                else:
                    canvases[at] = answer
                done(1)
        return canvases, faults

    def _answers(
        self, radiographs: Sequence[Radiograph], draw: Draw
    ) -> Generator[Answer, None, None]:
        while self._ahead:
            self._ahead.pop().cancel()
        try:
            asked = self._ask(_drawn, radiographs, draw)
        except UNPICKLABLE:
            yield from (_answer(one, draw) for one in radiographs)
            return
        try:
            for some, worker, future in asked:
                try:
                    found = future.result()
                except BrokenProcessPool:
                    found = [worker.alone(one, draw) for one in some]
                yield from found or (_answer(one, draw) for one in some)
        finally:
            for *_, future in asked:
                future.cancel()

    def _ask(
        self, function: Callable[[bytes], Any], radiographs: Sequence[Radiograph], *draw: Draw
    ) -> list[tuple[Sequence[Radiograph], _Worker, Future[Any]]]:
        """Ask for radiographs, some at a time: which they are, who is asked, and what will come."""
        pieces = [radiographs[at : at + TOGETHER] for at in range(0, len(radiographs), TOGETHER)]
        packed = [pickle.dumps((some, *draw)) for some in pieces]
        self.start(len(radiographs))
        asked = zip(pieces, packed, cycle(self._workers), strict=False)
        return [(some, worker, worker.submit(function, sent)) for some, sent, worker in asked]


class _Worker:
    """A process, and the one that takes its place should it end."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self.context = _Context()
        self.pool = ProcessPoolExecutor(1, mp_context=self.context, initializer=_set_up)
        with no_script():
            self.pool.submit(int)  # starts the process, and does not wait for it

    def submit(self, function: Callable[[bytes], Any], packed: bytes) -> Future[Any]:
        try:
            return self.pool.submit(function, packed)
        except BrokenProcessPool:
            self._begin()
            return self.pool.submit(function, packed)

    def alone(self, one: Radiograph, draw: Draw) -> Answer:
        """Ask for one radiograph; it is at fault if it ends two processes, and no other is."""
        for _ in range(2):
            with contextlib.suppress(BrokenProcessPool):
                found: list[Answer] = self.submit(_drawn, pickle.dumps(([one], draw))).result()
                return found[0]
        self.pool.shutdown()
        code = self.context.process.exitcode or 0
        names = {one.value: one.name for one in signal.Signals}
        end = f"crashed (exit status {code})" if code >= 0 else f"was killed ({names.get(-code)})"
        return ImageFault("", reason=f"its decoder {end}")


@contextlib.contextmanager
def no_script() -> Iterator[None]:
    """Start processes that do not run the user's script, which may be one of pytest."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class _Context(SpawnContext):
    """Knows the process that it made."""

    process: SpawnProcess

    def Process(self, *args: Any, **options: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        self.process = SpawnProcess(*args, **options)
        return self.process


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.pool.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        if not _gone(worker.context.process):
            worker.context.process.kill()  # in the middle of an image that nobody waits for
            _gone(worker.context.process)
    workers.clear()


def _gone(process: SpawnProcess, seconds: float = 5.0) -> bool:
    """Whether a process ends within that time.

    Asked again and again: the pool's own thread waits for it too, and ``join`` ends at once where
    that thread was told first and has not had its turn to note it.
    """
    end = time.monotonic() + seconds
    while (alive := process.is_alive()) and time.monotonic() < end:
        time.sleep(0.005)
    return not alive


# In a decoding process ---------------------------------------------------------------------------

_kept: dict[str, Any] = {}
"""Pictures that were opened ahead by their radiographs' keys, each until it is drawn."""


def _set_up() -> None:
    """Print nothing, as it may name a file; leave Ctrl-C to the run; end when that has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - os.devnull is no path on Windows
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)

    def follow(run: Any) -> None:
        run.join()
        os._exit(1)

    threading.Thread(target=follow, args=[parent_process()], daemon=True).start()


def _keep(packed: bytes) -> None:
    for one in pickle.loads(packed)[0]:  # noqa: S301 - from who started this
        if sum(picture.width * picture.height for picture in _kept.values()) < AHEAD_PIXELS:
            with contextlib.suppress(Exception):  # told of when it is to be drawn
                _kept[one.key] = one.open()


def _drawn(packed: bytes) -> list[Answer]:
    """Nothing for functions that are not found here, as those of an interactive session."""
    try:
        radiographs, draw = pickle.loads(packed)  # noqa: S301 - from who started this
    except Exception:
        return []
    return [_answer(one, draw) for one in radiographs]


def _answer(one: Radiograph, draw: Draw) -> Answer:
    try:
        return draw(_kept.pop(one.key, None) or one.open())
    except Exception as fault:
        try:
            pickle.loads(pickle.dumps(fault))  # noqa: S301 - our own
        except Exception:  # it may hold anything, and be made of anything
            return RuntimeError(f"a decoder raised {fault!r}")
        return fault
