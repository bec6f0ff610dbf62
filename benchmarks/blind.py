"""What a model's rankings come to where they cannot know the radiograph.

    python benchmarks/blind.py [--suite SUITE] [--ratio 0.81] [-k 10]

Reports repeat, so a model that puts common ones first finds many without looking. Each radiograph's
ranking is asked for the reports of all the other radiographs: what it comes to is the model's
preference for some texts over others, and only what its own report comes to beyond that was seen.
(Other views of the same study are among the others: one radiograph in a thousand moves nothing.)
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.engine.job import Condition
from pytest_occlusion.engine.session import Session
from pytest_occlusion.suite.merge import build_settings
from pytest_occlusion.suite.suites import find_suite

if TYPE_CHECKING:
    import torch

SEEDS = 8
"""Masks of each radiograph, the suite's own among them."""

TILE = 512
"""Queries that are ranked at a time."""


@dataclass(frozen=True)
class Recalls:
    """Recall@k in multiples of chance.

    Attributes:
        own: Every radiograph's ranking asked for its own report.
        others: The same rankings asked for the reports of all other radiographs.
    """

    own: float
    others: float


def exchanged(
    queries: torch.Tensor, candidates: torch.Tensor, positives: NDArray[np.integer], k: int
) -> Recalls:
    """Recall with the own and with all other positives.

    Args:
        queries: ``[N, D]``, N at least 2.
        candidates: ``[M, D]``.
        positives: ``[N]``, the row of each query's positive candidate.
        k: From 1 to M. Ties at the cut count at their expectation over all orders.
    """
    import torch

    own = others = 0.0
    asked = torch.from_numpy(np.bincount(positives, minlength=len(candidates))).double()
    parts = (torch.split(one, TILE) for one in (queries, torch.from_numpy(positives)))
    for part, rows in zip(*parts, strict=True):
        scores = part @ candidates.T
        cut = scores.kthvalue(len(candidates) - k + 1, dim=1, keepdim=True).values
        above, level = scores > cut, scores == cut
        share = (k - above.sum(1, keepdim=True)) / level.sum(1, keepdim=True)
        chances = above.double() + level * share.double()
        mine = chances.gather(1, rows[:, None].long())[:, 0]
        own += float(mine.sum())
        others += float((chances @ asked - mine).sum()) / (len(queries) - 1)
    scale = len(candidates) / k / len(queries)
    return Recalls(own * scale, others * scale)


def measured(session: Session, model: str, ratio: float, k: int) -> Iterator[Recalls]:
    """One model with ``block`` at one ratio, for the suite's first mask seed and the next ones."""
    from pytest_occlusion.engine.local import local_engine
    from pytest_occlusion.engine.pieces import in_shards
    from pytest_occlusion.engine.pipeline import embed_texts

    first, fill = session.settings.seeds[0], session.settings.fill
    conditions = [Condition("block", ratio, fill, first + step) for step in range(SEEDS)]
    task, job = session.task, session.job_of(model)
    shards = in_shards(job.radiographs)
    with local_engine(job) as engine:
        texts, _ = embed_texts(job, engine)
        engine.draw(shards)
        images, _ = engine.images(shards, conditions)
        candidates = torch.from_numpy(texts[task.candidate_text])
        for condition in conditions:
            yield exchanged(images[condition].cpu(), candidates, task.radiograph_group, k)


def table(rows: Sequence[tuple[str, Sequence[Recalls]]]) -> str:
    """One line per model: the suite's own masks, and the mean over all."""
    lines = [
        f"| model | own | others | own, {SEEDS} masks | others, {SEEDS} masks |",
        "|---|---:|---:|---:|---:|",
    ]
    for model, found in rows:
        means = [np.mean([getattr(one, name) for one in found]) for name in ("own", "others")]
        numbers = [found[0].own, found[0].others, *means]
        lines.append(f"| `{model}` | " + " | ".join(f"{number:.2f}" for number in numbers) + " |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", help="name or file (default: the embedded suite)")
    parser.add_argument("--ratio", type=float, default=0.81)
    parser.add_argument("-k", type=int, default=10)
    options = parser.parse_args()
    settings = build_settings(find_suite(options.suite, Path()), command_line={})
    session = Session(settings)
    if not 1 <= options.k <= len(session.task.candidate_text):
        parser.error(f"k must be from 1 to {len(session.task.candidate_text)} for this corpus")
    if not 0 < options.ratio < 1:
        parser.error("the ratio must lie between 0 and 1")
    names = settings.grid.models
    rows = [(name, list(measured(session, name, options.ratio, options.k))) for name in names]
    print(f"Recall@{options.k} in multiples of chance, block at {options.ratio:.0%}:\n")
    print(table(rows))


if __name__ == "__main__":
    main()
