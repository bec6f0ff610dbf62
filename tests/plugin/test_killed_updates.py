"""Processes that are killed in the middle of an update lose nothing and leave nothing half-written.

``OCCLUSION_KILLS`` sets how many updates are killed at random moments (3 in the ordinary tests).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.conftest import Project, workers

KILLS = int(os.environ.get("OCCLUSION_KILLS", "3"))

MODELS = ("good", "other")

pytestmark = pytest.mark.slow

linux = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks into /proc")


def children(process: int) -> list[int]:
    """Direct children of a process (Linux)."""
    path = Path(f"/proc/{process}/task/{process}/children")
    with contextlib.suppress(OSError):
        return [int(number) for number in path.read_text().split()]
    return []


def cells(project: Project, model: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(project.snapshot(model).read_text())
    assert content["cells"].keys() == content["hit_queries"].keys()
    assert all(line["from"] in content["provenance"] for line in content["cells"].values())
    return dict(content["cells"])


def spoil(project: Project, noise: float) -> None:
    """New weights for all, so that every update has something to write."""
    for model in MODELS:
        project.checkpoint(model, noise=noise)


def update(
    project: Project, *args: str, output: int = subprocess.PIPE, **environment: str
) -> subprocess.Popen[bytes]:
    """Start an update in a process of its own."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *args),
            *("--occlusion-store", "store", "--snapshot-update"),
        ],
        cwd=project.path,
        env={**os.environ, **environment},
        stdout=output,
        stderr=subprocess.DEVNULL,
    )


def workers_of(run: subprocess.Popen[bytes]) -> list[int]:
    """Both workers, once they are there; none of a run that has ended."""
    while run.poll() is None:
        if len(found := children(run.pid)) == 2:
            return found
        time.sleep(0.02)
    return []


def seconds_of(run: subprocess.Popen[bytes]) -> float:
    """From when both workers are there to the end of a run."""
    workers_of(run)
    start = time.monotonic()
    run.communicate()
    return time.monotonic() - start


def left_behind(project: Project) -> list[Path]:
    """Temporary files beside the baselines, made to look older than any writer is."""
    found = list(project.path.glob("baselines/**/.*"))
    for path in found:
        os.utime(path, (0, 0))
    return found


@linux
def test_killed_updates_lose_nothing(project: Project) -> None:
    project.accept()
    complete = {model: set(cells(project, model)) for model in MODELS}
    draw = random.Random(0)
    spoil(project, 0.45)
    lasts = seconds_of(update(project, "-n", "2"))
    killed = 0
    for number in range(KILLS):
        spoil(project, 0.5 + 0.1 * (number % 7))
        run = update(project, "-n", "2", "--max-worker-restart=0", output=subprocess.DEVNULL)
        workers_of(run)
        # Early, in the middle and late by turns.
        time.sleep(lasts * 0.95 * (number % 3 + draw.random()) / 3)
        alive = children(run.pid) if run.poll() is None else []
        for victim in draw.sample(alive, k=min(len(alive), draw.choice((1, 2)))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                killed += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(timeout=120)
        if run.poll() is None:
            run.kill()
            run.wait()
        assert {model: set(cells(project, model)) for model in MODELS} == complete
    assert killed
    left_behind(project)
    spoil(project, 0.45)
    project.accept()
    project.run(expect=0)
    assert not left_behind(project)


KILLER = """
import os, signal
from pathlib import Path

def die():
    os.kill(os.getpid(), signal.SIGKILL)

moment = os.environ.get("DIE_WHEN")
fdopen, replace = os.fdopen, Path.replace

class Torn:
    def __init__(self, file):
        self.file = file
    def __enter__(self):
        return self
    def __exit__(self, *fault):
        self.file.close()
    def write(self, payload):
        self.file.write(payload[: len(payload) // 2])
        self.file.flush()
        die()

def torn(descriptor, *mode):
    file = fdopen(descriptor, *mode)
    return Torn(file) if "baselines" in os.readlink(f"/proc/self/fd/{descriptor}") else file

def renamed(path, target):
    if "baselines" not in Path(target).parts:
        return replace(path, target)
    if moment == "renamed":
        replace(path, target)
    die()

if moment == "written in half":
    os.fdopen = torn
elif moment:
    Path.replace = renamed
"""
"""A conftest.py's part that kills the process where it writes a baseline."""


@linux
@workers
@pytest.mark.parametrize("moment", ["written in half", "not yet renamed", "renamed"])
def test_a_process_killed_while_it_writes(
    project: Project, moment: str, parallel: tuple[str, ...]
) -> None:
    conftest = project.path / "conftest.py"
    conftest.write_text(conftest.read_text() + KILLER)
    project.accept()
    before = {model: cells(project, model) for model in MODELS}
    spoil(project, 3.0)
    restart = ("--max-worker-restart=0",) if parallel else ()
    run = update(project, *parallel, *restart, DIE_WHEN=moment)
    said, _ = run.communicate()
    after = {model: cells(project, model) for model in MODELS}
    assert {model: set(found) for model, found in after.items()} == {
        model: set(found) for model, found in before.items()
    }
    if moment == "renamed":
        # Serially the first file's writer dies; of two workers each has stored its own by then.
        assert run.returncode == (0 if parallel else -signal.SIGKILL)
        assert [after[model] != before[model] for model in MODELS] == [True, bool(parallel)]
    else:
        assert after == before
        assert left_behind(project)
        assert run.returncode == (1 if parallel else -signal.SIGKILL)
        if parallel:
            assert re.search(rb"\d+ baselines were NOT stored, \S+-k00\d among them", said)
            assert b"baselines written:" not in said
    project.run(*parallel, "--snapshot-update", expect=0)
    assert all(cells(project, model) != before[model] for model in MODELS)
    assert not left_behind(project)
    project.run(expect=0)


@linux
def test_a_lost_update_is_red_though_its_hits_are_the_old_ones(project: Project) -> None:
    conftest = project.path / "conftest.py"
    conftest.write_text(conftest.read_text() + KILLER)
    project.accept()
    args = ("-n", "2", "--max-worker-restart=0", "--occlusion-calibrate", "2")
    run = update(project, *args, DIE_WHEN="not yet renamed")
    said, _ = run.communicate()
    assert run.returncode == 1
    assert b"16 baselines were NOT stored" in said
    assert all("spread" not in line for line in cells(project, "good").values())
