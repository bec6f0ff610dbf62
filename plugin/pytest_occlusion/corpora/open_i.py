"""Open-i: 3,955 real reports of Indiana University, with their radiographs or with phantoms.

The reports are CC BY-NC-ND 4.0: they are read where NLM's archive lies, or where pip installed
the package torchxrayvision, which carries it, and never copied. Where the radiographs are not
given, phantoms stand in for them, drawn from the MeSH codes that each report is indexed with.
Everything is public, so messages may name images and reports.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree

from pytest_occlusion.corpora.base import Corpus, Request, Step, Study
from pytest_occlusion.corpora.files import first_place, is_folder, needs_folder, read_report
from pytest_occlusion.corpora.images import DICOM
from pytest_occlusion.corpora.options import CollectionOptions, read_options
from pytest_occlusion.corpora.radiographs import (
    Grouped,
    Selection,
    Wanted,
    file_radiographs,
    grouped,
)
from pytest_occlusion.corpora.tables import refuse_listed
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    from PIL import Image

NAME = "open-i"
EXAMPLE = "open-i:ROOT?views=frontal&missing=0.1"
LICENCE = "Open-i reports (Indiana University): CC BY-NC-ND 4.0"
FRONTAL = ("PA", "AP", "frontal")
"""What ``views=frontal`` keeps: CXR-CLIP's Open-i evaluation takes all frontal radiographs."""

PICTURES = (".png", ".jpg", ".jpeg")
ENDINGS = {"auto": (PICTURES, DICOM), "png": (PICTURES,), "dicom": (DICOM,)}
"""Value of ``images`` -> endings to look for; the first that occur are used for all."""

DEPTH = 3
"""Folders below the root that are looked into: ``ROOT/NLMCXR_dcm/1001/``, and one to spare."""

REPORTS = ("ecgen-radiology", "NLMCXR_reports/ecgen-radiology", "NLMCXR_reports.tgz")
"""Where the reports may lie in the root."""

PHANTOM = 128
"""Side of a phantom in pixels."""

_TAIL = re.compile(r"IM-\d+(?:-\d+)+$", re.ASCII)
_NUMBER = re.compile(r"\d+", re.ASCII)


@dataclass(frozen=True)
class OpenIOptions(CollectionOptions):
    """Which kind of image files to take."""

    images: Literal["auto", "png", "dicom"] = "auto"


def load(asked: Request) -> Corpus:
    """Read the reports with findings or an impression, with phantoms or the radiographs of a root.

    Raises:
        OcclusionError: There are no reports, or damaged ones (listed); more radiographs or reports
            are missing than were allowed (listed); radiographs that cannot be read (listed).
    """
    place, options = read_options(asked, OpenIOptions, EXAMPLE)
    root = place if asked.place.partition("?")[0] else None
    own = _find_reports(root, options)
    reports = sorted(read_reports(own or archive_path()), key=lambda report: report.study.key)
    if not reports:
        remedy = "name NLMCXR_reports.tgz, or the folder of its XML files, with reports=PATH"
        raise OcclusionError(f"{own}: holds no reports of Open-i", remedy=remedy)
    selection = _chosen(reports, options)
    notes: tuple[str, ...]
    fields: dict[str, int | str]
    if root is None:
        drawn = "phantoms drawn from their MeSH codes"
        notes, fields = (), {"images": "phantom"}
        studies, radiographs = _phantoms(selection.wanted, reports)
    else:
        drawn = "their real radiographs"
        notes, missing = _find_files(root, options, selection, reports)
        studies, radiographs = file_radiographs(root, selection.found, asked, options.max_pixels)
        kind = "dicom" if selection.is_dicom else "png"
        fields = {"images": "real", "views": options.views, "files": kind, **missing}
    return Corpus(
        name=NAME,
        studies=studies,
        radiographs=radiographs,
        notes=(
            LICENCE + ("" if own else ", read from torchxrayvision"),
            f"{len(studies):,} of {len(reports):,} reports kept (findings or impression, and a "
            f"radiograph), with {drawn}",
            *notes,
        ),
        fields={
            "reports": len(reports),
            "with_findings": sum(bool(one.study.findings) for one in reports),
            "with_findings_or_impression": sum(bool(one.study.report) for one in reports),
            "studies": len(studies),
            "radiographs": len(radiographs),
            "patients": len(studies),
            **fields,
        },
        steps=tuple(selection.steps),
    )


def _find_reports(root: Path | None, options: OpenIOptions) -> Path | None:
    """Where the user's own reports lie; ``None`` where there are none."""
    if root is not None:
        remedy = "write open-i:ROOT with the folder that holds the Open-i PNG or DICOM files"
        needs_folder(root, remedy)
    usual = [root / name for name in REPORTS] if root else []
    found = first_place(options.reports, usual, "NLMCXR_reports.tgz or the folder of its XML files")
    below = found / "ecgen-radiology" if found else None
    return below if below and is_folder(below) else found


