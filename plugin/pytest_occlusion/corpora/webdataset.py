"""WebDataset shards: tar files whose members share a name up to the first dot, a sample each.

Shards are indexed with Python's ``tarfile``, which reads headers only; pictures are read where they
lie when they are needed. The fields of a sample's ``.json`` are its columns, its ``.txt`` is the
column ``text``.
"""

from __future__ import annotations

import json
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_occlusion.corpora.base import Corpus, Request
from pytest_occlusion.corpora.columns import check_kept, find_columns
from pytest_occlusion.corpora.files import is_folder, is_there, read_report
from pytest_occlusion.corpora.members import Member
from pytest_occlusion.corpora.options import read_options
from pytest_occlusion.corpora.records import Collection, Columns, Picture, build_corpus, rows_of
from pytest_occlusion.corpora.tables import Fault, cells_of
from pytest_occlusion.errors import MissingError, OcclusionError

EXAMPLE = "webdataset:FOLDER?report=caption"
PICTURES = ("png", "jpg", "jpeg", "tif", "tiff", "webp")
PACKED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")
AGAIN = "fetch the shard again"


@dataclass(frozen=True)
class WebDatasetOptions(Columns):
    """As of any table."""


def load(asked: Request) -> Corpus:
    """Read the samples with a text, shard by shard.

    Raises:
        OcclusionError: No shards, packed or damaged ones; samples without a picture, or with what
            is no text (listed).
    """
    place, options = read_options(asked, WebDatasetOptions, EXAMPLE, needs="folder")
    remedy = "name a folder of .tar files, or one of them"
    if not is_there(place):
        raise MissingError(f"{place}: no such folder or file", remedy=remedy)
    root = place if is_folder(place) else place.parent
    shards = sorted(root.rglob("*.tar")) if root == place else [place]
    packed = [path for path in (shards or root.rglob("*")) if path.name.endswith(PACKED)]
    if packed and packed == (shards or packed):
        problem = f"{packed[0]}: a packed shard cannot be read in places"
        raise OcclusionError(problem, remedy="unpack it: the .tar inside is what is read")
    if not shards:
        raise OcclusionError(f"{place}: holds no .tar files", remedy=remedy)
    faults: list[Fault] = []
    samples = [sample for shard in shards for sample in read_shard(shard, root)]
    records = [record for record, _ in samples]
    header = list(dict.fromkeys(name for record in records for name in record))
    columns, notes = find_columns(header, options.asked(), str(place), pictures=True)
    check_kept(options.keep, header, str(place))
    names = [*columns.values(), *options.keep]
    rows = rows_of(
        (cells_of(record, names, number, faults) for number, record in enumerate(records, 1)),
        columns,
        faults,
        keep=options.keep,
        separator=options.separator,
        pictures=iter([pictures for _, pictures in samples]),
    )
    given = Collection(
        "webdataset",
        place,
        root,
        [*rows],
        faults,
        columns,
        notes=notes,
        strict=options.empty == "refuse",
        first="the first sample of the first shard",
    )
    return build_corpus(asked, given, options)


def read_shard(path: Path, root: Path) -> Iterator[tuple[dict[str, Any], list[Picture]]]:
    """The fields of each sample of a shard, and its pictures.

    Raises:
        OcclusionError: A damaged shard, or a JSON member that holds no object.
    """
    below = str(path.relative_to(root))
    shard = path.relative_to(root).with_suffix("").as_posix()
    samples: dict[str, tuple[dict[str, Any], list[Picture]]] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                folder, slash, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                if not member.isfile() or not stem:
                    continue
                key = f"{shard}/{folder}{slash}{stem}"
                record, pictures = samples.setdefault(key, ({}, []))
                kind = ending.lower()
                if kind.rpartition(".")[2] in PICTURES:
                    place = Member(member.offset_data, member.size)
                    again = f".{kind}" if pictures else ""
                    pictures.append(Picture(key + again, below, member=place))
                elif kind in ("txt", "json"):
                    file = archive.extractfile(member)
                    payload = read_report(file) if file else b""
                    record.update(_fields(payload, kind))
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as fault:
        # What Python says of it may quote a member: a report.
        problem = f"{path}: a damaged shard ({type(fault).__name__})"
        raise OcclusionError(problem, remedy=AGAIN) from None
    yield from samples.values()


def _fields(payload: bytes, kind: str) -> dict[str, Any]:
    """The columns that a member of text gives its sample."""
    text = payload.decode("utf-8-sig")
    if kind == "txt":
        return {"text": text}
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError("no object")
    return {name: value for name, value in fields.items() if not isinstance(value, dict)}
