"""Progress through pytest: on a terminal and in a log, serial and on two workers."""

from __future__ import annotations

import os
import pty
import re

import pytest

from tests.plugin.conftest import ALWAYS, CONFTEST, Project, workers
from tests.plugin.forking import Forked, Forks

EAGER = """
from pytest_occlusion.corpora import progress
progress.REDRAW = progress.FIRST = progress.EVERY = 0.0
"""


EVERYTHING = ("--occlusion-no-store", "--occlusion-batch-size", "8", "--snapshot-update")


def on_a_terminal(forks: Forks, *args: str) -> tuple[int, str]:
    """Exit status, and all that a terminal of 80 columns receives."""
    ours, theirs = pty.openpty()
    process = Forked(forks.address, (theirs, theirs, theirs), "pytest", *ALWAYS, *EVERYTHING, *args)
    os.close(theirs)
    received = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        received += part
    os.close(ours)
    return process.wait(), received.decode()


def shown(text: str) -> list[str]:
    """The lines that stay on the screen: only what this plugin and pytest use is understood."""
    lines, column = [""], 0
    text = re.sub(r"\x1b\][^\x1b\x07]*(\x1b\\|\x07)", "", text)  # pytest 9.0 tells the title bar
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\n":
            lines.append("")
            column = 0
        elif part == "\r":
            column = 0
        elif part == "\x1b[K":
            lines[-1] = lines[-1][:column]
        elif not part.startswith("\x1b"):
            lines[-1] = lines[-1][:column] + part + lines[-1][column + len(part) :]
            column += len(part)
    return lines


@pytest.fixture
def eager(project: Project, monkeypatch: pytest.MonkeyPatch) -> Forks:
    """In the project, reporting as often as it can."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    project.pytester.makeconftest(CONFTEST + EAGER)
    return project.forks


@workers
def test_on_a_terminal_a_bar_that_leaves_nothing_behind(
    eager: Forks, parallel: tuple[str, ...]
) -> None:
    status, text = on_a_terminal(eager, *parallel)
    assert status == 0, text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    if not parallel:
        assert re.search(r"\rgood: encoding .*/s, .* left", plain.replace("\x1b[K", ""))
    lines = shown(text)
    left = [line for line in lines if " left" in line]
    if parallel:
        assert any(re.match(r"\[gw[01]\] good: ", line) for line in left)
    assert all(re.match(r"\[gw[01]\] \w+: \w+", line) for line in left), "nothing of a bar"
    dots = [line for line in lines if re.match(r"(test_toy\.py )?\.+( +\[ *\d+%\])?$", line)]
    assert sum(line.split("[")[0].count(".") - ("py" in line) for line in dots) == 18
    drawn = re.findall(r"\r\x1b\[K([^\r\n]+)", text)
    assert all(
        len(re.sub(r"\x1b\[[0-9;]*[mK]", "", bar).partition(" left")[0]) < 80 for bar in drawn
    )
    assert any("16 baselines written" in line for line in lines)


@workers
@pytest.mark.usefixtures("eager")
def test_in_a_log_whole_lines(project: Project, parallel: tuple[str, ...]) -> None:
    done = project.alone(*EVERYTHING, *parallel)
    assert done.ret == 0
    assert "left" not in done.stderr.str()
    found = [line for line in done.outlines if " left" in line]
    worker = r"(\[gw[01]\] )?" if parallel else ""
    count = r"[\d,]+ of [\d,]+ [a-z ]+ \(\d+ %\), +[\d.?]+ [a-z ]+/s, .* left"
    whole = rf"{worker}(good|other|corpus): \w+: {count}"
    assert found
    assert any("encoding" in line and line.startswith("[gw") == bool(parallel) for line in found)
    assert [line for line in found if not re.fullmatch(whole, line)] == []
    told = done.stdout.str()
    assert not [words for words in ("\r", "\x1b", "secret") if words in told]


def test_a_failing_model_leaves_no_bar(eager: Forks, project: Project) -> None:
    project.checkpoint("good", image=float("nan"))
    status, text = on_a_terminal(eager)
    assert status == 1
    assert [line for line in shown(text) if " left" in line] == []


def test_short_work_says_nothing(project: Project) -> None:
    result = project.run("--snapshot-update", expect=0)
    assert " left" not in result.stdout.str()


def test_a_dumb_terminal_gets_lines(eager: Forks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    status, text = on_a_terminal(eager)
    assert status == 0, text
    assert "\r\x1b[K" not in text
    assert " left\r\n" in text
