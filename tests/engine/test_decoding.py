"""Decoding processes: what they draw, what they survive, and that none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pytest_occlusion.corpora.base import Radiograph
from pytest_occlusion.encoders.base import CanvasRecipe
from pytest_occlusion.engine.decoding import AHEAD, TOGETHER, WORTHWHILE, Decoders
from tests.engine import decoder_tricks as tricks

RECIPE = CanvasRecipe("toy", 1, tricks.SIZE, tricks.SIZE, tricks.shown)


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    made = Decoders(most=2)
    yield made
    made.close()


def processes(decoders: Decoders) -> list[BaseProcess]:
    return [worker.context.process for worker in decoders._workers]


def radiograph(number: int, opens: Callable[[], Image.Image]) -> Radiograph:
    return Radiograph(f"key-{opens!r}", 0, "", f"c{number}", f"row {number}", opens)


def drawn(
    decoders: Decoders, *opens: Callable[[], Image.Image], recipe: CanvasRecipe = RECIPE
) -> tuple[NDArray[np.uint8], list[str]]:
    finished: list[int] = []
    radiographs = [radiograph(number, one) for number, one in enumerate(opens)]
    canvases, faults = decoders.draw(recipe, radiographs, finished.append)
    assert sum(finished) == len(opens)
    return canvases, faults


def test_many_are_drawn_in_order(decoders: Decoders) -> None:
    canvases, faults = drawn(decoders, *(partial(tricks.grey, n) for n in range(2 * WORTHWHILE)))
    assert faults == []
    assert canvases[:, 0, 0, 0].tolist() == list(range(2 * WORTHWHILE))
    assert (canvases == canvases[:, :, :1, :1]).all()


def test_few_start_one_process(decoders: Decoders) -> None:
    decoders.start(WORTHWHILE)
    assert len(processes(decoders)) == 1
    decoders.start(100 * WORTHWHILE)
    assert len(processes(decoders)) == 2


def test_faults_are_named_by_place_and_reason_alone(decoders: Decoders) -> None:
    good = partial(tricks.grey, 9)
    canvases, faults = drawn(decoders, good, tricks.faulty, good, tricks.faulty)
    assert faults == ["row 1: damaged", "row 3: damaged"]
    assert canvases[2].min() == 9


@pytest.mark.parametrize(
    ("crash", "told"),
    [(tricks.killed, "was killed (SIGSEGV)"), (tricks.exits, "crashed (exit status 3)")],
)
def test_a_crash_costs_one_radiograph(
    crash: Callable[[], Image.Image], told: str, decoders: Decoders
) -> None:
    opens: list[Callable[[], Image.Image]] = [partial(tricks.grey, n) for n in range(70)]
    mixed = [*opens[:33], crash, *opens[33:50], crash, crash, *opens[50:]]
    canvases, faults = drawn(decoders, *mixed)
    assert faults == [f"row {at}: its decoder {told}" for at in (33, 51, 52)]
    assert np.delete(canvases, (33, 51, 52), axis=0)[:, 0, 0, 0].tolist() == list(range(70))


def test_an_end_that_no_radiograph_caused_costs_none(decoders: Decoders, tmp_path: Path) -> None:
    """A process that is ended from outside while it has several: they are asked for one by one."""
    opens = [partial(tricks.grey, n) for n in range(TOGETHER - 1)]
    once = partial(tricks.killed_once, str(tmp_path / "mark"), 9)
    canvases, faults = drawn(decoders, *opens[:3], once, *opens[3:])
    assert faults == []
    assert canvases[:, 0, 0, 0].tolist() == [0, 1, 2, 9, 3, 4, 5, 6]


def test_an_end_between_two_drawings_costs_none(decoders: Decoders) -> None:
    assert drawn(decoders, partial(tricks.grey, 1))[1] == []
    (process,) = processes(decoders)
    process.kill()
    canvases, faults = drawn(decoders, *(partial(tricks.grey, n) for n in range(TOGETHER)))
    assert faults == []
    assert canvases[:, 0, 0, 0].tolist() == list(range(TOGETHER))


def test_large_canvases_and_large_recipes_do_not_wait_for_each_other(decoders: Decoders) -> None:
    """Requests and canvases are larger than what a pipe holds; so is what is left at a crash."""
    recipe = CanvasRecipe("large", 1, 400, 400, partial(tricks.enlarged, 400, b"x" * 300_000))
    opens = [partial(tricks.grey, n) for n in range(3 * TOGETHER)]
    canvases, faults = drawn(decoders, *opens, tricks.exits, recipe=recipe)
    assert faults == [f"row {3 * TOGETHER}: its decoder crashed (exit status 3)"]
    assert canvases[:-1, 0, -1, -1].tolist() == list(range(len(opens)))


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no alarms here")
def test_what_is_interrupted_leaves_no_answers_for_the_next(decoders: Decoders) -> None:
    """As pytest-timeout does, in the middle of a message; the same processes are asked again."""

    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    opens = [partial(tricks.grey, n) for n in range(20)]
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(Interrupted):
            drawn(decoders, *opens[:4], tricks.alarming, *opens[4:])
    finally:
        signal.signal(signal.SIGALRM, before)
    canvases, faults = drawn(decoders, *(partial(tricks.grey, 100 + n) for n in range(20)))
    assert faults == []
    assert canvases[:, 0, 0, 0].tolist() == list(range(100, 120))


def test_other_errors_come_through(decoders: Decoders) -> None:
    with pytest.raises(KeyError, match="a bug"):
        drawn(decoders, tricks.wrong)
    with pytest.raises(RuntimeError, match=r"a decoder raised Picky\('one and two'\)"):
        drawn(decoders, tricks.picky)
    assert drawn(decoders, partial(tricks.grey, 1))[1] == []


def test_what_decoders_print_goes_nowhere(
    decoders: Decoders, capfd: pytest.CaptureFixture[str]
) -> None:
    canvases, faults = drawn(decoders, tricks.chatty, tricks.chatty)
    assert faults == []
    assert canvases.min() == 7
    assert capfd.readouterr() == ("", "")


def test_the_same_process_is_asked_again(decoders: Decoders) -> None:
    opens = [partial(tricks.whose, n) for n in range(2 * WORTHWHILE)]
    first, _ = drawn(decoders, *opens)
    again, _ = drawn(decoders, *opens)
    assert (first == again).all()
    assert len({canvas.tobytes() for canvas in first}) == 2


def ahead(decoders: Decoders, *opens: Callable[[], Image.Image], batch: int = 1000) -> None:
    radiographs = [radiograph(number, one) for number, one in enumerate(opens)]
    decoders.open_ahead([radiographs[at : at + batch] for at in range(0, len(opens), batch)])


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_is_opened_ahead_is_not_opened_again(decoders: Decoders, tmp_path: Path) -> None:
    """Batches of 64 on two processes, the last smaller: each is asked for where it was opened."""
    log = tmp_path / "log"
    opens = [partial(tricks.noted, str(log), n) for n in range(150)]
    ahead(decoders, *opens, batch=64)
    wait_for(lambda: log.exists() and log.stat().st_size == len(opens))
    for at in range(0, 150, 64):
        canvases, faults = drawn(decoders, *opens[at : at + 64])
        assert faults == []
        assert canvases[:, 0, 0, 0].tolist() == list(range(150))[at : at + 64]
    assert log.stat().st_size == len(opens)
    drawn(decoders, *opens[:3])
    assert log.stat().st_size == len(opens) + 3, "and it is kept no longer"


@pytest.mark.parametrize("then", ["drawing", "closing"])
def test_nothing_waits_for_what_is_opened_ahead(
    decoders: Decoders, tmp_path: Path, then: str
) -> None:
    log = tmp_path / "log"
    ahead(decoders, *(partial(tricks.slow, str(log), n) for n in range(2000)))
    wait_for(log.exists)
    if then == "drawing":
        assert drawn(decoders, partial(tricks.grey, 7))[1] == []
    else:
        decoders.close()
    assert log.stat().st_size < 1000
    time.sleep(4 * TOGETHER * 0.01)
    before = log.stat().st_size
    time.sleep(0.1)
    assert log.stat().st_size == before, "it went on in the background"


def test_no_more_is_opened_ahead_than_memory_is_given(decoders: Decoders, tmp_path: Path) -> None:
    log = tmp_path / "log"
    ahead(decoders, *(partial(tricks.vast, str(log), n) for n in range(100)))
    for future in decoders._ahead:
        future.result(60)
    assert log.stat().st_size == 2 * 4
    ahead(decoders, *(partial(tricks.vast, str(log), n) for n in range(3 * AHEAD)))
    assert len(decoders._ahead) * TOGETHER < 2 * AHEAD


def test_faults_ahead_are_told_of_when_it_is_their_turn(decoders: Decoders, tmp_path: Path) -> None:
    log = tmp_path / "log"
    opens: list[Callable[[], Image.Image]] = [partial(tricks.grey, n) for n in range(70)]
    fatal = partial(tricks.fatal, str(log))
    mixed: list[Callable[[], Image.Image]] = [*opens[:33], fatal, tricks.faulty, *opens[33:]]
    ahead(decoders, *mixed)
    wait_for(log.exists)
    canvases, faults = drawn(decoders, *mixed)
    assert faults == ["row 33: its decoder was killed (SIGSEGV)", "row 34: damaged"]
    assert np.delete(canvases, (33, 34), axis=0)[:, 0, 0, 0].tolist() == list(range(70))


def test_functions_that_cannot_travel_are_called_here(decoders: Decoders) -> None:
    ahead(decoders, lambda: tricks.grey(1))
    canvases, faults = drawn(decoders, lambda: tricks.grey(5), tricks.faulty)
    assert (canvases[0] == 5).all()
    assert faults == ["row 1: damaged"]
    assert processes(decoders) == []


def test_functions_that_do_not_arrive_are_called_here(
    decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of an interactive session: they can be named here and not found there."""

    def only_here() -> Image.Image:
        return tricks.grey(3)

    only_here.__module__, only_here.__qualname__ = tricks.__name__, "only_here"
    monkeypatch.setattr(tricks, "only_here", only_here, raising=False)
    canvases, faults = drawn(decoders, only_here)
    assert faults == []
    assert (canvases == 3).all()


