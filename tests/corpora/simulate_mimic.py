"""MIMIC-CXR in its full size, made up: how long listing, filtering and fingerprinting take.

    python -m tests.corpora.simulate_mimic FOLDER [--images 377110] [--reports 227835]

Writes tables, reports and one tiny file per image to FOLDER (1.6 GB of small files at full size),
then loads them twice, the second time with remembered digests, each in a process of its own.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.corpora.mimic import METADATA_TABLE, REPORTS, SPLIT_TABLE

WORDS = ("lungs", "clear", "heart", "normal", "no", "effusion", "small", "left", "basilar", "mild")

LOAD = """
import resource, sys, time
from pathlib import Path
from pytest_occlusion.corpora import load_corpus
from pytest_occlusion.engine.store import Store
root = Path(sys.argv[1])
start, used = time.perf_counter(), time.process_time()
corpus = load_corpus(f"mimic-cxr:{root}", split="train", memory=Store(root / "store"))
corpus.fingerprint
seconds, used = time.perf_counter() - start, time.process_time() - used
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(f"{len(corpus.studies):,} studies, {len(corpus.radiographs):,} radiographs: {seconds:.1f} s "
      f"({used:.1f} s of processor), {memory:.2f} GiB at most")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=377_110)
    parser.add_argument("--reports", type=int, default=227_835)
    options = parser.parse_args()
    if not (options.folder / SPLIT_TABLE).exists():
        simulate(options.folder, images=options.images, reports=options.reports)
    for state in ("first", "again"):
        done = subprocess.run(
            [sys.executable, "-c", LOAD, str(options.folder)],
            capture_output=True,
            text=True,
            check=True,
        )
        print(f"{state}: {done.stdout}", end="")  # noqa: T201


def simulate(root: Path, *, images: int, reports: int) -> None:
    """Write a collection of this size, all of it in the train split."""
    draw = random.Random(0)
    root.mkdir(parents=True, exist_ok=True)
    counts = [1] * reports
    for _ in range(images - reports):
        counts[draw.randrange(reports)] += 1
    studies = list(_studies(draw, reports))
    with zipfile.ZipFile(root / REPORTS, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for subject, study in studies:
            archive.writestr(f"{_folder(subject, study)}.txt", _report(draw))
    with (
        gzip.open(root / SPLIT_TABLE, "wt", compresslevel=1) as split,
        gzip.open(root / METADATA_TABLE, "wt", compresslevel=1) as metadata,
    ):
        split.write("dicom_id,study_id,subject_id,split\n")
        metadata.write("dicom_id,subject_id,study_id,PerformedProcedureStepDescription,")
        metadata.write("ViewPosition,Rows,Columns,StudyDate,StudyTime\n")
        for (subject, study), count in zip(studies, counts, strict=True):
            folder = root / _folder(subject, study)
            folder.mkdir(parents=True)
            for _ in range(count):
                dicom = "-".join(f"{draw.getrandbits(32):08x}" for _ in range(5))
                view = draw.choice(["PA", "AP", "LATERAL", "LL"])
                split.write(f"{dicom},{study},{subject},train\n")
                metadata.write(f'{dicom},{subject},{study},"CHEST (PA, LAT)",{view},3056,2544,')
                metadata.write("21800506,213014.531\n")
                path = folder / f"{dicom}.jpg"
                path.write_text(dicom)
                os.utime(path, (1_700_000_000, 1_700_000_000))


def _studies(draw: random.Random, count: int) -> Iterator[tuple[int, int]]:
    subject = 10_000_000
    for number in range(count):
        if number % 3 == 0:
            subject += draw.randint(1, 90)
        yield subject, 50_000_000 + number


def _folder(subject: int, study: int) -> str:
    return f"files/p{str(subject)[:2]}/p{subject}/s{study}"


def _report(draw: random.Random) -> str:
    def lines(count: int) -> str:
        return "\n ".join(" ".join(draw.choices(WORDS, k=12)) + "." for _ in range(count))

    return (
        f"{'':33}FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n\n INDICATION:  ___ year old.\n\n"
        " TECHNIQUE:  Chest PA and lateral\n\n COMPARISON:  ___\n\n"
        f" FINDINGS: \n \n {lines(7)}\n\n IMPRESSION: \n \n {lines(1)}\n"
    )


if __name__ == "__main__":
    main()
