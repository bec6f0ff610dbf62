"""What all tests share: hypothesis without clocks, and runs of pytest that know of no outer one."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from _pytest.pytester import SysModulesSnapshot
from filelock import FileLock
from hypothesis import settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # Torch reads it when it is imported: threads of workers would wait for each other's.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("repository", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("explore", deadline=None, max_examples=500)
settings.load_profile("repository")


def restore(self: SysModulesSnapshot) -> None:
    """Take out modules that are new, and put back those that are gone, one by one.

    Pytester empties the table first. What dies with the modules of an inner run may wait then, as
    for a process, and import meanwhile: ``_io`` stood twice, and ``io.UnsupportedOperation`` was no
    longer what its streams raise.
    """
    saved = self._SysModulesSnapshot__saved  # type: ignore[attr-defined]
    kept = self._SysModulesSnapshot__preserve or (lambda name: False)  # type: ignore[attr-defined]
    saved.update((name, module) for name, module in [*sys.modules.items()] if kept(name))
    for name in sys.modules.keys() - saved.keys():
        sys.modules.pop(name, None)
    sys.modules.update(saved)


SysModulesSnapshot.restore = restore  # type: ignore[method-assign]


def pytest_collection_finish() -> None:
    """Spare what was imported from collections of garbage.

    Pytest collects whenever a run ends, and hundreds of runs end inside of tests.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_outer_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of pytest inside a test prints the same wherever the outer one runs.

    Under ``-n`` it would take itself for an outer worker; in CI pytest shows messages whole.
    """
    for name in (
        *("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"),
        *("CI", "BUILD_NUMBER", "FORCE_COLOR", "PY_COLORS", "OCCLUSION_STORE"),
    ):
        monkeypatch.delenv(name, raising=False)


Once = Callable[[str, Callable[[Path], None]], Path]


@pytest.fixture(scope="session")
def once(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Given a name and what fills a folder: that folder, filled once for all workers."""
    base = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        base = base.parent

    def filled(name: str, fill: Callable[[Path], None]) -> Path:
        folder, done = base / name, base / f"{name}.done"
        with FileLock(base / f"{name}.lock"):
            if not done.exists():
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return filled
