"""``python benchmarks/gpu.py``: it runs on a CPU, reports every part, and can fail."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import gpu
from gpu_parts import memory, parity, suites, throughput, towers, workers
from gpu_parts.canvases import different
from gpu_parts.record import (
    Check,
    Finding,
    NeedsGpuError,
    OutOfTimeError,
    Record,
    markdown,
    shown,
)
from gpu_parts.setting import Setting
from pytest_occlusion.engine.drawing import draw_shards
from pytest_occlusion.engine.job import Condition
from pytest_occlusion.engine.pieces import in_shards

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """JSON, Markdown and output of one run in a process of its own, as a user starts it."""
    folder = tmp_path_factory.mktemp("gpu")
    script = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--small"]
    told = ["--json", str(folder / "gpu.json"), "--markdown", str(folder / "new" / "gpu.md")]
    done = subprocess.run(
        [*script, *told], cwd=ROOT, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "gpu.json", folder / "new" / "gpu.md", done.stdout


@pytest.mark.slow
def test_every_part_reports(files: tuple[Path, Path, str]) -> None:
    found = json.loads(files[0].read_text(encoding="utf-8"))
    assert found["schema"] == {"name": "pytest-occlusion-gpu", "version": 1}
    assert {"device", "torch", "python", "CPUs", "date (UTC)"} <= set(found["where"])
    states = {name: part["status"] for name, part in found["parts"].items()}
    assert states == {
        "canvases": "needs a GPU",
        "parity": "needs a GPU",
        "throughput": "passed",
        "table": "passed",
        "memory": "needs a GPU",
        "workers": "needs a GPU",
    }
    tried = [row["checkpoint"] for row in found["parts"]["parity"]["table"]]
    assert tried == [*(f"embedded {name}" for name in parity.embedded_models()), *towers.FAMILIES]
    stores = [(row["precision"], row["store"]) for row in found["parts"]["table"]["table"]]
    assert ("bf16", "cold") in stores
    assert ("fp32", "canvases warm") in stores


@pytest.mark.slow
def test_the_files_agree(files: tuple[Path, Path, str]) -> None:
    found = json.loads(files[0].read_text(encoding="utf-8"))
    text = files[1].read_text(encoding="utf-8")
    assert text == markdown(found)
    assert text in files[2]
    assert max(map(len, text.splitlines())) <= 120
    for part in found["parts"].values():
        assert part["verdict"] in text
        for row in part["table"]:
            assert all(shown(value) in text for value in row.values())


def test_only_what_is_asked_for_is_run(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    given = ["--device", "cpu", "--small", "--only", "memory,canvases", "--json", str(path)]
    assert gpu.main(given) == 0
    assert list(json.loads(path.read_text())["parts"]) == ["memory", "canvases"]
    with pytest.raises(SystemExit):
        gpu.main(["--only", "speed"])


def test_without_time_parts_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "gpu.json"
    given = ["--device", "cpu", "--small", "--budget", "0", "--json", str(path)]
    assert gpu.main([*given, "--only", "parity,throughput,table"]) == 0
    parts = json.loads(path.read_text())["parts"]
    assert {part["status"] for part in parts.values()} == {"out of time"}


def test_runs_of_one_machine_can_be_joined(tmp_path: Path) -> None:
    def run(name: str, card: str) -> str:
        record = Record({"card": card, "date (UTC)": name}, tmp_path / name, say=lambda line: None)
        record.run(name, lambda given: ["a note"], None)
        record.run("both", lambda given: [f"of {name}"], None)
        return str(tmp_path / name)

    one, two = run("one", "a"), run("two", "a")
    whole = ["--json", str(tmp_path / "whole.json"), "--markdown", str(tmp_path / "whole.md")]
    assert gpu.main(["--join", one, two, *whole]) == 0
    found = json.loads((tmp_path / "whole.json").read_text(encoding="utf-8"))
    assert list(found["parts"]) == ["one", "both", "two"]
    assert found["parts"]["both"]["notes"] == ["of two"]
    assert (tmp_path / "whole.md").read_text(encoding="utf-8") == markdown(found)
    with pytest.raises(ValueError, match="differ in card"):
        gpu.main(["--join", one, run("three", "b")])


# What a part can come to --------------------------------------------------------------------------


def come_to(part: Any, tmp_path: Path) -> dict[str, Any]:
    record = Record({"device": "none"}, tmp_path / "a.json", tmp_path / "a.md", lambda line: None)
    record.run("one", part, None)
    record.run("two", lambda given: ["a note"], None)
    assert record.parts["two"]["status"] == "passed", "what follows is run"
    plain: dict[str, Any] = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert (tmp_path / "a.md").read_text(encoding="utf-8") == markdown(plain)
    one: dict[str, Any] = plain["parts"]["one"]
    assert record.failed == (one["status"] == "failed")
    return one


@pytest.mark.parametrize(
    ("held", "must", "status"),
    [(True, True, "passed"), (False, True, "failed"), (False, False, "passed")],
)
def test_a_broken_expectation_fails_and_a_missed_aim_does_not(
    held: bool, must: bool, status: str, tmp_path: Path
) -> None:
    check = Check("a figure", 3, "at most 2", held, must)
    found = come_to(lambda given: [check], tmp_path)
    assert found["status"] == status
    text = (tmp_path / "a.md").read_text(encoding="utf-8")
    assert ("BROKEN" in text) == (status == "failed")
    assert ("missed" in text) == (not held and not must)


def test_a_part_that_raises_keeps_what_it_had_found(tmp_path: Path) -> None:
    def part(given: Any) -> Iterator[Finding]:
        yield {"row": 1}
        raise ValueError("a planted fault")

    found = come_to(part, tmp_path)
    assert (found["status"], found["table"]) == ("failed", [{"row": 1}])
    assert "a planted fault" in found["traceback"]
    assert "a planted fault" in (tmp_path / "a.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("fault", "status"), [(OutOfTimeError, "out of time"), (NeedsGpuError, "needs a GPU")]
)
def test_what_was_not_shown_is_no_pass_and_no_failure(
    fault: type[Exception], status: str, tmp_path: Path
) -> None:
    def part(given: Any) -> Iterator[Finding]:
        yield Check("a figure", 1, "1", holds=True)
        raise fault("why")

    assert come_to(part, tmp_path)["status"] == status


def test_a_broken_expectation_outweighs_that_something_was_not_shown(tmp_path: Path) -> None:
    def part(given: Any) -> Iterator[Finding]:
        yield Check("a figure", 1, "0", holds=False)
        raise NeedsGpuError("why")

    assert come_to(part, tmp_path)["status"] == "failed"


def test_what_is_fixed_is_told_from_what_grows() -> None:
    assert throughput.fixed((100, 400), (0.5 + 1, 0.5 + 4)) == pytest.approx(0.5)
    assert throughput.fixed((100, 400), (1, 4)) == pytest.approx(0)


# Planted differences ------------------------------------------------------------------------------


def unit(*rows: Iterable[float]) -> torch.Tensor:
    return torch.nn.functional.normalize(
        torch.tensor([list(row) for row in rows], dtype=torch.float32)
    )


def figures(moved: float) -> dict[str, Any]:
    """What a checkpoint comes to whose embeddings are moved by so much on the device."""
    wanted = unit((1, 2, 3), (3, 1, 2))
    off = parity.differences(wanted + torch.tensor([0, 0, moved]), wanted)
    return {name: {"images": off, "texts": off} for name in ("fp32", "bf16", "fp16")}


@pytest.mark.parametrize(
    ("moved", "broken"),
    [(0.0, 0), (1e-5, 0), (1e-4, 1), (0.02, 2), (0.2, 3), (float("nan"), 3)],
)
def test_parity_finds_a_planted_difference(moved: float, broken: int) -> None:
    checks = list(parity.held("one", figures(moved)))
    assert len(checks) == 3
    assert sum(not check.holds for check in checks) == broken


def test_a_checkpoint_that_cannot_be_tried_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path, sizes: Any) -> Any:
        raise OSError("a planted fault")

    monkeypatch.setattr(towers, "FAMILIES", {"broken": broken})
    monkeypatch.setattr(parity, "embedded_models", list)
    given = Setting(torch.device("cpu"), True, tmp_path, 60)
    found = come_to(lambda _: parity.parity(given), tmp_path)
    assert found["status"] == "failed"
    assert "a planted fault" in found["checks"][0]["value"]
    assert not list(tmp_path.glob("parity*"))


@pytest.mark.slow
def test_a_checkpoint_in_a_process_of_its_own(tmp_path: Path) -> None:
    given = Setting(torch.device("cpu"), True, tmp_path, 120, processes=1)
    ((name, found),) = parity._each(given, ["clip ViT"])
    assert (name, found["fp32"]["images"]["apart"]) == ("clip ViT", 0)
    ((_, found),) = parity._each(given, ["no such family"])
    assert "no such family" in found["fault"]


def test_pixels_that_differ_are_counted() -> None:
    one = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    other = one.clone()
    assert different(one, other) == (0, 0)
    other[0, 0, 0, :2] = torch.tensor([1, 7], dtype=torch.uint8)
    assert different(one, other) == (2, 7)
    assert different(one, other.float()) == (96, 255)


def test_flips_are_counted_over_all_cells() -> None:
    one = {"a": np.array([0b1010], np.uint8), "b": np.array([0], np.uint8)}
    other = {"a": np.array([0b0110], np.uint8), "b": np.array([1], np.uint8)}
    assert workers.flips(one, one) == 0
    assert workers.flips(one, other) == 3
    with pytest.raises(ValueError, match="other cells"):
        workers.flips(one, {"a": one["a"]})


def run_of(hits: int, started: int, others: int = 0) -> workers.Run:
    return workers.Run(1.0, started, {"a": np.array([hits] + [others] * 999, np.uint8)}, 0)


def test_workers_are_held_against_one_process() -> None:
    runs = {
        "CPU": run_of(1, 0),
        "one process": run_of(1, 0),
        "two workers": run_of(1, 2),
        "-n auto": run_of(1, 1),
    }
    assert all(check.holds for check in workers.shared(runs, on_gpu=True))
    for name, other in (
        ("CPU", run_of(1, 0, others=1)),
        ("two workers", run_of(3, 2)),
        ("two workers", run_of(1, 1)),
        ("-n auto", run_of(1, 16)),
    ):
        checks = list(workers.shared({**runs, name: other}, on_gpu=True))
        assert sum(not check.holds for check in checks) == 1


# Memory, with a cap that a CPU can have -----------------------------------------------------------


@pytest.fixture
def tiny(tmp_path: Path) -> Any:
    """A job of a tiny CLIP, and its encoder."""
    given = Setting(torch.device("cpu"), True, tmp_path, 60)
    made = towers.write("clip ViT", tmp_path / "clip", small=True)
    settings = suites.settings_for(given, tmp_path, {"model": (made, "fp32")})
    session = suites.session_of(settings, suites.made_up_corpus(24, 64))
    job = replace(
        session.job_of("model"),
        conditions=[Condition("block", ratio, "black", 0) for ratio in (0.0, 0.25)],
        batch_size=24,
    )
    yield job, session.encoder("model")
    session.close()


@pytest.mark.slow
def test_memory_runs_out_under_a_cap(tiny: Any) -> None:
    job, encoder = tiny
    most = [1000]

    def limited(canvases: torch.Tensor) -> torch.Tensor:
        if len(canvases) > most[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encoder.embed_canvases(canvases)  # type: ignore[no-any-return]

    @contextlib.contextmanager
    def cap(device: torch.device, limit: int) -> Iterator[None]:
        most[0] = 7
        yield
        most[0] = 1000

    found = list(memory.halved(job, replace(encoder, embed_canvases=limited), cap))
    checks = {one.what: one for one in found if isinstance(one, Check)}
    assert checks["capped, batch that held"].value == 6
    assert checks["capped, batch that held"].holds
    assert checks["capped against uncapped"].holds
    assert checks["uncapped again"].holds
    assert not checks["one image that does not fit"].holds, "nothing was raised on a CPU"
    none = list(memory.halved(job, encoder, lambda device, limit: contextlib.nullcontext()))
    broken = [one.what for one in none if isinstance(one, Check) and not one.holds]
    assert "capped, batch that held" in broken


def test_one_image_that_does_not_fit_is_told_clearly(tiny: Any) -> None:
    job, encoder = tiny
    shards = draw_shards(job, encoder.canvas, in_shards(job.radiographs))[0]
    said = {
        "CUDA out of memory": True,
        "CUDA error: an illegal memory access was encountered": False,
    }
    for fault, clear in said.items():

        @contextlib.contextmanager
        def cap(device: torch.device, limit: int, fault: str = fault) -> Iterator[None]:
            with pytest.MonkeyPatch.context() as patch:

                def empty(*args: Any, **options: Any) -> torch.Tensor:
                    raise RuntimeError(fault)

                patch.setattr(torch, "empty", empty)
                yield

        (check,) = memory.refused(job, encoder, shards, cap, 0)
        assert isinstance(check, Check)
        assert check.holds == clear
