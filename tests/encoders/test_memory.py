"""A checkpoint is mapped, not read twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import resource, sys
import open_clip
from pytest_occlusion.encoders import load_encoder

def resident():
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * resource.getpagesize()

tiny, path = sys.argv[1:]
load_encoder("clip", checkpoint=tiny, device="cpu").encode_texts(["x"])
before = resident()
encoder = load_encoder("clip", checkpoint=path, device="cpu")
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(peak - before)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
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
