"""Several runs side by side: what a team keeps as the record of its models' robustness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_occlusion.gate.verdicts import SAME
from pytest_occlusion.occlusion.levels import level_text
from pytest_occlusion.reporting import views
from pytest_occlusion.reporting.charts import Line, Panel, panels_of_models
from pytest_occlusion.reporting.page import counts
from pytest_occlusion.reporting.views import Cell, Condition, Results, Standing

ALIKE = ("text_rule", "candidates", "fill", "seeds", "split")
"""Choices of the protocol that numbers of two runs have to share to be compared."""


@dataclass(frozen=True)
class Entry:
    """A model of one run under one condition, at the k of pictures about one k."""

    run: str
    standing: Standing
    weights: str
    low: float  # ends of the interval of its accuracy
    high: float
    deepest: str  # the last level, and the recall there
    recall: float
    verdicts: Mapping[str, int]  # of its cells under the condition


@dataclass(frozen=True)
class Row:
    """A cell through the runs."""

    level: str
    k: int
    cells: Sequence[Cell | None]  # one per run
    change: float | None  # from the first run that has it to the last, where they are comparable


@dataclass(frozen=True)
class Board:
    """Runs in their order, the oldest first."""

    names: Sequence[str]
    documents: Sequence[Results]

    @property
    def runs(self) -> list[dict[str, Any]]:
        """What each run is."""
        return [
            {
                "name": name,
                "suite": one["suite"],
                "corpus": _corpus_of(one),
                "radiographs": one["corpus"]["radiographs"],
                "models": len(views.every(one["cells"], "model")),
                "cells": len(one["cells"]),
                "counts": counts(one["cells"]),
            }
            for name, one in zip(self.names, self.documents, strict=True)
        ]

    @property
    def differences(self) -> list[str]:
        """In what the runs differ, so that numbers of two may not answer one question."""
        told = []
        for what in ("corpus", "k", *ALIKE):
            found: dict[str, list[str]] = {}
            for name, one in zip(self.names, self.documents, strict=True):
                known = {"corpus": _corpus_of(one), "k": views.focus_k(one["cells"])}
                value = known.get(what, one["protocol"].get(what))
                found.setdefault(str(value), []).append(name)
            if len(found) > 1:
                parts = (f"{value} in {', '.join(names)}" for value, names in found.items())
                told.append(f"The runs differ in {what.replace('_', ' ')}: {'; '.join(parts)}.")
        return told

    @property
    def places(self) -> dict[str, int]:
        """Model -> its place in the list of those that can be hidden."""
        cells = [cell for one in self.documents for cell in one["cells"]]
        return {name: place for place, name in enumerate(views.every(cells, "model"))}

    @property
    def conditions(self) -> list[Condition]:
        """Every condition of any run, the main one first."""
        return views.conditions([cell for one in self.documents for cell in one["cells"]])

    def entries(self, condition: Condition) -> list[Entry]:
        """Models of all runs that have recall at 0 % and at some other level, the best first."""
        found = []
        for name, one in zip(self.names, self.documents, strict=True):
            cells = views.of_condition(one["cells"], condition)
            for standing in views.standings(one, condition):
                own = [cell for cell in cells if cell["model"] == standing.model]
                curve = views.curves(own)[standing.model, standing.k]
                entry = Entry(
                    name,
                    standing,
                    one["models"][standing.model]["weights"][:8],
                    curve[0]["ci_low"],
                    curve[0]["ci_high"],
                    level_text(condition.occluder, curve[-1]["ratio"]),
                    curve[-1]["recall"],
                    counts(own),
                )
                found.append((self._alike(one), entry))
        return sorted(
            (
                replace(
                    entry,
                    standing=views.fronted(
                        entry.standing,
                        [
                            other.standing
                            for key, other in found
                            if key == alike and other.standing.k == entry.standing.k
                        ],
                    ),
                )
                for alike, entry in found
            ),
            key=lambda entry: -entry.standing.accuracy,
        )

    def panels(self, condition: Condition) -> list[Panel]:
        """A panel per model with a line per run; the last lies on top, with its interval."""
        curves = {
            name: views.curves(views.of_condition(one["cells"], condition))
            for name, one in zip(self.names, self.documents, strict=True)
        }
        found: list[Panel] = []
        for model in self.places:
            ks = [{k for own, k in curve if own == model} for curve in curves.values()]
            shared = set.intersection(*there) if (there := [*filter(None, ks)]) else set()
            if shared:
                k = views.focus_k([{"k": one} for one in shared])
                found += panels_of_models([model], k, condition.occluder, curves)
        return [
            replace(
                one,
                lines=[*map(_bare, one.lines[:-1]), replace(one.lines[-1], accepted=())],
                models=False,
            )
            for one in found
        ]

    def history(self, condition: Condition) -> Iterator[tuple[str, list[Row], int]]:
        """Model, its cells through the runs, and how many of them are not the same in all."""
        of_run = [
            {
                (cell["model"], cell["ratio"], cell["k"]): cell
                for cell in views.of_condition(one["cells"], condition)
            }
            for one in self.documents
        ]
        keys = dict.fromkeys(key for cells in of_run for key in cells)
        for model in self.places:
            own = sorted((ratio, k) for name, ratio, k in keys if name == model)
            rows = [self._row(condition, [c.get((model, *at)) for c in of_run], *at) for at in own]
            if rows:
                moved = sum(
                    any(cell["verdict"] != SAME for cell in row.cells if cell) for row in rows
                )
                yield model, rows, moved

    def _row(self, condition: Condition, cells: Sequence[Cell | None], ratio: float, k: int) -> Row:
        there = [at for at, cell in enumerate(cells) if cell]
        first, last = cells[there[0]], cells[there[-1]]
        alike = self._alike(self.documents[there[0]]) == self._alike(self.documents[there[-1]])
        change = None
        if len(there) > 1 and alike and first and last:
            change = 100 * (last["recall"] - first["recall"])
        return Row(level_text(condition.occluder, ratio), k, cells, change)

    def _alike(self, document: Results) -> list[Any]:
        """Equal for runs whose numbers answer one question."""
        return [_corpus_of(document), *(document["protocol"].get(name) for name in ALIKE)]


def _bare(line: Line) -> Line:
    return replace(line, band=(), accepted=(), earlier=True)


def _corpus_of(document: Results) -> str:
    return f"{document['corpus']['name']} {document['corpus']['fingerprint'][:8]}"


def names_of_files(paths: Sequence[Any]) -> list[str]:
    """What runs are called after their files: the shortest that tells them apart."""
    stems = [path.stem for path in paths]
    if len(set(stems)) == len(stems):
        return stems
    longer = [f"{path.parent.name}/{path.stem}" for path in paths]
    if len(set(longer)) == len(longer):
        return longer
    return [f"{number}. {stem}" for number, stem in enumerate(stems, 1)]
