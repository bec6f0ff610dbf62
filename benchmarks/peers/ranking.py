"""The part ``ranking``: recall from N x N scores, against other libraries' own functions.

Every way runs in a fresh process, so that its peak memory is its own: the embeddings and what a
small problem loads (libraries, their buffers) are counted to nobody.
"""

from __future__ import annotations

import ctypes
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peers.straightforward import top_k_one_hot
from peers.ties import agreement, verdict
from pytest_occlusion.retrieval.ranks import Ranks, rank_groups
from pytest_occlusion.retrieval.recall import recall_at_k

Recalls = dict[int, float]
Way = Callable[[torch.Tensor, torch.Tensor, Sequence[int]], Recalls]

WARM_UP = 200
"""Pairs of the small problem that comes first."""


@dataclass(frozen=True)
class Run:
    """One way in one process.

    Attributes:
        seconds: Of wall clock.
        bytes: Peak of the resident memory above what was there before; 0 where unknown.
        recalls: k -> recall.
    """

    seconds: float
    bytes: int
    recalls: Recalls


def ranking(chosen: Any) -> None:
    """Print seconds, memory and ratios of every way that is installed, and whether they agree."""
    ks, count = chosen.ks, chosen.queries
    runs: dict[str, list[Run]] = {
        name: [] for name in WAYS if _installed(name) and name in chosen.ways
    }
    for _ in range(chosen.rounds):
        for name, found in runs.items():
            found.append(_fresh(name, count, ks))
    images, texts = embeddings(count)
    ranks = rank_groups(images, texts, np.arange(count), np.arange(count))
    base, memory = _median(runs["ours"])
    print(f"  {count:,} x {count:,}, image to text, k in {', '.join(map(str, ks))}")
    for name, found in runs.items():
        seconds, used = _median(found)
        agreements = [agreement(ranks, k, found[0].recalls[k]) for k in ks]
        print(
            f"  {_label(name):<25}{seconds:8.2f} s {seconds / base:6.1f} x{used / 2**20:8.0f} MiB "
            f"{used / memory:6.1f} x; {verdict(agreements)}"
        )


def embeddings(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs of unit vectors ``[N, 512]`` that resemble each other, float32."""
    draw = torch.Generator().manual_seed(0)
    texts = torch.nn.functional.normalize(torch.randn(count, 512, generator=draw), dim=1)
    noise = torch.randn(count, 512, generator=draw)
    return torch.nn.functional.normalize(texts + 0.25 * noise, dim=1), texts


def ours(images: torch.Tensor, texts: torch.Tensor, ks: Sequence[int]) -> Recalls:
    """Ranks, then recall at every k."""
    return recall_at_k(_paired(images, texts), ks)


def _paired(images: torch.Tensor, texts: torch.Tensor) -> Ranks:
    return rank_groups(images, texts, np.arange(len(images)), np.arange(len(texts)))


def one_hot(
    images: torch.Tensor, texts: torch.Tensor, ks: Sequence[int], size: int = 64
) -> Recalls:
    """Top-k one-hot over the rows of the whole score matrix, some at a time."""
    scores, positives = images @ texts.T, np.arange(len(images))
    found = {}
    for k in ks:
        parts = [
            top_k_one_hot(scores[at : at + size], positives[at : at + size], k)
            * len(scores[at : at + size])
            for at in range(0, len(scores), size)
        ]
        found[k] = sum(parts) / len(scores)
    return found


def clip_benchmark(images: torch.Tensor, texts: torch.Tensor, ks: Sequence[int]) -> Recalls:
    """CLIP_benchmark's own functions, called as its retrieval task calls them for one direction."""
    from clip_benchmark.metrics import zeroshot_retrieval as theirs

    scores = images @ texts.T
    positives = torch.eye(len(scores), dtype=torch.bool)
    batched, recall = theirs.batchify, theirs.recall_at_k
    return {
        k: float((batched(recall, scores, positives, 64, "cpu", k=k) > 0).float().mean())
        for k in ks
    }


def torchmetrics(images: torch.Tensor, texts: torch.Tensor, ks: Sequence[int]) -> Recalls:
    """Torchmetrics' functional retrieval recall, query by query."""
    from torchmetrics.functional.retrieval import retrieval_recall

    scores = images @ texts.T
    target = torch.zeros(len(texts), dtype=torch.bool)
    found = dict.fromkeys(ks, 0.0)
    for row, line in enumerate(scores):
        target[row] = True
        for k in ks:
            found[k] += float(retrieval_recall(line, target, top_k=k)) / len(scores)
        target[row] = False
    return found


WAYS: dict[str, Way] = {
    "ours": ours,
    "one-hot": one_hot,
    "clip_benchmark": clip_benchmark,
    "torchmetrics": torchmetrics,
}
OPTIONAL = ("clip_benchmark", "torchmetrics")


def _installed(name: str) -> bool:
    return name not in OPTIONAL or find_spec(name) is not None


def _label(name: str) -> str:
    return f"{name} {version(name)}" if name in OPTIONAL else name


def _median(runs: Sequence[Run]) -> tuple[float, float]:
    return (
        statistics.median(run.seconds for run in runs),
        max(1.0, statistics.median(run.bytes for run in runs)),
    )


def _fresh(name: str, count: int, ks: Sequence[int]) -> Run:
    code = f"from peers.ranking import report; report({name!r}, {count}, {list(ks)})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    recalls = {int(k): recall for k, recall in found["recalls"].items()}
    return Run(found["seconds"], found["bytes"], recalls)


def report(name: str, count: int, ks: Sequence[int]) -> None:
    """Print one run as JSON; called in a process of its own."""
    images, texts = embeddings(count)
    WAYS[name](images[:WARM_UP], texts[:WARM_UP], ks)
    before = _reset_peak()
    start = time.perf_counter()
    recalls = WAYS[name](images, texts, ks)
    seconds = time.perf_counter() - start
    used = _status("VmHWM") - before
    print(json.dumps({"seconds": seconds, "bytes": used, "recalls": recalls}))


def _reset_peak() -> int:
    """Forget the peak so far and give the memory in use: the warm-up's peak is nobody's.

    What the allocator has kept of it goes back first, or a way could work in that unseen.
    """
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    forget = Path("/proc/self/clear_refs")
    if forget.exists():
        forget.write_text("5", encoding="ascii")
    return _status("VmHWM")


def _status(name: str) -> int:
    """Bytes of a line of the process's status; 0 where the system keeps none."""
    path = Path("/proc/self/status")
    if not path.exists():
        return 0
    lines = path.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))
