"""What every part shares: settings of a suite, clocks, medians over interleaved rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_occlusion.engine.session import Session
from pytest_occlusion.suite.grid import Cell, cells
from pytest_occlusion.suite.merge import build_settings
from pytest_occlusion.suite.settings import Settings
from pytest_occlusion.suite.suites import find_suite


def settings_for(chosen: Any, store: Path | None = None) -> Settings:
    """The suite narrowed to one model, on the CPU; nothing is kept unless a store is named."""
    settings = build_settings(
        find_suite(chosen.suite, Path.cwd()),
        command_line={"corpus": chosen.corpus} if chosen.corpus else {},
        selected=[chosen.model],
    )
    return replace(settings, device="cpu", store=store)


def measured(settings: Settings) -> tuple[Session, dict[Cell, float]]:
    """Recall of every cell, by the pipeline."""
    wanted = cells(settings.grid)
    session = Session(settings, wanted=wanted, say=lambda line: None)
    return session, {cell: session.result(cell).recall for cell in wanted}


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of wall clock, and the result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def medians(ways: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds of each way; they take turns, so that a busy machine is busy for all."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(timed(way)[0])
    return {name: statistics.median(values) for name, values in seconds.items()}
