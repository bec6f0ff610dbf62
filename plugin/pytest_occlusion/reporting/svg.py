"""Where everything lies in the page's charts; ``assets/charts.html`` writes it down as SVG.

Colours are classes (``s0`` ...), so that the page's light and dark themes reach into the charts.
Drawn here and not by matplotlib, which takes 12 s and 1.4 MB for what are 0.1 s and 0.2 MB here,
would have to be installed, and leaves nothing to point at, to hide or to darken.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_occlusion.reporting.charts import MARKERS, Line, Panel, Point
from pytest_occlusion.reporting.views import Standing

if TYPE_CHECKING:
    from pytest_occlusion.reporting.maps import Map, Place

DASHES = ("", "6 3", "2 2")
LINE_HEIGHT, CHARACTER = 11, 6.8
"""Of labels, for keeping them apart."""


class Frame(NamedTuple):
    """A picture with axes from 0 to ``x`` and ``y`` within its margins."""

    width: int
    height: int
    x: float
    y: float
    left: int = 42
    right: int = 12
    top: int = 10
    bottom: int = 36

    def place(self, point: Point) -> Point:
        """Where a point of the data lies in the picture."""
        return (
            self.left + point[0] / self.x * (self.width - self.left - self.right),
            self.height - self.bottom - point[1] / self.y * (self.height - self.top - self.bottom),
        )

    def path(self, points: Sequence[Point]) -> str:
        """A line through points of the data."""
        return polyline([self.place(point) for point in points])

    def band(self, line: Line) -> str:
        """The ground between the ends of its intervals."""
        xs = [x for x, _ in line.points]
        low, high = (list(zip(xs, ends, strict=True)) for ends in zip(*line.band, strict=True))
        return self.path([*high, *low[::-1]]) + "z"

    def marks(self, line: Line) -> str:
        """The markers of a line."""
        return "".join(marker(line.place, self.place(point)) for point in line.points)

    @property
    def middle(self) -> Point:
        """Of both axes, for their names."""
        return self.place((self.x / 2, self.y / 2))

    def axes(self) -> tuple[str, list[tuple[str, float, float, str]]]:
        """Grid lines and ticks as a path, and (text, x, y, anchor) of every number."""
        (left, bottom), (right, _) = self.place((0, 0)), self.place((self.x, self.y))
        lines, labels = "", []
        for value in ticks(self.y):
            y = self.place((0, value))[1]
            lines += f"M{number(left)} {number(y)}H{number(right)}"
            labels.append((f"{value:g}", left - 5, y + 4, "end"))
        for value in ticks(self.x):
            x = self.place((value, 0))[0]
            lines += f"M{number(x)} {number(bottom)}v4"
            labels.append((f"{value:g}", x, bottom + 15, "middle"))
        return lines, labels


def number(value: float) -> str:
    """A coordinate: one digit after the point is a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")


