"""Annotation files: R2Gen's ``annotation.json``, its kin, and the test files of ReXrank.

R2Gen's hold a list of studies (or images) for each split, ReXrank's an object of studies. Both name
their images below a folder of their own. Counts and quirks were read in the files themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_occlusion.corpora.base import Corpus, Request
from pytest_occlusion.corpora.files import first_place, is_folder, read_json
from pytest_occlusion.corpora.options import read_options
from pytest_occlusion.corpora.records import Choice, Collection, build_corpus, rows_of_records
from pytest_occlusion.corpora.tables import Fault
from pytest_occlusion.corpora.words import text_of
from pytest_occlusion.errors import OcclusionError

EXAMPLE = "annotations:annotation.json?split=test&images=FOLDER"
_PATIENT = re.compile(r"CXR\d+|patient\d+", re.ASCII)
FOLDERS = ("images", "files", ".")
"""Where the images lie beside the file, if nothing is said: R2Gen's, MIMIC-CXR's."""


@dataclass(frozen=True)
class AnnotationOptions(Choice):
    """The folder that paths of images start from."""

    images: Path | None = None


def load(asked: Request) -> Corpus:
    """Read the studies of an annotation file in its order.

    Raises:
        OcclusionError: A missing or damaged file, or one of another kind; faulty studies, missing
            or unreadable images (listed).
    """
    file, options = read_options(asked, AnnotationOptions, EXAMPLE, needs="file")
    if options.images is not None and not is_folder(options.images):
        remedy = "images= names the folder that paths of the file start from"
        raise OcclusionError(f"{options.images}: no such folder", remedy=remedy)
    usual = (file.parent / name for name in FOLDERS)
    root = options.images or first_place(None, usual, "") or file.parent
    faults: list[Fault] = []
    records = [*_records(read_json(file), file)]
    rows = rows_of_records(records, faults, str(file), keep=options.keep)
    given = Collection("annotations", file, root, rows, faults)
    return build_corpus(asked, given, options)


def _records(content: object, file: Path) -> Iterator[Mapping[str, Any]]:
    """The studies of a file, by what their fields are for."""
    entries = [*content.items()] if isinstance(content, dict) else []
    listed = any(isinstance(value, list) for _, value in entries)
    if listed:
        lists = [(split, ones) for split, ones in entries if isinstance(ones, list)]
        entries = [(split, one) for split, ones in lists for one in ones]
    if not any(isinstance(one, dict) and "image_path" in one for _, one in entries):
        raise OcclusionError(
            f"{file}: no annotation file",
            remedy='R2Gen\'s have lists of studies under "train", "val" and "test", ReXrank\'s an '
            'object of studies, each with "image_path"',
        )
    read = _of_r2gen if listed else _of_rexrank
    for key, one in entries:  # one that is odd is a row like others, with a fault
        yield read(key, {"image_path": [], **one} if isinstance(one, dict) else {"image_path": []})


def _paths(one: Mapping[str, Any]) -> list[Any]:
    """Below the folder of images: ReXrank's begin with a slash where MIMIC-CXR's do."""
    paths = one["image_path"] if isinstance(one["image_path"], list) else [one["image_path"]]
    return [path.lstrip("/") if isinstance(path, str) else path for path in paths]


def _patient_of(key: str) -> str | None:
    """The patient in the name of a study: ``CXR12_IM-0034`` is of ``CXR12``."""
    found = _PATIENT.search(key)
    return found[0] if found else None


def _of_r2gen(split: str, one: Mapping[str, Any]) -> dict[str, Any]:
    """A study of IU X-ray with its two images, or one image of MIMIC-CXR.

    The split is the study's own: a copy in use has blanks where the list is called ``test``.
    """
    paths = _paths(one)
    key = str(one.get("id", ""))
    whole = "study_id" not in one
    return {
        **one,
        "image": paths,
        "radiograph": paths if whole else [key],
        "study": key if whole else one["study_id"],
        "patient": one.get("subject_id") or _patient_of(key),
        "split": one.get("split") or split,
        "findings": None,
        "impression": None,
    }


def _of_rexrank(key: str, one: Mapping[str, Any]) -> dict[str, Any]:
    """A study; its sections are its texts, since the report has the names of sections in it.

    Views are parallel to the images in the files of MIMIC-CXR and CheXpert Plus. In those of IU
    X-ray they are not, and the key image alone is known to be the frontal one.
    """
    paths = _paths(one)
    key_image = str(one.get("key_image_path", "")).lstrip("/")
    sides, kinds = one.get("frontal_lateral"), one.get("ap_pa")
    views: list[Any] = ["frontal" if path == key_image else None for path in paths]
    if not key.startswith("CXR") and isinstance(sides, list) and len(sides) == len(paths):
        views = sides
        if isinstance(kinds, list) and len(kinds) == len(paths):
            views = [text_of(kind) or side for kind, side in zip(kinds, sides, strict=True)]
    return {
        **one,
        "image": paths,
        "radiograph": paths,
        "view": views,
        "study": key,
        "patient": one.get("subject_id") or _patient_of(key),
        "report": None,
        "findings": one.get("section_findings"),
        "impression": one.get("section_impression"),
    }
