"""Where a radiograph lies in the store beside those of another shard.

An entry is named by all radiographs of its shard, so that a sample does not find the shards of the
whole corpus, nor the other way round. What is there is therefore noted one by one. An embedding may
differ from one of a batch of another size, in fp32 on a CPU in its last bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.engine.store import Store

KIND = "places"


def note(
    store: Store, kind: str, whose: Sequence[Any], entries: Mapping[str, Sequence[str]]
) -> None:
    """Note of which radiographs the rows of some entries are, as far as they are there.

    Args:
        store: Where they lie.
        kind: Of the entries, whose array is called as well: ``canvases`` or ``embeddings``.
        whose: Plain data: what else they depend on, such as the recipe of a canvas.
        entries: Key -> digest of the radiograph of each row.
    """
    own = _key(kind, whose)
    with store.lock(own):
        before = noted(store, kind, whose)
        fresh = {
            content: [key, row]
            for key, contents in entries.items()
            if store.has(kind, key)
            for row, content in enumerate(contents)
            if before.get(content) != [key, row]
        }
        if fresh:
            store.write(KIND, own, {}, {"places": {**before, **fresh}})


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
        array = store.rows(kind, key, [row for _, row in asked])
        if array is not None:
            found |= dict(zip((at for at, _ in asked), array, strict=True))
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
