"""What pages, figures and files say, taken out of a results document: who stands where, and why.

Plain functions from the document to records; nothing here knows how anything is drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pytest_occlusion.gate.provenance import changes
from pytest_occlusion.gate.verdicts import IMPROVED, NEW, REGRESSED
from pytest_occlusion.suite import grid
from pytest_occlusion.suite.grid import MAIN_OCCLUDER

Results = Mapping[str, Any]
Cell = Mapping[str, Any]
Curves = Mapping[tuple[str, int], Sequence[Cell]]

NO_IMAGE = ("near-chance", "image-blind")
"""Flags of a curve that starts no higher than a ranking that ignores the image."""

DIRECTIONS = {"image-to-text": "image to report", "text-to-image": "report to image"}


class Condition(NamedTuple):
    """What was done to the image and which way was asked."""

    direction: str
    occluder: str

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.occluder}, {DIRECTIONS.get(self.direction, self.direction)}"


@dataclass(frozen=True)
class Standing:
    """One model under one condition at one k: how accurate, how robust.

    Attributes:
        model: Its model.
        k: Its k.
        accuracy: Recall at 0 %.
        robustness: Area under retention: 1 loses nothing.
        half: Level at which half of the recall above chance is gone.
        fit: R squared of a straight line.
        flags: Of its curve.
        front: Whether it clears a ranking that ignores the image, and no other model that does is
            at least as good in both and better in one.
    """

    model: str
    k: int
    accuracy: float
    robustness: float
    half: float | None
    fit: float | None
    flags: Sequence[str]
    front: bool = False

    @property
    def clears(self) -> bool:
        """Whether the interval at 0 % clears every ranking that ignores the image."""
        return not set(self.flags) & set(NO_IMAGE)

    def beats(self, other: Standing) -> bool:
        """Whether it is at least as good in both, and better in one."""
        one, two = (self.accuracy, self.robustness), (other.accuracy, other.robustness)
        return one != two and one[0] >= two[0] and one[1] >= two[1]


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
    changed: Sequence[tuple[str, str, str]]
    unchanged: Sequence[str]

    @property
    def suggests(self) -> str:
        """In a few words, for a row of a table."""
        if not self.known:
            return "not recorded"
        return ", ".join(name for name, _, _ in self.changed) or "nothing recorded"


def headline(results: Results) -> str:
    """One sentence: how many cells, and what became of them."""
    verdicts = [cell["verdict"] for cell in results["cells"]]
    state = f"all {len(verdicts)} cells hold"
    for kind, text in (
        (NEW, "have no baseline"),
        (IMPROVED, "improved beyond the tolerance"),
        (REGRESSED, "regressed"),
    ):
        if count := verdicts.count(kind):
            state = f"{count} of {len(verdicts)} cells {text}"
    return f"Occlusion suite {results['suite']}: {state}"


def conditions(cells: Iterable[Cell]) -> list[Condition]:
    """Every condition, the main one first."""
    found = dict.fromkeys(Condition(cell["direction"], cell["occluder"]) for cell in cells)
    return sorted(found, key=lambda one: (one.direction, one.occluder != MAIN_OCCLUDER))


def of_condition(cells: Iterable[Cell], condition: Condition) -> list[Cell]:
    """The cells of one condition."""
    return [cell for cell in cells if (cell["direction"], cell["occluder"]) == condition]


def models_of(cells: Iterable[Cell]) -> list[str]:
    """Models in the order of the document."""
    return list(dict.fromkeys(cell["model"] for cell in cells))


def legend(results: Results) -> dict[str, int]:
    """Model -> its place in every legend of the document."""
    return {name: place for place, name in enumerate(models_of(results["cells"]))}


def ks_of(cells: Iterable[Cell]) -> list[int]:
    """Every k, ascending."""
    return sorted({cell["k"] for cell in cells})


def focus_k(cells: Iterable[Cell]) -> int:
    """The k of pictures about one k."""
    return grid.focus_k(ks_of(cells))


def curves(cells: Iterable[Cell]) -> dict[tuple[str, int], list[Cell]]:
    """(model, k) -> its cells of one condition by ascending level."""
    groups: dict[tuple[str, int], dict[float, Cell]] = {}
    for cell in cells:
        groups.setdefault((cell["model"], cell["k"]), {})[cell["ratio"]] = cell
    return {key: [points[ratio] for ratio in sorted(points)] for key, points in groups.items()}


def retention(curve: Sequence[Cell]) -> list[tuple[float, float]]:
    """(level, share of the recall at 0 % that is left); empty when that is 0 or unknown."""
    first = curve[0]
    if first["ratio"] != 0 or first["recall"] <= 0:
        return []
    return [(cell["ratio"], cell["recall"] / first["recall"]) for cell in curve]


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


def standings(results: Results, condition: Condition) -> list[Standing]:
    """Accuracy against robustness, at the k of pictures about one k, of models that have both."""
    cells = of_condition(results["cells"], condition)
    k, every = focus_k(cells), curves(cells)
    found = []
    for one in results["curves"]:
        curve = every.get((one["model"], k), [])
        here = (one["direction"], one["occluder"], one["k"]) == (*condition, k)
        if here and curve and retention(curve) and one["area"] is not None:
            numbers = (one[name] for name in ("area", "half_ratio", "r_squared", "flags"))
            found.append(Standing(one["model"], k, curve[0]["recall"], *numbers))
    rivals = [one for one in found if one.clears]
    return [
        replace(one, front=one.clears and not any(other.beats(one) for other in rivals))
        for one in found
    ]


def changes_of(results: Results) -> dict[tuple[str, str | None], Change]:
    """(model, provenance of the baseline) -> what changed since it was accepted."""
    known = (cell for cell in results["cells"] if cell["baseline_hits"] is not None)
    found = {}
    for key, count in Counter((cell["model"], cell["baseline_from"]) for cell in known).items():
        before = results["baselines"].get(key[1])
        now = {**results["models"].get(key[0], {}), "corpus": results["corpus"]["fingerprint"]}
        both = changes(before or {}, {name: value for name, value in now.items() if value})
        found[key] = Change(key[0], count, before is not None, *both)
    return found


def by_level(cells: Iterable[Cell], field: str, values: Iterable[Any]) -> dict[float, list[Any]]:
    """Level -> the cell for each value of a field, ``None`` where there is none; levels ascend."""
    found = {(cell["ratio"], cell[field]): cell for cell in cells}
    columns = list(values)
    return {
        level: [found.get((level, value)) for value in columns]
        for level in sorted({level for level, _ in found})
    }
