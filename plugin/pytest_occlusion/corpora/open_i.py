"""Open-i: 3,955 real reports of Indiana University, with their radiographs or with phantoms.

The reports are CC BY-NC-ND 4.0: they are read where NLM's archive lies, or where pip installed
the package torchxrayvision, which carries it, and never copied. Where the radiographs are not
given, phantoms stand in for them, drawn from the MeSH codes that each report is indexed with.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pytest_occlusion.corpora.base import Corpus, Radiograph, Step, Study
from pytest_occlusion.corpora.contents import FileState, Memory, Say, image_digests
from pytest_occlusion.corpora.images import DICOM, open_radiograph
from pytest_occlusion.corpora.open_i_files import (
    NAME,
    VIEWS,
    OpenIOptions,
    find_files,
    find_reports,
    refuse_missing,
)
from pytest_occlusion.corpora.open_i_reports import OpenIReport, archive_path, read_reports
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    from PIL import Image

LICENCE = "Open-i reports (Indiana University): CC BY-NC-ND 4.0"


class Picture(NamedTuple):
    """One radiograph that a report names.

    Attributes:
        report: The report.
        place: Its place among the report's radiographs.
    """

    report: OpenIReport
    place: int

    @property
    def name(self) -> str:
        """Identifier of the image."""
        return self.report.images[self.place]

    @property
    def view(self) -> str:
        """``"PA"``, ``"AP"``, ``"frontal"``, ``"lateral"`` or ``""``."""
        return self.report.views[self.place]


def load_open_i(
    root: Path | None = None,
    options: OpenIOptions | None = None,
    *,
    size: int = 128,
    memory: Memory | None = None,
    contents: bool = True,
    say: Say | None = None,
) -> Corpus:
    """Read the Open-i reports, with phantoms or with the real radiographs.

    Args:
        root: Folder with the real radiographs as NLM distributes them, PNG or DICOM; ``None``
            draws phantoms from the MeSH codes.
        options: What to take, and where the reports lie.
        size: Side of a phantom in pixels.
        memory: Where digests of images are remembered.
        contents: Whether to digest images at all; without, the fingerprint means nothing.
        say: Where progress lines go, if anywhere.

    Returns:
        The studies that have findings or an impression, and at least one radiograph.

    Raises:
        OcclusionError: There are no reports, or damaged ones (listed); more radiographs or reports
            are missing than were allowed (listed); radiographs that cannot be read (listed).
    """
    options = options or OpenIOptions()
    own = find_reports(root, options)
    reports = sorted(read_reports(own or archive_path()), key=lambda report: report.key)
    if not reports:
        raise OcclusionError(
            f"{own}: holds no reports of Open-i",
            remedy="name NLMCXR_reports.tgz, or the folder of its XML files, with reports=PATH",
        )
    pictures, steps = _chosen(reports, options)
    files: dict[str, FileState] = {}
    fields: dict[str, int | str] = {"images": "phantom"}
    notes: list[str] = []
    if root is not None:
        pictures, files, fields, notes = _present(root, options, pictures, reports)
        steps.append(_step("with an image file", pictures))
    kept = list(dict.fromkeys(picture.report for picture in pictures))
    position = {report.key: index for index, report in enumerate(kept)}
    if root is None:
        radiographs = _phantoms(pictures, position, size)
    else:
        digests = [""] * len(pictures)
        if contents:
            states = [files[picture.name] for picture in pictures]
            names = [picture.name for picture in pictures]
            digests = image_digests(root, states, names, memory, say=say)
        radiographs = _real(pictures, position, root, files, digests, options.max_pixels)
    drawn = "phantoms drawn from their MeSH codes" if root is None else "their real radiographs"
    return Corpus(
        name=NAME,
        studies=tuple(_study(report) for report in kept),
        radiographs=tuple(radiographs),
        notes=(
            LICENCE + ("" if own else ", read from torchxrayvision"),
            f"{len(kept):,} of {len(reports):,} reports kept (findings or impression, and a "
            f"radiograph), with {drawn}",
            *notes,
        ),
        fields={
            "reports": len(reports),
            "with_findings": sum(bool(r.findings) for r in reports),
            "with_findings_or_impression": sum(bool(r.findings or r.impression) for r in reports),
            "studies": len(kept),
            "radiographs": len(radiographs),
            "patients": len(kept),
            **fields,
        },
        steps=tuple(steps),
    )


def _chosen(
    reports: Sequence[OpenIReport], options: OpenIOptions
) -> tuple[list[Picture], list[Step]]:
    """The radiographs to take, and what every filter left."""
    pictures = [Picture(report, at) for report in reports for at in range(len(report.images))]
    steps = [Step("in the collection", len(reports), len(pictures))]
    pictures = [one for one in pictures if one.report.findings or one.report.impression]
    steps += [
        _step("  with findings", [one for one in pictures if one.report.findings]),
        _step("  with impression", [one for one in pictures if one.report.impression]),
        _step("with findings or impression", pictures),
    ]
    kept_views = VIEWS[options.views]
    if kept_views is not None:
        pictures = [one for one in pictures if one.view in kept_views]
        steps.append(_step(f"{options.views} ({', '.join(kept_views)})", pictures))
    return pictures, steps


def _present(
    root: Path, options: OpenIOptions, wanted: Sequence[Picture], reports: Sequence[OpenIReport]
) -> tuple[list[Picture], dict[str, FileState], dict[str, int | str], list[str]]:
    """The radiographs that have a file, these files, and what to say of the others."""
    found = find_files(root, options, [picture.name for picture in wanted])
    unreported = sorted(found.cases - {report.key for report in reports})
    refuse_missing(root, options, len(wanted), found.faults, len(reports), unreported)
    pictures = [picture for picture in wanted if picture.name in found.files]
    missing = len(wanted) - len(pictures)
    dicom = any(file.name.lower().endswith(DICOM) for file in found.files.values())
    fields: dict[str, int | str] = {
        "images": "real",
        "views": options.views,
        "files": "dicom" if dicom else "png",
        "missing_images": missing,
        "missing_reports": len(unreported),
    }
    notes = []
    if missing or unreported:
        notes.append(
            f"a partial download: {missing:,} of {len(wanted):,} image files and "
            f"{len(unreported):,} of {len(reports) + len(unreported):,} reports are missing"
        )
    return pictures, found.files, fields, notes


def _step(name: str, pictures: Sequence[Picture]) -> Step:
    return Step(name, len({picture.report.key for picture in pictures}), len(pictures))


def _study(report: OpenIReport) -> Study:
    return Study(
        key=report.key,
        patient=report.key,
        report="\n".join(text for text in (report.findings, report.impression) if text),
        findings=report.findings,
        impression=report.impression,
    )


def _real(
    pictures: Sequence[Picture],
    position: dict[str, int],
    root: Path,
    files: dict[str, FileState],
    digests: Sequence[str],
    max_pixels: int,
) -> list[Radiograph]:
    radiographs = []
    for number, (picture, digest) in enumerate(zip(pictures, digests, strict=True), start=1):
        where = f"radiograph {number}"
        radiographs.append(
            Radiograph(
                key=picture.name,
                study=position[picture.report.key],
                view=picture.view,
                content=digest,
                where=where,
                open=partial(open_radiograph, root, files[picture.name].name, where, max_pixels),
            )
        )
    return radiographs


def _phantoms(pictures: Sequence[Picture], position: dict[str, int], size: int) -> list[Radiograph]:
    from pytest_occlusion_fixtures.digest import generator_digest

    digest = generator_digest()
    radiographs = []
    for number, (report, index) in enumerate(pictures, start=1):
        views = tuple(view if view in ("AP", "lateral") else "PA" for view in report.views)
        identity = f"{digest}/{report.key}/{report.codes}/{views}/{index}/{size}"
        radiographs.append(
            Radiograph(
                key=report.images[index],
                study=position[report.key],
                view=report.views[index],
                content=hashlib.sha256(identity.encode()).hexdigest(),
                where=f"radiograph {number}",
                open=partial(draw_indexed, report.key, report.codes, views, index, size=size),
            )
        )
    return radiographs


def draw_indexed(
    key: str, codes: tuple[str, ...], views: tuple[str, ...], view_index: int, *, size: int
) -> Image.Image:
    """Draw the phantom of one radiograph of a report from its MeSH codes."""
    from PIL import Image

    from pytest_occlusion_fixtures.open_i import study_from_mesh
    from pytest_occlusion_fixtures.phantom import draw_radiograph

    study = study_from_mesh(key, codes, views)
    return Image.fromarray(draw_radiograph(study, view_index, size))
