"""A miniature of MIMIC-CXR as PhysioNet ships it, all of it made up.

Every identifier and every text holds something that no output may show; :func:`secrets` lists it.
The first number in a report is the number of its pattern, as the toy family of the tests wants it.
"""

from __future__ import annotations

import csv
import gzip
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SPLIT_TABLE = "mimic-cxr-2.0.0-split.csv.gz"
METADATA_TABLE = "mimic-cxr-2.0.0-metadata.csv.gz"
REPORTS = "mimic-cxr-reports.zip"
SECTIONED = "mimic_cxr_sectioned.csv"
CHEXPERT = "mimic-cxr-2.0.0-chexpert.csv.gz"
TEST_LABELS = "mimic-cxr-2.1.0-test-set-labeled.csv"
PATIENTS = "patients.csv.gz"
ADMISSIONS = "admissions.csv.gz"

LABELS = (
    "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Enlarged Cardiomediastinum",
    "Fracture", "Lung Lesion", "Lung Opacity", "No Finding", "Pleural Effusion", "Pleural Other",
    "Pneumonia", "Pneumothorax", "Support Devices",
)  # fmt: skip

KINDS: dict[str, str] = {
    "plain": "FINAL REPORT\n EXAMINATION: Chest.\n\n FINDINGS:\n\n {text} Clear.\n\n"
    " IMPRESSION:\n\n {text} Normal.\n",
    "title": "Findings: {text} Clear.\nImpression: {text} Normal.",
    "bare": "FINDINGS\n {text} Clear.\nIMPRESSION\n {text} Normal.",
    "joint": " FINAL REPORT\n INDICATION:  ___ year old.\n FINDINGS AND IMPRESSION:  {text}\n",
    "conclusion": "COMPARISON: ___.\n\nCONCLUSION: {text} The findings were told to ___.\n",
    "findings": "FINDINGS: {text}\nIMPRESSION: ___\n",
    "headless": " FINAL REPORT\n PORTABLE CHEST\n\n {text} Nothing new; findings as before.\n",
    "wet": "WET READ: ___ 9:04 PM\n IMPRESSION: hasty-secret.\n_________________________\n"
    " FINAL REPORT\n FINDINGS: {text}\n IMPRESSION: {text} Normal.\n",
    "addendum": "FINAL REPORT\n FINDINGS: {text}\n IMPRESSION: {text} Left.\n"
    " ADDENDUM  Wrong side.\n IMPRESSION: {text} Right.\n",
    "marks": "FINDINGS: ___\nIMPRESSION: ___.\n",
    "empty": "",
}
"""Kind of report -> its form."""


@dataclass(frozen=True)
class MimicStudy:
    """One made-up study.

    Attributes:
        kind: Form of its report; ``"none"`` has no file.
        views: ViewPosition of each radiograph.
        patient: Number of the patient.
        split: Where the split table puts it.
        case: Number of the pattern that is drawn and named.
    """

    kind: str
    views: tuple[str, ...]
    patient: int
    split: str
    case: int

    @property
    def subject(self) -> str:
        return str(10_000_032 + 7 * self.patient)

    def folder(self, number: int) -> str:
        return f"files/p{self.subject[:2]}/p{self.subject}/s{study_id(number)}"

    @property
    def report(self) -> str:
        text = f"Case {self.case} of hush-report, number {self.case}."
        return KINDS[self.kind].replace("{text}", text)


def study_id(number: int) -> str:
    return str(50_414_267 + 11 * number)


def dicom_id(number: int, view: int) -> str:
    return f"{0x02AA804E + number:08x}-bde0afdd-112c0b34-7bc16630-{0x4E384014 + view:08x}"


