"""Which charts there are of one way to block: on the page a section each, and a file each.

A new one is a function that gives its panels (:mod:`.charts` holds ours) and one line here; the
page shows it after those that have a place of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from pytest_occlusion.reporting.beside import SECTIONS
from pytest_occlusion.reporting.beside_charts import group_panels, relevance_panels, risk_panels
from pytest_occlusion.reporting.charts import Panel, recall_panels, retention_panels
from pytest_occlusion.reporting.views import Condition, Results

Panels = Callable[[Results, Condition], Sequence[Panel]]


class Chart(NamedTuple):
    """One kind of chart.

    Attributes:
        heading: Of its section of the page.
        key: How to read it; ``{first}`` and ``{last}`` are the shortest and longest list.
        file: How names of its files begin.
        panels: What the page shows.
        figure: What its file shows, if that is not the same.
        small: Whether the page draws a small panel for each model.
    """

    heading: str
    key: str
    file: str
    panels: Panels
    figure: Panels | None = None
    small: bool = False


CHARTS: dict[str, Chart] = {
    "curves": Chart(
        "Recall curves",
        "Shaded: 95 % intervals. Thin dotted in the same colour: the accepted baseline. Chance: a "
        "random ranking; constant: the best ranking that ignores the image.",
        "recall",
        recall_panels,
    ),
    "retention": Chart(
        "Retention",
        "Share of the recall at 0 % that is left, in percent; a line per list length, from "
        "R@{first} to R@{last}: the longer the list, the thicker the line.",
        "retention",
        partial(retention_panels, per_model=True),
        partial(retention_panels, per_model=False),
        small=True,
    ),
    "relevance": Chart(
        SECTIONS["relevance"].heading,
        "Shaded: 95 % intervals. A panel per measure, in percent.",
        "relevance",
        relevance_panels,
    ),
    "selective": Chart(
        SECTIONS["selective"].heading,
        "Misses among the queries that are answered, the most confident first. A model that knows "
        "when it is blind rises from the left; one that does not is flat.",
        "risk-coverage",
        risk_panels,
    ),
    "groups": Chart(
        SECTIONS["groups"].heading,
        "A panel per model with a line per group; of many groups, those whose gap blocking widens "
        "for certain and then the largest. Shaded: 95 % intervals; thin dotted: the baseline.",
        "groups",
        group_panels,
    ),
}
"""Id of the section -> chart, in the order of the page."""
