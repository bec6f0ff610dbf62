"""The bar, the screen that it shares with pytest, and the notes of workers."""

from __future__ import annotations

import io
import re
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from pytest_occlusion.corpora.progress import Display, Progress, Update
from pytest_occlusion.hooks.display import ERASE, Bar, Lines, Screen, bar_line, several_lines
from pytest_occlusion.hooks.mailbox import Mailbox, Watch

HALF = Update("clip: encoding", 500, 1000, "radiographs", 10.0)


def visible(text: str) -> str:
    """Without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.fixture
def no_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)


def test_displays_are_displays(tmp_path: Path) -> None:
    screen = Screen(io.StringIO())
    for one in (Bar(screen, lambda: 80, nullcontext), Lines(print), Mailbox(tmp_path, live=True)):
        assert isinstance(one, Display)
    assert not isinstance(print, Display)


@pytest.mark.usefixtures("no_rich")
def test_the_plain_bar() -> None:
    bar = "############" + "-" * 10
    expected = f"clip: encoding [{bar}]  50 %, 50/s, 10 s left".replace("############", "#" * 11)
    assert bar_line(HALF, 80) == expected.replace("-" * 10, "-" * 11)


@pytest.mark.parametrize("width", [20, 40, 41, 60, 80, 300])
def test_a_bar_fits_and_says_the_numbers(width: int) -> None:
    text = visible(bar_line(HALF, width))
    assert len(text) < width
    if width >= 40:
        assert text.endswith(" 50 %, 50/s, 10 s left")
    if width >= 60:
        assert text.startswith("clip: encoding ")


def test_richs_bar_where_there_is_rich() -> None:
    pytest.importorskip("rich")
    text = bar_line(HALF, 80)
    assert "\x1b[" in text
    assert "#" not in text


def test_several_workers_share_a_line() -> None:
    text = several_lines([("gw0", HALF), ("gw1", HALF)], 80)
    assert text == "gw0 clip: encoding 50 %, 10 s left | gw1 clip: encoding 50 %, 10 s left"
    assert len(several_lines([("gw0", HALF)] * 9, 80)) == 79
    assert visible(several_lines([("gw3", HALF)], 80)).startswith("gw3 clip: encoding ")


def test_pytests_output_takes_the_bar_away() -> None:
    file = io.StringIO()
    screen = Screen(file)
    screen.draw("bar")
    screen.write("..")
    screen.draw("bar 2")
    screen.write(".\n")
    screen.draw("")
    screen.line("for good")
    assert file.getvalue() == f"{ERASE}bar{ERASE}..\n{ERASE}bar 2{ERASE}.\nfor good\n"
    assert screen.getvalue() == file.getvalue(), "everything else is the file's"


def test_a_line_never_begins_in_the_middle_of_another() -> None:
    file = io.StringIO()
    screen = Screen(file)
    screen.write("..")
    screen.line("one")
    screen.line("two")
    assert file.getvalue() == "..\none\ntwo\n"


def test_a_bar_is_gone_at_the_end() -> None:
    file, now = io.StringIO(), [0.0]
    bar = Bar(Screen(file), lambda: 80, nullcontext)
    progress = Progress("clip", 10, "texts", bar, clock=lambda: now[0])
    for _ in range(10):
        now[0] += 0.5
        progress.add(1)
    assert file.getvalue().count("\r") == 9 + 1
    assert file.getvalue().endswith(ERASE)
    bar("calibration 1 of 2")
    assert file.getvalue().endswith(f"{ERASE}calibration 1 of 2\n")


def test_quick_work_leaves_nothing_on_the_terminal() -> None:
    file = io.StringIO()
    bar = Bar(Screen(file), lambda: 80, nullcontext)
    Progress("clip", 10, "texts", bar, clock=lambda: 0.0).add(10)
    assert file.getvalue() == ""


@pytest.mark.parametrize("live", [True, False])
def test_notes_reach_the_controller(tmp_path: Path, live: bool) -> None:
    file = io.StringIO()
    watch = Watch(Screen(file), live, lambda: 80, tmp_path)
    boxes = [Mailbox(tmp_path / f"gw{n}.jsonl", live) for n in range(2)]
    for box in boxes:
        box.show(HALF)
    watch.look()
    watch.look()
    boxes[1]("calibration 1 of 2")
    boxes[0].show(Update("clip: encoding", 1000, 1000, "radiographs", 20.0))
    with (tmp_path / "gw1.jsonl").open("a") as half:
        half.write('{"line": "half a no')  # a worker may be writing just now
    watch.look()
    watch.stop()
    text = visible(file.getvalue())
    assert text.count("[gw1] calibration 1 of 2\n") == 1
    assert "half a no" not in text
    assert not tmp_path.exists()
    if live:
        assert "gw0 clip: encoding 50 %, 10 s left | gw1 clip: encoding" in text
        assert text.endswith(ERASE)
    else:
        lines = text.splitlines()
        assert lines[0] == "[gw0] clip: encoding: 500 of 1,000 radiographs (50 %), 50/s, 10 s left"
        assert len(lines) == 4
        assert "\r" not in text
