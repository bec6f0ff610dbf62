"""A checkpoint is mapped, not read twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path
from pytest_occlusion.encoders import load_encoder

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

tiny, path = sys.argv[1:]
load_encoder("clip", checkpoint=tiny, device="cpu").encode_texts(["x"])
before = status('VmRSS')
encoder = load_encoder("clip", checkpoint=path, device="cpu")
print(status("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_loading_peaks_below_the_model_and_its_file(vitb32: Path, tiny_vit: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tiny_vit), str(vitb32)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    size = vitb32.stat().st_size  # the model is float32, as the file is: the same size
    assert int(run.stdout) < size + 1.2 * size
