"""The store: whole entries or none, whatever interrupts, damages or shares it."""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import stat
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.engine.store import Entry, Store, default_root, write_atomically
from pytest_occlusion.errors import OcclusionError

KEY = settings_digest("some key")
OTHER = settings_digest("another key")

DTYPES = ("bool", "uint8", "int32", "int64", "float16", "float32", "float64")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def files_under(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


# Round trip --------------------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.text("abcxyz_", min_size=1, max_size=5),
        st.sampled_from(DTYPES).flatmap(
            lambda kind: hnp.arrays(kind, hnp.array_shapes(max_dims=3, max_side=4, min_side=0))
        ),
        max_size=3,
    ),
    st.dictionaries(
        st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=5), st.none(), st.booleans())
    ),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, Any], fields: dict[str, Any]
) -> None:
    store = Store(tmp_path_factory.getbasetemp() / "round-trip")
    store.write("kind", KEY, arrays, fields)
    entry = store.read("kind", KEY)
    assert entry is not None
    assert dict(entry.fields) == fields
    assert set(entry.arrays) == set(arrays)
    for name, array in arrays.items():
        assert entry.arrays[name].dtype == array.dtype
        assert entry.arrays[name].shape == array.shape
        assert entry.arrays[name].tobytes() == array.tobytes()
    assert store.notes == []


def test_views_and_transposes_are_stored_as_they_look(store: Store) -> None:
    table = np.arange(24).reshape(4, 6)
    store.write("kind", KEY, {"t": table.T, "slice": table[::2, 1::3]})
    entry = store.read("kind", KEY)
    assert entry is not None
    assert np.array_equal(entry.arrays["t"], table.T)
    assert np.array_equal(entry.arrays["slice"], table[::2, 1::3])


def test_arrays_are_read_only(store: Store) -> None:
    store.write("kind", KEY, {"x": np.zeros(3)})
    entry = store.read("kind", KEY)
    assert entry is not None
    with pytest.raises(ValueError, match="read-only"):
        entry.arrays["x"][0] = 1


def test_absent_is_none_and_makes_no_folder(store: Store) -> None:
    assert store.read("kind", KEY) is None
    assert store.notes == []
    assert store.root is not None
    assert not store.root.exists()


def test_kinds_and_keys_do_not_mix(store: Store) -> None:
    store.write("one", KEY, {"x": np.zeros(1)})
    assert store.read("two", KEY) is None
    assert store.read("one", OTHER) is None


def test_a_second_write_replaces_the_first(store: Store) -> None:
    for value in (1, 2):
        store.write("kind", KEY, {"x": np.full(3, value)}, {"value": value})
    entry = store.read("kind", KEY)
    assert entry is not None
    assert entry.fields["value"] == 2
    assert entry.arrays["x"].tolist() == [2, 2, 2]
    assert store.root is not None
    assert len(files_under(store.root)) == 1


def test_only_its_owner_can_look_inside(store: Store) -> None:
    assert store.root is not None
    old = os.umask(0o022)
    try:
        store.write("kind", KEY, {"x": np.zeros(3)})
        with store.lock(KEY):
            pass
    finally:
        os.umask(old)
    folders = [store.root, *(path for path in store.root.rglob("*") if path.is_dir())]
    assert len(folders) >= 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}
    modes = {stat.S_IMODE(store.path("kind", KEY).stat().st_mode)}
    assert modes == {0o600}


