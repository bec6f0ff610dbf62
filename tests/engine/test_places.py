"""Places: what lies in the store under another shard is found, while it is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from pytest_occlusion.engine import store as store_module
from pytest_occlusion.engine.places import find, note, noted
from pytest_occlusion.engine.store import Store


def keep(store: Store, key: str, first: int, contents: list[str]) -> None:
    rows = np.arange(first, first + len(contents), dtype=np.float32)[:, None]
    store.write("embeddings", key, {"embeddings": rows})
    note(store, "embeddings", ["model"], {key: contents})


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
    assert not found_in(store, "embeddings", ["model"], ["a", "b"])
    assert [*found_in(store, "embeddings", ["model"], ["a"])] == [0]


def test_what_is_not_there_is_not_noted_and_the_same_not_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(store, "embeddings", ["model"], {"zz": ["a"]})
    assert not noted(store, "embeddings", ["model"])
    keep(store, "aa", 10, ["a", "b"])
    monkeypatch.setattr(Store, "write", None)
    note(store, "embeddings", ["model"], {"aa": ["a", "b"]})
    assert noted(store, "embeddings", ["model"]) == {"a": ["aa", 0], "b": ["aa", 1]}


def test_an_entry_is_read_whole_once_and_then_by_rows(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards of the whole ask for few rows each of every entry of a sample."""
    draw = np.random.default_rng(0)
    canvases = draw.integers(0, 255, (5, 1, 3, 3), np.uint8)
    store.write("canvases", "aa", {"canvases": canvases, "other": canvases[:1]}, {"n": 1})
    load = Mock(wraps=store_module._load)
    monkeypatch.setattr(store_module, "_load", load)
    for rows in ([4], [1, 0], [2, 2], [4, 3]):
        found = store.rows("canvases", "aa", rows)
        assert found is not None
        np.testing.assert_array_equal(found, canvases[rows])
        found[:] = 0  # a copy: what is kept stays as it is
    assert load.call_count == 1
    assert store.rows("canvases", "aa", [5]) is None
    store.write("canvases", "aa", {"canvases": canvases[::-1]})
    np.testing.assert_array_equal(store.rows("canvases", "aa", [0]), canvases[4:])
    store.path("canvases", "aa").unlink()
    assert store.rows("canvases", "aa", [0]) is None
    assert Store(None).read("canvases", "aa") is None


def test_without_a_store_nothing_is_known() -> None:
    note(Store(None), "embeddings", ["model"], {"aa": ["a"]})
    assert not found_in(Store(None), "embeddings", ["model"], ["a"])
