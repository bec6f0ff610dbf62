"""A quick run in words: why a model is red, the summary, and its files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_occlusion.engine.store import write_atomically
from pytest_occlusion.gate.growing import Part
from pytest_occlusion.gate.quick import ALPHA, NO_SIGN, QuickVerdict
from pytest_occlusion.gate.verdicts import NEW, REGRESSED, triage
from pytest_occlusion.occlusion.levels import level_text
from pytest_occlusion.reporting.page import counted
from pytest_occlusion.reporting.reading import QUICK
from pytest_occlusion.reporting.terminal import BOLD, FAINT, GREEN, RED, YELLOW, Line, wrapped
from pytest_occlusion.suite.grid import Curve

Record = Mapping[str, Any]

OCCLUDER = 18
"""Columns of an occluder's name, where a model has several."""

DOUBTFUL = 0.05
"""p value below which a green verdict does not say that there is no sign."""


def explain_quick(verdict: QuickVerdict, *, full: str) -> list[str]:
    """The failure text of a model: what was lost where, how sure that is, what to do."""
    worst = min((p for p in verdict.parts if p.regressed), key=lambda part: part.p_adjusted)
    room = max(len(_name(part)) for part in verdict.parts) + 2
    ks = len({part.k for part in verdict.parts} - {None})
    lines = [
        f"{verdict.model} lost recall: {_points(worst.loss)} ({_name(worst)})",
        f"  measure it whole: {full}",
        f"  seen in {verdict.passes:,} forward passes, "
        f"{_share(verdict.passes, verdict.every)} of a full run, each asked at {ks} ks",
        "",
        f"  {'':<{room}}{'passes':>8}{'lost':>8}{'gained':>8}{'change':>10}{'p (Holm)':>10}",
    ]
    for part in verdict.parts:
        mark = " !" if part.regressed else ""
        lines.append(
            f"  {_name(part):<{room}}{part.passes:>8,}{part.lost:>8,}{part.gained:>8,}"
            f"{_points(part.loss):>10}{part.p_adjusted:>10.1g}{mark}"
        )
    return [*lines, "", *(triage(verdict.accepted, verdict.origin) if verdict.origin else [])]


def brief_quick(curve: Curve, part: Part) -> str:
    """One line for a curve that is red."""
    return f"curve {curve.id}: {_points(part.loss)} in a sample ({_name(part)})"


def _name(part: Part) -> str:
    if part.is_whole:
        return f"{part.occluder}, all"
    if part.k is None:
        return f"{part.occluder} {level_text(part.occluder, part.ratio or 0.0)}"
    return f"{part.occluder}, R@{part.k}"


def _share(passes: int, every: int) -> str:
    share = 100 * passes / every if every else 0.0
    return f"{share:.0f} %" if share >= 9.95 else f"{share:.1f} %"


def _points(loss: float) -> str:
    """The change of recall."""
    return f"{round(-100 * loss, 1) + 0.0:+.1f} pt"


def quick_record(verdict: QuickVerdict) -> dict[str, Any]:
    """Plain data of a verdict, for the summary and for files."""
    return {
        "model": verdict.model,
        "verdict": REGRESSED if verdict.red else NO_SIGN if verdict.parts else NEW,
        "passes": verdict.passes,
        "encoded": verdict.encoded,
        "every": verdict.every,
        "looks": verdict.looks,
        "parts": [{**asdict(part), "loss": part.loss} for part in verdict.parts],
        "lacking": {cell.id: why for cell, why in verdict.lacking.items()},
        "provenance": asdict(verdict.origin) if verdict.origin else None,
    }


def _parts(record: Record) -> list[Part]:
    """What was found of a model, out of its record; nothing of one that was not measured."""
    return [
        Part(**{name: value for name, value in one.items() if name != "loss"})
        for one in record.get("parts", ())
    ]


def _told(part: Part, parts: Sequence[Part]) -> str:
    """The verdict on a whole curve in words, from all parts of its model."""
    red = [one for one in parts if one.regressed and one.occluder == part.occluder]
    if red:
        worst = min(red, key=lambda one: one.p_adjusted)
        where = "" if worst.is_whole else f": {_name(worst)}"
        return f"{REGRESSED}{where} (p {worst.p_adjusted:.0e})"
    # Upwards: "down to 0.0 points" would be a certainty that no sample gives.
    points = f"{math.ceil(1000 * max(0.0, part.highest)) / 10:.1f}"
    if part.p_adjusted >= DOUBTFUL:
        return f"no sign of loss down to {points} points"
    if part.loss <= part.tolerance:
        return f"a loss within the tolerance, up to {points} pt"
    return f"no significant loss (p {part.p_adjusted:.1g}), up to {points} pt"