def _chosen(reports: Sequence[OpenIReport], options: OpenIOptions) -> Selection:
    selection = Selection(
        [
            Wanted(name, one.study, view, "", name)
            for one in reports
            for name, view in zip(one.images, one.views, strict=True)
        ]
    )
    selection.steps.append(Step("in the collection", len(reports), len(selection.wanted)))
    selection.keep_sections()
    if options.views == "frontal":
        selection.keep_frontal(FRONTAL)
    numbered = enumerate(selection.wanted, start=1)
    selection.wanted = [one._replace(where=f"radiograph {number}") for number, one in numbered]
    return selection


def _find_files(
    root: Path, options: OpenIOptions, selection: Selection, reports: Sequence[OpenIReport]
) -> tuple[tuple[str, ...], dict[str, int | str]]:
    """The radiographs that have a file, all of one kind, and what is missing."""
    present = _present(root)
    keys = [image_key(one.key) for one in selection.wanted]
    cases: set[str] = set()

    def named(endings: tuple[str, ...]) -> list[str]:
        files = [name for name in reversed(present) if name.lower().endswith(endings)]
        places = {image_key(name): name for name in files}
        cases.update(key.partition("_")[0] for key in places if "_IM-" in key)
        return [places.get(key, "") for key in keys]

    selection.find(root, map(named, ENDINGS[options.images]))
    unreported = sorted(cases - {report.study.key for report in reports})
    called = f"files ({', '.join((*PICTURES, *DICOM))}) are called after their image"
    return selection.keep_found(
        unreported,
        len(reports) + len(unreported),
        # Without a single image it is no partial download, whatever may be missing.
        options.missing if selection.found else 0.0,
        kind=NAME,
        head=f"{root}: ",
        remedy=f"{called}, in ROOT or its folders",
    )


def image_key(name: str) -> str:
    """What two spellings of one image have in common.

    ``CXR1_1_IM-0001-3001`` of a report, ``NLMCXR_dcm/1/1_IM-0001-3001.dcm`` and Kaggle's
    ``1_IM-0001-3001.dcm.png`` are all ``CXR1_IM-0001-3001``: file or folder name the case.
    """
    path = Path(name)
    while path.suffix.lower() in (*PICTURES, *DICOM):
        path = path.with_suffix("")
    tail = _TAIL.search(path.name)
    if tail is None:
        return path.name
    case = _NUMBER.search(path.name[: tail.start()]) or _NUMBER.search(path.parent.name)
    return f"CXR{int(case[0])}_{tail[0]}" if case else path.name


def _present(root: Path) -> list[str]:
    """Every file up to three folders down, below the root, sorted; links are followed."""
    found: list[str] = []
    for folder, folders, files in os.walk(root, followlinks=True):
        below = Path(folder).relative_to(root)
        found += [(below / name).as_posix() for name in files]
        if len(below.parts) == DEPTH:
            folders.clear()
    return sorted(found)


def _phantoms(wanted: Sequence[Wanted], reports: Sequence[OpenIReport]) -> Grouped:
    from pytest_occlusion_fixtures.digest import generator_digest

    digest = generator_digest()
    by_key = {report.study.key: report for report in reports}
    contents, opens = [], []
    for one in wanted:
        report = by_key[one.study.key]
        place = report.images.index(one.key)
        views = tuple(view if view in ("AP", "lateral") else "PA" for view in report.views)
        identity = f"{digest}/{one.study.key}/{report.codes}/{views}/{place}/{PHANTOM}"
        contents.append(hashlib.sha256(identity.encode()).hexdigest())
        opens.append(partial(draw_indexed, one.study.key, report.codes, views, place))
    return grouped(wanted, contents, opens)


def draw_indexed(
    key: str, codes: tuple[str, ...], views: tuple[str, ...], place: int
) -> Image.Image:
    """Draw the phantom of one radiograph of a report from its MeSH codes."""
    from PIL import Image

    from pytest_occlusion_fixtures.open_i import study_from_mesh
    from pytest_occlusion_fixtures.phantom import draw_radiograph

    return Image.fromarray(draw_radiograph(study_from_mesh(key, codes, views), place, PHANTOM))


ARCHIVE = "data/NLMCXR_reports.tgz"
_REMEDY = 'pip install "pytest-occlusion[open-i]"'


