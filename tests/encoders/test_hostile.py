"""Files that are no checkpoints any more are refused in words, in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_occlusion.suite.suites import embedded_checkpoint
from tests.encoders.hostile import damaged, odd_headers

ROOT = Path(__file__).parents[2]
TAR = embedded_checkpoint("cxr-clip") / "cxr_clip.tar"
BIN = embedded_checkpoint("medclip") / "pytorch_model.bin"
SAFE = embedded_checkpoint("clip") / "open_clip_model.safetensors"


def ended(folder: Path, whole: Path) -> Any:
    run = subprocess.run(
        [sys.executable, "-m", "tests.encoders.hostile", str(folder), str(whole)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


KINDS = ("zip", "bundle", "safetensors", "legacy", "headers")


@pytest.mark.parametrize(
    ("kinds", "count"),
    [(KINDS, 4), *(pytest.param((kind,), 100, marks=pytest.mark.slow) for kind in KINDS)],
)
def test_inspect_ends_in_words(tmp_path: Path, kinds: tuple[str, ...], count: int) -> None:
    (folder := tmp_path / "damaged").mkdir()
    for kind in kinds:
        made = tmp_path / f"{kind}.pt"
        whole = {"zip": TAR, "safetensors": SAFE, "headers": SAFE}.get(kind, made)
        if kind == "legacy":
            state = torch.load(TAR, weights_only=True, map_location="cpu")
            torch.save(state, made, _use_new_zipfile_serialization=False)
        elif kind == "bundle":
            with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.write(BIN, BIN.name)
        contents = odd_headers(whole) if kind == "headers" else damaged(whole, count, seed=1)
        for number, content in enumerate(contents):
            (folder / f"{kind}-{number:03}{whole.suffix}").write_bytes(content)
    found = ended(folder, whole)
    assert len(found["files"]) >= count * len(kinds)
    assert {name: how for name, how in found["files"].items() if how} == {}
    assert found["grown"] < 100 * 2**20