def _unjudged(record: Record) -> str:
    """What of a model says nothing, and why; empty where all of it was judged."""
    if fault := record.get("fault"):
        return f"{record['model']} not judged: {fault}"
    if lacking := record["lacking"]:
        why = next(iter(lacking.values()))
        return f"{record['model']}: {counted(len(lacking), 'cell')} not judged: {why}"
    if not record["parts"]:
        return f"{record['model']} not judged: no selected cell is one that a sample can judge"
    return ""


def _headline(records: Sequence[Record]) -> str:
    red = [record["model"] for record in records if record.get("verdict") == REGRESSED]
    open_ = [record["model"] for record in records if _unjudged(record)]
    said = [f"{', '.join(red)} lost recall"] if red else []
    said += [f"{', '.join(open_)} not judged, or not whole"] if open_ else []
    return "; ".join(said) or "no sign of loss"


def summary(records: Sequence[Record], asked: str, width: int, *, kept: bool = True) -> list[Line]:
    """What is printed at the end: a line per model and occluder, then what this is not.

    Args:
        records: Of every model.
        asked: What was given on the command line.
        width: Columns of the terminal.
        kept: Whether there is a store after the run.
    """
    column = 2 + max(len(record["model"]) for record in records)
    head = f"{'':<{column}}{'passes':>8}{'of all':>8}{'change':>9}  verdict"
    lines = [Line(f"quick verdicts on a sample ({asked})", BOLD), Line(head, FAINT)]
    for record in records:
        parts = _parts(record)
        wholes = [part for part in parts if part.is_whole]
        if not wholes:
            lines.append(Line(_unjudged(record), YELLOW))
            continue
        work = f"{record['passes']:>8,}{_share(record['passes'], record['every']):>8}"
        begin, several = f"{record['model']:<{column}}{work}", len(wholes) > 1
        if several:
            lines.append(Line(begin))
        for part in wholes:
            told = _told(part, parts)
            name = f"  {part.occluder:<{OCCLUDER}}" if several else begin
            text = f"{name}{_points(part.loss):>9}  {told}"
            lines.append(Line(text, RED if REGRESSED in told else GREEN))
        if said := _unjudged(record):
            lines.append(Line(said, YELLOW))
    encoded = sum(record.get("encoded", 0) for record in records)
    passes = sum(record.get("passes", 0) for record in records)
    onward = "; a full run goes on from there" if kept else ""
    if encoded < passes:
        made = f"{encoded:,} of {passes:,} forward passes were made, the others were stored{onward}"
        lines.append(Line(made))
    elif passes:
        lines.append(Line(f"{encoded:,} forward passes were made{onward}"))
    lines += [
        Line(
            "`down to` is the upper end of a 95 % interval of the loss in the mean of all levels "
            f"and ks. If nothing was lost, a run is red in at most {100 * ALPHA:g} % of samples. "
            "Nothing is accepted: only a full run can say `same`."
        ),
    ]
    return [part for line in lines for part in wrapped(line, width)]


def as_markdown(records: Sequence[Record], suite: str, asked: str) -> str:
    """A job summary: a table, and what it cannot say."""
    rows = [
        f"| {record['model']} | {part.occluder} | {part.passes:,} "
        f"({_share(part.passes, record['every'])}) | {_points(part.loss)} "
        f"| {_told(part, parts)} |"
        for record in records
        for parts in [_parts(record)]
        for part in parts
        if part.is_whole
    ]
    table = [
        "| model | occluder | forward passes | change of recall | verdict |",
        "|---|---|---:|---:|---|",
        *rows,
        "",
    ]
    unjudged = [f"- {said}" for said in map(_unjudged, records) if said]
    lines = [
        f"### Occlusion, suite {suite}, quick ({asked}): {_headline(records)}",
        "",
        *(table if rows else []),
        *([*unjudged, ""] if unjudged else []),
        "A sample: nothing is accepted, and only a full run can say `same`.",
        "",
    ]
    return "\n".join(lines)


def as_json(records: Sequence[Record], suite: str, asked: str) -> str:
    """The records for programs."""
    content = {
        "schema": QUICK,
        "suite": suite,
        "asked": asked,
        "alpha": ALPHA,
        "models": list(records),
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def write_quick(
    outputs: Mapping[str, Path], records: Sequence[Record], suite: str, asked: str
) -> None:
    """Write every file that was asked for, each whole or not at all."""
    writers = {"json": as_json, "markdown": as_markdown}
    for kind, path in outputs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, writers[kind](records, suite, asked).encode())
