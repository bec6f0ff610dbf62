"""Groups: queries split by what is known of radiographs, their studies or their patients.

A group never takes candidates away: whom a model fails is asked of the same retrieval.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pytest_occlusion.corpora.base import Corpus
from pytest_occlusion.corpora.labels import OWN, Labels
from pytest_occlusion.corpora.task import Task
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SMALLEST = 5
"""Patients of a group that has a name: the value of fewer could tell who they are."""

MOST = 100
"""Groups of one attribute; more are values that are each their own."""

VIEW = "view"


@dataclass(frozen=True)
class Grouping:
    """The queries of a task by one attribute.

    Attributes:
        attribute: As the suite names it: ``"sex"``, ``"age/20"``.
        members: Group -> bool ``[N]``, the radiographs that are in it; with several findings one is
            in several groups. In the order of their names, numbers by size.
        known: bool ``[N]``, whether anything is known of a radiograph.
        patients: Group -> its patients.
        notes: What is worth saying once; never a value.
    """

    attribute: str
    members: Mapping[str, NDArray[np.bool_]]
    known: NDArray[np.bool_]
    patients: Mapping[str, int]
    notes: tuple[str, ...] = ()


def group_queries(
    corpus: Corpus, task: Task, attribute: str, labels: Labels | None, uncertain: str
) -> Grouping:
    """Group the radiographs of a task.

    Args:
        corpus: What they are of.
        task: Which they are.
        attribute: ``view``, ``finding`` (a group per label that is positive), the name of an
            attribute of the corpus, or ``NAME/WIDTH`` for bands of its numbers.
        labels: Those that ``finding`` is about.
        uncertain: Which of their values are positive; see ``labels.UNCERTAIN``.

    Raises:
        OcclusionError: The corpus does not know the attribute, it holds no numbers, or more
            different values than could be groups.
    """
    import numpy as np

    values = _values(corpus, task, attribute, labels, uncertain)
    patients = np.unique(np.asarray(task.radiograph_patient), return_inverse=True)[1]
    rows: dict[str, list[int]] = {}
    for row, groups in enumerate(values):
        for group in groups:
            rows.setdefault(group, []).append(row)
    counts = {group: len(set(patients[own].tolist())) for group, own in rows.items()}
    named = sorted((group for group in rows if counts[group] >= SMALLEST), key=_by_size)
    if len(named) > MOST:
        raise OcclusionError(
            f"group-by {attribute}: {len(named):,} different values",
            remedy=f"numbers can be put into bands, as in {attribute}/20; {MOST} groups are the "
            "most",
        )
    known = np.asarray([bool(groups) for groups in values])
    notes = []
    if lacking := int((~known).sum()):
        notes.append(f"{attribute} is not known of {lacking:,} of {len(known):,} radiographs")
    if small := len(rows) - len(named):
        notes.append(f"{small} groups by {attribute} of fewer than {SMALLEST} patients, not shown")
    members = {}
    for group in named:
        members[group] = np.zeros(len(values), np.bool_)
        members[group][rows[group]] = True
    return Grouping(attribute, members, known, {g: counts[g] for g in named}, tuple(notes))


def known_attributes(corpus: Corpus) -> list[str]:
    """What radiographs can be grouped by."""
    rows = dict.fromkeys(one.attributes for one in corpus.radiographs)
    names = dict.fromkeys(name for row in rows for name, _ in row)
    return [VIEW] * any(one.view for one in corpus.radiographs) + list(names)


def _values(
    corpus: Corpus, task: Task, attribute: str, labels: Labels | None, uncertain: str
) -> Sequence[Sequence[str]]:
    """The groups of each radiograph."""
    chosen = corpus.chosen(task.radiographs.tolist())
    if attribute == VIEW:
        return [[one.view] if one.view else [] for one in chosen]
    if attribute == OWN and labels is not None:
        found = labels.positives(uncertain)
        own = [
            [name for name, is_there in zip(labels.names, row, strict=True) if is_there] or ["none"]
            for row in found.tolist()
        ]
        return [own[one.study] if labels.known[one.study] else [] for one in chosen]
    name, _, width = attribute.partition("/")
    texts = [dict(one.attributes).get(name) for one in chosen]
    if all(text is None for text in texts):
        there = known_attributes(corpus)
        also = f", {OWN}" if labels is not None and OWN not in there else ""
        raise OcclusionError(
            f"group-by {attribute}: the corpus {corpus.name!r} does not know {name!r}",
            remedy=f"it knows: {', '.join(there) or 'none'}{also}; a table's columns are kept with "
            "keep=",
        )
    band = partial(_band, attribute, int(width)) if width else str.strip
    return [[band(text)] if text and text.strip() else [] for text in texts]


def _band(attribute: str, width: int, text: str) -> str:
    """The band of a number: ``40-59``; DICOM's ``063Y`` is 63."""
    try:
        number = float(re.sub(r"(?<=\d)[Yy]$", "", text.strip()))
        low = math.floor(number / width) * width
    except (ValueError, OverflowError):
        raise OcclusionError(
            f"group-by {attribute}: some values are not numbers",
            remedy=f"group by {attribute.partition('/')[0]} itself, or write numbers",
        ) from None
    high = low + width - 1
    return f"{low}-{high}" if low >= 0 else f"{low} to {high}"


def _by_size(group: str) -> tuple[float, str]:
    """Bands and numbers by size, then words."""
    number = re.match(r"-?\d+(\.\d+)?", group)
    return (float(number[0]) if number else math.inf, group)
