"""What a Ray cluster on this machine costs beside the same cores without it.

    python benchmarks/engines.py [OCCLUDER,OCCLUDER ...]

The models of the embedded suite at all ratios; each engine with an empty store.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

OCCLUDERS = (
    "block,patches,pixels,center,border,"
    "gaussian-noise,blur,motion-blur,jpeg,contrast,brightness,down-sampling,rotation"
)
"""Some minutes of two cores."""


def run(engine: str, occluders: str, folder: Path) -> tuple[float, str]:
    """Seconds of a whole run of pytest, and the summary of its cells."""
    test = Path(__file__).with_name("test_recall.py")
    start = time.perf_counter()
    done = subprocess.run(  # noqa: S603
        [
            *(sys.executable, "-m", "pytest", str(test), "-q", "-p", "no:cacheprovider"),
            *("--occlusion-suite", "embedded", "--occlusion-occluders", occluders),
            *("--occlusion-engine", engine, "--occlusion-store", str(folder / engine)),
        ],
        capture_output=True,
        text=True,
    )
    found = re.search(r"^\d+ cells: .*$", done.stdout, re.MULTILINE)
    if not found:
        raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
    return time.perf_counter() - start, found[0]


def main() -> None:
    """Print the seconds and their ratio."""
    occluders = sys.argv[1] if len(sys.argv) > 1 else OCCLUDERS
    with tempfile.TemporaryDirectory() as folder:
        seconds = {}
        for engine in ("local", "ray"):
            seconds[engine], cells = run(engine, occluders, Path(folder))
            print(f"{engine:<6}{seconds[engine]:8.1f} s  {cells}", flush=True)
    print(f"ratio {seconds['ray'] / seconds['local']:.2f}")


if __name__ == "__main__":
    main()
