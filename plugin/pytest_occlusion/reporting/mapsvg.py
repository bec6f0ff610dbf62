"""Sensitivity maps as SVG: the mean radiograph, over it the loss of every place.

Colours are classes, so that the page's themes reach them. What the interval leaves certain has a
dot and the place of the largest loss a frame, so that nothing is told by colour alone.
"""

from __future__ import annotations

import base64
from html import escape

from pytest_occlusion.reporting.maps import Map, Place, png_of
from pytest_occlusion.reporting.svg import number

SIDE = 240
"""Of the drawing, in its own units."""

STEPS = 8
"""Strengths of the two colours in the style sheet."""


def strength(value: float, top: float) -> str:
    """Class of a place: ``hot`` where blocking hurts, ``cold`` where it helps, by an eighth."""
    if top <= 0 or value == 0:
        return ""
    step = min(STEPS, round(STEPS * abs(value) / top))
    return f"{'hot' if value > 0 else 'cold'}{step}" if step else ""


def map_chart(one: Map) -> str:
    """One view's map of one quantity.

    Args:
        one: The map; its places are drawn over its picture, or over plain ground.
    """
    height = SIDE
    if one.picture is not None:
        height = round(SIDE * one.picture["height"] / one.picture["width"])
    across, down = SIDE / one.grid, height / one.grid
    top = max(abs(place.value) for place in one.places)
    parts = [f'<rect class="film" width="{SIDE}" height="{height}"/>']
    if one.picture is not None:
        data = base64.b64encode(png_of(one.picture)).decode()
        parts.append(
            f'<image width="{SIDE}" height="{height}" preserveAspectRatio="none" '
            f'href="data:image/png;base64,{data}"/>'
        )
    for place in one.places:
        parts.append(_place(one, place, across, down, top))
    peak = one.peak
    if peak.value > 0:
        parts.append(
            f'<rect class="peak" x="{number((peak.column - 1) * across)}" '
            f'y="{number((peak.row - 1) * down)}" width="{number(across)}" '
            f'height="{number(down)}"/>'
        )
    told = (
        f"{one.title}, {one.model}, {one.view}: most at row {peak.row}, column {peak.column}, "
        f"{one.told(peak)}; the numbers are in the table below"
    )
    return (
        f'<svg class="map" viewBox="0 0 {SIDE} {height}" role="img" aria-label="{escape(told)}">'
        f"{''.join(parts)}</svg>"
    )


def _place(one: Map, place: Place, across: float, down: float, top: float) -> str:
    css = strength(place.value, top)
    left, upper = (place.column - 1) * across, (place.row - 1) * down
    parts = f"<title>row {place.row}, column {place.column}: {one.told(place)}</title>"
    box = f'x="{number(left)}" y="{number(upper)}" width="{number(across)}" height="{number(down)}"'
    parts += f'<rect class="{css or "none"}" {box}/>'
    if place.certain and one.grid <= 16:
        middle = number(left + across / 2), number(upper + down / 2)
        parts += f'<circle class="sure" cx="{middle[0]}" cy="{middle[1]}" r="1.6"/>'
    return f"<g>{parts}</g>"
