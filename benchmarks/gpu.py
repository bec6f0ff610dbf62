"""What the package does on a GPU, in numbers: ``python benchmarks/gpu.py``.

One command, no network, no data but this repository's; under eight minutes on one large card with
16 cores. Parts: does every family compute on the device what it computes on the CPU (``parity``),
are masks and corruptions the same bits (``canvases``), how close is a sweep to its forward passes
(``throughput``), how long does the paper's table take (``table``), what happens when memory runs
out (``memory``), and when two workers share a card (``workers``).

A broken expectation makes the exit status 1; an aim that is missed is told, and does not. With
``--small`` it runs on a CPU in a minute, to show that it runs at all.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpu_parts.record import Finding, Part
    from gpu_parts.setting import Setting

PARTS = ("canvases", "parity", "throughput", "table", "memory", "workers")
"""In the order in which they run: what is quick and must hold comes first."""

BUDGET = 450
"""Seconds. What does not fit any more is left out, and told."""


def run_part(name: str, given: Setting) -> Iterable[Finding]:
    """Run a part, imported when it is its turn: a fault in one is not the others'."""
    part: Part = getattr(import_module(f"gpu_parts.{name}"), name)
    return part(given)


def main(given: list[str] | None = None) -> int:
    """Run the parts that the command line names, all by default; gives the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--small", action="store_true", help="tiny towers and few pictures")
    parser.add_argument("--only", type=_parts, default=PARTS, help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, help="file for everything that was found")
    parser.add_argument("--markdown", type=Path, help="file for the tables")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds for everything")
    parser.add_argument("--processes", type=int, help="checkpoints of parity at a time")
    parser.add_argument("--join", type=Path, nargs="+", help="JSONs of runs to make one of")
    chosen = parser.parse_args(given)

    if chosen.join:
        from gpu_parts.record import joined, write

        found = joined([json.loads(path.read_text(encoding="utf-8")) for path in chosen.join])
        write(found, chosen.json, chosen.markdown)
        return 0
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from gpu_parts.record import Record, markdown
    from gpu_parts.setting import Setting, describe
    from pytest_occlusion.encoders.devices import resolve_device
    from pytest_occlusion.engine.parallel import usable_cores

    device = resolve_device(chosen.device)
    processes = chosen.processes
    if processes is None:
        processes = 0 if chosen.small else max(1, min(5, usable_cores() // 3))
    where = describe(device, small=chosen.small)
    record = Record(where, chosen.json, chosen.markdown, say=lambda line: print(line, flush=True))
    record.say(", ".join(f"{name} {value}" for name, value in where.items()))
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        setting = Setting(device, chosen.small, Path(folder), chosen.budget, processes)
        for name in chosen.only:
            record.run(name, partial(run_part, name), setting)
    record.say(f"\n{markdown(record.plain)}")
    return int(record.failed)


def _parts(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := set(names) - set(PARTS):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return names


if __name__ == "__main__":
    raise SystemExit(main())
