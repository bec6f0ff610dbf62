"""Miniatures of the collections that the field passes around, all of them made up.

Each writer lays out a few studies with the real names of files and columns and the quirks of the
real thing, and tells what a reader must make of it: the rows of a manifest that says the same.
The first number in a text is the number of its pattern, as the toy family of the tests wants it.
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tests.corpora.mimic import pattern

NAN = float("nan")


@dataclass(frozen=True)
class Made:
    """One made-up study: its pattern, patient, texts, views, split and whom it is of."""

    case: int
    patient: int
    findings: str
    impression: str
    views: tuple[str, ...]
    split: str
    sex: str
    age: int


def _made() -> list[Made]:
    both, one = ("PA", "LATERAL"), ("AP",)
    made = []
    for case in range(12):
        findings = f"Case {case} of hush-report, number {case}." if case % 5 != 3 else ""
        impression = f"Case {case} hush: normal; nothing else." if case % 4 != 1 else ""
        split = ("train", "validate", "test")[case % 3]
        views = both if case % 2 else one
        made.append(
            Made(case, case // 2, findings, impression, views, split, "FM"[case % 2], 40 + case)
        )
    made.append(Made(12, 6, "", "", one, "test", "F", 52))  # an image, and nothing said of it
    return made


STUDIES = _made()


@dataclass(frozen=True)
class Miniature:
    """What was written.

    Attributes:
        spec: How a suite names it.
        rows: What a manifest would say of it: an image of a study to a row.
        secrets: What must never be printed.
    """

    spec: str
    rows: tuple[dict[str, str], ...]
    secrets: tuple[str, ...]


def picture(case: int) -> Image.Image:
    """A grey picture of 32 x 32 pixels."""
    return Image.fromarray(pattern(case)).resize((32, 32), Image.Resampling.NEAREST)


def save(path: Path, case: int) -> Path:
    """Save the picture of a case; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(case).save(path, format="JPEG" if path.suffix == ".jpg" else "PNG")
    return path


def png(case: int) -> bytes:
    """The bytes of a picture."""
    buffer = io.BytesIO()
    picture(case).save(buffer, format="PNG")
    return buffer.getvalue()


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write a table; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _row(
    image: Path, radiograph: str, study: str, patient: str, view: str, made: Made, **texts: str
) -> dict[str, str]:
    """A row of the manifest; texts are the study's own unless others are given."""
    return {
        "image": str(image),
        "radiograph": radiograph,
        "study_id": study,
        "patient_id": patient,
        "view": view,
        **(texts or {"findings": made.findings, "impression": made.impression}),
        "split": made.split,
    }


def _secrets(*more: str) -> tuple[str, ...]:
    return ("hush", *more)


def indiana(root: Path) -> Miniature:
    """Kaggle's tables and pictures of Indiana University: no splits, no patients, few words."""
    reports, projections, rows = [], [], []
    for made in STUDIES:
        uid = str(made.case + 1)
        reports.append(
            {
                "uid": uid,
                "MeSH": "normal",
                "Problems": "normal;Opacity" if made.case % 3 else "normal",
                "image": "Xray Chest PA and Lateral",
                "indication": "hush XXXX",
                "comparison": "",
                "findings": made.findings,
                "impression": made.impression,
            }
        )
        for place, view in enumerate(made.views):
            name = f"{uid}_IM-{made.case:04}-{place + 1}001.dcm.png"
            path = save(root / "images" / "images_normalized" / name, made.case)
            view = "Lateral" if view == "LATERAL" else "Frontal"
            projections.append({"uid": uid, "filename": name, "projection": view})
            key = f"CXR{'1_' * (uid == '1')}{name.removesuffix('.dcm.png')}"
            if made.findings or made.impression:
                row = _row(path, key, f"CXR{uid}", f"CXR{uid}", view, made)
                rows.append({**row, "split": ""})
    write_csv(root / "Indiana_reports.csv", reports)
    write_csv(root / "indiana_projections.csv", projections)
    return Miniature(f"indiana:{root}", tuple(rows), _secrets("IM-00", "CXR1"))