def test_closing_ends_the_processes_and_the_next_use_starts_new_ones() -> None:
    decoders = Decoders(most=2)
    decoders.start(100 * WORTHWHILE)
    first = processes(decoders)
    decoders.close()
    assert not any(process.is_alive() for process in first)
    assert drawn(decoders, partial(tricks.grey, 1))[1] == []
    (last,) = processes(decoders)
    del decoders
    assert not last.is_alive(), "letting go of them is enough"


def test_a_script_is_not_run_again_in_its_decoders(tmp_path: Path) -> None:
    """It might be one that runs pytest; and what it begins in the background ends with it."""
    script = tmp_path / "script.py"
    script.write_text(
        "from functools import partial\n"
        "from tests.engine.test_decoding import Decoders, ahead, drawn, tricks\n"
        "print('once')\n"
        "made = Decoders()\n"
        "print(drawn(made, partial(tricks.grey, 1))[1])\n"
        "ahead(made, *(partial(tricks.slow, 'log', n) for n in range(300)))\n"
    )
    found = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (found.stdout, found.stderr) == ("once\n[]\n", "")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_none_outlives_a_run_that_is_ended(end: signal.Signals) -> None:
    code = (
        "from pytest_occlusion.engine.decoding import Decoders; import signal, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # not where & started pytest
        "made = Decoders(most=2); made.start(1000)\n"
        "print(*(one.context.process.pid for one in made._workers), flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as run:
        assert run.stdout is not None
        pids = [int(word) for word in run.stdout.readline().split()]
        assert len(pids) == 2
        wait_for(lambda: all(_runs(pid) for pid in pids))
        run.send_signal(end)
    wait_for(lambda: not any(_runs(pid) for pid in pids))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_interrupts_are_the_runs_own_affair(decoders: Decoders) -> None:
    assert drawn(decoders, partial(tricks.grey, 1))[1] == []
    (process,) = processes(decoders)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    assert drawn(decoders, partial(tricks.grey, 2))[1] == []
    assert processes(decoders) == [process]


def test_decoders_do_without_torch(decoders: Decoders) -> None:
    assert drawn(decoders, tricks.without_torch)[1] == []