@dataclass(frozen=True)
class OpenIReport:
    """One report as the archive holds it; every report is of a different patient."""

    study: Study  # CXR1001
    codes: tuple[str, ...]  # of MeSH: Opacity/lung/base/left
    images: tuple[str, ...]  # CXR1001_IM-0004-1001
    views: tuple[str, ...]  # of each image, from the caption


def archive_path() -> Path:
    """Find the archive of reports in the installed torchxrayvision, without importing it."""
    spec = find_spec("torchxrayvision")
    if spec is None or spec.origin is None:
        problem = "corpus 'open-i' reads its reports from the package torchxrayvision, which is not"
        raise OcclusionError(f"{problem} installed", remedy=_REMEDY)
    path = Path(spec.origin).parent / ARCHIVE
    if not path.is_file():
        problem = f"the installed torchxrayvision holds no {ARCHIVE}"
        raise OcclusionError(problem, remedy=f"install it from its wheel: {_REMEDY}")
    return path


def read_reports(path: Path) -> Iterator[OpenIReport]:
    """Yield every report of ``NLMCXR_reports.tgz`` or of a folder of XML files, in their order.

    Raises:
        OcclusionError: A damaged archive, or damaged files of a folder (listed).
    """
    if is_folder(path):
        yield from _read_folder(path)
        return
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name.endswith(".xml") else None
                if file is not None:
                    yield parse_report(read_report(file))
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as fault:
        raise OcclusionError(
            f"{path}: a damaged archive ({fault})",
            remedy="fetch NLMCXR_reports.tgz again; that of a package: pip install "
            "--force-reinstall --no-deps torchxrayvision",
        ) from fault


def _read_folder(folder: Path) -> Iterator[OpenIReport]:
    reports: dict[str, OpenIReport] = {}
    faults: list[str] = []
    for path in sorted(folder.glob("*.xml")):
        try:
            with path.open("rb") as file:
                report = parse_report(read_report(file))
        except (OSError, ValueError) as fault:
            faults.append(f"{path.name}: {fault}")
            continue
        key = report.study.key
        if key in reports:
            faults.append(f"{path.name}: {key} once more")
        reports[key] = report
    refuse_listed(
        f"{folder}: {len(faults)} reports cannot be read",
        faults,
        "fetch NLMCXR_reports.tgz again, or remove these files",
    )
    yield from reports.values()


def parse_report(payload: bytes) -> OpenIReport:
    """Read one XML file of the collection.

    Raises:
        ValueError: It is no XML, or no report of the collection.
    """
    try:
        # Python's parser resolves no external entities, and bounds the growth of internal ones.
        root = ElementTree.fromstring(payload)  # noqa: S314
    except (ElementTree.ParseError, ValueError, LookupError) as fault:
        raise ValueError(f"no XML ({fault})") from None
    sections = {
        section.get("Label", ""): " ".join((section.text or "").split())
        for section in root.iter("AbstractText")
    }
    identity = root.find("uId")
    key = identity.get("id", "") if identity is not None else ""
    if not key:
        raise ValueError("holds no report of Open-i")
    parents = root.findall("parentImage")
    captions = [parent.findtext("caption") or "" for parent in parents]
    findings, impression = sections.get("FINDINGS", ""), sections.get("IMPRESSION", "")
    return OpenIReport(
        study=Study(
            key, key, "\n".join(filter(None, (findings, impression))), findings, impression
        ),
        codes=tuple(term.text.strip() for term in root.iter("major") if term.text),
        images=tuple(parent.get("id", "") for parent in parents),
        views=views_from_captions(captions),
    )


_LATERAL = re.compile(r"\blat(eral)?\b|frontal/lateral", re.IGNORECASE)
_TWO_VIEWS = re.compile(r"\b(2|two)\b\W*(\(2\)\W*)?(-?\s*v(iew)?s?\b|xxxx)|\b2v\b", re.IGNORECASE)
_AP = re.compile(r"\bAP\b|portable", re.IGNORECASE)
_PA = re.compile(r"\bPA\b", re.IGNORECASE)


def views_from_captions(captions: list[str]) -> tuple[str, ...]:
    """Work out the view of every image of a study from what its captions say of the study.

    A caption names the examination ("PA and lateral", "2 views"), not the image; images come with
    the frontal one first, and those beyond the second of a study with a lateral view are unknown.
    The table of View Positions is of no use: it calls both images frontal in 1,219 studies, most
    of which say "2 views" here.
    """
    text = " ".join(captions)
    frontal = "AP" if _AP.search(text) and not _PA.search(text) else ""
    frontal = frontal or ("PA" if _PA.search(text) else "frontal")
    if len(captions) < 2 or not (_LATERAL.search(text) or _TWO_VIEWS.search(text)):
        return (frontal,) * len(captions)
    return (frontal, "lateral", *("" for _ in captions[2:]))
