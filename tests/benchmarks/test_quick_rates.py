"""The simulation of quick runs: what is given back is what was lost, and losses turn red."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from pytest_occlusion.corpora.base import Corpus, Radiograph, Study
from pytest_occlusion.corpora.task import build_task
from pytest_occlusion.engine.session import Session
from tests.scripts import load_script

script = load_script("quick_rates")


@pytest.fixture(scope="module")
def session() -> Session:
    """Of as much as the simulation asks of one: 300 patients, two levels, two ks."""
    studies = [Study(f"s{at}", f"p{at}", f"text {at}") for at in range(300)]
    shown = [
        Radiograph(f"r{at}", at, "PA", f"c{at}", "row", cast("Any", None)) for at in range(300)
    ]
    corpus = Corpus("made", tuple(studies), tuple(shown))
    grid = SimpleNamespace(ks=(1, 5), ratios=(0.0, 0.5))
    made = SimpleNamespace(
        corpus=corpus,
        task=build_task(corpus, text_rule="full", candidates="texts"),
        settings=SimpleNamespace(grid=grid, models=("m",)),
        resamples=lambda direction: SimpleNamespace(cluster=np.arange(300)),
    )
    return cast("Session", made)


def bits(share: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    hit = np.random.default_rng(0).random((2, 300)) < share
    return np.repeat(hit[:, :, None], 2, axis=2)


def red(before: Any, now: Any, session: Session, *, exchange: bool = False) -> int:
    runs = script.simulated(before, now, session, share=0.5, exchange=exchange, runs=20)
    return sum(any(part.regressed for part in one.parts) for one in runs)


def test_losses_are_red_and_exchanged_sides_are_not(session: Session) -> None:
    before = bits(0.6)
    now = before & bits(0.4)
    assert red(before, now, session) == 20
    assert red(before, now, session, exchange=True) <= 1
    assert red(before, before, session) == 0


def test_what_is_given_back_is_what_was_lost() -> None:
    before, now = bits(0.6), bits(0.4)
    back = script.given_back(before, now)
    assert np.abs(back.sum(axis=(1, 2)) - before.sum(axis=(1, 2))).max() < 2
    assert (back & now == now).all()


def test_noise_moves_matrices_alone() -> None:
    torch = pytest.importorskip("torch")
    state = {"m": torch.ones(3, 3) * torch.arange(3.0), "v": torch.ones(3), "n": torch.tensor(1)}
    found = script.noisy(state, 0.5)
    assert not torch.equal(found["m"], state["m"])
    assert torch.equal(found["v"], state["v"])
    assert torch.equal(found["n"], state["n"])
