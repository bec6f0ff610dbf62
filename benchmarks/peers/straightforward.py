"""The straightforward way: for each ratio open, preprocess, occlude and encode everything again.

It gives the same recalls, so it is an oracle for the pipeline as well as the peer to be faster
than. Recall is read off the whole score matrix by top-k and one-hot, as CLIP_benchmark does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pytest_occlusion.corpora.base import Corpus
from pytest_occlusion.corpora.task import Task
from pytest_occlusion.encoders.base import Encoder
from pytest_occlusion.occlusion import occlude


def sweep(
    encoder: Encoder,
    corpus: Corpus,
    task: Task,
    *,
    ratios: Sequence[float],
    ks: Sequence[int],
    batch_size: int = 64,
    seed: int = 0,
) -> dict[tuple[float, int], float]:
    """Recall@k at every ratio, nothing kept from one ratio to the next.

    Args:
        encoder: An opened checkpoint.
        corpus: Where radiographs come from.
        task: What is retrieved from what.
        ratios: Blocked shares; one black square each.
        ks: Cut-offs.
        batch_size: Radiographs per forward pass.
        seed: Mask seed.
    """
    texts = [task.texts[at] for at in task.candidate_text]
    radiographs = [corpus.radiographs[row] for row in task.radiographs]
    recalls = {}
    for ratio in ratios:
        embedded = []
        for start in range(0, len(radiographs), batch_size):
            part = radiographs[start : start + batch_size]
            canvases = np.stack([encoder.canvas.draw(one.open()) for one in part])
            pixels = torch.from_numpy(canvases).to(encoder.device)
            if ratio:
                keys = [one.key for one in part]
                pixels = occlude(pixels, ratio=ratio, occluder="block", keys=keys, seed=seed)
            embedded.append(encoder.embed_canvases(pixels))
        scores = torch.cat(embedded) @ encoder.encode_texts(texts).to(encoder.device).T
        for k in ks:
            recalls[ratio, k] = top_k_one_hot(scores, task.radiograph_group, k)
    return recalls


def top_k_one_hot(scores: torch.Tensor, positives: NDArray[np.int64], k: int) -> float:
    """Recall@k by a one-hot of the first k candidates; memory grows with queries x k x candidates.

    Args:
        scores: ``[N, M]``.
        positives: int64 ``[N]``, the one right candidate of each query.
        k: Cut-off.
    """
    first = scores.topk(k, dim=1).indices
    chosen = torch.nn.functional.one_hot(first, scores.shape[1])
    right = torch.zeros(scores.shape, dtype=torch.bool)
    right[torch.arange(len(scores)), torch.from_numpy(positives)] = True
    return float((chosen.to("cpu") * right[:, None]).sum((1, 2)).clamp(max=1).float().mean())
