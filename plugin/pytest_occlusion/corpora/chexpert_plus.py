"""CheXpert Plus: one table, a row for each image, and pictures in one of several folders.

There is no test split; people test on ``valid``. Findings are sparse, the impression is the section
that is usually there. Columns and folders: README of Stanford-AIMI/chexpert-plus and the code of
those who read it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pytest_occlusion.corpora.base import Corpus, Request
from pytest_occlusion.corpora.columns import check_kept
from pytest_occlusion.corpora.files import needs_folder
from pytest_occlusion.corpora.options import read_options
from pytest_occlusion.corpora.records import Choice, Collection, Row, build_corpus, rows_of
from pytest_occlusion.corpora.tables import Table
from pytest_occlusion.errors import OcclusionError

EXAMPLE = "chexpert-plus:ROOT?split=validate&views=frontal"
TABLE = "df_chexpert_plus_*.csv"
FOLDERS = ("", "PNG/", "PNG/PNG/", "CheXpert-v1.0/", "CheXpert-v1.0-small/", "DICOM/")
"""Where ``train/`` and ``valid/`` may lie; archives that are unpacked in ``PNG/`` hold another."""

ENDINGS = {"auto": (".png", ".jpg", ".dcm"), "png": (".png",), "jpg": (".jpg",),
           "dicom": (".dcm",)}  # fmt: skip
"""Value of ``images`` -> endings to look for; the table writes ``.jpg``, the release is PNG."""

_STUDY = re.compile(r"(?<=/)study\d+(?=/)", re.ASCII)
ATTRIBUTES = ("sex", "age", "race", "ethnicity")
COLUMNS = {
    "image": "path_to_image",
    "view": "frontal_lateral",
    "patient": "deid_patient_id",
    "split": "split",
    "report": "report",
    "findings": "section_findings",
    "impression": "section_impression",
}


@dataclass(frozen=True)
class CheXpertPlusOptions(Choice):
    """Which kind of image files to take; ages and the like are kept without being asked for."""

    keep: tuple[str, ...] = ATTRIBUTES
    images: Literal["auto", "png", "jpg", "dicom"] = "auto"


def load(asked: Request) -> Corpus:
    """Read the rows with findings or an impression, in the order of the table.

    Raises:
        OcclusionError: A missing or damaged table, faulty rows, missing or unreadable images.
    """
    root, options = read_options(asked, CheXpertPlusOptions, EXAMPLE, needs="folder")
    remedy = f"ROOT is the folder that holds {TABLE} and the pictures"
    needs_folder(root, remedy)
    file = max(root.glob(TABLE), default=None)
    if file is None:
        raise OcclusionError(f"{root}: there is no {TABLE}", remedy=remedy)
    columns = [*COLUMNS.values(), "ap_pa"]
    table = Table(file, columns)
    header = table.header()
    kept = [name for name in options.keep if options.keep != ATTRIBUTES or name in header]
    check_kept(kept, header, str(file))
    cells = table.required([*COLUMNS.values(), "ap_pa"], kept)
    rows = [*map(_row, rows_of(cells, COLUMNS, table.faults, keep=["ap_pa", *kept]))]
    layouts = [
        partial(_place, folder, ending) for folder in FOLDERS for ending in ENDINGS[options.images]
    ]
    given = Collection(
        "chexpert-plus",
        file,
        root,
        rows,
        table.faults,
        layouts=layouts,
        first="the first after the header",
    )
    return build_corpus(asked, given, options)


def _row(row: Row) -> Row:
    """With the study, which the path alone names, and the view, which two columns tell.

    The text of the whole report has the names of its sections in it, and much else: the texts are
    the sections, as everywhere.
    """
    (_, kind), *attributes = row.attributes
    found = _STUDY.search(row.images[0].key) if row.images else None
    images = [one._replace(view=kind) if kind else one for one in row.images]
    study = f"{row.patient}/{found[0]}" if found and row.patient else ""
    return row._replace(images=images, study=study, report="", attributes=tuple(attributes))


def _place(folder: str, ending: str, name: str) -> str:
    return folder + name.rpartition(".")[0] + ending
