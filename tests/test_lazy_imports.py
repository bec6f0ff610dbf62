"""What is imported when: the plugin costs other people's runs nothing, a warm run no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECKPOINTS = Path(__file__).parents[1] / "fixtures/pytest_occlusion_fixtures/checkpoints"

HEAVY = ("torch", "torchvision", "numpy", "transformers", "open_clip", "PIL", "safetensors")
ENGINES = ("torch", "torchvision", "transformers", "open_clip")
"""What a run that finds everything in the store must do without."""

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
        "pytest_occlusion.settings",
        "pytest_occlusion.suites",
        "pytest_occlusion.grid",
        "pytest_occlusion.errors",
        "pytest_occlusion.corpora",
        "pytest_occlusion.corpora.task",
        "pytest_occlusion.occlusion",
        "pytest_occlusion.encoders",
        "pytest_occlusion.progress",
        "pytest_occlusion.parallel",
        "pytest_occlusion.store",
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
        "pytest_occlusion.session",
        "pytest_occlusion.results",
        "pytest_occlusion.checks",
        "pytest_occlusion.snapshots",
        "pytest_occlusion.reporting.record",
        "pytest_occlusion.reporting.terminal",
    )
    assert "numpy" in found
    assert not found & set(ENGINES)


def test_a_run_without_a_map_imports_nothing_of_it() -> None:
    code = (
        "import sys, pytest_occlusion.plugin, pytest_occlusion.collector\n"
        "import pytest_occlusion.session, pytest_occlusion.checks, pytest_occlusion.scheduling\n"
        "import pytest_occlusion.reporting.record, pytest_occlusion.reporting.terminal\n"
        "import pytest_occlusion.reporting.html, pytest_occlusion.reporting.plots\n"
        "import pytest_occlusion.__main__\n"
        "print(*(n for n in sys.modules if n.startswith('pytest_occlusion')))"
    )
    found = set(python("-c", code).split())
    assert "pytest_occlusion.session" in found
    ends = ("maps", "map_record", "mapsvg", "sensitivity", "gallery", "contact_sheet")
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


@pytest.mark.parametrize("enabled", [True, False])
def test_torch_is_imported_past_the_garbage_collector(enabled: bool) -> None:
    """And left alone by it afterwards; what is made later is collected as ever."""
    code = (
        "import gc, sys, weakref\n"
        "from pytest_occlusion.torch_import import import_torch\n"
        f"gc.enable() if {enabled} else gc.disable()\n"
        "gc.collect()\n"
        "before = sum(one['collections'] for one in gc.get_stats())\n"
        "import_torch()\n"
        "during = sum(one['collections'] for one in gc.get_stats()) - before\n"
        "assert during <= 2, 'the one asked for, and one that was due'\n"
        f"assert gc.isenabled() == {enabled} and 'torch' in sys.modules\n"
        "frozen = gc.get_freeze_count()\n"
        "assert len(gc.get_objects()) < frozen / 10\n"
        "class Round: pass\n"
        "one = Round(); one.itself = one; seen = weakref.ref(one); del one\n"
        "import_torch()\n"
        "assert gc.get_freeze_count() == frozen, 'a second call does nothing'\n"
        "assert gc.collect() and seen() is None\n"
        "print('held')"
    )
    assert python("-c", code).split() == ["held"]


def test_opening_a_model_first_imports_torch_past_the_garbage_collector() -> None:
    code = (
        "import gc, sys\n"
        "from pathlib import Path\n"
        "from pytest_occlusion.merge import build_settings\n"
        "from pytest_occlusion.session import Session\n"
        "from pytest_occlusion.suites import find_suite\n"
        "settings = build_settings(find_suite(None, Path()), command_line={}, store=None)\n"
        "session = Session(settings, say=lambda line: None)\n"
        "assert 'torch' not in sys.modules and gc.get_freeze_count() == 0\n"
        "session.encoder('clip')\n"
        "print('frozen' if gc.get_freeze_count() else 'watched')"
    )
    assert python("-c", code).split() == ["frozen"]


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
    rooms = ("settings", "suites", "grid", "session", "store", "corpora", "encoders", "occlusion")
    assert not ours & {f"pytest_occlusion.{room}" for room in rooms}


def test_collecting_cells_needs_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text(
        'suite = "mine"\n[models.a]\nfamily = "clip"\ncheckpoint = "a.pt"\n'
    )
    (tmp_path / "test_recall.py").write_text("def test_recall(occlusion_cell): pass\n")
    modules, ours = pytest_modules(
        tmp_path, "--co", "-q", "--occlusion-suite", "suite.toml", "test_recall.py"
    )
    assert "pytest_occlusion.grid" in ours
    assert not modules & {"torch", "torchvision", "transformers", "open_clip", "numpy"}


@pytest.mark.parametrize("family", ["clip", "cxr-repair", "medclip", "cxr-clip"])
def test_a_published_family_needs_torch_alone(family: str) -> None:
    checkpoint = CHECKPOINTS / family
    found = python(
        "-c",
        "import sys; from pytest_occlusion.encoders import load_encoder; "
        f"load_encoder({family!r}, checkpoint={str(checkpoint)!r}, device='cpu'); "
        "print(*{m.partition('.')[0] for m in sys.modules})",
    )
    assert not set(found.split()) & {"open_clip", "timm", "torchvision", "transformers"}
