"""Files that are no checkpoints any more are refused in words, in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_occlusion.suite.suites import embedded_checkpoint
from tests.encoders.hostile import damaged, odd_headers

ROOT = Path(__file__).parents[2]
TAR = embedded_checkpoint("cxr-clip") / "cxr_clip.tar"
SAFE = embedded_checkpoint("clip") / "open_clip_model.safetensors"


def ended(folder: Path) -> Any:
    run = subprocess.run(
        [sys.executable, "-m", "tests.encoders.hostile", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def write(folder: Path, kind: str) -> None:
    legacy = folder.parent / "legacy.pt"
    if kind == "legacy":
        state = torch.load(TAR, weights_only=True, map_location="cpu")
        torch.save(state, legacy, _use_new_zipfile_serialization=False)
    whole = {"zip": TAR, "safetensors": SAFE, "legacy": legacy, "headers": SAFE}[kind]
    contents = odd_headers(whole) if kind == "headers" else damaged(whole, 60, seed=1)
    suffix = ".safetensors" if whole is SAFE else ".pt"
    for number, content in enumerate(contents):
        (folder / f"{number:03}{suffix}").write_bytes(content)


@pytest.mark.parametrize("kind", ["zip", "safetensors", "legacy", "headers"])
def test_inspect_ends_in_words(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / kind
    folder.mkdir()
    write(folder, kind)
    found = ended(folder)
    assert {name: how for name, how in found["files"].items() if how} == {}
    size = max(path.stat().st_size for path in folder.iterdir())
    assert found["grown"] < 300 * 2**20 + 20 * size
