"""Manifests: a table of a team's own radiographs and reports (CSV, JSON lines or Parquet).

Columns: ``image`` (path, relative to the table), ``study_id``, and ``report`` or ``findings``
and/or ``impression``; optionally ``patient_id`` and ``view``. Other columns are ignored.

The whole table is checked before anything else happens, and every fault is listed with its row.
Rows are named by number only: paths and identifiers may point to a patient.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pytest_occlusion.corpora.base import Corpus, Radiograph, Study
from pytest_occlusion.corpora.choices import (
    MAX_PIXELS,
    check_value,
    read_max_pixels,
    split_options,
)
from pytest_occlusion.corpora.contents import (
    FileState,
    Memory,
    Say,
    content_digests,
    file_states,
)
from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.corpora.images import LARGEST, open_radiograph
from pytest_occlusion.corpora.manifest_faults import Fault, Row, refuse
from pytest_occlusion.corpora.manifest_tables import REQUIRED, TEXT_COLUMNS, read_rows
from pytest_occlusion.corpora.paths import expanded
from pytest_occlusion.errors import OcclusionError

NAME = "manifest"
EXAMPLE = "manifest:path/to/manifest.csv?outside=allow&faults=faults.csv"
OUTSIDE = ("refuse", "allow")


@dataclass(frozen=True)
class ManifestOptions:
    """How a manifest is read.

    Attributes:
        outside: Whether images may lie outside the folder of the table. Links inside it may lead
            anywhere.
        faults: Where to write all faulty rows, as a CSV table.
        max_pixels: The largest picture that is decoded.
    """

    outside: bool = False
    faults: Path | None = None
    max_pixels: int = LARGEST


def parse_manifest(place: str, base: Path) -> tuple[Path, ManifestOptions]:
    """Read what follows ``manifest:`` in a corpus specification.

    Args:
        place: ``FILE`` or ``FILE?name=value&name=value``.
        base: Folder that relative paths start from.

    Raises:
        OcclusionError: No file, an unknown option or value.
    """
    known = ("outside", "faults", MAX_PIXELS)
    file, values = split_options(NAME, place, known, example=EXAMPLE)
    if not file:
        raise OcclusionError(
            f"corpus '{NAME}' names no file", remedy="write manifest:path/to/manifest.csv"
        )
    outside = check_value(NAME, "outside", values.get("outside", "refuse"), OUTSIDE)
    return base / expanded(file), ManifestOptions(
        outside=outside == "allow",
        faults=base / expanded(values["faults"]) if "faults" in values else None,
        max_pixels=read_max_pixels(NAME, values.get(MAX_PIXELS)),
    )


def load_manifest(
    path: Path,
    options: ManifestOptions | None = None,
    *,
    memory: Memory | None = None,
    contents: bool = True,
    say: Say | None = None,
) -> Corpus:
    """Read and check a manifest.

    Args:
        path: ``.csv``, ``.jsonl``/``.ndjson`` or ``.parquet`` (needs pyarrow).
        options: How it is read.
        memory: Where digests of images are remembered.
        contents: Whether to digest images at all; without, the fingerprint means nothing.
        say: Where progress lines go, if anywhere.

    Returns:
        A corpus in the table's order of studies; every image file exists.

    Raises:
        OcclusionError: A missing or malformed table, missing columns, faulty rows (listed), or
            images that cannot be read (listed).
    """
    options = options or ManifestOptions()
    faults: list[Fault] = []
    rows = list(read_rows(path, faults))
    if not rows:
        raise OcclusionError(
            f"{path}: the table has no rows", remedy="give it one row per radiograph"
        )
    names = [str(expanded(row["image"])) for row in rows]
    files = file_states(path.parent, names)
    faults += _empty_cells(rows)
    faults += _duplicate_images(rows, names)
    faults += _file_faults(rows, names, files, path.parent, outside=options.outside)
    faults += _disagreeing_patients(rows)
    refuse(faults, len(rows), path, options.faults)
    found = [file for file in files if file is not None]
    digests: list[str | OSError] = [""] * len(rows)
    if contents:
        digests = content_digests(path.parent, found, memory, say=say)
        refuse(_unreadable(digests), len(rows), path, options.faults)
    studies, position, notes = _studies(rows)
    radiographs = [
        Radiograph(
            key=row["image"],
            study=position[_study(row)],
            view=row["view"],
            content=str(digest),
            where=f"row {number}",
            open=partial(
                open_radiograph, path.parent, file.name, f"row {number}", options.max_pixels
            ),
        )
        for number, (row, file, digest) in enumerate(
            zip(rows, found, digests, strict=True), start=1
        )
    ]
    radiographs.sort(key=lambda radiograph: radiograph.study)  # stable: keeps the table's order
    return Corpus(NAME, studies, tuple(radiographs), notes)


Identity = tuple[str, ...]
"""What makes rows one study: the same study_id and the same text.

