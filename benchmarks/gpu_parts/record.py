"""What a run found: checks, table rows and notes by part, kept as JSON and shown as Markdown.

The Markdown is made from the JSON alone, so the two cannot disagree. Both are written again after
every finding: the machine may be taken away at any moment.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SCHEMA = {"name": "pytest-occlusion-gpu", "version": 1}

DATES = ("date (UTC)", "torch threads")
"""What may differ between two runs on one machine."""

PASSED, FAILED, OUT_OF_TIME, NEEDS_GPU = "passed", "failed", "out of time", "needs a GPU"
"""What a part can come to."""

Row = dict[str, Any]
"""A row of a part's table: column -> text or number."""


@dataclass(frozen=True)
class Check:
    """A figure that is held against a bar.

    Attributes:
        what: The figure in words.
        value: It.
        bar: What it should be, in words.
        holds: Whether it is.
        must: Whether the run fails where it is not; else the bar is an aim.
    """

    what: str
    value: Any
    bar: str
    holds: bool
    must: bool = True


class OutOfTimeError(Exception):
    """The budget does not suffice for what is left of a part."""


class NeedsGpuError(Exception):
    """A part, or what is left of it, shows nothing on a CPU."""


Finding = Check | Row | str
"""What a part yields; a text is a note below its table."""

Part = Callable[[Any], Iterable[Finding]]


@dataclass
class Record:
    """Everything a run found so far, as plain data."""

    where: Mapping[str, Any]
    json: Path | None = None
    markdown: Path | None = None
    say: Callable[[str], None] = print
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)

    def run(self, name: str, part: Part, given: Any) -> None:
        """Run one part; whatever it raises is written down, and the next can follow."""
        found: dict[str, Any] = {"status": "running", "checks": [], "table": [], "notes": []}
        self.parts[name] = found
        start = time.perf_counter()
        self.say(f"\n{name}")
        status = ""
        try:
            for finding in part(given):
                self._take(found, finding)
                found["seconds"] = round(time.perf_counter() - start, 1)
                self.write()
        except OutOfTimeError as fault:
            status, found["reason"] = OUT_OF_TIME, str(fault)
        except NeedsGpuError as fault:
            status, found["reason"] = NEEDS_GPU, str(fault)
        except Exception as fault:
            status = FAILED
            found["reason"] = f"{type(fault).__name__}: {fault}"
            found["traceback"] = traceback.format_exc()
            self.say(found["traceback"])
        found["seconds"] = round(time.perf_counter() - start, 1)
        failed = any(one["must"] and not one["holds"] for one in found["checks"])
        found["status"] = FAILED if failed else status or PASSED
        found["verdict"] = verdict(found)
        self.say(f"  {found['verdict']}")
        self.write()

    def _take(self, found: dict[str, Any], finding: Finding) -> None:
        if isinstance(finding, Check):
            found["checks"].append(asdict(finding))
            self.say(f"  {told(asdict(finding))}")
        elif isinstance(finding, str):
            found["notes"].append(finding)
            self.say(f"  {finding}")
        else:
            found["table"].append(finding)
            self.say("  " + ", ".join(f"{name} {shown(value)}" for name, value in finding.items()))

    @property
    def plain(self) -> dict[str, Any]:
        """What the JSON holds."""
        return {"schema": SCHEMA, "where": dict(self.where), "parts": self.parts}

    @property
    def failed(self) -> bool:
        """Whether an expectation failed, or a part raised."""
        return any(part["status"] == FAILED for part in self.parts.values())

    def write(self) -> None:
        """Write both files anew, each whole or not at all."""
        write(self.plain, self.json, self.markdown)


def write(plain: Mapping[str, Any], as_json: Path | None, as_markdown: Path | None) -> None:
    """Write a record to the files that are named."""
    if as_json:
        _replace(as_json, json.dumps(plain, indent=1, default=str) + "\n")
    if as_markdown:
        _replace(as_markdown, markdown(plain))


def joined(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several runs on one machine, each of other parts, as one; the last of the same part counts.

    Raises:
        ValueError: They are of other machines, versions or sizes.
    """
    first, *others = [
        {name: value for name, value in one["where"].items() if name not in DATES} for one in found
    ]
    if off := {name for one in others for name in first | one if first.get(name) != one.get(name)}:
        raise ValueError(f"the runs differ in {', '.join(sorted(off))}")
    parts = {name: part for one in found for name, part in one["parts"].items()}
    return {"schema": SCHEMA, "where": found[0]["where"], "parts": parts}


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def verdict(found: Mapping[str, Any]) -> str:
    """One line for a part: how it ended, and how much of it held."""
    line: str = found["status"]
    for must, what in ((True, "expectations held"), (False, "aims reached")):
        held = [one["holds"] for one in found["checks"] if one["must"] == must]
        line += f"; {sum(held)} of {len(held)} {what}" if held else ""
    if reason := found.get("reason"):
        line += f"; {str(reason).partition(chr(10))[0][:60]}"
    return line


def told(check: Mapping[str, Any]) -> str:
    """A check as one line."""
    kind = "" if check["must"] else " (aim)"
    state = "holds" if check["holds"] else "BROKEN" if check["must"] else "missed"
    return f"{check['what']}: {shown(check['value'])}, {check['bar']}{kind}: {state}"


def shown(value: Any) -> str:
    """A figure as text: short, and never rounded to nothing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 0.01:
        return f"{value:.{3 if abs(value) < 1 else 2}f}".rstrip("0").rstrip(".")
    return f"{value:.1e}"


def markdown(plain: Mapping[str, Any]) -> str:
    """The whole record as Markdown, for a page of the documentation."""
    lines = [*_table([{"": name, "here": value} for name, value in plain["where"].items()]), ""]
    overview = [
        {"part": name, "s": part.get("seconds", 0.0), "result": part.get("verdict", "running")}
        for name, part in plain["parts"].items()
    ]
    lines += [*_table(overview), ""]
    for name, part in plain["parts"].items():
        lines += [f"## {name}", ""]
        if part["table"]:
            lines += [*_table(part["table"]), ""]
        broken = [one for one in part["checks"] if not one["holds"]]
        aims = [one for one in part["checks"] if one["holds"] and not one["must"]]
        lines += [f"- {told(one)}" for one in (*broken, *aims)]
        lines += [f"- {note}" for note in part["notes"]]
        if reason := part.get("reason"):
            lines += [f"- {part['status']}: {line}" for line in str(reason).splitlines()[:1]]
        if fault := part.get("traceback"):
            lines += ["", "```", *fault.rstrip().splitlines()[-8:], "```"]
        if lines[-1]:
            lines += [""]
    return "\n".join(lines).rstrip() + "\n"


def _table(rows: list[Row]) -> Iterator[str]:
    """Rows as a table whose columns are as wide as they need to be."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [[shown(row.get(name, "")).replace("|", "/") for name in columns] for row in rows]
    right = [all(isinstance(row.get(name, 0.0), int | float) for row in rows) for name in columns]
    widths = [
        max(len(name), 3, *(len(line[at]) for line in cells)) for at, name in enumerate(columns)
    ]

    def line(texts: Iterable[str]) -> str:
        padded = (
            text.rjust(width) if side else text.ljust(width)
            for text, width, side in zip(texts, widths, right, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    yield line(columns)
    rules = (
        "-" * (width - 1) + (":" if side else "-")
        for width, side in zip(widths, right, strict=True)
    )
    yield f"| {' | '.join(rules)} |"
    yield from map(line, cells)
