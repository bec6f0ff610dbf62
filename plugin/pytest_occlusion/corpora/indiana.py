"""Indiana University's collection as Kaggle has it: two tables and a folder of pictures.

The reports are those of :mod:`.open_i`, and studies and radiographs are called as there, so that
both read the same study alike. Views are the table's: ``Frontal`` and ``Lateral``, where NLM's
captions tell PA from AP but name the study, not the image. There is no split: whoever draws one
draws another.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pytest_occlusion.corpora.base import Corpus, Request
from pytest_occlusion.corpora.files import needs_folder
from pytest_occlusion.corpora.open_i import LICENCE, image_key
from pytest_occlusion.corpora.options import read_options
from pytest_occlusion.corpora.records import Choice, Collection, build_corpus, rows_of_records
from pytest_occlusion.corpora.tables import Table, refuse_listed
from pytest_occlusion.errors import OcclusionError

EXAMPLE = "indiana:ROOT?views=frontal"
REPORTS, PROJECTIONS = "indiana_reports.csv", "indiana_projections.csv"
FOLDERS = ("images/images_normalized/", "images/", "images_normalized/", "")
"""Where the pictures may lie: as Kaggle unpacks them, and as others move them."""


@dataclass(frozen=True)
class IndianaOptions(Choice):
    """As of any collection; what a study is indexed with is kept without being asked for."""

    keep: tuple[str, ...] = ("finding",)


def load(asked: Request) -> Corpus:
    """Read the radiographs whose study has findings or an impression, as the projections come.

    Raises:
        OcclusionError: Missing or damaged tables, faulty rows, missing or unreadable images.
    """
    root, options = read_options(asked, IndianaOptions, EXAMPLE, needs="folder")
    remedy = f"ROOT is the folder that holds {REPORTS}, {PROJECTIONS} and images/"
    needs_folder(root, remedy)
    files = {path.name.lower(): path for path in root.glob("*.csv")}
    if missing := [name for name in (REPORTS, PROJECTIONS) if name not in files]:
        raise OcclusionError(f"{root}: there is no {' or '.join(missing)}", remedy=remedy)
    file = files[PROJECTIONS]
    reports = _read_reports(files[REPORTS])
    table = Table(file, ("uid", "filename", "projection"))
    records = []
    for number, (uid, name, view) in enumerate(table.required(table.known), start=1):
        if uid not in reports:
            table.bad(number, f"{REPORTS} has no row for it", "fetch both tables again", "uid")
        findings, impression, problems, mesh = reports.get(uid, ("",) * 4)
        key = image_key(name).removeprefix(f"CXR{uid}_")
        records.append(
            {
                "image": name,
                # The reports of NLM call the images of their first case so.
                "radiograph": f"CXR{uid}_1_{key}" if uid == "1" else f"CXR{uid}_{key}",
                "view": view,
                "study": f"CXR{uid}",
                "patient": f"CXR{uid}",
                "findings": findings,
                "impression": impression,
                "finding": problems,
                "mesh": mesh,
            }
        )
    rows = rows_of_records(records, table.faults, str(file), keep=options.keep)
    given = Collection(
        "indiana",
        file,
        root,
        rows,
        table.faults,
        layouts=[folder.__add__ for folder in FOLDERS],
        notes=(LICENCE, "views are those of Kaggle's table, not of NLM's captions"),
        first="the first after the header",
    )
    return build_corpus(asked, given, options)


def _read_reports(path: Path) -> dict[str, list[str]]:
    """Findings, impression, problems and codes by uid."""
    table = Table(path, ("uid", "findings", "impression", "Problems", "MeSH"))
    reports: dict[str, list[str]] = {}
    for number, (uid, *texts) in enumerate(table.required(table.known), start=1):
        if uid in reports:
            table.bad(number, "its uid is that of an earlier row")
        reports[uid] = texts
    remedy = "fetch the table again; row 1 is the first after the header"
    refuse_listed(f"{path}: {len(table.faults)} faulty rows", table.faults, remedy)
    return reports