def test_an_existing_folder_keeps_its_permissions(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    shared.chmod(0o755)
    Store(shared).write("kind", KEY, {"x": np.zeros(3)})
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755


def test_file_names_hold_nothing_but_the_key(store: Store) -> None:
    assert store.root is not None
    store.write("canvases", KEY, {"x": np.zeros(3)})
    (found,) = files_under(store.root)
    expected = ("v1", "canvases", KEY[:2], f"{KEY}.safetensors")
    assert found.relative_to(store.root).parts == expected


def test_files_are_those_of_safetensors(store: Store) -> None:
    """Any tool can open them, though they are read here without its lock on Python."""
    from safetensors.numpy import load

    arrays = {"a": np.ones((2, 3), np.uint8), "b": np.arange(5.0), "c": np.zeros(0, np.int32)}
    store.write("kind", KEY, arrays)
    read = load(store.path("kind", KEY).read_bytes())
    assert {name: (one.dtype, one.tolist()) for name, one in read.items()} == {
        name: (one.dtype, one.tolist()) for name, one in arrays.items()
    }


# Damage ------------------------------------------------------------------------------------------


def shorten(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def without_checksum(data: bytes) -> bytes:
    from safetensors.numpy import load, save

    return bytes(save(load(data), {"fields": "{}"}))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": shorten,
    "empty": lambda data: b"",
    "a flipped number": lambda data: flip(data, len(data) - 1),
    "a flipped header": lambda data: flip(data, 12),
    "a flipped length": lambda data: flip(data, 0),
    "something behind it": lambda data: data + b"more",
    "another file": lambda data: b"\x89PNG not an entry at all",
    "text": lambda data: b"<html>not found</html>" * 30,
    "no checksum": without_checksum,
}


@pytest.mark.parametrize("damage", sorted(DAMAGE))
def test_damage_is_found_reported_and_removed(
    store: Store, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store.write("ranks", KEY, {"x": np.arange(40)}, {"device": "cpu"})
    store.write("ranks", OTHER, {"x": np.arange(40)})
    path = store.path("ranks", KEY)
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with caplog.at_level(logging.WARNING, "pytest_occlusion.engine.store"):
        assert store.read("ranks", KEY) is None
    assert not path.exists()
    (line,) = store.notes
    assert f"ranks entry {KEY[:12]} was damaged" in line
    assert "rebuilt" in line
    assert str(store.root) not in line
    assert line in caplog.text
    assert store.read("ranks", OTHER) is not None
    store.write("ranks", KEY, {"x": np.arange(40)})
    assert store.read("ranks", KEY) is not None
    assert len(store.notes) == 1


@given(st.data())
def test_no_flipped_byte_goes_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    store = Store(tmp_path_factory.getbasetemp() / "flips")
    arrays, fields = {"x": np.arange(5), "y": np.ones((2, 2))}, {"a": "b"}
    store.write("kind", KEY, arrays, fields)
    path = store.path("kind", KEY)
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    mask = data.draw(st.integers(1, 255))
    path.write_bytes(whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :])
    entry = store.read("kind", KEY)
    if entry is not None:  # JSON white space, at most
        assert dict(entry.fields) == fields
        assert {name: a.tolist() for name, a in entry.arrays.items()} == {
            name: a.tolist() for name, a in arrays.items()
        }


def test_an_entry_under_a_wrong_name_of_field_is_damage(store: Store) -> None:
    """The checksum covers names, types and shapes, not only bytes."""
    from safetensors.numpy import save

    store.write("kind", KEY, {"x": np.arange(4, dtype=np.int32)})
    path = store.path("kind", KEY)
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    for arrays in (
        {"y": np.arange(4, dtype=np.int32)},
        {"x": np.arange(4, dtype=np.int32).reshape(2, 2)},
        {"x": np.arange(4, dtype=np.int32).view(np.uint32)},
    ):
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(save(arrays, metadata))
        assert store.read("kind", KEY) is None
    assert len(store.notes) == 3


# Interruption ------------------------------------------------------------------------------------


def refuse(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def half_written(fault: BaseException) -> Callable[..., Any]:
    """An ``os.fdopen`` whose files take half of what is written and then raise."""
    fdopen = os.fdopen

    class Half:
        def __init__(self, *args: Any) -> None:
            self.file = fdopen(*args)

        def __enter__(self) -> Half:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, payload: bytes) -> None:
            self.file.write(payload[: len(payload) // 2])
            raise fault

    return Half


PLACES = {"pathlib.Path.replace": refuse, "os.fdopen": half_written(KeyboardInterrupt())}


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_an_interrupted_write_leaves_nothing_partial(
    store: Store, monkeypatch: pytest.MonkeyPatch, earlier: bool, place: str
) -> None:
    if earlier:
        store.write("kind", KEY, {"x": np.zeros(3)}, {"run": 1})
    with monkeypatch.context() as patch:
        patch.setattr(place, PLACES[place])
        with pytest.raises(KeyboardInterrupt):
            store.write("kind", KEY, {"x": np.ones(3)}, {"run": 2})
    assert store.root is not None
    assert files_under(store.root) == ([store.path("kind", KEY)] if earlier else [])
    entry = store.read("kind", KEY)
    assert (entry is not None and entry.fields["run"] == 1) if earlier else entry is None


def test_a_full_disk_is_an_error_with_a_remedy(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("os.fdopen", half_written(OSError(28, "No space left on device")))
        with pytest.raises(OcclusionError) as caught:
            store.write("kind", KEY, {"x": np.ones(3)})
    message = str(caught.value)
    assert f"cannot write to the store {store.root}: No space left on device" in message
    for word in ("make room", "--occlusion-store DIR", "--occlusion-no-store"):
        assert word in caught.value.remedy
    assert store.root is not None
    assert files_under(store.root) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "store")
    with pytest.raises(OcclusionError) as caught:
        store.write("kind", KEY, {"x": np.ones(3)})
    assert f"cannot write to the store {store.root}" in str(caught.value)
    with pytest.raises(OcclusionError) as caught, store.lock(KEY):
        pass
    assert f"cannot write to the store {store.root}" in str(caught.value)
    assert "--occlusion-store DIR" in caught.value.remedy


def test_a_lock_that_cannot_be_made(store: Store) -> None:
    assert store.root is not None
    (store.root / "v1" / "locks" / f"{KEY}.lock").mkdir(parents=True)  # in the way
    with pytest.raises(OcclusionError) as caught, store.lock(KEY):
        pass
    assert f"cannot write to the store {store.root}" in str(caught.value)


def test_an_error_inside_the_lock_is_not_taken_for_one_of_the_store(store: Store) -> None:
    with pytest.raises(PermissionError, match="mine"), store.lock(KEY):
        raise PermissionError("mine")


def test_files_of_users_are_on_the_disk_before_they_get_their_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A baseline has no checksum to tell that it never arrived; entries of the store do."""
    flushed: list[int] = []
    monkeypatch.setattr("os.fsync", flushed.append)
    write_atomically(tmp_path / "baseline.json", b"{}")
    assert len(flushed) == 1
    Store(tmp_path / "store").write("kind", KEY, {"x": np.ones(3)})
    assert len(flushed) == 1


def test_an_entry_is_had_before_it_is_read(store: Store) -> None:
    assert not store.has("kind", KEY)
    store.write("kind", KEY, {"x": np.ones(3)})
    assert store.has("kind", KEY)
    assert not store.has("kind", OTHER)
    assert not Store(None).has("kind", KEY)


def test_whether_there_is_anything_of_a_kind(store: Store) -> None:
    assert not store.any("kind")
    store.write("other", KEY, {"x": np.ones(3)})
    assert not store.any("kind")
    store.write("kind", KEY, {"x": np.ones(3)})
    assert store.any("kind")
    assert not Store(None).any("kind")


def test_atomic_files_of_users_follow_their_umask(tmp_path: Path) -> None:
    """Snapshots and results are for others to read; only the store is private."""
    old = os.umask(0o022)
    try:
        write_atomically(tmp_path / "results.json", b"{}")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "results.json").stat().st_mode) == 0o644
    assert (tmp_path / "results.json").read_bytes() == b"{}"


# Without a store ---------------------------------------------------------------------------------


def test_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(None)
    store.write("kind", KEY, {"x": np.zeros(3)})
    assert store.read("kind", KEY) is None
    with store.lock(KEY), store.lock(KEY):
        pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OcclusionError) as caught:
        store.path("kind", KEY)
    assert "no store in this run" in str(caught.value)
    assert "--occlusion-no-store" in caught.value.remedy


def test_default_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OCCLUSION_STORE", str(tmp_path))
    assert default_root() == tmp_path
    monkeypatch.setenv("OCCLUSION_STORE", "~/kept")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_root() == tmp_path / "kept"
    monkeypatch.delenv("OCCLUSION_STORE")
    assert default_root().name == "pytest-occlusion"


# Several processes -------------------------------------------------------------------------------


def write_often(root: Path, worker: int) -> list[str]:
    """Write and read one key over and over; gives what was ever wrong."""
    store, wrong = Store(root), []
    for _ in range(25):
        store.write("kind", KEY, {"x": np.full(2000, worker)}, {"worker": worker})
        entry = store.read("kind", KEY)
        if entry is None:
            wrong.append("absent")
        elif set(entry.arrays["x"].tolist()) != {entry.fields["worker"]}:
            wrong.append("mixed")
    return wrong + store.notes


def count_up(root: Path, worker: int) -> list[str]:
    """Add to a number in a file, which loses counts unless the lock excludes the others."""
    store, file = Store(root), root / "count"
    for _ in range(25):
        with store.lock(OTHER):
            before = int(file.read_text())
            file.write_text(str(before + 1))
    return []


def test_processes_share_a_store(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(3, mp_context=context) as pool:
        wrong = list(pool.map(partial(write_often, tmp_path), range(3)))
        wrong += list(pool.map(partial(count_up, tmp_path), range(3)))
    assert wrong == [[]] * 6
    assert (tmp_path / "count").read_text() == "75"
    assert [path.suffix for path in files_under(tmp_path / "v1" / "kind")] == [".safetensors"]


def test_entries_hold_plain_json(store: Store) -> None:
    """Another program can read what is in a store."""
    from safetensors import safe_open

    store.write("kind", KEY, {"x": np.arange(3)}, {"b": 1, "a": [1, 2]})
    with safe_open(store.path("kind", KEY), framework="np") as file:
        assert json.loads(file.metadata()["fields"]) == {"a": [1, 2], "b": 1}
        assert file.get_tensor("x").tolist() == [0, 1, 2]


# Full --------------------------------------------------------------------------------------------


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A disk without room, and the paths that were to be written."""
    tried: list[Path] = []

    def refuse(path: Path, payload: bytes, **given: object) -> None:
        tried.append(path)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("pytest_occlusion.engine.store.write_atomically", refuse)
    return tried


def test_a_full_store_is_tried_once_and_said_once(tmp_path: Path, full: list[Path]) -> None:
    store = Store(tmp_path / "store", forgiving=True)
    for key in (KEY, OTHER):
        store.write("kind", key, {"a": np.ones(3)})
        entry = store.kept("kind", key, lambda: Entry({"a": np.ones(3)}, {}))
        assert entry.arrays["a"].tolist() == [1, 1, 1]
        with store.lock(key):
            pass
    assert len(full) == 1
    (line,) = store.notes
    assert f"the store {tmp_path / 'store'} is full (No space left on device)" in line


def test_a_full_store_is_an_error_where_others_meet_in_it(tmp_path: Path, full: list[Path]) -> None:
    with pytest.raises(OcclusionError, match="cannot write to the store"):
        Store(tmp_path / "store").write("kind", KEY, {})


def test_what_is_forbidden_is_never_forgiven(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object, **more: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("pytest_occlusion.engine.store.write_atomically", refuse)
    with pytest.raises(OcclusionError, match="Permission denied"):
        Store(tmp_path / "store", forgiving=True).write("kind", KEY, {})


def test_a_store_of_somebody_else_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store", forgiving=True)
    store.write("kind", KEY, {"a": np.ones(1)})

    def refuse(*given: object, **more: object) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    looks: dict[str, Callable[[], object]] = {
        "exists": lambda: store.has("kind", KEY),
        "glob": lambda: store.any("kind"),
        "open": lambda: store.read("kind", KEY),
    }
    for name, look in looks.items():
        with monkeypatch.context() as patch:
            patch.setattr(Path, name, refuse)
            with pytest.raises(OcclusionError, match="cannot read the store"):
                look()
    assert store.read("kind", KEY) is not None, "it was not taken for damaged"
