"""The reports of Open-i: XML files in a folder or an archive, and what their captions say."""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

from pytest_occlusion.errors import OcclusionError, listed

ARCHIVE = "data/NLMCXR_reports.tgz"
REPORT_LIMIT = 1 << 20
"""Bytes. Real reports have a few thousand."""

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
    """Yield every report of an archive or a folder, in the order of the archive or of the names.

    Args:
        path: ``NLMCXR_reports.tgz``, or a folder of XML files.

    Raises:
        OcclusionError: A damaged archive, or damaged files of a folder (listed).
    """
    if path.is_dir():
        yield from _read_folder(path)
        return
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.name.endswith(".xml") else None
                if file is not None:
                    yield parse_report(_limited(file.read(REPORT_LIMIT + 1)))
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
                report = parse_report(_limited(file.read(REPORT_LIMIT + 1)))
        except (OSError, ValueError) as fault:
            faults.append(f"{path.name}: {fault}")
            continue
        if report.key in reports:
            faults.append(f"{path.name}: {report.key} once more")
        reports[report.key] = report
    if faults:
        raise OcclusionError(
            f"{folder}: {len(faults)} reports cannot be read:\n{listed(faults)}",
            remedy="fetch NLMCXR_reports.tgz again, or remove these files",
        )
    yield from reports.values()


def _limited(payload: bytes) -> bytes:
    if len(payload) > REPORT_LIMIT:
        raise ValueError("too long for a report")
    return payload


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
    return OpenIReport(
        key=key,
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
