"""Charts as SVG text: the same document gives the same bytes, and nothing else is needed.

Colours are classes (``s0`` ...), so that the page's light and dark themes reach into the charts;
every series also has its own marker and dash, so that colour is never the only difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

Point = tuple[float, float]

COLOURS = 8
"""Series colours in the style sheet; markers and dashes tell further series apart."""

DASHES = ("", "6 3", "2 2")
FONT = 11
CHARACTER = 6.8
"""Width of a character of labels, for keeping them apart."""


@dataclass(frozen=True)
class Frame:
    """A rectangle with axes: data coordinates to picture coordinates.

    Attributes:
        width: Of the picture.
        height: Of the picture.
        x: Range of the horizontal axis.
        y: Range of the vertical axis.
        left: Margin.
        right: Margin.
        top: Margin.
        bottom: Margin.
    """

    width: int
    height: int
    x: Point
    y: Point
    left: int = 42
    right: int = 12
    top: int = 10
    bottom: int = 36

    def place(self, point: Point) -> Point:
        """Where a point of the data lies in the picture."""
        across = (point[0] - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (point[1] - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return (
            self.left + across * (self.width - self.left - self.right),
            self.height - self.bottom - up * (self.height - self.top - self.bottom),
        )


@dataclass(frozen=True)
class Series:
    """One model's part of a chart.

    Attributes:
        number: Its place in the legend, which decides colour, marker and dash.
        title: Shown when pointed at, and read aloud.
        points: The curve, in percent.
        band: Lower and upper ends over the same x.
        ghost: The baseline's points.
        model: Whether it is a model's, hidden and shown with the model.
    """

    number: int
    title: str
    points: Sequence[Point]
    band: Sequence[tuple[float, float]] = field(default=())
    ghost: Sequence[Point] = field(default=())
    model: bool = True


def number(value: float) -> str:
    """A coordinate: one digit after the point is a tenth of a pixel."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def pair(point: Point) -> str:
    """``x y`` of a path."""
    return f"{number(point[0])} {number(point[1])}"


def polyline(points: Sequence[Point]) -> str:
    """A path through picture coordinates."""
    return "M" + "L".join(pair(point) for point in points)


def nice_top(value: float) -> float:
    """The end of a percent axis: the next of a few round numbers."""
    steps = (1, 2, 5, 10, 20, 30, 40, 50, 60, 80, 100)
    return float(next((step for step in steps if value <= step), math.ceil(value / 50) * 50))


def ticks(low: float, high: float) -> list[float]:
    """Four to six round numbers from low to high."""
    span = (high - low) or 1
    size = 10.0 ** math.floor(math.log10(span))
    step = next(s * size for s in (0.1, 0.2, 0.25, 0.5, 1, 2, 5) if span / (s * size) <= 5.01)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 9) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def axes(frame: Frame, x_label: str, y_label: str, x_ticks: Sequence[float] = ()) -> str:
    """Grid lines, ticks and names of both axes."""
    parts = []
    (left, bottom), (right, top) = (
        frame.place((frame.x[0], frame.y[0])),
        frame.place((frame.x[1], frame.y[1])),
    )
    lines, labels = [], []
    for value in ticks(*frame.y):
        y = frame.place((frame.x[0], value))[1]
        lines.append(f"M{pair((left, y))}H{number(right)}")
        labels.append(_text((left - 5, y + 4), f"{value:g}", "end"))
    for value in x_ticks or ticks(*frame.x):
        x = frame.place((value, frame.y[0]))[0]
        lines.append(f"M{pair((x, bottom))}v4")
        labels.append(_text((x, bottom + 15), f"{value:g}", "middle"))
    parts.append(f'<path class="grid" d="{"".join(lines)}"/>')
    parts += labels
    middle = (left + right) / 2
    parts.append(_text((middle, frame.height - 4), x_label, "middle"))
    if y_label:
        y = (top + bottom) / 2
        parts.append(
            f'<text x="11" y="{number(y)}" text-anchor="middle" '
            f'transform="rotate(-90 11 {number(y)})">{escape(y_label)}</text>'
        )
    return "".join(parts)


def _text(at: Point, text: str, anchor: str = "start", css: str = "") -> str:
    where = "" if anchor == "start" else f' text-anchor="{anchor}"'
    kind = f' class="{css}"' if css else ""
    x, y = number(at[0]), number(at[1])
    return f'<text x="{x}" y="{y}"{where}{kind}>{escape(text)}</text>'


def _circle(at: Point, r: float) -> str:
    n = number(r)
    return f"M{pair((at[0] - r, at[1]))}a{n} {n} 0 1 0 {number(2 * r)} 0a{n} {n} 0 1 0 -{2 * r:g} 0"


