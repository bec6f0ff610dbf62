"""What a decoding process runs: requests on its standard input, answers on its standard output.

A message is a list of requests; each has an answer of its own, and none is held back longer than
until the last of its message.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pytest_occlusion.corpora.images import ImageFault

Answer = tuple[str, Any]
"""``("canvas", array)``, ``("fault", reason)``, ``("error", exception)``, ``STRANGE``, or
``("kept", bytes)`` for a radiograph that was opened ahead."""

STRANGE: Answer = ("strange", None)
"""A function that another process cannot find, e.g. one of an interactive session."""

Request = tuple[bytes, bytes | None]
"""A pickled function that opens a radiograph, and one that draws its canvas; ``None`` for the
second where that is not known yet, and the radiograph is to be kept until it is."""


@dataclass
class Kept:
    """Radiographs that were opened ahead, each until it is drawn.

    Attributes:
        pictures: By what opens them.
        size: Their bytes.
    """

    pictures: dict[bytes, Any] = field(default_factory=dict)
    size: int = 0

    def put(self, opens: bytes, picture: Any) -> None:
        """Keep one."""
        self.take(opens)
        self.pictures[opens] = picture
        self.size += _bytes(picture)

    def take(self, opens: bytes) -> Any:
        """Give one away; ``None`` if it was never kept."""
        picture = self.pictures.pop(opens, None)
        if picture is not None:
            self.size -= _bytes(picture)
        return picture


def _bytes(picture: Any) -> int:
    return int(picture.width * picture.height * len(picture.getbands()))


def serve() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the run decides what ends
    answers = os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - os.devnull is no path on Windows
        os.dup2(nowhere.fileno(), 1)
    kept = Kept()
    for requests in _messages():
        for request in requests:
            answer = _answer(request, kept)
            try:
                message = pickle.dumps(answer, protocol=pickle.HIGHEST_PROTOCOL)
                if answer[0] == "error":
                    pickle.loads(message)  # noqa: S301 - our own, before the other side tries it
            except Exception:  # an exception may hold anything, and be made of anything
                message = pickle.dumps(("error", RuntimeError(f"a decoder raised {answer[1]!r}")))
            answers.write(message)
        answers.flush()


def _messages() -> Iterator[Sequence[Request]]:
    while True:
        try:
            yield pickle.load(sys.stdin.buffer)  # noqa: S301 - from who started this
        except EOFError:
            return


def _answer(request: Request, kept: Kept) -> Answer:
    opens, draws = request
    try:
        open_radiograph: Callable[[], Any] = pickle.loads(opens)  # noqa: S301 - as above
        draw = _recipe(draws) if draws is not None else None
    except Exception:
        return STRANGE
    if draw is None:
        with contextlib.suppress(Exception):  # told of when it is to be drawn, and opened again
            kept.put(opens, open_radiograph())
        return "kept", kept.size
    picture = kept.take(opens)
    return answered(open_radiograph if picture is None else lambda: picture, draw)


@lru_cache(maxsize=8)
def _recipe(draws: bytes) -> Callable[[Any], Any]:
    """A recipe may hold a whole image processor: it is unpacked once, not for every radiograph."""
    draw: Callable[[Any], Any] = pickle.loads(draws)  # noqa: S301 - as above
    return draw


def answered(open_radiograph: Callable[[], Any], draw: Callable[[Any], Any]) -> Answer:
    """Open and draw one radiograph, in whatever process."""
    try:
        return "canvas", draw(open_radiograph())
    except ImageFault as fault:
        return "fault", fault.reason
    except Exception as error:
        return "error", error
