"""Ratios against other ways of measuring the same: ``python -m peers`` in this folder's parent.

Everything runs in one process on one machine, turn by turn, so that the ratios hold although the
machine is noisy. Medians of several rounds are printed, beside the recalls' largest difference.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peers.straightforward import sweep, top_k_one_hot
from pytest_occlusion.grid import Cell, cells
from pytest_occlusion.merge import build_settings
from pytest_occlusion.parallel import usable_cores
from pytest_occlusion.retrieval.ranks import rank_groups
from pytest_occlusion.retrieval.recall import recall_at_k
from pytest_occlusion.session import Session
from pytest_occlusion.settings import KS, RATIOS, Settings
from pytest_occlusion.suites import find_suite


def main() -> None:
    """Print the table of the parts that the command line names, all by default."""
    parser = argparse.ArgumentParser(prog="python -m peers", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--suite", default="embedded", help="whose models and corpus to use")
    parser.add_argument("--model", default="cxr-repair", help="of the suite")
    parser.add_argument("--corpus", help="another corpus, e.g. manifest:PATH")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--queries", type=int, default=10_000, help="for the part `ranking`")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "pillow"))
    print(f"{usable_cores()} cores, {libraries}; medians of {chosen.rounds}")
    for part in chosen.parts or PARTS:
        print(f"\n{part}")
        PARTS[part](chosen)


def settings_for(chosen: Any, store: Path | None) -> Settings:
    """The suite narrowed to one model, with a store of its own."""
    suite = find_suite(chosen.suite, Path.cwd())
    settings = build_settings(
        suite.table,
        origin=suite.origin,
        base=suite.base,
        command_line={"corpus": chosen.corpus} if chosen.corpus else {},
        selected=[chosen.model],
        store=store,
    )
    return replace(settings, device="cpu")


def measured(settings: Settings) -> dict[Cell, float]:
    """Recall of every cell, by the pipeline."""
    wanted = cells(settings.grid)
    session = Session(settings, wanted=wanted, say=lambda line: None)
    return {cell: session.result(cell).recall for cell in wanted}


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of wall clock, and the result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def pipeline(chosen: Any) -> None:
    """The whole sweep, cold and warm, against the straightforward loop."""
    loop, cold, canvases, warm = [], [], [], []
    apart = 0.0
    measured(settings_for(chosen, None))  # imports and first-use costs are nobody's
    for _ in range(chosen.rounds):
        with tempfile.TemporaryDirectory() as folder:
            settings = settings_for(chosen, Path(folder))
            seconds, ours = timed(partial(measured, settings))
            cold.append(seconds)
            seconds, _ = timed(partial(measured, settings))
            warm.append(seconds)
            forget(Path(folder), "ranks", "embeddings", "texts")
            seconds, _ = timed(partial(measured, settings))
            canvases.append(seconds)
        session = Session(settings_for(chosen, None), say=lambda line: None)
        encoder = session.encoder(chosen.model)
        grid = session.settings.grid
        task = partial(sweep, encoder, session.corpus, session.task)
        seconds, theirs = timed(partial(task, ratios=grid.ratios, ks=grid.ks))
        loop.append(seconds)
        apart = max(abs(ours[cell] - theirs[cell.ratio, cell.k]) for cell in ours)
    base = statistics.median(loop)
    print(f"  straightforward loop        {base:8.2f} s   1.0 x")
    for name, values in (
        ("cold", cold),
        ("warm canvases", canvases),
        ("warm (ranks from the store)", warm),
    ):
        seconds = statistics.median(values)
        print(f"  {name:<27} {seconds:8.2f} s {base / seconds:5.1f} x faster")
    print(f"  largest difference in recall over {len(RATIOS) * len(KS)} cells: {apart:.2g}")


def forget(store: Path, *kinds: str) -> None:
    """Delete entries of some kinds from a store."""
    for kind in kinds:
        for path in store.glob(f"v*/{kind}/**/*"):
            if path.is_file():
                path.unlink()


def ranking(chosen: Any) -> None:
    """All ks from N x N scores, against top-k one-hot, CLIP_benchmark and torchmetrics."""
    count = chosen.queries
    draw = torch.Generator().manual_seed(0)
    texts = torch.nn.functional.normalize(torch.randn(count, 512, generator=draw), dim=1)
    noise = torch.randn(count, 512, generator=draw)
    images = torch.nn.functional.normalize(texts + 0.25 * noise, dim=1)
    groups = np.arange(count)

    def ours() -> dict[int, float]:
        return recall_at_k(rank_groups(images, texts, groups, groups), KS)

    ways: dict[str, Callable[[], dict[int, float]]] = {"ours": ours}
    ways["top-k one-hot, in batches"] = lambda: in_batches(images, texts, groups)
    if find_spec("clip_benchmark"):
        ways["clip_benchmark"] = lambda: clip_benchmark(images, texts)
    if find_spec("torchmetrics"):
        ways["torchmetrics"] = lambda: torch_metrics(images, texts)
    results: dict[str, dict[int, float]] = {}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(chosen.rounds):
        for name, way in ways.items():
            took, results[name] = timed(way)
            seconds[name].append(took)
    base = statistics.median(seconds["ours"])
    for name in ways:
        took = statistics.median(seconds[name])
        apart = max(abs(results[name][k] - results["ours"][k]) for k in KS)
        print(f"  {name:<27} {took:8.2f} s {took / base:6.1f} x ours; recall {apart:.1g} apart")


def in_batches(
    images: torch.Tensor, texts: torch.Tensor, positives: np.ndarray, size: int = 64
) -> dict[int, float]:
    """Top-k one-hot over the rows of the whole score matrix, some at a time."""
    scores = images @ texts.T
    found = {}
    for k in KS:
        parts = [
            top_k_one_hot(scores[at : at + size], positives[at : at + size], k)
            * len(scores[at : at + size])
            for at in range(0, len(scores), size)
        ]
        found[k] = sum(parts) / len(scores)
    return found


def clip_benchmark(images: torch.Tensor, texts: torch.Tensor) -> dict[int, float]:
    """CLIP_benchmark's own function, as its retrieval task calls it."""
    from clip_benchmark.metrics.zeroshot_retrieval import (
        batchify,
        recall_at_k,
    )

    scores = images @ texts.T
    positives = torch.eye(len(scores), dtype=torch.bool)
    return {
        k: float(batchify(recall_at_k, scores, positives, 64, "cpu", k=k).gt(0).float().mean())
        for k in KS
    }


