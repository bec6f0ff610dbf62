"""Snapshots: a syrupy extension that keeps integers with a tolerance, and where they come from.

One readable file per suite and model, ``baselines/<suite>/<model>.json``: a line per cell with
hits and queries, below it which queries hit (a bit each, base64; no text, no identifier), above it
the provenances the cells refer to. Files are merged under a lock and replaced as a whole, and no
snapshot is ever deleted here: a run that leaves cells out cannot lose them.
"""

from __future__ import annotations

import base64
import contextlib
import glob
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from syrupy.data import Snapshot, SnapshotCollection, SnapshotCollections
from syrupy.extensions.base import AbstractSyrupyExtension
from syrupy.location import PyTestLocation
from syrupy.types import SerializableData, SerializedData, SnapshotIndex

from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.engine.results import CellResult
from pytest_occlusion.engine.store import write_atomically
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.gate.provenance import Provenance
from pytest_occlusion.gate.verdicts import Baseline, within
from pytest_occlusion.suite.table import attribute_tag

SCHEMA = 1
FOLDER = "baselines"

GROUPED = "_by-"
"""Begins the names of groups; no model's name, and so no cell's, begins with such a mark."""

ABANDONED = 60.0
"""Seconds after which a temporary file has lost its writer; writing takes milliseconds."""

DAMAGE = (ValueError, KeyError, TypeError, AttributeError, OverflowError)
"""What a field raises that is not there, or is not what it should be."""


class DamagedError(OcclusionError):
    """A snapshot file that cannot be read, or a cell of it; an update repairs it."""


def snapshot_index(suite: str, model: str, cell: str) -> str:
    """The name under which syrupy knows a cell; it also says which file it lies in."""
    return f"{suite}/{model}/{cell}"


def snapshot_file(test_folder: Path, suite: str, model: str) -> Path:
    """Where the baselines of one suite and model lie."""
    return test_folder / FOLDER / suite / f"{model}.json"


def snapshot_data(
    result: CellResult,
    provenance: Provenance,
    *,
    tolerance: int,
    accepted: bool = False,
    anew: bool = False,
    spread: float | None = None,
) -> dict[str, Any]:
    """What is handed to syrupy for one cell; plain data.

    What is ``accepted`` (a change that is not to turn red) passes whatever the baseline says. With
    a ``spread``, that of the hits over calibration runs, or ``anew``, because a group changed
    inside the tolerance of the whole, the cell is always written by an update.
    """
    return {
        "accepted": accepted,
        "anew": anew,
        "spread": spread,
        "hits": result.hits,
        "queries": result.queries,
        "tolerance": tolerance,
        "provenance": asdict(provenance),
        "hit_queries": pack_bits(result.hit_queries),
    }


def groups_index(suite: str, model: str, attribute: str) -> str:
    """The name under which syrupy knows the groups by an attribute; no cell is called so."""
    return snapshot_index(suite, model, f"{GROUPED}{attribute_tag(attribute)}")


def groups_data(attribute: str, sizes: Mapping[str, int]) -> dict[str, Any]:
    """What is handed to syrupy for the groups by an attribute: their names and queries."""
    return {"attribute": attribute, "groups": dict(sizes)}


def stored_groups(file: Path, attribute: str) -> dict[str, int]:
    """The groups that were there when the results were accepted; none where nothing says so.

    Raises:
        OcclusionError: As :func:`read_baseline`.
    """
    content = _read(file) or {}
    found = content.get("groups", {}).get(attribute, {})
    if not isinstance(found, dict) or not all(isinstance(n, int) for n in found.values()):
        raise _damaged(file)
    return found


def pack_bits(bits: NDArray[np.bool_]) -> str:
    """Bools as base64 of their packed bits."""
    return base64.b64encode(np.packbits(bits).tobytes()).decode("ascii")


def unpack_bits(text: str, count: int) -> NDArray[np.bool_]:
    """The reverse of :func:`pack_bits`; raises ValueError when it cannot be."""
    packed = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    if len(packed) != (count + 7) // 8:
        raise ValueError(f"{len(packed)} bytes for {count} queries")
    return np.unpackbits(packed, count=count).astype(np.bool_)


