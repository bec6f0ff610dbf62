"""Labels: what each report says is there, from attributes of the corpus or a table beside it.

A label is a column with CheXpert's values (1 positive, 0 negative, -1 uncertain, blank where it is
not mentioned; Irvin et al. 2019, arXiv 1901.07031), or a text in a column that holds lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_occlusion.corpora.attributes import LABELS, read_attributes
from pytest_occlusion.corpora.base import Attributes, Corpus
from pytest_occlusion.corpora.columns import several
from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.corpora.radiographs import Wanted
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AUTO, NONE = "auto", "none"
"""Labels that the corpus knows, if any; none at all."""

TABLES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
"""How the name of a table ends."""

OWN = "finding"
"""Attribute in which a corpus of ours lists what is to see."""

SEPARATOR = "|"

MOST = 200
"""Labels of one corpus; a column with more holds something else."""

UNCERTAIN: dict[str, tuple[int, ...]] = {"positive": (1, -1), "negative": (1,)}
"""Rule -> values that count as positive. The first is that of CheXbert's scores of generated
reports (package ``f1chexbert``), the second what a radiologist is sure of."""

_VALUES = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": -1, "-1.0": -1, "": None}
_STRENGTH = {None: 0, 0: 1, -1: 2, 1: 3}  # of several radiographs of a study the strongest counts


@dataclass(frozen=True)
class Labels:
    """Labels of the studies of a corpus.

    Attributes:
        names: Of the labels.
        values: int8 ``[studies, labels]``: 1 positive, 0 negative or not mentioned, -1 uncertain.
        known: bool ``[studies]``, whether anything is said of a study.
        origin: Where they come from, for people: names of attributes, or of a file.
        notes: What is worth saying once.
    """

    names: tuple[str, ...]
    values: NDArray[np.int8]
    known: NDArray[np.bool_]
    origin: str
    notes: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Digest (hex) of what is known of whom."""
        return settings_digest([self.names, self.values.tolist(), self.known.tolist()])

    def positives(self, uncertain: str) -> NDArray[np.bool_]:
        """Bool ``[studies, labels]`` under a rule of :data:`UNCERTAIN`."""
        import numpy as np

        found: NDArray[np.bool_] = np.isin(self.values, UNCERTAIN[uncertain])
        return found


def read_labels(corpus: Corpus, asked: Sequence[str]) -> Labels | None:
    """Labels of a corpus; ``None`` where none are wanted, or it knows none and none are named.

    Args:
        corpus: As it was loaded.
        asked: ``("auto",)``, ``("none",)``, the path of one table, or names of attributes.

    Raises:
        OcclusionError: A table that cannot be read or fits no study, an attribute that is not
            there, or values that are no labels.
    """
    if list(asked) == [NONE]:
        return None
    rows: Sequence[Attributes] = [one.attributes for one in corpus.radiographs]
    names = list(dict.fromkeys(name for row in dict.fromkeys(rows) for name, _ in row))
    notes: tuple[str, ...] = ()
    if list(asked) == [AUTO]:
        chosen = [name for name in names if name in LABELS] or [n for n in names if n == OWN]
        origin = ", ".join(chosen) if len(chosen) < 4 else f"{len(chosen)} attributes of the corpus"
    elif len(asked) == 1 and asked[0].lower().endswith(TABLES):
        path = Path(asked[0])
        origin = path.name
        rows, notes = _beside(corpus, path)
        names = [name for name, _ in rows[0]]
        chosen = [
            name
            for name in names
            if _are_values(column := _column(rows, name)) and (name in LABELS or any(column))
        ]
        if not chosen:
            raise OcclusionError(
                f"{path}: no column has labels",
                remedy="a column of labels holds 1, 0, -1 or nothing",
            )
        if ignored := [name for name in names if name not in chosen]:
            notes += (f"{path.name}: no labels in {', '.join(ignored)}",)
    else:
        chosen, origin = list(asked), ", ".join(asked)
        if lacking := [name for name in asked if name not in names]:
            raise OcclusionError(
                f"labels: the corpus {corpus.name!r} has no attribute {', '.join(lacking)}",
                remedy=f"it has: {', '.join(names) or 'none'}; keep= names columns to keep, and a "
                "table is named by a path that ends in .csv",
            )
    return _labels(corpus, rows, chosen, origin, notes) if chosen else None


def _beside(corpus: Corpus, path: Path) -> tuple[list[Attributes], tuple[str, ...]]:
    """What a table says of each radiograph."""
    studies = corpus.studies
    wanted = [Wanted(one.key, studies[one.study], "", one.where) for one in corpus.radiographs]
    found, notes = read_attributes([path], wanted)
    if not any(value for one in found for _, value in one.attributes):
        raise OcclusionError(
            f"{path}: none of its rows is of a study of the corpus {corpus.name!r}",
            remedy="its key has to be spelled as the corpus spells it",
        )
    return [one.attributes for one in found], notes


def _column(rows: Sequence[Attributes], name: str) -> list[str]:
    """The values of an attribute, empty where there is none; equal rows are looked at once."""
    known = {row: dict(row).get(name, "").strip() for row in dict.fromkeys(rows)}
    return [known[row] for row in rows]


def _are_values(column: Iterable[str]) -> bool:
    return set(column) <= _VALUES.keys()


def _labels(
    corpus: Corpus, rows: Sequence[Attributes], chosen: Sequence[str], origin: str,
    notes: tuple[str, ...],
) -> Labels:  # fmt: skip
    import numpy as np

    places: dict[str, int] = {}
    found: dict[tuple[int, int], int] = {}  # study and label -> the strongest value
    known = np.zeros(len(corpus.studies), np.bool_)
    for name in chosen:
        column = _column(rows, name)
        single = _are_values(column)
        read = {text: {name: _VALUES[text]} if single else _listed(text) for text in set(column)}
        for label in sorted(set().union(*read.values())):
            places.setdefault(label, len(places))
        for one, text in zip(corpus.radiographs, column, strict=True):
            known[one.study] |= text != ""
            for label, value in read[text].items():
                at = one.study, places[label]
                found[at] = max(found.get(at, 0), _STRENGTH[value])
    if len(places) > MOST:
        raise OcclusionError(
            f"labels: {origin} comes to {len(places)} labels",
            remedy=f"name attributes that hold labels; {MOST} are the most",
        )
    strength = np.zeros((len(corpus.studies), len(places)), np.int8)
    if found:
        strength[tuple(np.asarray([*found]).T)] = [*found.values()]
    values = np.asarray([0, 0, -1, 1], np.int8)[strength]
    if lacking := int((~known).sum()):
        notes += (f"labels: nothing is known of {lacking:,} of {len(known):,} studies",)
    return Labels(tuple(places), values, known, origin, notes)


def _listed(cell: str) -> dict[str, int | None]:
    """The labels that a cell lists."""
    try:
        texts = [text.strip() for text in several(cell, SEPARATOR)]
    except ValueError as fault:
        raise OcclusionError(
            f"labels: a cell {fault}", remedy="write the table again, with lists as JSON"
        ) from None
    return {text: 1 for text in texts if text}
