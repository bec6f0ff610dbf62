"""Models of the hub, against a local server that speaks its API."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pytest_occlusion.encoders import checkpoint_files, load_encoder
from pytest_occlusion.encoders.conformance import TEXTS, sample_images
from pytest_occlusion.encoders.inspect import inspect_checkpoint
from pytest_occlusion.errors import OcclusionError

from .hub_server import COMMIT, Hub
from .one_path import MODELS, split, take
from .test_one_path import TEXT_TOWER, write_text_tower
from .tiny import write_open_clip, write_word_pieces

NAME = "someone/model"
PLANNED = ("clip", "cxr-repair", "medclip", "cxr-clip")


def put(hub: Hub, folder: Path, kind: str, **told: Any) -> Path:
    """A repository of a tiny model of ``one_path``."""
    MODELS[kind].write(folder)
    hub.add(NAME, folder, **told)
    return folder


def write_named_tower(folder: Path, name: str) -> Path:
    """A model of open_clip whose text tower is of transformers, named by its configuration."""
    import open_clip

    write_open_clip(folder, "vit")
    (folder / "bpe_vocab.txt.gz").unlink()
    tower = write_text_tower(folder / "tower", write_word_pieces(folder / "words"))
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    for named in (str(tower), name):
        towers = {**TEXT_TOWER, "hf_model_name": named, "hf_tokenizer_name": named}
        config["model_cfg"]["text_cfg"] = towers
        path.write_text(json.dumps(config))
        if named == str(tower):
            torch.manual_seed(0)
            model = open_clip.create_model(
                f"local-dir:{folder}", load_weights=False, pretrained_text=False
            )
            save_file(model.state_dict(), folder / MODELS["open-clip"].file)
    shutil.rmtree(tower)
    (folder / "words").unlink()
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


def test_a_gated_repository(hub: Hub, tmp_path: Path) -> None:
    put(hub, tmp_path / "repository", "hf", gated=True)
    with pytest.raises(OcclusionError, match=rf"hf-hub:{NAME}@{COMMIT}: .*GatedRepoError") as fault:
        load("hf")
    assert "`hf auth login`" in fault.value.remedy
    assert f"ask for access at https://huggingface.co/{NAME}" in fault.value.remedy


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"checkpoint": "hf-hub:nobody/there"}, "RepositoryNotFoundError"),
        ({"revision": "v9"}, "RevisionNotFoundError"),
        ({"weights": "gone.bin"}, "gone.bin"),
    ],
)
def test_what_the_hub_does_not_have(
    options: dict[str, str], said: str, hub: Hub, tmp_path: Path
) -> None:
    put(hub, tmp_path / "repository", "hf")
    with pytest.raises(OcclusionError) as fault:
        load("hf", **options)
    assert said in str(fault.value)
    assert hub.fetched == set()


def test_a_repository_without_weights_is_not_downloaded(hub: Hub, tmp_path: Path) -> None:
    folder = put(hub, tmp_path / "repository", "hf")
    (folder / "model.safetensors").rename(folder / "model.h5")
    with pytest.raises(OcclusionError, match="holds no weights that are known here") as fault:
        load("hf")
    assert "looked for model*.safetensors, pytorch_model*.bin; it holds" in fault.value.remedy
    assert "model.h5" in fault.value.remedy
    assert hub.fetched == set()


def test_of_several_weights_none_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    folder = put(hub, tmp_path / "repository", "cxr-clip")
    shutil.copy(folder / "best.tar", folder / "last.tar")
    with pytest.raises(OcclusionError, match=r"several weights files \(best.tar, last.tar\)"):
        load("cxr-clip")
    assert hub.fetched == set()
    load("cxr-clip", weights="last.tar")
    assert hub.fetched == {"last.tar", "vocab.txt"}


def test_a_split_checkpoint_comes_whole(hub: Hub, tmp_path: Path) -> None:
    folder = put(hub, tmp_path / "repository", "hf")
    whole = load("hf", checkpoint=folder)
    split(folder, take(folder, MODELS["hf"]))
    for weights in ("", "model.safetensors.index.json"):
        assert load("hf", weights=weights).weights_digest == whole.weights_digest
    assert {name for name in hub.fetched if "safetensors" in name} == {
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    }


def test_an_interrupted_download_is_not_loaded_and_is_completed(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(hub, tmp_path / "repository", "hf")
    monkeypatch.setattr("time.sleep", lambda _: None)  # of the client, between its own attempts
    hub.cut = {"model.safetensors"}
    with pytest.raises(OcclusionError, match=r"model\.safetensors is not to be had") as fault:
        load("hf")
    assert f"{NAME}@{COMMIT}" in fault.value.problem
    assert not list((tmp_path / "home").rglob("snapshots/*/model.safetensors"))
    hub.away(monkeypatch)
    with pytest.raises(OcclusionError, match="not to be had from the hub"):
        load("hf")
    hub.back(monkeypatch)
    hub.cut = set()
    assert load("hf").weights_digest == load("hf", checkpoint=folder).weights_digest


def test_companions_that_the_cache_lacks_are_named(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(hub, tmp_path / "repository", "hf")
    held = load("hf").sources[0].parent
    hub.away(monkeypatch, offline=True)
    for lost, said in {
        "config.json": "put there the config.json",
        "preprocessor_config.json": "preprocessor_config.json or processor_config.json",
    }.items():
        (held / lost).rename(tmp_path / lost)
        with pytest.raises(OcclusionError) as fault:
            load("hf")
        assert f"hf-hub:{NAME}@{COMMIT} ({held})" in fault.value.problem
        assert said in fault.value.remedy
        (tmp_path / lost).rename(held / lost)


def test_a_text_tower_of_the_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As BiomedCLIP's: named by a configuration, fetched without weights, found in the cache."""
    place = write_named_tower(tmp_path / "model", "someone/tiny-bert@v1")
    tower = write_text_tower(tmp_path / "bert", write_word_pieces(tmp_path / "vocab.txt"))
    (tower / "pytorch_model.bin").write_bytes(b"not needed")
    hub.add("someone/tiny-bert", tower, tags=("v1",))

    def encoder(**options: Any) -> Any:
        return load_encoder("open-clip", checkpoint=place, device="cpu", **options)

    wanted = encoder()
    assert hub.fetched == {"config.json", "vocab.txt", "tokenizer_config.json"}
    hub.away(monkeypatch, offline=True)
    assert torch.equal(encoder().encode_texts(TEXTS), wanted.encode_texts(TEXTS))
    shutil.rmtree(tmp_path / "home")
    with pytest.raises(OcclusionError) as fault:
        encoder()
    key = f"model_cfg.text_cfg.hf_model_name of {place / 'open_clip_config.json'}"
    assert f"someone/tiny-bert@v1 (named by {key}): config.json is not to be" in fault.value.problem
    assert f"give the directory: in {key}, relative to it, or as tokenizer" in fault.value.remedy
    assert torch.equal(encoder(tokenizer=tower).encode_texts(TEXTS), wanted.encode_texts(TEXTS))
    shutil.copytree(tower, place / "someone" / "tiny-bert@v1")
    assert torch.equal(encoder().encode_texts(TEXTS), wanted.encode_texts(TEXTS))
    shutil.rmtree(place / "someone")
    for named in ("../bert", "./bert"):
        there = "found" if named == "../bert" else "nor the id of a hub repository"
        config = json.loads((place / "open_clip_config.json").read_text())
        towers = config["model_cfg"]["text_cfg"]
        towers |= {"hf_model_name": named, "hf_tokenizer_name": named}
        (place / "open_clip_config.json").write_text(json.dumps(config))
        if there == "found":
            assert torch.equal(encoder().encode_texts(TEXTS), wanted.encode_texts(TEXTS))
            continue
        with pytest.raises(OcclusionError, match=there):
            encoder()


