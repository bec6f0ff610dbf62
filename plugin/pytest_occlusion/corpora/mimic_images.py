"""The image files of MIMIC-CXR: found, counted where they are missing, digested and opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pytest_occlusion.corpora.choices import may_be_missing
from pytest_occlusion.corpora.contents import FileState, Memory, content_digests
from pytest_occlusion.corpora.mimic_choice import IMAGES, Choice
from pytest_occlusion.corpora.mimic_tables import Row
from pytest_occlusion.errors import OcclusionError, listed


def find_images(
    choice: Choice, rows: Sequence[Row]
) -> tuple[dict[str, FileState], list[tuple[int, str]]]:
    """Look for the image file of every row.

    Args:
        choice: Where the images lie, and which endings to look for.
        rows: Rows of the split table.

    Returns:
        DICOM id -> its file, for the rows that have one, and (number of the row, what is wrong)
        for those that do not; every file has the same ending.

    Raises:
        OcclusionError: The files are DICOM, and pydicom is not installed.
    """
    found: dict[str, FileState] = {}
    faults: list[tuple[int, str]] = []
    for suffix in IMAGES[choice.images]:
        names = [f"files/{row.folder}/{row.dicom}{suffix}" for row in rows]
        states = _states(choice.root, names)
        found = {
            row.dicom: state
            for row, state in zip(rows, states, strict=True)
            if state is not None and state.size
        }
        faults = [
            (row.number, "does not exist" if state is None else "is empty")
            for row, state in zip(rows, states, strict=True)
            if state is None or not state.size
        ]
        if found:
            break
    if found and suffix == ".dcm":
        from pytest_occlusion.corpora.dicom import check_reader

        check_reader()
    return found, faults


def _states(root: Path, names: Sequence[str]) -> list[FileState | None]:
    prefix = str(root)

    def look(piece: Sequence[str]) -> list[FileState | None]:
        states: list[FileState | None] = []
        for name in piece:
            try:
                entry = os.stat(f"{prefix}/{name}")  # noqa: PTH116 - half a million paths
            except (OSError, ValueError):
                states.append(None)
                continue
            regular = stat.S_ISREG(entry.st_mode)
            states.append(FileState(name, entry.st_size, entry.st_mtime_ns) if regular else None)
        return states

    # Several at once: on a network drive each look takes a trip.
    pieces = [names[at : at + 1024] for at in range(0, len(names), 1024)]
    with ThreadPoolExecutor() as pool:
        return [state for piece in pool.map(look, pieces) for state in piece]


def refuse_missing(
    choice: Choice,
    images: int,
    image_faults: Sequence[tuple[int, str]],
    reports: int,
    report_rows: Sequence[int],
) -> None:
    """Stop where more is missing than the user said may be.

    Args:
        choice: How many may be missing: a share, or a number.
        images: How many image files were looked for.
        image_faults: (Number of the row, what is wrong) for each that is missing.
        reports: How many reports were looked for.
        report_rows: Number of the row for each that is missing.

    Raises:
        OcclusionError: More images or more reports are missing than were allowed (listed).
    """
    if may_be_missing(choice.missing, len(image_faults), images) and may_be_missing(
        choice.missing, len(report_rows), reports
    ):
        return
    lines = [f"row {number}: its report does not exist" for number in report_rows]
    lines += [f"row {number}: its image file {what}" for number, what in sorted(image_faults)]
    needed = max(len(image_faults), len(report_rows))
    raise OcclusionError(
        f"{choice.root}: of the {choice.split} split, {len(image_faults):,} of {images:,} image "
        f"files and {len(report_rows):,} of {reports:,} reports are missing:\n{listed(lines)}",
        remedy="finish the download, or say how many may be missing: "
        f"mimic-cxr:ROOT?missing={needed} (or a share below 1); rows are those of the split table",
    )


def image_digests(
    root: Path, rows: Sequence[Row], states: Sequence[FileState], memory: Memory | None
) -> list[str]:
    """Digest image files.

    Args:
        root: Folder of the collection.
        rows: Rows of the split table, one for each file.
        states: The files below the root.
        memory: Where digests are remembered; ``None`` reads every file.

    Returns:
        For each file its SHA-256 (hex).

    Raises:
        OcclusionError: Files that cannot be read (listed by row).
    """
    digests = content_digests(root, states, memory)
    faults = [
        f"row {row.number}: its image file cannot be read ({digest.strerror})"
        for row, digest in zip(rows, digests, strict=True)
        if isinstance(digest, OSError)
    ]
    if faults:
        raise OcclusionError(
            f"{root}: {len(faults)} image files cannot be read:\n{listed(faults)}",
            remedy="see to it that you may read them",
        )
    return [str(digest) for digest in digests]
