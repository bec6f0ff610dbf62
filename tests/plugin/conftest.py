"""A small project for pytester: sixty pictures, two toy models, a suite, the two tests."""

from __future__ import annotations

import contextlib
import csv
import importlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pkgutil import walk_packages
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

import pytest_occlusion
from tests.plugin import toy_family
from tests.plugin.forking import Forks, as_gateways

MODELS = """\
[models.good]
family = "toy"
checkpoint = "good.safetensors"
[models.other]
family = "toy"
checkpoint = "other.safetensors"
"""

SUITE = f"""
suite = "toy"
corpus = "manifest:reports.csv"
ratios = [0.0, 0.25, 0.49, 0.81]
ks = [1, 5]
tolerance = 1
{MODELS}"""

WIDE = """
suite = "toy"
corpus = "manifest:reports.csv"
ratios = [0.0, 0.25, 0.49]
severities = [0, 3]
occluders = ["block", "pixels", "gaussian-noise"]
direction = "both"
ks = [1, 5]
tolerance = 1
group-by = ["view"]
"""
"""A suite of several occluders, a corruption, both directions and groups, without its models."""

CONFTEST = """
from pytest_occlusion.encoders import register_family
from toy_family import TOY
register_family(TOY)
"""

TESTS = """
def test_recall(occlusion_cell):
    occlusion_cell.assert_accepted()

def test_curve(occlusion_curve):
    occlusion_curve.assert_accepted()
"""


UNNEEDED = ("cacheprovider", "hypothesispytest", "anyio", "timeout", "platformdirs")
"""Plugins that no test here needs and that every worker would import anew."""

ALWAYS = (
    *(part for name in UNNEEDED for part in ("-p", f"no:{name}")),
    *("-W", "error", "--occlusion-store", "store"),
    *("-o", "norecursedirs=images store"),  # pytest goes through every folder, for tests
)

PASSING = re.compile(
    r"^speed of what was measured in this run\n(?:.+\n)+\n|, (?:[\d,.]+k? images/s|from store)$"
    r"|<tr>.*<td>[0-9a-f]{12}</td>.*</tr>\n?|\"timings\":\[[^]]*\],?| in \d+\.\d+s| -n \d"
    r"|^\[gw\d\] .*\n|\d+ deselected, |, \d+ deselected|^[-=!]+|[-=!]+$",
    re.M,
)
"""Speeds, times, names and numbers of workers, and the rules, whose length those set."""