def r2gen(root: Path) -> Miniature:
    """R2Gen's annotation file of IU X-ray: two pictures of each study, findings as the report."""
    lists: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "    ": []}
    rows = []
    for made in STUDIES:
        if not made.findings:
            continue
        key = f"CXR{made.case + 1}_IM-{made.case:04}"
        split = "val" if made.split == "validate" else made.split
        paths = [f"{key}/{place}.png" for place in range(2)]
        one: dict[str, Any] = {"id": key, "report": made.findings, "image_path": paths}
        one["split"] = split
        lists["    " if split == "test" else split].append(one)
    for one in [one for ones in lists.values() for one in ones]:
        made = STUDIES[int(one["id"].partition("_")[0].removeprefix("CXR")) - 1]
        for path in one["image_path"]:
            saved = save(root / "images" / path, made.case)
            patient = one["id"].partition("_")[0]
            rows.append(_row(saved, path, one["id"], patient, "", made, report=made.findings))
    (root / "annotation.json").write_text(json.dumps(lists))
    return Miniature(f"annotations:{root / 'annotation.json'}", tuple(rows), _secrets("IM-00"))


def r2gen_mimic(root: Path) -> Miniature:
    """R2Gen's annotation file of MIMIC-CXR: an object for every image."""
    lists: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}
    rows = []
    for made in STUDIES:
        subject, study = 10_000_032 + made.patient, 50_414_267 + made.case
        for place in range(len(made.views)):
            if not made.findings:
                continue
            dicom = f"{made.case:08x}-bde0afdd-{place:08x}"
            path = f"p{str(subject)[:2]}/p{subject}/s{study}/{dicom}.jpg"
            split = "val" if made.split == "validate" else made.split
            lists[split].append(
                {
                    "id": dicom,
                    "study_id": study,
                    "subject_id": subject,
                    "report": made.findings,
                    "image_path": [path],
                    "split": split,
                }
            )
    for one in [one for ones in lists.values() for one in ones]:
        made = STUDIES[one["study_id"] - 50_414_267]
        saved = save(root / "images" / one["image_path"][0], made.case)
        ids = (str(one["study_id"]), str(one["subject_id"]))
        rows.append(_row(saved, one["id"], *ids, "", made, report=made.findings))
    (root / "annotation.json").write_text(json.dumps(lists))
    spec = f"annotations:{root / 'annotation.json'}"
    return Miniature(spec, tuple(rows), _secrets("10000032", "50414267", "bde0afdd"))


def rexrank(root: Path) -> Miniature:
    """ReXrank's test file of MIMIC-CXR: bare NaN, slashes in front, views in words."""
    words = {"PA": "postero-anterior", "AP": "antero-posterior", "LATERAL": "left lateral"}
    studies, rows = {}, []
    for made in STUDIES:
        subject, study = 10_000_032 + made.patient, str(50_414_267 + made.case)
        paths = [
            f"/p{str(subject)[:2]}/p{subject}/s{study}/{made.case:08x}-{place:08x}.jpg"
            for place in range(len(made.views))
        ]
        studies[study] = {
            "image_path": paths,
            "key_image_path": paths[0],
            "subject_id": subject,
            "split": "test",
            "report": f"Findings: {made.findings}\nImpression: {made.impression}",
            "section_findings": made.findings or NAN,
            "section_impression": made.impression or NAN,
            "frontal_lateral": [words[view] for view in made.views],
            "context": "Age: 40. Gender: F. Indication: hush.",
        }
        for path, view in zip(paths, made.views, strict=True):
            saved = save(root / "files" / path.lstrip("/"), made.case)
            if made.findings or made.impression:
                row = _row(saved, path.lstrip("/"), study, str(subject), view, made)
                rows.append({**row, "split": "test"})
    (root / "ReXRank_MIMICCXR_test.json").write_text(json.dumps(studies))
    spec = f"annotations:{root / 'ReXRank_MIMICCXR_test.json'}?images={root / 'files'}"
    return Miniature(spec, tuple(rows), _secrets("10000032", "50414267"))


def rexrank_iu(root: Path) -> Miniature:
    """ReXrank's test file of IU X-ray: lists of views that are not parallel; one key image."""
    studies, rows = {}, []
    for made in STUDIES[:12]:
        key = f"CXR{made.case + 1}_IM-{made.case:04}"
        paths = [f"{key}/0.png", f"{key}/1.png"]
        frontal = paths[made.case % 2]  # in one of ten of the real ones it is the second
        studies[key] = {
            "image_path": paths,
            "key_image_path": frontal,
            "split": "test",
            "report": f"Findings: {made.findings} Impression: {made.impression}",
            "section_findings": made.findings,
            "section_impression": made.impression,
            "frontal_lateral": ["Frontal", "Lateral", "Lateral"],
        }
        for path in paths:
            saved = save(root / "images" / path, made.case)
            view = "Frontal" if path == frontal else ""
            rows.append(_row(saved, path, key, key.partition("_")[0], view, made))
    (root / "ReXRank_IUXray_test.json").write_text(json.dumps(studies))
    spec = f"annotations:{root / 'ReXRank_IUXray_test.json'}"
    return Miniature(spec, tuple(rows), _secrets("IM-00"))


