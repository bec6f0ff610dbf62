"""The part ``workers``: several pytest-xdist workers on one card, through the real plugin.

Cells of the embedded suite on the CPU, on the device in one process, on two workers that share it,
and on as many as ``-n auto`` comes to. All start from the same stored canvases and nothing else.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np

from gpu_parts.record import Check, Finding, NeedsGpuError
from gpu_parts.setting import Setting, paths
from gpu_parts.suites import forget

MODELS, RATIOS, KS = ("clip", "cxr-clip"), (0.0, 0.25), (5, 10)

SECONDS = 150
"""How long one run may take."""

TEST = """
def test_cell(occlusion_cell):
    assert occlusion_cell.result.queries
"""


@dataclass(frozen=True)
class Run:
    """One call of pytest.

    Attributes:
        seconds: Of wall clock.
        workers: How many xdist started; 0 for none.
        hits: Cell -> the queries that are hits, a bit each.
        rise: Most bytes of the card that were taken beyond those before; 0 on a CPU.
    """

    seconds: float
    workers: int
    hits: Mapping[str, np.ndarray[Any, np.dtype[np.uint8]]]
    rise: int


def workers(given: Setting) -> Iterator[Finding]:
    """The same cells in every way, and how many queries flip between them."""
    if given.small:
        raise NeedsGpuError("workers share a card")
    given.needs(60, "running pytest four times")
    folder = given.folder / "workers"
    folder.mkdir()
    (folder / "test_cells.py").write_text(TEST, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    device = "cuda" if given.on_gpu and not given.device.index else str(given.device)
    ways: dict[str, tuple[str, list[str]]] = {
        "CPU": ("cpu", []),
        "one process": (device, []),
        "two workers": (device, ["-n", "2"]),
        "-n auto": (device, ["-n", "auto"]),
    }
    runs: dict[str, Run] = {}
    for name, (where, options) in ways.items():
        given.needs(20, f"pytest, {name}")
        runs[name] = found = _run(given, folder, where, options)
        yield {
            "pytest": name,
            "device": where,
            "workers": found.workers,
            "s": round(found.seconds, 1),
            "card, MiB": round(found.rise / 2**20) or None,
            "flips against the CPU": flips(runs["CPU"].hits, found.hits),
            "against one process": flips(runs["one process"].hits, found.hits)
            if "one process" in runs
            else None,
        }
    yield from shared(runs, on_gpu=given.on_gpu)
    if not given.on_gpu:
        raise NeedsGpuError("workers shared a CPU")


def shared(runs: Mapping[str, Run], *, on_gpu: bool) -> Iterator[Check]:
    """What must hold of these runs.

    Two workers load the same weights and show the same batches to the same card: not a bit may
    differ from one process. Between CPU and GPU sums are taken in another order, which can turn
    the order of two candidates whose scores agree to six digits: of 1,770 queries hardly one.
    """
    one = runs["one process"]
    bits = sum(map(len, one.hits.values())) * 8
    off = flips(one.hits, runs["two workers"].hits)
    yield Check("two workers, queries that flip", off, "none", off == 0)
    off = flips(runs["CPU"].hits, one.hits)
    most = max(1, bits // 1000)
    yield Check("device against CPU, queries that flip", off, f"at most {most}", off <= most)
    started = runs["two workers"].workers
    yield Check("workers that -n 2 starts", started, "2", started == 2)
    if on_gpu:
        started = runs["-n auto"].workers
        yield Check("workers that -n auto starts", started, "1: there is one card", started == 1)


def flips(one: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    """How many queries are hits in one run only, over all cells."""
    if one.keys() != other.keys():
        raise ValueError(f"other cells: {sorted(one.keys() ^ other.keys())[:5]}")
    return sum(int(np.unpackbits(one[cell] ^ other[cell]).sum()) for cell in one)


def _run(given: Setting, folder: Path, device: str, options: list[str]) -> Run:
    store, result = folder / "store", folder / "result.json"
    forget(store)
    result.unlink(missing_ok=True)
    told = {
        "suite": "embedded",
        "models": ",".join(MODELS),
        "ratios": ",".join(map(str, RATIOS)),
        "ks": ",".join(map(str, KS)),
        "device": device,
        "store": str(store),
        "json": str(result),
    }
    command = [sys.executable, "-m", "pytest", "test_cells.py", "-p", "no:cacheprovider"]
    if not any(point.name == "occlusion" for point in entry_points(group="pytest11")):
        command += ["-p", "pytest_occlusion.plugin"]  # on the path, but not installed
    command += [
        *options,
        *(part for name, value in told.items() for part in (f"--occlusion-{name}", value)),
    ]
    with _Watch(given) as watch:
        start = time.perf_counter()
        done = subprocess.run(  # noqa: S603
            command,
            cwd=folder,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=min(SECONDS, max(20, given.left)),
        )
        seconds = time.perf_counter() - start
    if done.returncode or not result.exists():
        raise RuntimeError(
            f"pytest ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}"
        )
    counted = re.search(r"(\d+) workers? \[", done.stdout)
    return Run(seconds, int(counted[1]) if counted else 0, _hits(result), watch.rise)


def _environment() -> dict[str, str]:
    """This process's, without what would decide the number of workers; paths made absolute."""
    unset = ("PYTEST_XDIST_AUTO_NUM_WORKERS", "PYTEST_ADDOPTS", "OCCLUSION_STORE")
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return {**kept, "PYTHONPATH": paths(), "HF_HUB_OFFLINE": "1"}


def _hits(path: Path) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return {
        cell["id"]: np.frombuffer(base64.b64decode(cell["hit_queries"]), dtype=np.uint8)
        for cell in cells
    }


class _Watch:
    """Looks at the card's memory all the while, other processes' too."""

    def __init__(self, given: Setting) -> None:
        self.given, self.rise = given, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> _Watch:
        if self.given.on_gpu:
            self._before = self._used()
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self.given.on_gpu:
            self._thread.join()

    def _used(self) -> int:
        import torch

        free, total = torch.cuda.mem_get_info(self.given.device)
        return total - free

    def _look(self) -> None:
        while not self._stop.wait(0.1):
            self.rise = max(self.rise, self._used() - self._before)