In collections of published cases one study_id may stand for several images that are each described
by a text of their own.
"""


def _study(row: Row) -> Identity:
    return (row["study_id"], *(row[name] for name in TEXT_COLUMNS))


def _studies(
    rows: Sequence[Row],
) -> tuple[tuple[Study, ...], dict[Identity, int], tuple[str, ...]]:
    """Studies, the position of each, and notes on study_ids that have several texts."""
    first: dict[Identity, Row] = {}
    for row in rows:
        first.setdefault(_study(row), row)
    texts: dict[str, int] = {}
    for study_id, *_ in first:
        texts[study_id] = texts.get(study_id, 0) + 1
    studies = []
    for identity, row in first.items():
        study_id, report, findings, impression = identity
        studies.append(
            Study(
                # By its text, not by its place: sorting the table must not make it another corpus.
                key=study_id if texts[study_id] == 1 else _key_of_several(identity),
                patient=row["patient_id"] or study_id,
                report=report or "\n".join(text for text in (findings, impression) if text),
                findings=findings,
                impression=impression,
            )
        )
    several = len(first) - len(texts)
    notes = (
        (f"{several} texts differ from their study's first; each counts as a study of its own",)
        if several
        else ()
    )
    return tuple(studies), {identity: at for at, identity in enumerate(first)}, notes


def _key_of_several(identity: Identity) -> str:
    return f"{identity[0]}\x1f{settings_digest(list(identity))[:16]}"


def _empty_cells(rows: Sequence[Row]) -> list[Fault]:
    faults = []
    for number, row in enumerate(rows, start=1):
        faults += [
            Fault(number, name, f"{name} is empty", "fill it in, or leave the row out")
            for name in REQUIRED
            if not row[name]
        ]
        if not any(row[name] for name in TEXT_COLUMNS):
            remedy = "give a report, findings or an impression, or leave the row out"
            faults.append(Fault(number, "report", "the report is empty", remedy))
    return faults


def _duplicate_images(rows: Sequence[Row], names: Sequence[str]) -> list[Fault]:
    faults = []
    seen: dict[str, int] = {}
    for number, (row, name) in enumerate(zip(rows, names, strict=True), start=1):
        spelled = os.path.normpath(name)
        if row["image"] and spelled in seen:
            problem = f"duplicate image, also in row {seen[spelled]}"
            faults.append(Fault(number, "image", problem, "leave one of the two rows out"))
        seen.setdefault(spelled, number)
    return faults


def _file_faults(
    rows: Sequence[Row],
    names: Sequence[str],
    files: Sequence[FileState | None],
    folder: Path,
    *,
    outside: bool,
) -> list[Fault]:
    roots = {os.path.abspath(folder), os.path.realpath(folder)}  # noqa: PTH100 - as it is written
    missing = "correct the path, which starts at the folder of the table, or fetch the file"
    allow = "move the files there, or allow this: manifest:FILE?outside=allow"
    faults = []
    for number, (row, name, file) in enumerate(zip(rows, names, files, strict=True), start=1):
        if not row["image"]:
            continue
        if file is None:
            faults.append(Fault(number, "image", "its image file does not exist", missing))
        elif not file.size:
            faults.append(Fault(number, "image", "its image file is empty", missing))
        elif not outside and not any(_is_inside(name, root) for root in roots):
            problem = "its image file is outside the folder of the table"
            faults.append(Fault(number, "image", problem, allow))
    return faults


def _unreadable(digests: Sequence[str | OSError]) -> list[Fault]:
    return [
        Fault(
            number,
            "image",
            f"its image file cannot be read ({digest.strerror})",
            "see to it that you may read it",
        )
        for number, digest in enumerate(digests, start=1)
        if isinstance(digest, OSError)
    ]


def _is_inside(name: str, root: str) -> bool:
    place = os.path.normpath(os.path.join(root, name))  # noqa: PTH118 - links are not followed
    return place.startswith(os.path.join(root, ""))  # noqa: PTH118


def _disagreeing_patients(rows: Sequence[Row]) -> list[Fault]:
    faults = []
    first: dict[str, tuple[int, str]] = {}
    for number, row in enumerate(rows, start=1):
        earlier, patient = first.setdefault(row["study_id"], (number, row["patient_id"]))
        if row["study_id"] and row["patient_id"] != patient:
            problem = f"patient_id differs from that of row {earlier}, which has the same study_id"
            faults.append(Fault(number, "patient_id", problem, "a study has one patient"))
    return faults
