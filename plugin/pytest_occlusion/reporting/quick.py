"""A quick run in words: why a model is red, the summary, and its files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_occlusion.engine.store import write_atomically
from pytest_occlusion.gate.growing import Part
from pytest_occlusion.gate.quick import ALPHA, QuickVerdict
from pytest_occlusion.gate.verdicts import NEW, triage
from pytest_occlusion.occlusion.levels import level_text
from pytest_occlusion.reporting.page import counted
from pytest_occlusion.reporting.reading import QUICK
from pytest_occlusion.reporting.terminal import BOLD, FAINT, GREEN, RED, YELLOW, Line, wrapped

Record = Mapping[str, Any]

DOUBTFUL = 0.05
"""p value below which a green verdict does not say that there is no sign."""

MODEL = 12
"""Columns of a model's name."""


def explain_quick(verdict: QuickVerdict, *, full: str) -> list[str]:
    """The failure text of a model: what was lost where, how sure that is, what to do."""
    whole = max(verdict.wholes, key=lambda part: part.loss)
    lines = [
        f"{verdict.model} lost recall: {_points(whole.loss)[:-3]} points in {whole.passes:,} "
        f"passes ({whole.occluder}); {_share(verdict.passes, verdict.every)} of a full run",
        f"  measure it whole: {full}",
        "",
        f"  {'':<22}{'passes':>8}{'lost':>8}{'gained':>8}{'change':>11}{'p (Holm)':>10}",
    ]
    for part in verdict.parts:
        mark = " !" if part.regressed else ""
        lines.append(
            f"  {_name(part):<22}{part.passes:>8,}{part.lost:>8,}{part.gained:>8,}"
            f"{_points(part.loss):>11}{part.p_adjusted:>10.1g}{mark}"
        )
    ks = len({part.k for part in verdict.parts} - {None})
    lines += [f"  a pass is one vote over its {ks} ks; a patient's votes count together", ""]
    return [*lines, *(triage(verdict.accepted, verdict.origin) if verdict.origin else [])]


def _name(part: Part) -> str:
    if part.is_whole:
        return f"{part.occluder}, all levels"
    if part.k is None:
        return f"{part.occluder} {level_text(part.occluder, part.ratio or 0.0)}"
    return f"{part.occluder}, R@{part.k}"


def _share(passes: int, every: int) -> str:
    share = 100 * passes / every if every else 0.0
    return f"{share:.0f} %" if share >= 9.95 else f"{share:.1f} %"


def quick_record(verdict: QuickVerdict) -> dict[str, Any]:
    """Plain data of a verdict, for the summary and for files."""
    return {
        "model": verdict.model,
        "verdict": "regressed" if verdict.red else "no-sign" if verdict.parts else NEW,
        "passes": verdict.passes,
        "encoded": verdict.encoded,
        "every": verdict.every,
        "looks": verdict.looks,
        "parts": [{**asdict(part), "loss": part.loss} for part in verdict.parts],
        "lacking": {cell.id: why for cell, why in verdict.lacking.items()},
        "provenance": asdict(verdict.origin) if verdict.origin else None,
    }


def _wholes(record: Record) -> list[Record]:
    return [one for one in record["parts"] if one["ratio"] is None and one["k"] is None]


def _told(record: Record, whole: Record) -> str:
    """The verdict on a curve in words."""
    if whole["regressed"]:
        return f"regressed (p {whole['p_adjusted']:.0e})"
    own = [one for one in record["parts"] if one["occluder"] == whole["occluder"]]
    if red := [one for one in own if one["regressed"]]:
        worst = min(red, key=lambda one: float(one["p_adjusted"]))
        return f"regressed: {_name(_part(worst))} (p {worst['p_adjusted']:.0e})"
    points = f"{100 * max(0.0, whole['highest']):.1f}"
    if whole["p_adjusted"] < DOUBTFUL:
        return f"no certain loss (p {whole['p_adjusted']:.1g}), up to {points} pt"
    return f"no sign of loss down to {points} points"


def _part(record: Record) -> Part:
    return Part(**{name: value for name, value in record.items() if name != "loss"})


def summary(records: Sequence[Record], asked: str, width: int) -> list[Line]:
    """What is printed at the end: a line per model and occluder, then what this is not."""
    whole = f"{'':<{MODEL}}{'passes':>8}{'of all':>8}{'recall':>10}  verdict"
    lines = [Line(f"quick verdicts on a sample ({asked})", BOLD), Line(whole, FAINT)]
    for record in records:
        several = len(_wholes(record)) > 1
        for part in _wholes(record):
            if several:
                lines.append(Line(f"{record['model']} - {part['occluder']}"))
            text = (
                f"{'' if several else record['model']:<{MODEL}}{part['passes']:>8,}"
                f"{_share(record['passes'], record['every']):>8}{_points(part['loss']):>10}  "
                f"{_told(record, part)}"
            )
            lines.append(Line(text, RED if "regressed" in text else GREEN))
        if lacking := record["lacking"]:
            why = next(iter(lacking.values()))
            lines.append(
                Line(
                    f"{record['model']}: {counted(len(lacking), 'cell')} not judged: {why}", YELLOW
                )
            )
    encoded = sum(record["encoded"] for record in records)
    passes = sum(record["passes"] for record in records)
    lines += [
        Line(
            f"{encoded:,} of {passes:,} forward passes were made, the others were stored; a full "
            "run goes on from there"
        ),
        Line(
            "`down to` is the upper end of a 95 % interval of the loss; without any loss a run is "
            f"red in at most {100 * ALPHA:g} % of samples. Nothing is accepted: only a full run "
            "can say `same`."
        ),
    ]
    return [part for line in lines for part in wrapped(line, width)]


def _points(loss: float) -> str:
    """The change of recall."""
    return f"{round(-100 * loss, 1) + 0.0:+.1f} pt"


def as_markdown(records: Sequence[Record], suite: str, asked: str) -> str:
    """A job summary: a table, and what it cannot say."""
    red = [record["model"] for record in records if record["verdict"] == "regressed"]
    head = f"{', '.join(red)} lost recall" if red else "no sign of loss"
    rows = [
        f"| {record['model']} | {whole['occluder']} | {record['passes']:,} "
        f"({_share(record['passes'], record['every'])}) | {_points(whole['loss'])} "
        f"| {_told(record, whole)} |"
        for record in records
        for whole in _wholes(record)
    ]
    lacking = [
        f"- {record['model']}: {counted(len(record['lacking']), 'cell')} not judged: "
        f"{next(iter(record['lacking'].values()))}"
        for record in records
        if record["lacking"]
    ]
    parts = [
        f"### Occlusion, suite {suite}, quick ({asked}): {head}",
        "",
        "| model | occluder | forward passes | change of recall | verdict |",
        "|---|---|---:|---:|---|",
        *rows,
        *(["", *lacking] if lacking else []),
        "",
        "A sample: nothing is accepted, and only a full run can say `same`.",
        "",
    ]
    return "\n".join(parts)


def as_json(records: Sequence[Record], suite: str, asked: str) -> str:
    """The records for programs."""
    content = {"schema": QUICK, "suite": suite, "asked": asked, "models": list(records)}
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def write_quick(
    outputs: Mapping[str, Path], records: Sequence[Record], suite: str, asked: str
) -> None:
    """Write every file that was asked for, each whole or not at all."""
    writers = {"json": as_json, "markdown": as_markdown}
    for kind, path in outputs.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, writers[kind](records, suite, asked).encode())
