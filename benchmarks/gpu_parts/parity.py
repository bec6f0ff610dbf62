"""The part ``parity``: every family on the device, in every precision, against fp32 on the CPU.

The bars, for coordinates of unit vectors:

* fp32, 2e-5. Both sides round to 24 bits and only add in other orders: 2e-6 apart between CPUs
  (``tests/encoders``), and ten times that for convolutions by other algorithms. TF32, which keeps
  11 bits and must be off, moves coordinates by more than 1e-4.
* bf16, a cosine of 1 - 1e-3, and fp16, 1 - 2e-5. A factor of 8 bits is off by up to 2**-9 of
  itself, one of 11 bits by 2**-12. Some tens of roundings in a row, independent of each other, add
  up to several times that. On a CPU, towers of full size come to vectors 1 % apart in bf16 and
  0.1 % in fp16 (cosines short of 1 by 6e-5 and 1e-6), and tiny ones, which average less, to 1.5e-4
  and 2e-6. The bars are two and a half times their length.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpu_parts import towers
from gpu_parts.made_up import picture, report
from gpu_parts.record import Check, Finding, NeedsGpuError, OutOfTimeError
from gpu_parts.setting import ROOT, Setting, paths
from pytest_occlusion.encoders import Encoder, load_encoder
from pytest_occlusion.encoders.devices import exact_matmul
from pytest_occlusion.engine.parallel import usable_cores
from pytest_occlusion.occlusion import occlude

FP32_APART = 2e-5
SHORT = {"bf16": 1e-3, "fp16": 2e-5}
"""The bars; see above."""

INPUTS = 8
"""Pictures, half of them with a block, and reports."""

MANY = 64
"""Canvases of the large batch that single ones are compared with."""

SECONDS = 240
"""How long one checkpoint may take before it is given up."""

Load = Callable[[str, str], Encoder]
"""Device and precision -> the encoder."""


def parity(given: Setting) -> Iterator[Finding]:
    """Figures of every checkpoint; see :data:`FP32_APART` and :data:`SHORT` for the bars."""
    given.needs(30, "trying one checkpoint")
    names = [*(f"embedded {name}" for name in embedded_models()), *towers.FAMILIES]
    for name, found in _each(given, names):
        if "fault" in found:
            yield Check(name, found["fault"], "can be tried", holds=False)
            continue
        yield {
            "checkpoint": name,
            "MB": found["megabytes"],
            "fp32 images": found["fp32"]["images"]["apart"],
            "texts": found["fp32"]["texts"]["apart"],
            "bf16 1 - cos": _short(found["bf16"]),
            "fp16": _short(found["fp16"]),
            "again": _words(found["again"]),
            "1 of 64": found["fp32"]["neighbours"],
            "in bf16": found["bf16"]["neighbours"],
            "s": found["seconds"],
        }
        yield from held(name, found)
    if not given.on_gpu:
        raise NeedsGpuError("a CPU was compared with itself")


def held(name: str, found: dict[str, Any]) -> Iterator[Check]:
    """The figures of one checkpoint against the bars."""
    apart = max(found["fp32"][side]["apart"] for side in ("images", "texts"))
    yield Check(f"{name}, fp32 apart", apart, f"at most {FP32_APART:g}", apart <= FP32_APART)
    for precision, bar in SHORT.items():
        short = _short(found[precision])
        yield Check(f"{name}, {precision} 1 - cosine", short, f"at most {bar:g}", short <= bar)


def _short(found: dict[str, Any]) -> float:
    """By how much the smallest cosine falls short of 1."""
    return float(max(found[side]["short"] for side in ("images", "texts")))


def _words(again: dict[str, bool]) -> str:
    """In which precisions the same batch came to the same bits twice."""
    same = [name for name, equal in again.items() if equal]
    return "same" if len(same) == len(again) else f"same in {', '.join(same) or 'none'}"


def _each(given: Setting, names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each checkpoint came to, as they finish; what there was no time for is told last."""
    late: list[str] = []
    if not given.processes:
        for name in names:
            if given.left < (1 if given.small else 30):
                late.append(name)
                continue
            try:
                yield name, tried(name, given.folder, str(given.device), small=given.small)
            except Exception as fault:  # another family can still be tried
                yield name, {"fault": f"{type(fault).__name__}: {fault}"}
    else:
        with ThreadPoolExecutor(given.processes) as pool:
            asked = {pool.submit(_apart, name, given): name for name in names}
            for future in as_completed(asked):
                found = future.result()
                if found is None:
                    late.append(asked[future])
                else:
                    yield asked[future], found
    if late:
        raise OutOfTimeError(f"not tried: {', '.join(late)}")


