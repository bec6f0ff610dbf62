"""Workers that are killed in the middle of an update lose nothing and leave nothing half-written.

``OCCLUSION_KILLS`` sets how many updates are killed (3 in the ordinary tests).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.conftest import Project

KILLS = int(os.environ.get("OCCLUSION_KILLS", "3"))


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


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers through /proc")
def test_killed_updates_lose_nothing(project: Project) -> None:
    project.accept()
    complete = {model: set(cells(project, model)) for model in ("good", "other")}
    draw = random.Random(0)
    killed = 0
    for round_number in range(KILLS):
        for model in complete:  # new weights each time: every update has something to write
            project.checkpoint(model, noise=0.5 + 0.1 * (round_number % 7))
        run = subprocess.Popen(
            [
                *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-n", "2"),
                *("--occlusion-store", "store", "--snapshot-update", "--max-worker-restart=0"),
            ],
            cwd=project.path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        workers: list[int] = []
        while run.poll() is None and len(workers) < 2:
            workers = children(run.pid)
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 6))
        for victim in draw.sample(workers, k=min(len(workers), draw.choice((1, 2)))):
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                killed += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(timeout=120)
        if run.poll() is None:
            run.kill()
            run.wait()
        assert {model: set(cells(project, model)) for model in complete} == complete
        assert not list(project.path.glob("baselines/**/.*"))
    assert killed
    project.accept()
    project.run(expect=0)
