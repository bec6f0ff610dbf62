"""The part ``pipeline``: the whole sweep, cold and warm, against the straightforward loop."""

from __future__ import annotations

import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from peers.common import measured, settings_for, timed
from peers.straightforward import sweep
from peers.ties import agreement, verdict


def pipeline(chosen: Any) -> None:
    """Print seconds and ratios, and whether the recalls are the same."""
    loop, cold, canvases, warm = [], [], [], []
    measured(settings_for(chosen))  # imports and first-use costs are nobody's
    for _ in range(chosen.rounds):
        with tempfile.TemporaryDirectory() as folder:
            settings = settings_for(chosen, Path(folder))
            seconds, (session, ours) = timed(partial(measured, settings))
            cold.append(seconds)
            seconds, _ = timed(partial(measured, settings))
            warm.append(seconds)
            forget(Path(folder), "ranks", "embeddings", "texts")
            seconds, _ = timed(partial(measured, settings))
            canvases.append(seconds)
        encoder, grid = session.encoder(chosen.model), session.settings.grid
        task = partial(sweep, encoder, session.corpus, session.task)
        seconds, theirs = timed(partial(task, ratios=grid.ratios, ks=grid.ks))
        loop.append(seconds)
    base = statistics.median(loop)
    print(f"  straightforward loop        {base:8.2f} s   1.0 x")
    for name, values in (
        ("cold", cold),
        ("warm canvases", canvases),
        ("warm (ranks from the store)", warm),
    ):
        seconds = statistics.median(values)
        print(f"  {name:<27} {seconds:8.2f} s {base / seconds:5.1f} x faster")
    apart = max(abs(ours[cell] - theirs[cell.ratio, cell.k]) for cell in ours)
    found = [
        agreement(session.measured(cell)[0].ranks, cell.k, theirs[cell.ratio, cell.k])
        for cell in ours
    ]
    print(f"  {verdict(found)}; at most {apart:.2g} apart")


def forget(store: Path, *kinds: str) -> None:
    """Delete entries of some kinds from a store."""
    for kind in kinds:
        for path in store.glob(f"v*/{kind}/**/*"):
            if path.is_file():
                path.unlink()
