"""The training scripts: seeded, resumable, and a few steps of them see the loss fall."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("training", reason="the training scripts are not part of the distribution")

from open_clip.tokenizer import SimpleTokenizer

from training import cxr_repair
from training.augmentation import augment
from training.evaluation import block, measure
from training.loop import Schedule, train
from training.studies import Examples, load_examples
from training.vocabulary import learn_merges, write_vocabulary

SHORT = Schedule(steps=12, batch=16, rate=2e-3, warmup=3, seed=1)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    return load_examples("training", 60, tmp_path_factory.mktemp("work"), workers=1)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def make(examples: Examples, folder: Path) -> tuple[Any, SimpleTokenizer]:
    sizes = replace(cxr_repair.Sizes(), merges=200)
    tokenizer = cxr_repair.make_vocabulary(examples, sizes, folder / "bpe_vocab.txt.gz")
    torch.manual_seed(1)
    return cxr_repair.build(sizes, tokenizer.vocab_size), tokenizer


def test_the_loss_falls_and_an_interrupted_run_goes_on_where_it_stopped(
    examples: Examples, tmp_path: Path
) -> None:
    model, tokenizer = make(examples, tmp_path)
    loss = cxr_repair.objective(model, tokenizer, examples, batch=16, erase=0.5)
    losses = train(model, loss, SHORT, tmp_path / "whole.pt").losses
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.1

    class Interrupted(Exception):
        pass

    again, tokenizer = make(examples, tmp_path)
    loss_again = cxr_repair.objective(again, tokenizer, examples, batch=16, erase=0.5)

    def stop_at_ten(step: int, rng: torch.Generator) -> torch.Tensor:
        if step == 9:
            raise Interrupted
        return loss_again(step, rng)

    with pytest.raises(Interrupted):
        train(again, stop_at_ten, SHORT, tmp_path / "part.pt", every=6)
    rest = train(again, loss_again, SHORT, tmp_path / "part.pt", every=6).losses
    assert len(rest) == SHORT.steps - 6
    assert rest == pytest.approx(losses[6:], rel=1e-4)


def test_only_the_named_seed_is_drawn(examples: Examples) -> None:
    from pytest_occlusion_fixtures.sampler import TRAINING_SEED

    assert {study.seed for study in examples.studies} == {TRAINING_SEED}
    assert len(examples.canvases) == sum(len(study.views) for study in examples.studies)
    with pytest.raises(ValueError, match="994 evaluation studies"):
        load_examples("evaluation", 10, Path("unused"))


def test_the_vocabulary_is_read_by_open_clip(tmp_path: Path) -> None:
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


def test_grouped_encoding_is_open_clips(examples: Examples, tmp_path: Path) -> None:
    model, tokenizer = make(examples, tmp_path)
    model.eval()
    tokens = tokenizer([report.text for report in examples.reports])
    with torch.no_grad():
        grouped = cxr_repair.encode_tokens(model, tokens)
        assert torch.allclose(grouped, model.encode_text(tokens), atol=1e-5)


def test_augmentation_erases_and_never_mirrors() -> None:
    canvases = torch.zeros(64, 64, 64, dtype=torch.uint8)
    canvases[:, :, 40:] = 200  # bright on the right of the picture
    rng = torch.Generator().manual_seed(0)
    plain = augment(canvases, rng, erase=0.0)
    assert plain.shape == (64, 1, 64, 64)
    assert bool((plain[..., 50:].mean((1, 2, 3)) > plain[..., :14].mean((1, 2, 3))).all())
    erased = augment(torch.full_like(canvases, 200), rng, erase=1.0)
    black = (erased == 0).float().mean((1, 2, 3))
    assert 0.15 < float(black.mean()) < 0.5


def test_blocking_is_exact_and_nested() -> None:
    canvases = np.full((20, 64, 64), 9, np.uint8)
    before = np.zeros((20, 64, 64), bool)
    for ratio in (0.0, 0.09, 0.25, 0.49, 0.81):
        blocked = block(canvases, ratio, 3) == 0
        assert np.allclose(blocked.mean((1, 2)), ratio, atol=0.016)
        assert not (before & ~blocked).any()
        before = blocked


def test_recall_of_a_perfect_and_of_a_blind_model(examples: Examples) -> None:
    texts = [report.text for report in examples.reports]
    table = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    identity = torch.eye(len(table))
    queue = iter([identity[[table[texts[s]] for s in examples.study]]])
    perfect = measure(
        examples,
        lambda canvases: next(queue)[: len(canvases)],
        lambda words: identity[[table[word] for word in words]],
        ratios=(0.0,),
        k=1,
    )
    assert perfect.recall == (1.0,)
    blind = measure(
        examples,
        lambda canvases: torch.ones(len(canvases), 4),
        lambda words: torch.ones(len(words), 4),
        ratios=(0.0,),
    )
    assert blind.recall == (0.0,)  # all tied: the middle rank, never a hit
