"""What pages, figures and the terminal say of sensitivity maps, taken out of a results document."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NamedTuple

from pytest_occlusion.reporting import views
from pytest_occlusion.reporting.charts import Line, Panel
from pytest_occlusion.reporting.views import Results
from pytest_occlusion.suite.grid import MAIN_OCCLUDER

Record = Mapping[str, Any]

QUANTITIES = {
    "similarity": ("similarity lost", 1.0, 3),
    "rank": ("places lost in the ranking", 1.0, 1),
    "recall": ("R@{k} lost, points", 100.0, 1),
}
"""Quantity -> its title, the factor from the document's numbers, digits behind the point."""

PLACED = {
    "mean": "mean over the places",
    "worst_similarity": "worst place by similarity",
    "worst_rank": "worst place by rank",
}


class Place(NamedTuple):
    """One placement, row and column counted from 1, and its mean loss with its 95 % interval."""

    row: int
    column: int
    value: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Map:
    """One view's map of one quantity."""

    model: str
    view: str
    title: str  # what is lost, for people
    digits: int  # behind the point
    grid: int  # placements per side
    places: tuple[Place, ...]  # row by row from the top left
    picture: Record | None  # the mean radiograph: width, height and grey levels in base64

    @property
    def peak(self) -> Place:
        """Where most is lost; the first of equal ones."""
        return max(self.places, key=lambda place: place.value)

    @property
    def top(self) -> float:
        """The largest loss or gain: the end of both colours."""
        return max(abs(place.value) for place in self.places)

    def largest(self, count: int) -> list[Place]:
        """Where most is lost, first."""
        return sorted(self.places, key=lambda place: -place.value)[:count]

    @property
    def png(self) -> bytes:
        """The mean radiograph as an 8-bit grey PNG file; empty where there is none."""
        from PIL import Image

        png = BytesIO()
        if self.picture is not None:
            size, grey = (self.picture["width"], self.picture["height"]), self.picture["grey"]
            Image.frombytes("L", size, base64.b64decode(grey)).save(png, "PNG", optimize=True)
        return png.getvalue()

    def shown(self, value: float) -> str:
        """A loss with its digits, without a sign on zero."""
        text = f"{value:.{self.digits}f}"
        return text if float(text) else text.lstrip("-")

    def told(self, place: Place) -> str:
        """A loss with its interval."""
        return f"{self.shown(place.value)} [{self.shown(place.low)}, {self.shown(place.high)}]"


def maps_of(record: Record, view: Record) -> list[Map]:
    """The maps of one view of one record, a quantity each."""
    found, grid = [], record["grid"]
    for quantity, (title, scale, digits) in QUANTITIES.items():
        losses = view["losses"][quantity]
        numbers = zip(losses["value"], losses["low"], losses["high"], strict=True)
        places = tuple(
            Place(at // grid + 1, at % grid + 1, *(scale * one for one in three))
            for at, three in enumerate(numbers)
        )
        shown = title.format(k=record["k"])
        found.append(
            Map(record["model"], view["view"], shown, digits, grid, places, view["picture"])
        )
    return found


def tile_text(record: Record) -> str:
    """Grid and tile in words."""
    grid = record["grid"]
    return f"{grid} x {grid} places, {100 * record['ratio']:.2g} % of the image each"


def worst_panel(results: Results, record: Record) -> Panel:
    """Recall with the tile at random, and at the worst place of each radiograph.

    Where the run measured the random block at the same shares, its curve comes first.
    """
    k, shares = record["k"], {one["ratio"] for one in record["placements"]}
    cells = views.grouped(results["cells"], "model", "direction", "k")
    own = cells.get((record["model"], record["direction"], k), [])
    blocks = [
        (cell["ratio"], cell["recall"], cell["ci_low"], cell["ci_high"])
        for cell in own
        if cell["occluder"] == MAIN_OCCLUDER and cell["ratio"] in shares
    ]
    curves = {"block anywhere": sorted(blocks)} if blocks else {}
    for name, text in PLACED.items():
        curves[text] = [(one["ratio"], *_spread(one[name])) for one in record["placements"]]
    whole = (0.0, *_spread(record["whole"]))
    lines = [
        Line(
            text,
            place,
            [(100 * x, 100 * y) for x, y, _, _ in (whole, *curve)],
            [(100 * low, 100 * high) for _, _, low, high in (whole, *curve)],
        )
        for place, (text, curve) in enumerate(curves.items())
    ]
    floors = [("chance", 100 * cell["chance"]) for cell in own[:1]]
    model, end = record["model"], 100 * max(shares, default=1.0)
    told = f"Recall at {k} of {model} against the blocked share, by where the tile stands"
    return Panel(model, f"R@{k}, %", MAIN_OCCLUDER, lines, floors, told, end, models=False)


def _spread(spread: Record) -> tuple[float, float, float]:
    return spread["value"], spread["low"], spread["high"]


def summary_lines(maps: Sequence[Record]) -> Iterator[tuple[str, bool]]:
    """(text, whether it is a heading) for the terminal, within 80 columns."""
    for record in maps:
        yield f"{record['model']} - map: {tile_text(record)}", True
        for view in record["views"]:
            yield f"{view['view']}, {view['queries']:,} radiographs, most is lost at", False
            for one in maps_of(record, view):
                where = f"row {one.peak.row}, column {one.peak.column}"
                yield f"  {where:<18}{one.title}: {one.told(one.peak)}", False
        for one in record["placements"]:
            worst = [f"{100 * value:.1f}" for value in _spread(one["worst_similarity"])]
            yield (
                f"R@{record['k']} {100 * record['whole']['value']:.1f} % whole; "
                f"{100 * one['ratio']:.2g} % blocked: {100 * one['mean']['value']:.1f} on average, "
                f"{worst[0]} [{worst[1]}, {worst[2]}] at worst",
                False,
            )
