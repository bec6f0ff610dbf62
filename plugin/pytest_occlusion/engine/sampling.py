"""A sample of a corpus: whose radiographs are shown first, and under which condition each.

One forward pass of each radiograph says more than all of one: what a radiograph loses at one level
and at the next goes together. So every radiograph is shown under one condition, and under another
only when all have been shown.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.corpora.base import Corpus
from pytest_occlusion.corpora.task import Task

FIRST = 64
"""Passes of the smallest part."""

SEED = 0
"""Of the choice; the same for every model and every run."""


@dataclass(frozen=True)
class Passes:
    """Radiographs as they are shown to an encoder.

    Attributes:
        rows: int64 ``[n]``, places of the radiographs among the task's.
        shown: int64 ``[n]``, places of their conditions.
    """

    rows: NDArray[np.int64]
    shown: NDArray[np.int64]

    def __len__(self) -> int:
        """How many."""
        return len(self.rows)

    def part(self, first: int, last: int) -> Passes:
        """Some of them, in order."""
        return Passes(self.rows[first:last], self.shown[first:last])


def doublings(most: int) -> list[int]:
    """Where parts of a sample end: from :data:`FIRST` passes on, twice as many, up to so many."""
    return [FIRST << turn for turn in range(max(0, (most // FIRST).bit_length()))]


def all_passes(corpus: Corpus, task: Task, conditions: int, *, seed: int = SEED) -> Passes:
    """Every radiograph of a task under every condition, in the order in which they are sampled.

    Patients come one after another, by a hash, and spread evenly within each stratum: those whose
    studies have the same numbers of the same views. Of as many neighbours as there are conditions
    each is shown under another one. So every beginning is a stratified sample.
    """
    rows = _in_order(corpus, task, seed)
    draw = np.random.Generator(np.random.PCG64(seed))
    blocks = [draw.permutation(conditions) for _ in range(0, len(rows), conditions)]
    first = np.concatenate(blocks)[: len(rows)]
    rounds = [(first + turn) % conditions for turn in range(conditions)]
    return Passes(np.tile(rows, conditions), np.concatenate(rounds))


def _in_order(corpus: Corpus, task: Task, seed: int) -> NDArray[np.int64]:
    """Places of the task's radiographs, patient after patient."""
    of_patient: dict[str, list[int]] = {}
    for row, patient in enumerate(task.radiograph_patient):
        of_patient.setdefault(patient, []).append(row)
    strata: dict[str, list[tuple[int, str]]] = {}
    for patient, own in of_patient.items():
        stratum = _stratum(corpus, task, own)
        strata.setdefault(stratum, []).append((_hash(seed, patient), patient))
    places: list[tuple[float, str]] = []
    for stratum, members in strata.items():
        # Strata begin at different places, or all the small ones would be drawn together.
        start = _hash(seed, stratum) / 2**64
        spread = enumerate(sorted(members))
        places += [((at + start) / len(members), patient) for at, (_, patient) in spread]
    return np.array([row for _, patient in sorted(places) for row in of_patient[patient]])


def _stratum(corpus: Corpus, task: Task, rows: list[int]) -> str:
    """Views of a patient's studies, without their order."""
    studies: dict[int, Counter[str]] = {}
    for row in rows:
        radiograph = corpus.radiographs[task.radiographs[row]]
        studies.setdefault(radiograph.study, Counter())[radiograph.view] += 1
    return str(sorted(str(sorted(views.items())) for views in studies.values()))


def _hash(seed: int, text: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{text}".encode()).digest()[:8], "big")