@dataclass(frozen=True)
class Project:
    """A pytester project and how to run it."""

    pytester: pytest.Pytester
    path: Path
    forks: Forks

    def run(self, *args: str, expect: int | None = None) -> pytest.RunResult:
        """Run pytest in it; with its own store, without plugins that the tests do not need."""
        result = self.pytester.runpytest(*ALWAYS, *args)
        if expect is not None:
            assert result.ret == expect, result.stdout.str() + result.stderr.str()
        return result

    def alone(self, *args: str) -> pytest.RunResult:
        """Run pytest in it, in a process of its own."""
        return self.forks.run("pytest", *ALWAYS, *args)

    def both(self, *args: str, expect: int | None = None, workers: int = 2) -> pytest.RunResult:
        """Run serially, then by workers from where that began: all they say and leave is the same.

        Gives the serial run, for what it must have said besides.
        """
        kept = self.path.with_name(f"{self.path.name}-kept")
        shutil.copytree(self.path, kept)
        serial = self.run(*args, expect=expect)
        told, written = self.told(serial), self.written()
        for path in self.path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(kept, self.path, dirs_exist_ok=True)
        shutil.rmtree(kept)
        assert self.told(self.run("-n", str(workers), *args, expect=expect)) == told
        assert self.written() == written
        return serial

    def told(self, run: pytest.RunResult) -> list[str]:
        """What a run says from its failures on, in parts; which model's came first is luck."""
        text = PASSING.sub("", f"{run.stdout.str()}\n{run.stderr.str()}")
        start = re.search(r"^(?: (?:FAILURES|ERRORS|occlusion) $|ERROR: | \S+\.Exit: )", text, re.M)
        assert start is not None, text
        parts = re.split(r"^(?= \w+ $|_+ |[A-Z]+ | \d+ \w)", text[start.end() :], flags=re.M)
        return [line for line in map(str.rstrip, "".join(sorted(parts)).splitlines()) if line]

    def written(self) -> dict[str, Any]:
        """The baselines, what result files in ``out`` hold, and the names of what is stored."""
        found: dict[str, Any] = {}
        for path in self.path.rglob("*"):
            name = str(path.relative_to(self.path))
            folder = name.partition("/")[0]
            if folder == "store" and path.suffix != ".lock":
                found[name] = path.is_file()
            elif path.is_file() and folder in ("baselines", "out"):
                found[name] = content_of(path.suffix, PASSING.sub("", path.read_text()))
        return found

    def accept(self) -> None:
        """Write the baselines."""
        self.run("--snapshot-update", expect=0)

    def checkpoint(self, name: str, **changes: float) -> None:
        """Write a model's weights anew."""
        toy_family.write_checkpoint(self.path / f"{name}.safetensors", **changes)

    def snapshot(self, model: str = "good") -> Path:
        """The file of a model's baselines."""
        return self.path / "baselines" / "toy" / f"{model}.json"

    def rows(self) -> list[dict[str, str]]:
        """The manifest."""
        with (self.path / "reports.csv").open() as file:
            return list(csv.DictReader(file))

    def write_rows(self, rows: list[dict[str, str]]) -> None:
        """Replace the manifest."""
        with (self.path / "reports.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)


def content_of(suffix: str, text: str) -> Any:
    """What the text of a file holds: of some kinds its order, or a part of it, is luck."""
    if suffix == ".json":
        return {name: part for name, part in json.loads(text).items() if name != "timings"}
    if suffix != ".xml":
        return text
    return {
        (case.get("classname"), case.get("name")): [
            (part.tag, *sorted(part.attrib.items()), part.text) for part in [*case.iter()][1:]
        ]
        for case in ElementTree.fromstring(text).iter("testcase")
    }


@pytest.fixture(scope="session", autouse=True)
def _imported() -> None:
    """What runs inside this process need is there: what they import, pytester drops again."""
    ours = (module.name for module in walk_packages(pytest_occlusion.__path__, "pytest_occlusion."))
    for name in ("torch", "xdist.dsession", "xdist.remote", "xdist.workermanage", *ours):
        if not name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # of what is optional
                importlib.import_module(name)


@pytest.fixture(scope="session", autouse=True)
def forks() -> Iterator[Forks]:
    """Other processes of inner runs, the workers among them, are forks; see ``forking``."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        started = Forks(Path(folder))
        as_gateways(started.address, patched)
        yield started
        started.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The radiographs, drawn once."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(60):
        Image.fromarray(toy_family.pattern(number)).resize((32, 32)).save(
            folder / f"secret-name-{number}.png"
        )
    return folder


@pytest.fixture
def project(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, forks: Forks, pictures: Path
) -> Project:
    """The project, without baselines."""
    made = Project(pytester, pytester.path, forks)
    monkeypatch.delenv("OCCLUSION_STORE", raising=False)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_toy=TESTS)
    (made.path / "toy_family.py").write_text(Path(toy_family.__file__).read_text())
    (made.path / "suite.toml").write_text(SUITE)
    (made.path / "pyproject.toml").write_text('[tool.occlusion]\nsuite = "suite.toml"\n')
    shutil.copytree(pictures, made.path / "images")
    made.write_rows(
        [
            {
                "image": f"images/secret-name-{number}.png",
                "study_id": f"secret-study-{number}",
                "patient_id": f"secret-patient-{number // 2}",
                "report": f"secret report {number} of a long text with many words",
            }
            for number in range(60)
        ]
    )
    made.checkpoint("good", noise=0.5)
    made.checkpoint("other", noise=1.0)
    return made


@pytest.fixture
def measured(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with everything in its store already: its first run is a warm one.

    Measured once in this process, for tests to which it is all the same where ranks come from.
    """
    kept = tmp_path_factory.getbasetemp() / "measured"
    if kept.exists():
        shutil.copytree(kept, project.path / "store")
        return project
    for noise in (3.0, 0.5):  # the weights that tests turn red with, then those of the project
        project.checkpoint("good", noise=noise)
        project.run(expect=1)  # nothing is accepted yet
    shutil.copytree(project.path / "store", kept)
    return project


workers = pytest.mark.parametrize("parallel", [(), ("-n", "2")], ids=["serial", "n2"])
"""Run a test serially and with two workers, where :meth:`Project.both` cannot compare them."""
