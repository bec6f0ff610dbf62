"""The training scripts: seeded, resumable, and a few steps of each see the loss fall."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

pytest.importorskip("training", reason="the training scripts are not part of the distribution")

from open_clip.tokenizer import SimpleTokenizer

from pytest_occlusion.encoders.base import Encoder
from pytest_occlusion.encoders.canvases import padded
from pytest_occlusion_fixtures.sampler import TRAINING_SEED
from training.__main__ import OBJECTIVES
from training.augmentation import LARGEST, SMALLEST, augment
from training.checkpoint import write_checkpoint
from training.cxr_clip import two_texts
from training.evaluation import RATIOS, block, measure
from training.labels import LABELS, labels_of, prompt_of
from training.loop import Schedule, train
from training.losses import contrastive, semantic_matching
from training.making import Lesson, make, open_written
from training.pictures import pictures
from training.studies import CANVAS, Examples, load_examples
from training.towers import ClipSizes, build_clip, clip_texts
from training.vocabulary import SPECIAL, learn_merges, learn_words, write_vocabulary

SHORT = Schedule(steps=12, batch=16, rate=2e-3, warmup=3, seed=1)
STUDIES = 60


@pytest.fixture(scope="module")
def lesson(tmp_path_factory: pytest.TempPathFactory) -> Lesson:
    work = tmp_path_factory.mktemp("work")
    return Lesson(erase=0.5, schedule=SHORT, work=work, out=work / "out", studies=STUDIES)


@pytest.fixture(scope="module")
def examples(lesson: Lesson) -> Examples:
    return lesson.training


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.parametrize("family", OBJECTIVES)
def test_the_loss_falls_and_the_family_reads_what_is_written(
    family: str, lesson: Lesson, tmp_path: Path
) -> None:
    if family == "cxr-repair":
        torch.manual_seed(1)
        (parent := lesson.out / "clip").mkdir(parents=True, exist_ok=True)
        OBJECTIVES["clip"](lesson).write(parent)
    torch.manual_seed(1)
    trainee = OBJECTIVES[family](lesson)
    losses = train(trainee.model, trainee.loss_of, SHORT, tmp_path / "state.pt").losses
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.02
    (folder := tmp_path / "written").mkdir()
    weights = trainee.write(folder)
    assert weights.stat().st_size <= 4_000_000
    encoder = open_written(family, folder)
    assert encoder.family == family
    texts = [report.text for report in lesson.training.reports[:3]]
    assert encoder.encode_texts(texts).shape == (3, 128)
    canvases = lesson.training.canvases(encoder.canvas)[:4]
    assert encoder.embed_canvases(torch.from_numpy(canvases)).shape == (4, 128)


@pytest.mark.slow
def test_an_interrupted_run_goes_on_where_it_stopped(lesson: Lesson, tmp_path: Path) -> None:
    short = replace(SHORT, steps=6)

    def trainee() -> Any:
        torch.manual_seed(1)
        return OBJECTIVES["medclip"](lesson)

    whole = trainee()
    losses = train(whole.model, whole.loss_of, short, tmp_path / "whole.pt").losses

    class Interrupted(Exception):
        pass

    again = trainee()

    def stop_at_five(step: int, rng: torch.Generator) -> torch.Tensor:
        if step == 4:
            raise Interrupted
        return cast(torch.Tensor, again.loss_of(step, rng))

    with pytest.raises(Interrupted):
        train(again.model, stop_at_five, short, tmp_path / "part.pt", every=3)
    resumed = trainee()
    rest = train(resumed.model, resumed.loss_of, short, tmp_path / "part.pt", every=3).losses
    assert len(rest) == short.steps - 3
    assert rest == pytest.approx(losses[3:], rel=1e-4)


def test_fine_tuning_needs_its_parent(lesson: Lesson, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train clip first"):
        OBJECTIVES["cxr-repair"](replace(lesson, out=tmp_path))


@pytest.mark.slow
def test_a_checkpoint_is_made_with_its_card(
    lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = load_examples("training", 40, lesson.work)
    monkeypatch.setattr("training.making.load_examples", lambda *_: few)
    monkeypatch.setattr("training.making.STUDIES", 40)
    short = replace(SHORT, steps=2)
    make("medclip", OBJECTIVES["medclip"], replace(lesson, schedule=short, out=tmp_path, erase=0.0))
    card = (tmp_path / "medclip-plain" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "nothing erased" in card
    assert "2 steps of 16 pictures" in card
    assert not list(tmp_path.glob(".*"))


def test_too_large_a_checkpoint_is_refused(tmp_path: Path) -> None:
    def write(folder: Path) -> Path:
        (path := folder / "model.safetensors").write_bytes(bytes(4_000_001))
        return path

    with pytest.raises(ValueError, match="4,000,000 allowed"):
        write_checkpoint(tmp_path / "large", write, cast(Any, None))
    assert not (tmp_path / "large").exists()


def test_only_the_named_seed_is_drawn(examples: Examples) -> None:
    assert {study.seed for study in examples.studies} == {TRAINING_SEED}
    assert len(examples.phantoms) == sum(len(study.views) for study in examples.studies)
    with pytest.raises(ValueError, match="994 evaluation studies"):
        load_examples("evaluation", 10, Path("unused"))


def test_pictures_are_seeded_and_not_medical() -> None:
    canvases, captions = pictures(3, 300)
    again, told = pictures(3, 300)
    assert np.array_equal(canvases, again)
    assert captions == told
    assert canvases.shape == (300, 3, CANVAS, CANVAS)
    assert len(set(captions)) > 250
    words = set(" ".join(captions).split())
    assert not words & {"lung", "chest", "heart", "effusion", "radiograph", "x-ray"}
    grey = [
        c for c, caption in zip(canvases, captions, strict=True) if "black and white" in caption
    ]
    assert grey
    assert all((c[0] == c[1]).all() and (c[1] == c[2]).all() for c in grey)


def test_labels_and_their_prompts(examples: Examples) -> None:
    table = np.stack([labels_of(study) for study in examples.studies])
    assert table.shape == (STUDIES, len(LABELS)) == (STUDIES, 14)
    assert table.any(1).all()
    for study, labels in zip(examples.studies, table, strict=True):
        names = [name for name, present in zip(LABELS, labels, strict=True) if present]
        assert ("cardiomegaly" in names) == study.has("cardiomegaly")
        assert not ("no finding" in names and set(names) - {"no finding", "support devices"})
        text = prompt_of(labels, 0.3).lower()
        assert all(name in text or name == "no finding" for name in names)
        assert text.count(".") == max(1, len([n for n in names if n != "no finding"])) + 2 + (
            "no finding" in names and len(names) > 1
        )


def test_two_texts_say_the_same(examples: Examples) -> None:
    from random import Random

    for report in examples.reports:
        one, other = two_texts(report, Random(1))
        assert one
        assert other
        if report.findings and report.impression:
            assert (one, other) == (report.findings, report.impression)
        else:
            assert sorted(one.split()) == sorted(other.split())


def test_contrastive_is_the_plain_cross_entropy_without_repeats() -> None:
    rows = torch.nn.functional.normalize(torch.randn(2, 5, 4, dtype=torch.float64), dim=-1)
    scale = torch.tensor(3.0, dtype=torch.float64)
    logits = (scale * rows[0] @ rows[1].T).numpy()
    right = -np.mean([logits[i, i] - np.log(np.exp(logits[i]).sum()) for i in range(5)])
    down = -np.mean([logits[i, i] - np.log(np.exp(logits[:, i]).sum()) for i in range(5)])
    found = contrastive(rows[0], rows[1], scale, torch.eye(5, dtype=torch.bool))
    assert float(found) == pytest.approx((right + down) / 2, rel=1e-6)


def test_semantic_matching_is_least_where_likeness_is_followed() -> None:
    labels = torch.eye(3)[[0, 1, 2, 0]]
    good = torch.nn.functional.normalize(labels, dim=1)
    scale = torch.tensor(10.0)
    followed = semantic_matching(good, good, scale, labels, labels)
    shuffled = semantic_matching(good, good[[1, 2, 0, 1]], scale, labels, labels)
    assert followed < shuffled


def test_the_vocabularies_are_read_by_their_libraries(tmp_path: Path) -> None:
    texts = ["Small left pleural effusion.", "No pleural effusion.", "Left base atelectasis."]
    merges = learn_merges(texts, 60)
    assert merges == learn_merges(reversed(texts), 60)
    path = tmp_path / "bpe.txt.gz"
    write_vocabulary(merges, path)
    tokenizer = SimpleTokenizer(bpe_path=str(path), context_length=12)
    assert tokenizer.vocab_size == 512 + len(merges) + 2
    assert tokenizer.decode(tokenizer.encode(texts[0])).strip() == "small left pleural effusion ."
    assert len(tokenizer.encode("pleural effusion")) == 2
    assert path.read_bytes()[4:8] == bytes(4), "a time stamp would change the file every time"
    assert not gzip.decompress(path.read_bytes()).endswith(b"\n")

    words = learn_words(texts, 4)
    assert words == learn_words(reversed(texts), 4)
    assert words[: len(SPECIAL)] == list(SPECIAL)
    assert words[-4:] == ["effusion", "left", "pleural", "atelectasis"]
    assert {"b", "##b", "."} <= set(words)


def test_grouped_encoding_is_open_clips(examples: Examples, tmp_path: Path) -> None:
    path = tmp_path / "bpe.txt.gz"
    write_vocabulary(learn_merges([r.text for r in examples.reports], 200), path)
    tokenizer = SimpleTokenizer(bpe_path=str(path), context_length=77)
    model = build_clip(ClipSizes(), tokenizer.vocab_size).eval()
    tokens = tokenizer([report.text for report in examples.reports])
    with torch.no_grad():
        grouped = clip_texts(model, tokens)
        plain = torch.nn.functional.normalize(model.encode_text(tokens), dim=-1)
        assert torch.allclose(grouped, plain, atol=1e-5)


def test_augmentation_never_mirrors() -> None:
    canvases = torch.zeros(64, 1, 64, 64, dtype=torch.uint8)
    canvases[..., 40:] = 200  # bright on the right of the picture
    rng = torch.Generator().manual_seed(0)
    plain = augment(canvases, rng, erase=0.0)
    assert plain.shape == (64, 1, 64, 64)
    assert bool((plain[..., 50:].mean((1, 2, 3)) > plain[..., :14].mean((1, 2, 3))).all())


def test_what_is_erased_is_spread_over_all_ratios_of_the_suite() -> None:
    rng = torch.Generator().manual_seed(0)
    pictures = torch.full((4000, 1, 64, 64), 200, dtype=torch.uint8)
    erased = augment(pictures, rng, erase=1.0)
    dark = (erased == 0).float()
    shares = dark.mean((1, 2, 3))
    shares = shares[shares > 0]  # a fifth of the rectangles are grey
    assert 0.75 < len(shares) / 4000 < 0.85
    assert float(shares.min()) < 0.03
    assert 0.80 < float(shares.max()) < 0.83  # whole pixels
    assert max(RATIOS) == LARGEST
    parts = torch.histc(shares, bins=4, min=SMALLEST, max=LARGEST) / len(shares)
    assert bool(((parts - 0.25).abs() < 0.03).all())


def test_blocking_is_exact_and_nested() -> None:
    canvases = np.full((20, 1, 64, 64), 9, np.uint8)
    before = np.zeros((20, 1, 64, 64), bool)
    for ratio in (0.0, 0.09, 0.25, 0.49, 0.81):
        blocked = block(canvases, ratio, 3) == 0
        assert np.allclose(blocked.mean((1, 2, 3)), ratio, atol=0.016)
        assert not (before & ~blocked).any()
        before = blocked


@dataclass(frozen=True)
class Oracle:
    """Stands for an encoder whose embeddings are given."""

    images: torch.Tensor
    texts: torch.Tensor

    canvas = padded(CANVAS)

    def embed_canvases(self, canvases: torch.Tensor) -> torch.Tensor:
        return self.images[: len(canvases)]

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        return self.texts[: len(texts)]


def test_recall_of_a_perfect_and_of_a_blind_model(examples: Examples) -> None:
    texts = [report.text for report in examples.reports]
    table = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    identity = torch.eye(len(table))
    perfect = Oracle(identity[[table[texts[study]] for study in examples.study]], identity)
    found = measure(examples, cast(Encoder, perfect), ratios=(0.0,), k=1)
    assert found.recall == (1.0,)
    blind = Oracle(torch.ones(len(examples.study), 4), torch.ones(len(table), 4))
    found = measure(examples, cast(Encoder, blind), ratios=(0.0,))
    assert found.recall == (0.0,)  # all tied: the middle rank, never a hit
