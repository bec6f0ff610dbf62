"""Provenance: under which weights, corpus, protocol and environment a number came about."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.engine.job import ENGINE
from pytest_occlusion.engine.session import Session
from pytest_occlusion.suite.grid import Cell

LIBRARIES = ("torch", "open_clip_torch", "transformers", "numpy", "pillow")
"""Those whose versions may move a number."""

_version = cache(version)
"""Read once: looking one up takes milliseconds, and every cell has a provenance."""


@dataclass(frozen=True)
class Provenance:
    """Where a number comes from; plain strings, ready for a snapshot."""

    weights: str  # digest of the tensors
    corpus: str  # fingerprint
    protocol: str  # digest of the protocol's settings and the encoder's own
    precision: str  # of the forward passes
    device: str  # ``cpu`` or the GPU's name
    code: str  # version of this package and of the numbers its engine and family give
    libraries: str  # Python and library versions, as one line

    @property
    def id(self) -> str:
        """Short name under which a snapshot refers to it."""
        return settings_digest(asdict(self))[:8]


FIELDS = tuple(field.name for field in fields(Provenance))

DIGEST_FIELDS = ("weights", "corpus", "protocol")
"""Those that are shown by their first digits."""


def provenance(session: Session, cell: Cell) -> Provenance:
    """What the result of a measured cell depends on."""
    return provenance_of(session, cell, str(session.measured(cell)[0].fields.get("device", "cpu")))


def provenance_of(session: Session, cell: Cell, device: str) -> Provenance:
    """What a result of a cell depends on that was measured on some device."""
    record = session.record(cell.model)
    protocol = {**session.settings.protocol(), "direction": cell.direction}
    encoder = {name: value for name, value in record.settings.items() if name != "revision"}
    libraries = [f"python {platform.python_version()}"]
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            libraries.append(f"{name} {_version(name)}")
    return Provenance(
        weights=record.weights,
        corpus=session.corpus.fingerprint,
        protocol=settings_digest([protocol, encoder, record.canvas]),
        precision=record.precision,
        device=device,
        code=(
            f"pytest-occlusion {_version('pytest-occlusion')}, engine {ENGINE}, {record.family} "
            f"revision {record.settings.get('revision')}"
        ),
        libraries=", ".join(libraries),
    )


def changes(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> tuple[list[tuple[str, str, str]], list[str]]:
    """What differs, as (field, before, after) for people, and the fields that do not.

    Of two provenances as plain data; what one of them does not say is in neither list.
    """
    both = [(n, str(before[n]), str(after[n])) for n in FIELDS if n in before and n in after]
    changed = [(name, *_shown(name, old, new)) for name, old, new in both if old != new]
    return changed, [name for name, old, new in both if old == new]


def _shown(name: str, old: str, new: str) -> tuple[str, str]:
    """A digest by its first digits, of a list only what differs."""
    if name in DIGEST_FIELDS:
        return old[:8], new[:8]
    if name in ("code", "libraries"):
        before, after = set(old.split(", ")), set(new.split(", "))
        gone, come = (", ".join(sorted(one)) for one in (before - after, after - before))
        return gone or "none", come or "none"
    return old, new
