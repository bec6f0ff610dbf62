"""Runs on a Ray cluster of two simulated nodes: the same numbers, whatever happens to the nodes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.plugin import toy_family
from tests.plugin.conftest import CONFTEST, TESTS, WIDE, Project
from tests.plugin.forking import Forks
from tests.plugin.ray_nodes import Nodes

# Not imported here: every worker of xdist collects this module, and none of them has use for Ray.
without = find_spec("ray") is None
pytestmark = [pytest.mark.cluster, pytest.mark.skipif(without, reason="needs the extra `ray`")]

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

SUITE = f"""{WIDE}
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
def big(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, forks: Forks) -> Project:
    """A project of three shards."""
    made = Project(pytester, pytester.path, forks)
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
    told = process.communicate(timeout=240)[0]
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


def wait_for(what: Callable[[], object], seconds: float = 120) -> None:
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


# What happens meanwhile ---------------------------------------------------------------------------


def workers_of_ray() -> set[int]:
    """Processes of our workers on this machine."""
    found = set()
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            named = place.read_bytes().startswith(b"ray::Worker")
        except OSError:
            continue
        if named:
            found.add(int(place.parent.name))
    return found


@pytest.fixture
def slow(big: Project) -> tuple[Project, dict[str, Any]]:
    """A project whose passes take a while, and the numbers that must come of it."""
    wanted = local(big)
    slowly(big, 0.2)
    return big, wanted


def same_cells(project: Project, wanted: dict[str, Any]) -> None:
    found = numbers(project)
    assert [cell["hits"] for cell in found["cells"]] == [c["hits"] for c in wanted["cells"]]
    bits = [[cell["hit_queries"] for cell in one["cells"]] for one in (found, wanted)]
    assert bits[0] == bits[1]


def in_the_middle(project: Project, nodes: Nodes) -> subprocess.Popen[str]:
    """A run of which some pieces are done, and most are not."""
    process = started(project, "--occlusion-engine", f"ray://{nodes.address}")
    wait_for(lambda: shards_done(project) >= 2 or process.poll() is not None)
    assert process.poll() is None, process.communicate()[0]
    return process


def test_a_worker_that_is_killed(slow: tuple[Project, dict[str, Any]], nodes: Nodes) -> None:
    project, wanted = slow
    process = in_the_middle(project, nodes)
    os.kill(min(workers_of_ray()), signal.SIGKILL)
    ended(process, 1)
    same_cells(project, wanted)


def test_a_node_that_goes_and_one_that_comes(
    slow: tuple[Project, dict[str, Any]], nodes: Nodes
) -> None:
    project, wanted = slow
    slowly(project, 0.5)
    process = in_the_middle(project, nodes)
    nodes.remove(nodes.added.pop())
    for _ in range(2):
        nodes.added.append(nodes.add())
    wait_for(lambda: len(workers_of_ray()) == 3)
    assert process.poll() is None, "there was work left for them"
    told = ended(process, 1)
    same_cells(project, wanted)
    # The first line comes after some seconds: whose number it tells is a matter of luck.
    assert re.search(r"encoding on (1 worker|[23] workers): ", told)
    assert "is not asked" not in told, "those that came were given work"
    nodes.remove(nodes.added.pop())


def test_a_driver_that_is_killed_and_started_again(
    slow: tuple[Project, dict[str, Any]], nodes: Nodes
) -> None:
    project, wanted = slow
    process = in_the_middle(project, nodes)
    process.kill()
    process.communicate()
    wait_for(lambda: not workers_of_ray())  # nothing goes on without it
    done = {
        path: path.stat().st_mtime_ns
        for path in (project.path / "store").glob("v*/embeddings/*/*.safetensors")
    }
    run(project, "--occlusion-engine", f"ray://{nodes.address}")
    same_cells(project, wanted)
    assert len(done) >= 2
    assert all(path.stat().st_mtime_ns == then for path, then in done.items()), "not done again"


def test_a_head_that_is_gone(slow: tuple[Project, dict[str, Any]]) -> None:
    project, wanted = slow
    with tempfile.TemporaryDirectory(prefix="rn-") as folder, Nodes(Path(folder), 1) as alone:
        process = in_the_middle(project, alone)
        alone.end()
        start = time.monotonic()
        told = ended(process, 1)
        assert time.monotonic() - start < 60
    assert "the Ray cluster is lost" in told or "is gone" in told
    assert "run again" in told
    run(project)  # the rest, here
    same_cells(project, wanted)


def test_nobody_at_the_address(big: Project) -> None:
    told = run(big, "--occlusion-engine", "ray://127.0.0.1:1")
    assert "the head of the Ray cluster at 127.0.0.1:1 does not answer" in told


# Nodes that differ --------------------------------------------------------------------------------

