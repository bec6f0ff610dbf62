"""Pieces: how the work of a job is cut, and who can be asked to do it.

Drawing and encoding are cut by radiographs, texts by batches, ranking by queries. An engine does
the pieces, in this process (``local``) or on a cluster (``cluster``); cut alike, they come to the
same numbers bit for bit, since no batch and no tile of scores depends on who has its turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.corpora.base import Radiograph
from pytest_occlusion.engine.job import Condition, Job, Want
from pytest_occlusion.retrieval.ranks import Ranks, rank_groups
from pytest_occlusion.suite.grid import REVERSE

if TYPE_CHECKING:
    import torch

SHARD = 256
"""Radiographs per stored piece: what an interruption can lose at most."""

EVEN = 4
"""Pieces per worker towards the end of the work: the last one is waited for by all."""

Floats = NDArray[np.float32]


def in_shards(radiographs: Sequence[Radiograph]) -> list[Sequence[Radiograph]]:
    """The pieces in which radiographs are drawn and kept."""
    return [radiographs[at : at + SHARD] for at in range(0, len(radiographs), SHARD)]


def in_batches(texts: Sequence[str], size: int) -> list[list[int]]:
    """Places of texts that are encoded together.

    A batch is padded to its longest text, so that texts of one length go together. The longest come
    first: the last batch is waited for by all.
    """
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    return [order[at : at + size] for at in range(0, len(order), size)][::-1]


@dataclass(frozen=True)
class Shown:
    """Radiographs, a shard of them, that are encoded under some conditions."""

    radiographs: Sequence[Radiograph]
    conditions: Sequence[Condition]


def shown_to(
    shards: Sequence[tuple[Sequence[Radiograph], Sequence[Condition]]], workers: int
) -> list[Shown]:
    """Shards and their conditions as pieces for so many workers: whole ones, smaller in the end."""
    pieces = []
    for left, (radiographs, conditions) in zip(range(len(shards), 0, -1), shards, strict=True):
        if not conditions:
            continue
        parts = 1 if workers == 1 else math.ceil(EVEN * workers / left)
        share = max(1, math.ceil(len(conditions) / parts))
        pieces += [
            Shown(radiographs, conditions[at : at + share])
            for at in range(0, len(conditions), share)
        ]
    return pieces


@dataclass(frozen=True)
class Slice:
    """Queries that are ranked together: rows first up to last, under one condition."""

    condition: Condition
    direction: str
    first: int
    last: int

    @property
    def want(self) -> Want:
        """What it is a part of."""
        return self.condition, self.direction

    @property
    def reverse(self) -> bool:
        """Whether texts ask for radiographs."""
        return self.direction == REVERSE


def in_slices(job: Job, wants: Sequence[Want], rows: Callable[[Want], int | None]) -> list[Slice]:
    """The queries of every want, so many rows together as it says, or all."""
    slices = []
    for condition, way in wants:
        count = len(job.task.candidate_text if way == REVERSE else job.task.radiographs)
        step = rows((condition, way)) or count
        slices += [Slice(condition, way, at, min(at + step, count)) for at in range(0, count, step)]
    return slices


@dataclass(frozen=True)
class Questions:
    """What is asked of a slice's queries; as :func:`rank_groups`."""

    query_groups: NDArray[np.int64]
    candidate_groups: NDArray[np.int64]
    start: int  # place of the first query among all
    first: int  # how many of the best candidates are wanted
    similarity: bool  # whether that with the one positive is wanted: then groups are places


def asked_of(job: Job, one: Slice) -> Questions:
    """What a job asks of a slice."""
    own, texts = job.task.radiograph_group, np.arange(len(job.task.candidate_text))
    if one.reverse:
        return Questions(texts[one.first : one.last], own, one.first, first=0, similarity=False)
    return Questions(own[one.first : one.last], texts, one.first, job.first, job.similarity)


@dataclass(frozen=True)
class Answer:
    """What came of the queries of a slice."""

    ranks: Ranks
    similarity: Floats | None


def answered(queries: torch.Tensor, candidates: torch.Tensor, asked: Questions) -> Answer:
    """Rank the queries of a slice.

    Raises:
        OcclusionError: As :func:`rank_groups`.
    """
    import torch

    groups = asked.query_groups
    ranks = rank_groups(
        queries, candidates, groups, asked.candidate_groups, first=asked.first, start=asked.start
    )
    similarity = None
    if asked.similarity:
        positives = candidates[torch.from_numpy(groups)]
        similarity = (queries * positives).sum(dim=1).float().cpu().numpy()
    return Answer(ranks, similarity)


def joined(answers: Sequence[Answer]) -> Answer:
    """The answers of neighbouring slices as that of all their queries."""
    if len(answers) == 1:
        return answers[0]

    def rows(name: str) -> Any:
        several = [getattr(one.ranks, name) for one in answers]
        return None if several[0] is None else np.concatenate(several)

    names = ("above", "tied", "tied_positives", "positives", "first", "gap")
    ranks = Ranks(**{n: rows(n) for n in names}, candidates=answers[0].ranks.candidates)
    similar = [one.similarity for one in answers if one.similarity is not None]
    return Answer(ranks, np.concatenate(similar) if similar else None)


Images = Any
"""Embeddings of a job's radiographs under its conditions, as an engine holds them."""


class Engine(Protocol):
    """Who does the pieces of one job."""

    @property
    def device(self) -> str:
        """What the encoder runs on, as results say it."""

    def draw(self, shards: Sequence[Sequence[Radiograph]]) -> list[str]:
        """Draw canvases; gives a line for each radiograph that cannot be decoded."""

    def texts(self, batches: Sequence[Sequence[str]]) -> Iterator[tuple[Floats, list[int]]]:
        """Embeddings ``[n, D]`` and numbers of tokens of each batch, in order."""

    def images(
        self, shards: Sequence[Sequence[Radiograph]], conditions: Sequence[Condition]
    ) -> tuple[Images, dict[str, Any]]:
        """Embeddings of all radiographs under every condition, and what they cost."""

    def rows(self, want: Want, images: Images, texts: Floats) -> int | None:
        """Queries of a slice: whole tiles (``tiles.tile_rows``), or ``None`` for all of them."""

    def ranks(
        self, slices: Sequence[Slice], images: Images, texts: Floats
    ) -> Iterator[tuple[Answer, float]]:
        """The answer to each slice and its seconds, in order; texts are the candidates'."""

    def peak_bytes(self) -> int | None:
        """Most memory that an encoder's process has held."""