def _apart(name: str, given: Setting) -> dict[str, Any] | None:
    """The same in a process of its own; nothing where there is no time for it."""
    if given.left < 30:
        return None
    code = "from gpu_parts.parity import main; main()"
    asked = [name, str(given.folder), str(given.device), "small" if given.small else ""]
    command = [sys.executable, "-c", code, *asked]
    threads = max(1, usable_cores() // given.processes)
    try:
        done = subprocess.run(  # noqa: S603
            command,
            cwd=ROOT / "benchmarks",
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": paths()},
            capture_output=True,
            text=True,
            timeout=min(SECONDS, max(30, given.left)),
        )
    except subprocess.TimeoutExpired:
        return None if given.left < 1 else {"fault": f"took more than {SECONDS} s"}
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        return {"fault": " / ".join(done.stderr.strip().splitlines()[-3:])[:600] or "no answer"}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def main() -> None:
    """Print what one checkpoint comes to as JSON: name, folder, device, and whether small."""
    name, folder, device, small = sys.argv[1:]
    print(json.dumps(tried(name, Path(folder), device, small=bool(small))))


# One checkpoint -----------------------------------------------------------------------------------


def embedded_models() -> list[str]:
    """Names of the embedded suite's models."""
    return [model.name for model in _embedded().models]


def _embedded() -> Any:
    from pytest_occlusion.suite.merge import build_settings
    from pytest_occlusion.suite.suites import find_suite

    return build_settings(find_suite("embedded", ROOT), command_line={})


def tried(name: str, folder: Path, device: str, *, small: bool) -> dict[str, Any]:
    """Everything that one checkpoint comes to, as plain data."""
    start = time.perf_counter()
    place = folder / f"parity {name}"
    kind, _, model = name.partition(" ")
    try:
        if kind == "embedded":
            load, size = _of_suite(model)
        else:
            load, size = _made(name, place, small=small)
        found = compared(load, device, pictures=4 if small else INPUTS, many=8 if small else MANY)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return {**found, "megabytes": size, "seconds": round(time.perf_counter() - start, 1)}


def _of_suite(model: str) -> tuple[Load, float]:
    told = _embedded().model(model)

    def load(device: str, precision: str) -> Encoder:
        return load_encoder(
            told.family,
            checkpoint=told.checkpoint,
            tokenizer=told.tokenizer,
            device=device,
            precision=precision,
            **told.options,
        )

    return load, _megabytes(Path(told.checkpoint))


def _made(name: str, place: Path, *, small: bool) -> tuple[Load, float]:
    made = towers.write(name, place, small=small)

    def load(device: str, precision: str) -> Encoder:
        return load_encoder(
            made.family,
            checkpoint=made.checkpoint,
            tokenizer=made.tokenizer,
            device=device,
            precision=precision,
            **made.options,
        )

    return load, _megabytes(place)


def _megabytes(place: Path) -> float:
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return round(sum(path.stat().st_size for path in files) / 1e6, 1)


def compared(load: Load, device: str, *, pictures: int, many: int) -> dict[str, Any]:
    """An encoder on a device, in every precision, against itself in fp32 on the CPU."""
    with exact_matmul():
        exact = load("cpu", "fp32")
        canvases = shown(exact, pictures)
        texts = [report(number) for number in range(pictures)]
        wanted = {"images": exact.embed_canvases(canvases), "texts": exact.embed_texts(texts)}
        del exact
        found: dict[str, Any] = {"again": {}}
        for precision in ("fp32", *SHORT):
            encoder = load(device, precision)
            there = canvases.to(encoder.device)
            one = {"images": encoder.embed_canvases(there), "texts": encoder.embed_texts(texts)}
            same = torch.equal(one["images"], encoder.embed_canvases(there))
            same &= torch.equal(one["texts"], encoder.embed_texts(texts))
            found["again"][precision] = bool(same)
            found[precision] = {
                side: differences(one[side].cpu(), wanted[side]) for side in ("images", "texts")
            }
            found[precision]["neighbours"] = _neighbours(encoder, there, many)
            del encoder, one, there
    return found


def shown(encoder: Encoder, count: int) -> torch.Tensor:
    """Canvases of made-up pictures for an encoder, every second one with a block; on the CPU."""
    drawn = np.stack([encoder.canvas.draw(picture(number, 560, 640)) for number in range(count)])
    canvases = torch.from_numpy(drawn)
    keys = [f"picture {number}" for number in range(count)]
    canvases[1::2] = occlude(canvases, ratio=0.25, keys=keys)[1::2]
    return canvases


def differences(found: torch.Tensor, wanted: torch.Tensor) -> dict[str, float]:
    """The largest difference of a coordinate, and by how much the smallest cosine is below 1."""
    one, other = found.double(), wanted.double()
    if not bool(one.isfinite().all()):
        return {"apart": math.inf, "short": 2.0}
    cosines = torch.nn.functional.cosine_similarity(one, other)
    short = max(0.0, 1 - float(cosines.min()))
    return {"apart": float((one - other).abs().max()), "short": short}


def _neighbours(encoder: Encoder, canvases: torch.Tensor, many: int) -> float:
    """By how much a coordinate differs between a canvas alone and the same in a large batch."""
    repeated = canvases.repeat(-(-many // len(canvases)), 1, 1, 1)[:many]
    together = encoder.embed_canvases(repeated)[: len(canvases)]
    alone = torch.cat([encoder.embed_canvases(one[None]) for one in canvases])
    return float((together - alone).abs().max())
