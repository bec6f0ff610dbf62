"""What pages and figures draw, taken out of a results document: curves, fronts, what changed.

Plain functions from the document to frozen records; nothing here knows how anything is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_occlusion.gate.provenance import FIELDS, shown_change
from pytest_occlusion.suite import grid
from pytest_occlusion.suite.grid import MAIN_OCCLUDER

Results = Mapping[str, Any]
Cell = Mapping[str, Any]

NO_IMAGE = ("near-chance", "image-blind")
"""Flags of a curve that starts no higher than a ranking that ignores the image."""


@dataclass(frozen=True)
class Condition:
    """What was done to the image and which way was asked.

    Attributes:
        direction: ``image-to-text`` or ``text-to-image``.
        occluder: Its name.
    """

    direction: str
    occluder: str

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.occluder}, {DIRECTIONS.get(self.direction, self.direction)}"


DIRECTIONS = {"image-to-text": "image to report", "text-to-image": "report to image"}


@dataclass(frozen=True)
class Curve:
    """Recall over the blocked share.

    Attributes:
        model: Its model.
        k: Its k.
        cells: Its cells by ascending ratio.
    """

    model: str
    k: int
    cells: tuple[Cell, ...]

    @property
    def ratios(self) -> list[float]:
        """Blocked shares."""
        return [cell["ratio"] for cell in self.cells]

    @property
    def recalls(self) -> list[float]:
        """Recall at each."""
        return [cell["recall"] for cell in self.cells]

    @property
    def baseline(self) -> list[tuple[float, float]]:
        """(ratio, accepted recall) where there is a baseline."""
        return [(c["ratio"], b) for c in self.cells if (b := baseline_recall(c)) is not None]

    @property
    def retention(self) -> list[tuple[float, float]]:
        """(ratio, share of the recall at 0 % that is left); empty when that is 0 or unknown."""
        first = self.cells[0]
        if first["ratio"] != 0 or first["recall"] <= 0:
            return []
        return [(c["ratio"], c["recall"] / first["recall"]) for c in self.cells]


@dataclass(frozen=True)
class Standing:
    """One model under one condition at one k: how accurate, how robust.

    Attributes:
        model: Its model.
        accuracy: Recall at 0 %.
        robustness: Area under retention: 1 loses nothing.
        clears: Whether the interval at 0 % clears every ranking that ignores the image.
        front: Whether no other model that clears it is at least as good in both and better in one.
    """

    model: str
    accuracy: float
    robustness: float
    clears: bool
    front: bool


@dataclass(frozen=True)
class Change:
    """What changed since the baselines of some cells were accepted.

    Attributes:
        model: Their model.
        cells: How many cells.
        known: Whether the baseline says what it was measured with.
        changed: (field, before, now).
        unchanged: Fields that are the same.
    """

    model: str
    cells: int
    known: bool
    changed: tuple[tuple[str, str, str], ...]
    unchanged: tuple[str, ...]

    @property
    def suggests(self) -> str:
        """In a few words, for a row of a table."""
        if not self.known:
            return "not recorded"
        return ", ".join(name for name, _, _ in self.changed) or "nothing recorded"


def conditions(cells: Iterable[Cell]) -> list[Condition]:
    """Every condition, the main one first."""
    found = dict.fromkeys(Condition(cell["direction"], cell["occluder"]) for cell in cells)
    return sorted(found, key=lambda one: (one.direction, one.occluder != MAIN_OCCLUDER))


def of_condition(cells: Iterable[Cell], condition: Condition) -> list[Cell]:
    """The cells of one condition."""
    return [
        cell
        for cell in cells
        if (cell["direction"], cell["occluder"]) == (condition.direction, condition.occluder)
    ]


def models_of(cells: Iterable[Cell]) -> list[str]:
    """Models in the order of the document."""
    return list(dict.fromkeys(cell["model"] for cell in cells))


def ks_of(cells: Iterable[Cell]) -> list[int]:
    """Every k, ascending."""
    return sorted({cell["k"] for cell in cells})


def focus_k(cells: Iterable[Cell]) -> int:
    """The k of pictures about one k."""
    return grid.focus_k(ks_of(cells))


def curves(cells: Iterable[Cell]) -> list[Curve]:
    """The curves of one condition, by model and k."""
    groups: dict[tuple[str, int], dict[float, Cell]] = {}
    for cell in cells:
        groups.setdefault((cell["model"], cell["k"]), {})[cell["ratio"]] = cell
    return [
        Curve(model, k, tuple(points[ratio] for ratio in sorted(points)))
        for (model, k), points in groups.items()
    ]


def curve_groups(cells: Iterable[Cell]) -> dict[tuple[str, str, str], list[Cell]]:
    """(model, direction, occluder) -> its cells, in the order of the document."""
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell["model"], cell["direction"], cell["occluder"]), []).append(cell)
    return groups


def baseline_recall(cell: Cell) -> float | None:
    """The accepted recall of a cell, where there is one."""
    if cell["baseline_hits"] is None:
        return None
    return float(cell["baseline_hits"] / (cell["baseline_queries"] or cell["queries"]))


def summaries(results: Results, condition: Condition, k: int) -> dict[str, Mapping[str, Any]]:
    """Model -> the numbers of its curve."""
    place = (condition.direction, condition.occluder, k)
    return {
        one["model"]: one
        for one in results["curves"]
        if (one["direction"], one["occluder"], one["k"]) == place
    }


def standings(results: Results, condition: Condition, k: int) -> list[Standing]:
    """Accuracy against robustness of the models that have both."""
    known = summaries(results, condition, k)
    points: list[tuple[str, float, float, bool]] = []
    for curve in curves(of_condition(results["cells"], condition)):
        numbers = known.get(curve.model, {})
        if curve.k == k and curve.retention and numbers.get("area") is not None:
            clears = not set(numbers["flags"]) & set(NO_IMAGE)
            points.append((curve.model, curve.recalls[0], float(numbers["area"]), clears))
    rivals = [(x, y) for _, x, y, clears in points if clears]
    return [
        Standing(model, x, y, clears, clears and not any(_beats(one, (x, y)) for one in rivals))
        for model, x, y, clears in points
    ]


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] >= other[0] and one[1] >= other[1]


def origin_of(results: Results, model: str) -> dict[str, str]:
    """Under what a model was measured in this run; fields that it does not record are left out."""
    record = {**results["models"].get(model, {}), "corpus": results["corpus"]["fingerprint"]}
    return {name: str(record[name]) for name in FIELDS if record.get(name)}


def changes_of(results: Results) -> dict[tuple[str, str | None], Change]:
    """(model, provenance of the baseline) -> what changed since it was accepted."""
    counts: dict[tuple[str, str | None], int] = {}
    for cell in results["cells"]:
        if cell["baseline_hits"] is not None:
            key = (cell["model"], cell["baseline_from"])
            counts[key] = counts.get(key, 0) + 1
    return {key: _change(results, *key, count) for key, count in counts.items()}


def _change(results: Results, model: str, origin: str | None, count: int) -> Change:
    before = results["baselines"].get(origin)
    if before is None:
        return Change(model, count, False, (), ())
    now = origin_of(results, model)
    both = [name for name in FIELDS if name in before and name in now]
    return Change(
        model,
        count,
        True,
        tuple(
            (name, *shown_change(name, str(before[name]), now[name]))
            for name in both
            if str(before[name]) != now[name]
        ),
        tuple(name for name in both if str(before[name]) == now[name]),
    )


def ordered(kinds: Sequence[str], found: Mapping[str, int]) -> list[tuple[str, int]]:
    """Counts in a given order, then whatever else there is."""
    rest = sorted(set(found) - set(kinds))
    return [(kind, found[kind]) for kind in (*kinds, *rest) if kind in found]
