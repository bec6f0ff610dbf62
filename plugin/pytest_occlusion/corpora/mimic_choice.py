"""What a user asks of MIMIC-CXR: the options of a corpus specification, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pytest_occlusion.corpora.choices import (
    MAX_PIXELS,
    check_value,
    read_allowance,
    read_max_pixels,
    split_options,
)
from pytest_occlusion.corpora.images import LARGEST
from pytest_occlusion.corpora.paths import expanded
from pytest_occlusion.errors import OcclusionError

NAME = "mimic-cxr"
SPLITS = ("train", "validate", "test")
DEFAULT_SPLIT = "validate"
VIEWS: dict[str, tuple[str, ...] | None] = {"all": None, "frontal": ("PA", "AP")}
"""Value of ``views`` -> ViewPositions that are kept; ``None`` keeps every one."""

PER_STUDY = ("all", "one")
IMAGES = {"auto": (".jpg", ".dcm"), "jpg": (".jpg",), "dicom": (".dcm",)}
"""Value of ``images`` -> endings to look for; the first that occurs is used for all."""

OPTIONS = ("views", "per-study", "missing", "images", "reports", "tables", MAX_PIXELS)
EXAMPLE = "mimic-cxr:ROOT?views=frontal&per-study=one&missing=0.1"
ROOT_REMEDY = (
    "ROOT is the folder that holds files/ and mimic-cxr-2.0.0-split.csv.gz (MIMIC-CXR-JPG); "
    "tables=FOLDER and reports=PATH name other places"
)
"""What to do where the folder of the collection, or a table of it, is not found."""


@dataclass(frozen=True)
class Choice:
    """What of MIMIC-CXR to take, and where it lies.

    Attributes:
        root: Folder with ``files/``.
        split: A name of :data:`SPLITS`.
        views: A name of :data:`VIEWS`.
        per_study: ``"all"`` radiographs of a study, or ``"one"``: PA before AP before others, then
            the one that the split table names first.
        missing: How many image files, and how many reports, may be missing: a share below 1, or a
            number.
        images: A name of :data:`IMAGES`.
        reports: ``mimic-cxr-reports.zip`` or a folder of reports; looked for in the root if
            ``None``.
        tables: Folder of the tables; the root if ``None``.
        max_pixels: The largest picture that is decoded.
    """

    root: Path
    split: str = DEFAULT_SPLIT
    views: str = "all"
    per_study: str = "all"
    missing: float = 0.0
    images: str = "auto"
    reports: Path | None = None
    tables: Path | None = None
    max_pixels: int = LARGEST


def parse_choice(place: str, base: Path, split: str) -> Choice:
    """Read what follows ``mimic-cxr:`` in a corpus specification.

    Args:
        place: ``ROOT`` or ``ROOT?name=value&name=value``.
        base: Folder that relative paths start from.
        split: The split, or ``""`` for the default one.

    Raises:
        OcclusionError: No root, an unknown option, split or value.
    """
    root, values = split_options(NAME, place, OPTIONS, example=EXAMPLE)
    if not root:
        raise OcclusionError(f"corpus '{NAME}' names no folder", remedy=f"for example {EXAMPLE}")
    known = {"split": SPLITS, "views": VIEWS, "per-study": PER_STUDY, "images": IMAGES}
    for name, value in (*values.items(), ("split", split or DEFAULT_SPLIT)):
        if name in known:
            check_value(NAME, name, value, tuple(known[name]))
    return Choice(
        root=base / expanded(root),
        split=split or DEFAULT_SPLIT,
        views=values.get("views", "all"),
        per_study=values.get("per-study", "all"),
        missing=read_allowance(NAME, values.get("missing", "0")),
        images=values.get("images", "auto"),
        reports=base / expanded(values["reports"]) if "reports" in values else None,
        tables=base / expanded(values["tables"]) if "tables" in values else None,
        max_pixels=read_max_pixels(NAME, values.get(MAX_PIXELS)),
    )
