"""Runs on a Ray cluster of two simulated nodes: the same numbers, whatever happens to the nodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.plugin import toy_family
from tests.plugin.conftest import CONFTEST, TESTS, Project
from tests.plugin.ray_nodes import Nodes

pytest.importorskip("ray", reason="needs Ray: the extra `ray`")
pytestmark = pytest.mark.cluster

PICTURES = 600  # three shards

SLOW = """
import time
from dataclasses import replace
from pytest_occlusion.encoders import Family
from toy_family import TOY

def load(checkpoint, tokenizer, device, precision, options):
    encoder = TOY.load(checkpoint, tokenizer, device, precision, {"loud": False})

    def slowly(canvases):
        time.sleep(options["seconds"])
        return encoder.embed_canvases(canvases)

    return replace(encoder, family="slow", settings=dict(options), embed_canvases=slowly)

SLOW = Family(name="slow", load=load, options={"seconds": 0.0})
"""

SUITE = """
suite = "toy"
corpus = "manifest:reports.csv"
ratios = [0.0, 0.25, 0.49]
severities = [0, 3]
occluders = ["block", "pixels", "gaussian-noise"]
direction = "both"
ks = [1, 5]
tolerance = 1
group-by = ["view"]
[groups]
gate = ["view"]
[models.good]
family = "slow"
seconds = SECONDS
checkpoint = "good.safetensors"
"""

GROUPS = """
def test_group(occlusion_group):
    occlusion_group.assert_accepted()
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """Two nodes of one core; the folder of their session has a short name, for its sockets."""
    with tempfile.TemporaryDirectory(prefix="rn-") as folder, Nodes(Path(folder)) as two:
        yield two


@pytest.fixture
def big(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project of three shards."""
    made = Project(pytester, pytester.path)
    monkeypatch.delenv("OCCLUSION_STORE", raising=False)
    pytester.makeconftest(CONFTEST + "from slow_family import SLOW\nregister_family(SLOW)\n")
    pytester.makepyfile(test_toy=TESTS + GROUPS)
    (made.path / "toy_family.py").write_text(Path(toy_family.__file__).read_text())
    (made.path / "slow_family.py").write_text(SLOW)
    (made.path / "pyproject.toml").write_text('[tool.occlusion]\nsuite = "suite.toml"\n')
    (made.path / "images").mkdir()
    rows = []
    for number in range(PICTURES):
        name = f"images/secret-name-{number}.png"
        Image.fromarray(toy_family.pattern(number)).save(made.path / name)
        rows.append(
            {
                "image": name,
                "study_id": f"secret-study-{number}",
                "patient_id": f"secret-patient-{number // 2}",
                "view": "lateral" if number % 3 == 0 else "PA",
                "report": f"secret report {number} of a long text with many words",
            }
        )
    made.write_rows(rows)
    made.checkpoint("good", noise=3.0)
    slowly(made, 0.0)
    return made


def slowly(project: Project, seconds: float) -> None:
    """Let every forward pass last so long."""
    (project.path / "suite.toml").write_text(SUITE.replace("SECONDS", str(seconds)))


def started(project: Project, *args: str) -> subprocess.Popen[str]:
    """Pytest in a process of its own; its worth is in what is done to it meanwhile."""
    paths = os.pathsep.join([str(project.path), *filter(None, sys.path)])
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"),
            *("--occlusion-store", "store", "--occlusion-json", "out.json", *args),
        ],
        cwd=project.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )


def ended(process: subprocess.Popen[str], expect: int) -> str:
    """What it printed."""
    told = process.communicate(timeout=100)[0]
    assert process.returncode == expect, told
    return told


def run(project: Project, *args: str, expect: int = 1) -> str:
    """A run to its end; without baselines every cell is red."""
    return ended(started(project, *args), expect)


def numbers(project: Project) -> dict[str, Any]:
    """Everything in the results but times and what the run was called with."""
    content: dict[str, Any] = json.loads((project.path / "out.json").read_text())

    def plain(value: Any) -> Any:
        timed = ("seconds", "per_second", "peak_bytes", "pass", "written", "created", "wait")
        if isinstance(value, dict):
            kept = {n: v for n, v in value.items() if not any(word in n for word in timed)}
            return {name: plain(one) for name, one in kept.items()}
        return [plain(one) for one in value] if isinstance(value, list) else value

    found: dict[str, Any] = plain(content)
    return found


def shards_done(project: Project) -> int:
    return len(list((project.path / "store").glob("v*/embeddings/*/*.safetensors")))


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def local(project: Project) -> dict[str, Any]:
    """The numbers of this process, with a store of its own; none is left."""
    run(project, "--occlusion-no-store")
    return numbers(project)


def test_every_number_is_that_of_one_process(big: Project, nodes: Nodes) -> None:
    wanted = local(big)
    run(big, "--occlusion-engine", f"ray://{nodes.address}")
    assert numbers(big) == wanted
    assert len(wanted["cells"]) == 2 * 2 * (3 + 3 + 2)
    assert wanted["groups"]
    told = run(big, "--snapshot-update", expect=0)
    assert "encoding" not in told, "a run of one process finds all of it in the store"
    run(big, "--occlusion-engine", f"ray://{nodes.address}", expect=0)
    run(big, "--occlusion-no-store", "--occlusion-engine", f"ray://{nodes.address}", expect=0)
