"""The progress line, on a clock that the test turns."""

from __future__ import annotations

import pytest

from pytest_occlusion.corpora.progress import QUIET_SECONDS, Progress, duration
from pytest_occlusion.engine.parallel import threaded_map


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def start(total: int = 100) -> tuple[Progress, Clock, list[str]]:
    clock, lines = Clock(), list[str]()
    return Progress("clip", total, "radiographs", lines.append, clock=clock), clock, lines


def test_short_work_is_silent() -> None:
    progress, clock, lines = start()
    for _ in range(10):
        clock.now += 0.4
        progress.add(10)
    assert progress.done == 100
    assert lines == []


def test_one_line_every_few_seconds() -> None:
    progress, clock, lines = start()
    for _ in range(20):
        clock.now += 1
        progress.add(5)
    assert len(lines) == 20 / QUIET_SECONDS
    assert lines[0] == "clip: 25 of 100 radiographs (25 %), 5/s, 15 s left"
    assert lines[1] == "clip: 50 of 100 radiographs (50 %), 5/s, 10 s left"
    assert lines[-1] == "clip: 100 of 100 radiographs (100 %), 5/s, 0 s left"


def test_a_pause_makes_one_line_not_many() -> None:
    progress, clock, lines = start()
    clock.now += 600
    progress.add(1)
    progress.add(1)
    assert len(lines) == 1


def test_numbers_have_thousands_separators() -> None:
    progress, clock, lines = start(20_000)
    clock.now += 8
    progress.add(16_000)
    assert lines == ["clip: 16,000 of 20,000 radiographs (80 %), 2,000/s, 2 s left"]


def test_nothing_done_yet_has_no_estimate() -> None:
    progress, clock, lines = start()
    clock.now += 6
    progress.add(0)
    assert lines == ["clip: 0 of 100 radiographs (0 %), 0/s, unknown time left"]


def test_no_work_and_no_time_divide_by_nothing() -> None:
    progress, _, _ = start(0)
    assert "(100 %)" in progress.line(0.0)
    assert "unknown time" in progress.line(0.0)


def test_no_item_is_lost_between_threads() -> None:
    progress, _, _ = start(4000)
    list(threaded_map(progress.add, [1] * 4000, threads=4))
    assert progress.done == 4000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (95, "1 min 35 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (7322, "2 h 2 min"),
        (90_000, "25 h 0 min"),
        (float("inf"), "unknown time"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
