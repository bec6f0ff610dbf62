"""Models that bring code of their own, trusted and not."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pytest_occlusion.encoders import Encoder, load_encoder
from pytest_occlusion.encoders.conformance import TEXTS, sample_images
from pytest_occlusion.encoders.methods import token_limit
from pytest_occlusion.engine.models import open_encoder, record_of
from pytest_occlusion.engine.store import Store
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.suite.settings import ModelSettings

from .hub_server import COMMIT, Hub
from .tiny import write_hub_model

MODELING = """
from pathlib import Path
from types import SimpleNamespace

from transformers import CLIPConfig, CLIPModel, PretrainedConfig, PreTrainedModel

from .helper import SIGN

Path({proof!r}).touch()


class Config(PretrainedConfig):
    model_type = "theirs"

    def __init__(self, towers=None, **options):
        self.towers = towers
        super().__init__(**options)


class Model(PreTrainedModel):
    config_class = Config

    def __init__(self, config):
        super().__init__(config)
        self.inner = CLIPModel(CLIPConfig(**config.towers))
        self.post_init()

    def encode_image(self, image):
        found = self.inner.get_image_features(pixel_values=image)
        return getattr(found, "pooler_output", found) * SIGN

    def encode_text(self, text, **options):
        found = self.inner.get_text_features(input_ids=text, **options)
        return getattr(found, "pooler_output", found)

    def forward(self, input_ids, pixel_values, attention_mask=None):
        return {{
            "image_features": self.encode_image(pixel_values),
            "text_features": self.encode_text(input_ids, attention_mask=attention_mask),
        }}

    def see(self, pixel_values):
        return SimpleNamespace(seen=self.encode_image(pixel_values))

    def unmasked(self, text):
        return SimpleNamespace(text_embeds=self.encode_text(text))

    def grid(self, pixel_values):
        return pixel_values

    def count(self, input_ids, **options):
        return {{"tokens": input_ids}}
