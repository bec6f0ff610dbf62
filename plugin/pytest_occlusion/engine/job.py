"""What is measured: conditions, the job of one model, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.corpora.base import Corpus, Radiograph
from pytest_occlusion.corpora.task import Task
from pytest_occlusion.engine.decoding import Decoders
from pytest_occlusion.engine.models import ModelRecord
from pytest_occlusion.engine.store import Store
from pytest_occlusion.occlusion.levels import is_corruption
from pytest_occlusion.retrieval.ranks import Ranks

if TYPE_CHECKING:
    from pytest_occlusion.encoders.base import Encoder

ENGINE = 2
"""Bumped whenever decoding, masks, fills, texts or ranks change their numbers; part of every key.

2: pictures of 10 to 14 bits in 16-bit files are scaled by the bits they use.
"""


@dataclass(frozen=True)
class Condition:
    """One way the radiographs are shown.

    Attributes:
        occluder: Name of the occluder or corruption.
        ratio: Blocked share, or severity over 5.
        fill: Name of the fill.
        seed: Mask seed.
    """

    occluder: str
    ratio: float
    fill: str
    seed: int

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
    """Ranks of one (model, condition, direction), and how they came about.

    Attributes:
        ranks: Of all queries, in corpus order.
        fields: Plain data: ``truncated`` texts, ``images_per_second`` ..., ``device``.
        fresh: Whether it was computed in this run and not read from the store.
        similarity: float32 ``[N]``, similarity (cosine) of each query with its positive, where the
            job asked for it.
    """

    ranks: Ranks
    fields: Mapping[str, Any]
    fresh: bool
    similarity: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Job:
    """Everything one model's measurement needs.

    Attributes:
        label: The model's name, for progress lines.
        record: What the model is.
        encoder: Opens it; called only when something is missing in the store.
        corpus: Where radiographs come from.
        task: What is retrieved from what.
        conditions: How the radiographs are shown.
        directions: Which way is retrieved.
        store: Where results are kept.
        batch_size: Canvases per forward pass.
        say: Where progress lines go.
        decoders: Where radiographs are decoded.
        similarity: Whether the similarity of each radiograph with its own text is wanted as well.
    """

    label: str
    record: ModelRecord
    encoder: Callable[[], Encoder]
    corpus: Corpus
    task: Task
    conditions: Sequence[Condition]
    directions: Sequence[str]
    store: Store
    batch_size: int
    say: Callable[[str], None]
    decoders: Decoders = field(default_factory=Decoders)
    similarity: bool = False

    @property
    def radiographs(self) -> list[Radiograph]:
        """Those of the task, in its order."""
        return self.corpus.chosen(self.task.radiographs.tolist())


Want = tuple[Condition, str]
