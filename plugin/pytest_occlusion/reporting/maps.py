"""What pages, figures and the terminal say of sensitivity maps, taken out of a results document."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_occlusion.reporting.reading import MAP_QUANTITIES
from pytest_occlusion.suite.grid import MAIN_OCCLUDER

Results = Mapping[str, Any]

PERCENT = 100.0


@dataclass(frozen=True)
class Unit:
    """How a loss is shown.

    Attributes:
        title: Heading, with ``{k}`` for the list length.
        scale: Factor from the document's numbers.
        digits: Behind the point.
    """

    title: str
    scale: float
    digits: int


UNITS: Mapping[str, Unit] = {
    "similarity": Unit("similarity lost", 1.0, 3),
    "rank": Unit("places lost in the ranking", 1.0, 1),
    "recall": Unit("R@{k} lost, points", PERCENT, 1),
}


@dataclass(frozen=True)
class Place:
    """One placement and its mean loss, in the unit it is shown in.

    Attributes:
        row: From the top, counted from 1.
        column: From the left, counted from 1.
        value: Mean loss.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

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
    """One view's map of one quantity.

    Attributes:
        model: Its model.
        view: Its view.
        quantity: One of ``MAP_QUANTITIES``.
        title: What is lost, for people.
        digits: Behind the point.
        grid: Placements per side.
        places: Row by row from the top left.
        picture: The mean radiograph: width, height and grey levels in base64, or ``None``.
    """

    model: str
    view: str
    quantity: str
    title: str
    digits: int
    grid: int
    places: tuple[Place, ...]
    picture: Mapping[str, Any] | None

    @property
    def peak(self) -> Place:
        """Where most is lost; the first of equal ones."""
        return max(self.places, key=lambda place: place.value)

    def shown(self, value: float) -> str:
        """A loss with its digits, without a sign on zero."""
        text = f"{value:.{self.digits}f}"
        return text if float(text) else text.lstrip("-")

    def told(self, place: Place) -> str:
        """A loss with its interval."""
        return f"{self.shown(place.value)} [{self.shown(place.low)}, {self.shown(place.high)}]"


def maps_of(record: Mapping[str, Any], view: Mapping[str, Any]) -> list[Map]:
    """The maps of one view of one record, a quantity each."""
    found = []
    for quantity in MAP_QUANTITIES:
        unit, losses = UNITS[quantity], view["losses"][quantity]
        numbers = zip(losses["value"], losses["low"], losses["high"], strict=True)
        grid = record["grid"]
        places = tuple(
            Place(at // grid + 1, at % grid + 1, *(unit.scale * one for one in three))
            for at, three in enumerate(numbers)
        )
        title = unit.title.format(k=record["k"])
        found.append(
            Map(
                record["model"],
                view["view"],
                quantity,
                title,
                unit.digits,
                grid,
                places,
                view["picture"],
            )
        )
    return found


def tile_text(record: Mapping[str, Any]) -> str:
    """Grid and tile in words."""
    grid, share = record["grid"], f"{PERCENT * record['ratio']:.2g}"
    return f"{grid} x {grid} places, {share} % of the image each"


@dataclass(frozen=True)
class Line:
    """Recall in percent over the blocked share, from nothing blocked on.

    Attributes:
        name: What was placed how.
        points: (blocked share, recall, low, high), all in percent.
    """

    name: str
    points: tuple[tuple[float, float, float, float], ...]


PLACED = {
    "mean": "mean over the places",
    "worst_similarity": "worst place by similarity",
    "worst_rank": "worst place by rank",
}


def placement_lines(results: Results, record: Mapping[str, Any]) -> list[Line]:
    """Recall with the tile at random, and at the worst place of each radiograph.

    Where the run measured the random block at the same shares, its curve comes first.
    """
    whole = (0.0, *(PERCENT * record["whole"][name] for name in ("value", "low", "high")))
    lines = []
    shares = {one["ratio"] for one in record["placements"]}
    blocks = sorted(
        (PERCENT * cell["ratio"], *(PERCENT * cell[n] for n in ("recall", "ci_low", "ci_high")))
        for cell in results["cells"]
        if cell["model"] == record["model"]
        and cell["occluder"] == MAIN_OCCLUDER
        and cell["direction"] == record["direction"]
        and cell["k"] == record["k"]
        and cell["ratio"] in shares
    )
    if blocks:
        lines.append(Line("block anywhere", (whole, *blocks)))
    for name, text in PLACED.items():
        points = [
            (PERCENT * one["ratio"], *(PERCENT * one[name][n] for n in ("value", "low", "high")))
            for one in record["placements"]
        ]
        lines.append(Line(text, (whole, *points)))
    return lines


def chance_of(results: Results, record: Mapping[str, Any]) -> float | None:
    """Recall of a random ranking at the record's k, in percent, where the run knows it."""
    found = (
        PERCENT * cell["chance"]
        for cell in results["cells"]
        if (cell["model"], cell["direction"], cell["k"])
        == (record["model"], record["direction"], record["k"])
    )
    return next(found, None)


def grey_levels(picture: Mapping[str, Any]) -> bytes:
    """The pixels of a mean radiograph, row by row."""
    return base64.b64decode(picture["grey"])


def png_of(picture: Mapping[str, Any]) -> bytes:
    """A mean radiograph as an 8-bit grey PNG file, without anything that varies."""
    width, height = picture["width"], picture["height"]
    pixels = grey_levels(picture)
    rows = [b"\0" + pixels[at : at + width] for at in range(0, width * height, width)]
    head = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(b"".join(rows), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def summary_lines(maps: Sequence[Mapping[str, Any]]) -> list[tuple[str, bool]]:
    """(text, whether it is a heading) for the terminal, within 80 columns.

    Args:
        maps: The records of a document.
    """
    lines: list[tuple[str, bool]] = []
    for record in maps:
        lines.append((f"{record['model']} - map: {tile_text(record)}", True))
        for view in record["views"]:
            lines.append(
                (f"{view['view']}, {view['queries']:,} radiographs, most is lost at", False)
            )
            for one in maps_of(record, view):
                peak = one.peak
                where = f"row {peak.row}, column {peak.column}"
                lines.append((f"  {where:<18}{one.title}: {one.told(peak)}", False))
        whole = PERCENT * record["whole"]["value"]
        for one in record["placements"]:
            mean, worst = one["mean"], one["worst_similarity"]
            lines.append(
                (
                    f"R@{record['k']} {whole:.1f} % whole; {PERCENT * one['ratio']:.2g} % blocked: "
                    f"{PERCENT * mean['value']:.1f} on average, "
                    f"{PERCENT * worst['value']:.1f} [{PERCENT * worst['low']:.1f}, "
                    f"{PERCENT * worst['high']:.1f}] at worst",
                    False,
                )
            )
    return lines