def _square(at: Point, r: float) -> str:
    s = number(1.8 * r)
    return f"M{pair((at[0] - 0.9 * r, at[1] - 0.9 * r))}h{s}v{s}h-{s}z"


def _triangle(at: Point, r: float) -> str:
    return f"M{pair((at[0], at[1] - 1.2 * r))}l{pair((1.2 * r, 2.1 * r))}h-{number(2.4 * r)}z"


def _diamond(at: Point, r: float) -> str:
    d = 1.3 * r
    start, down, back = pair((at[0], at[1] - d)), pair((d, d)), pair((-d, d))
    return f"M{start}l{down}l{back}l{pair((-d, -d))}z"


def _wedge(at: Point, r: float) -> str:
    return f"M{pair((at[0], at[1] + 1.2 * r))}l{pair((1.2 * r, -2.1 * r))}h-{number(2.4 * r)}z"


MARKERS: tuple[Callable[[Point, float], str], ...] = (_circle, _square, _triangle, _diamond, _wedge)
"""Five, so that with eight colours the pair repeats only after forty series."""


def marker(number: int, at: Point, radius: float = 3) -> str:
    """The path of a series' marker."""
    return MARKERS[number % len(MARKERS)](at, radius)


def _dash(number: int) -> str:
    dash = DASHES[number // COLOURS % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def swatch(number: int) -> str:
    """A piece of a series' line for legends."""
    return (
        f'<svg class="swatch s{number % COLOURS}" viewBox="0 0 30 12" width="30" height="12" '
        f'aria-hidden="true"><path class="line"{_dash(number)} d="M0 6H30"/>'
        f'<path class="mark" d="{marker(number, (15, 6), 3.4)}"/></svg>'
    )


def picture(frame: Frame, title: str, body: str, css: str = "chart") -> str:
    """The whole SVG element; its title is what a screen reader says."""
    return (
        f'<svg class="{css}" viewBox="0 0 {frame.width} {frame.height}" role="img" '
        f'aria-label="{escape(title)}">{body}</svg>'
    )


def curve_chart(
    title: str,
    series: Sequence[Series],
    *,
    floors: Sequence[tuple[str, float]],
    x_top: float,
    x_label: str,
    y_label: str,
) -> str:
    """Recall against the blocked share or the severity.

    Args:
        title: For screen readers.
        series: A curve per model.
        floors: (name, value) of horizontal lines: what a ranking without the image comes to.
        x_top: Largest blocked share in percent, or largest severity.
        x_label: Name of the horizontal axis.
        y_label: Name of the vertical axis.
    """
    highest = [value for one in series for _, value in (*one.points, *one.band, *one.ghost)]
    frame = Frame(
        380, 250, (0, x_top), (0, nice_top(max([*highest, *(v for _, v in floors)]))), right=56
    )
    parts = [axes(frame, x_label, y_label)]
    parts += _floors(frame, floors)
    for one in series:
        parts.append(_behind(frame, one))
    for one in series:
        parts.append(_front(frame, one))
    return picture(frame, title, "".join(parts))


def _floors(frame: Frame, floors: Sequence[tuple[str, float]]) -> list[str]:
    """Horizontal lines, named in the right margin, one name above the other."""
    parts, lowest = [], frame.height - frame.bottom + 4.0
    for name, value in sorted(floors, key=lambda floor: floor[1]):
        start, end = frame.place((frame.x[0], value)), frame.place((frame.x[1], value))
        path = f"M{pair(start)}H{number(end[0])}"
        parts.append(f'<path class="floor {escape(name)}" d="{path}"/>')
        label = min(end[1] + 4, lowest)
        lowest = label - FONT
        parts.append(_text((end[0] + 4, label), name, css="floor-name"))
    return parts


def _group(series: Series, body: str, *, told: bool) -> str:
    title = f"<title>{escape(series.title)}</title>" if told else ""
    place = series.number
    link = f' data-m="{place}"' if series.model else ""
    return f'<g class="s{place % COLOURS}"{link}>{title}{body}</g>' if body else ""


def _behind(frame: Frame, series: Series) -> str:
    body = ""
    if series.band:
        xs = [x for x, _ in series.points]
        edges = [frame.place((x, high)) for x, (_, high) in zip(xs, series.band, strict=True)] + [
            frame.place((x, low)) for x, (low, _) in zip(xs, series.band, strict=True)
        ][::-1]
        body += f'<path class="band" d="{polyline(edges)}z"/>'
    if series.ghost:
        ghost = polyline([frame.place(point) for point in series.ghost])
        body += f'<path class="ghost" d="{ghost}"/>'
    return _group(series, body, told=False)


def _front(frame: Frame, series: Series) -> str:
    places = [frame.place(point) for point in series.points]
    marks = "".join(marker(series.number, place) for place in places)
    line = f'<path class="line"{_dash(series.number)} d="{polyline(places)}"/>'
    return _group(series, f'{line}<path class="mark" d="{marks}"/>', told=True)


def retention_chart(
    title: str, lines: Sequence[tuple[int, Sequence[Point]]], x_top: float, x_label: str
) -> str:
    """Share of recall that is left, a line per k; the outermost are named."""
    top = max([100.0, *(value for _, points in lines for _, value in points)])
    frame = Frame(230, 150, (0, x_top), (0, nice_top(top)), left=32, bottom=32)
    parts = [axes(frame, x_label, "")]
    last = max(1, len(lines) - 1)
    for place, (k, points) in enumerate(lines):
        step = round(place * 5 / last)
        path = polyline([frame.place(point) for point in points])
        parts.append(
            f'<g class="k{step}"><title>R@{k}: '
            f"{', '.join(f'{y:.0f} % at {x:g}' for x, y in points)}</title>"
            f'<path class="line" d="{path}"/></g>'
        )
    return picture(frame, title, "".join(parts), "chart small")


@dataclass(frozen=True)
class Dot:
    """A model in a scatter.

    Attributes:
        number: Its place in the legend.
        label: Its name.
        at: Accuracy and robustness, in percent.
        hollow: Drawn open.
    """

    number: int
    label: str
    at: Point
    hollow: bool


def scatter(title: str, dots: Sequence[Dot], front: Sequence[Point]) -> str:
    """Accuracy against robustness with the Pareto front as a stair."""
    x_top = nice_top(max(dot.at[0] for dot in dots))
    y_top = max(100.0, nice_top(max(dot.at[1] for dot in dots)))
    frame = Frame(560, 340, (0, x_top), (0, y_top), right=20, top=16)
    parts = [axes(frame, "accuracy: recall with nothing blocked, %", "robustness: area, %")]
    if front:
        stair = [(0.0, front[0][1])]
        for place, point in enumerate(front):
            stair.append(point)
            below = front[place + 1][1] if place + 1 < len(front) else 0.0
            stair.append((point[0], below))
        parts.append(f'<path class="front" d="{polyline([frame.place(p) for p in stair])}"/>')
    places = [frame.place(dot.at) for dot in dots]
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in places]
    for dot, spot in zip(dots, places, strict=True):
        anchor, box = _label_place(spot, dot.label, taken, frame)
        taken.append(box)
        hollow = " hollow" if dot.hollow else ""
        told = f"{dot.label}: accuracy {dot.at[0]:.1f} %, robustness {dot.at[1]:.0f} %"
        parts.append(
            f'<g class="s{dot.number % COLOURS}" data-m="{dot.number}">'
            f"<title>{escape(told)}</title>"
            f'<path class="mark{hollow}" d="{marker(dot.number, spot, 4.5)}"/>'
            f"{_text(anchor, dot.label, css='dot-name')}</g>"
        )
    return picture(frame, title, "".join(parts), "chart wide")


