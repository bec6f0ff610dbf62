"""The image files of MIMIC-CXR: found, counted where they are missing, digested and opened."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_occlusion.corpora.choices import may_be_missing
from pytest_occlusion.corpora.contents import FileState, file_states
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
        states = file_states(choice.root, names)
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
