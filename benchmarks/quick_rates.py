"""How often quick verdicts are wrong: samples of weights of which the loss is known.

    python benchmarks/quick_rates.py [--models cxr-clip,cxr-repair] [--losses 2,5] [--shares 0.1]

Noise is added to the weights of the embedded models until they lose so many points in the mean of
all cells; they are then measured whole. Each simulated run is another sample of these passes,
judged as a quick run judges, as one of the models of the suite.

Runs without a loss: the same passes with old and new exchanged for every second patient, drawn
anew, so that as many hits flip as in the weights that lost, and none is lost on balance; the same
weights with what they lost given back at a few passes that gain at every k, so that many lose a
little, few gain much, and the mean holds; and what bf16 flips against fp32, exchanged as above.
"""

from __future__ import annotations

import argparse
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pytest_occlusion.engine.sampling import Passes, all_passes
from pytest_occlusion.engine.session import Session
from pytest_occlusion.engine.store import default_root
from pytest_occlusion.gate.growing import Bits, Grown, Side, grow, level_weights
from pytest_occlusion.gate.quick import ALPHA
from pytest_occlusion.suite.grid import cells
from pytest_occlusion.suite.merge import read_settings
from pytest_occlusion.suite.settings import Settings
from pytest_occlusion.suite.table import TOLERANCE

if TYPE_CHECKING:
    import torch

RUNS, INNOCENT = 200, 1000
"""Simulated runs of weights that lost, and of those that did not: false alarms are rarer."""

CLOSE = 0.0005
"""Distance from the loss that is asked for at which noise is right, as a share."""


def measured(settings: Settings, model: str) -> tuple[Bits, Session]:
    """Hits of a model: bool ``[levels, queries, ks]``, and the session that measured them."""
    here = replace(settings, grid=replace(settings.grid, models=(model,)))
    session = Session(here, cells(here.grid), say=lambda line: None)
    bits = np.stack([session.result(cell).hit_queries for cell in cells(here.grid)])
    session.close()
    levels = len(here.grid.ratios)
    return bits.reshape(levels, -1, bits.shape[1]).transpose(0, 2, 1), session


def noisy(state: dict[str, torch.Tensor], scale: float) -> dict[str, torch.Tensor]:
    """Weights with noise, in standard deviations of each matrix."""
    import torch

    draw = torch.Generator().manual_seed(1)
    found = {}
    for name, tensor in state.items():
        found[name] = tensor.contiguous()
        if tensor.is_floating_point() and tensor.ndim > 1:
            noise = torch.randn(tensor.shape, generator=draw) * tensor.float().std()
            found[name] = (tensor.float() + scale * noise).to(tensor.dtype)
    return found


def spoilt(settings: Settings, model: str, scale: float, folder: Path) -> Settings:
    """The suite with noise in the weights of one model."""
    import torch
    from safetensors.torch import load_file, save_file

    own = settings.model(model)
    place = folder / f"{model}-{scale:.6f}"
    shutil.copytree(own.checkpoint, place, dirs_exist_ok=True)
    for file in place.glob("*.safetensors"):
        save_file(noisy(load_file(file), scale), file, metadata={"format": "pt"})
    for file in place.glob("*.tar"):
        content = torch.load(file, weights_only=True)
        torch.save({**content, "model": noisy(content["model"], scale)}, file)
    models = [
        replace(one, checkpoint=str(place)) if one.name == model else one for one in settings.models
    ]
    return replace(settings, models=tuple(models))


def losing(
    settings: Settings, model: str, before: Bits, loss: float, folder: Path
) -> tuple[Bits, float]:
    """Hits under weights that lose so much (a share) in the mean, and what they really lose."""
    low, high = 0.0, 1.0
    while True:
        scale = (low + high) / 2
        now, _ = measured(spoilt(settings, model, scale, folder), model)
        found = float(before.mean() - now.mean())
        if abs(found - loss) < CLOSE or high - low < 1e-4:
            return now, found
        low, high = (scale, high) if found < loss else (low, scale)


