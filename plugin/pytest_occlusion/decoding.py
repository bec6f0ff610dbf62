"""Canvases drawn in processes of their own: on all cores, and safe from a decoder that crashes.

A process is sent one pickled radiograph after another over its standard input and answers over its
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
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pytest_occlusion.corpora.base import Radiograph
from pytest_occlusion.corpora.images import ImageFault
from pytest_occlusion.errors import OcclusionError, listed
from pytest_occlusion.parallel import threaded_map, usable_cores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pytest_occlusion.encoders.base import CanvasRecipe

WORTHWHILE = 32
"""Radiographs for which one more process pays: it takes about as long to start."""

SERVE = "from pytest_occlusion.decoding import serve; serve()"

Answer = tuple[str, Any]
"""``("canvas", array)``, ``("fault", reason)``, ``("error", exception)`` or ``STRANGE``."""

STRANGE: Answer = ("strange", None)
"""A function that another process cannot find, e.g. one of an interactive session."""


@dataclass
class Decoders:
    """The decoding processes of one run; started when first needed and kept for its other models.

    Attributes:
        most: How many there may be.
    """

    most: int = field(default_factory=usable_cores)
    _processes: list[subprocess.Popen[bytes] | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        """See that no process is left when the run lets go of this."""
        weakref.finalize(self, _stop_all, self._processes)

    def close(self) -> None:
        """End the processes; the next use starts new ones."""
        _stop_all(self._processes)

    def start(self, radiographs: int) -> int:
        """Start as many as pay, without waiting for them; gives their number."""
        wanted = max(1, min(self.most, radiographs // WORTHWHILE))
        while len(self._processes) < wanted:
            self._processes.append(_started())
        return wanted

    def draw(
        self,
        recipe: CanvasRecipe,
        radiographs: Sequence[Radiograph],
        canvases: NDArray[np.uint8],
        done: Callable[[int], None],
    ) -> list[str]:
        """Decode radiographs and draw their canvases.

        Args:
            recipe: What to draw.
            radiographs: What to decode.
            canvases: uint8 ``[N, C, H, W]``, filled.
            done: Called with 1 after each.

        Returns:
            A line for each radiograph that cannot be used, in order.

        Raises:
            Exception: Whatever else a corpus or recipe raised.
        """
        try:
            shown = pickle.dumps(recipe.draw)
            requests = [pickle.dumps((one.open, shown)) for one in radiographs]
        except (pickle.PicklingError, AttributeError, TypeError):
            requests = []  # functions inside functions: only this process can call them
        answers: list[Answer | None] = [None] * len(radiographs)

        def take(share: int) -> None:
            # A fixed share: a process that keeps what it has drawn is asked for it again.
            for at in range(share, len(radiographs), count):
                kind, value = self._ask(share, requests[at]) if requests else STRANGE
                if kind == "strange":
                    kind, value = _answered(radiographs[at].open, recipe.draw)
                if kind == "error":
                    raise value
                if kind == "canvas":
                    canvases[at] = value
                else:
                    answers[at] = kind, value
                done(1)

        count = self.start(len(radiographs)) if requests else usable_cores()
        for _ in threaded_map(take, range(count), threads=count):
            pass
        faults = zip(radiographs, answers, strict=True)
        return [f"{one.where}: {answer[1]}" for one, answer in faults if answer is not None]

    def _ask(self, place: int, request: bytes) -> Answer:
        process = self._processes[place] or _started()
        self._processes[place] = process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump(request, process.stdin)
            process.stdin.flush()
            answer: Answer = pickle.load(process.stdout)  # noqa: S301 - from our own process
        except (OSError, EOFError, pickle.UnpicklingError):
            self._processes[place] = None
            return "fault", f"its decoder {_end(process)}"
        return answer


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


def _stop_all(processes: list[subprocess.Popen[bytes] | None]) -> None:
    for process in filter(None, processes):
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()  # all at once; then wait for each
    for process in filter(None, processes):
        _stop(process)
    processes.clear()


def serve() -> None:
    """Answer requests until there are no more; what a decoding process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the run decides what ends
    answers = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - os.devnull is no path on Windows
        os.dup2(nowhere.fileno(), 1)
    for request in _requests():
        try:
            open_radiograph, shown = pickle.loads(request)  # noqa: S301 - from who started this
            draw = _recipe(shown)
        except Exception:
            answer = STRANGE
        else:
            answer = _answered(open_radiograph, draw)
        try:
            message = pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception:  # an exception may hold anything
            message = pickle.dumps(("error", RuntimeError(f"a decoder raised {answer[1]!r}")))
        answers.write(message)
        answers.flush()


def _requests() -> Iterator[bytes]:
    while True:
        try:
            yield pickle.load(sys.stdin.buffer)  # noqa: S301 - from who started this
        except EOFError:
            return


@lru_cache(maxsize=8)
def _recipe(shown: bytes) -> Callable[[Any], Any]:
    """A recipe may hold a whole image processor: it is unpacked once, not for every radiograph."""
    draw: Callable[[Any], Any] = pickle.loads(shown)  # noqa: S301 - as above
    return draw


def _answered(open_radiograph: Callable[[], Any], draw: Callable[[Any], Any]) -> Answer:
    try:
        return "canvas", draw(open_radiograph())
    except ImageFault as fault:
        return "fault", fault.reason
    except Exception as error:
        return "error", error