def chexpert_plus(root: Path, *, folder: str = "PNG/PNG", ending: str = ".png") -> Miniature:
    """CheXpert Plus: a row for each image, .jpg in the table and .png on the disk."""
    table, rows = [], []
    for made in STUDIES:
        patient, split = f"patient{32368 + made.patient}", "valid" if made.case % 3 else "train"
        for place, view in enumerate(made.views):
            lateral = view == "LATERAL"
            kind = "lateral" if lateral else "frontal"
            path = f"{split}/{patient}/study{made.case}/view{place + 1}_{kind}.jpg"
            table.append(
                {
                    "path_to_image": path,
                    "path_to_dcm": path.replace(".jpg", ".dcm"),
                    "frontal_lateral": kind.title(),
                    "ap_pa": "" if lateral else view,
                    "deid_patient_id": patient,
                    "patient_report_date_order": made.case,
                    "report": f"NARRATIVE:\thush\n{made.findings}\n{made.impression}",
                    "section_narrative": "hush\t1",
                    "section_findings": made.findings,
                    "section_impression": made.impression,
                    "age": made.age,
                    "sex": {"F": "Female", "M": "Male"}[made.sex],
                    "race": "Unknown",
                    "split": split,
                }
            )
            name = path.removesuffix(".jpg") + ending
            saved = save(root / folder / name, made.case)
            if made.findings or made.impression:
                study = f"{patient}/study{made.case}"
                row = _row(saved, path, study, patient, "lateral" if lateral else view, made)
                rows.append({**row, "split": "validate" if split == "valid" else split})
    write_csv(root / "df_chexpert_plus_240401.csv", table)
    return Miniature(f"chexpert-plus:{root}", tuple(rows), _secrets("patient323"))


def rexgradient(root: Path) -> Miniature:
    """ReXGradient: an object of studies, paths that start at the metadata, free words for views."""
    words = {"PA": "POSTERO_ANTERIOR", "AP": "AP (KUB)", "LATERAL": "LL"}
    found: dict[str, dict[str, Any]] = {"train": {}, "valid": {}, "test": {}}
    rows = []
    for made in STUDIES:
        split = "valid" if made.split == "validate" else made.split
        key = f"pGRDN{made.case:012}"
        paths = [
            f"deid_png/GRDN{made.patient}/GRDN{made.case}/studies/1.{made.case}/series/2/"
            f"instances/1.2.826.{made.case}.{place}.png"
            for place in range(len(made.views))
        ]
        found[split][key] = {
            "PatientID": f"GRDNhush{made.patient:04}",
            "AccessionNumber": f"GRDNacc{made.case:04}",
            "StudyInstanceUid": f"1.2.826.{made.case}",
            "StudyDate": "20200101",
            "PatientSex": made.sex,
            "PatientAge": f"{made.age:03}Y",
            "Indication": "hush",
            "Findings": made.findings or "None",
            "Impression": made.impression or "None",
            "ImagePath": [f"../{path}" for path in paths],
            "ImageViewPosition": [words[view] for view in made.views],
        }
    for split, studies in found.items():
        path = root / "metadata" / f"{split}_metadata_view_position.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(studies))
        for key, one in studies.items():
            made = STUDIES[int(key.removeprefix("pGRDN"))]
            for name, view in zip(one["ImagePath"], made.views, strict=True):
                name = name.removeprefix("../")
                saved = save(root / name, made.case)
                if made.findings or made.impression:
                    rows.append(_row(saved, name, key, one["PatientID"], view, made))
    return Miniature(f"rexgradient:{root}", tuple(rows), _secrets("GRDN", "1.2.826"))


