"""Sets in the forms of Hugging Face: Parquet, ``save_to_disk``, image folders, ids of the hub.

What lies on the disk is read where it is, with pyarrow alone: text columns first, pictures later,
a few rows at a time. A set of the hub is fetched by the library ``datasets`` at one commit and then
read from its cache in the same way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pytest_occlusion.corpora.base import Corpus, Request
from pytest_occlusion.corpora.cells import picture_column, pictures_in
from pytest_occlusion.corpora.columns import KNOWN, ROLES, check_kept, find_columns
from pytest_occlusion.corpora.files import is_file, is_folder, is_there
from pytest_occlusion.corpora.members import Member
from pytest_occlusion.corpora.options import read_options
from pytest_occlusion.corpora.records import (
    Collection,
    Columns,
    Picture,
    Row,
    build_corpus,
    rows_of,
)
from pytest_occlusion.corpora.tables import Fault, Table
from pytest_occlusion.corpora.words import split_of
from pytest_occlusion.errors import MissingError, OcclusionError

EXAMPLE = "hf:FOLDER?split=test"
HUB = "hf:owner/name?revision=COMMIT&split=test"
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
NEEDS = 'pip install "pytest-occlusion[hf]"'
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
_SHARD = re.compile(r"(.+?)-\d+-of-\d+", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)


@dataclass(frozen=True)
class HfOptions(Columns):
    """Which set of the hub is meant: a commit of it, and a configuration where it has several."""

    revision: str = ""
    config: str = ""


class Part(NamedTuple):
    """A file of a set, with pictures in it or their names, and the split that it is of."""

    file: Path
    split: str


def load(asked: Request) -> Corpus:
    """Read the rows of a set that have a text, in the order of its files.

    Raises:
        OcclusionError: A place that holds no set, no such split or column, faulty rows, pictures
            that are missing or cannot be read (listed); a set of the hub without its commit, or
            that cannot be fetched.
    """
    place, options = read_options(asked, HfOptions, EXAMPLE, needs="folder")
    name = asked.place.partition("?")[0]
    if is_there(place):
        root, parts = (place, find_parts(place)) if is_folder(place) else (place.parent, [
            Part(place, "")])  # fmt: skip
    elif _ID.fullmatch(name):
        root, parts = _of_hub(name, options)
    else:
        remedy = f"name a folder, a Parquet file ({EXAMPLE}) or an id of the hub ({HUB})"
        raise MissingError(f"{place}: no such folder or file", remedy=remedy)
    if not parts:
        remedy = f"a set has Parquet files, Arrow files (save_to_disk) or {', '.join(METADATA)}"
        raise OcclusionError(f"{place}: holds no set", remedy=remedy)
    splits = {part.split for part in parts if part.split}
    wanted = split_of(options.split)
    # Where no name of a file says the split, a column may.
    chosen = [part for part in parts if part.split in ("", wanted) or wanted not in splits]
    rows: list[Row] = []
    faults: list[Fault] = []
    notes: list[str] = []
    columns = {*ROLES}
    counts: dict[str, int] = {}
    for part in chosen:
        before, start = counts.get(part.split, 0), len(rows)
        found, said = _read(part, root, options, rows, faults, before)
        columns &= found.keys()
        notes += said
        counts[part.split] = before + len(rows) - start
    given = Collection(
        "hf",
        chosen[0].file if len(chosen) == 1 else place,
        root,
        rows,
        faults,
        columns,
        notes=tuple(dict.fromkeys(notes)),
        strict=options.empty == "refuse",
        first="the first of the first file",
    )
    return build_corpus(asked, given, options)


def find_parts(root: Path) -> list[Part]:
    """The files of a set below a folder, in their order.

    Layouts: ``dataset_dict.json`` or ``state.json`` (``save_to_disk``), ``metadata.csv`` in the
    root or in folders of splits, else Parquet, in whose names the split comes before the first
    dash, or is the folder's (``default/test/0000.parquet``).

    Raises:
        OcclusionError: A damaged list of files.
    """
    for listing in (root / "dataset_dict.json", root / "state.json"):
        if is_file(listing):
            try:
                content = json.loads(listing.read_text(encoding="utf-8"))
                if listing.name == "state.json":
                    names = [one["filename"] for one in content["_data_files"]]
                    return [Part(root / name, "") for name in names]
                splits = [str(split) for split in content["splits"]]
                if any(not is_folder(root / one) or Path(one).name != one for one in splits):
                    raise ValueError("no folders of splits")
            except (OSError, ValueError, KeyError, TypeError):
                remedy = "save the set again"
                raise OcclusionError(f"{listing}: is damaged", remedy=remedy) from None
            parts = {split: find_parts(root / split) for split in splits}
            return [Part(one.file, split_of(split)) for split in splits for one in parts[split]]
    folders = [root, *sorted(path for path in root.glob("*") if path.is_dir())]
    tables = [folder / name for folder in folders for name in METADATA]
    if found := [table for table in tables if is_file(table)]:
        return [
            Part(table, "" if table.parent == root else _known(table.parent.name))
            for table in found
        ]
    files = sorted(root.rglob("*.parquet"))
    return [Part(file, _split_in(file, root)) for file in files]


def _split_in(file: Path, root: Path) -> str:
    """What the name of a file says; other names than splits have are no splits."""
    if shard := _SHARD.match(file.stem):
        return split_of(shard[1])
    inside = file.stem.isdigit() and file.parent != root
    return _known(file.parent.name if inside else file.stem.partition("-")[0])


def _known(name: str) -> str:
    split = split_of(name)
    return split if split in ("train", "validate", "test") else ""


def _of_hub(name: str, options: HfOptions) -> tuple[Path, list[Part]]:
    """The files of a set of the hub, fetched at a commit."""
    if not _COMMIT.fullmatch(options.revision):
        raise OcclusionError(
            f"corpus 'hf': {name} is no folder here, and a set of the hub needs its commit",
            remedy=f"{HUB}, with the 40 digits of the commit: a branch may change unseen",
        )
    return fetched(name, options.split, options.config, options.revision)


def fetched(source: str, split: str, config: str, revision: str) -> tuple[Path, list[Part]]:
    """Fetch a set with ``datasets`` and list the Arrow files of its cache.

    Args:
        source: Id of the hub, or a folder in the hub's layout.
        split: The only one to fetch, if any.
        config: Configuration, where the set has several.
        revision: Commit; empty for a folder.

    Raises:
        OcclusionError: ``datasets`` is not installed, or the set cannot be fetched.
    """
    try:
        import datasets
    except ImportError:
        problem = f"reading {source} from the hub needs the library datasets"
        raise OcclusionError(problem, remedy=NEEDS) from None
    more = {"revision": revision} if revision else {}
    try:
        names = datasets.get_dataset_split_names(source, config or None, **more)
        chosen = [one for one in names if not split or split_of(one) == split_of(split)]
        loaded = {
            one: datasets.load_dataset(source, config or None, split=one, **more) for one in chosen
        }
    except Exception as fault:  # whatever a builder, the network or the hub raises
        reason = str(fault).partition("\n")[0] or type(fault).__name__
        raise MissingError(
            f"{source}: cannot be fetched ({reason})",
            remedy="see to the network and to your token (hf auth login), or name a folder that "
            "holds the set",
        ) from fault
    if not loaded:
        raise OcclusionError(
            f"{source}: no split {split!r}", remedy=f"its splits: {', '.join(names)}"
        )
    parts = [
        Part(Path(file["filename"]), split_of(one))
        for one, part in loaded.items()
        for file in part.cache_files
    ]
    return parts[0].file.parent, parts


def _read(
    part: Part, root: Path, options: HfOptions, rows: list[Row], faults: list[Fault], before: int
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Add the rows of a file; its columns and what was guessed of them."""
    asked = options.asked()
    table = Table(part.file, [*KNOWN, *asked.values()])
    header = table.header()
    check_kept(options.keep, header, str(part.file))
    is_arrow = part.file.suffix in (".parquet", ".arrow")
    column = picture_column(part.file, asked["image"]) if is_arrow else ""
    columns, notes = find_columns(
        header, {**asked, "image": "" if column else asked["image"]}, str(part.file),
        pictures=bool(column),
    )  # fmt: skip
    cells = table.rows([*columns.values(), *options.keep])
    start = len(rows)
    # Names start at the folder of their table.
    below = part.file.parent.relative_to(root) if part.file.is_relative_to(root) else Path()
    pictures = _pictures(part, root, column, before) if column else None
    rows += rows_of(
        cells,
        columns,
        faults,
        keep=options.keep,
        separator=options.separator,
        folder=below,
        split=part.split,
        start=start,
        pictures=pictures,
    )
    faults += [replace(fault, row=fault.row + start) for fault in table.faults]
    return columns, notes


def _pictures(part: Part, root: Path, column: str, before: int) -> Iterator[Sequence[Picture]]:
    """The pictures of each row, called after their place in the split; ``before`` rows came."""
    folder = part.file.parent
    own = str(part.file.relative_to(root)) if part.file.is_relative_to(root) else str(part.file)
    for at, names in enumerate(pictures_in(part.file, column)):
        row = f"{part.split}/{before + at + 1}"
        keys = [row] if len(names) == 1 else [f"{row}.{place}" for place in range(len(names))]
        yield [
            Picture(key, str(folder / name))
            if name
            else Picture(key, own, member=Member(at, column=column, place=place))
            for place, (key, name) in enumerate(zip(keys, names, strict=True))
        ]
