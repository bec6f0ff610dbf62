"""The names that users write, readable without importing torch."""

from __future__ import annotations

OCCLUDERS: dict[str, str] = {
    "block": "one square at a random place",
    "patches": "random cells of a 14 x 14 grid (16 px on a 224 px canvas)",
    "pixels": "scattered single pixels",
    "center": "one square in the middle",
    "border": "all but a square in the middle",
}
"""Occluder name -> what it blocks."""

FILLS: dict[str, str] = {
    "black": "the lowest value",
    "white": "the highest value",
    "mean": "the mean of the canvas, per channel",
    "noise": "uniform grey noise, one value per pixel",
}
"""Fill name -> what blocked pixels are replaced by."""
