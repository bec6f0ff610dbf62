"""How the pieces of a job are shared out, at the scale of MIMIC-CXR, on a clock that is not real.

    python benchmarks/sharing.py

What gives pieces to workers on a cluster (``engine/sharing.py``) gives them here to workers that
only reckon when they would be done. The idle tail is the time from when the first worker has
nothing left to do until the last one is done, as a share of the whole.
"""

from __future__ import annotations

import heapq
import random
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_occlusion.engine.pieces import SHARD, Shown, shown_to
from pytest_occlusion.engine.sharing import Done, Gone, Joined, Sharing

RADIOGRAPHS, CONDITIONS = 377_110, 8
"""MIMIC-CXR whole, and the ratios of a suite."""

NOISE, SLOW = 0.2, 1.5
"""Share by which a piece may take longer or shorter, and how much longer a slow worker takes."""

Event = Done | Joined | Gone


@dataclass
class Reckoned:
    """A crew (``sharing.Crew``) on a clock of its own: nothing is done and nobody waits.

    Attributes:
        workers: Who can be given pieces now.
        seconds: Worker and piece -> how long it takes.
        happens: (time, what) of workers that come or go.
    """

    workers: dict[str, None]
    seconds: Callable[[str, Any], float]
    happens: Iterable[tuple[float, Event]] = ()
    now: float = 0.0
    lost: int = 0  # pieces that were begun in vain
    most_held: int = 0
    held: dict[str, list[int]] = field(default_factory=dict)
    idle_since: dict[str, float] = field(default_factory=dict)
    _agenda: list[tuple[float, int, str, Event]] = field(default_factory=list)
    _free_at: dict[str, float] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        """Put on the agenda what happens to workers anyhow."""
        for when, what in self.happens:
            self._plan(when, "", what)
        for worker in self.workers:
            self.held[worker] = []

    def _plan(self, when: float, worker: str, what: Event) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (when, self._count, worker, what))

    def give(self, worker: str, number: int, piece: Any) -> None:
        """As if it began when it is through with what it has."""
        start = max(self.now, self._free_at.get(worker, 0.0))
        self._free_at[worker] = start + self.seconds(worker, piece)
        self._plan(self._free_at[worker], worker, Done(number, None))
        self.idle_since.pop(worker, None)
        self.held[worker].append(number)
        self.most_held = max(self.most_held, sum(map(len, self.held.values())))

    def events(self) -> Sequence[Event]:
        """The next thing that happens."""
        while True:
            self.now, _, worker, what = heapq.heappop(self._agenda)
            if isinstance(what, Done):
                if what.number not in self.held.get(worker, ()):  # its worker was gone before
                    continue
                self.held[worker].remove(what.number)
                if not self.held[worker]:
                    self.idle_since[worker] = self.now
            elif isinstance(what, Joined):
                if what.worker in self.workers:
                    continue
                self.workers[what.worker] = None
                self.held[what.worker] = []
                self.idle_since[what.worker] = self._free_at[what.worker] = self.now
            else:
                if what.worker not in self.workers:
                    continue
                del self.workers[what.worker]
                self.lost += bool(self.held.pop(what.worker))
                self.idle_since.pop(what.worker, None)
            return [what]


@dataclass(frozen=True)
class Outcome:
    """What a simulation came to."""

    pieces: int
    seconds: float
    tail: float  # time from the first idle worker with nothing left, as a share of the whole
    idle: float  # of all workers' time, the share that was idle in that tail
    lost: int
    most_held: int
    peak: int  # bytes that sharing held at most


def simulate(
    workers: int,
    conditions: int = CONDITIONS,
    radiographs: int = RADIOGRAPHS,
    happens: Iterable[tuple[float, Event]] = (),
    seed: int = 0,
) -> Outcome:
    """Share out MIMIC-CXR; a radiograph takes 1/SHARD of a second under each condition."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    full, rest = divmod(radiographs, SHARD)
    shards = [(range(SHARD), range(conditions))] * full
    if rest:
        shards.append((range(rest), range(conditions)))
    pieces = shown_to(shards, workers)  # type: ignore[arg-type]  # only their lengths count
    slow = {f"node/{at}" for at in range(0, workers, 16)}

    def seconds(worker: str, piece: Shown) -> float:
        passes = len(piece.radiographs) * len(piece.conditions)
        noise = draw.uniform(1 - NOISE, 1 + NOISE)
        return passes / SHARD * noise * (SLOW if worker in slow else 1.0)

    crew = Reckoned({f"node/{at}": None for at in range(workers)}, seconds, happens)
    tracemalloc.start()
    for _ in Sharing(pieces, crew).answers():
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    since = crew.idle_since.values()
    return Outcome(
        len(pieces),
        crew.now,
        (crew.now - min(since)) / crew.now,
        sum(crew.now - one for one in since) / crew.now / len(crew.workers),
        crew.lost,
        crew.most_held,
        peak,
    )


def failing(workers: int, until: float) -> list[tuple[float, Event]]:
    """A quarter of the workers end, one after another, and come back a minute later."""
    events: list[tuple[float, Event]] = []
    for at in range(workers // 4):
        when = until * (at + 0.5) / (workers // 4)
        events += [
            (when, Gone(f"node/{4 * at}", "power")),
            (when + 60, Joined(f"node/{4 * at} again")),
        ]
    return events


def main() -> None:
    """Print a table."""
    print("| workers | conditions | deaths | pieces | tail, % | idle, % | in hand | MiB |")
    print("| ------: | ---------: | -----: | -----: | ------: | ------: | ------: | --: |")
    for workers, conditions, deadly in (
        (2, 8, False),
        (8, 8, False),
        (64, 8, False),
        (64, 8, True),
        (64, 1, False),
        (256, 8, False),
    ):
        whole = RADIOGRAPHS / SHARD * conditions / workers
        happens = failing(workers, 0.9 * whole) if deadly else ()
        found = simulate(workers, conditions, happens=happens)
        print(
            f"| {workers} | {conditions} | {found.lost} | {found.pieces:,} | "
            f"{100 * found.tail:.1f} | {100 * found.idle:.1f} | {found.most_held} | "
            f"{found.peak / 2**20:.1f} |"
        )


if __name__ == "__main__":
    main()
