"""What pages, figures, files and terminal say, taken out of a results document, and in which words.

Plain functions from the document to records and sentences; nothing here knows how anything is
drawn. The levels of an occluder are blocked shares, those of a corruption severities.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pytest_occlusion.gate.provenance import changes
from pytest_occlusion.gate.verdicts import IMPROVED, NEW, REGRESSED
from pytest_occlusion.occlusion.levels import axis_value, is_corruption, level_text
from pytest_occlusion.suite import grid
from pytest_occlusion.suite.grid import MAIN_OCCLUDER

Results = Mapping[str, Any]
Cell = Mapping[str, Any]
Curves = Mapping[tuple[str, int], Sequence[Cell]]

DIRECTIONS = {"image-to-text": "image to report", "text-to-image": "report to image"}

FLOORS = ("chance", "constant")
"""What a ranking without the image comes to: at random, and always the same."""

FLAGS = {
    "near-chance": "near chance at 0 %",
    "image-blind": "no better at 0 % than the best ranking that ignores the image",
    "collapsed": "collapsed (most positives tie with other candidates)",
    "not-monotone": "not monotone (recall rises with the blocked share or severity)",
}
NO_IMAGE = {"near-chance", "image-blind"}
"""Flags of a curve that starts no higher than a ranking that ignores the image."""


class Condition(NamedTuple):
    """What was done to the image and which way was asked."""

    direction: str
    occluder: str

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.occluder}, {DIRECTIONS.get(self.direction, self.direction)}"

    @property
    def short(self) -> str:
        """For people, who know that reports are asked for unless told."""
        return self.occluder if self.direction == "image-to-text" else self.title


@dataclass(frozen=True)
class Standing:
    """One model under one condition at one k: how accurate, how robust."""

    model: str
    k: int
    accuracy: float  # recall at 0 %
    robustness: float  # area under retention: 1 loses nothing
    half: float | None  # level at which half of the recall above chance is gone
    fit: float | None  # R squared of a straight line
    flags: Sequence[str]  # of its curve
    front: bool = False  # clears, and no other that does is as good in both and better in one

    @property
    def clears(self) -> bool:
        """Whether the interval at 0 % clears every ranking that ignores the image."""
        return NO_IMAGE.isdisjoint(self.flags)

    def beats(self, other: Standing) -> bool:
        """Whether it is at least as good in both, and better in one."""
        one, two = (self.accuracy, self.robustness), (other.accuracy, other.robustness)
        return one != two and one[0] >= two[0] and one[1] >= two[1]


@dataclass(frozen=True)
class Change:
    """What changed since the baselines of some cells were accepted."""

    model: str
    cells: int  # how many
    known: bool  # whether the baseline says what it was measured with
    changed: Sequence[tuple[str, str, str]]  # field, before, now
    unchanged: Sequence[str]

    @property
    def same(self) -> bool:
        """Whether all that is known is the same."""
        return self.known and not self.changed

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
    for kind, found in red_groups(results).items():
        if found:
            state += f"; {len(found)} group{'s' * (len(found) > 1)} {kind}"
    return f"Occlusion suite {results['suite']}: {state}"


def changed_groups(results: Results, kind: str) -> list[Cell]:
    """What was measured of groups and has this verdict, what moved furthest first."""
    return largest_changes(results.get("groups", ()), kind)


def red_groups(results: Results) -> dict[str, set[tuple[str, str, str]]]:
    """``regressed`` and ``vanished`` -> model, attribute and group of those that are."""
    rows = [*changed_groups(results, REGRESSED), *results.get("group_curves", ())]
    lost = [row for row in rows if row["verdict"] == REGRESSED]
    names = ("model", "attribute", "group")
    return {
        REGRESSED: {*grouped(lost, *names)},
        "vanished": {*grouped(results.get("vanished", ()), *names)},
    }


def name_of(cell: Cell) -> str:
    """The id of a cell; of what was measured of a group ``clip-block-r25-k010 sex=F``."""
    if "id" in cell:
        return str(cell["id"])
    own = grid.Cell(*(cell[name] for name in ("model", "direction", "occluder", "ratio", "k")))
    return f"{own.id} {cell['attribute']}={cell['group']}"


def corpus_text(results: Results) -> str:
    """How large the corpus is."""
    corpus = results["corpus"]
    return (
        f"{corpus['radiographs']:,} radiographs of {corpus['studies']:,} studies, "
        f"{corpus['candidates']:,} candidate texts"
    )


def cut_texts(results: Results, name: str) -> Iterator[str]:
    """That a model cut texts, if it did."""
    model = results["models"][name]
    if model["truncated"]:
        yield (
            f"{model['truncated']:,} of {results['corpus']['texts']:,} texts were cut to "
            f"{model['token_limit']} tokens"
        )


def drift_texts(cells: Iterable[Cell]) -> Iterator[str]:
    """That cells are beyond the tolerance of their first value, if any are."""
    if drifted := [cell for cell in cells if cell["drift"] is not None]:
        far = max(drifted, key=lambda cell: abs(cell["drift"]))
        yield (
            f"{len(drifted):,} cells have drifted beyond the tolerance since they were first "
            f"accepted, {far['id']} furthest ({far['drift']:+} hits)"
        )


def flag_texts(flags: Iterable[str]) -> list[str]:
    """Flags of a curve in words."""
    return [FLAGS.get(flag, flag) for flag in flags]


def flips_text(cell: Cell) -> str:
    """Queries that were lost and gained, where that is known."""
    return "" if cell["lost"] is None else f"{cell['lost']:,} / {cell['gained']:,}"


def every(cells: Iterable[Cell], field: str) -> list[Any]:
    """The values of a field in the order of the document."""
    return list(dict.fromkeys(cell[field] for cell in cells))


def grouped(cells: Iterable[Cell], *fields: str) -> dict[tuple[Any, ...], list[Cell]]:
    """Values of these fields -> the cells that have them, both in the order of the document."""
    groups: dict[tuple[Any, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(tuple(cell[field] for field in fields), []).append(cell)
    return groups


def conditions(cells: Iterable[Cell]) -> list[Condition]:
    """Every condition, the main one first."""
    found = [Condition(*own) for own in grouped(cells, "direction", "occluder")]
    return sorted(found, key=lambda one: (one.direction, one.occluder != MAIN_OCCLUDER))


def of_condition(cells: Iterable[Cell], condition: Condition) -> list[Cell]:
    """The cells of one condition."""
    return [cell for cell in cells if (cell["direction"], cell["occluder"]) == condition]


def legend(results: Results) -> dict[str, int]:
    """Model -> its place in every legend of the document."""
    return {name: place for place, name in enumerate(every(results["cells"], "model"))}


def ks_of(cells: Iterable[Cell]) -> list[int]:
    """Every k, ascending."""
    return sorted({cell["k"] for cell in cells})


def focus_k(cells: Iterable[Cell]) -> int:
    """The k of pictures about one k."""
    return grid.focus_k(ks_of(cells))


def curves(cells: Iterable[Cell]) -> dict[tuple[Any, ...], list[Cell]]:
    """(model, k) -> its cells of one condition by ascending level."""
    return grouped(sorted(cells, key=lambda cell: float(cell["ratio"])), "model", "k")


def by_level(cells: Iterable[Cell], field: str, values: Iterable[Any]) -> dict[float, list[Any]]:
    """Level -> the cell for each value of a field, ``None`` where there is none; levels ascend."""
    found = {(cell["ratio"], cell[field]): cell for cell in cells}
    columns = list(values)
    return {
        level: [found.get((level, value)) for value in columns]
        for level in sorted({level for level, _ in found})
    }


def floor_rows(rows: Mapping[float, Sequence[Cell | None]]) -> Iterator[tuple[str, list[Any]]]:
    """Name of a floor and its value in every column of :func:`by_level`, the same at all levels."""
    known = [next(filter(None, column), None) for column in zip(*rows.values(), strict=True)]
    for name in FLOORS:
        yield name, [None if cell is None else cell[name] for cell in known]


def drop(cell: Cell, whole: Cell | None) -> float | None:
    """Percent of the recall with nothing blocked that are gained; ``None`` where it has none."""
    if whole is None or not cell["ratio"] or whole["recall"] <= 0:
        return None
    return float(100 * (cell["recall"] / whole["recall"] - 1))


def retention(curve: Sequence[Cell]) -> list[tuple[float, float]]:
    """(level, share of the recall at 0 % that is left); empty when that is 0 or unknown."""
    first = curve[0]
    if first["ratio"] != 0 or first["recall"] <= 0:
        return []
    return [(cell["ratio"], cell["recall"] / first["recall"]) for cell in curve]


def baseline_recall(cell: Cell) -> float | None:
    """The accepted recall of a cell, where there is one."""
    if cell["baseline_hits"] is None:
        return None
    # A group that is compared has as many queries as it had.
    return float(cell["baseline_hits"] / (cell.get("baseline_queries") or cell["queries"]))


def moved(cell: Cell) -> float:
    """Recall against the accepted one; 0 where there is none."""
    before = baseline_recall(cell)
    return 0.0 if before is None else float(cell["recall"] - before)


def largest_changes(cells: Iterable[Cell], kind: str) -> list[Cell]:
    """The cells of a verdict, those that moved furthest first."""
    return sorted((c for c in cells if c["verdict"] == kind), key=lambda cell: -abs(moved(cell)))


def standings(results: Results, condition: Condition) -> list[Standing]:
    """Accuracy against robustness, at the k of pictures about one k, of models that have both."""
    cells = of_condition(results["cells"], condition)
    if not cells:
        return []
    k, known = focus_k(cells), curves(cells)
    found = []
    for one in results["curves"]:
        curve = known.get((one["model"], k), [])
        here = (one["direction"], one["occluder"], one["k"]) == (*condition, k)
        if here and curve and retention(curve) and one["area"] is not None:
            numbers = (one[name] for name in ("area", "half_ratio", "r_squared", "flags"))
            found.append(Standing(one["model"], k, curve[0]["recall"], *numbers))
    return [fronted(one, found) for one in found]


def fronted(one: Standing, others: Iterable[Standing]) -> Standing:
    """The same, on the front if no other that clears is as good in both and better in one."""
    beaten = any(other.clears and other.beats(one) for other in others)
    return replace(one, front=one.clears and not beaten)


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


def axis_words(occluder: str) -> str:
    """What its levels are, in a sentence."""
    return "severity" if is_corruption(occluder) else "blocked share"


def half_text(occluder: str, level: float | None) -> str:
    """The level at which half is gone: ``26 %``, ``severity 1.3``, or nothing."""
    if level is None:
        return ""
    value = axis_value(occluder, level)
    return f"severity {value:.1f}" if is_corruption(occluder) else f"{value:.0f} %"


def levels_of(cells: Iterable[Cell]) -> dict[str, dict[float, str]]:
    """``blocked share`` and ``severity``, those that a run has -> its levels and their texts."""
    found: dict[str, dict[float, str]] = {}
    for cell in sorted(cells, key=lambda cell: float(cell["ratio"])):
        texts = found.setdefault(axis_words(cell["occluder"]), {})
        texts[cell["ratio"]] = level_text(cell["occluder"], cell["ratio"])
    return dict(sorted(found.items()))


def counted(cells: Iterable[Cell]) -> str:
    """How many blocked shares and severities: ``8 blocked shares, 6 severities``."""
    plural = {"blocked share": "blocked shares", "severity": "severities"}
    return ", ".join(
        f"{len(texts):,} {name if len(texts) == 1 else plural[name]}"
        for name, texts in levels_of(cells).items()
    )


def choices(cells: Iterable[Cell]) -> list[tuple[str, str]]:
    """(value, text) for a filter by level; one level may be both a share and a severity."""
    texts: dict[float, list[str]] = {}
    for name, found in levels_of(cells).items():
        for level, text in found.items():
            texts.setdefault(level, []).append(f"severity {text}" if name == "severity" else text)
    return [(json.dumps(level), ", ".join(texts[level])) for level in sorted(texts)]
