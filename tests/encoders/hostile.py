"""Damaged checkpoints by the hundred, inspected by a process whose memory is watched.

    python -m tests.encoders.hostile FOLDER CHECKPOINT

prints for every file below the folder how ``inspect`` ended, and by how many bytes the process grew
after it had inspected the checkpoint, which is whole.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pytest_occlusion.__main__ import main

ODD: list[Any] = [
    *(None, True, -1, 2**63, 10**30, 1.5, "", "F32", "F8_E4M3", "\x1b[31m", [], [[]], {}),
    *([-1], [10**12, 10**12], [0, 2**63], [4, 0], [1] * 99, {"": None}),
]


def damaged(path: Path, count: int, seed: int) -> Iterator[bytes]:
    """The file cut short, with other bytes here and there, or doubled."""
    draw, whole = np.random.default_rng(seed), path.read_bytes()
    for number in range(count):
        content = bytearray(whole)
        if number % 4 == 0:
            del content[int(draw.integers(len(content))) :]
        elif number % 4 == 1:
            for _ in range(int(draw.integers(1, 30))):
                content[int(draw.integers(min(4096, len(content))))] = int(draw.integers(256))
        elif number % 4 == 2:  # the end of a zip archive has its table of contents
            for _ in range(int(draw.integers(1, 30))):
                content[-1 - int(draw.integers(min(4096, len(content))))] = int(draw.integers(256))
        else:
            at = int(draw.integers(len(content)))
            content[at : at + int(draw.integers(64))] = draw.bytes(int(draw.integers(64)))
        yield bytes(content)


def odd_headers(path: Path) -> Iterator[bytes]:
    """A safetensors file whose header says something else of a tensor, or of itself."""
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header, body = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    name = next(key for key in header if key != "__metadata__")
    changes = [{**header, name: value} for value in ODD]
    for part in ("dtype", "shape", "data_offsets"):
        changes += [{**header, name: {**header[name], part: value}} for value in ODD]
    changes += [{**header, "__metadata__": value} for value in ODD]
    changes += [{**header, f"{name}\x1b]0;title\x07": header[name]}, {}, {"__metadata__": {}}]
    for change in changes:
        text = json.dumps(change).encode()
        yield len(text).to_bytes(8, "little") + text + body
    for claimed in (0, 7, length - 1, 2**20, 2**40, 2**63):
        yield claimed.to_bytes(8, "little") + whole[8:]


def inspected(path: Path) -> str:
    """The exit status and what was wrong with how it ended; empty where nothing was."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["inspect", str(path)])
    except BaseException:
        return traceback.format_exc()
    said = out.getvalue() + err.getvalue()
    if "\x1b" in said or "\x07" in said:
        return "control characters reach the terminal"
    if code == 2 and not err.getvalue().startswith("error: "):
        return f"an error without words: {said}"
    return "" if code in (0, 1, 2) else f"exit status {code}"


def peak() -> int:
    """Most bytes that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    files = sorted(Path(sys.argv[1]).iterdir())
    assert not inspected(Path(sys.argv[2]))  # imports what it needs
    before = peak()
    found = {path.name: inspected(path) for path in files}
    print(json.dumps({"files": found, "grown": peak() - before}))  # noqa: T201