def read_baseline(file: Path, cell: str) -> Baseline | None:
    """The baseline of one cell, or ``None`` when there is none.

    Raises:
        DamagedError: Naming the file and how to repair it.
        OcclusionError: Another version wrote it.
    """
    content = _read(file)
    if content is None or cell not in content["cells"]:
        return None
    try:
        line = content["cells"][cell]
        hits, queries, spread = int(line["hits"]), int(line["queries"]), line.get("spread")
        bits = content.get("hit_queries", {}).get(cell)
        known = content.get("provenance", {}).get(line.get("from"))
        return Baseline(
            hits=hits,
            queries=queries,
            hit_queries=unpack_bits(bits, queries) if bits else None,
            provenance=Provenance(**known) if known else None,
            first=hits if line.get("first") is None else int(line["first"]),
            spread=None if spread is None else float(spread),
        )
    except DAMAGE as fault:
        raise _damaged(file) from fault


def stored_lines(file: Path) -> dict[str, dict[str, Any]]:
    """Every line in a file, of cells and groups; none when there is no file that can be read."""
    with contextlib.suppress(OcclusionError):
        if content := _read(file):
            return {**content["cells"], **_group_lines(content)}
    return {}


def _group_lines(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What stands in a file of groups, as they are handed over, by the names syrupy has."""
    return {
        f"{GROUPED}{attribute_tag(attribute)}": groups_data(attribute, sizes)
        for attribute, sizes in content.get("groups", {}).items()
    }


def expected_line(data: Mapping[str, Any]) -> dict[str, Any]:
    """What a cell's line says at least, once its data (:func:`snapshot_data`) are stored."""
    origin = Provenance(**data["provenance"]).id
    line = {"hits": data["hits"], "queries": data["queries"], "from": origin}
    return line if data["spread"] is None else {**line, "spread": data["spread"]}


def check_folder(test_folder: Path, suite: str) -> None:
    """Look whether baselines can be stored, before anything long starts.

    Raises:
        OcclusionError: They cannot.
    """
    wanted = test_folder / FOLDER / suite
    there = next(path for path in (wanted, *wanted.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise OcclusionError(
            f"{there}: baselines cannot be stored here",
            remedy="make it a folder that you may write to, or leave out --snapshot-update",
        )


def _damaged(file: Path) -> DamagedError:
    return DamagedError(
        f"{file}: the snapshot file is damaged",
        remedy="restore it from version control, or delete it and run with --snapshot-update",
    )


def _read(file: Path) -> dict[str, Any] | None:
    """The content of a snapshot file; ``None`` when there is no file."""
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        parts = [content.get(name, {}) for name in ("provenance", "hit_queries", "groups")]
        tables = [content["cells"], *parts, *parts[-1].values()]
        origins = [line.get("from", "") for line in content["cells"].values()]
    except FileNotFoundError:
        return None
    except (OSError, *DAMAGE) as fault:
        raise _damaged(file) from fault
    # The numbers of a cell are checked when it is read.
    if not all(isinstance(one, dict) for one in tables):
        raise _damaged(file)
    if not all(isinstance(one, str) for one in origins):
        raise _damaged(file)
    if content.get("schema") != SCHEMA:
        raise OcclusionError(
            f"{file}: snapshot schema {content.get('schema')!r}, this version reads {SCHEMA}",
            remedy="update pytest-occlusion, or delete the file and run with --snapshot-update",
        )
    return dict(content)


def _merge(file: Path, records: Mapping[str, Mapping[str, Any]]) -> None:
    """Write cells into a file under a lock, leaving all others as they are."""
    from filelock import FileLock

    # One folder per user: on a shared machine the first one's would be closed to the others.
    user = os.getuid() if hasattr(os, "getuid") else "user"
    locks = Path(tempfile.gettempdir()) / f"pytest-occlusion-locks-{user}"
    locks.mkdir(exist_ok=True, mode=0o700)
    with FileLock(locks / f"{settings_digest(str(file.resolve()))[:16]}.lock"):
        try:
            content = _read(file) or {"cells": {}}
        except DamagedError:  # what another version wrote is not ours to overwrite
            content = {"cells": {}}
        origins = content.setdefault("provenance", {})
        hit_queries = content.setdefault("hit_queries", {})
        for cell, record in records.items():
            if cell.startswith(GROUPED):
                content.setdefault("groups", {})[record["attribute"]] = record["groups"]
                continue
            origin = Provenance(**record["provenance"])
            origins[origin.id] = asdict(origin)
            content["cells"][cell] = _line(record, content["cells"].get(cell, {}))
            hit_queries[cell] = record["hit_queries"]
        _sweep(file)
        write_atomically(file, _formatted(file, content).encode())


def _sweep(file: Path) -> None:
    """Remove what killed writers left; young ones stay, as another machine may be writing."""
    for path in file.parent.glob(f".{glob.escape(file.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink()


def _line(record: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """A cell's line; the first accepted hits and the calibrated spread outlive an update."""
    line = expected_line(record)
    spread = line.pop("spread", before.get("spread"))
    if before.get("queries") == record["queries"]:
        first = before.get("first", before.get("hits"))
        if isinstance(first, int) and first != record["hits"]:
            line["first"] = first
    if isinstance(spread, (int, float)):  # what else stood there was damaged, and is repaired
        line["spread"] = spread
    return line


def _formatted(file: Path, content: Mapping[str, Any]) -> str:
    """JSON with one line per cell, so that a diff reads as a list of what changed."""
    used = {line.get("from") for line in content["cells"].values()}
    origins = {name: value for name, value in content["provenance"].items() if name in used}

    def lines(table: Mapping[str, Any]) -> str:
        rows = [f"    {json.dumps(name)}: {json.dumps(table[name])}" for name in sorted(table)]
        return "{\n" + ",\n".join(rows) + "\n  }"

    parts = {
        "schema": json.dumps(SCHEMA),
        "suite": json.dumps(file.parent.name),
        "model": json.dumps(file.stem),
        "provenance": json.dumps(origins, indent=2, sort_keys=True).replace("\n", "\n  "),
        **({"groups": lines(content["groups"])} if content.get("groups") else {}),
        "cells": lines(content["cells"]),
        "hit_queries": lines(content["hit_queries"]),
    }
    return "{\n" + ",\n".join(f'  "{name}": {text}' for name, text in parts.items()) + "\n}\n"


class RecallSnapshot(AbstractSyrupyExtension):
    """syrupy extension; use it with ``snapshot.use_extension(RecallSnapshot)``.

    At module level and without arguments, because syrupy imports it by name on the controller.
    """

    file_extension = "json"

    def serialize(self, data: SerializableData, **_: Any) -> SerializedData:
        """One cell's plain data as JSON."""
        return json.dumps(data, sort_keys=True)

    def matches(self, *, serialized_data: SerializedData, snapshot_data: SerializedData) -> bool:
        """Whether the hits lie within the tolerance; a snapshot that cannot be read never does."""
        try:
            new, old = json.loads(serialized_data), json.loads(snapshot_data)
            if "groups" in new:
                return bool(new == old)
            if new["anew"] or new["spread"] is not None:
                return False
            return new["accepted"] or within(
                new["hits"], new["queries"], old["hits"], old["queries"], new["tolerance"]
            )
        except DAMAGE:
            return False  # raising here would keep --snapshot-update from repairing the file

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: SnapshotIndex = 0) -> str:
        """``test_recall[suite/model/cell]``."""
        return f"{test_location.methodname}[{index}]"

    @classmethod
    def get_location(cls, *, test_location: PyTestLocation, index: SnapshotIndex) -> str:
        """The file of the suite and model that the index names."""
        suite, model, _ = str(index).split("/")
        return str(snapshot_file(Path(test_location.filepath).parent, suite, model))

    @classmethod
    def matches_test_location(
        cls, *, test_location: PyTestLocation, snapshot_location: str
    ) -> bool:
        """Files are named by suite and model, not by test module."""
        return True

    def discover_snapshots(self, **_: Any) -> SnapshotCollections:
        """None: cells that a selection leaves out would look unused to syrupy, and be deleted."""
        return SnapshotCollections()

    def read_snapshot_collection(self, *, snapshot_location: str) -> SnapshotCollection:
        """All cells of a file."""
        collection = SnapshotCollection(location=snapshot_location)
        content = _read(Path(snapshot_location))
        for name in {**content["cells"], **_group_lines(content)} if content else ():
            collection.add(Snapshot(name=name))
        return collection

    def read_snapshot_data_from_location(
        self, *, snapshot_location: str, snapshot_name: str, session_id: str
    ) -> SerializedData | None:
        """One cell's line as JSON; ``None`` when it is not there."""
        try:
            content = _read(Path(snapshot_location)) or {"cells": {}}
        except OcclusionError:
            return "damaged"
        line = {**content["cells"], **_group_lines(content)}.get(_cell_of(snapshot_name))
        return None if line is None else json.dumps(line)

    @classmethod
    def write_snapshot_collection(
        cls, *, snapshot_collection: SnapshotCollection, name_order: dict[str, int] | None = None
    ) -> None:
        """Merge the collection's cells into its file, atomically."""
        data = {_cell_of(one.name): json.loads(str(one.data)) for one in snapshot_collection}
        _merge(Path(snapshot_collection.location), data)

    def delete_snapshots(self, *, snapshot_location: str, snapshot_names: set[str]) -> None:
        """Nothing is deleted; see the module's docstring."""


def _cell_of(snapshot_name: str) -> str:
    return snapshot_name.rpartition("/")[2].rstrip("]")
