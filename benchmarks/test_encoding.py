"""Timings by pytest-benchmark: drawing canvases, encoding, ranking.

They run when asked for (``--benchmark-enable``), so that a regression check from a warm store stays
a matter of seconds. ``--benchmark-only`` skips them: it looks for pytest-benchmark's own fixture,
which these tests ask for only when they run. pytest-benchmark does not time under ``-n``. The
summary says which timings were not taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_occlusion.hooks.options import is_controller
from pytest_occlusion.hooks.properties import UNTIMED

if TYPE_CHECKING:
    from pytest_occlusion.engine.session import Session

IMAGES = 64
ROUNDS = 5


@pytest.fixture
def timer(request: pytest.FixtureRequest) -> Any:
    """pytest-benchmark's fixture, where timings were asked for and can be had."""
    config = request.config
    if not config.pluginmanager.hasplugin("benchmark"):
        pytest.skip(f"{UNTIMED}pytest-benchmark is switched off")
    if not config.getoption("benchmark_enable"):
        pytest.skip(f"{UNTIMED}ask for them with --benchmark-enable")
    if not is_controller(config):
        pytest.skip(f"{UNTIMED}pytest-benchmark is off under -n; run them serially")
    return request.getfixturevalue("benchmark")


def synchronise(device: Any) -> None:
    """Wait for the device: without this a GPU's clock would stop at the kernel launch."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def rate(timer: Any, items: int, **info: object) -> None:
    """Note items per second beside the timing; there is none where pytest-benchmark is disabled."""
    timer.extra_info.update(info, items=items)
    if timer.stats is not None:
        timer.extra_info["items_per_second"] = items / timer.stats.stats.median


def test_draw_canvases(occlusion_model: str, occlusion_session: Session, timer: Any) -> None:
    """Decode and resize: the host stage."""
    encoder = occlusion_session.encoder(occlusion_model)
    radiographs = occlusion_session.corpus.radiographs[:IMAGES]

    def draw() -> list[Any]:
        return [encoder.canvas.draw(radiograph.open()) for radiograph in radiographs]

    canvases = timer.pedantic(draw, rounds=ROUNDS, warmup_rounds=1)
    rate(timer, len(radiographs), canvas=encoder.canvas.name)
    assert len(canvases) == len(radiographs)


def test_encode_images(occlusion_model: str, occlusion_session: Session, timer: Any) -> None:
    """Occlude a batch and encode it: the device stage at one ratio."""
    import numpy as np
    import torch

    from pytest_occlusion import occlude

    encoder = occlusion_session.encoder(occlusion_model)
    radiographs = occlusion_session.corpus.radiographs[:IMAGES]
    canvases = np.stack([encoder.canvas.draw(radiograph.open()) for radiograph in radiographs])
    batch = torch.from_numpy(canvases).to(encoder.device)
    keys = [radiograph.key for radiograph in radiographs]

    def encode() -> torch.Tensor:
        embeddings = encoder.embed_canvases(occlude(batch, ratio=0.25, keys=keys))
        synchronise(encoder.device)
        return embeddings

    embeddings = timer.pedantic(encode, rounds=ROUNDS, warmup_rounds=1)
    rate(timer, len(batch), device=str(encoder.device), precision=encoder.precision, ratio=0.25)
    assert len(embeddings) == len(radiographs)


def test_rank(occlusion_model: str, occlusion_session: Session, timer: Any) -> None:
    """Rank all candidates for all queries, on random embeddings of the corpus's size."""
    import torch

    from pytest_occlusion import rank_candidates

    device = occlusion_session.encoder(occlusion_model).device
    task = occlusion_session.task
    draw = torch.Generator().manual_seed(0)
    queries = torch.randn(len(task.radiographs), 512, generator=draw).to(device)
    candidates = torch.randn(len(task.candidate_text), 512, generator=draw).to(device)

    ranks = timer.pedantic(
        rank_candidates,
        args=(queries, candidates, task.radiograph_group),
        rounds=ROUNDS,
        warmup_rounds=1,
    )
    rate(timer, len(queries), device=str(device), candidates=len(candidates))
    assert len(ranks) == len(queries)
