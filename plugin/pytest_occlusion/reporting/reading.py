"""Reading a results document back, also one that an earlier version wrote."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.reporting import schema
from pytest_occlusion.reporting.schema import Record

WRITER = "pytest --occlusion-json PATH"
WRITE_AGAIN = f"write it again with {WRITER}"

QUICK = "quick-1"
"""Schema of what a quick run writes."""

TOLD = 5
"""Faults of a damaged document that are told; the others are counted."""


def read_results(path: Path) -> Record:
    """Read what ``--occlusion-json`` wrote, as it was written; every part of it is looked at.

    Raises:
        OcclusionError: No such file, damaged, or of a schema that this version does not know.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise OcclusionError(f"{path}: no such file", remedy=f"write it with {WRITER}") from None
    except (OSError, ValueError, RecursionError) as fault:
        raise OcclusionError(f"{path}: not a result file ({fault})", remedy=WRITE_AGAIN) from fault
    if isinstance(content, dict) and content.get("schema") == QUICK:
        raise OcclusionError(
            f"{path}: of a quick run, which measured a sample and no cell",
            remedy="write one of a full run, without --occlusion-quick",
        )
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        raise OcclusionError(f"{path}: not a result file (it has no cells)", remedy=WRITE_AGAIN)
    if content.get("schema") not in schema.READABLE:
        known = " and ".join(map(str, schema.READABLE))
        raise OcclusionError(
            f"{path}: schema {content.get('schema')!r}, this version reads {known}",
            remedy="update pytest-occlusion",
        )
    completed(content, str(path))
    return content


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number")


def completed(results: Mapping[str, Any], label: str = "the results") -> Record:
    """The document in today's schema, the defaults in it; the original is kept.

    Args:
        results: What was read or made.
        label: What faults call it.

    Raises:
        OcclusionError: A part of it is not what it should be.
    """
    faults: list[str] = []
    found: Record = schema.filled(schema.DOCUMENT, dict(results), "", faults)
    faults += [] if faults else _odd(found)
    if faults:
        more = len(faults) - TOLD
        told = faults[:TOLD] + [f"and {more} more"] * (more > 0)
        raise OcclusionError(f"{label}: damaged: {'; '.join(told)}", remedy=WRITE_AGAIN)
    for cell in found["cells"]:
        if cell["model"] not in found["models"]:
            found["models"][cell["model"]] = schema.plain(schema.MODEL)
    return found | {"schema": schema.SCHEMA}


def _odd(document: Record) -> Iterator[str]:
    """What no part of a document tells on its own."""
    if not document["cells"]:
        yield "it holds no cell"
    for number, record in enumerate(document["maps"]):
        for view in record["views"]:
            grid = record["grid"]
            for quantity in schema.QUANTITIES:
                losses = view["losses"][quantity]
                if any(len(losses[part]) != grid**2 for part in schema.LOSSES):
                    yield f"maps[{number}] has no {grid} x {grid} numbers of its {quantity}"
