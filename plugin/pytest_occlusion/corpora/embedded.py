"""The corpus that needs no data: 994 synthetic studies, 1,770 phantom radiographs."""

from __future__ import annotations

import hashlib
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from pytest_occlusion.corpora.base import Corpus, Radiograph, Study

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from pytest_occlusion_fixtures.findings import SyntheticStudy


def load_embedded(size: int = 128) -> Corpus:
    """List the synthetic evaluation studies; pictures are drawn when they are opened.

    Args:
        size: Side of the phantom radiographs, in pixels.

    Returns:
        994 studies with their written reports and 1,770 square radiographs of mode ``L``.
    """
    from pytest_occlusion_fixtures.digest import generator_digest
    from pytest_occlusion_fixtures.grammar import write_report
    from pytest_occlusion_fixtures.sampler import evaluation_studies

    digest = generator_digest()
    studies: list[Study] = []
    radiographs: list[Radiograph] = []
    for position, synthetic in enumerate(evaluation_studies()):
        written = write_report(synthetic)
        studies.append(
            Study(
                key=synthetic.key,
                patient=synthetic.patient_key,
                report=written.text,
                findings=written.findings,
                impression=written.impression,
            )
        )
        for view_index, view in enumerate(synthetic.views):
            identity = f"{digest}/{synthetic.seed}/{synthetic.index}/{view_index}/{size}"
            radiographs.append(
                Radiograph(
                    key=f"{synthetic.key}/{view_index}",
                    study=position,
                    view=view,
                    content=hashlib.sha256(identity.encode()).hexdigest(),
                    where=f"radiograph {len(radiographs) + 1}",
                    open=partial(
                        open_phantom, synthetic.seed, synthetic.index, view_index, size=size
                    ),
                )
            )
    return Corpus(
        name="embedded",
        studies=tuple(studies),
        radiographs=tuple(radiographs),
        notes=(
            "Synthetic studies drawn on this machine: they compare models, weights and "
            "environments; they say nothing about patients.",
        ),
        fields={
            "studies": len(studies),
            "radiographs": len(radiographs),
            "patients": len({study.patient for study in studies}),
            "generator": digest[:16],
        },
    )


KEPT = 2048
"""Phantoms that a process keeps: the whole corpus, 29 MB at 128 px. Drawing one takes ten times as
long as making a canvas of it, and every model with a canvas of its own asks for all of them."""


def open_phantom(seed: int, index: int, view_index: int, *, size: int) -> Image.Image:
    """Draw one radiograph of a sampled study as an 8-bit grey PIL image."""
    from PIL import Image

    return Image.fromarray(_drawn(seed, index, view_index, size))


@lru_cache(maxsize=KEPT)
def _drawn(seed: int, index: int, view_index: int, size: int) -> NDArray[np.uint8]:
    from pytest_occlusion_fixtures.phantom import draw_radiograph
    from pytest_occlusion_fixtures.sampler import sample_study

    return draw_radiograph(sample_study(seed, index), view_index, size=size)


def draw_phantom(study: SyntheticStudy, view_index: int, *, size: int) -> Image.Image:
    """Draw one radiograph of any synthetic study as an 8-bit grey PIL image."""
    from PIL import Image

    from pytest_occlusion_fixtures.phantom import draw_radiograph

    return Image.fromarray(draw_radiograph(study, view_index, size=size))