def torch_metrics(images: torch.Tensor, texts: torch.Tensor) -> dict[int, float]:
    """Torchmetrics' functional retrieval recall, query by query."""
    from torchmetrics.functional.retrieval import (
        retrieval_recall,
    )

    scores = images @ texts.T
    found = {}
    for k in KS:
        total = 0.0
        for row, line in enumerate(scores):
            target = torch.zeros(len(line), dtype=torch.bool)
            target[row] = True
            total += float(retrieval_recall(line, target, top_k=k))
        found[k] = total / len(scores)
    return found


def memory(chosen: Any) -> None:
    """Peak memory of ranking above the embeddings, in fresh processes."""
    import subprocess
    import sys

    for way in ("ours", "top-k one-hot"):
        code = f"from peers.__main__ import peak; peak({way!r}, {chosen.queries})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)  # noqa: S603
        print(f"  {way:<27} {done.stdout.strip() or done.stderr.strip()[-200:]}")


def peak(way: str, count: int) -> None:
    """Print what one way of ranking adds to the resident memory."""
    draw = torch.Generator().manual_seed(0)
    images = torch.nn.functional.normalize(torch.randn(count, 512, generator=draw), dim=1)
    groups = np.arange(count)
    _ = images[:8] @ images[:8].T
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if way == "ours":
        recall_at_k(rank_groups(images, images, groups, groups), KS)
    else:
        in_batches(images, images, groups)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{(after - before) / 1024:8.0f} MB above the embeddings")


def growth(chosen: Any) -> None:
    """Cost against the number of radiographs, of ratios and of ks."""
    from pytest_occlusion.corpora.embedded import load_embedded

    corpus = load_embedded()
    settings = settings_for(chosen, None)
    print("  radiographs   seconds   ms each")
    for count in (250, 500, 1000, 1770):
        session = Session(settings, wanted=cells(settings.grid), say=lambda line: None)
        session.corpus = replace(corpus, radiographs=corpus.radiographs[:count])
        session.encoder(chosen.model)
        seconds, _ = timed(partial(list, map(session.result, session.wanted)))
        print(f"  {count:>11} {seconds:9.2f} {1000 * seconds / count:9.2f}")


PARTS: dict[str, Callable[[Any], None]] = {
    "pipeline": pipeline,
    "ranking": ranking,
    "memory": memory,
    "growth": growth,
}

if __name__ == "__main__":
    main()
