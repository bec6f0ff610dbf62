"""The gallery: what an encoder was shown, every occluder at every level, as one picture.

It shows radiographs of the corpus. Nothing makes it unless it is asked for by name, it is part of
no results document, and it names no radiograph.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.corpora.base import Radiograph
from pytest_occlusion.engine.drawing import unusable
from pytest_occlusion.engine.session import Session
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.occlusion.levels import level_text
from pytest_occlusion.reporting.contact_sheet import Tile, draw_sheet

if TYPE_CHECKING:
    import torch
    from PIL import Image

COUNT = 2
"""Radiographs on a sheet, where nobody says."""

SIDE = 160
"""Side of a tile in pixels."""


def chosen_rows(session: Session, keys: Sequence[str], *, count: int, seed: int) -> list[int]:
    """Positions in the corpus of the radiographs to show.

    Args:
        session: Whose corpus.
        keys: Keys of radiographs as the corpus has them; empty for a random choice.
        count: How many to choose where no key is given.
        seed: Of the choice.

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

    Args:
        session: Corpus and settings: occluders, their levels, fill and the first mask seed.
        model: Whose preprocessing.
        rows: From :func:`chosen_rows`.

    Raises:
        OcclusionError: The model cannot be opened, or radiographs cannot be decoded (all of them,
            listed).
    """
    grid = session.settings.grid
    radiographs = session.corpus.chosen(rows)
    columns = max(len(grid.levels(occluder)) for occluder in grid.occluders)
    tiles: list[Tile] = []
    canvases = _canvases(session, model, radiographs)
    for number, (radiograph, canvas) in enumerate(zip(radiographs, canvases, strict=True), 1):
        for occluder in grid.occluders:
            row = _row(session, canvas, radiograph.key, occluder)
            tiles += [(f"{number} {occluder} {level}", shown) for level, shown in row]
            # There need not be as many severities as ratios; each row starts on the left.
            tiles += [("", np.zeros((1, 1), np.uint8))] * (columns - len(row))
    return draw_sheet(tiles, columns=columns, side=SIDE)


def _canvases(session: Session, model: str, radiographs: Sequence[Radiograph]) -> NDArray[np.uint8]:
    """What the model is shown with nothing blocked: uint8 ``[N, C, H, W]``."""
    recipe = session.encoder(model).canvas
    canvases, faults = session.decoders.draw(recipe, radiographs, lambda count: None)
    if faults:
        raise unusable(
            session.corpus.name, faults, remedy="fetch these files again, or choose others"
        )
    return canvases


def _row(session: Session, canvas: NDArray[np.uint8], key: str, occluder: str) -> list[Tile]:
    """One canvas uint8 ``[C, H, W]`` at every level, as the pipeline would show it, in grey.

    The captions are the levels.
    """
    import torch

    from pytest_occlusion.occlusion import prepare

    settings = session.settings
    prepared = prepare(
        torch.from_numpy(canvas)[None],
        name=occluder,
        fill=settings.fill,
        keys=[key],
        seed=settings.seeds[0],
    )
    return [
        (level_text(occluder, level), _grey(prepared.at(level)[0]))
        for level in settings.grid.levels(occluder)
    ]


def _grey(pixels: torch.Tensor) -> NDArray[np.uint8]:
    """uint8 ``[C, H, W]`` -> uint8 ``[H, W]``, the mean of the channels."""
    import torch

    grey: NDArray[np.uint8] = pixels.float().mean(dim=0).round().to(torch.uint8).numpy()
    return grey
