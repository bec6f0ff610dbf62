"""Tables in full size, made up: how long they take, and how much memory.

    python -m tests.corpora.simulate_tables rows FOLDER [--counts 400000]
    python -m tests.corpora.simulate_tables parquet FOLDER [--counts 2000,20000]

``rows`` counts a manifest of so many rows with ``python -m pytest_occlusion corpus``. ``parquet``
writes sets with a picture of 100 KB in each row, in row groups of 100 and in a single one, lists
each, then runs a suite with the toy family of the tests on it. Of every command it prints seconds
and the most memory that any of its processes held.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tests.corpora.simulate_mimic import WORDS
from tests.plugin import toy_family

SIDE = 320
CONFTEST = """
from pytest_occlusion.encoders import register_family
from tests.plugin.toy_family import TOY
register_family(TOY)
"""
TEST = "def test_recall(occlusion_cell):\n    occlusion_cell.assert_accepted()\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("rows", "parquet"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--counts", default="")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    corpus = [sys.executable, "-m", "pytest_occlusion", "corpus"]
    if options.what == "rows":
        for count in map(int, (options.counts or "400000").split(",")):
            place = simulate_rows(options.folder / f"rows-{count}", count)
            measure(f"{count:,} rows", [*corpus, f"manifest:{place}"], options.folder)
        return
    for count in map(int, (options.counts or "2000,20000").split(",")):
        for group in (100, count):
            folder = options.folder / f"parquet-{count}-{group}"
            place = simulate_pictures(folder, count, group)
            name = f"{count:,} pictures, {group:,} to a row group"
            measure(f"{name}: listed", [*corpus, f"hf:{place}", "--fingerprint"], folder)
            run = [sys.executable, "-m", "pytest", "--snapshot-update", "-q", "-p", "no:benchmark"]
            measure(f"{name}: run", [*run, "--occlusion-store", "store"], folder)


def measure(name: str, command: Sequence[str], folder: Path) -> None:
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, _held(process.pid))
            time.sleep(0.05)
    seconds = time.perf_counter() - start
    print(f"{name}: {seconds:.1f} s, {peak / 2**20:.2f} GiB, exit {process.returncode}")  # noqa: T201


def _held(process: int) -> int:
    """KiB that a process and those it started hold together; what they share counts once each."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            facts = dict(line.split(":", 1) for line in status.read_text().splitlines())
            stack = [int(status.parent.name)]
            while stack[-1] not in (process, 0):
                parent = Path(f"/proc/{stack[-1]}/stat").read_text().rpartition(")")[2].split()[1]
                stack.append(int(parent))
        except (OSError, ValueError):
            continue
        if stack[-1] == process and "RssAnon" in facts:
            total += int(facts["RssAnon"].split()[0])
    return total


def report(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=60)) + "."


def simulate_rows(folder: Path, count: int) -> Path:
    """A manifest of so many rows, with a file for each (links to a few)."""
    path = folder / "table.csv"
    if path.exists():
        return path
    draw = random.Random(0)
    for shard in range(count // 50_000 + 1):
        (folder / f"{shard}").mkdir(parents=True)
        (folder / f"{shard}" / "first.png").write_bytes(b"picture")
    with path.open("w") as table:
        table.write("Path,StudyId,PatientId,ViewPosition,Report Impression,Sex,split\n")
        for row in range(count):
            name = f"{row // 50_000}/{row}.png"
            os.link(folder / f"{row // 50_000}" / "first.png", folder / name)
            ids = f"s{row // 2},p{row // 4}"
            table.write(f"{name},{ids},PA,{report(draw)},F,{'train' if row % 10 else 'test'}\n")
    return path


def simulate_pictures(folder: Path, count: int, group: int) -> Path:
    """A set of the hub with a picture of noise in each row, and a suite that runs on it."""
    path = folder / "set" / "test-00000-of-00001.parquet"
    if path.exists():
        return path.parent
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    path.parent.mkdir(parents=True)
    picture = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    schema = pyarrow.schema([("image", picture), ("report", pyarrow.string())])
    with ParquetWriter(path, schema, compression="NONE") as writer:
        rows = _rows(count)
        for _ in range(0, count, group):
            part = [next(rows) for _ in range(min(group, count))]
            writer.write_table(pyarrow.Table.from_pylist(part, schema), row_group_size=group)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_toy.py").write_text(TEST)
    toy_family.write_checkpoint(folder / "toy.safetensors", noise=1.0)
    (folder / "suite.toml").write_text(
        'suite = "toy"\ncorpus = "hf:set"\nratios = [0.0, 0.25]\nks = [1]\n'
        '[models.toy]\nfamily = "toy"\ncheckpoint = "toy.safetensors"\n'
    )
    (folder / "pyproject.toml").write_text('[tool.occlusion]\nsuite = "suite.toml"\n')
    return path.parent


def _rows(count: int) -> Iterator[dict[str, Any]]:
    draw = random.Random(0)
    for row in range(count):
        buffer = io.BytesIO()
        noise = Image.frombytes("L", (SIDE, SIDE), draw.randbytes(SIDE * SIDE))
        noise.save(buffer, format="PNG", compress_level=0)
        picture = {"bytes": buffer.getvalue(), "path": None}
        yield {"image": picture, "report": f"{row % 97} {report(draw)}"}


if __name__ == "__main__":
    main()