def polyline(points: Sequence[Point]) -> str:
    """A path through picture coordinates."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)


def nice_top(value: float) -> float:
    """The end of a percent axis: the next of a few round numbers."""
    steps = (1, 2, 5, 10, 20, 30, 40, 50, 60, 80, 100)
    return float(next((step for step in steps if value <= step), math.ceil(value / 50) * 50))


def ticks(high: float) -> list[float]:
    """Four to six round numbers from 0 on."""
    size = 10.0 ** math.floor(math.log10(high))
    step = next(s * size for s in (0.1, 0.2, 0.25, 0.5, 1, 2, 5) if high / (s * size) <= 5.01)
    return [round(i * step, 9) for i in range(math.floor(high / step + 1e-9) + 1)]


SHAPES: tuple[Sequence[Point], ...] = (
    (),  # a circle
    ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
    ((0, -1.2), (1.2, 0.9), (-1.2, 0.9)),
    ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
    ((0, 1.2), (1.2, -0.9), (-1.2, -0.9)),
)
"""Corners of the markers, in radii."""


def marker(place: int, at: Point, radius: float = 3) -> str:
    """The path of the marker at a place of the legend."""
    x, y = at
    if shape := SHAPES[place % MARKERS]:
        return polyline([(x + radius * dx, y + radius * dy) for dx, dy in shape]) + "z"
    r, d = number(radius), number(2 * radius)
    return f"M{number(x - radius)} {number(y)}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0"


def curves_frame(panel: Panel) -> Frame:
    """With room for the names of floors on the right."""
    values = [y for one in panel.lines for _, y in (*one.points, *one.accepted)]
    values += [y for one in panel.lines for ends in one.band for y in ends]
    top = nice_top(max([*values, *(value for _, value in panel.floors)]))
    return Frame(380, 250, panel.x_end, top, right=56)


def small_frame(panel: Panel) -> Frame:
    """Of one of many small charts beside each other."""
    top = nice_top(max([100.0, *(y for line in panel.lines for _, y in line.points)]))
    return Frame(230, 150, panel.x_end, top, left=32, bottom=32)


def floors(frame: Frame, panel: Panel) -> Iterator[tuple[str, str, Point]]:
    """Name, line, and where in the right margin the name stands, one above the other."""
    lowest = frame.height - frame.bottom + 4.0
    for name, value in sorted(panel.floors, key=lambda floor: floor[1]):
        right, y = frame.place((frame.x, value))
        label = min(y + 4, lowest)
        lowest = label - LINE_HEIGHT
        yield name, frame.path([(0, value), (frame.x, value)]), (right + 4, label)


def scatter(standing: Sequence[Standing]) -> tuple[Frame, str, list[tuple[Standing, Point, Point]]]:
    """Accuracy against robustness: frame, Pareto front as a stair, (model, spot, its label)."""
    at = [(100 * one.accuracy, 100 * one.robustness) for one in standing]
    x_top, y_top = (nice_top(max(values)) for values in zip(*at, strict=True))
    frame = Frame(560, 340, x_top, max(100.0, y_top), right=20, top=16)
    front = sorted({point for point, one in zip(at, standing, strict=True) if one.front})
    stair = [(0.0, front[0][1])] if front else []
    for (x, y), (_, below) in pairwise([*front, (0.0, 0.0)]):
        stair += [(x, y), (x, below)]
    spots = [frame.place(point) for point in at]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in spots]
    for one, spot in zip(standing, spots, strict=True):
        taken.append(_label_box(spot, CHARACTER * len(one.model), taken, frame))
    labels = [(x, y + 10) for x, y, _, _ in taken[len(spots) :]]
    dots = list(zip(standing, spots, labels, strict=True))
    return frame, frame.path(stair) if stair else "", dots


Box = tuple[float, float, float, float]


def _label_box(at: Point, width: float, taken: Sequence[Box], frame: Frame) -> Box:
    """Where a label overlaps least: tried around its point, then further away."""
    ground = (frame.left, 0, frame.width, frame.height - frame.bottom)

    def cost(far: float, box: Box) -> float:
        outside = 12 * width - _overlap(box, ground)
        return round(far + 100 * outside + sum(_overlap(box, other) for other in taken), 6)

    tried = [
        (far, (at[0] + dx, at[1] + dy - 10, at[0] + dx + width, at[1] + dy + 2))
        for far in (0, 12, 24)
        for dx in (8, -width - 8, -width / 2)
        for dy in ((4 + far,) if dx != -width / 2 else (-9 - far, 17 + far))
    ]
    return min(tried, key=lambda one: cost(*one))[1]


def _overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)


Estimate = Mapping[str, Any]


def interval_bars(estimates: Sequence[Estimate]) -> Iterator[tuple[Estimate, dict[str, str]]]:
    """Each with its interval and what it is compared with, on one scale: class -> path."""
    names = ("value", "low", "high", "threshold")
    ends = [one[name] for one in estimates for name in names]
    for one in estimates:
        span = (max(ends) - min(ends)) or 1
        x, start, end, line = (4 + 152 * (one[name] - min(ends)) / span for name in names)
        yield (
            one,
            {
                "threshold": f"M{number(line)} 0V18",
                "line": f"M{number(start)} 9H{number(end)}",
                "mark": marker(0, (x, 9), 3.5),
            },
        )


SIDE, STEPS = 240, 8
"""Of a map: its width in its own units, and the strengths of its two colours in the style sheet."""


def map_height(one: Map) -> int:
    """As its picture has it, else square."""
    return round(SIDE * one.picture["height"] / one.picture["width"]) if one.picture else SIDE


def tile(one: Map, place: Place) -> Box:
    """x, y, width and height of a place."""
    across, down = SIDE / one.grid, map_height(one) / one.grid
    return (place.column - 1) * across, (place.row - 1) * down, across, down


def strength(value: float, top: float) -> str:
    """Class of a place: ``hot`` where blocking hurts, ``cold`` where it helps, by an eighth."""
    step = min(STEPS, round(STEPS * abs(value) / top)) if top else 0
    return f"{'hot' if value > 0 else 'cold'}{step}" if step else "none"
