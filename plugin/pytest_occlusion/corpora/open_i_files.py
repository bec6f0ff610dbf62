"""The files of Open-i as NLM distributes them: found wherever they were unpacked, and counted.

``NLMCXR_png.tgz`` unpacks to ``CXR1001_IM-0004-1001.png`` and the like, all in one folder,
``NLMCXR_dcm.tgz`` to a folder for each case, and ``NLMCXR_reports.tgz`` to
``ecgen-radiology/1001.xml``. Everything is public, so messages name cases and images.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_occlusion.corpora.choices import (
    MAX_PIXELS,
    check_value,
    may_be_missing,
    read_allowance,
    read_max_pixels,
    split_options,
)
from pytest_occlusion.corpora.contents import FileState, file_states
from pytest_occlusion.corpora.images import DICOM, LARGEST
from pytest_occlusion.corpora.paths import expanded, is_file, is_folder
from pytest_occlusion.errors import MissingError, OcclusionError, listed

NAME = "open-i"
EXAMPLE = "open-i:ROOT?views=frontal&missing=0.1"
VIEWS: dict[str, tuple[str, ...] | None] = {"all": None, "frontal": ("PA", "AP", "frontal")}
"""Value of ``views`` -> views that are kept; ``None`` keeps every one. CXR-CLIP's Open-i
evaluation takes all frontal radiographs."""

PICTURES = (".png", ".jpg", ".jpeg")
IMAGES = {"auto": (PICTURES, DICOM), "png": (PICTURES,), "dicom": (DICOM,)}
"""Value of ``images`` -> endings to look for; the first that occur are used for all."""

DEPTH = 3
"""Folders below the root that are looked into: ``ROOT/NLMCXR_dcm/1001/``, and one to spare."""

_TAIL = re.compile(r"IM-\d+(?:-\d+)+$", re.ASCII)
_NUMBER = re.compile(r"\d+", re.ASCII)


@dataclass(frozen=True)
class OpenIOptions:
    """What of Open-i to take, and where it lies.

    Attributes:
        views: A name of :data:`VIEWS`.
        missing: How many image files, and how many reports, may be missing: a share below 1, or a
            number.
        images: A name of :data:`IMAGES`.
        reports: ``NLMCXR_reports.tgz`` or a folder of XML files; looked for in the root, then in
            the package torchxrayvision, if ``None``.
        max_pixels: The largest picture that is decoded.
    """

    views: str = "all"
    missing: float = 0.0
    images: str = "auto"
    reports: Path | None = None
    max_pixels: int = LARGEST


def parse_options(place: str, base: Path) -> tuple[Path | None, OpenIOptions]:
    """Read what follows ``open-i:`` in a corpus specification.

    Args:
        place: Empty, ``ROOT``, or either with ``?name=value&name=value``.
        base: Folder that relative paths start from.

    Raises:
        OcclusionError: An unknown option or value.
    """
    known = ("views", "missing", "images", "reports", MAX_PIXELS)
    root, values = split_options(NAME, place, known, example=EXAMPLE)
    return base / expanded(root) if root else None, OpenIOptions(
        views=check_value(NAME, "views", values.get("views", "all"), tuple(VIEWS)),
        missing=read_allowance(NAME, values.get("missing", "0")),
        images=check_value(NAME, "images", values.get("images", "auto"), tuple(IMAGES)),
        reports=base / expanded(values["reports"]) if "reports" in values else None,
        max_pixels=read_max_pixels(NAME, values.get(MAX_PIXELS)),
    )


def find_reports(root: Path | None, options: OpenIOptions) -> Path | None:
    """Where the user's own reports lie; ``None`` where there are none.

    Raises:
        MissingError: There is no such root, or nothing at the place that was named.
    """
    if root is not None and not is_folder(root):
        raise MissingError(
            f"{root}: no such folder",
            remedy="write open-i:ROOT with the folder that holds the Open-i PNG or DICOM files",
        )
    if options.reports is not None:
        if not is_file(options.reports) and not is_folder(options.reports):
            raise MissingError(
                f"{options.reports}: no such file or folder",
                remedy="reports= names NLMCXR_reports.tgz or the folder of its XML files",
            )
        inner = options.reports / "ecgen-radiology"
        return inner if is_folder(inner) else options.reports
    if root is not None:
        for name in ("ecgen-radiology", "NLMCXR_reports/ecgen-radiology"):
            if is_folder(root / name):
                return root / name
        if is_file(root / "NLMCXR_reports.tgz"):
            return root / "NLMCXR_reports.tgz"
    return None


@dataclass(frozen=True)
class Found:
    """What lies in the folders.

    Attributes:
        files: Identifier of an image -> its file, for the wanted images that have one.
        faults: What is wrong with the others, by identifier.
        cases: Cases (``"CXR1001"``) that any image file is of.
    """

    files: dict[str, FileState]
    faults: list[str]
    cases: set[str]


def find_files(root: Path, options: OpenIOptions, wanted: Sequence[str]) -> Found:
    """Look for the file of every image; all are of one kind.

    Args:
        root: Folder of the radiographs.
        options: Which kinds to look for.
        wanted: Identifiers of images.

    Raises:
        OcclusionError: The files are DICOM, and pydicom is not installed.
    """
    present = _present(root)
    for endings in IMAGES[options.images]:
        places = {
            image_key(name): name for name in reversed(present) if name.lower().endswith(endings)
        }
        if any(image_key(name) in places for name in wanted):
            break
    names = [places.get(image_key(name), "") for name in wanted]
    states = file_states(root, names)
    files = {
        name: state
        for name, state in zip(wanted, states, strict=True)
        if state is not None and state.size
    }
    if files and endings == DICOM:
        from pytest_occlusion.corpora.dicom import check_reader

        check_reader()
    faults = [
        f"{name}" + (" is empty" if state is not None else "")
        for name, state in zip(wanted, states, strict=True)
        if state is None or not state.size
    ]
    return Found(files, faults, {key.partition("_")[0] for key in places if "_IM-" in key})


def image_key(name: str) -> str:
    """What two spellings of one image have in common.

    ``CXR1_1_IM-0001-3001`` of a report, ``CXR1_1_IM-0001-3001.png`` and
    ``NLMCXR_dcm/1/1_IM-0001-3001.dcm`` are all ``CXR1_IM-0001-3001``: the case is named by the
    file, or by its folder.
    """
    path = Path(name)
    stem = path.stem if path.suffix.lower() in (*PICTURES, *DICOM) else path.name
    tail = _TAIL.search(stem)
    if tail is None:
        return stem
    case = _NUMBER.search(stem[: tail.start()]) or _NUMBER.search(path.parent.name)
    return f"CXR{int(case[0])}_{tail[0]}" if case else stem


def _present(root: Path) -> list[str]:
    """Every file up to three folders down, below the root, sorted; links are followed."""
    found: list[str] = []

    def look(folder: str, depth: int) -> None:
        try:
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError:
            return
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if not entry.is_dir():
                found.append(name)
            elif depth < DEPTH:
                look(name, depth + 1)

    look("", 0)
    return found


def refuse_missing(
    root: Path,
    options: OpenIOptions,
    images: int,
    image_faults: Sequence[str],
    reports: int,
    unreported: Sequence[str],
) -> None:
    """Stop where more is missing than the user said may be.

    Args:
        root: Folder of the radiographs.
        options: How many may be missing: a share, or a number.
        images: How many image files were looked for.
        image_faults: Identifier of each image that is missing.
        reports: How many reports there are.
        unreported: Cases that have image files but no report.

    Raises:
        OcclusionError: More images or more reports are missing than were allowed (listed), or
            there is no image at all.
    """
    total = reports + len(unreported)
    if (
        may_be_missing(options.missing, len(image_faults), images)
        and may_be_missing(options.missing, len(unreported), total)
        and len(image_faults) < images
    ):
        return
    problems = [f"{len(image_faults):,} of {images:,} radiographs are missing:"]
    problems += [listed(image_faults)] if image_faults else []
    if unreported:
        problems.append(f"{len(unreported):,} of {total:,} reports are missing:")
        problems.append(listed(unreported))
    needed = max(len(image_faults), len(unreported))
    raise OcclusionError(
        f"{root}: " + "\n".join(problems),
        remedy="finish the download, or say how many may be missing: "
        f"open-i:ROOT?missing={needed} (or a share below 1); files are called after their image "
        f"({', '.join((*PICTURES, *DICOM))}), in ROOT or its folders",
    )
