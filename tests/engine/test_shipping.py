"""Shipping: a checkpoint reaches a node that does not have it, whole, once, and as it was."""

from __future__ import annotations

import shutil
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pytest_occlusion_fixtures
from pytest_occlusion.encoders import Encoder, load_encoder
from pytest_occlusion.engine.models import check_model
from pytest_occlusion.engine.shipping import shipment, shipped_model
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.suite.settings import ModelSettings

CHECKPOINTS = Path(pytest_occlusion_fixtures.__file__).parent / "checkpoints"
SAID = ["no acute disease", "left pleural effusion"]


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder of a node."""
    place = tmp_path / "there"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.fixture(params=["folder", "file and folder", "two files"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> ModelSettings:
    """A model here, as a suite may name it; it is gone when it has been sent."""
    here = tmp_path / "here"
    if request.param == "folder":
        shutil.copytree(CHECKPOINTS / "cxr-clip", here / "weights.v2")
        return ModelSettings("ours", "cxr-clip", str(here / "weights.v2"))
    (here / "words").mkdir(parents=True)
    shutil.copy(CHECKPOINTS / "cxr-clip" / "cxr_clip.tar", here / "ours.tar")
    shutil.copy(CHECKPOINTS / "cxr-clip" / "vocab.txt", here / "words" / "vocab.txt")
    words = here / "words" if request.param == "file and folder" else here / "words" / "vocab.txt"
    return ModelSettings("ours", "cxr-clip", str(here / "ours.tar"), str(words))


def opened(model: ModelSettings) -> Encoder:
    return load_encoder(
        model.family, checkpoint=model.checkpoint, tokenizer=model.tokenizer, device="cpu"
    )


def stamps(folder: Path) -> Mapping[Path, tuple[int, int]]:
    """What tells whether a file was written again."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def test_a_model_arrives_as_it_was(model: ModelSettings, there: Path) -> None:
    before, sent = opened(model), shipment(model)
    shutil.rmtree(Path(model.checkpoint).parent)
    assert check_model(model), "it is not here any more"
    arrived = shipped_model(model, sent)
    assert check_model(arrived) is None
    for place in filter(None, (arrived.checkpoint, arrived.tokenizer)):
        assert Path(place).is_relative_to(there)
    after = opened(arrived)
    assert after.weights_digest == before.weights_digest
    assert after.settings == before.settings
    assert torch.equal(after.embed_texts(SAID), before.embed_texts(SAID))
    assert replace(arrived, checkpoint=model.checkpoint, tokenizer=model.tokenizer) == model


def test_it_is_written_once_and_for_its_owner_alone(model: ModelSettings, there: Path) -> None:
    sent = shipment(model)
    arrived = shipped_model(model, sent)
    written = stamps(there)
    assert len(written) == len(sent)
    assert shipped_model(model, shipment(model)) == arrived
    assert stamps(there) == written
    (root,) = there.iterdir()
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600}


def test_other_files_go_to_another_place(model: ModelSettings, there: Path) -> None:
    first = shipped_model(model, shipment(model))
    words = next(path for path in Path(model.checkpoint).parent.rglob("vocab.txt"))
    words.write_text(words.read_text().swapcase())  # as long as before
    second = shipped_model(model, shipment(model))
    assert second.checkpoint != first.checkpoint
    assert check_model(first) is None, "who has it open is not disturbed"


def test_half_a_file_is_replaced(model: ModelSettings, there: Path) -> None:
    sent = shipment(model)
    arrived = shipped_model(model, sent)
    written = stamps(there)
    (weights,) = [path for path in written if path.suffix == ".tar"]
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    others = {path: stamp for path, stamp in written.items() if path != weights}
    assert shipped_model(model, sent) == arrived
    assert weights.read_bytes() == whole
    assert others.items() <= stamps(there).items()


def test_a_name_that_is_no_path_stays_a_name(model: ModelSettings, there: Path) -> None:
    named = replace(model, checkpoint="hf-hub:team/model", tokenizer="team/words")
    assert shipped_model(named, {}) == named


def test_a_place_that_cannot_be_written(model: ModelSettings, there: Path) -> None:
    sent = shipment(model)
    shutil.rmtree(there)
    there.write_text("no folder")
    with pytest.raises(OcclusionError, match="a checkpoint cannot be written") as fault:
        shipped_model(model, sent)
    assert str(there) in fault.value.problem
    assert "Not a directory" in fault.value.problem
    assert "where all nodes see it" in fault.value.remedy
