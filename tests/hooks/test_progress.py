"""The progress line and the bar, on a clock that the test turns."""

from __future__ import annotations

import io
import time
from contextlib import nullcontext, suppress

import pytest

from pytest_occlusion.corpora.progress import EVERY, FIRST, Progress, Terminal
from pytest_occlusion.engine.parallel import batch_map


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_short_work_is_silent(clock: Clock) -> None:
    lines: list[str] = []
    with Progress("clip", 100, "texts", lines.append) as progress:
        for _ in range(10):
            clock.now += 0.4
            progress.add(10)
    assert progress.done == 100
    assert lines == []


def test_a_line_now_and_then(clock: Clock) -> None:
    lines: list[str] = []
    with Progress("clip", 20_000, "radiographs", lines.append) as progress:
        clock.now += FIRST
        progress.add(1000)
        for _ in range(90):
            clock.now += 1
            progress.add(200)
        assert len(lines) == 1 + 90 / EVERY
        clock.now += 600
        progress.add(500)
        progress.add(500)
    assert lines[0] == "clip: 1,000 of 20,000 radiographs (5 %), 200.00 radiographs/s, 01:35 left"
    assert len(lines) == 5, "a pause makes one line, not many"
    assert " 19,500 of 20,000 radiographs (98 %), " in lines[-1]


def test_nothing_done_yet_has_no_estimate(clock: Clock) -> None:
    lines: list[str] = []
    with Progress("clip", 100, "texts", lines.append) as progress:
        clock.now += 6
        progress.add(0)
    assert lines == ["clip: 0 of 100 texts (0 %), ? texts/s, ? left"]


def test_no_item_is_lost_between_threads() -> None:
    progress = Progress("clip", 4000, "texts", print)
    list(batch_map(progress.add, [1] * 4000, threads=4))
    assert progress.done == 4000


@pytest.mark.parametrize("columns", [30, 60, 80, 300])
def test_a_bar_draws_over_itself_and_is_gone_at_the_end(
    clock: Clock, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    file = io.StringIO()
    terminal = Terminal(lambda: nullcontext(file))
    with suppress(KeyError), Progress("clip: encoding", 10, "texts", terminal) as progress:
        for _ in range(8):
            clock.now += 0.1
            progress.add(1)
        raise KeyError
    terminal("calibration 1 of 2")
    start, *bars, end = file.getvalue().split("\r\x1b[K")
    assert start == ""
    assert len(bars) == 4
    assert end == "calibration 1 of 2\n"
    assert all(len(bar) < columns for bar in bars)
    if columns >= 60:
        assert all(bar.startswith("clip: encoding ") for bar in bars)
        assert bars[-1].endswith(" 80 %, 10.00 texts/s, 00:00 left")


def test_quick_work_leaves_nothing_on_the_terminal(clock: Clock) -> None:
    file = io.StringIO()
    with Progress("clip", 10, "texts", Terminal(lambda: nullcontext(file))) as progress:
        progress.add(10)
    assert file.getvalue() == ""