def _embedded() -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Rows with the bytes of a picture in them, and what a manifest would say."""
    records, rows = [], []
    for made in [made for made in STUDIES if made.split == "test"]:
        for place in range(len(made.views)):
            if made.findings or made.impression:
                key = f"hush-{made.case}-{place}"
                records.append(
                    {
                        "image": {"bytes": png(made.case), "path": None},
                        "dicom": key,
                        "study_id": f"hush-{made.case}",
                        "findings": made.findings,
                        "impression": made.impression or None,
                    }
                )
                path = Path(f"pictures/{key}.png")
                rows.append(_row(path, key, f"hush-{made.case}", f"hush-{made.case}", "", made))
    return records, rows


def _pictures(root: Path, rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The same rows, with the pictures that a manifest needs saved."""
    for row in rows:
        save(root / row["image"], int(row["study_id"].removeprefix("hush-")))
    return [{**row, "image": str(root / row["image"])} for row in rows]


def parquet(root: Path) -> Miniature:
    """A repository of the hub as it is downloaded: Parquet shards with pictures in them."""
    import pyarrow as arrow
    from pyarrow.parquet import write_table

    records, rows = _embedded()
    folder = root / "set" / "data"
    folder.mkdir(parents=True)
    half = len(records) // 2
    for at, part in enumerate((records[:half], records[half:])):
        table = arrow.Table.from_pylist(part)
        write_table(table, folder / f"test-0000{at}-of-00002-abcdef.parquet", row_group_size=2)
    spec = f"hf:{root / 'set'}?split=test&radiograph=dicom"
    return Miniature(spec, tuple(_pictures(root, rows)), _secrets())


def saved_to_disk(root: Path) -> Miniature:
    """A DatasetDict that was saved to disk: Arrow streams in folders of splits."""
    import datasets

    records, rows = _embedded()
    features = datasets.Features(
        {
            "image": datasets.Image(),
            **{
                name: datasets.Value("string")
                for name in ("dicom", "study_id", "findings", "impression")
            },
        }
    )
    one = datasets.Dataset.from_list(records, features=features)
    datasets.DatasetDict({"train": one.select([0]), "test": one}).save_to_disk(
        str(root / "set"), num_shards={"train": 1, "test": 2}
    )
    spec = f"hf:{root / 'set'}?split=test&radiograph=dicom"
    return Miniature(spec, tuple(_pictures(root, rows)), _secrets())


def image_folder(root: Path) -> Miniature:
    """Pictures in folders of splits, each with a metadata.csv that has file_name."""
    rows = []
    for split in ("train", "test"):
        table = []
        for made in [made for made in STUDIES if made.split == split]:
            if made.findings or made.impression:
                name = f"hush-{made.case}.png"
                path = save(root / "set" / split / name, made.case)
                text = made.findings or made.impression
                table.append({"file_name": name, "text": text})
                if split == "test":
                    study = f"{split}/{name}"
                    rows.append(_row(path, study, study, study, "", made, report=text))
        write_csv(root / "set" / split / "metadata.csv", table)
    return Miniature(f"hf:{root / 'set'}?split=test", tuple(rows), _secrets())


def webdataset(root: Path) -> Miniature:
    """Shards of a training set: samples are the members that share a name up to the first dot."""
    rows = []
    (root / "shards").mkdir(parents=True)
    told = [made for made in STUDIES if made.findings or made.impression]
    for shard, part in enumerate((told[:5], told[5:])):
        with tarfile.open(root / "shards" / f"{shard:05}.tar", "w") as archive:
            for at, made in enumerate(part):
                name = f"{shard:05}{at:04}"
                text = made.findings or made.impression
                facts = {"study_id": f"hush-{made.case}", "patient_id": f"hush-p{made.patient}"}
                members = {".jpg": png(made.case), ".txt": text.encode()}
                members[".json"] = json.dumps(facts).encode()
                for ending, payload in members.items():
                    member = tarfile.TarInfo(name + ending)
                    member.size = len(payload)
                    archive.addfile(member, io.BytesIO(payload))
                path = save(root / "pictures" / f"{name}.png", made.case)
                ids = (facts["study_id"], facts["patient_id"])
                row = _row(path, f"{shard:05}/{name}", *ids, "", made, report=text)
                rows.append({**row, "split": ""})
    return Miniature(f"webdataset:{root / 'shards'}", tuple(rows), _secrets())


WRITERS: dict[str, Callable[[Path], Miniature]] = {
    writer.__name__: writer
    for writer in (
        indiana,
        r2gen,
        r2gen_mimic,
        rexrank,
        rexrank_iu,
        chexpert_plus,
        rexgradient,
        parquet,
        saved_to_disk,
        image_folder,
        webdataset,
    )
}
