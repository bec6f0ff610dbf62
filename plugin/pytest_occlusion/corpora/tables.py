"""Tables of studies and images, read row by row: CSV, JSON lines and Parquet.

CSV is read by Python's own module: pandas takes three times as long, and pyarrow takes twice the
memory, reads broken quotes as text and quotes the cells of a faulty row, which may be a report.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields
from itertools import chain
from pathlib import Path
from typing import IO, Any

from pytest_occlusion.corpora.members import open_parquet
from pytest_occlusion.corpora.words import spelling, text_of
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


FAULTS = ",".join(field.name for field in fields(Fault))
"""The first line of a table of faults."""


def refuse_listed(problem: str, faults: Sequence[object], remedy: str) -> None:
    """Raise an error that lists the faults, if there are any."""
    if faults:
        raise OcclusionError(f"{problem}:\n{listed([*map(str, faults)])}", remedy=remedy)


def refuse_rows(
    faults: Sequence[Fault], rows: int, path: Path, file: Path | None, *, kind: str, first: str
) -> None:
    """Raise an error if anything is wrong with the rows of a table, grouped by column and remedy.

    A message shows the first 20 of each group; all faults are written to the file, if one is named,
    as a CSV table that has only a header where there are none.

    Args:
        faults: What is wrong.
        rows: How many rows there are.
        path: The table.
        file: Where all faults go, if anywhere.
        kind: Of the corpus, for the remedy.
        first: Which row the number 1 is.
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
        all_of_them = f"; {kind}:{path.name}?faults=FILE writes all faults to a table"
    raise OcclusionError(
        f"{path}: {len(faults)} faults in {rows} rows:\n" + "\n".join(lines),
        remedy=f"correct these rows; row 1 is {first}{all_of_them}",
    )


def _write(faults: Sequence[Fault], file: Path) -> None:
    try:
        if file.is_file():
            with file.open("rb") as there:
                if there.read(len(FAULTS)) != FAULTS.encode():
                    raise ValueError("it is there, and no list of faults")
        with file.open("w", newline="", encoding="utf-8") as table:
            writer = csv.writer(table)
            writer.writerow(FAULTS.split(","))
            writer.writerows(astuple(fault) for fault in sorted(faults, key=lambda one: one.row))
    except (OSError, ValueError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else str(fault)
        raise OcclusionError(
            f"{file}: cannot be written ({reason})", remedy="name another file with ?faults=FILE"
        ) from fault


DELIMITERS = ",;\t|"
"""What may stand between the cells of a CSV table; the one that finds most columns is taken."""

KINDS = {
    ".csv": ".csv", ".jsonl": ".json", ".ndjson": ".json", ".parquet": ".arrow", ".tsv": ".csv",
    ".arrow": ".arrow",
}  # fmt: skip
"""Ending of a name -> how the table is read."""

SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)

QUOTE = "quote texts that hold commas"

HALF_CHARACTER = re.compile("[\ud800-\udfff]")
"""JSON can spell half of a surrogate pair, which UTF-8 cannot."""

Cells = list[str]
"""Texts of the columns that were asked for; a list of texts is written as JSON."""


