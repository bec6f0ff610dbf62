"""Places: what lies in the store under another shard is found, while it is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_occlusion.engine.places import find, note, noted
from pytest_occlusion.engine.store import Store


def keep(store: Store, key: str, first: int, contents: list[str]) -> None:
    rows = np.arange(first, first + len(contents), dtype=np.float32)[:, None]
    store.write("embeddings", key, {"embeddings": rows})
    note(store, "embeddings", ["model"], key, contents)


def found_in(store: Store, kind: str, whose: list[str], contents: list[str]) -> dict[int, Any]:
    return find(store, kind, noted(store, kind, whose), contents)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_rows_are_found_by_their_radiographs(store: Store) -> None:
    keep(store, "aa", 10, ["a", "b"])
    keep(store, "bb", 20, ["c"])
    found = found_in(store, "embeddings", ["model"], ["c", "x", "b"])
    assert {at: row.tolist() for at, row in found.items()} == {0: [20.0], 2: [11.0]}
    assert not found_in(store, "embeddings", ["another"], ["c"])
    assert not found_in(store, "canvases", ["model"], ["c"])


def test_the_newest_place_counts(store: Store) -> None:
    keep(store, "aa", 10, ["a", "b"])
    keep(store, "bb", 20, ["b"])
    found = found_in(store, "embeddings", ["model"], ["a", "b"])
    assert [found[at].tolist() for at in (0, 1)] == [[10.0], [20.0]]


def test_what_is_gone_or_damaged_is_not_found(store: Store) -> None:
    keep(store, "aa", 10, ["a"])
    keep(store, "bb", 20, ["b"])
    keep(store, "cc", 30, ["c"])
    store.path("embeddings", "aa").unlink()
    store.path("embeddings", "bb").write_bytes(b"no tensors")
    assert [*found_in(store, "embeddings", ["model"], ["a", "b", "c"])] == [2]


def test_an_entry_that_became_shorter_is_no_fault(store: Store) -> None:
    keep(store, "aa", 10, ["a", "b"])
    store.write("embeddings", "aa", {"embeddings": np.zeros((1, 1), np.float32)})
    assert [*found_in(store, "embeddings", ["model"], ["a", "b"])] == [0]


def test_without_a_store_nothing_is_known() -> None:
    note(Store(None), "embeddings", ["model"], "aa", ["a"])
    assert not found_in(Store(None), "embeddings", ["model"], ["a"])
