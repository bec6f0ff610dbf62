"""From the rows of a collection to a corpus: chosen, checked as a whole, their images found.

Every collection that is a table of some sort comes this way. A row names its images, its study and
its texts; messages name it by its number alone.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from pytest_occlusion.corpora.base import APART, Attributes, Corpus, Request, Study
from pytest_occlusion.corpora.columns import ROLES, TEXTS, check_kept, several
from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.corpora.files import expanded
from pytest_occlusion.corpora.members import Member
from pytest_occlusion.corpora.options import SplitOptions
from pytest_occlusion.corpora.radiographs import (
    Selection,
    Wanted,
    file_radiographs,
    forgives,
    number_of,
)
from pytest_occlusion.corpora.tables import Cells, Fault, cells_of, refuse_rows
from pytest_occlusion.corpora.words import FRONTAL, split_of, view_of
from pytest_occlusion.errors import SHOWN, OcclusionError


@dataclass(frozen=True)
class Choice(SplitOptions):
    """What else of a collection to take.

    Attributes:
        views: All radiographs, or frontal ones only.
        per_study: All radiographs of a study, or one: PA before AP before others.
        missing: How many image files may be missing: a share below 1, or a number.
        faults: Where to write all faults.
        keep: Columns to keep as attributes of the radiographs.
    """

    views: Literal["all", "frontal"] = "all"
    per_study: Literal["all", "one"] = "all"
    missing: float = 0.0
    faults: Path | None = None
    keep: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns(Choice):
    """Which columns say what; those that are not named are guessed (:mod:`.columns`).

    Attributes:
        separator: Between the images, or views, of a cell.
        empty: Whether a row without a text is refused or left out.
    """

    image: str = ""
    report: str = ""
    findings: str = ""
    impression: str = ""
    study: str = ""
    patient: str = ""
    view: str = ""
    radiograph: str = ""
    split_column: str = ""
    separator: str = ";"
    empty: Literal["refuse", "drop"] = "refuse"

    def asked(self) -> dict[str, str]:
        """Role -> the name that the user gives, empty where none is given."""
        named = {role: getattr(self, role) for role in ROLES if role != "split"}
        return {**named, "split": self.split_column}


class Picture(NamedTuple):
    """One image of a row: its identity, its path below the root, its view, its place in a file."""

    key: str
    name: str
    view: str = ""
    member: Member | None = None


class Row(NamedTuple):
    """One row of a collection; its number is 1 for the first."""

    number: int
    images: Sequence[Picture]
    study: str
    patient: str
    split: str
    report: str
    findings: str
    impression: str
    attributes: Attributes = ()


@dataclass(frozen=True)
class Collection:
    """Rows, and where their images lie.

    Attributes:
        name: Its kind, which the corpus is called.
        file: The table, which messages name.
        root: Where paths of images start.
        rows: In their order.
        faults: What is wrong with single rows as they were read.
        columns: What a column was found for, as far as notes must say what is not.
        layouts: Ways to find an image below the root; the first that finds any is taken for all.
        notes: What to say once of where it comes from.
        strict: Whether a row without a text is a fault; else it is left out and counted.
        inside: Folders that images must lie in, if any.
        first: Which row the number 1 is.
        fields: What to record beside the results.
    """

    name: str
    file: Path
    root: Path
    rows: Sequence[Row]
    faults: Sequence[Fault] = ()
    columns: Iterable[str] = ("study", "patient")
    layouts: Sequence[Callable[[str], str]] = (str,)
    notes: tuple[str, ...] = ()
    strict: bool = False
    inside: frozenset[str] = frozenset()
    first: str = "the first of the file"
    fields: Mapping[str, int | str] = field(default_factory=dict)


def rows_of(
    cells: Iterable[Cells],
    columns: Mapping[str, str],
    faults: list[Fault],
    *,
    keep: Sequence[str] = (),
    separator: str = ";",
    ending: str = "",
    folder: Path | None = None,
    split: str = "",
    start: int = 0,
    pictures: Iterator[Sequence[Picture]] | None = None,
) -> Iterator[Row]:
    """Read rows by what each column is for; faults are added to the list.

    Args:
        cells: The texts of ``columns`` and ``keep``, in this order.
        columns: Role -> name of the column.
        faults: What is wrong with single rows.
        keep: Names of the attributes.
        separator: Between the images, views or identities of a cell that is no list.
        ending: What to add to names of images.
        folder: Where names of images start, below the root.
        split: Of all rows, where no column says it.
        start: How many rows came before.
        pictures: The images of each row, where no column names them; their identities and views
            are replaced by those that columns give.
    """
    roles = list(columns)
    lists = [role in ("image", "view", "radiograph", *TEXTS) for role in roles]
    marks = [separator if role in ("image", "view", "radiograph") else "" for role in roles]
    for number, row in enumerate(cells, start=start + 1):
        found: dict[str, list[str]] = {}
        for role, listed, mark, cell in zip(roles, lists, marks, row, strict=False):
            if not cell:
                continue
            try:
                found[role] = items = several(cell, mark)
                if len(items) > 1 and not listed:
                    raise ValueError("is not a text")
            except ValueError as fault:
                name = columns[role]
                faults.append(Fault(number, name, f"{name} {fault}", "write one text or number"))
                found[role] = []
        images = next(pictures) if pictures else _named(found.get("image", ()), ending, folder)
        images = _told(images, found)
        own_study, patient, part = (
            found[role][0] if found.get(role) else "" for role in ("study", "patient", "split")
        )
        # Without a column each row is a study, and its image says which: rows may be sorted.
        study = own_study or ("" if "study" in columns or not images else images[0].key)
        report, findings, impression = (
            "\n".join(filter(None, found.get(role, ()))) for role in TEXTS
        )
        kept = tuple(zip(keep, row[len(roles) :], strict=True))
        yield Row(
            number,
            images,
            study,
            patient,
            split_of(part) or split,
            report,
            findings,
            impression,
            kept,
        )


def rows_of_records(
    records: Sequence[Mapping[str, object]],
    faults: list[Fault],
    where: str,
    *,
    keep: Sequence[str] = (),
) -> list[Row]:
    """Read records whose fields are called after what they are for, as :func:`rows_of`.

    Raises:
        OcclusionError: Attributes to keep that no record has.
    """
    check_kept(keep, {name for record in records for name in record} if keep else (), where)
    names = [*ROLES, *keep]
    cells = (
        cells_of(record, names, number, faults) for number, record in enumerate(records, start=1)
    )
    return [*rows_of(cells, {role: role for role in ROLES}, faults, keep=keep)]


def _named(names: Sequence[str], ending: str, folder: Path | None) -> list[Picture]:
    places = [name + ending for name in names if name]
    places = [str(folder / place) for place in places] if folder else places
    return [Picture(place, place) for place in places]


def _told(images: Sequence[Picture], found: Mapping[str, Sequence[str]]) -> Sequence[Picture]:
    """With the views and identities that stand beside them, where these are as many."""
    views, keys = found.get("view", ()), found.get("radiograph", ())
    if views and len(views) == len(images):
        images = [one._replace(view=view_of(view)) for one, view in zip(images, views, strict=True)]
    if keys and len(keys) == len(images):
        images = [one._replace(key=key or one.key) for one, key in zip(images, keys, strict=True)]
    return images


def build_corpus(asked: Request, given: Collection, options: Choice) -> Corpus:
    """Choose rows, check them as a whole, find their images.

    Raises:
        OcclusionError: No rows, or none of the split; nothing that says which are frontal; faulty
            rows, images that are missing beyond what was allowed or cannot be read (all listed).
    """
    refuse = partial(
        refuse_rows,
        rows=len(given.rows),
        path=given.file,
        file=options.faults,
        kind=given.name,
        first=given.first,
    )
    rows, notes = _of_split(given, options)
    selection, several_texts = _wanted(rows)
    everything = "all" if not options.split else f"in the {options.split} split"
    selection.count(everything)
    if options.views == "frontal":
        if not any(one.view for one in selection.wanted):
            problem = f"{given.file}: nothing says which radiographs are frontal"
            remedy = (
                "leave views=frontal out, name the column of views (view=COLUMN), or write PA, AP, "
                "frontal or lateral there"
            )
            raise OcclusionError(problem, remedy=remedy)
        selection.keep_frontal(FRONTAL)
    selection.count("  with findings", lambda study: study.findings)
    selection.count("  with impression", lambda study: study.impression)
    if not given.strict:
        selection.keep("with a text", lambda one: one.study.report)
    if options.per_study == "one":
        selection.keep_one_each(FRONTAL)
    names = [one.name for one in selection.wanted]
    selection.find(given.root, ([path(name) for name in names] for path in given.layouts))
    lost, listed = len(selection.lost), len(selection.wanted)
    forgiven = bool(selection.found) and forgives(options.missing, lost, listed)
    faults = [*given.faults, *_cell_faults(given, rows)]
    refuse([*faults, *_file_faults(given, selection, forgiven=forgiven)])
    if not selection.found:
        left = ", ".join(f"{step.name.strip()} {step.radiographs:,}" for step in selection.steps)
        remedy = "choose less narrowly, or name the columns of texts and views"
        raise OcclusionError(f"{given.file}: no radiograph is left ({left})", remedy=remedy)
    selection.wanted = [one for one, _ in selection.found]
    selection.count("with an image file")

    def unreadable(faults: Sequence[tuple[int, str]]) -> None:
        numbers = [number_of(selection.found[at][0]) for at, _ in faults]
        remedy = "see to it that you may read it"
        refuse(
            [
                Fault(number, "image", problem, remedy)
                for number, (_, problem) in zip(numbers, faults, strict=True)
            ]
        )

    studies, radiographs = file_radiographs(
        given.root, selection.found, asked, options.max_pixels, unreadable
    )
    fields = {"split": options.split} if options.split else {}
    fields |= {"views": options.views} if options.views != "all" else {}
    missing = {"missing_images": lost} if lost else {}
    partial_note = f"a partial download: {lost:,} of {listed:,} image files are missing"
    return Corpus(
        given.name,
        studies,
        radiographs,
        (*given.notes, *_unsaid(given), *notes, *several_texts, *[partial_note] * bool(lost)),
        {**fields, **given.fields, **missing},
        tuple(selection.steps),
    )


def _unsaid(given: Collection) -> Iterator[str]:
    """What no column says, and what follows from it."""
    if "study" not in given.columns:
        yield "no column says which study a row is of: each row is a study of its own"
    if "patient" not in given.columns:
        units = "studies" if "study" in given.columns else "rows"
        yield f"no column says who the patients are: confidence intervals resample {units}"
    elif lacking := sum(not row.patient for row in given.rows):
        yield f"{lacking:,} rows name no patient: there each study is a patient of its own"


def _of_split(given: Collection, options: Choice) -> tuple[Sequence[Row], list[str]]:
    """The rows of the split that is asked for, and a note on splits that nobody chose between."""
    rows = given.rows
    if not rows:
        remedy = "give it one row per radiograph or study"
        raise OcclusionError(f"{given.file}: the table has no rows", remedy=remedy)
    known = Counter(row.split for row in rows)
    shown = [f"{name or 'none'} {known[name]:,}" for name in list(known)[:SHOWN]]
    counts = ", ".join(shown) + (", ..." if len(known) > SHOWN else "")
    if split := split_of(options.split):
        if split not in known:
            unsaid = "nothing says which split a row is in: leave the split out, or name the column"
            raise OcclusionError(
                f"{given.file}: no row is in the split {options.split!r}",
                remedy=f"its splits, with their rows: {counts}" if any(known) else unsaid,
            )
        return [row for row in rows if row.split == split], []
    return rows, [f"rows of every split: {counts}"] if len(known) > 1 else []


def _wanted(rows: Sequence[Row]) -> tuple[Selection, tuple[str, ...]]:
    """The radiographs of rows, and a note on study_ids that have several texts.

    Rows are one study if they have the same study_id and the same text: in collections of
    published cases one study_id may stand for several images that are each described by a text of
    their own.
    """
    identities = [(row.study, row.report, row.findings, row.impression) for row in rows]
    texts = Counter(study for study, *_ in dict.fromkeys(identities))
    studies: dict[tuple[str, ...], Study] = {}
    wanted = []
    for row, identity in zip(rows, identities, strict=True):
        if identity not in studies:
            key, report, findings, impression = identity
            if texts[key] > 1:
                # By its text, not by its place: sorting the table must not make it another corpus.
                key = f"{key}{APART}{settings_digest(list(identity))[:16]}"
            report = report or "\n".join(filter(None, (findings, impression)))
            patient = row.patient or row.study
            studies[identity] = Study(key, patient, report, findings, impression)
        where = f"row {row.number}"
        wanted += [
            Wanted(
                image.key,
                studies[identity],
                image.view,
                where,
                attributes=row.attributes,
                name=str(expanded(image.name)) if image.name[:1] == "~" else image.name,
                member=image.member,
            )
            for image in row.images
        ]
    more = texts.total() - len(texts)
    note = f"{more} texts differ from their study's first; each counts as a study of its own"
    return Selection(wanted), (note,) if more else ()


def _cell_faults(given: Collection, rows: Sequence[Row]) -> Iterator[Fault]:
    """Cells that are empty, and patients that two rows of a study disagree on."""
    fill = "fill it in, or leave the row out"
    told = {fault.row for fault in given.faults}  # its cell is empty because it was no text
    first: dict[str, tuple[int, str]] = {}
    for row in rows:
        if row.number in told:
            pass
        elif not row.images:
            yield Fault(row.number, "image", "image is empty", fill)
        elif not row.study:
            yield Fault(row.number, "study_id", "study_id is empty", fill)
        unsaid = not (row.report or row.findings or row.impression)
        if unsaid and given.strict and row.number not in told:
            remedy = "give a report, findings or an impression, or leave such rows out: empty=drop"
            yield Fault(row.number, "report", "the report is empty", remedy)
        earlier, patient = first.setdefault(row.study, (row.number, row.patient))
        if row.study and row.patient != patient:
            problem = f"patient_id differs from that of row {earlier}, which has the same study_id"
            yield Fault(row.number, "patient_id", problem, "a study has one patient")


def _file_faults(given: Collection, selection: Selection, *, forgiven: bool) -> Iterator[Fault]:
    """Images that are named twice, are not there (unless that was allowed), or lie outside."""
    lost = len(selection.lost)
    absent = (
        "correct the path, which starts at the folder of the table (or root=), or fetch the file, "
        f"or say how many may be missing: missing={lost} (or a share below 1)"
    )
    allow = f"move the files there, or allow this: {given.name}:FILE?outside=allow"
    missing = {id(one): problem for one, problem in selection.lost}
    seen: dict[object, int] = {}
    again = "leave one of the two out"
    for one in selection.wanted:
        number = number_of(one)
        place = os.path.normpath(one.name), one.member
        if place in seen:
            problem = f"duplicate image, also in row {seen[place]}"
            yield Fault(number, "image", problem, again)
        elif one.key in seen:
            problem = f"its image is called as one in row {seen[one.key]} is"
            yield Fault(number, "radiograph", problem, again)
        seen[place] = seen[one.key] = number
        if problem := missing.get(id(one), ""):
            if "\\" in one.name:
                problem = f"{problem}: its path has backslashes"
                yield Fault(number, "image", problem, "write / in their place")
            elif not forgiven:
                yield Fault(number, "image", problem, absent)
        elif given.inside and not any(_is_inside(one.name, root) for root in given.inside):
            problem = "its image file is outside the folder of the table"
            yield Fault(number, "image", problem, allow)


def _is_inside(name: str, root: str) -> bool:
    place = os.path.normpath(os.path.join(root, name))  # noqa: PTH118 - links are not followed
    return place.startswith(os.path.join(root, ""))  # noqa: PTH118
