"""ReXGradient-160K: metadata of studies, one JSON file for each split, and 16-bit pictures.

The files are ``metadata/*_metadata_view_position.json``; the tables beside them name no pictures.
Readers of others stretch each picture from its darkest to its brightest pixel; here it is scaled
by the depth in use (:mod:`.images`), so that pictures are darker than theirs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_occlusion.corpora.base import Corpus, Request
from pytest_occlusion.corpora.files import needs_folder, read_json
from pytest_occlusion.corpora.options import read_options
from pytest_occlusion.corpora.records import Choice, Collection, build_corpus, rows_of_records
from pytest_occlusion.corpora.tables import Fault
from pytest_occlusion.corpora.words import split_of
from pytest_occlusion.errors import OcclusionError

EXAMPLE = "rexgradient:ROOT?split=test&views=frontal"
ENDING = "_metadata_view_position.json"
ATTRIBUTES = ("sex", "age")
_AGE = re.compile(r"0*(\d+)Y", re.ASCII)


@dataclass(frozen=True)
class ReXGradientOptions(Choice):
    """As of any collection; sex and age are kept without being asked for."""

    keep: tuple[str, ...] = ATTRIBUTES


def load(asked: Request) -> Corpus:
    """Read the studies with findings or an impression, split by split.

    Raises:
        OcclusionError: Missing or damaged files, faulty studies, missing or unreadable images.
    """
    root, options = read_options(asked, ReXGradientOptions, EXAMPLE, needs="folder")
    remedy = f"ROOT is the folder that holds metadata/*{ENDING} and deid_png/"
    needs_folder(root, remedy)
    folder = root / "metadata"
    found = sorted(folder.glob(f"*{ENDING}"))
    files = {split_of(file.name.removesuffix(ENDING)): file for file in found}
    if len(files) < len(found):
        names = ", ".join(file.name for file in found)
        raise OcclusionError(f"{folder}: two files of one split: {names}", remedy="remove one")
    if not files:
        raise OcclusionError(f"{folder}: there is no *{ENDING}", remedy=remedy)
    if options.split and split_of(options.split) not in files:
        known = f"known: {', '.join(sorted(files))}"
        raise OcclusionError(f"{folder}: no split {options.split!r}", remedy=known)
    chosen = [split_of(options.split)] if options.split else sorted(files)
    records = [record for split in chosen for record in _records(files[split], split)]
    faults: list[Fault] = []
    rows = rows_of_records(records, faults, str(folder), keep=options.keep)
    place = files[chosen[0]] if len(chosen) == 1 else folder
    return build_corpus(asked, Collection("rexgradient", place, root, rows, faults), options)


def _records(file: Path, split: str) -> Iterator[Mapping[str, Any]]:
    content = read_json(file)
    if not isinstance(content, dict) or not all(isinstance(one, dict) for one in content.values()):
        raise OcclusionError(f"{file}: no object of studies", remedy="fetch the file again")
    for key, one in content.items():
        paths = one.get("ImagePath") or []
        paths = paths if isinstance(paths, list) else [paths]
        # They start at the folder of the file: ../deid_png/...
        names = [os.path.normpath(f"metadata/{path}") for path in paths]
        age = str(one.get("PatientAge") or "")
        found = _AGE.fullmatch(age)
        yield {
            **one,
            "image": names,
            "radiograph": names,
            "view": one.get("ImageViewPosition"),
            "study": key,
            "patient": one.get("PatientID"),
            "split": split,
            "findings": one.get("Findings"),
            "impression": one.get("Impression"),
            "sex": one.get("PatientSex"),
            "age": found[1] if found else age,
        }
