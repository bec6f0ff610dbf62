"""What it costs to keep the k best candidates of every query while ranking.

    python benchmarks/lists.py [--queries 10000] [--candidates 10000] [--first 100] [--threads N]

Ranks random embeddings without and with lists, in turns in one process, and prints the medians of
time and of processor time, and of their quotients within a turn (with quartiles: the noise). Then
the peak memory of each above its embeddings, in processes of their own. Figures: ``RESULTS.md``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from peers.ranking import reset_peak, status_bytes
from pytest_occlusion.retrieval.ranks import rank_groups


def embeddings(rows: int, dimensions: int, seed: int) -> torch.Tensor:
    """Random ones ``[rows, dimensions]`` of length 1, made in place: no peak of their own."""
    drawn = torch.randn(rows, dimensions, generator=torch.Generator().manual_seed(seed))
    return drawn.div_(torch.linalg.vector_norm(drawn, dim=1, keepdim=True))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--first", type=int, default=100, help="length of a list")
    parser.add_argument("--pairs", type=int, default=9, help="how often both are timed")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def peak(options: argparse.Namespace, first: int) -> float:
    """Peak in MiB of ranking once with lists of this length, in a process of its own."""
    named = ("queries", "candidates", "dimensions", "threads")
    sizes = [f"--{name}={getattr(options, name)}" for name in named]
    call = [sys.executable, str(Path(__file__)), *sizes, f"--peak-of={first}"]
    return float(subprocess.run(call, check=True, capture_output=True, text=True).stdout)  # noqa: S603


def main() -> None:
    """Print the figures."""
    options = parsed()
    torch.set_num_threads(options.threads)
    queries = embeddings(options.queries, options.dimensions, 0)
    candidates = embeddings(options.candidates, options.dimensions, 1)
    places = np.arange(options.candidates)
    asked = np.random.default_rng(0).integers(0, options.candidates, options.queries)

    def ranking(first: int) -> tuple[float, float]:
        before = time.perf_counter(), time.process_time()
        rank_groups(queries, candidates, asked, places, first=first)
        return time.perf_counter() - before[0], time.process_time() - before[1]

    if options.peak_of is not None:
        few = min(200, *map(len, (queries, candidates)))  # loads what is loaded once
        rank_groups(queries[:few], candidates[:few], places[:few], places[:few], first=2)
        before = reset_peak()
        ranking(options.peak_of)
        print((status_bytes("VmHWM") - before) / 2**20)
        return
    ranking(0), ranking(options.first)
    turns = np.array([(ranking(0), ranking(options.first)) for _ in range(options.pairs)])
    print(
        f"{options.queries:,} x {options.candidates:,}, {options.dimensions} dimensions, "
        f"{options.first} best, {options.threads} threads, {options.pairs} turns"
    )
    for name, times in zip(("elapsed", "processor"), turns.transpose(2, 1, 0), strict=True):
        without, with_lists = map(statistics.median, times.tolist())
        low, middle, high = statistics.quantiles((times[1] / times[0]).tolist(), n=4)
        print(
            f"{name}: without {without:.2f} s, with {with_lists:.2f} s, "
            f"times {middle:.2f} ({low:.2f} to {high:.2f})"
        )
    print(f"peak: without {peak(options, 0):.0f} MiB, with {peak(options, options.first):.0f} MiB")


if __name__ == "__main__":
    main()