def _studies() -> list[MimicStudy]:
    validate = [
        ("plain", ("PA", "LATERAL")),
        ("plain", ("AP",)),
        ("title", ("LL", "PA")),
        ("bare", ("PA", "LL")),
        ("joint", ("AP", "AP")),
        ("conclusion", ("LATERAL",)),
        ("findings", ("AP",)),
        ("headless", ("PA", "LATERAL")),
        ("wet", ("PA",)),
        ("addendum", ("", "AP", "PA")),
        ("marks", ("AP",)),
        ("empty", ("AP", "PA")),
        ("plain", ("PA", "LATERAL")),
    ]
    made = [
        MimicStudy(kind, views, at // 2, "validate", at)
        for at, (kind, views) in enumerate(validate)
    ]
    made[-1] = MimicStudy("plain", ("PA", "LATERAL"), 6, "validate", 1)  # the text of another one
    made += [MimicStudy("plain", ("PA",), 20 + at, "train", 20 + at) for at in range(5)]
    made += [MimicStudy("title", ("AP", "LATERAL"), 30 + at, "test", 30 + at) for at in range(3)]
    return made


STUDIES = _studies()


def secrets() -> list[str]:
    """What must never be printed."""
    found = ["hush", "hasty", "year old", "Wrong side", "PORTABLE"]
    for number, study in enumerate(STUDIES):
        found += [study.subject, study_id(number), dicom_id(number, 0)[:8], dicom_id(number, 0)]
    return found


def pattern(number: int) -> Any:
    """uint8 ``[16, 16]``, as the toy family of the plugin's tests draws it."""
    cells = np.random.default_rng(number).integers(0, 256, (4, 4), dtype=np.uint8)
    return cells.repeat(4, axis=0).repeat(4, axis=1)


def write_tree(
    root: Path,
    *,
    images: str = "jpg",
    reports: str = "zip",
    metadata: bool = True,
) -> Path:
    """Write the whole collection.

    Args:
        root: Folder to write to; made if it is not there.
        images: ``jpg``, ``png`` or ``dicom``.
        reports: ``zip``, ``folder`` (beside the studies' folders) or ``none``.
        metadata: Whether there is a metadata table.
    """
    root.mkdir(parents=True, exist_ok=True)
    write_tables(root, metadata=metadata)
    for number, study in enumerate(STUDIES):
        folder = root / study.folder(number)
        folder.mkdir(parents=True)
        for view in range(len(study.views)):
            pixels = pattern(study.case)
            if images == "jpg":
                picture = Image.fromarray(pixels).resize((32, 32), Image.Resampling.NEAREST)
                picture.save(folder / f"{dicom_id(number, view)}.jpg", quality=98)
            elif images == "png":
                Image.fromarray(pixels).save(folder / f"{dicom_id(number, view)}.png")
            else:
                write_dicom(folder / f"{dicom_id(number, view)}.dcm", pixels)
        if reports == "folder" and study.kind != "none":
            folder.with_suffix(".txt").write_text(study.report)
    if reports == "zip":
        write_zip(root / REPORTS)
    return root


def write_zip(path: Path, *, prefix: str = "") -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, study in enumerate(STUDIES):
            if study.kind != "none":
                archive.writestr(f"{prefix}{study.folder(number)}.txt", study.report)


def flatten(root: Path, folder: str, ending: str) -> None:
    """Move every image to one folder, as people keep resized copies."""
    files = list((root / "files").rglob(f"*{ending}"))
    (root / folder).mkdir(exist_ok=True)
    for path in files:
        path.rename(root / folder / path.name)


def sectioned_rows() -> list[dict[str, str]]:
    """What a splitter like MIT-LCP's makes of the reports: other texts than this tool's."""
    rows = []
    for number, study in enumerate(STUDIES):
        text = f"Case {study.case} of hush-report, number {study.case}."
        row = dict.fromkeys(("study", "impression", "findings", "last_paragraph", "comparison"), "")
        row["study"] = f"s{study_id(number)}"
        if study.kind in ("headless", "marks"):
            row["last_paragraph"] = "PORTABLE CHEST, hush."
        elif study.kind != "empty":
            row["impression"] = f"{text}\n Sectioned, as it is."
            row["findings"] = "" if study.kind == "conclusion" else f"{text}  Clear."
            row["comparison"] = "___, hush."
        rows.append(row)
    return rows


def write_labels(folder: Path) -> None:
    """Write the labels of CheXpert, and those that radiologists gave the test studies."""
    automatic, read = [], []
    for number, study in enumerate(STUDIES):
        values = {name: ("", "1.0", "0.0", "-1.0")[(number + at) % 4] for at, name in
                  enumerate(LABELS)}  # fmt: skip
        ids = {"subject_id": study.subject, "study_id": study_id(number)}
        automatic.append({**ids, **values})
        if study.split == "test":
            names = [name.replace("Lung Opacity", "Airspace Opacity") for name in LABELS]
            read.append({"study_id": study_id(number), **dict(zip(names, values.values(),
                        strict=True))})  # fmt: skip
    write_table(folder / CHEXPERT, automatic)
    write_table(folder / TEST_LABELS, read)


def write_patients(folder: Path) -> None:
    """Write MIMIC-IV's tables of patients, and of admissions: two for each, which may differ."""
    subjects = sorted({study.subject for study in STUDIES})
    patients = [
        {"subject_id": one, "gender": "FM"[at % 2], "anchor_age": str(40 + at), "dod": ""}
        for at, one in enumerate(subjects)
    ]
    admissions = [
        {"subject_id": one, "hadm_id": f"hush-{stay}{one}", "race": ("", "A-hush", "B-hush")[stay],
         "Marital Status": "SINGLE" if at % 2 else ""}
        for at, one in enumerate(subjects)
        for stay in range(3 if at == 1 else 2)
    ]  # fmt: skip
    write_table(folder / PATIENTS, patients)
    write_table(folder / ADMISSIONS, admissions)


def split_rows() -> list[dict[str, str]]:
    """Rows of the split table, in the order of studies, not of patients."""
    return [
        {
            "dicom_id": dicom_id(number, view),
            "study_id": study_id(number),
            "subject_id": study.subject,
            "split": study.split,
        }
        for number, study in enumerate(STUDIES)
        for view in range(len(study.views))
    ]


def write_tables(root: Path, *, metadata: bool = True) -> None:
    write_table(root / SPLIT_TABLE, split_rows())
    rows = [
        {
            "dicom_id": dicom_id(number, view),
            "subject_id": study.subject,
            "study_id": study_id(number),
            "PerformedProcedureStepDescription": "CHEST (PA, LAT) hush",
            "ViewPosition": position,
            "Rows": "32",
            "Columns": "32",
        }
        for number, study in enumerate(STUDIES)
        for view, position in enumerate(study.views)
    ]
    if metadata:
        write_table(root / METADATA_TABLE, rows)


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_dicom(path: Path, pixels: Any, *, bits: int = 12, **changes: Any) -> Path:
    """Write a DICOM file whose windowed picture is ``pixels`` (8 bits), stored in ``bits``.

    Args:
        path: The file.
        pixels: uint8 ``[H, W]``, or the stored values themselves as uint16.
        bits: Bits stored.
        changes: Elements to set after all others; ``None`` removes one.
    """
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.1")
    data.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.4")
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    data.SOPInstanceUID = "1.2.3.4"
    data.PatientName = "Hush^Patient"
    data.PatientID = "hush-patient"
    data.Modality = "DX"
    top = 2**bits - 1
    values = pixels if pixels.dtype == np.uint16 else (pixels / 255 * top).round().astype("<u2")
    data.Rows, data.Columns = values.shape
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = (
        16,
        bits,
        bits - 1,
        0,
    )
    data.WindowCenter, data.WindowWidth = str(2 ** (bits - 1)), str(2**bits)
    data.PixelData = values.astype("<u2").tobytes()
    for name, value in changes.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return path
