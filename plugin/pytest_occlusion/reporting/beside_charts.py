"""Charts of what is measured beside recall, as :mod:`.charts` has those of recall."""

from __future__ import annotations

from pytest_occlusion.occlusion.levels import axis_value, level_sentence
from pytest_occlusion.reporting import views
from pytest_occlusion.reporting.beside import (
    GROUPS_SHOWN,
    MEASURES,
    Record,
    focused,
    told_groups,
    told_levels,
)
from pytest_occlusion.reporting.charts import Line, Panel, recall_line, x_end
from pytest_occlusion.reporting.views import Condition, Results


def _of(results: Results, section: str, condition: Condition) -> list[Record]:
    """The rows of a section of one condition, at the k of everything that is about one k."""
    rows = views.of_condition(results[section], condition)
    return focused(rows) if rows else []


def group_panels(results: Results, condition: Condition) -> list[Panel]:
    """Recall of the groups of an attribute that are told first: a panel per model of each."""
    rows, name, found = _of(results, "groups", condition), condition.occluder, []
    cells = views.of_condition(results["cells"], condition)
    for (attribute,), every in views.grouped(rows, "attribute").items():
        k, groups = every[0]["k"], told_groups(every, GROUPS_SHOWN)
        floors = [("chance", 100 * cell["chance"]) for cell in cells if cell["k"] == k][:1]
        for (model,), own in views.grouped(every, "model").items():
            curves = views.grouped(sorted(own, key=lambda row: float(row["ratio"])), "group")
            lines = [
                recall_line(curves[group,], group, place)
                for place, group in enumerate(groups)
                if (group,) in curves
            ]
            found.append(
                Panel(
                    model,
                    f"R@{k}, %",
                    name,
                    lines,
                    floors,
                    f"Recall at {k} of {model} by {attribute}, {condition.title}",
                    x_end(own),
                    models=False,
                    part=attribute,
                )
            )
    return found


def relevance_panels(results: Results, condition: Condition) -> list[Panel]:
    """A panel per measure with a line per model."""
    rows, name = _of(results, "relevance", condition), condition.occluder
    if not rows:
        return []
    places, found, k = views.legend(results), [], rows[0]["k"]
    for measure, title in MEASURES.items():
        lines = []
        for (model, _), own in views.curves(rows).items():
            scores = [row["measures"][measure] for row in own]
            at = [axis_value(name, row["ratio"]) for row in own]
            points = [(x, 100 * score["value"]) for x, score in zip(at, scores, strict=True)]
            band = [(100 * score["low"], 100 * score["high"]) for score in scores]
            lines.append(Line(model, places[model], points, band))
        floors = [(floor, 100 * rows[0]["measures"][measure][floor]) for floor in views.FLOORS]
        told = f"{title} of the first {k} by the {views.axis_words(name)}, {condition.title}"
        found.append(Panel(title, "%", name, lines, floors, told, x_end(rows)))
    return found


def risk_panels(results: Results, condition: Condition) -> list[Panel]:
    """Risk by coverage with nothing blocked, at one level, and over all: a line per model."""
    rows, places = _of(results, "selective", condition), views.legend(results)
    names: dict[float | None, str] = {
        level: level_sentence(condition.occluder, level) for level in told_levels(rows)
    }
    found = []
    for level, title in (names | {None: "all levels"}).items():
        lines = []
        for row in rows:
            if row["ratio"] == level:
                step = 100 / len(row["risks"])
                points = [(step * at, 100 * risk) for at, risk in enumerate(row["risks"], 1)]
                lines.append(Line(row["model"], places[row["model"]], points))
        told = f"Risk by coverage, {title}, {condition.title}"
        across = "answered, % of the queries"
        if lines:
            found.append(
                Panel(title, "misses, %", condition.occluder, lines, (), told, across=across)
            )
    return found
