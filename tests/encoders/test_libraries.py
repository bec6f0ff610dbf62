"""``open-clip`` and ``hf``: models that other libraries build."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from pytest_occlusion.encoders import checkpoint_files, load_encoder
from pytest_occlusion.encoders.conformance import TEXTS, sample_images
from pytest_occlusion.errors import OcclusionError

from .tiny import write_hub_model, write_open_clip


@pytest.fixture(scope="module")
def hub_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hub_model(tmp_path_factory.mktemp("hf") / "clip", "clip")


@pytest.fixture
def own_clip(hub_clip: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return shutil.copytree(hub_clip, tmp_path / "own")


def test_open_clip_agrees_with_the_clip_family(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = write_open_clip(tmp_path / "vit", "vit")
    caplog.clear()
    ours = load_encoder("clip", checkpoint=place, device="cpu")
    theirs = load_encoder("open-clip", checkpoint=place, device="cpu")
    assert ours.weights_digest == theirs.weights_digest
    assert "initialized randomly" not in caplog.text
    images = sample_images()
    for name, given in (("encode_images", images), ("encode_texts", TEXTS)):
        found = getattr(theirs, name)(given)
        torch.testing.assert_close(found, getattr(ours, name)(given), atol=1e-6, rtol=0)
    assert theirs.count_tokens(TEXTS) == ours.count_tokens(TEXTS)


def test_open_clip_agrees_with_its_own_transform(tmp_path: Path) -> None:
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2

    place = write_open_clip(tmp_path / "timm", "timm")
    encoder = load_encoder("open-clip", checkpoint=place, device="cpu")
    model = open_clip.create_model(f"local-dir:{place}").eval()
    cfg = PreprocessCfg(**model.visual.preprocess_cfg)
    transform = image_transform_v2(cfg, is_train=False)
    pixels = torch.stack([transform(image) for image in sample_images()])
    with torch.inference_mode():
        wanted = model.encode_image(pixels, normalize=True)
    torch.testing.assert_close(encoder.encode_images(sample_images()), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_hf_agrees_with_the_model_and_its_processor(kind: str, tmp_path: Path) -> None:
    import transformers

    place = write_hub_model(tmp_path / kind, kind)
    encoder = load_encoder("hf", checkpoint=place, device="cpu")
    model = transformers.AutoModel.from_pretrained(place).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(place)
    words = transformers.AutoTokenizer.from_pretrained(place)
    images: list[Image.Image] = [image.convert("RGB") for image in sample_images()]
    with torch.inference_mode():
        pixels = processor(images=images, return_tensors="pt")["pixel_values"]
        found = model.get_image_features(pixel_values=pixels)
        wanted = torch.nn.functional.normalize(getattr(found, "pooler_output", found), dim=-1)
        ids = words(list(TEXTS), padding="max_length", truncation=True, max_length=24)
        found = model.get_text_features(input_ids=torch.tensor(ids["input_ids"]))
        texts = torch.nn.functional.normalize(getattr(found, "pooler_output", found), dim=-1)
    torch.testing.assert_close(encoder.encode_images(images), wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.encode_texts(TEXTS), texts, atol=1e-5, rtol=0)


def test_split_weights_are_found_and_counted_alike(hub_clip: Path, own_clip: Path) -> None:
    place = own_clip
    state = load_file(place / "model.safetensors")
    (place / "model.safetensors").unlink()
    names = sorted(state)
    parts = {"model-00001-of-00002.safetensors": names[::2]}
    parts["model-00002-of-00002.safetensors"] = names[1::2]
    for file, held in parts.items():
        save_file({name: state[name] for name in held}, place / file, metadata={"format": "pt"})
    index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
    (place / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, **index}))
    whole = load_encoder("hf", checkpoint=hub_clip, device="cpu")
    split = load_encoder("hf", checkpoint=place, device="cpu")
    assert whole.weights_digest == split.weights_digest
    assert torch.equal(whole.encode_texts(TEXTS), split.encode_texts(TEXTS))
    listed = [f.name for f in checkpoint_files(place)]
    assert listed[:3] == ["model.safetensors.index.json", *sorted(parts)]
    (place / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(OcclusionError, match="1 of the files it lists are not there"):
        checkpoint_files(place)


def test_a_missing_tensor_is_not_made_up(own_clip: Path) -> None:
    state = load_file(own_clip / "model.safetensors")
    del state["visual_projection.weight"]
    save_file(state, own_clip / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(OcclusionError, match=r"visual_projection\.weight: missing"):
        load_encoder("hf", checkpoint=own_clip, device="cpu")


@pytest.mark.parametrize("family", ["open-clip", "hf"])
def test_values_that_are_not_numbers(family: str, own_clip: Path, tmp_path: Path) -> None:
    place, file = own_clip, own_clip / "model.safetensors"
    if family == "open-clip":
        place = write_open_clip(tmp_path / "nan", "vit")
        file = place / "open_clip_model.safetensors"
    state = load_file(file)
    state["logit_scale"] = torch.tensor(float("nan"))
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(OcclusionError, match="logit_scale: 1 of 1 values are NaN"):
        load_encoder(family, checkpoint=place, device="cpu")


@pytest.mark.parametrize("family", ["open-clip", "hf"])
@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        ("hf-hub:someone/model", "no revision is pinned"),
        ("hf-hub:some one/model", "not the id of a hub repository"),
        ("no/such/place", "no such directory"),
    ],
)
def test_sources_that_cannot_be_used(family: str, checkpoint: str, said: str) -> None:
    with pytest.raises(OcclusionError, match=said):
        load_encoder(family, checkpoint=checkpoint, device="cpu")


def test_unknown_tags_are_listed() -> None:
    with pytest.raises(OcclusionError, match="no such tag; it has openai"):
        load_encoder("open-clip", checkpoint="tag:ViT-B-32/none", device="cpu")
    with pytest.raises(OcclusionError, match="no such model"):
        load_encoder("open-clip", checkpoint="tag:ViT-Q-99/none", device="cpu")


def test_directories_that_are_something_else(own_clip: Path) -> None:
    with pytest.raises(OcclusionError, match=r"a directory without open_clip_config\.json"):
        load_encoder("open-clip", checkpoint=own_clip, device="cpu")
    (own_clip / "preprocessor_config.json").unlink()
    (own_clip / "processor_config.json").unlink(missing_ok=True)
    with pytest.raises(OcclusionError, match="transformers cannot build it"):
        load_encoder("hf", checkpoint=own_clip, device="cpu")


def test_a_model_with_one_tower_is_refused(own_clip: Path) -> None:
    import transformers

    (own_clip / "model.safetensors").unlink()
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=60, intermediate_size=16, **small)
    transformers.BertModel(config).save_pretrained(own_clip)
    with pytest.raises(OcclusionError, match="BertModel is no dual encoder"):
        load_encoder("hf", checkpoint=own_clip, device="cpu")


def test_remote_code_is_not_run(tmp_path: Path, own_clip: Path) -> None:
    proof = tmp_path / "it-ran"
    config = json.loads((own_clip / "config.json").read_text())
    config |= {"model_type": "theirs", "auto_map": {"AutoConfig": "code.C", "AutoModel": "code.M"}}
    (own_clip / "config.json").write_text(json.dumps(config))
    (own_clip / "code.py").write_text(f"open({str(proof)!r}, 'w').close()")
    with pytest.raises(OcclusionError) as fault:
        load_encoder("hf", checkpoint=own_clip, device="cpu")
    assert not proof.exists()
    assert "set trust-remote-code = true" in fault.value.remedy


def test_canvases_are_what_the_processor_resizes_to(hub_clip: Path) -> None:
    encoder = load_encoder("hf", checkpoint=hub_clip, device="cpu")
    image = Image.fromarray(np.full((48, 48), 77, np.uint8))
    assert np.array_equal(encoder.canvas.draw(image), np.full((3, 48, 48), 77))
