"""Open-i: 3,955 real reports of Indiana University, read from the torchxrayvision package.

The reports are CC BY-NC-ND 4.0: they are read where pip installed them and never copied. Their
radiographs are not in the package; phantoms stand in for them, drawn from the MeSH codes that
each report is indexed with, unless a folder with the real ones is given.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast
from xml.etree import ElementTree

from pytest_occlusion.corpora.base import Corpus, Radiograph, Study
from pytest_occlusion.corpora.images import open_image
from pytest_occlusion.digests import file_digest
from pytest_occlusion.errors import OcclusionError, listed

if TYPE_CHECKING:
    from PIL import Image

ARCHIVE = "data/NLMCXR_reports.tgz"
SUFFIXES = (".png", ".jpg", ".jpeg")
LICENCE = "Open-i reports (Indiana University): CC BY-NC-ND 4.0, read from torchxrayvision"
_REMEDY = 'pip install "pytest-occlusion[open-i]"'


@dataclass(frozen=True)
class OpenIReport:
    """One report as the archive holds it.

    Attributes:
        key: ``"CXR1001"`` and the like; every report is of a different patient.
        findings: The Findings section or ``""``.
        impression: The Impression section or ``""``.
        codes: MeSH codes, e.g. ``"Opacity/lung/base/left"``.
        images: Identifiers of its radiographs, e.g. ``"CXR1001_IM-0004-1001"``.
        views: View of each image, from the caption: ``"PA"``, ``"AP"``, ``"frontal"``,
            ``"lateral"`` or ``""``.
    """

    key: str
    findings: str
    impression: str
    codes: tuple[str, ...]
    images: tuple[str, ...]
    views: tuple[str, ...]


def load_open_i(images: Path | None = None, *, size: int = 128) -> Corpus:
    """Read the Open-i reports, with phantoms or with the real radiographs.

    Args:
        images: Folder with the real radiographs, ``<image id>.png`` or ``.jpg``; ``None`` draws
            phantoms from the MeSH codes.
        size: Side of a phantom in pixels.

    Returns:
        The studies that have findings or an impression, and at least one radiograph.

    Raises:
        OcclusionError: torchxrayvision is not installed or holds no reports; radiographs are
            missing from the folder (listed).
    """
    reports = sorted(read_reports(archive_path()), key=lambda report: report.key)
    kept = [r for r in reports if (r.findings or r.impression) and r.images]
    studies = tuple(
        Study(
            key=report.key,
            patient=report.key,
            report="\n".join(text for text in (report.findings, report.impression) if text),
            findings=report.findings,
            impression=report.impression,
        )
        for report in kept
    )
    radiographs = _real(kept, images) if images else _phantoms(kept, size)
    pictures = "their real radiographs" if images else "phantoms drawn from their MeSH codes"
    return Corpus(
        name="open-i",
        studies=studies,
        radiographs=tuple(radiographs),
        notes=(
            LICENCE,
            f"{len(kept):,} of {len(reports):,} reports kept (findings or impression, and a "
            f"radiograph), with {pictures}",
        ),
        fields={
            "reports": len(reports),
            "with_findings": sum(bool(r.findings) for r in reports),
            "with_findings_or_impression": sum(bool(r.findings or r.impression) for r in reports),
            "studies": len(studies),
            "radiographs": len(radiographs),
            "patients": len(studies),
            "images": "real" if images else "phantom",
        },
    )


def archive_path() -> Path:
    """Find the archive of reports in the installed torchxrayvision, without importing it."""
    spec = find_spec("torchxrayvision")
    if spec is None or spec.origin is None:
        raise OcclusionError(
            "corpus 'open-i' reads its reports from the package torchxrayvision, which is not "
            "installed",
            remedy=_REMEDY,
        )
    path = Path(spec.origin).parent / ARCHIVE
    if not path.is_file():
        raise OcclusionError(
            f"the installed torchxrayvision holds no {ARCHIVE}",
            remedy=f"install it from its wheel: {_REMEDY}",
        )
    return path


def read_reports(path: Path) -> Iterator[OpenIReport]:
    """Yield every report of the archive, in the archive's order."""
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name.endswith(".xml") else None
                if file is not None:
                    # Python's parser resolves no external entities, and this file came with pip.
                    yield _parse(ElementTree.fromstring(file.read()))  # noqa: S314
    except (tarfile.TarError, EOFError, OSError, ElementTree.ParseError) as fault:
        raise OcclusionError(
            f"{path.name} of the installed torchxrayvision is damaged ({fault})",
            remedy="pip install --force-reinstall --no-deps torchxrayvision",
        ) from fault


