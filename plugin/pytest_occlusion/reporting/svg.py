"""The page's charts as SVG text: the same document gives the same bytes.

Colours are classes (``s0`` ...), so that the page's light and dark themes reach into the charts.
Drawn here and not by matplotlib, which takes 12 s and 1.4 MB for what are 0.1 s and 0.2 MB here,
would have to be installed, and leaves nothing to point at, to hide or to darken.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup, escape

from pytest_occlusion.reporting.charts import COLOURS, DASHES, MARKERS, Line, Panel, Point
from pytest_occlusion.reporting.views import Standing

if TYPE_CHECKING:
    from pytest_occlusion.reporting.maps import Map, Place

DASH_LENGTHS = (None, "6 3", "2 2")
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


def element(tag: str, *inside: str, **attributes: float | str | None) -> Markup:
    """An SVG element; ``_`` in names is read as ``-``, and what is ``None`` left out."""
    said = "".join(
        f' {name.rstrip("_").replace("_", "-")}="'
        f'{escape(value if isinstance(value, str) else number(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    content = "".join(map(escape, inside))
    return Markup(f"<{tag}{said}>{content}</{tag}>" if content else f"<{tag}{said}/>")  # noqa: S704


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


def axes(frame: Frame, x_label: str, y_label: str) -> Markup:
    """Grid lines, ticks and names of both axes."""
    (left, bottom), (right, top) = frame.place((0, 0)), frame.place((frame.x, frame.y))
    lines, labels = "", Markup()
    for value in ticks(frame.y):
        y = frame.place((0, value))[1]
        lines += f"M{number(left)} {number(y)}H{number(right)}"
        labels += _text(f"{value:g}", left - 5, y + 4, "end")
    for value in ticks(frame.x):
        x = frame.place((value, 0))[0]
        lines += f"M{number(x)} {number(bottom)}v4"
        labels += _text(f"{value:g}", x, bottom + 15, "middle")
    labels += _text(x_label, (left + right) / 2, frame.height - 4, "middle")
    if y_label:
        turn = f"rotate(-90 11 {number((top + bottom) / 2)})"
        labels += _text(y_label, 11, (top + bottom) / 2, "middle", transform=turn)
    return element("path", class_="grid", d=lines) + labels


def _text(text: str, x: float, y: float, anchor: str | None = None, **more: str) -> Markup:
    return element("text", text, x=x, y=y, text_anchor=anchor, **more)


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


def _line(place: int, path: str) -> Markup:
    dash = DASH_LENGTHS[place // COLOURS % DASHES]
    return element("path", class_="line", stroke_dasharray=dash, d=path)


def swatch(place: int) -> Markup:
    """A piece of a line for legends."""
    mark = element("path", class_="mark", d=marker(place, (15, 6), 3.4))
    return _picture((30, 12), f"swatch s{place % COLOURS}", "", _line(place, "M0 6H30"), mark)


def _picture(size: tuple[int, int], css: str, told: str, *inside: str) -> Markup:
    """The whole SVG element, told to a screen reader or, without words, a mere ornament."""
    width, height = size
    how: dict[str, Any] = {"role": "img", "aria_label": told}
    if not told:
        how = {"width": width, "height": height, "aria_hidden": "true"}
    return element("svg", *inside, class_=css, viewBox=f"0 0 {width} {height}", **how)


def curves(panel: Panel) -> Markup:
    """Curves with bands, the baseline behind and floors."""
    values = [y for one in panel.lines for _, y in (*one.points, *one.accepted)]
    values += [y for one in panel.lines for ends in one.band for y in ends]
    top = nice_top(max([*values, *(value for _, value in panel.floors)]))
    frame = Frame(380, 250, panel.x_end, top, right=56)
    behind = [_group(panel, line, _behind(frame, line)) for line in panel.lines]
    front = []
    for line in panel.lines:
        marks = "".join(marker(line.place, frame.place(point)) for point in line.points)
        drawn = _line(line.place, frame.path(line.points))
        told = element("title", f"{line.name}: {_told(panel, line)}")
        front.append(_group(panel, line, told, drawn, element("path", class_="mark", d=marks)))
    parts = (axes(frame, panel.x_label, panel.y_label), *_floors(frame, panel), *behind, *front)
    return _picture(frame[:2], "chart", panel.told, *parts)


def _told(panel: Panel, line: Line) -> str:
    return ", ".join(f"{y:.1f} % at {x:.4g}{panel.unit}" for x, y in line.points)


def _floors(frame: Frame, panel: Panel) -> list[Markup]:
    """Horizontal lines, named in the right margin, one name above the other."""
    parts, lowest = [], frame.height - frame.bottom + 4.0
    for name, value in sorted(panel.floors, key=lambda floor: floor[1]):
        path, (right, y) = frame.path([(0, value), (frame.x, value)]), frame.place((frame.x, value))
        parts.append(element("path", class_=f"floor {name}", d=path))
        label = min(y + 4, lowest)
        lowest = label - LINE_HEIGHT
        parts.append(_text(name, right + 4, label, class_="floor-name"))
    return parts


def _group(panel: Panel, line: Line, *inside: Markup) -> Markup:
    """Parts of one line, which the script hides and shows with its model."""
    model = str(line.place) if panel.models else None
    return element("g", *inside, class_=f"s{line.place % COLOURS}", data_m=model)


def _behind(frame: Frame, line: Line) -> Markup:
    parts = Markup()
    if line.band:
        xs = [x for x, _ in line.points]
        low, high = (list(zip(xs, ends, strict=True)) for ends in zip(*line.band, strict=True))
        parts += element("path", class_="band", d=frame.path([*high, *low[::-1]]) + "z")
    if line.accepted:
        parts += element("path", class_="ghost", d=frame.path(line.accepted))
    return parts


def small_multiple(panel: Panel) -> Markup:
    """Lines in one colour, each thicker than the one before."""
    top = nice_top(max([100.0, *(y for line in panel.lines for _, y in line.points)]))
    frame = Frame(230, 150, panel.x_end, top, left=32, bottom=32)
    parts = [axes(frame, panel.x_label, "")]
    for number, line in enumerate(panel.lines):
        step = round(number * 5 / max(1, len(panel.lines) - 1))
        told = element("title", f"{line.name}: {_told(panel, line)}")
        path = element("path", class_="line", d=frame.path(line.points))
        parts.append(element("g", told, path, class_=f"k{step}"))
    return _picture(frame[:2], "chart small", panel.told, *parts)


def scatter(standing: Sequence[Standing], places: Mapping[str, int]) -> Markup:
    """Accuracy against robustness with the Pareto front as a stair."""
    at = [(100 * one.accuracy, 100 * one.robustness) for one in standing]
    x_top, y_top = (nice_top(max(values)) for values in zip(*at, strict=True))
    frame = Frame(560, 340, x_top, max(100.0, y_top), right=20, top=16)
    parts = [axes(frame, "accuracy: recall with nothing blocked, %", "robustness: area, %")]
    front = sorted({point for point, one in zip(at, standing, strict=True) if one.front})
    if front:
        stair = [(0.0, front[0][1])]
        for (x, y), (_, below) in zip(front, (*front[1:], (0, 0)), strict=True):
            stair += [(x, y), (x, below)]
        parts.append(element("path", class_="front", d=frame.path(stair)))
    spots = [frame.place(point) for point in at]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in spots]
    for one, (x, y), spot in zip(standing, at, spots, strict=True):
        name, place, css = one.model, places[one.model], "mark" if one.clears else "mark hollow"
        box = _label_box(spot, CHARACTER * len(name), taken, frame)
        taken.append(box)
        inside = (
            element("title", f"{name}: accuracy {x:.1f} %, robustness {y:.0f} %"),
            element("path", class_=css, d=marker(place, spot, 4.5)),
            _text(name, box[0], box[1] + 10, class_="dot-name"),
        )
        parts.append(element("g", *inside, class_=f"s{place % COLOURS}", data_m=str(place)))
    told = f"Accuracy against robustness at R@{standing[0].k}"
    return _picture(frame[:2], "chart wide", told, *parts)


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


def interval_bar(estimate: Mapping[str, Any], scale: Point) -> Markup:
    """One estimate with its interval and what it is compared with; the numbers stand beside it."""
    span = (scale[1] - scale[0]) or 1
    x, start, end, line = (
        4 + 152 * (estimate[name] - scale[0]) / span
        for name in ("value", "low", "high", "threshold")
    )
    paths = {
        "threshold": f"M{number(line)} 0V18",
        "line": f"M{number(start)} 9H{number(end)}",
        "mark": marker(0, (x, 9), 3.5),
    }
    drawn = [element("path", class_=name, d=path) for name, path in paths.items()]
    return _picture((160, 18), "bar s0", "", *drawn)


SIDE, STEPS = 240, 8
"""Of a map: its width in its own units, and the strengths of its two colours in the style sheet."""


def heat_map(one: Map) -> Markup:
    """The loss of every place over the mean radiograph, or over plain ground.

    What the interval leaves certain has a dot and the place of the largest loss a frame, so that
    nothing is told by colour alone.
    """
    picture, peak = one.picture, one.peak
    height = round(SIDE * picture["height"] / picture["width"]) if picture else SIDE
    across, down = SIDE / one.grid, height / one.grid
    parts = [element("rect", class_="film", width=SIDE, height=height)]
    if picture:
        data = f"data:image/png;base64,{base64.b64encode(one.png).decode()}"
        whole = {"width": SIDE, "height": height, "preserveAspectRatio": "none"}
        parts.append(element("image", **whole, href=data))

    def box(place: Place) -> dict[str, float]:
        x, y = (place.column - 1) * across, (place.row - 1) * down
        return {"x": x, "y": y, "width": across, "height": down}

    for place in one.places:
        inside = [
            element("title", f"row {place.row}, column {place.column}: {one.told(place)}"),
            element("rect", class_=_strength(place.value, one.top), **box(place)),
        ]
        if place.certain and one.grid <= 16:
            cx, cy = (place.column - 0.5) * across, (place.row - 0.5) * down
            inside.append(element("circle", class_="sure", cx=cx, cy=cy, r=1.6))
        parts.append(element("g", *inside))
    if peak.value > 0:
        parts.append(element("rect", class_="peak", **box(peak)))
    told = (
        f"{one.title}, {one.model}, {one.view}: most at row {peak.row}, column {peak.column}, "
        f"{one.told(peak)}; the numbers are in the table below"
    )
    return _picture((SIDE, height), "map", told, *parts)


def _strength(value: float, top: float) -> str:
    """Class of a place: ``hot`` where blocking hurts, ``cold`` where it helps, by an eighth."""
    step = min(STEPS, round(STEPS * abs(value) / top)) if top else 0
    return f"{'hot' if value > 0 else 'cold'}{step}" if step else "none"
