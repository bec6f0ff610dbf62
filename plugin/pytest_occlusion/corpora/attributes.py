"""What is known of radiographs, their studies or their patients: labels, sex, age, from tables.

A table has a row for each radiograph, study or patient, or several of which the first value counts.
Only rows of what is wanted are kept, and equal rows once: a large collection has few that differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from pytest_occlusion.corpora.base import Attributes
from pytest_occlusion.corpora.files import is_file
from pytest_occlusion.corpora.radiographs import Wanted
from pytest_occlusion.corpora.tables import Table, refuse_listed
from pytest_occlusion.errors import MissingError, OcclusionError

RADIOGRAPH, STUDY, PATIENT = range(3)

KEYS = {
    **dict.fromkeys(("dicom_id", "radiograph_id", "radiograph"), RADIOGRAPH),
    **dict.fromkeys(("study_id", "study"), STUDY),
    **dict.fromkeys(("subject_id", "patient_id", "patient"), PATIENT),
}
"""Columns that say of what a row is; the first that a table has counts."""

RENAMED = {"gender": "sex", "anchor_age": "age"}

LABELS = frozenset(
    ("Airspace Opacity", "Atelectasis", "Cardiomegaly", "Consolidation", "Edema",
     "Enlarged Cardiomediastinum", "Fracture", "Lung Lesion", "Lung Opacity", "No Finding",
     "Pleural Effusion", "Pleural Other", "Pneumonia", "Pneumothorax", "Support Devices")
)  # fmt: skip
"""Names of CheXpert's labels and of the radiologists' of MIMIC-CXR-JPG 2.1.0, left as they are."""

SHAPE = f"a CSV table has one of the columns {', '.join(KEYS)}, and others with what is known"
PLACES = "attributes= and labels name CSV tables; a variable in a path has to be set"
AGAIN = "fetch or write the table again"

Row = tuple[str, ...]


def read_attributes(
    paths: Iterable[Path], wanted: Sequence[Wanted]
) -> tuple[list[Wanted], tuple[str, ...]]:
    """Give radiographs the attributes that tables have of them, in the order of the tables.

    Returns:
        The radiographs, each with every attribute; and notes on rows that are missing or differ.

    Raises:
        MissingError: There is no such file.
        OcclusionError: A table that is none, lacks a key or has faulty rows (listed), or an
            attribute that two columns give.
    """
    columns = {path: _columns(path) for path in dict.fromkeys(paths)}
    owners: dict[str, Path] = {}
    twice = []
    for path, (_, names) in columns.items():
        for name in map(_attribute, names):
            if name in owners:
                twice.append(f"{name} (of {owners[name]} and of {path})")
            owners.setdefault(name, path)
    remedy = "leave one of the tables out, or one of the columns"
    refuse_listed("attributes that are given twice", twice, remedy)
    pairs: dict[tuple[str, str], tuple[str, str]] = {}
    shared: dict[Attributes, Attributes] = {}
    found: list[Attributes] = [()] * len(wanted)
    notes: list[str] = []
    for path, (column, names) in columns.items():
        keys = [_key_of(one, column) for one in wanted]
        rows = _read(path, column, names, set(keys), notes)
        if lacking := sum(key not in rows for key in keys):
            notes.append(f"{path.name} has no row for {lacking:,} of {len(keys):,} radiographs")
        called = [_attribute(name) for name in names]
        blank = ("",) * len(names)
        for at, key in enumerate(keys):
            new = zip(called, rows.get(key, blank), strict=True)
            both = found[at] + tuple(pairs.setdefault(pair, pair) for pair in new)
            found[at] = shared.setdefault(both, both)
    given = [one._replace(attributes=known) for one, known in zip(wanted, found, strict=True)]
    return given, tuple(notes)


def _key_of(one: Wanted, column: str) -> str:
    return (one.key, one.study.given_id, one.study.patient)[KEYS[column]]


def _attribute(column: str) -> str:
    """What an attribute is called by its column."""
    name = column if column in LABELS else "_".join(column.lower().split())
    return RENAMED.get(name, name)


def _columns(path: Path) -> tuple[str, list[str]]:
    """The key of a table, and the columns with attributes: all that are no identifiers."""
    if not is_file(path):
        raise MissingError(f"{path}: no such file", remedy=PLACES)
    if not path.name.lower().removesuffix(".gz").endswith((".csv", ".tsv")):
        raise OcclusionError(f"{path}: attributes are read from CSV tables only", remedy=SHAPE)
    header = Table(path, [*KEYS], remedy=AGAIN).header()
    key = next((name for name in KEYS if name in header), None)
    if key is None:
        raise OcclusionError(f"{path}: has none of the columns {', '.join(KEYS)}", remedy=SHAPE)
    # Identifiers are nobody's groups; a column without a name is the index that pandas writes.
    known = [name for name in dict.fromkeys(header) if name and not name.startswith("Unnamed: ")]
    return key, [name for name in known if name not in KEYS and not name.endswith("_id")]


def _read(
    path: Path, column: str, names: Sequence[str], wanted: set[str], notes: list[str]
) -> dict[str, Row]:
    """The rows of what is wanted, by key; of several the first value that is not empty."""
    table = Table(path, (column, *names), remedy=AGAIN)
    shared: dict[Row, Row] = {}
    rows: dict[str, Row] = {}
    differing: set[tuple[str, str]] = set()
    for key, *cells in table.rows(table.known):
        if key not in wanted:
            continue
        row = tuple(cells)
        if key in rows:
            values = list(zip(names, rows[key], row, strict=True))
            differing |= {(name, key) for name, old, new in values if "" != old != new != ""}
            row = tuple(old or new for _, old, new in values)
        rows[key] = shared.setdefault(row, row)
    refuse_listed(f"{path}: {len(table.faults)} faulty rows", table.faults, AGAIN)
    if differing:
        counts = Counter(_attribute(name) for name, _ in sorted(differing))
        said = ", ".join(f"{name} of {count:,}" for name, count in counts.items())
        notes.append(f"{path.name}: rows of one {column} differ, the first value counts: {said}")
    return rows
