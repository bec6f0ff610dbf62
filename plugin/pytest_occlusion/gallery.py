"""The gallery: what an encoder was shown, every occluder at every ratio, as one picture.

It shows radiographs of the corpus. Nothing makes it unless it is asked for by name, it is part of
no results document, and it names no radiograph.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_occlusion.contact_sheet import draw_sheet
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.session import Session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
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
    """Draw the sheet: per radiograph a row for every occluder, a column for every ratio.

    Args:
        session: Corpus and settings: occluders, ratios, fill and the first mask seed.
        model: Whose preprocessing.
        rows: From :func:`chosen_rows`.

    Raises:
        OcclusionError: The model or a radiograph cannot be opened.
    """
    from pytest_occlusion.corpora.images import ImageFault

    recipe, grid = session.encoder(model).canvas, session.settings.grid
    tiles: list[tuple[str, NDArray[np.uint8]]] = []
    for number, row in enumerate(rows, 1):
        radiograph = session.corpus.radiographs[row]
        try:
            canvas = recipe.draw(radiograph.open())
        except ImageFault as fault:
            raise OcclusionError(
                f"{radiograph.where}: {fault.reason}", remedy="fetch it again, or choose another"
            ) from None
        for occluder in grid.occluders:
            for ratio in grid.ratios:
                shown = _shown(session, canvas, radiograph.key, occluder, ratio)
                tiles.append((f"{number} {occluder} {round(100 * ratio, 2):g} %", shown))
    return draw_sheet(tiles, columns=len(grid.ratios), side=SIDE)


def _shown(
    session: Session, canvas: NDArray[np.uint8], key: str, occluder: str, ratio: float
) -> NDArray[np.uint8]:
    """What the pipeline would show, in grey: uint8 ``[H, W]``."""
    import numpy as np
    import torch

    from pytest_occlusion.occlusion import occlude

    settings = session.settings
    pixels = occlude(
        torch.from_numpy(np.array(canvas))[None],
        ratio=ratio,
        occluder=occluder,
        fill=settings.fill,
        seed=settings.seeds[0],
        keys=[key],
    )
    grey: NDArray[np.uint8] = pixels[0].float().mean(dim=0).round().to(torch.uint8).numpy()
    return grey