def test_unimed_clip_is_open_clip_by_another_name(tmp_path: Path) -> None:
    """Its files as published: keys of a fork, under ``state_dict``, with a table of indices."""
    tower = write_text_tower(tmp_path / "bert", write_word_pieces(tmp_path / "vocab.txt"))
    place = write_named_tower(tmp_path / "model", str(tower))
    wanted = load_encoder("open-clip", checkpoint=place, device="cpu")
    state = take(place, MODELS["open-clip"])
    theirs = {
        f"module.{name.replace('text.', 'text_encoder.', 1)}": value
        for name, value in state.items()
    }
    theirs["module.text_encoder.transformer.embeddings.position_ids"] = torch.arange(32)[None]
    file = place / "unimed_clip_vit_b16.pt"
    torch.save({"epoch": 10, "name": "unimed", "state_dict": theirs}, file)
    found = load_encoder("open-clip", checkpoint=place, device="cpu")
    assert torch.equal(found.encode_texts(TEXTS), wanted.encode_texts(TEXTS))
    assert torch.equal(found.encode_images(sample_images()), wanted.encode_images(sample_images()))
    told = inspect_checkpoint(place)
    assert (told.family, told.loads) == ("open-clip", True)
    assert told.what == "a UniMed-CLIP state_dict (an open_clip_config.json belongs beside it)"
    assert inspect_checkpoint(file).family == "open-clip"


def test_a_text_tower_that_lacks_its_configuration(hub: Hub, tmp_path: Path) -> None:
    place = write_named_tower(tmp_path / "model", "someone/tiny-bert")
    tower = write_text_tower(tmp_path / "bert", write_word_pieces(tmp_path / "vocab.txt"))
    (tower / "config.json").unlink()
    hub.add("someone/tiny-bert", tower)
    with pytest.raises(OcclusionError, match="the repository lacks what is needed of it") as fault:
        load_encoder("open-clip", checkpoint=place, device="cpu")
    assert "looked for config.json; it holds tokenizer_config.json" in fault.value.remedy
    assert "(named by model_cfg.text_cfg.hf_model_name of" in fault.value.problem