HIDING = """
import io, os
hidden, plain_stat, plain_open = os.environ["HIDDEN"], os.stat, io.open

def refuse(path):
    if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(hidden):
        raise FileNotFoundError(2, "hidden", os.fspath(path))

def stat(path, *args, **options):
    refuse(path)
    return plain_stat(path, *args, **options)

def open(path, *args, **options):
    refuse(path)
    return plain_open(path, *args, **options)

os.stat, io.open = stat, open
"""


@pytest.fixture
def odd(big: Project, nodes: Nodes) -> Iterator[Callable[..., None]]:
    """Adds a node on which some files are not there, or a package has another version."""
    site = big.path / "site"
    site.mkdir()
    added = []

    def add(*, hidden: Path | None = None, package: str = "") -> None:
        environment = {}
        if hidden:
            (site / "sitecustomize.py").write_text(HIDING)
            environment["HIDDEN"] = str(hidden)
        if package:
            folder = site / f"{package}-0.0.1.dist-info"
            folder.mkdir()
            text = f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.0.1\n"
            (folder / "METADATA").write_text(text)
        paths = [str(site), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        added.append(nodes.add(PYTHONPATH=os.pathsep.join(paths), **environment))

    yield add
    for name in added:
        nodes.remove(name)


def test_a_node_with_another_version(big: Project, nodes: Nodes, odd: Callable[..., None]) -> None:
    odd(package="transformers")
    told = run(big, "--occlusion-engine", f"ray://{nodes.address}")
    assert "is not as this one: transformers 0.0.1 (here" in told
    assert shards_done(big) == 0, "before any work"


def test_a_checkpoint_that_one_node_lacks_is_sent(
    big: Project, nodes: Nodes, odd: Callable[..., None]
) -> None:
    wanted = local(big)
    odd(hidden=big.path / "good.safetensors")
    told = run(big, "--occlusion-engine", f"ray://{nodes.address}")
    assert "good is not there and is sent" in told
    assert numbers(big) == wanted


def test_a_store_that_one_node_does_not_see(
    big: Project, nodes: Nodes, odd: Callable[..., None]
) -> None:
    wanted = local(big)
    odd(hidden=big.path / "store")
    told = run(big, "--occlusion-engine", f"ray://{nodes.address}")
    assert "is not seen by" in told
    assert numbers(big) == wanted
    assert not list((big.path / "store").glob("seen-*")), "no marks are left"
    assert "encoding" not in run(big), "embeddings are kept here"


def test_a_store_that_cannot_be_written(big: Project, nodes: Nodes) -> None:
    store = big.path / "store"
    (store / "v1").mkdir(parents=True)
    (store / "v1" / "embeddings").write_text("no folder")
    told = run(big, "--occlusion-engine", f"ray://{nodes.address}")
    assert f"cannot write to the store {store}" in told
    assert "make room there" in told


# Faults of pieces ---------------------------------------------------------------------------------


def test_radiographs_that_cannot_be_read_are_named_together(big: Project, nodes: Nodes) -> None:
    for number in (3, 400):
        (big.path / "images" / f"secret-name-{number}.png").write_bytes(b"no picture")
    said = [one for one in run(big).splitlines() if one.startswith(("2 radiographs", "  - "))]
    assert len(said) == 3
    for more in ((), ("--occlusion-no-store",)):
        told = run(big, "--occlusion-engine", f"ray://{nodes.address}", *more)
        assert all(line in told for line in said), "as one process says it"
        assert "(on " in told, "and on which node"
    assert shards_done(big) == 0


def test_weights_that_are_broken(big: Project, nodes: Nodes) -> None:
    big.checkpoint("good", bias=float("nan"))
    here = run(big, "--occlusion-no-store")
    told = run(big, "--occlusion-engine", f"ray://{nodes.address}")
    said = "query embeddings are not finite"
    assert said in here
    assert said in told
    assert "the checkpoint or its precision is at fault" in told


def test_nothing_that_names_a_patient_is_left_in_the_cluster(big: Project, nodes: Nodes) -> None:
    (big.path / "images" / "secret-name-3.png").write_bytes(b"no picture")
    run(big, "--occlusion-engine", f"ray://{nodes.address}")
    Image.fromarray(toy_family.pattern(3)).save(big.path / "images" / "secret-name-3.png")
    run(big, "--occlusion-engine", f"ray://{nodes.address}")
    run(big, "--occlusion-no-store", "--occlusion-engine", f"ray://{nodes.address}")
    searched = [*nodes.folder.rglob("*"), *(big.path / "store").rglob("*")]
    files = [path for path in searched if path.is_file() and not path.is_symlink()]
    assert any(path.suffix == ".log" for path in files)
    assert not [path for path in files if b"secret" in path.read_bytes()]
