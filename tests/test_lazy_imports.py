"""What is imported when: the plugin costs other people's runs nothing, a warm run no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "torchvision", "numpy", "transformers", "open_clip", "PIL", "safetensors")
ENGINES = ("torch", "torchvision", "transformers", "open_clip")
"""What a run that finds everything in the store must do without."""

STARTING = ("hooks", "hooks.collector", "hooks.options", "hooks.properties", "suite", "suite.table")
"""All that the plugin may import where nobody asks for occlusion."""

REPORT = """
import sys
def pytest_sessionfinish(session):
    found = sorted({name.partition(".")[0] for name in sys.modules})
    sys.__stdout__.write(chr(10) + "MODULES " + " ".join(found) + chr(10))
    ours = sorted(name for name in sys.modules if name.startswith("pytest_occlusion"))
    sys.__stdout__.write("OURS " + " ".join(ours) + chr(10))
"""


def python(*args: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *args], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def imported_by(*modules: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after importing these."""
    code = f"import {', '.join(modules)}, sys; print(*{{m.partition('.')[0] for m in sys.modules}})"
    return set(python("-c", code).split())


def test_start_up_and_collection_need_nothing_heavy() -> None:
    found = imported_by(
        "pytest_occlusion",
        "pytest_occlusion.plugin",
        "pytest_occlusion.suite.settings",
        "pytest_occlusion.suite.suites",
        "pytest_occlusion.suite.grid",
        "pytest_occlusion.errors",
        "pytest_occlusion.corpora",
        "pytest_occlusion.corpora.task",
        "pytest_occlusion.occlusion",
        "pytest_occlusion.encoders",
        "pytest_occlusion.corpora.progress",
        "pytest_occlusion.engine.parallel",
        "pytest_occlusion.engine.store",
    )
    assert not found & set(HEAVY)


def test_rooms_of_the_ground_floor_do_without_torch() -> None:
    rooms = ("ranks", "recall", "intervals", "degradation")
    found = imported_by(
        *(f"pytest_occlusion.retrieval.{room}" for room in rooms),
        "pytest_occlusion.corpora.manifest",
        "pytest_occlusion.corpora.images",
    )
    assert not found & set(ENGINES)


def test_the_warm_path_needs_no_torch() -> None:
    found = imported_by(
        "pytest_occlusion.engine.session",
        "pytest_occlusion.engine.results",
        "pytest_occlusion.hooks.checks",
        "pytest_occlusion.gate.snapshots",
        "pytest_occlusion.reporting.record",
        "pytest_occlusion.reporting.terminal",
    )
    assert "numpy" in found
    assert not found & set(ENGINES)


def test_a_run_without_a_map_imports_nothing_of_it() -> None:
    code = (
        "import sys, pytest_occlusion.plugin, pytest_occlusion.hooks.collector\n"
        "import pytest_occlusion.engine.session, pytest_occlusion.hooks.checks\n"
        "import pytest_occlusion.hooks.scheduling\n"
        "import pytest_occlusion.reporting.record, pytest_occlusion.reporting.terminal\n"
        "import pytest_occlusion.reporting.html, pytest_occlusion.reporting.plots\n"
        "import pytest_occlusion.__main__\n"
        "print(*(n for n in sys.modules if n.startswith('pytest_occlusion')))"
    )
    found = set(python("-c", code).split())
    assert "pytest_occlusion.engine.session" in found
    ends = ("maps", "mapsvg", "sensitivity", "gallery", "contact_sheet")
    assert not {name for name in found if name.rpartition(".")[2] in ends}


def test_public_names_come_when_asked_for() -> None:
    code = (
        "import sys, pytest_occlusion as package\n"
        "assert 'torch' not in sys.modules\n"
        "for name in package.__all__: assert getattr(package, name) is not None\n"
        "assert set(package.__all__) == set(package._HOMES)\n"
        "try: package.nothing\n"
        "except AttributeError as fault: print(fault)\n"
        "from pytest_occlusion import occlude, rank_candidates, OcclusionError\n"
    )
    assert "'pytest_occlusion' has no attribute 'nothing'" in python("-c", code)


def pytest_modules(folder: Path, *args: str) -> tuple[set[str], set[str]]:
    (folder / "conftest.py").write_text(REPORT)
    (folder / "test_other.py").write_text("def test_other(): pass\n")
    out = python("-m", "pytest", "-p", "no:cacheprovider", *args, cwd=folder)
    lines = dict(
        line.split(" ", 1) for line in out.splitlines() if line.startswith(("MOD", "OURS"))
    )
    return set(lines["MODULES"].split()), set(lines["OURS"].split())


@pytest.mark.parametrize("args", [("--co", "-q"), ()])
def test_other_projects_notice_nothing(tmp_path: Path, args: tuple[str, ...]) -> None:
    modules, ours = pytest_modules(tmp_path, *args)
    assert "pytest_occlusion.plugin" in ours
    assert not modules & set(HEAVY)
    names = {name.removeprefix("pytest_occlusion").lstrip(".") for name in ours}
    assert names <= {"", "plugin", *STARTING}


def test_collecting_cells_needs_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text(
        'suite = "mine"\n[models.a]\nfamily = "clip"\ncheckpoint = "a.pt"\n'
    )
    (tmp_path / "test_recall.py").write_text("def test_recall(occlusion_cell): pass\n")
    modules, ours = pytest_modules(
        tmp_path, "--co", "-q", "--occlusion-suite", "suite.toml", "test_recall.py"
    )
    assert "pytest_occlusion.suite.grid" in ours
    assert not modules & {"torch", "torchvision", "transformers", "open_clip", "numpy"}