"""
HELPER = "SIGN = {sign}\n"
METHODS = {"image_method": "encode_image", "text_method": "encode_text"}


@pytest.fixture
def theirs(hub: Hub, tmp_path: Path) -> Path:
    """A CLIP inside a model of its own, whose code leaves a file behind when it is imported."""
    return write_theirs(tmp_path / "one" / "model", tmp_path / "it-ran")


def write_theirs(place: Path, proof: Path, sign: str = "+1") -> Path:
    place.parent.mkdir()
    write_hub_model(place, "clip")
    towers = json.loads((place / "config.json").read_text())
    kept = {name: towers[name] for name in ("text_config", "vision_config", "projection_dim")}
    codes = {"AutoConfig": "modeling.Config", "AutoModel": "modeling.Model"}
    config = {"model_type": "theirs", "auto_map": codes, "towers": kept}
    (place / "config.json").write_text(json.dumps(config))
    state = load_file(place / "model.safetensors")
    state = {f"inner.{name}": tensor for name, tensor in state.items()}
    save_file(state, place / "model.safetensors", metadata={"format": "pt"})
    (place / "modeling.py").write_text(MODELING.format(proof=str(proof)))
    (place / "helper.py").write_text(HELPER.format(sign=sign))
    return place


def load(checkpoint: str | Path, **options: Any) -> Encoder:
    given = {"device": "cpu", "trust_remote_code": True, **METHODS, **options}
    return load_encoder("hf", checkpoint=checkpoint, **given)


def embedded(encoder: Encoder) -> torch.Tensor:
    return torch.cat([encoder.encode_images(sample_images()), encoder.encode_texts(TEXTS)])


def test_trusted_code_runs_and_its_digest_is_told(theirs: Path, tmp_path: Path) -> None:
    plain = load_encoder("hf", checkpoint=write_hub_model(tmp_path / "clip", "clip"), device="cpu")
    found = load(theirs)
    assert (tmp_path / "it-ran").exists()
    torch.testing.assert_close(embedded(found), embedded(plain), atol=1e-6, rtol=0)
    assert found.token_limit == plain.token_limit == 24
    assert "code" not in plain.settings
    assert len(str(found.settings["code"])) == 64
    assert found.settings["image-method"] == "encode_image"
    assert record_of(found).key["settings"]["code"] == found.settings["code"]
    again = load(theirs)
    assert (again.settings, again.canvas.name) == (found.settings, found.canvas.name)


@pytest.mark.parametrize("remote", [False, True])
def test_untrusted_code_is_neither_fetched_nor_run(
    remote: bool, theirs: Path, hub: Hub, tmp_path: Path
) -> None:
    hub.add("someone/model", theirs)
    place = "hf-hub:someone/model" if remote else theirs
    for _ in range(2):  # the second time after it was trusted in the same process
        with pytest.raises(OcclusionError) as fault:
            load(place, trust_remote_code=False, revision=COMMIT)
        assert "set trust-remote-code = true" in fault.value.remedy
        assert not (tmp_path / "it-ran").exists()
        assert not any(name.endswith(".py") for name in hub.fetched)
        if not remote:
            load(theirs)
            (tmp_path / "it-ran").unlink(missing_ok=True)  # imported once a process
    assert not list((tmp_path / "home").rglob("snapshots/*/*.py"))


def test_trusted_code_of_the_hub(theirs: Path, hub: Hub, tmp_path: Path) -> None:
    repository = hub.add("someone/model", theirs, tags=("v1",))
    options = {"trust-remote-code": True, "revision": "v1", **METHODS}
    settings = ModelSettings("m", "hf", "hf-hub:someone/model", options=options)
    store = Store(tmp_path / "store")
    encoder, record = open_encoder(settings, precision="fp32", device="cpu", store=store)
    assert {"modeling.py", "helper.py"} <= hub.fetched
    local = load(theirs)
    assert torch.equal(embedded(encoder), embedded(local))
    assert record.settings["code"] == local.settings["code"]
    assert {"modeling.py", "helper.py"} <= {path.name for path in encoder.sources}
    # The tag moves on: other code, the same weights.
    (theirs / "helper.py").write_text(HELPER.format(sign="-1"))
    repository.commit = "d" * 40
    moved, other = open_encoder(settings, precision="fp32", device="cpu", store=store)
    assert other.weights == record.weights
    assert other.settings["code"] != record.settings["code"]
    assert torch.equal(
        moved.encode_images(sample_images()), -encoder.encode_images(sample_images())
    )


def test_what_runs_is_what_was_digested(theirs: Path, tmp_path: Path) -> None:
    """Folders of one name, a file of the same size and age, and the copies that are kept."""
    images = sample_images()
    first = load(theirs)
    helper = theirs / "helper.py"
    times = helper.stat()
    helper.write_text(HELPER.format(sign="-1"))
    os.utime(helper, ns=(times.st_atime_ns, times.st_mtime_ns))
    twin = write_theirs(tmp_path / "two" / "model", tmp_path / "it-ran", sign="+2")
    second, third = load(theirs), load(twin)
    assert len({one.settings["code"] for one in (first, second, third)}) == 3
    assert torch.equal(second.encode_images(images), -first.encode_images(images))
    for copy in (tmp_path / "home").rglob("helper.py"):  # as one who can write there might
        if "+1" in copy.read_text():
            copy.write_text(HELPER.format(sign="-9"))
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]
    helper.write_text(HELPER.format(sign="+1"))
    last = load(theirs)
    assert last.settings["code"] == first.settings["code"]
    assert torch.equal(last.encode_images(images), first.encode_images(images))


@pytest.mark.parametrize(("remote"), [False, True])
@pytest.mark.parametrize("lost", ["modeling.py", "helper.py"])
def test_missing_code_is_named(
    lost: str, remote: bool, theirs: Path, hub: Hub, tmp_path: Path
) -> None:
    (theirs / lost).unlink()
    hub.add("someone/model", theirs)
    with pytest.raises(OcclusionError, match="1 files of its code are missing") as fault:
        load("hf-hub:someone/model" if remote else theirs, revision=COMMIT)
    assert f"{lost}, which config.json asks for as modeling" in fault.value.problem
    assert (f"hf-hub:someone/model@{COMMIT}" if remote else str(theirs)) in fault.value.problem
    assert not (tmp_path / "it-ran").exists()


def test_code_of_another_repository_is_refused_at_any_depth(theirs: Path, hub: Hub) -> None:
    config = json.loads((theirs / "config.json").read_text())
    config["towers"]["auto_map"] = {"AutoTokenizer": ["org/code--theirs.Slow", None]}
    (theirs / "config.json").write_text(json.dumps(config))
    hub.add("someone/model", theirs)
    with pytest.raises(
        OcclusionError, match=r"another repository or folder \(org/code--theirs\.Slow\)"
    ):
        load("hf-hub:someone/model", revision=COMMIT)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"AutoConfig": "/tmp/elsewhere.Config"}, "its code is in another repository or folder"),
        ({"AutoConfig": "../elsewhere.Config"}, "its code is in another repository or folder"),
        ({"AutoConfig": 5}, "auto_map is not a table of names"),
        ({"AutoConfig": {"a": "b.C"}}, "auto_map is not a table of names"),
        (["modeling.Config"], "auto_map is not a table of names"),
        ("modeling.Config", "auto_map is not a table of names"),
    ],
    ids=str,
)
def test_odd_names_of_code_are_refused(told: Any, said: str, theirs: Path, tmp_path: Path) -> None:
    config = json.loads((theirs / "config.json").read_text())
    (theirs / "config.json").write_text(json.dumps({**config, "auto_map": told}))
    with pytest.raises(OcclusionError, match=said):
        load(theirs)
    assert not (tmp_path / "it-ran").exists()


def test_code_outside_of_the_folder_never_runs(theirs: Path, tmp_path: Path) -> None:
    outside, proof = tmp_path / "outside.py", tmp_path / "outside-ran"
    outside.write_text(f"from pathlib import Path\nPath({str(proof)!r}).touch()\nclass X: pass\n")
    config = json.loads((theirs / "config.json").read_text())
    config["auto_map"]["AutoConfig"] = f"{outside.with_suffix('')}.X"
    (theirs / "config.json").write_text(json.dumps(config))
    with pytest.raises(OcclusionError, match="could change unseen"):
        load(theirs)
    assert not proof.exists()


def test_code_that_is_no_text(theirs: Path) -> None:
    (theirs / "helper.py").write_bytes(b"\xff\xfe SIGN")
    with pytest.raises(OcclusionError, match="is no text"):
        load(theirs)


def test_every_file_that_code_may_read_counts(theirs: Path) -> None:
    """Also one that no library would look at; not so without code."""
    before = load(theirs).settings
    (theirs / "scale.yaml").write_text("scale: 2")
    after = load(theirs).settings
    assert before["code"] == after["code"]
    assert before["config"] != after["config"]


def test_a_tokenizers_own_code_is_digested_too(theirs: Path, tmp_path: Path) -> None:
    words = write_hub_model(tmp_path / "words", "clip")
    (words / "unused.py").write_text("")
    found = load(theirs, tokenizer=words)
    assert found.settings["code"] == load(theirs).settings["code"]
    assert len(str(found.settings["tokenizer-code"])) == 64


@pytest.mark.parametrize(
    ("image", "text"), [("forward", "forward"), ("see.seen", "unmasked"), ("encode_image",) * 2]
)
def test_methods_of_many_kinds(image: str, text: str, theirs: Path) -> None:
    text = "encode_text" if text == image == "encode_image" else text
    wanted = embedded(load(theirs))
    found = load(theirs, image_method=image, text_method=text)
    torch.testing.assert_close(embedded(found), wanted, atol=1e-6, rtol=0)
    alone = torch.cat([found.encode_texts([one]) for one in TEXTS])
    torch.testing.assert_close(alone, found.encode_texts(TEXTS), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image_method": ""}, "no dual encoder: it has no get_image_features"),
        ({"text_method": "encode"}, r"it has no encode \(text-method\)"),
        ({"image_method": "grid"}, r"Model.grid gives a Tensor torch.float32 \[\d+, 3, 48, 48\]"),
        ({"image_method": "see"}, "Model.see gives a SimpleNamespace of seen .* image_embeds"),
        ({"text_method": "count.tokens"}, "Model.count gives a dict of tokens .* as tokens"),
    ],
)
def test_methods_that_do_not_embed(options: dict[str, str], said: str, theirs: Path) -> None:
    with pytest.raises(OcclusionError, match=said) as fault:
        embedded(load(theirs, **options))
    assert "forward, count, encode_image, encode_text, grid, see, unmasked" in fault.value.remedy


def write_roberta(place: Path) -> Path:
    """A text tower whose positions are counted from behind the one of padding: 26 rows, 25 long."""
    import transformers

    write_hub_model(place, "clip")
    config = json.loads((place / "config.json").read_text())
    text = {**config["text_config"], "max_position_embeddings": 26, "type_vocab_size": 1}
    (place / "model.safetensors").unlink()
    torch.manual_seed(0)
    towers = transformers.VisionTextDualEncoderConfig.from_vision_text_configs(
        transformers.CLIPVisionConfig(**config["vision_config"]),
        transformers.RobertaConfig(**{**text, "model_type": "roberta"}),
        projection_dim=16,
    )
    transformers.VisionTextDualEncoderModel(towers).save_pretrained(place)
    return place


def test_a_position_table_that_is_longer_than_the_longest_text(tmp_path: Path) -> None:
    place = write_roberta(tmp_path / "model")
    found = load_encoder("hf", checkpoint=place, device="cpu")
    assert found.token_limit == 25
    long = " ".join(["lung"] * 40)
    assert found.count_tokens([long]) == [42]
    assert torch.isfinite(found.encode_texts([long])).all()
    short = load_encoder("hf", checkpoint=place, device="cpu", max_tokens=8)
    assert (short.token_limit, short.settings["token-limit"]) == (8, 8)
    with pytest.raises(OcclusionError, match=r"max-tokens = 26 is out of range.*25 positions"):
        load_encoder("hf", checkpoint=place, device="cpu", max_tokens=26)


class Words:
    model_max_length = 77


def test_limits_that_only_a_tokenizer_tells_or_nothing() -> None:
    import transformers

    class Bare(torch.nn.Module):
        config = transformers.PretrainedConfig()

    words = Words()
    assert token_limit(Bare(), words, 0, "it") == 77
    assert token_limit(Bare(), words, 40, "it") == 40
    words.model_max_length = 10**30
    with pytest.raises(OcclusionError, match="tells how many tokens a text may have") as fault:
        token_limit(Bare(), words, 0, "it")
    assert "set max-tokens" in fault.value.remedy
    with pytest.raises(OcclusionError, match="max-tokens = 1 is out of range"):
        token_limit(Bare(), words, 1, "it")
