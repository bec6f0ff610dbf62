"""Run the timings and compare them with the last that were stored here: ``tox -e speed``.

They are kept in the folder that OCCLUSION_SPEED names. The first run compares with nothing and
stores; each later one is compared with the last, fails where a median is half as long again, and
stores only when none is. Timings of another machine mean nothing, so none are in the repository.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

GATE = "median:50%"
"""Generous: a shared machine differs much from one run to the next."""


def command(folder: Path, given: Sequence[str]) -> list[str]:
    """The call of pytest; ``given`` comes last, so that it may name another gate.

    Args:
        folder: Where timings are kept.
        given: Further arguments.
    """
    kept = any(folder.glob("*/*.json"))
    compare = ["--benchmark-compare", f"--benchmark-compare-fail={GATE}"] if kept else []
    timings = str(Path(__file__).with_name("test_encoding.py"))
    return [
        *(sys.executable, "-m", "pytest", timings, "-n0", "--benchmark-enable"),
        *(f"--benchmark-storage=file://{folder}", "--benchmark-autosave"),
        *compare,
        *given,
    ]


def main() -> int:
    """Run, and drop what a failed run stored: the next one must not be measured by it."""
    folder = Path(os.environ.get("OCCLUSION_SPEED", ".benchmarks")).absolute()
    before = set(folder.glob("*/*.json"))
    status = subprocess.run(command(folder, sys.argv[1:])).returncode  # noqa: S603
    if status:
        for path in set(folder.glob("*/*.json")) - before:
            path.unlink()
    return status


if __name__ == "__main__":
    raise SystemExit(main())
