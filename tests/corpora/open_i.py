"""A miniature of Open-i as NLM distributes it, all of it made up."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

from tests.corpora.mimic import write_dicom


@dataclass(frozen=True)
class Case:
    """One made-up report.

    Attributes:
        number: ``1001`` is the case ``CXR1001`` of the file ``1001.xml``.
        findings: Its Findings, or ``""``.
        impression: Its Impression, or ``""``.
        caption: What the captions of its images say.
        images: What follows ``CXR1001_`` in the identifier of each image.
    """

    number: int
    findings: str
    impression: str
    caption: str
    images: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Identifiers of the images."""
        return tuple(f"CXR{self.number}_{image}" for image in self.images)


CASES = (
    Case(1, "Case 0 clear.", "Normal 0.", "PA and lateral", ("1_IM-0001-3001", "1_IM-0001-4001")),
    Case(10, "Case 1 clear.", "", "Chest, 2 views", ("IM-0002-1001", "IM-0002-2001")),
    Case(100, "", "Case 2 normal.", "AP chest", ("IM-0002-1001",)),
    Case(101, "Case 3.", "Case 3.", "PA and lateral", ("IM-7-1-1", "IM-7-1-2", "IM-8-1")),
    Case(102, "", "", "PA chest", ("IM-0009-1001",)),
    Case(103, "Case 5 without images.", "Told.", "", ()),
)  # fmt: skip
"""With findings or an impression: five; with a radiograph too: four, which have eight."""


def xml_of(case: Case) -> str:
    """The report file of a case."""
    sections = {"COMPARISON": "None.", "FINDINGS": case.findings, "IMPRESSION": case.impression}
    texts = "".join(
        f'<AbstractText Label="{label}">{escape(text)}</AbstractText>'
        for label, text in sections.items()
    )
    images = "".join(
        f'<parentImage id="{name}"><caption>{escape(case.caption)}</caption></parentImage>'
        for name in case.names
    )
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<eCitation><uId id="CXR{case.number}"/>'
        f"<MedlineCitation><Article><Abstract>{texts}</Abstract></Article></MedlineCitation>"
        f"<MeSH><major>normal</major></MeSH>{images}</eCitation>\n"
    )


def picture(case: Case, place: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """uint8 ``[10, 8]``: what the radiograph shows, different for each."""
    return np.full((10, 8), 20 * CASES.index(case) + 5 * place + 1, dtype=np.uint8)


def write_tree(root: Path, *, images: str = "png", reports: str = "folder") -> Path:
    """Write the miniature.

    Args:
        root: Folder to make.
        images: ``"png"`` (one folder), ``"flat"`` (the root itself), ``"dicom"`` (a folder for
            each case, files without ``CXR``) or ``"both"``.
        reports: ``"folder"``, ``"tgz"`` or ``"none"``.
    """
    root.mkdir(parents=True, exist_ok=True)
    if reports == "folder":
        (root / "ecgen-radiology").mkdir()
        for case in CASES:
            (root / "ecgen-radiology" / f"{case.number}.xml").write_text(xml_of(case))
    if reports == "tgz":
        write_archive(root / "NLMCXR_reports.tgz")
    for case in CASES:
        for place, name in enumerate(case.names):
            pixels = picture(case, place)
            if images in ("png", "both"):
                path = root / "NLMCXR_png" / f"{name}.png"
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(pixels).save(path)
            if images == "flat":
                Image.fromarray(pixels).save(root / f"{name}.png")
            if images in ("dicom", "both"):
                path = root / "NLMCXR_dcm" / f"{case.number}" / f"{name.removeprefix('CXR')}.dcm"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_dicom(path, pixels)
    return root


def write_archive(path: Path) -> None:
    """Write the reports as NLM packs them."""
    with tarfile.open(path, "w:gz") as archive:
        for case in CASES:
            data = xml_of(case).encode()
            member = tarfile.TarInfo(f"ecgen-radiology/{case.number}.xml")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
