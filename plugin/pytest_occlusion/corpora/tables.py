"""Tables of studies and images, read row by row: CSV, JSON lines and Parquet.

CSV is read by Python's own module: pandas takes three times as long, and pyarrow takes twice the
memory, reads broken quotes as text and quotes the cells of a faulty row, which may be a report.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import IO

from pytest_occlusion.errors import SHOWN, OcclusionError, listed


@dataclass(frozen=True)
class Fault:
    """One fault of one row, 1 being the first after the header; no column is the row as a whole."""

    row: int
    column: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        """As lists have it."""
        return f"row {self.row}: {self.problem}"


def refuse_listed(problem: str, faults: Sequence[object], remedy: str) -> None:
    """Raise an error that lists the faults, if there are any."""
    if faults:
        raise OcclusionError(f"{problem}:\n{listed([*map(str, faults)])}", remedy=remedy)


def refuse_rows(faults: Sequence[Fault], rows: int, path: Path, file: Path | None) -> None:
    """Raise an error if anything is wrong with the rows of a table, grouped by column and remedy.

    A message shows the first 20 of each group; all faults are written to the file, if one is named,
    as a CSV table that has only a header where there are none.
    """
    if file is not None:
        _write(faults, file)
    if not faults:
        return
    groups: dict[tuple[str, str], list[str]] = {}
    for fault in sorted(faults, key=lambda fault: (fault.row, fault.column)):
        groups.setdefault((fault.column, fault.remedy), []).append(str(fault))
    lines = [
        f" {column or 'row'} ({len(group)}): {remedy}\n{listed(group)}"
        for (column, remedy), group in groups.items()
    ]
    all_of_them = f"; all faults are in {file}" if file else ""
    if file is None and max(map(len, groups.values())) > SHOWN:
        all_of_them = f"; manifest:{path.name}?faults=FILE writes all faults to a table"
    raise OcclusionError(
        f"{path}: {len(faults)} faults in {rows} rows:\n" + "\n".join(lines),
        remedy=f"correct these rows; row 1 is the first after the header{all_of_them}",
    )


def _write(faults: Sequence[Fault], file: Path) -> None:
    try:
        with file.open("w", newline="", encoding="utf-8") as table:
            writer = csv.writer(table)
            writer.writerow([field.name for field in fields(Fault)])
            writer.writerows(astuple(fault) for fault in sorted(faults, key=lambda one: one.row))
    except (OSError, ValueError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else str(fault)
        raise OcclusionError(
            f"{file}: cannot be written ({reason})", remedy="name another file with ?faults=FILE"
        ) from fault


EMPTY = frozenset(("nan", "-nan", "none", "null", "n/a", "na", "<na>", "#n/a", "nat"))
"""What programs write where there is nothing, in any case."""

DELIMITERS = ",;\t|"
"""What may stand between the cells of a CSV table; the one that finds most columns is taken."""

HALF_CHARACTER = re.compile("[\ud800-\udfff]")
"""JSON can spell half of a surrogate pair, which UTF-8 cannot."""

Cells = list[str]
"""Texts of the columns that were asked for."""


@dataclass
class Table:
    """A table and what is asked of it.

    Attributes:
        path: ``.csv``, ``.jsonl``/``.ndjson`` (each also with ``.gz``), or ``.parquet``.
        columns: Columns to read; others are passed over.
        required: Columns that must be there, or one of several.
        shape: What to do where they are not.
        remedy: What to do where the table is damaged, instead of what its kind suggests.
        whole: Whether a row that ends before a column is faulty; else its cell is empty.
        faults: What reading has found wrong with single rows.
    """

    path: Path
    columns: Sequence[str]
    required: Sequence[Sequence[str]]
    shape: str
    remedy: str = ""
    whole: bool = False
    faults: list[Fault] = field(default_factory=list)

    def rows(self) -> Iterator[Cells]:
        """Yield the text of every wanted cell, row by row, without white space around it.

        A missing value is empty, whichever word the program that wrote the table has for it.

        Raises:
            OcclusionError: A table that cannot be read, or without the required columns.
        """
        kinds = {
            ".csv": self._csv,
            ".jsonl": self._json_lines,
            ".ndjson": self._json_lines,
            ".parquet": self._parquet,
            ".tsv": self._csv,
        }
        kind = Path(self.path.name.lower().removesuffix(".gz")).suffix
        if kind not in kinds:
            raise self._error(f"unknown kind of table {kind!r}", f"known: {', '.join(kinds)}")
        try:
            yield from kinds[kind]()
        except UnicodeDecodeError as fault:
            problem = f"not UTF-8 (byte {fault.start})"
            raise self._error(problem, "save the table as UTF-8") from None
        except (OSError, EOFError, zlib.error) as fault:
            problem = f"cannot be read ({getattr(fault, 'strerror', None) or type(fault).__name__})"
            raise self._error(problem, "see to it that you may read it") from None

    def bad(self, row: int, problem: str, remedy: str = "", column: str = "") -> None:
        """Note a fault of a row."""
        self.faults.append(Fault(row, column, problem, remedy or self.remedy))

    def _error(self, problem: str, remedy: str) -> OcclusionError:
        return OcclusionError(f"{self.path}: {problem}", remedy=self.remedy or remedy)

    def _open(self) -> IO[str]:
        if self.path.suffix.lower() == ".gz":
            return gzip.open(self.path, "rt", encoding="utf-8-sig", newline="")
        return self.path.open(encoding="utf-8-sig", newline="")

    def _meant(self, names: Sequence[str]) -> int:
        """How many columns these names are of, however they are spelled."""
        return len({*map(_spelling, self.columns)} & {*map(_spelling, names)})

    def _refuse_doubles(self, names: Sequence[str]) -> None:
        if doubled := [name for name in self.columns if names.count(name) > 1]:
            problem = f"columns that occur twice: {', '.join(doubled)}"
            raise self._error(problem, "leave one of each out")

    def _check(self, header: Sequence[str]) -> None:
        self._refuse_doubles(header)
        missing = [names[0] for names in self.required if not set(names) & set(header)]
        if missing:
            # Other names are not shown: without a header, the first row's cells are the names.
            others = [name for name in header if name not in self.columns]
            close = [repr(name) for name in others if self._meant([name])]
            otherwise = f" (spelled otherwise: {', '.join(close)})" if close else ""
            raise self._error(f"missing columns {', '.join(missing)}{otherwise}", self.shape)

    def _csv(self) -> Iterator[Cells]:
        quote = "quote texts that hold commas"
        with self._open() as file:
            first = file.readline()
            delimiter = max(DELIMITERS, key=lambda mark: self._meant(first.split(mark)))
            try:
                reader = csv.reader(chain([first], file), delimiter=delimiter, strict=True)
                header = next(reader, [])
                self._check(header)
                width = len(header)
                blank = [""] * (width + 1)  # after each row: what is not there is empty
                places = [header.index(n) if n in header else width for n in self.columns]
                needed = max(at for at in places if at < width) + 1 if self.whole else 0
                for number, cells in enumerate(filter(None, reader), start=1):
                    if len(cells) > width and any(cell.strip() for cell in cells[width:]):
                        self.bad(number, "more cells than columns", quote)
                    if len(cells) < needed:
                        self.bad(number, "fewer cells than columns", quote)
                    row = cells[:width] + blank
                    yield [text_of(row[at]) for at in places]
            except csv.Error as fault:
                raise self._error(f"not a CSV table ({fault})", quote) from None

    def _json_lines(self) -> Iterator[Cells]:
        def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
            self._refuse_doubles([name for name, _ in pairs])
            return dict(pairs)

        number = 0
        with self._open() as file:
            for line_number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line, object_pairs_hook=once)
                except (ValueError, RecursionError) as fault:
                    reason = getattr(fault, "msg", "beyond all bounds")
                    problem = f"line {line_number} is not JSON ({reason})"
                    raise self._error(problem, "one JSON object per line") from None
                if not isinstance(record, dict):
                    remedy = 'one object per line: {"image": ..., "study_id": ..., "report": ...}'
                    raise self._error(f"line {line_number} is not a JSON object", remedy)
                number += 1
                if number == 1:
                    self._check(list(record))
                yield self._texts(number, record)

    def _parquet(self) -> Iterator[Cells]:
        try:
            import pyarrow as arrow
            from pyarrow.parquet import ParquetFile
        except ImportError:
            remedy = 'pip install "pytest-occlusion[parquet]"'
            raise self._error("reading Parquet needs pyarrow", remedy) from None
        try:
            with ParquetFile(self.path) as file:
                header = file.schema_arrow.names
                if file.metadata.num_rows:
                    self._check(header)
                # Batch by batch, and no other column: some hold the pictures themselves.
                wanted = [name for name in self.columns if name in header]
                batches = file.iter_batches(columns=wanted)
                records = (record for batch in batches for record in batch.to_pylist())
                for number, record in enumerate(records, start=1):
                    yield self._texts(number, record)
        except (arrow.ArrowException, OSError) as fault:  # both, for damage of different kinds
            raise self._error(f"not a Parquet file ({fault})", "write the table again") from None

    def _texts(self, number: int, record: Mapping[str, object]) -> Cells:
        cells = [record.get(name) for name in self.columns]
        self.faults += [
            Fault(number, name, f"{name} is not a text", "write one text or number")
            for name, cell in zip(self.columns, cells, strict=True)
            if isinstance(cell, (bytes, list, tuple, dict))
            or (isinstance(cell, str) and HALF_CHARACTER.search(cell))
        ]
        return [text_of(str(cell)) for cell in cells]


def text_of(cell: str) -> str:
    """A cell without white space around it, empty where the value is missing."""
    text = cell.strip()
    return "" if len(text) < 5 and text.casefold() in EMPTY else text


def _spelling(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()
