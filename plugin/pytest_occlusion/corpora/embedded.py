"""The corpus that needs no data: 994 synthetic studies, 1,770 phantom radiographs."""

from __future__ import annotations

import hashlib
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from pytest_occlusion.corpora.base import Attributes, Corpus, Request, Study
from pytest_occlusion.corpora.labels import OWN, SEPARATOR
from pytest_occlusion.corpora.options import no_splits
from pytest_occlusion.corpora.radiographs import Wanted, grouped
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from pytest_occlusion_fixtures.findings import SyntheticStudy

NOTE = (
    "Synthetic studies drawn on this machine: they compare models, weights and environments; they "
    "say nothing about patients."
)


def load(asked: Request) -> Corpus:
    """The corpus; it takes no path and no options."""
    if asked.place:
        remedy = "the embedded corpus takes no path: 'embedded'"
        raise OcclusionError(f"corpus 'embedded:{asked.place}'", remedy=remedy)
    if asked.split:
        raise no_splits("embedded", asked.split)
    return load_embedded()


def load_embedded(size: int = 128) -> Corpus:
    """List the synthetic evaluation studies; pictures of this side are drawn when opened."""
    from pytest_occlusion_fixtures.digest import generator_digest
    from pytest_occlusion_fixtures.grammar import write_report
    from pytest_occlusion_fixtures.sampler import evaluation_studies

    digest = generator_digest()
    wanted: list[Wanted] = []
    contents, opens = [], []
    for made in evaluation_studies():
        report = write_report(made)
        text = report.text, report.findings, report.impression
        study = Study(made.key, made.patient_key, *text)
        for at, view in enumerate(made.views):
            where = f"radiograph {len(wanted) + 1}"
            wanted.append(Wanted(f"{made.key}/{at}", study, view, where, attributes=_known(made)))
            identity = f"{digest}/{made.seed}/{made.index}/{at}/{size}"
            contents.append(hashlib.sha256(identity.encode()).hexdigest())
            opens.append(partial(open_phantom, made.seed, made.index, at, size=size))
    studies, radiographs = grouped(wanted, contents, opens)
    return Corpus(
        name="embedded",
        studies=studies,
        radiographs=radiographs,
        notes=(NOTE,),
        fields={
            "studies": len(studies),
            "radiographs": len(radiographs),
            "patients": len({study.patient for study in studies}),
            "generator": digest[:16],
        },
    )


def _known(made: SyntheticStudy) -> Attributes:
    """Who was drawn, and what was."""
    seen = SEPARATOR.join(dict.fromkeys(one.kind for one in made.findings)) or "no finding"
    return (("sex", made.patient.sex), ("age", str(made.patient.age)), (OWN, seen))


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
