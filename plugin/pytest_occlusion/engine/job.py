"""What is measured: conditions, the job of one model, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.corpora.base import Corpus, Radiograph
from pytest_occlusion.corpora.task import Task
from pytest_occlusion.encoders.base import Encoder
from pytest_occlusion.engine.decoding import Decoders
from pytest_occlusion.engine.models import ModelRecord
from pytest_occlusion.engine.store import Store
from pytest_occlusion.occlusion.levels import is_corruption
from pytest_occlusion.retrieval.ranks import Ranks

ENGINE = 3
"""Bumped whenever decoding, masks, fills, forward passes or ranks change their numbers; part of
every key.

2: pictures of 10 to 14 bits in 16-bit files are scaled by the bits they use.
3: forward passes on a CPU are of a few canvases, or so many tokens, however large the batch.
"""


@dataclass(frozen=True)
class Condition:
    """One way the radiographs are shown."""

    occluder: str  # or a corruption
    ratio: float  # blocked share, or severity over 5
    fill: str
    seed: int  # of the mask

    @property
    def shown(self) -> Condition:
        """The same pictures under one name: at ratio 0 nothing else matters.

        And a corruption blocks nothing, so there is nothing to fill.
        """
        if is_corruption(self.occluder) and self.ratio:
            return Condition(self.occluder, self.ratio, "none", self.seed)
        return self if self.ratio else Condition("none", 0.0, "none", 0)

    @property
    def key(self) -> list[Any]:
        """Plain data for digests."""
        return [self.occluder, self.ratio, self.fill, self.seed]


@dataclass(frozen=True)
class Measured:
    """Ranks of one (model, condition, direction), and how they came about."""

    ranks: Ranks  # of all queries, in corpus order
    fields: Mapping[str, Any]  # plain data: ``truncated`` texts, ``images_per_second``, ``device``
    fresh: bool  # whether it was computed in this run and not read from the store
    similarity: NDArray[np.float32] | None = None
    """``[N]``, cosine of each query with its positive, where the job asked for it."""
    key: str = ""  # digest of everything that the ranks depend on


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a process needs to work on pieces of a job, besides the encoder."""

    label: str  # the model's name, for progress lines
    record: ModelRecord
    store: Store
    batch_size: int  # canvases that an encoder is handed at once
    say: Callable[[str], None]  # where progress lines go
    decoders: Decoders = field(default_factory=Decoders)


@dataclass(frozen=True, kw_only=True)
class Job(Bench):
    """Everything one model's measurement needs."""

    encoder: Callable[[], Encoder]  # called only when something is missing in the store
    corpus: Corpus
    task: Task
    conditions: Sequence[Condition]
    directions: Sequence[str]
    engine: Callable[[Job], AbstractContextManager[Any]] | None = None
    """Opens who does the pieces (``pieces.Engine``), if it is not this process."""
    similarity: bool = False  # whether that of each radiograph with its own text is wanted too
    text_batch: int = 0  # texts per forward pass, if not as many as canvases
    first: int = 0  # how many of the best candidates of each radiograph are wanted too

    @property
    def radiographs(self) -> list[Radiograph]:
        """Those of the task, in its order."""
        return self.corpus.chosen(self.task.radiographs.tolist())


Want = tuple[Condition, str]
