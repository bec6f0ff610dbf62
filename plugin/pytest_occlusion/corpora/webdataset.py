"""WebDataset shards: tar files whose members share a name up to the first dot, a sample each.

Shards are indexed with Python's ``tarfile``, which reads headers only; pictures are read where they
lie when they are needed. The fields of a sample's ``.json`` are its columns, its ``.txt`` is the
column ``text``.
"""

from __future__ import annotations

import contextlib
import json
import tarfile
import zlib
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
GZIP = b"\x1f\x8b"

Sample = tuple[dict[str, Any], list[Picture]]


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
    packed = [path for path in (shards or root.rglob("*")) if _is_packed(path)]
    if packed and packed == (shards or packed):
        problem = f"{packed[0]}: a packed shard cannot be read in places"
        raise OcclusionError(problem, remedy="unpack it: the .tar inside is what is read")
    if not shards:
        raise OcclusionError(f"{place}: holds no .tar files", remedy=remedy)
    faults: list[Fault] = []
    samples: list[Sample] = []
    passed: set[str] = set()
    for shard in shards:
        samples += read_shard(shard, root, len(samples), faults, passed)
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
        notes=(*notes, *_passed_over(passed)),
        strict=options.empty == "refuse",
        first="the first sample of the first shard",
    )
    return build_corpus(asked, given, options)


def _is_packed(path: Path) -> bool:
    if path.name.endswith(PACKED):
        return True
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(2) == GZIP
    return False


def _passed_over(endings: set[str]) -> tuple[str, ...]:
    shown = ", ".join(f".{one}" for one in sorted(endings)[:5])
    return (f"pictures with longer endings are passed over: {shown}",) if endings else ()


def read_shard(
    path: Path, root: Path, before: int, faults: list[Fault], passed: set[str]
) -> list[Sample]:
    """The fields of each sample of a shard, and its pictures.

    Args:
        path: The shard.
        root: Where its name starts.
        before: Samples of earlier shards.
        faults: What is wrong with single samples is added.
        passed: Endings of pictures that are none of the sample's own are added (``mask.png``).

    Raises:
        OcclusionError: A damaged shard.
    """
    below = str(path.relative_to(root))
    shard = path.relative_to(root).with_suffix("").as_posix()
    samples: dict[str, Sample] = {}
    seen: set[tuple[str, str]] = set()
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                folder, slash, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                kind = ending.lower()
                if not member.isfile() or not stem:
                    continue
                if kind not in (*PICTURES, "txt", "json"):
                    passed |= {kind} if kind.rpartition(".")[2] in PICTURES else set()
                    continue
                key = f"{shard}/{folder}{slash}{stem}"
                record, pictures = samples.setdefault(key, ({}, []))
                number = before + [*samples].index(key) + 1 if (key, kind) in seen else 0
                if number:
                    again = f"a second member .{kind}"
                    faults.append(Fault(number, kind, again, "give each sample a name of its own"))
                    continue
                seen.add((key, kind))
                if kind in PICTURES:
                    place = Member(member.offset_data, member.size)
                    more = f".{kind}" if pictures else ""
                    pictures.append(Picture(key + more, below, member=place))
                    continue
                file = archive.extractfile(member)
                try:
                    fields = _fields(read_report(file) if file else b"", kind)
                    if fields.keys() & record.keys():
                        raise ValueError("gives a field that another member has given")
                except (ValueError, RecursionError) as fault:
                    # What Python says of it may quote a member: a report.
                    own = type(fault) is ValueError
                    problem = f"its .{kind} member {fault if own else 'cannot be read'}"
                    number = before + [*samples].index(key) + 1
                    remedy = "write UTF-8 text, or a JSON object of texts"
                    faults.append(Fault(number, kind, problem, remedy))
                    continue
                record.update(fields)
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as fault:
        problem = f"{path}: a damaged shard ({type(fault).__name__})"
        raise OcclusionError(problem, remedy=AGAIN) from None
    return [*samples.values()]


def _fields(payload: bytes, kind: str) -> dict[str, Any]:
    """The columns that a member of text gives its sample."""
    text = payload.decode("utf-8-sig")
    if kind == "txt":
        return {"text": text}
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError("holds no object")
    return {name: value for name, value in fields.items() if not isinstance(value, dict)}
