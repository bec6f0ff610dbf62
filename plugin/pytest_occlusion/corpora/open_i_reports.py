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

from pytest_occlusion.corpora.base import Study
from pytest_occlusion.corpora.faults import refuse_listed
from pytest_occlusion.corpora.files import is_folder, read_report
from pytest_occlusion.errors import OcclusionError

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
