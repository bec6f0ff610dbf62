"""Where a radiograph lies in the store beside those of another shard.

An entry is named by all radiographs of its shard, so that the shards of a sample are strangers to
those of the whole corpus. What a sample drew and encoded is therefore noted one by one: a run of
the whole takes it from there. On a CPU an embedding may differ in its last bit from one that was
encoded in a batch of another size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.engine.store import Store

KIND = "places"


def note(store: Store, kind: str, whose: Sequence[Any], key: str, contents: Sequence[str]) -> None:
    """Note that rows of an entry are those of some radiographs.

    Args:
        store: Where it lies.
        kind: Of the entry, whose array is called as well: ``canvases`` or ``embeddings``.
        whose: Plain data: what else they depend on, such as the recipe of a canvas.
        key: Of the entry.
        contents: Digest of the radiograph of each row.
    """
    own = _key(kind, whose)
    with store.lock(own):
        kept = store.read(KIND, own)
        places = dict(kept.fields["places"]) if kept else {}
        places |= {content: [key, row] for row, content in enumerate(contents)}
        store.write(KIND, own, {}, {"places": places})


Places = Mapping[str, Sequence[Any]]
"""Digest of a radiograph -> key of an entry, and row."""


def noted(store: Store, kind: str, whose: Sequence[Any]) -> Places:
    """What was noted; read once for all shards, since it names all radiographs of a sample."""
    kept = store.read(KIND, _key(kind, whose))
    return {} if kept is None else dict(kept.fields["places"])


def find(
    store: Store, kind: str, places: Places, contents: Sequence[str]
) -> dict[int, NDArray[Any]]:
    """Place in ``contents`` -> row, of those radiographs that were noted and are still there."""
    rows: dict[str, list[tuple[int, int]]] = {}
    for at, content in enumerate(contents):
        if content in places:
            key, row = places[content]
            rows.setdefault(key, []).append((at, row))
    found: dict[int, NDArray[Any]] = {}
    for key, asked in rows.items():
        if entry := store.read(kind, key):
            array = entry.arrays[kind]
            # Copies, or a row would keep all of its entry in memory.
            found |= {at: array[row].copy() for at, row in asked if row < len(array)}
    return found


def filled(
    count: int, known: Mapping[int, NDArray[Any]], made: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Rows ``[count, ...]`` in order: those that are known, and between them those that were made.

    Args:
        count: How many there are to be.
        known: Place -> row, at least one.
        made: All others, in order; ``None`` where there are none.
    """
    first = next(iter(known.values()))
    rows = np.empty((count, *first.shape), first.dtype)
    if made is not None:
        rows[[at for at in range(count) if at not in known]] = made
    for at, row in known.items():
        rows[at] = row
    return rows


def _key(kind: str, whose: Sequence[Any]) -> str:
    return settings_digest([KIND, kind, *whose])
