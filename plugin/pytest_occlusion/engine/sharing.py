"""Sharing pieces of work out to workers that come, go and die.

It knows nothing of clusters: a crew gives pieces to workers and says what became of them.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from pytest_occlusion.errors import OcclusionError

Piece = TypeVar("Piece")
Given = TypeVar("Given", contravariant=True)

AHEAD = 2
"""Pieces that a worker has at a time: while it answers for one, the next is there already. A few
are in memory at once, however many there are."""

TRIES = 3
"""Workers that may end while they do one piece before it is taken to be the piece's fault."""


@dataclass(frozen=True)
class Done:
    """A piece that was done."""

    number: int
    answer: Any


@dataclass(frozen=True)
class Joined:
    """A worker that can be given pieces from now on."""

    worker: str


@dataclass(frozen=True)
class Gone:
    """A worker that ended; what it had in hand, the first given first, is lost."""

    worker: str
    reason: str


class Crew(Protocol[Given]):
    """Those who do pieces."""

    @property
    def workers(self) -> Collection[str]:
        """Who can be given pieces now."""

    def give(self, worker: str, number: int, piece: Given) -> None:
        """Hand a piece to a worker, which does what it is given in order."""

    def events(self) -> Sequence[Done | Joined | Gone]:
        """What happened; waits until something does.

        Raises:
            OcclusionError: Nothing can happen any more, or nobody has come for long.
        """


@dataclass
class Sharing(Generic[Piece]):
    """One round of pieces shared out to a crew."""

    pieces: Sequence[Piece]
    crew: Crew[Piece]

    def __post_init__(self) -> None:
        """Nothing is given yet."""
        self._waiting = deque(range(len(self.pieces)))
        self._held: dict[str, list[int]] = {worker: [] for worker in self.crew.workers}
        self._ended: Counter[int] = Counter()

    def answers(self) -> Iterator[Done]:
        """Every piece's answer once, as they come.

        Raises:
            OcclusionError: As :meth:`Crew.events`, or a piece at which worker after worker ended.
        """
        left = len(self.pieces)
        while left:
            self._give()
            for event in self.crew.events():
                if isinstance(event, Joined):
                    self._held.setdefault(event.worker, [])
                elif isinstance(event, Gone):
                    self._take_back(event)
                elif self._is_awaited(event.number):
                    left -= 1
                    yield event

    def _give(self) -> None:
        """Fill hands evenly: first who has nothing."""
        for most in range(1, AHEAD + 1):
            for worker, held in self._held.items():
                # At the end no piece should wait behind another while someone has nothing to do:
                # what is left lasts until a worker half as fast as the others is at its second.
                if most > 1 and len(self._waiting) < AHEAD * len(self._held):
                    return
                if len(held) < most and self._waiting:
                    held.append(number := self._waiting.popleft())
                    self.crew.give(worker, number, self.pieces[number])

    def _is_awaited(self, number: int) -> bool:
        """Whether somebody has the piece in hand still; then it is out of it."""
        for held in self._held.values():
            if number in held:
                held.remove(number)
                return True
        return False

    def _take_back(self, event: Gone) -> None:
        held = self._held.pop(event.worker, [])
        if held:  # the others were only waiting
            self._ended[held[0]] += 1
            if self._ended[held[0]] >= TRIES:
                raise OcclusionError(
                    f"{TRIES} workers ended at the same piece of work; the last: {event.reason}",
                    remedy="most likely memory does not suffice: give workers more of it (fewer of "
                    "them to a node), or use a smaller --occlusion-batch-size",
                )
        self._waiting.extendleft(reversed(held))