def simulated(
    before: Bits,
    now: Bits,
    session: Session,
    *,
    share: float,
    exchange: bool,
    runs: int,
) -> Iterator[Grown]:
    """Judge so many samples.

    Args:
        before: bool ``[levels, queries, ks]``, the baseline's hits.
        now: Those of the run.
        session: Of the corpus.
        share: Of all passes, the budget.
        exchange: Whether old and new change sides for every second patient, so that nothing is
            lost.
        runs: How many.
    """
    ks, ratios = session.settings.grid.ks, session.settings.grid.ratios
    patients = session.resamples("image-to-text").cluster
    every = np.ones((len(ratios), len(ks)), np.bool_)
    for run in range(runs):
        draw = np.random.Generator(np.random.PCG64(run))
        swapped = (draw.random(patients.max() + 1) < 0.5)[patients] & exchange
        old, new = (
            np.where(swapped[None, :, None], b, a) for a, b in ((before, now), (now, before))
        )
        passes = all_passes(session.corpus, session.task, len(ratios), seed=run)
        side = Side(
            occluder="block",
            ratios=ratios,
            ks=ks,
            level=np.arange(len(ratios)),
            offset=np.zeros(len(ratios), np.int64),
            before=old,
            asked=every,
            allowed=np.full((len(ratios), len(ks)), TOLERANCE),
            allowed_whole=TOLERANCE / 2,
            weights=level_weights(old, every, ks, len(session.task.candidate_text)),
        )
        yield grow(
            [side],
            passes,
            looked_up(passes, new),
            patients,
            budget=math.ceil(share * len(passes)),
            alpha=ALPHA / len(session.settings.models),
        )


def looked_up(passes: Passes, bits: Bits) -> Callable[[int, int], Bits]:
    """What passes hit, of a run that is known whole."""
    return lambda first, last: bits[passes.shown[first:last], passes.rows[first:last]]


def given_back(before: Bits, now: Bits) -> Bits:
    """Hits that many queries lost, given at every k to a few that had none, at each level."""
    draw, found = np.random.Generator(np.random.PCG64(0)), now.copy()
    for level in range(len(now)):
        lost = int(before[level].sum()) - int(now[level].sum())
        empty = np.flatnonzero(~before[level].any(axis=1) & ~now[level].any(axis=1))
        few = draw.permutation(empty)[: max(0, lost) // now.shape[2]]
        found[level, few] = True
    return found


def row(name: str, share: float, every: int, grown: Sequence[Grown]) -> str:
    """A line of the table."""
    red = sum(any(part.regressed for part in one.parts) for one in grown)
    used = 100 * float(np.mean([one.passes for one in grown])) / every
    down = 100 * float(np.median([one.parts[0].highest for one in grown]))
    return (
        f"| {name} | {100 * share:g} % | {red} of {len(grown):,} | {used:.1f} % | {down:.1f} pt |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="cxr-clip,cxr-repair")
    parser.add_argument("--losses", default="2,5", help="points")
    parser.add_argument("--shares", default="0.1", help="of the forward passes")
    options = parser.parse_args()
    folder = default_root() / "quick-rates"
    names = options.models.split(",")
    settings = read_settings("embedded", Path.cwd(), {}, options.models)
    settings = replace(settings, store=default_root())
    print("| weights | budget | red | work used, mean | X, median |")
    print("|---|---:|---:|---:|---:|")
    shares = [float(text) for text in options.shares.split(",")]
    for model in names:
        before, session = measured(settings, model)
        every = before.shape[0] * before.shape[1]

        def shown(name: str, now: Bits, exchange: bool) -> None:
            runs = RUNS if "lost" in name and not exchange else INNOCENT
            for share in shares:
                found = simulated(before, now, session, share=share, exchange=exchange, runs=runs)  # noqa: B023
                print(row(name, share, every, [*found]), flush=True)  # noqa: B023

        for points in map(float, options.losses.split(",")):
            now, found = losing(settings, model, before, points / 100, folder)
            shown(f"{model}, {100 * found:.1f} pt lost", now, False)
            shown(f"{model}, flips as of {points:g} pt, nothing lost", now, True)
            shown(f"{model}, {points:g} pt given back to few", given_back(before, now), False)
        halved, _ = measured(replace(settings, precision="bf16"), model)
        shown(f"{model}, bf16 against fp32, nothing lost", halved, True)


if __name__ == "__main__":
    main()
