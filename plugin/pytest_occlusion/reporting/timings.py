"""Timings: what a pass cost, put together from the records of its cells, and a line per model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_occlusion.engine.job import Measured
from pytest_occlusion.reporting.schema import TIMING, Record, plain


def timing_record(model: str, ranking: Sequence[str | float], measured: Measured) -> Record:
    """What a ranking and its pass cost; ``ranking`` tells it from others of the pass."""
    known = {name: value for name, value in measured.fields.items() if name in TIMING}
    own = {"model": model, "fresh": measured.fresh, "ranked": len(measured.ranks)}
    return {**plain(TIMING, **known | own), "of": list(ranking)}


def merged(records: Iterable[Mapping[str, Any]]) -> list[Record]:
    """One record per (model, pass), with the seconds and queries of all its rankings."""
    passes: dict[tuple[str, str], dict[tuple[Any, ...], Mapping[str, Any]]] = {}
    for record in records:
        rankings = passes.setdefault((record["model"], record["pass"]), {})
        rankings[tuple(record["of"])] = record
    found = []
    for _, rankings in sorted(passes.items()):
        each = list(rankings.values())
        total = {name: _sum(each, name) for name in ("rank_seconds", "ranked")}
        found.append(plain(TIMING, **{**each[0], **total}))
    return found


def speed_lines(timings: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What this run itself measured, a line per model; nothing of what came from the store.

    Waiting is the encoder's: the share of the pass in which its threads had nothing to encode,
    because canvases were read or embeddings written. The peak is the GPU's where there is one, else
    that of the whole process so far.
    """
    models: dict[str, list[Mapping[str, Any]]] = {}
    for one in timings:
        if one["fresh"]:
            models.setdefault(one["model"], []).append(one)
    for model, passes in models.items():
        parts = []
        for label, items, seconds in (
            ("drawn", "radiographs", "draw_seconds"),
            ("encoded", "encoded_images", "encode_seconds"),
            ("ranked", "ranked", "rank_seconds"),
        ):
            if rate := per_second(passes, items, seconds):
                shown = f"{rate:,.0f}" if rate < 1e4 else f"{rate / 1000:,.0f}k"
                parts.append(f"{label} {shown}/s")
        waited, encoded = _sum(passes, "wait_seconds"), _sum(passes, "encode_seconds")
        if waited + encoded:
            parts.append(f"wait {100 * waited / (waited + encoded):.0f} %")
        if peak := max(one.get("peak_bytes") or 0 for one in passes):
            parts.append(f"{peak / 2**30:.1f} GiB")
        if parts:
            yield f"{model}: {', '.join(parts)}"


def per_second(passes: Sequence[Mapping[str, Any]], items: str, seconds: str) -> float:
    """How fast passes went together, from the fields that count what was done and how long it took.

    0 where nothing was done or no time was taken.
    """
    took = _sum(passes, seconds)
    return _sum(passes, items) / took if took else 0.0


def _sum(passes: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(sum(one.get(name) or 0 for one in passes))
