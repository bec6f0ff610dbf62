"""``tox -e speed``: the first run stores, later ones are compared, failed ones leave nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import speed


def test_the_first_run_has_nothing_to_compare_with(tmp_path: Path) -> None:
    first = speed.command(tmp_path, ["-k", "rank"])
    assert not any(part.startswith("--benchmark-compare") for part in first)
    assert first[-2:] == ["-k", "rank"]
    stored(tmp_path, "0001_old.json")
    later = speed.command(tmp_path, [])
    assert f"--benchmark-compare-fail={speed.GATE}" in later


def stored(folder: Path, name: str) -> None:
    (folder / "machine").mkdir(exist_ok=True)
    (folder / "machine" / name).write_text("{}")


@pytest.mark.parametrize(("status", "kept"), [(0, {"0001.json", "0002.json"}), (1, {"0001.json"})])
def test_what_a_failed_run_stored_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, kept: set[str]
) -> None:
    def run(command: list[str]) -> Any:
        stored(tmp_path, "0002.json")
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setenv("OCCLUSION_SPEED", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["speed.py"])
    monkeypatch.setattr(subprocess, "run", run)
    stored(tmp_path, "0001.json")
    assert speed.main() == status
    assert {path.name for path in tmp_path.glob("*/*.json")} == kept
