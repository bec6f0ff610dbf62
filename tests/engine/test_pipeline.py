"""The pipeline against the straightforward loop, and what it does when things go wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pytest_occlusion.corpora.base import Corpus, Radiograph, Study
from pytest_occlusion.corpora.images import ImageFault
from pytest_occlusion.corpora.task import build_task
from pytest_occlusion.encoders import Encoder
from pytest_occlusion.engine import drawing, embedding, pieces
from pytest_occlusion.engine.job import Condition, Job, Measured, Want
from pytest_occlusion.engine.models import ModelRecord
from pytest_occlusion.engine.pipeline import measure
from pytest_occlusion.engine.store import Store
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.occlusion import occlude
from pytest_occlusion.occlusion.names import tile_ratio, tiles
from tests.plugin import toy_family

WAYS = ("image-to-text", "text-to-image")


def toy_corpus(images: int = 37) -> Corpus:
    """Some studies have two radiographs, some texts occur twice."""
    studies = tuple(
        Study(f"s{n}", f"p{n // 3}", f"case {n % 23} of a report") for n in range(images // 2 + 1)
    )
    radiographs = tuple(
        Radiograph(
            f"r{n}",
            n // 2,
            "",
            f"c{n // 2 % 23}",
            f"row {n}",
            partial(toy_family.picture, n // 2 % 23),
        )
        for n in range(images)
    )
    return Corpus("toy", studies, radiographs)


@pytest.fixture
def encoder(tmp_path: Path) -> Encoder:
    path = toy_family.write_checkpoint(tmp_path / "toy.safetensors", noise=1.5)
    return toy_family.load(path, None, torch.device("cpu"), "fp32", {"loud": False})


def conditions(*ratios: float, occluders: Sequence[str] = ("block",)) -> list[Condition]:
    return [Condition(name, ratio, "black", 0) for name in occluders for ratio in ratios]


def job(encoder: Encoder, *, root: Path | None = None, batch_size: int = 8) -> Job:
    corpus = toy_corpus()
    canvas = encoder.canvas
    record = ModelRecord(
        "toy", "linear", encoder.weights_digest, {}, "fp32", canvas.name, (16, 16), 8
    )
    return Job(
        label="toy",
        record=record,
        encoder=lambda: encoder,
        corpus=corpus,
        task=build_task(corpus, text_rule="full", candidates="texts"),
        conditions=conditions(0.0, 0.25, 0.49, occluders=("block", "pixels")),
        directions=WAYS,
        store=Store(root),
        batch_size=batch_size,
        say=lambda line: None,
    )


def straightforward(encoder: Encoder, work: Job, condition: Condition) -> torch.Tensor:
    """One image at a time, opened anew for every ratio; the full score matrix."""
    rows = []
    for radiograph in work.corpus.radiographs:
        canvas = torch.from_numpy(np.array(encoder.canvas.draw(radiograph.open())))[None]
        shown = occlude(
            canvas, ratio=condition.ratio, occluder=condition.occluder, keys=[radiograph.key]
        )
        rows.append(encoder.embed_canvases(shown))
    texts = torch.cat([encoder.embed_texts([text]) for text in work.task.texts])
    return torch.cat(rows) @ texts.T


@pytest.mark.parametrize("stored", [False, True])
def test_it_gives_what_the_straightforward_loop_gives(
    encoder: Encoder, stored: bool, tmp_path: Path
) -> None:
    work = job(encoder, root=tmp_path / "store" if stored else None)
    found = measure(work)
    groups = work.task.radiograph_group
    for condition in work.conditions:
        scores = straightforward(encoder, work, condition).numpy()
        ranks = found[condition, "image-to-text"].ranks
        for row, positive in enumerate(groups):
            clearly = scores[row] > scores[row, positive] + 1e-5
            perhaps = scores[row] > scores[row, positive] - 1e-5
            assert clearly.sum() <= ranks.above[row] <= perhaps.sum()
        back = found[condition, "text-to-image"].ranks
        for text in range(len(work.task.texts)):
            best = scores[groups == text, text].max()
            others = scores[groups != text, text]
            assert (others > best + 1e-5).sum() <= back.above[text] <= (others > best - 1e-5).sum()


def same(first: dict[Want, Measured], other: Job) -> None:
    for want, measured in measure(other).items():
        for name in ("above", "tied", "tied_positives", "positives"):
            left, right = getattr(measured.ranks, name), getattr(first[want].ranks, name)
            np.testing.assert_array_equal(left, right, err_msg=f"{want} {name}")


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_the_batch_size_does_not_matter(encoder: Encoder, batch_size: int) -> None:
    same(measure(job(encoder)), job(encoder, batch_size=batch_size))


@pytest.mark.parametrize("threads", [1, 2, 3, 7, 40])
def test_the_number_of_threads_does_not_matter(
    encoder: Encoder, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = measure(job(encoder))
    monkeypatch.setattr("pytest_occlusion.engine.parallel.usable_cores", lambda: threads)
    same(first, job(encoder))


def test_small_shards_give_the_same(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = measure(job(encoder))
    monkeypatch.setattr(pieces, "SHARD", 10)
    same(first, job(encoder))


def test_the_number_of_torch_threads_is_restored(encoder: Encoder) -> None:
    before = torch.get_num_threads()
    measure(job(encoder))
    assert torch.get_num_threads() == before


def limited(encoder: Encoder, most: int, fault: Callable[[], Exception]) -> Encoder:
    """An encoder that runs out of memory above ``most`` images."""

    def embed(canvases: torch.Tensor) -> torch.Tensor:
        if len(canvases) > most:
            raise fault()
        return encoder.embed_canvases(canvases)

    return replace(encoder, embed_canvases=embed)


OUT_OF_MEMORY: list[Callable[[], Exception]] = [
    lambda: torch.OutOfMemoryError("CUDA out of memory"),
    lambda: MemoryError(),
    lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
]


@pytest.mark.parametrize("fault", OUT_OF_MEMORY, ids=["cuda", "python", "cpu", "cublas"])
def test_the_batch_halves_when_memory_runs_out(
    encoder: Encoder, fault: Callable[[], Exception]
) -> None:
    work = job(limited(encoder, 3, fault), batch_size=32)
    same(measure(job(encoder)), work)
    assert {measured.fields["batch_size"] for measured in measure(work).values()} <= {1, 2, 3}


def test_the_next_shard_is_read_while_a_gpu_has_the_pieces_of_one() -> None:
    assert embedding._ahead("cuda", 1, [4, 4, 1]) == 5
    assert embedding._ahead("cuda", 1, []) == 1
    assert embedding._ahead("cpu", 2, [4, 4, 1]) == 2
    assert embedding._ahead("cpu", 1, [4, 4, 1]) is None


def test_memory_for_not_even_one_image(encoder: Encoder) -> None:
    with pytest.raises(OcclusionError, match=r"not suffice for one image on cpu[\s\S]*device"):
        measure(job(limited(encoder, 0, OUT_OF_MEMORY[0])))


def test_other_faults_are_not_mistaken_for_lack_of_memory(encoder: Encoder) -> None:
    with pytest.raises(RuntimeError, match="shape mismatch"):
        measure(job(limited(encoder, 0, lambda: RuntimeError("shape mismatch"))))


def test_a_warm_run_opens_nothing(encoder: Encoder, tmp_path: Path) -> None:
    first = measure(job(encoder, root=tmp_path))

    def never() -> Encoder:
        raise AssertionError("opened")

    warm = replace(job(encoder, root=tmp_path), encoder=never)
    same(first, warm)
    assert not any(measured.fresh for measured in measure(warm).values())


def test_other_weights_do_not_meet_stored_results(encoder: Encoder, tmp_path: Path) -> None:
    measure(job(encoder, root=tmp_path))
    path = toy_family.write_checkpoint(tmp_path / "new.safetensors", noise=9)
    other = toy_family.load(path, None, torch.device("cpu"), "fp32", {"loud": False})
    assert all(measured.fresh for measured in measure(job(other, root=tmp_path)).values())


def test_at_ratio_zero_the_occluder_does_not_matter(encoder: Encoder) -> None:
    found = measure(job(encoder))
    block, pixels = (found[Condition(n, 0.0, "black", 0), WAYS[0]] for n in ("block", "pixels"))
    np.testing.assert_array_equal(block.ranks.above, pixels.ranks.above)


def test_constant_embeddings_score_exactly_chance(tmp_path: Path) -> None:
    from pytest_occlusion.retrieval.recall import chance_recall, recall_at_k

    path = toy_family.write_checkpoint(tmp_path / "flat.safetensors", image=0, text=0, bias=1)
    flat = toy_family.load(path, None, torch.device("cpu"), "fp32", {"loud": False})
    for measured in measure(job(flat)).values():
        for k, recall in recall_at_k(measured.ranks, [1, 5, 10]).items():
            assert recall == pytest.approx(chance_recall(measured.ranks, k), abs=1e-12)


def tile_job(encoder: Encoder, root: Path | None = None) -> Job:
    shown = [Condition("none", 0.0, "none", 0)]
    shown += [Condition(one, tile_ratio(3), "noise", 0) for one in tiles(3)]
    return replace(job(encoder, root=root), conditions=shown, directions=WAYS[:1], similarity=True)


def test_similarities_of_tiles_equal_the_straightforward_loop(encoder: Encoder) -> None:
    work = tile_job(encoder)
    for (condition, _), measured in measure(work).items():
        rows = []
        for radiograph in work.corpus.radiographs:
            canvas = torch.from_numpy(np.array(encoder.canvas.draw(radiograph.open())))[None]
            if condition.ratio:
                name, keys = condition.occluder, [radiograph.key]
                canvas = occlude(canvas, ratio=1 / 9, occluder=name, fill="noise", keys=keys)
            rows.append(encoder.embed_canvases(canvas))
        texts = torch.cat([encoder.embed_texts([text]) for text in work.task.texts])
        scores = (torch.cat(rows) @ texts.T).numpy()
        own = scores[np.arange(len(scores)), work.task.radiograph_group]
        assert measured.similarity is not None
        np.testing.assert_allclose(measured.similarity, own, atol=1e-6)


def test_similarities_come_back_from_the_store(encoder: Encoder, tmp_path: Path) -> None:
    work = tile_job(encoder, tmp_path)
    plain = replace(work, similarity=False)
    assert all(one.similarity is None for one in measure(plain).values())
    first = measure(work)
    assert all(one.fresh for one in first.values()), "what was stored has no similarities"
    assert sum(one.fields["encoded_images"] for one in first.values()) == 0, "embeddings are kept"
    again = measure(work)
    assert not any(one.fresh for one in again.values())
    for want, one in again.items():
        np.testing.assert_array_equal(one.similarity, first[want].similarity)
    assert not any(one.fresh for one in measure(plain).values())


def test_an_interrupted_map_goes_on_where_it_stopped(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "SHARD", 10)
    left, shown = [25], []

    def embed(canvases: torch.Tensor) -> torch.Tensor:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        shown.append(len(canvases))
        return encoder.embed_canvases(canvases)

    work = replace(tile_job(encoder, tmp_path), batch_size=10)
    watched = replace(work, encoder=lambda: replace(encoder, embed_canvases=embed))
    monkeypatch.setattr("pytest_occlusion.engine.parallel.usable_cores", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        measure(watched)
    left[0], before = 10_000, len(shown)
    found = measure(watched)
    total = len(work.conditions) * -(-len(work.corpus.radiographs) // 10)
    assert len(shown) - before < total, "shards that were finished are not encoded again"
    plain = measure(tile_job(encoder))
    for want, one in found.items():
        np.testing.assert_array_equal(one.ranks.above, plain[want].ranks.above)


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_canvases_that_are_lost_on_the_way_are_drawn_again(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """They were there when the run looked, and are not when their turn comes."""
    monkeypatch.setattr(pieces, "SHARD", 10)
    work = job(encoder, root=tmp_path)
    shards = drawing.draw_shards(work, encoder.canvas, pieces.in_shards(work.radiographs))[0]
    paths = sorted((tmp_path / "v1" / "canvases").rglob("*.safetensors"))
    assert len(paths) == len(shards) == 4
    for path in paths:
        path.unlink() if harm == "gone" else path.write_bytes(b"no canvas")
    found = np.concatenate([shard.canvases() for shard in shards])
    drawn = [encoder.canvas.draw(one.open()) for one in work.corpus.radiographs]
    np.testing.assert_array_equal(found, np.stack(drawn))
    assert len(work.store.notes) == (4 if harm == "damaged" else 0)
    assert all(path.stat().st_size > 100 for path in paths), "and kept again"


def no_picture() -> Any:
    raise ImageFault("gone")


def test_canvases_that_are_lost_and_cannot_be_drawn_again(encoder: Encoder, tmp_path: Path) -> None:
    work = job(encoder, root=tmp_path)
    drawing.draw_shards(work, encoder.canvas, pieces.in_shards(work.radiographs))[0]
    missing = tuple(replace(one, open=no_picture) for one in work.corpus.radiographs)
    lost = replace(work, corpus=replace(work.corpus, radiographs=missing))
    (shard,) = drawing.draw_shards(lost, encoder.canvas, pieces.in_shards(lost.radiographs))[0]
    for path in (tmp_path / "v1" / "canvases").rglob("*.safetensors"):
        path.unlink()
    with pytest.raises(OcclusionError, match=r"37 radiographs[\s\S]*row 0: gone[\s\S]*fetch"):
        shard.canvases()


def test_others_are_encoded_while_embeddings_are_written(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "SHARD", 10)
    monkeypatch.setattr("pytest_occlusion.engine.parallel.usable_cores", lambda: 2)
    began: list[float] = []
    written: list[tuple[float, float]] = []

    def embed(canvases: torch.Tensor) -> torch.Tensor:
        began.append(time.perf_counter())
        time.sleep(0.01)
        return encoder.embed_canvases(canvases)

    write = Store.write

    def slowly(store: Store, kind: str, *args: Any, **options: Any) -> None:
        start = time.perf_counter()
        if kind == "embeddings":
            time.sleep(0.03)
            written.append((start, time.perf_counter()))
        write(store, kind, *args, **options)

    monkeypatch.setattr(Store, "write", slowly)
    slow = replace(encoder, embed_canvases=embed)
    same(measure(replace(job(encoder, root=tmp_path), encoder=lambda: slow)), job(encoder))
    assert any(start < at < end for start, end in written for at in began)


def test_canvases_of_a_job_come_in_order(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "SHARD", 7)
    work = job(encoder)
    rows, canvases = zip(*drawing.canvas_shards(work), strict=True)
    assert np.concatenate(rows).tolist() == list(range(len(work.corpus.radiographs)))
    drawn = [encoder.canvas.draw(one.open()) for one in work.corpus.radiographs]
    np.testing.assert_array_equal(np.concatenate(canvases), np.stack(drawn))


def with_lists(encoder: Encoder, root: Path, length: int) -> Job:
    return replace(job(encoder, root=root), first=length)


def test_lists_are_kept_beside_ranks(encoder: Encoder, tmp_path: Path) -> None:
    work = with_lists(encoder, tmp_path, 5)
    first, again = measure(work), measure(work)
    assert all(one.fresh for one in first.values())
    assert not any(one.fresh for one in again.values())
    for want, one in first.items():
        assert one.key == again[want].key != ""
        assert (one.ranks.first is None) == (one.ranks.gap is None) == (want[1] == WAYS[1])
        if one.ranks.first is not None:
            assert one.ranks.first.shape == (37, 5)
            np.testing.assert_array_equal(again[want].ranks.first, one.ranks.first)
            np.testing.assert_array_equal(again[want].ranks.gap, one.ranks.gap)
    assert len({one.key for one in first.values()}) == len(first) - len(WAYS), "one clean picture"


@pytest.mark.parametrize(("kept", "asked", "fresh"), [(0, 2, True), (2, 5, True), (5, 2, False)])
def test_an_entry_without_long_enough_lists_is_not_taken(
    encoder: Encoder, tmp_path: Path, kept: int, asked: int, fresh: bool
) -> None:
    measure(with_lists(encoder, tmp_path, kept))
    for (_, way), one in measure(with_lists(encoder, tmp_path, asked)).items():
        assert one.fresh == (fresh and way == WAYS[0]), "the reverse direction has no lists"
        if way == WAYS[0]:
            assert one.ranks.first is not None
            assert one.ranks.first.shape[1] >= asked


def test_longer_lists_than_candidates_are_all_of_them(encoder: Encoder, tmp_path: Path) -> None:
    work = with_lists(encoder, tmp_path, 1000)
    count = len(work.task.candidate_text)
    for (condition, way), one in measure(work).items():
        if way == WAYS[0]:
            assert one.ranks.first is not None
            assert one.ranks.first.shape == (37, count)
            assert (np.sort(one.ranks.first, axis=1) == np.arange(count)).all(), condition
    assert not any(one.fresh for one in measure(work).values())


def test_lists_do_not_cost_the_similarities_that_a_map_asked_for(
    encoder: Encoder, tmp_path: Path
) -> None:
    measure(tile_job(encoder, tmp_path))
    measure(replace(tile_job(encoder, tmp_path), similarity=False, first=3))
    assert not any(one.fresh for one in measure(tile_job(encoder, tmp_path)).values())
