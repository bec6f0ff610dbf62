"""Sharing out: every piece answered once, whoever comes, goes and dies; on a clock of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.engine.sharing import AHEAD, TRIES, Done, Gone, Joined, Sharing
from pytest_occlusion.errors import OcclusionError
from tests.scripts import load_script

sharing = load_script("sharing")
Event = Done | Joined | Gone


# By hand -----------------------------------------------------------------------------------------


@dataclass
class Scripted:
    """A crew to which happens what is written."""

    script: list[list[Event]]
    workers: list[str] = field(default_factory=list)
    given: list[tuple[str, int]] = field(default_factory=list)
    before: list[int] = field(default_factory=list)  # how many were given when it was asked

    def give(self, worker: str, number: int, piece: object) -> None:
        self.given.append((worker, number))

    def events(self) -> Sequence[Event]:
        self.before.append(len(self.given))
        return self.script.pop(0)


def answers(*numbers: int) -> list[list[Event]]:
    """Answers to these pieces, one after another."""
    return [[Done(number, None)] for number in numbers]


def shared(count: int, crew: Any) -> list[int]:
    """Numbers of the pieces as their answers come."""
    return [done.number for done in Sharing(range(count), crew).answers()]


def test_no_pieces_need_no_workers() -> None:
    assert shared(0, Scripted([])) == []


def test_who_has_nothing_comes_first() -> None:
    crew = Scripted(answers(1, 0, 2, 3, 4, 5), ["a", "b"])
    assert shared(6, crew) == [1, 0, 2, 3, 4, 5]
    assert crew.given[:4] == [("a", 0), ("b", 1), ("a", 2), ("b", 3)]
    assert crew.before[:2] == [3, 4], "b has one only: three are left for two, which may be the end"


def test_what_a_dead_worker_had_comes_next_and_in_order() -> None:
    crew = Scripted([[Gone("a", "power"), Joined("c")], *answers(*range(8))], ["a", "b"])
    assert shared(8, crew) == [*range(8)]
    of_a = [number for worker, number in crew.given if worker == "a"]
    of_c = [number for worker, number in crew.given if worker == "c"]
    assert of_a == [0, 2]
    assert of_c[0] == 0
    assert {number for _, number in crew.given} == set(range(8))
    after = [number for _, number in crew.given[3:]]
    assert after.index(0) < after.index(2) < after.index(4)


def test_only_the_piece_that_was_begun_counts_as_tried() -> None:
    """Piece 1 is lost as often as may be, but was only waiting for its turn, twice."""
    dies: list[Event] = [Gone("a", "power"), Joined("a")]
    crew = Scripted([dies, dies, *answers(0), dies, *answers(*range(1, 12))], ["a"])
    assert shared(12, crew) == [*range(12)]
    assert Counter(number for _, number in crew.given)[1] == TRIES + 1


def test_a_piece_at_which_worker_after_worker_ends() -> None:
    script: list[list[Event]] = [
        [Gone(f"w{at}", f"reason {at}"), Joined(f"w{at + 1}")] for at in range(TRIES)
    ]
    crew = Scripted(script, ["w0"])
    with pytest.raises(OcclusionError, match="3 workers ended at the same piece") as fault:
        shared(9, crew)
    assert "the last: reason 2" in fault.value.problem
    assert "memory does not suffice" in fault.value.remedy
    assert Counter(number for _, number in crew.given)[0] == TRIES


def test_a_worker_that_ends_with_empty_hands_is_no_fault() -> None:
    gone: list[Event] = [Gone(name, "x") for name in ("b", "c", "nobody")]
    crew = Scripted([gone, [Done(0, None)]], ["a", "b", "c"])
    assert shared(1, crew) == [0]


def test_an_answer_that_nobody_waits_for_is_not_given_twice() -> None:
    """A worker answers, is taken for dead, and what it had is done by another."""
    crew = Scripted(
        [[Gone("a", "missed"), Joined("b")], [Done(0, "b's"), Done(0, "a's")], [Done(1, None)]],
        ["a"],
    )
    assert shared(2, crew) == [0, 1]


def test_a_worker_that_is_announced_twice_keeps_what_it_has() -> None:
    crew = Scripted([[Joined("a")], [Done(0, None)]], ["a"])
    assert shared(1, crew) == [0]


# By chance ---------------------------------------------------------------------------------------


class Watched(sharing.Reckoned):  # type: ignore[misc, name-defined]  # of a script
    """It says several things at once, and counts for itself at which pieces workers ended."""

    batch = 1
    together = False

    def watch(self, batch: int = 1) -> Watched:
        self.batch, self.ended = batch, Counter[int]()
        return self

    def events(self) -> Sequence[Event]:
        held = [len(one) for one in self.held.values()]
        self.together |= 0 in held and max(held) > 1
        found: list[Event] = []
        while len(found) < self.batch:
            before = {worker: list(pieces) for worker, pieces in self.held.items()}
            try:
                (event,) = super().events()
            except IndexError:  # nothing more is to come
                assert found, "it waits for nothing"
                break
            if isinstance(event, Gone) and before[event.worker]:
                self.ended[before[event.worker][0]] += 1
            found.append(event)
        return found


names = st.sampled_from("abcde")
happenings = st.lists(
    st.tuples(st.floats(0, 30), st.one_of(st.builds(Joined, names), st.builds(Gone, names, names))),
    max_size=25,
)


@given(st.lists(st.floats(0.1, 5), max_size=30), st.sets(names), happenings, st.integers(1, 4))
def test_every_piece_is_answered_once(
    lengths: list[float], there: set[str], happens: list[tuple[float, Event]], batch: int
) -> None:
    last = (31.0, Joined("the last"))  # who does what is left
    crew = Watched(
        dict.fromkeys(sorted(there)), lambda worker, piece: lengths[piece], [*happens, last]
    ).watch(batch)
    answered = []
    try:
        for done in Sharing(range(len(lengths)), crew).answers():
            answered.append(done.number)
    except OcclusionError:
        assert max(crew.ended.values()) >= TRIES
        assert len(set(answered)) == len(answered)
    else:
        assert sorted(answered) == [*range(len(lengths))]


@given(st.lists(st.floats(1, 1.99), max_size=80), st.integers(1, 9))
def test_nobody_waits_behind_another_at_the_end(lengths: list[float], workers: int) -> None:
    crew = Watched(
        {str(at): None for at in range(workers)}, lambda worker, piece: lengths[piece]
    ).watch()
    assert len(shared(len(lengths), crew)) == len(lengths)
    assert not crew.together, "one had nothing to do while another had two"
    assert crew.most_held <= AHEAD * workers


# At the scale of MIMIC-CXR -----------------------------------------------------------------------


@pytest.mark.parametrize("deadly", [False, True])
def test_mimic_on_64_workers_has_no_idle_tail(deadly: bool) -> None:
    happens = sharing.failing(64, 150.0) if deadly else ()
    found = sharing.simulate(64, happens=happens)
    assert found.tail <= 0.05
    assert found.lost == (16 if deadly else 0)
    ideal = sharing.RADIOGRAPHS * sharing.CONDITIONS / sharing.SHARD / 64
    assert found.seconds <= 1.1 * ideal, "a sixteenth of the workers is slow, a quarter dies"


def test_memory_does_not_grow_with_the_work() -> None:
    one, four = (sharing.simulate(64, radiographs=times * 94_000) for times in (1, 4))
    assert one.most_held == four.most_held == AHEAD * 64
    number = 8 + 32  # bytes of a place in the list and what stands there
    assert four.peak - one.peak <= 1.5 * number * (four.pieces - one.pieces) + 20_000
