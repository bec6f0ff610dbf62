"""Ratios against other ways of measuring the same: ``python -m peers`` in this folder's parent.

Ways take turns on one machine, so that the ratios hold although the machine is noisy. Medians of
several rounds are printed, and whether the numbers are the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from peers.forward import precision, sweep
from peers.growth import growth
from peers.ranking import WAYS, ranking
from peers.whole import pipeline
from pytest_occlusion.engine.parallel import usable_cores

PARTS: dict[str, Callable[[Any], None]] = {
    "pipeline": pipeline,
    "ranking": ranking,
    "growth": growth,
    "sweep": sweep,
    "precision": precision,
}


def main() -> None:
    """Print the tables of the parts that the command line names, all by default."""
    parser = argparse.ArgumentParser(prog="python -m peers", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--suite", default="embedded", help="whose models and corpus to use")
    parser.add_argument("--model", default="cxr-repair", help="of the suite")
    parser.add_argument("--corpus", help="another corpus, e.g. manifest:PATH")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--queries", type=int, default=10_000, help="for the part `ranking`")
    parser.add_argument("--ks", type=_numbers, default=(1, 5, 10), help="for the part `ranking`")
    parser.add_argument("--ways", type=_names, default=tuple(WAYS), help="for the part `ranking`")
    parser.add_argument("--images", type=int, default=64, help="for `sweep` and `precision`")
    parser.add_argument("--occluders", type=_names, default=("block", "patches"), help="of `sweep`")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "pillow"))
    print(f"{usable_cores()} cores, {libraries}; medians of {chosen.rounds}")
    for part in chosen.parts or PARTS:
        print(f"\n{part}", flush=True)
        PARTS[part](chosen)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


if __name__ == "__main__":
    main()