def _parse(root: ElementTree.Element) -> OpenIReport:
    sections = {
        section.get("Label", ""): " ".join((section.text or "").split())
        for section in root.iter("AbstractText")
    }
    identity = root.find("uId")
    parents = root.findall("parentImage")
    captions = [parent.findtext("caption") or "" for parent in parents]
    return OpenIReport(
        key=identity.get("id", "") if identity is not None else "",
        findings=sections.get("FINDINGS", ""),
        impression=sections.get("IMPRESSION", ""),
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
    the frontal one first. The table of View Positions is of no use: it calls both images frontal
    in 1,219 studies, most of which say "2 views" here.

    Args:
        captions: One per image, in the order of the file.

    Returns:
        One view per image; ``""`` beyond the second of a study with a lateral view.
    """
    text = " ".join(captions)
    frontal = "AP" if _AP.search(text) and not _PA.search(text) else ""
    frontal = frontal or ("PA" if _PA.search(text) else "frontal")
    if len(captions) < 2 or not (_LATERAL.search(text) or _TWO_VIEWS.search(text)):
        return (frontal,) * len(captions)
    return (frontal, "lateral", *("" for _ in captions[2:]))


def _phantoms(reports: list[OpenIReport], size: int) -> list[Radiograph]:
    from pytest_occlusion_fixtures.digest import generator_digest

    digest = generator_digest()
    radiographs: list[Radiograph] = []
    for position, report in enumerate(reports):
        views = tuple(view if view in ("AP", "lateral") else "PA" for view in report.views)
        for index, image in enumerate(report.images):
            identity = f"{digest}/{report.key}/{report.codes}/{views}/{index}/{size}"
            radiographs.append(
                Radiograph(
                    key=image,
                    study=position,
                    view=views[index],
                    content=hashlib.sha256(identity.encode()).hexdigest(),
                    where=f"radiograph {len(radiographs) + 1}",
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


def _real(reports: list[OpenIReport], folder: Path) -> list[Radiograph]:
    if not folder.is_dir():
        raise OcclusionError(
            f"{folder}: no such folder",
            remedy="write open-i:FOLDER with the folder that holds the Open-i PNG files",
        )
    wanted = [(at, i) for at, report in enumerate(reports) for i in range(len(report.images))]
    present = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES}
    files = [present.get(reports[at].images[i]) for at, i in wanted]
    missing = [
        reports[at].images[i] for (at, i), file in zip(wanted, files, strict=True) if file is None
    ]
    if missing:
        raise OcclusionError(
            f"{folder}: {len(missing)} of {len(wanted)} radiographs are missing:\n"
            f"{listed(missing)}",
            remedy=f"name each file after its image ({', '.join(SUFFIXES)}), all in one folder",
        )
    with ThreadPoolExecutor() as pool:
        contents = list(pool.map(file_digest, cast("list[Path]", files)))
    return [
        Radiograph(
            key=reports[at].images[i],
            study=at,
            view=reports[at].views[i],
            content=content,
            where=f"radiograph {number}",
            open=partial(open_image, cast("Path", file)),
        )
        for number, ((at, i), file, content) in enumerate(
            zip(wanted, files, contents, strict=True), start=1
        )
    ]
