"""The gallery: what an encoder was shown, every occluder at every level, as one contact sheet.

It shows radiographs of the corpus. Nothing makes it unless it is asked for by name, it is part of
no results document, and it names no radiograph.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from pytest_occlusion.engine.drawing import unusable
from pytest_occlusion.engine.session import Session
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.occlusion.levels import level_text

SIDE = 160
"""Side of a tile in pixels."""

CAPTION = 14
"""Pixels above a tile for its caption."""

Tile = tuple[str, NDArray[np.uint8]]
"""A caption, and grey levels uint8 ``[H, W]``."""


def chosen_rows(session: Session, keys: Sequence[str], *, count: int, seed: int) -> list[int]:
    """Positions in the corpus of these radiographs, or of so many chosen at random.

    Raises:
        OcclusionError: A key that the corpus does not have, or a count below 1.
    """
    queries = session.task.radiographs.tolist()
    if not keys:
        if count < 1:
            raise OcclusionError(f"--count {count}: nothing to show", remedy="ask for 1 or more")
        return random.Random(seed).sample(queries, min(count, len(queries)))  # noqa: S311
    known = {one.key: row for row, one in enumerate(session.corpus.radiographs)}
    unknown = [key for key in keys if key not in known]
    if unknown:
        raise OcclusionError(
            f"the corpus {session.corpus.name!r} has no radiograph {', '.join(unknown)}",
            remedy="give keys as the corpus has them (a manifest's image column, a DICOM id), or "
            "leave --key out",
        )
    return [known[key] for key in keys]


def gallery(session: Session, model: str, rows: Sequence[int]) -> Image.Image:
    """Draw the sheet: per radiograph a row for every occluder, a column for every level.

    Masks are those of the session's first seed, the preprocessing is the model's.

    Raises:
        OcclusionError: The model cannot be opened, or radiographs cannot be decoded (all of them,
            listed).
    """
    grid, radiographs = session.settings.grid, session.corpus.chosen(rows)
    recipe = session.encoder(model).canvas
    canvases, faults = session.decoders.draw(recipe, radiographs, lambda count: None)
    if faults:
        remedy = "fetch these files again, or choose others"
        raise unusable(session.corpus.name, faults, remedy=remedy)
    columns = max(len(grid.levels(occluder)) for occluder in grid.occluders)
    tiles: list[Tile] = []
    for number, (radiograph, canvas) in enumerate(zip(radiographs, canvases, strict=True), 1):
        for occluder in grid.occluders:
            row = [
                (f"{number} {occluder} {level}", shown)
                for level, shown in _shown(session, canvas, radiograph.key, occluder)
            ]
            # There need not be as many severities as ratios; each row starts on the left.
            tiles += [*row, *[("", np.zeros((1, 1), np.uint8))] * (columns - len(row))]
    return draw_sheet(tiles, columns=columns, side=SIDE)


def _shown(session: Session, canvas: NDArray[np.uint8], key: str, occluder: str) -> Iterator[Tile]:
    """One canvas uint8 ``[C, H, W]`` at every level: its name, and the mean of the channels."""
    import torch

    from pytest_occlusion.occlusion import prepare

    settings, pixels = session.settings, torch.from_numpy(canvas)[None]
    fill, seed = settings.fill, settings.seeds[0]
    prepared = prepare(pixels, name=occluder, fill=fill, keys=[key], seed=seed)
    for level in settings.grid.levels(occluder):
        grey = prepared.at(level)[0].float().mean(dim=0).round().to(torch.uint8)
        yield level_text(occluder, level), grey.numpy()


def draw_sheet(tiles: Sequence[Tile], *, columns: int, side: int) -> Image.Image:
    """Lay small pictures out row by row, ``side`` pixels each, with their captions above them."""
    rows = -(-len(tiles) // columns)
    sheet = Image.new("L", (columns * side, rows * (side + CAPTION)))
    draw = ImageDraw.Draw(sheet)
    for number, (caption, pixels) in enumerate(tiles):
        left, top = number % columns * side, number // columns * (side + CAPTION)
        tile = Image.fromarray(pixels)
        sheet.paste(tile.resize((side, side), Image.Resampling.BICUBIC), (left, top + CAPTION))
        draw.text((left + 2, top + 1), caption, fill=255)
    return sheet
