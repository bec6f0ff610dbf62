"""Models of the hub, against a local server that speaks its API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_occlusion.encoders import checkpoint_files, load_encoder
from pytest_occlusion.encoders.conformance import TEXTS, sample_images
from pytest_occlusion.errors import OcclusionError

from .hub_server import COMMIT, Hub, serving, use
from .one_path import MODELS

NAME = "someone/model"
PLANNED = ("clip", "cxr-repair", "medclip", "cxr-clip")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving() as served:
        use(served, tmp_path / "home", monkeypatch)
        yield served


def put(hub: Hub, folder: Path, kind: str, **told: Any) -> Path:
    """A repository of a tiny model of ``one_path``."""
    MODELS[kind].write(folder)
    hub.add(NAME, folder, **told)
    return folder


def load(kind: str, **options: Any) -> Any:
    given = {"checkpoint": f"hf-hub:{NAME}", "revision": COMMIT, "device": "cpu"}
    return load_encoder(MODELS[kind].family, **{**given, **MODELS[kind].options, **options})


@pytest.mark.parametrize("kind", [*PLANNED, "open-clip", "hf"])
def test_a_model_of_the_hub_is_the_one_of_its_folder(kind: str, hub: Hub, tmp_path: Path) -> None:
    folder = put(hub, tmp_path / "repository", kind)
    (folder / "README.md").write_text("words")
    (folder / "modeling.py").write_text("raise SystemExit")
    (folder / "optimizer.pt").write_bytes(b"not weights")
    (folder / "flax_model.msgpack").write_bytes(b"of another library")
    ours, theirs = load(kind), load(kind, checkpoint=folder, weights=MODELS[kind].file)
    assert ours.weights_digest == theirs.weights_digest
    assert torch.equal(ours.encode_texts(TEXTS), theirs.encode_texts(TEXTS))
    assert torch.equal(ours.encode_images(sample_images()), theirs.encode_images(sample_images()))
    wanted = {p.name for p in folder.iterdir()} - {
        *("README.md", "modeling.py", "optimizer.pt", "flax_model.msgpack")
    }
    assert hub.fetched == wanted
    assert {path.name for path in ours.sources} == wanted
    assert all((tmp_path / "home") in path.parents for path in ours.sources)
    if kind in PLANNED:
        assert ours.settings == theirs.settings
        return
    assert ours.settings["source"] == f"hf-hub:{NAME}"
    assert ours.settings["revision"] == COMMIT
    assert ours.variant == NAME
    assert checkpoint_files(f"hf-hub:{NAME}") == []


@pytest.mark.parametrize("kind", [*PLANNED, "open-clip", "hf"])
@pytest.mark.parametrize("revision", ["", "main", "heads/dev"])
def test_a_repository_without_a_pin_is_not_asked(kind: str, revision: str, hub: Hub) -> None:
    with pytest.raises(OcclusionError, match="so its weights could change unseen"):
        load(kind, revision=revision)
    assert hub.asked == []


@pytest.mark.parametrize("kind", ["medclip", "open-clip", "hf"])
def test_without_a_network_the_cache_is_enough(
    kind: str, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(hub, tmp_path / "repository", kind, tags=("v1",))
    wanted = load(kind, revision="v1")
    told = f"hf-hub:{NAME}@v1"
    for offline in (False, True):
        hub.away(monkeypatch, offline=offline)
        found = load(kind, revision="v1")
        assert found.weights_digest == wanted.weights_digest
        assert found.settings == wanted.settings
        for file in wanted.sources[0].parent.iterdir():
            file.rename(tmp_path / file.name)
            if file.name == MODELS[kind].file:
                with pytest.raises(OcclusionError, match="not to be had from the hub") as fault:
                    load(kind, revision="v1")
                assert told in fault.value.problem
                assert file.suffix in fault.value.problem
                assert "give the directory" in fault.value.remedy
            (tmp_path / file.name).rename(file)


@pytest.mark.parametrize("kind", ["medclip", "open-clip", "hf"])
def test_the_hub_out_of_reach(kind: str, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.away(monkeypatch)
    with pytest.raises(OcclusionError, match="not to be had from the hub") as fault:
        load(kind)
    assert f"{NAME}@{COMMIT}" in fault.value.problem
    assert "check name, revision and network" in fault.value.remedy
