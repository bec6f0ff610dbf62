"""This repository's own wiring of pytest: optional plugins, and workers that crash."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*args: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *args]
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize("plugin", ["xdist", "benchmark", "randomly"])
def test_the_suite_is_collected_without_a_plugin(plugin: str) -> None:
    found = run("benchmarks", "--collect-only", "-q", "-p", f"no:{plugin}")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "test_recall[clip-block-r00-k005]" in found.stdout


@pytest.mark.parametrize(
    ("given", "told"),
    [((), "worker restarting disabled"), (("--max-worker-restart=1",), "maximum crashed workers")],
    ids=["default", "asked"],
)
def test_a_worker_that_crashed_stays_down(
    given: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    (tmp_path / "test_crash.py").write_text(
        "import os, pytest\n"
        "@pytest.mark.parametrize('n', range(6))\n"
        "def test_crash(n):\n"
        "    os.abort()\n"
    )
    quiet = ("-W", "ignore:syrupy")
    found = run("-n", "1", "-p", "conftest", *quiet, *given, folder=tmp_path)
    assert told in found.stdout


def test_the_citation_has_the_version_and_the_paper() -> None:
    text = (ROOT / "CITATION.cff").read_text()
    told = dict(re.findall(r"^([a-z-]+): (.+)$", text, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert told["version"] == project["version"]
    assert told["license"] == project["license"]
    assert "https://arxiv.org/abs/2501.09134" in text
    assert text.count("family-names: ") == 6
