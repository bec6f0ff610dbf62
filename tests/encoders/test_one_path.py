"""What is run, what is digested and what is remembered are the same weights, or nothing is run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pytest_occlusion.encoders import Encoder, load_encoder
from pytest_occlusion.encoders.conformance import sample_images
from pytest_occlusion.encoders.files import folder_files
from pytest_occlusion.encoders.inspect import inspect_checkpoint
from pytest_occlusion.engine.models import files_key, known_record, open_encoder
from pytest_occlusion.engine.store import Store
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.suite.settings import ModelSettings

from .one_path import CASES, LOADS, MODELS, Case, prepared
from .tiny import write_hub_model, write_word_pieces

Plain = Callable[[str], tuple[Path, Encoder]]


@pytest.fixture(scope="module", autouse=True)
def offline() -> Any:
    import huggingface_hub

    def no_network(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub, "snapshot_download", no_network)
        patch.setattr(huggingface_hub.HfApi, "model_info", no_network)
        yield


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Plain:
    """The tiny folders as they should be, each with its encoder."""
    made: dict[str, tuple[Path, Encoder]] = {}

    def get(name: str) -> tuple[Path, Encoder]:
        if name not in made:
            folder = tmp_path_factory.mktemp("plain") / name
            model = MODELS[name]
            model.write(folder)
            encoder = load_encoder(model.family, checkpoint=folder, device="cpu", **model.options)
            made[name] = folder, encoder
        return made[name]

    return get


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.model}: {case.name}")
def test_the_weights_that_are_digested_are_run(case: Case, plain: Plain, tmp_path: Path) -> None:
    checkpoint, options = prepared(case, tmp_path / "model")
    if case.said != LOADS:
        with pytest.raises(OcclusionError) as fault:
            load_encoder(checkpoint=checkpoint, **options)
        assert case.said in fault.value.problem
        assert str(tmp_path) in fault.value.problem
        assert fault.value.remedy
        return
    _, wanted = plain(case.model)
    found = load_encoder(checkpoint=checkpoint, **options)
    assert found.weights_digest == wanted.weights_digest
    images, texts = sample_images()[:2], ["No effusion.", "normal lungs"]
    assert torch.equal(found.encode_images(images), wanted.encode_images(images))
    assert torch.equal(found.encode_texts(texts), wanted.encode_texts(texts))


@pytest.mark.parametrize("name", MODELS)
def test_inspect_decides_as_the_loader_does(name: str, plain: Plain, tmp_path: Path) -> None:
    folder, encoder = plain(name)
    found = inspect_checkpoint(folder)
    assert found.digest == encoder.weights_digest
    assert found.read.weights == folder / MODELS[name].file
    if MODELS[name].family in ("open-clip", "hf"):
        assert found.loads
        place = shutil.copytree(folder, tmp_path / "two")
        shutil.copy(folder / MODELS[name].file, place / "second.safetensors")
        with pytest.raises(OcclusionError, match="several weights files"):
            inspect_checkpoint(place)
        chosen = inspect_checkpoint(place, "second.safetensors")
        assert (chosen.digest, chosen.read.weights.name) == (found.digest, "second.safetensors")
    if MODELS[name].family == "hf":
        (place / "config.json").unlink()
        assert not inspect_checkpoint(place, "second.safetensors").loads


def settings_of(name: str, folder: Path, **options: Any) -> ModelSettings:
    model = MODELS[name]
    return ModelSettings(name, model.family, str(folder), options={**model.options, **options})


def _outcome(settings: ModelSettings) -> str:
    try:
        return files_key(settings, "fp32")
    except OcclusionError as fault:
        return f"refused: {fault.problem}"


@pytest.mark.parametrize("name", MODELS)
def test_a_change_of_any_file_is_a_change_of_the_key(
    name: str, plain: Plain, tmp_path: Path
) -> None:
    place = shutil.copytree(plain(name)[0], tmp_path / "model")
    for extra in ("modeling_theirs.py", "README.md", "towers/text/config.json", "flax.msgpack"):
        (place / extra).parent.mkdir(parents=True, exist_ok=True)
        (place / extra).write_text("{}")
    (place / "linked").symlink_to(shutil.copytree(place / "towers", tmp_path / "elsewhere"))
    settings = settings_of(name, place)
    key = files_key(settings, "fp32")
    files = folder_files(place)
    assert sum(file.name == "config.json" for file in files) >= 2
    for file in files:
        before = file.read_bytes()
        changed = bytearray(before)
        changed[len(before) // 2] ^= 1
        file.write_bytes(bytes(changed))
        assert _outcome(settings) != key, file
        file.write_bytes(before)
    assert files_key(settings, "fp32") == key
    (place / "new.json").touch()
    assert files_key(settings, "fp32") != key
    (place / "new.json").unlink()
    moved = settings_of(name, place.rename(tmp_path / "moved"))
    assert files_key(moved, "fp32") == key


def test_what_lies_beside_the_folder_is_in_the_key_where_the_folder_names_it(
    plain: Plain, tmp_path: Path
) -> None:
    place = shutil.copytree(plain("open-clip")[0], tmp_path / "model")
    tower = tmp_path / "bert" / "config.json"
    tower.parent.mkdir()
    tower.write_text("{}")
    text = {"model_cfg": {"text_cfg": {"hf_model_name": "../bert"}}}
    (place / "open_clip_config.json").write_text(json.dumps(text))
    key = files_key(settings_of("open-clip", place), "fp32")
    tower.write_text('{"hidden_act": "relu"}')
    assert files_key(settings_of("open-clip", place), "fp32") != key


@pytest.mark.parametrize("name", ["open-clip", "hf"])
def test_new_weights_are_not_served_as_the_old(name: str, plain: Plain, tmp_path: Path) -> None:
    place = shutil.copytree(plain(name)[0], tmp_path / "model")
    settings, store = settings_of(name, place), Store(tmp_path / "store")
    _, record = open_encoder(settings, precision="fp32", device="cpu", store=store)
    assert known_record(settings, "fp32", store) == record
    file = place / MODELS[name].file
    state = load_file(file)
    save_file({n: t + 1 for n, t in state.items()}, file, metadata={"format": "pt"})
    assert known_record(settings, "fp32", store) is None
    _, new = open_encoder(settings, precision="fp32", device="cpu", store=store)
    assert new.weights != record.weights


def test_weights_that_change_while_they_are_read(
    plain: Plain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    place = shutil.copytree(plain("clip")[0], tmp_path / "model")
    settings, store = settings_of("clip", place), Store(tmp_path / "store")

    def load(*args: Any, **options: Any) -> Encoder:
        encoder = load_encoder(*args, **options)
        file = place / MODELS["clip"].file
        file.write_bytes(file.read_bytes() + b" ")
        return encoder

    monkeypatch.setattr("pytest_occlusion.engine.models.load_encoder", load)
    with pytest.raises(OcclusionError, match="changed while the model was read"):
        open_encoder(settings, precision="fp32", device="cpu", store=store)
    assert not store.any("models")


def test_a_snapshot_of_the_hub_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    place = write_hub_model(tmp_path / "snapshot", "clip")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(place))
    settings = ModelSettings("m", "hf", "hf-hub:a/b", options={"revision": "c0ffee"})
    store = Store(tmp_path / "store")
    _, record = open_encoder(settings, precision="fp32", device="cpu", store=store)
    assert known_record(settings, "fp32", store) == record
    config = place / "tokenizer_config.json"
    config.write_text(config.read_text() + " ")
    assert known_record(settings, "fp32", store) is None


def test_a_hub_repository_with_twins_has_its_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    place = write_hub_model(tmp_path / "snapshot", "clip")
    torch.save(load_file(place / "model.safetensors"), place / "pytorch_model.bin")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(place))
    for weights in ("", "pytorch_model.bin"):
        load_encoder(
            "hf", checkpoint="hf-hub:a/b", device="cpu", revision="c0ffee", weights=weights
        )


@pytest.mark.parametrize("revision", ["main", "master", "HEAD", "refs/heads/dev"])
def test_a_branch_is_no_pin(revision: str) -> None:
    with pytest.raises(OcclusionError, match="is a branch, so its weights could change unseen"):
        load_encoder("hf", checkpoint="hf-hub:a/b", device="cpu", revision=revision)


def test_code_of_another_repository_is_refused(tmp_path: Path) -> None:
    place = write_hub_model(tmp_path / "model", "clip")
    config = json.loads((place / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "org/code--theirs.Model"}
    (place / "config.json").write_text(json.dumps(config))
    with pytest.raises(OcclusionError, match="its code is in another repository"):
        load_encoder("hf", checkpoint=place, device="cpu", trust_remote_code=True)


CODE = """
import transformers
from transformers import CLIPConfig, CLIPModel