Box = tuple[float, float, float, float]


def _label_place(at: Point, label: str, taken: Sequence[Box], frame: Frame) -> tuple[Point, Box]:
    """Where a label overlaps least: tried around its point, then further away."""
    width = CHARACTER * len(label)
    best: tuple[float, Point, Box] | None = None
    for far in (0, 12, 24):
        for dx, dy in ((8, 4), (-width - 8, 4), (-width / 2, -9 - far), (-width / 2, 17 + far)):
            x, y = at[0] + dx, at[1] + dy + (far if dx in (8, -width - 8) else 0)
            box = (x, y - 10, x + width, y + 2)
            cost = float(far) + sum(_overlap(box, other) for other in taken)
            cost += 1000 * (
                max(0.0, box[2] - frame.width)
                + max(0.0, frame.left - box[0])
                + max(0.0, -box[1])
                + max(0.0, box[3] - (frame.height - frame.bottom))
            )
            if best is None or cost < best[0] - 1e-9:
                best = cost, (x, y), box
    assert best is not None
    return best[1], best[2]


def _overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0


def interval_bar(value: float, low: float, high: float, threshold: float, scale: Point) -> str:
    """One estimate with its interval and what it is compared with; the numbers stand beside it."""
    frame = Frame(160, 18, scale, (0, 1), left=4, right=4, top=0, bottom=0)
    (x, _), (start, _), (end, _), (line, _) = (
        frame.place((at, 0.5)) for at in (value, low, high, threshold)
    )
    return (
        f'<svg class="bar s0" viewBox="0 0 160 18" width="160" height="18" aria-hidden="true">'
        f'<path class="threshold" d="M{number(line)} 0V18"/>'
        f'<path class="line" d="M{number(start)} 9H{number(end)}"/>'
        f'<path class="mark" d="{_circle((x, 9), 3.5)}"/></svg>'
    )
