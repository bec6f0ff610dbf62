"""Timings: what a pass cost, put together from the records of its cells, and a line per model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_occlusion.engine.job import Measured
from pytest_occlusion.suite.grid import Cell

Record = dict[str, Any]

FIELDS = (
    "draw_seconds",
    "text_seconds",
    "encode_seconds",
    "wait_seconds",
    "rank_seconds",
    "images_per_second",
    "encoded_images",
    "radiographs",
    "peak_bytes",
    "pass",
)
"""Of a pass; all but ``rank_seconds`` are those of the whole pass in each of its cells."""


def timing_records(cell: Cell, measured: Sequence[Measured]) -> list[Record]:
    """What the measurements behind one cell cost; plain data.

    ``of`` says which ranking of the pass it was: cells that differ in k alone share one.
    """
    place: list[str | float] = [cell.direction, cell.occluder, float(cell.ratio)]
    return [timing_record(cell.model, [*place, n], one) for n, one in enumerate(measured)]


def timing_record(model: str, ranking: Sequence[str | float], measured: Measured) -> Record:
    """What one ranking and the pass behind it cost; plain data.

    Args:
        model: Whose.
        ranking: What tells it from the others of its pass.
        measured: What was measured.
    """
    return {
        "model": model,
        "fresh": bool(measured.fresh),
        "of": list(ranking),
        "ranked": len(measured.ranks),
        **{name: measured.fields.get(name) for name in FIELDS},
    }


def merged(records: Iterable[Mapping[str, Any]]) -> list[Record]:
    """One record per (model, pass), with the seconds and queries of all its rankings."""
    passes: dict[tuple[str, str], dict[tuple[Any, ...], Mapping[str, Any]]] = {}
    for record in records:
        rankings = passes.setdefault((record["model"], str(record["pass"])), {})
        rankings[tuple(record["of"])] = record
    found = []
    for _, rankings in sorted(passes.items()):
        first = next(iter(rankings.values()))
        total = {
            "rank_seconds": sum(one["rank_seconds"] or 0.0 for one in rankings.values()),
            "ranked": sum(one["ranked"] for one in rankings.values()),
        }
        found.append({name: value for name, value in first.items() if name != "of"} | total)
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
        parts = [
            _rate("drawn", passes, "radiographs", "draw_seconds"),
            _rate("encoded", passes, "encoded_images", "encode_seconds"),
            _rate("ranked", passes, "ranked", "rank_seconds"),
        ]
        waited, encoded = _sum(passes, "wait_seconds"), _sum(passes, "encode_seconds")
        if waited + encoded:
            parts.append(f"wait {100 * waited / (waited + encoded):.0f} %")
        if peak := max(one.get("peak_bytes") or 0 for one in passes):
            parts.append(f"{peak / 2**30:.1f} GiB")
        if shown := ", ".join(part for part in parts if part):
            yield f"{model}: {shown}"


def per_second(passes: Sequence[Mapping[str, Any]], items: str, seconds: str) -> float:
    """How fast passes went together; 0 where nothing was done or no time was taken.

    Args:
        passes: Records of :func:`merged`.
        items: The field that counts what was done.
        seconds: The field that says how long it took.
    """
    took = _sum(passes, seconds)
    return _sum(passes, items) / took if took else 0.0


def _sum(passes: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(sum(one.get(name) or 0 for one in passes))


def _rate(label: str, passes: Sequence[Mapping[str, Any]], items: str, seconds: str) -> str:
    rate = per_second(passes, items, seconds)
    return f"{label} {_short(rate)}/s" if rate else ""


def _short(number: float) -> str:
    """``1234`` -> ``1,234``; ``34567`` -> ``35k``."""
    return f"{number:,.0f}" if number < 1e4 else f"{number / 1000:,.0f}k"
