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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_occlusion.corpora.base import Corpus, Radiograph, Request, Step, Study
from pytest_occlusion.corpora.files import Missing, first_place, is_folder
from pytest_occlusion.corpora.images import DICOM, is_dicom
from pytest_occlusion.corpora.open_i_reports import OpenIReport, archive_path, read_reports
from pytest_occlusion.corpora.options import Options, read_options
from pytest_occlusion.corpora.radiographs import Found, Wanted, file_radiographs, find_images
from pytest_occlusion.errors import MissingError, OcclusionError

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
class OpenIOptions(Options):
    """What of Open-i to take, and where the reports lie if not in the root or the package."""

    views: Literal["all", "frontal"] = "all"
    missing: float = 0.0
    images: Literal["auto", "png", "dicom"] = "auto"
    reports: Path | None = None


def load(asked: Request) -> Corpus:
    """Read the reports with findings or an impression, with phantoms or the radiographs of a root.

    Raises:
        OcclusionError: There are no reports, or damaged ones (listed); more radiographs or reports
            are missing than were allowed (listed); radiographs that cannot be read (listed).
    """
    place, options = read_options(asked, OpenIOptions, EXAMPLE)
    root = place if asked.place.partition("?")[0] else None
    own = _find_reports(root, options)
    reports = sorted(read_reports(own or archive_path()), key=lambda report: report.key)
    if not reports:
        remedy = "name NLMCXR_reports.tgz, or the folder of its XML files, with reports=PATH"
        raise OcclusionError(f"{own}: holds no reports of Open-i", remedy=remedy)
    wanted, steps = _chosen(reports, options)
    fields: dict[str, int | str] = {"images": "phantom"}
    notes: tuple[str, ...] = ()
    if root is None:
        studies, radiographs = _phantoms(wanted, {report.key: report for report in reports})
    else:
        found, missing = _find_files(root, options, wanted, reports)
        steps.append(Step.of("with an image file", [one.study for one, _ in found]))
        studies, radiographs = file_radiographs(root, found, asked, options.max_pixels)
        kind = "dicom" if found and is_dicom(found[0][1].name) else "png"
        fields = {"images": "real", "views": options.views, "files": kind, **missing.fields}
        notes = missing.notes
    drawn = "phantoms drawn from their MeSH codes" if root is None else "their real radiographs"
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
            "with_findings": sum(bool(r.findings) for r in reports),
            "with_findings_or_impression": sum(bool(r.findings or r.impression) for r in reports),
            "studies": len(studies),
            "radiographs": len(radiographs),
            "patients": len(studies),
            **fields,
        },
        steps=tuple(steps),
    )


def _find_reports(root: Path | None, options: OpenIOptions) -> Path | None:
    """Where the user's own reports lie; ``None`` where there are none."""
    if root is not None and not is_folder(root):
        remedy = "write open-i:ROOT with the folder that holds the Open-i PNG or DICOM files"
        raise MissingError(f"{root}: no such folder", remedy=remedy)
    usual = [root / name for name in REPORTS] if root else []
    found = first_place(options.reports, usual, "NLMCXR_reports.tgz or the folder of its XML files")
    if found is not None and is_folder(found / "ecgen-radiology"):
        return found / "ecgen-radiology"
    return found


def _chosen(
    reports: Sequence[OpenIReport], options: OpenIOptions
) -> tuple[list[Wanted], list[Step]]:
    """The radiographs to take, and what every filter left."""
    listed = []
    for one in reports:
        text = "\n".join(text for text in (one.findings, one.impression) if text)
        study = Study(one.key, one.key, text, one.findings, one.impression)
        for name, view in zip(one.images, one.views, strict=True):
            listed.append(Wanted(name, study, view, "", name))
    steps = [Step("in the collection", len(reports), len(listed))]
    listed = [one for one in listed if one.study.report]
    steps += [
        Step.of("  with findings", [one.study for one in listed if one.study.findings]),
        Step.of("  with impression", [one.study for one in listed if one.study.impression]),
        Step.of("with findings or impression", [one.study for one in listed]),
    ]
    if options.views == "frontal":
        listed = [one for one in listed if one.view in FRONTAL]
        steps.append(Step.of(f"frontal ({', '.join(FRONTAL)})", [one.study for one in listed]))
    numbered = enumerate(listed, start=1)
    return [one._replace(where=f"radiograph {number}") for number, one in numbered], steps


def _find_files(
    root: Path, options: OpenIOptions, wanted: Sequence[Wanted], reports: Sequence[OpenIReport]
) -> tuple[Found, Missing]:
    """The radiographs that have a file, all of one kind, and what is missing."""
    present = _present(root)
    keys = [image_key(one.key) for one in wanted]
    cases: set[str] = set()

    def named(endings: tuple[str, ...]) -> list[str]:
        files = [name for name in reversed(present) if name.lower().endswith(endings)]
        places = {image_key(name): name for name in files}
        cases.update(key.partition("_")[0] for key in places if "_IM-" in key)
        return [places.get(key, "") for key in keys]

    found, lost = find_images(root, wanted, map(named, ENDINGS[options.images]))
    unreported = sorted(cases - {report.key for report in reports})
    missing = Missing(lost, len(wanted), unreported, len(reports) + len(unreported))
    # Without a single image it is no partial download, whatever may be missing.
    allowed = options.missing if found else 0.0
    remedy = f"files ({', '.join((*PICTURES, *DICOM))}) are called after their image"
    missing.refuse(f"{root}: ", NAME, allowed, f"{remedy}, in ROOT or its folders")
    return found, missing


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


def _phantoms(
    wanted: Sequence[Wanted], reports: Mapping[str, OpenIReport]
) -> tuple[tuple[Study, ...], tuple[Radiograph, ...]]:
    from pytest_occlusion_fixtures.digest import generator_digest

    digest = generator_digest()
    position = {study: at for at, study in enumerate(dict.fromkeys(one.study for one in wanted))}
    radiographs = []
    for one in wanted:
        report = reports[one.study.key]
        place = report.images.index(one.key)
        views = tuple(view if view in ("AP", "lateral") else "PA" for view in report.views)
        identity = f"{digest}/{report.key}/{report.codes}/{views}/{place}/{PHANTOM}"
        radiographs.append(
            Radiograph(
                key=one.key,
                study=position[one.study],
                view=one.view,
                content=hashlib.sha256(identity.encode()).hexdigest(),
                where=one.where,
                open=partial(draw_indexed, report.key, report.codes, views, place),
            )
        )
    return tuple(position), tuple(radiographs)


def draw_indexed(
    key: str, codes: tuple[str, ...], views: tuple[str, ...], place: int
) -> Image.Image:
    """Draw the phantom of one radiograph of a report from its MeSH codes."""
    from PIL import Image

    from pytest_occlusion_fixtures.open_i import study_from_mesh
    from pytest_occlusion_fixtures.phantom import draw_radiograph

    return Image.fromarray(draw_radiograph(study_from_mesh(key, codes, views), place, PHANTOM))
