"""What the lists of the best candidates cost, beside ranking alone.

    python benchmarks/lists.py [QUERIES CANDIDATES [K]]

Both are measured in one process, in turns: seconds of the processor, which a busy machine hardly
moves, and of the clock. The ratios are of the medians. Memory is the most that a process of its own
has held, above what it held before ranking.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

WIDTH, TURNS = 512, 5


def held_at_most(*, anew: bool = False) -> int:
    """The most bytes that this process has held (Linux); ``anew`` starts again from now."""
    if anew:
        ctypes.CDLL(None).malloc_trim(0)  # or ranking would work unseen in what the first one left
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def rank(queries: int, candidates: int, first: int) -> tuple[float, float, int]:
    """Seconds of the processor and of the clock, and bytes held at most above the embeddings."""
    import torch

    from pytest_occlusion.retrieval.ranks import rank_groups

    draw = torch.Generator().manual_seed(0)
    asked, there = (
        torch.nn.functional.normalize(torch.randn(rows, WIDTH, generator=draw), dim=1)
        for rows in (queries, candidates)
    )
    own = np.arange(queries) % candidates
    rank_groups(asked[:64], there, own[:64], np.arange(candidates), first=first)
    before = held_at_most(anew=True)
    busy, start = time.process_time(), time.perf_counter()
    rank_groups(asked, there, own, np.arange(candidates), first=first)
    busy, seconds = time.process_time() - busy, time.perf_counter() - start
    return busy, seconds, held_at_most() - before


def main() -> None:
    """Print the ratio and the memory."""
    given = [*map(int, sys.argv[1:]), *(10_000, 10_000, 100)[len(sys.argv) - 1 :]]
    if len(given) == 4:  # one of the processes whose memory is asked for
        print(rank(*given[:3])[2])
        return
    queries, candidates, k = given
    alone, listed = [], []
    for _ in range(TURNS):
        alone.append(rank(queries, candidates, 0))
        listed.append(rank(queries, candidates, k))
    held = [
        int(subprocess.check_output([sys.executable, __file__, *map(str, (*given[:2], first, 1))]))  # noqa: S603
        for first in (0, k)
    ]
    print(f"{queries:,} queries, {candidates:,} candidates, the first {k}")
    for at, clock in enumerate(("of the processor", "of the clock")):
        before, after = (median(turn[at] for turn in turns) for turns in (alone, listed))
        print(
            f"seconds {clock}: alone {before:.2f}, with lists {after:.2f}, "
            f"ratio {after / before:.2f}"
        )
    print(f"memory {held[0] / 2**20:.0f} and {held[1] / 2**20:.0f} MiB", end="; ")
    print(f"the lists themselves {4 * queries * k / 2**20:.0f}")


if __name__ == "__main__":
    main()
