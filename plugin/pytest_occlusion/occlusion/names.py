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

CORRUPTIONS: dict[str, str] = {
    "gaussian-noise": "grey noise of every pixel",
    "blur": "a Gaussian blur",
    "motion-blur": "a streak at a random angle",
    "jpeg": "compression",
    "contrast": "less contrast",
    "brightness": "more brightness",
    "down-sampling": "coarse pixels",
    "rotation": "a turn to a random side",
}
"""Corruption name -> what it does. In a grid they stand where occluders do, but their level is a
severity from 0 to 5 and not a blocked share."""