@dataclass
class Table:
    """A table, read by the names of its columns.

    Attributes:
        path: ``.csv``, ``.tsv``, ``.jsonl``/``.ndjson`` (each also with ``.gz``), ``.parquet``, or
            ``.arrow``, a stream.
        known: Names that its columns may have; what stands between cells follows from these.
        encoding: Of texts.
        remedy: What to do where the table is damaged, instead of what its kind suggests.
        whole: Whether a row that ends before a column is faulty; else its cell is empty.
        faults: What reading has found wrong with single rows.
    """

    path: Path
    known: Sequence[str]
    encoding: str = "utf-8-sig"
    remedy: str = ""
    whole: bool = False
    faults: list[Fault] = field(default_factory=list)

    def header(self) -> list[str]:
        """The names of all columns; those of JSON lines are the names of all their lines.

        Raises:
            OcclusionError: A table that cannot be read.
        """
        with self._reading():
            kind = self._kind()
            if kind == ".json":
                records = self._records()
                return list(dict.fromkeys(name for record in records for name in record))
            if kind == ".csv":
                with self._csv() as reader:
                    return next(reader, [])
            with self._arrow() as (names, _):
                return names

    def rows(self, columns: Sequence[str]) -> Iterator[Cells]:
        """Yield the text of every cell of these columns, row by row, no white space around it.

        A missing value is empty, whichever word the program that wrote the table has for it.

        Raises:
            OcclusionError: A table that cannot be read, or has one of the columns twice.
        """
        readers = {".csv": self._csv_rows, ".json": self._json_rows, ".arrow": self._arrow_rows}
        with self._reading():
            yield from readers[self._kind()](columns)

    def required(self, columns: Sequence[str], more: Sequence[str] = ()) -> Iterator[Cells]:
        """As :meth:`rows`; ``columns`` must be there, ``more`` may be.

        Raises:
            OcclusionError: Columns that are not there, and as :meth:`rows`.
        """
        header = self.header()
        if missing := [name for name in columns if name not in header]:
            remedy = f"it has the columns {', '.join(columns)}"
            raise self._error(f"missing columns {', '.join(missing)}", remedy)
        return self.rows([*columns, *more])

    def bad(self, row: int, problem: str, remedy: str = "", column: str = "") -> None:
        """Note a fault of a row."""
        self.faults.append(Fault(row, column, problem, remedy or self.remedy))

    def _kind(self) -> str:
        kind = Path(self.path.name.lower().removesuffix(".gz")).suffix
        if kind not in KINDS:
            raise self._error(f"unknown kind of table {kind!r}", f"known: {', '.join(KINDS)}")
        return KINDS[kind]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except UnicodeError as fault:
            at = f" (byte {fault.start})" if isinstance(fault, UnicodeDecodeError) else ""
            name = "UTF-8" if self.encoding == "utf-8-sig" else self.encoding
            remedy = (
                "save the table as UTF-8, or name what it is: encoding=latin-1, encoding=utf-16"
            )
            raise self._error(f"not {name}{at}", remedy) from None
        except (LookupError, ValueError):
            problem = f"unknown encoding {self.encoding!r}"
            raise self._error(problem, "for example encoding=latin-1") from None
        except (OSError, EOFError, zlib.error) as fault:
            problem = f"cannot be read ({getattr(fault, 'strerror', None) or type(fault).__name__})"
            damaged = isinstance(fault, (EOFError, zlib.error, gzip.BadGzipFile))
            remedy = "fetch it again" if damaged else "see to it that you may read it"
            raise self._error(problem, remedy) from None

    def _error(self, problem: str, remedy: str) -> OcclusionError:
        return OcclusionError(f"{self.path}: {problem}", remedy=self.remedy or remedy)

    def _open(self) -> IO[str]:
        packed = self.path.suffix.lower() == ".gz"
        opened = gzip.open if packed else open
        file: IO[str] = opened(self.path, "rt", encoding=self.encoding, newline="")
        return file

    def _refuse_doubles(self, names: Sequence[str], columns: Sequence[str]) -> None:
        if doubled := [name for name in columns if names.count(name) > 1]:
            problem = f"columns that occur twice: {', '.join(doubled)}"
            raise self._error(problem, "leave one of each out")

    @contextlib.contextmanager
    def _csv(self) -> Iterator[Iterator[list[str]]]:
        known = {*map(spelling, self.known)}

        def meant(mark: str) -> int:
            return len(known & {*map(spelling, first.split(mark))})

        with self._open() as file:
            first = file.readline()
            said = SEPARATOR.fullmatch(first)  # what Excel is told on a line of its own
            first = file.readline() if said else first
            delimiter = said[1] if said else max(DELIMITERS, key=meant)
            try:
                yield csv.reader(chain([first], file), delimiter=delimiter, strict=True)
            except csv.Error as fault:
                raise self._error(f"not a CSV table ({fault})", QUOTE) from None

    def _csv_rows(self, columns: Sequence[str]) -> Iterator[Cells]:
        with self._csv() as reader:
            header = next(reader, [])
            self._refuse_doubles(header, columns)
            width = len(header)
            blank = [""] * (width + 1)  # after each row: what is not there is empty
            places = [header.index(n) if n in header else width for n in columns]
            needed = max((at for at in places if at < width), default=-1) + 1 if self.whole else 0
            for number, cells in enumerate(filter(None, reader), start=1):
                if len(cells) > width and any(cell.strip() for cell in cells[width:]):
                    self.bad(number, "more cells than columns", QUOTE)
                if len(cells) < needed:
                    self.bad(number, "fewer cells than columns", QUOTE)
                row = cells[:width] + blank
                yield [text_of(row[at]) for at in places]

    def _records(self, columns: Sequence[str] = ()) -> Iterator[dict[str, object]]:
        def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
            self._refuse_doubles([name for name, _ in pairs], columns)
            return dict(pairs)

        with self._open() as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line, object_pairs_hook=once)
                except (ValueError, RecursionError) as fault:
                    reason = getattr(fault, "msg", "beyond all bounds")
                    problem = f"line {number} is not JSON ({reason})"
                    raise self._error(problem, "one JSON object per line") from None
                if not isinstance(record, dict):
                    remedy = 'one object per line: {"image": ..., "study_id": ..., "report": ...}'
                    raise self._error(f"line {number} is not a JSON object", remedy)
                yield record

    def _json_rows(self, columns: Sequence[str]) -> Iterator[Cells]:
        for number, record in enumerate(self._records(columns), start=1):
            yield cells_of(record, columns, number, self.faults)

    @contextlib.contextmanager
    def _arrow(self, columns: Sequence[str] = ()) -> Iterator[tuple[list[str], Iterator[Any]]]:
        """The names of columns, and the rows of those that are asked for, batch by batch.

        No other column is read: some hold the pictures themselves.
        """
        try:
            import pyarrow as arrow
        except ImportError:
            remedy = 'pip install "pytest-occlusion[parquet]"'
            raise self._error("reading Parquet needs pyarrow", remedy) from None
        parquet = self.path.suffix.lower() == ".parquet"
        try:
            with contextlib.ExitStack() as held:
                if parquet:
                    file = held.enter_context(open_parquet(self.path))
                    names = file.schema_arrow.names
                    batches = file.iter_batches(columns=[n for n in columns if n in names])
                else:
                    mapped = held.enter_context(arrow.memory_map(str(self.path)))
                    stream = held.enter_context(arrow.ipc.open_stream(mapped))
                    names = stream.schema.names
                    batches = (batch.select([n for n in columns if n in names]) for batch in stream)
                yield names, (row for batch in batches for row in batch.to_pylist())
        except (arrow.ArrowException, OSError) as fault:  # both, for damage of different kinds
            kind = "a Parquet file" if parquet else "an Arrow stream"
            raise self._error(f"not {kind} ({fault})", "write the table again") from None

    def _arrow_rows(self, columns: Sequence[str]) -> Iterator[Cells]:
        with self._arrow(columns) as (names, records):
            self._refuse_doubles(names, columns)
            for number, record in enumerate(records, start=1):
                yield cells_of(record, columns, number, self.faults)


def cells_of(
    record: Mapping[str, object], columns: Sequence[str], number: int, faults: list[Fault]
) -> Cells:
    """The texts of some columns of a record; what is none, or no list of texts, is a fault."""
    cells = []
    for name in columns:
        value = record.get(name)
        if isinstance(value, (list, tuple)) and all(map(_is_text, value)):
            value = json.dumps([None if item is None else text_of(item) for item in value])
        elif not _is_text(value):
            remedy = "write one text or number"
            if isinstance(value, bytes) or (isinstance(value, dict) and "bytes" in value):
                remedy = "tables with pictures in them are read by hf:FILE"
            faults.append(Fault(number, name, f"{name} is not a text", remedy))
            value = None
        cells.append(text_of(value))
    return cells


def _is_text(value: object) -> bool:
    if isinstance(value, str):
        return not HALF_CHARACTER.search(value)
    return not isinstance(value, (bytes, list, tuple, dict))
