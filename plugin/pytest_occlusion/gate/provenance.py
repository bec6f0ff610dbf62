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
from pytest_occlusion.engine.models import ModelRecord

LIBRARIES = ("torch", "open_clip_torch", "transformers", "numpy", "pillow")
"""Those whose versions may move a number."""

_version = cache(version)
"""Read once: looking one up takes milliseconds, and every cell has a provenance."""


@dataclass(frozen=True)
class Provenance:
    """Where a number comes from; plain strings, ready for a snapshot.

    Attributes:
        weights: Digest of the tensors.
        corpus: Fingerprint of the corpus.
        protocol: Digest of the protocol's settings and the encoder's own.
        precision: Of the forward passes.
        device: ``cpu`` or the GPU's name.
        code: Version of this package and of the numbers its engine and family give.
        libraries: Python and library versions, as one line.
    """

    weights: str
    corpus: str
    protocol: str
    precision: str
    device: str
    code: str
    libraries: str

    @property
    def id(self) -> str:
        """Short name under which a snapshot refers to it."""
        return settings_digest(asdict(self))[:8]


FIELDS = tuple(field.name for field in fields(Provenance))

DIGEST_FIELDS = ("weights", "corpus", "protocol")
"""Those that are shown by their first digits."""


def environment() -> str:
    """Python and library versions; nothing is imported for it."""
    found = [f"python {platform.python_version()}"]
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {_version(name)}")
    return ", ".join(found)


def provenance(
    record: ModelRecord, *, corpus: str, protocol: Mapping[str, Any], device: str
) -> Provenance:
    """Put together what a result depends on."""
    encoder = {name: value for name, value in record.settings.items() if name != "revision"}
    return Provenance(
        weights=record.weights,
        corpus=corpus,
        protocol=settings_digest([dict(protocol), encoder, record.canvas]),
        precision=record.precision,
        device=device,
        code=(
            f"pytest-occlusion {_version('pytest-occlusion')}, engine {ENGINE}, {record.family} "
            f"revision {record.settings.get('revision')}"
        ),
        libraries=environment(),
    )


def changes(before: Provenance, after: Provenance) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """What differs, as field -> (before, after), and the fields that do not."""
    old, new = asdict(before), asdict(after)
    changed = {name: (old[name], new[name]) for name in old if old[name] != new[name]}
    return changed, [name for name in old if name not in changed]


def shown_change(name: str, old: str, new: str) -> tuple[str, str]:
    """A field before and after, for people: of a list only what differs."""
    if name in DIGEST_FIELDS:
        return old[:8], new[:8]
    if name in ("code", "libraries"):
        before, after = set(old.split(", ")), set(new.split(", "))
        gone, come = (", ".join(sorted(one)) for one in (before - after, after - before))
        return gone or "none", come or "none"
    return old, new