class Config(CLIPConfig):
    model_type = "theirs"

class Model(CLIPModel):
    config_class = Config

    def get_text_features(self, *args, **options):
        found = super().get_text_features(*args, **options)
        found = getattr(found, "pooler_output", found)
        return found * {sign} + 1
"""


def test_trusted_code_is_part_of_what_an_embedding_depends_on(tmp_path: Path) -> None:
    records = []
    for sign in (1, -1):
        place = write_hub_model(tmp_path / f"model{sign}", "clip")
        config = json.loads((place / "config.json").read_text())
        config |= {
            "model_type": "theirs",
            "auto_map": {"AutoConfig": "theirs.Config", "AutoModel": "theirs.Model"},
        }
        (place / "config.json").write_text(json.dumps(config))
        (place / "theirs.py").write_text(CODE.format(sign=sign))
        records.append(load_encoder("hf", checkpoint=place, device="cpu", trust_remote_code=True))
    one, other = records
    assert one.weights_digest == other.weights_digest
    assert one.settings != other.settings
    assert not torch.allclose(one.encode_texts(["normal"]), other.encode_texts(["normal"]))


TEXT_TOWER = {
    "hf_model_name": "someone/tiny-bert",
    "hf_tokenizer_name": "someone/tiny-bert",
    "hf_proj_type": "mlp",
    "hf_pooler_type": "cls_last_hidden_state_pooler",
    "context_length": 24,
}


def write_text_tower(folder: Path, vocabulary: Path) -> Path:
    """What a text tower of transformers needs besides weights: its configuration and vocabulary."""
    import transformers

    words = len(vocabulary.read_text(encoding="utf-8").splitlines())
    transformers.BertConfig(
        vocab_size=words, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=32,
    ).save_pretrained(folder)  # fmt: skip
    shutil.copy(vocabulary, folder / "vocab.txt")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    return folder


def test_a_text_tower_that_its_configuration_names(plain: Plain, tmp_path: Path) -> None:
    """Beside the configuration, or in the folder that is the tokenizer; else named in full."""
    import open_clip

    place = shutil.copytree(plain("open-clip")[0], tmp_path / "model")
    (place / MODELS["open-clip"].file).unlink()
    (place / "bpe_vocab.txt.gz").unlink()
    vocabulary = write_word_pieces(tmp_path / "vocab.txt")
    bert = write_text_tower(tmp_path / "bert", vocabulary)
    config = json.loads((place / "open_clip_config.json").read_text())

    def name(tower: str) -> None:
        towers = {**TEXT_TOWER, "hf_model_name": tower, "hf_tokenizer_name": tower}
        config["model_cfg"]["text_cfg"] = towers
        (place / "open_clip_config.json").write_text(json.dumps(config))

    name(str(bert))
    model = open_clip.create_model(f"local-dir:{place}", load_weights=False, pretrained_text=False)
    torch.save({"state_dict": model.state_dict()}, place / "epoch_1.pt")
    wanted = load_encoder("open-clip", checkpoint=place, device="cpu")
    name("someone/tiny-bert")
    with pytest.raises(OcclusionError) as fault:
        load_encoder("open-clip", checkpoint=place, device="cpu")
    assert "someone/tiny-bert" in fault.value.problem
    assert "model_cfg.text_cfg.hf_model_name" in fault.value.problem
    given = load_encoder("open-clip", checkpoint=place, tokenizer=bert, device="cpu")
    shutil.copytree(bert, place / "towers" / "bert")
    name("towers/bert")
    beside = load_encoder("open-clip", checkpoint=place, device="cpu")
    for found in (given, beside):
        assert found.weights_digest == wanted.weights_digest
        assert torch.equal(found.encode_texts(["no lung"]), wanted.encode_texts(["no lung"]))
    assert beside.settings["vocabulary"] == wanted.settings["vocabulary"]
