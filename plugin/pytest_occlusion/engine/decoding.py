"""Canvases drawn in processes of their own: on all cores, and safe from a decoder that crashes.

A process is sent a few pickled radiographs at a time over its standard input and answers over its
standard output. It ends when its input does, so none outlives the run, however that ended. What a
decoder prints goes nowhere: it may name a file.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_occlusion.corpora.base import Radiograph
from pytest_occlusion.engine.decoder import STRANGE, Answer, Request, answered
from pytest_occlusion.engine.parallel import threaded_map, usable_cores
from pytest_occlusion.errors import OcclusionError, listed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_occlusion.encoders.base import CanvasRecipe

WORTHWHILE = 32
"""Radiographs for which one more process pays: it takes about as long to start."""

SERVE = "from pytest_occlusion.engine.decoder import serve; serve()"

TOGETHER = 8
"""Radiographs that a process is asked for at a time: waking it takes longer than a small canvas."""

QUICK = 0.02
"""Seconds for one radiograph above which they are asked for one by one: progress does not wait."""

AHEAD_BYTES = 256 * 2**20
"""Most that one process keeps of radiographs that were opened ahead."""

Processes = list[subprocess.Popen[bytes] | None]


@dataclass
class _Ahead:
    """The threads that ask for radiographs to be opened ahead, one per process."""

    threads: list[threading.Thread] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def begin(self, processes: Processes, place: int, requests: Sequence[Request]) -> None:
        """Ask the process at a place for one after another."""

        def ask() -> None:
            for request in requests:
                if self.stop.is_set():
                    return
                ((kind, value),) = _ask(processes, place, [request])
                if kind == "strange" or (kind == "kept" and value >= AHEAD_BYTES):
                    return

        self.threads.append(threading.Thread(target=ask, daemon=True))
        self.threads[-1].start()

    def end(self) -> None:
        """Wait for what has been asked for; ask for no more."""
        self.stop.set()
        for thread in self.threads:
            thread.join()
        self.threads.clear()
        self.stop.clear()


@dataclass
class Decoders:
    """The decoding processes of one run; started when first needed and kept for its other models.

    Attributes:
        most: How many there may be.
    """

    most: int = field(default_factory=usable_cores)
    _processes: Processes = field(default_factory=list)
    _ahead: _Ahead = field(default_factory=_Ahead)

    def __post_init__(self) -> None:
        """See that no process is left when the run lets go of this."""
        weakref.finalize(self, _stop_all, self._processes, self._ahead)

    def close(self) -> None:
        """End the processes; the next use starts new ones."""
        _stop_all(self._processes, self._ahead)

    def start(self, radiographs: int) -> int:
        """Start as many as pay, without waiting for them; gives their number."""
        wanted = max(1, min(self.most, radiographs // WORTHWHILE))
        while len(self._processes) < wanted:
            self._processes.append(_started())
        return wanted

    def open_ahead(self, batches: Sequence[Sequence[Radiograph]]) -> None:
        """Have radiographs decoded while it is not known yet what is to be drawn of them.

        That goes on in the background until the first of them are drawn, or the processes hold
        :data:`AHEAD_BYTES` each. Faults are told of when they are drawn.

        Args:
            batches: The radiographs as they will be given to :meth:`draw`, call by call.
        """
        if self._ahead.threads:  # asked before, for a model that could not be opened
            return
        try:
            requests: list[list[Request]] = [
                [(pickle.dumps(one.open), None) for one in radiographs] for radiographs in batches
            ]
        except (pickle.PicklingError, AttributeError, TypeError):
            return
        counts = [self.start(len(radiographs)) for radiographs in batches]
        for place in range(max(counts, default=0)):
            own = [
                request
                for some, count in zip(requests, counts, strict=True)
                if place < count
                for request in some[place::count]
            ]
            self._ahead.begin(self._processes, place, own)

    def draw(
        self,
        recipe: CanvasRecipe,
        radiographs: Sequence[Radiograph],
        done: Callable[[int], None],
    ) -> tuple[NDArray[np.uint8], list[str]]:
        """Decode radiographs and draw their canvases.

        Args:
            recipe: What to draw.
            radiographs: What to decode.
            done: Called with 1 after each.

        Returns:
            uint8 ``[N, C, H, W]``, and a line for each radiograph that cannot be used, in order.

        Raises:
            Exception: Whatever else a corpus or recipe raised.
        """
        import numpy as np

        shape = (len(radiographs), recipe.channels, recipe.height, recipe.width)
        canvases = np.zeros(shape, dtype=np.uint8)
        try:
            shown = pickle.dumps(recipe.draw)
            requests: list[Request] = [(pickle.dumps(one.open), shown) for one in radiographs]
        except (pickle.PicklingError, AttributeError, TypeError):
            requests = []  # functions inside functions: only this process can call them
        self._ahead.end()
        answers: list[Answer | None] = [None] * len(radiographs)

        def take(share: int) -> None:
            # A fixed share: a process that keeps what it has drawn is asked for it again.
            own = range(share, len(radiographs), count)
            size = 1
            while own:
                some, own = own[:size], own[size:]
                start = time.perf_counter()
                found = [STRANGE] * len(some)
                if requests:
                    found = _ask(self._processes, share, [requests[at] for at in some])
                for at, (kind, value) in zip(some, found, strict=True):
                    if kind == "strange":
                        kind, value = answered(radiographs[at].open, recipe.draw)
                    if kind == "error":
                        raise value
                    if kind == "canvas":
                        canvases[at] = value
                    else:
                        answers[at] = kind, value
                    done(1)
                seconds = time.perf_counter() - start
                size = TOGETHER if seconds < QUICK * len(some) else 1

        count = self.start(len(radiographs)) if requests else usable_cores()
        for _ in threaded_map(take, range(count), threads=count):
            pass
        faults = zip(radiographs, answers, strict=True)
        told = [f"{one.where}: {answer[1]}" for one, answer in faults if answer is not None]
        return canvases, told


def _ask(processes: Processes, place: int, requests: Sequence[Request]) -> list[Answer]:
    """The answers of the process at a place, in order.

    When it crashes a new one takes its place, and is asked for what is left one by one: so it is
    known which radiograph it was.
    """
    process = processes[place] or _started()
    processes[place] = process
    assert process.stdin is not None
    assert process.stdout is not None
    answers: list[Answer] = []
    try:
        process.stdin.write(pickle.dumps(requests))
        process.stdin.flush()
        for _ in requests:
            answers.append(pickle.load(process.stdout))  # noqa: S301 - from our own process
    except (OSError, EOFError, pickle.UnpicklingError):
        processes[place] = None
        end = _end(process)
        if len(requests) == 1:
            return [("fault", f"its decoder {end}")]
        for request in requests[len(answers) :]:
            answers += _ask(processes, place, [request])
    except BaseException:  # what is still in the pipe would be taken for the next answers
        processes[place] = None
        process.kill()
        _stop(process)
        raise
    return answers


def unusable(corpus: str, faults: Sequence[str], *, remedy: str) -> OcclusionError:
    """The error to raise for what :meth:`Decoders.draw` found.

    Args:
        corpus: Name of the corpus.
        faults: A line for each radiograph, at least one.
        remedy: What the user can do.
    """
    return OcclusionError(
        f"{len(faults)} radiographs of the corpus {corpus!r} cannot be used:\n{listed(faults)}",
        remedy=remedy,
    )


def _started() -> subprocess.Popen[bytes]:
    """A decoding process that can import what this one can."""
    return subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
        [sys.executable, "-P", "-c", SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def _end(process: subprocess.Popen[bytes]) -> str:
    """How a process ended, in words."""
    _stop(process)
    code = process.returncode
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was killed ({signal.Signals(-code).name})"
    return f"crashed (exit status {code})"


def _stop(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:  # in the middle of an image that nobody waits for
        process.kill()
        process.wait()


def _stop_all(processes: Processes, ahead: _Ahead) -> None:
    ahead.end()
    for process in filter(None, processes):
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()  # all at once; then wait for each
    for process in filter(None, processes):
        _stop(process)
    processes.clear()
