"""Manifests: a table of a team's own radiographs and reports (CSV, JSON lines or Parquet).

Which column says what is told by options (``image=Path``), or guessed from names that the field
uses; others are ignored. The whole table is checked before anything else happens, and every fault
is listed with its row.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_occlusion.corpora.base import Corpus, Request
from pytest_occlusion.corpora.columns import KNOWN, check_kept, find_columns
from pytest_occlusion.corpora.files import is_file, is_folder
from pytest_occlusion.corpora.options import read_options
from pytest_occlusion.corpora.records import Collection, Columns, build_corpus, rows_of
from pytest_occlusion.corpora.tables import Table
from pytest_occlusion.errors import MissingError, OcclusionError

EXAMPLE = "manifest:reports.csv?image=Path&report=Report%20Impression&split=test"


@dataclass(frozen=True)
class ManifestOptions(Columns):
    """How a table of one's own is read.

    Attributes:
        root: Where paths of images start; the folder of the table, if it is not named.
        outside: Whether images may lie outside of it.
        ending: What to add to names of images (``.png``).
        encoding: Of the table, as Python calls it.
    """

    root: Path | None = None
    outside: Literal["refuse", "allow"] = "refuse"
    ending: str = ""
    encoding: str = "utf-8-sig"


def load(asked: Request) -> Corpus:
    """Read and check a manifest; studies come in the table's order, and every image file exists.

    Raises:
        OcclusionError: A missing or malformed table, missing columns, faulty rows (listed), or
            images that cannot be read (listed).
    """
    file, options = read_options(asked, ManifestOptions, EXAMPLE, needs="file")
    itself = "name the manifest file itself"
    if is_folder(file):
        raise OcclusionError(f"{file}: is a folder", remedy=itself)
    if not is_file(file):
        raise MissingError(f"{file}: no such file", remedy=itself)
    root = options.root or file.parent
    wanted = options.asked()
    table = Table(file, [*KNOWN, *wanted.values()], options.encoding)
    header = table.header()
    if not header:
        remedy = "give it one row per radiograph or study"
        raise OcclusionError(f"{file}: the table has no rows", remedy=remedy)
    columns, guesses = find_columns(header, wanted, str(file))
    check_kept(options.keep, header, str(file))
    cells = table.rows([*columns.values(), *options.keep])
    rows = [
        *rows_of(
            cells,
            columns,
            table.faults,
            keep=options.keep,
            separator=options.separator,
            ending=options.ending,
        )
    ]
    folders: frozenset[str] = frozenset()
    if options.outside == "refuse":
        folders = frozenset((os.path.abspath(root), os.path.realpath(root)))  # noqa: PTH100
    given = Collection(
        "manifest",
        file,
        root,
        rows,
        table.faults,
        columns,
        notes=guesses,
        strict=options.empty == "refuse",
        inside=folders,
        first="the first after the header",
    )
    return build_corpus(asked, given, options)
