"""What a project needs to begin: a suite, its tests and a workflow, for the files that it has.

Looked for are tables, published collections and checkpoints. Where there are none, the embedded
radiographs and a tiny checkpoint stand in, so that what is written runs as it is.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pytest_occlusion.corpora import load_corpus
from pytest_occlusion.corpora.columns import KNOWN, find_columns
from pytest_occlusion.corpora.summary import task_of
from pytest_occlusion.corpora.tables import Table
from pytest_occlusion.encoders.files import CONFIG_NAME, SUFFIXES, is_weights, said
from pytest_occlusion.encoders.inspect import inspect_checkpoint
from pytest_occlusion.errors import OcclusionError, listed, printable
from pytest_occlusion.suite.table import SETTINGS

DEPTH, MOST = 3, 20_000
"""How far below the folder, and among how many files and folders, is looked."""

MODELS = 4
"""At most so many checkpoints are opened: a folder of a training run holds one per epoch."""

UNSEEN = ("node_modules", "site-packages", "venv", "env", "build", "dist", "baselines")
"""Folders that hold nothing of the user's, beside those whose names begin with a dot."""

COLLECTIONS: Mapping[str, str] = {
    "mimic-cxr-2.*.csv*": "mimic-cxr:{folder}",
    "df_chexpert_plus_*.csv": "chexpert-plus:{folder}?split=validate",
    "indiana_reports.csv": "indiana:{folder}",
    "nlmcxr_reports.tgz": "open-i:{folder}",
    "rexrank_*.json": "annotations:{file}",
    "annotation*.json": "annotations:{file}?split=test",
    "deid_png": "rexgradient:{folder}?split=test",
    "dataset_dict.json": "hf:{folder}",
    "00000.tar": "webdataset:{folder}",
}
"""Name in a published collection, in lower case -> the corpus."""

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".csv.gz", ".tsv.gz")
"""What names of tables end in."""

EMBEDDED = "embedded"
UNSURE = 'may be of family "cxr-repair": the same files, and another preprocessing'
STAND_IN = {"family": "cxr-clip", "checkpoint": "embedded:cxr-clip"}
TAKEN = (EMBEDDED, "paper", "corruptions", "augmentation", "try")
"""Names of suites that come with the tool."""

TESTS = '''"""How much report retrieval is lost when part of the radiograph is blocked."""


def test_recall(occlusion_cell):
    occlusion_cell.assert_accepted()


def test_curve(occlusion_curve):
    occlusion_curve.assert_accepted()
'''


@dataclass
class Found:
    """What a folder holds that can be tested."""

    corpora: list[str] = field(default_factory=list)  # specifications, the best first
    inside: list[str] = field(default_factory=list)  # tables beside files of collections
    models: dict[str, dict[str, Any]] = field(default_factory=dict)  # name -> table of the suite
    unsure: list[str] = field(default_factory=list)  # models that may be of another family
    passed: list[str] = field(default_factory=list)  # what was looked at and not taken, and why


def look(folder: Path) -> Found:
    """Look for corpora and checkpoints; paths are absolute."""
    found, tables, weights = Found(), [], []
    for place in _walk(folder):
        lowered = place.name.lower()
        if odd := [mark for mark in "$?" if mark in str(place.relative_to(folder))]:
            if place.is_file() and lowered.endswith((*TABLES, *SUFFIXES)):
                found.passed.append(f"{place}: {' and '.join(odd)} mean something in suites")
            continue
        specs = [to for pattern, to in COLLECTIONS.items() if fnmatchcase(lowered, pattern)]
        if specs:
            spec = specs[0].format(folder=place.parent, file=place)
            found.corpora += [spec] if spec not in found.corpora else []
        elif place.is_file() and lowered.endswith(TABLES):
            tables.append(place)
        elif place.is_file() and is_weights(place.name):
            weights.append(place)
    inside = [Path(spec.partition(":")[2].partition("?")[0]) for spec in found.corpora]
    inside = [place if place.is_dir() else place.parent for place in inside]
    for table in tables:
        own = any(table.is_relative_to(place) for place in inside)
        _take_table(table, found.inside if own else found.corpora, [] if own else found.passed)
    checkpoints = dict.fromkeys(map(_checkpoint_of, weights))
    for number, place in enumerate(checkpoints):
        if number < MODELS:
            _take_checkpoint(place, found)
        else:
            found.passed.append(f"{place}: {MODELS} others were looked at")
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Files and folders, the nearest first and then by name."""
    level, seen = [folder], 0
    for _ in range(DEPTH):
        below = []
        for place in level:
            try:
                inside = sorted(Path(one.path) for one in os.scandir(place))
            except OSError:
                continue
            for path in inside:
                seen += 1
                if seen > MOST:
                    return
                if not path.name.startswith(".") and path.name not in UNSEEN:
                    yield path
                    below += [path] if path.is_dir() and not path.is_symlink() else []
        level = below


def _take_table(path: Path, specs: list[str], passed: list[str]) -> None:
    try:
        find_columns(Table(path, KNOWN).header(), {}, str(path))
    except OcclusionError as fault:
        passed.append(fault.problem.splitlines()[0])
    else:
        specs.append(f"manifest:{path}")


def _checkpoint_of(file: Path) -> Path:
    """The folder of a weights file where it holds what belongs to one model, else the file."""
    folder, own = file.parent, {CONFIG_NAME, "config.json", "vocab.txt", "tokenizer.json"}
    return folder if any((folder / name).is_file() for name in own) else file


def _take_checkpoint(path: Path, found: Found) -> None:
    try:
        seen = inspect_checkpoint(path)
    except OcclusionError as fault:
        found.passed.append(fault.problem.splitlines()[0])
        return
    except Exception as fault:  # of a library, on a file that need not be a checkpoint at all
        found.passed.append(f"{path}: {said(fault)}")
        return
    if not seen.loads:
        why = seen.faults[0] if seen.faults else "no known family"
        found.passed.append(f"{path}: {why}")
        return
    name = _named(path.name.partition(".")[0], "model", found.models)
    known = {"model": seen.known[0].name} if len(seen.known) == 1 else {}
    found.models[name] = {**(known or {"family": seen.family}), "checkpoint": str(path)}
    if seen.ambiguous:
        found.unsure.append(name)


def _named(text: str, otherwise: str, taken: Mapping[str, Any]) -> str:
    """A name that ids can hold."""
    own = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or otherwise
    name, number = own, 2
    while name in taken:
        name, number = f"{own}-{number}", number + 1
    return name


@dataclass(frozen=True)
class Start:
    """Files to write, and what to say of them."""

    suite: str
    corpus: str  # its specification, as found
    counted: str  # what it holds, or why it cannot be read
    faulty: bool  # whether it cannot
    files: Mapping[Path, str]  # to create
    project: Path  # pyproject.toml: what is added to its end
    addition: str


def plan_start(folder: Path, found: Found) -> Start:
    """What to write for what was found.

    Raises:
        OcclusionError: The project has a suite, or files that would be replaced.
    """
    folder = folder.resolve()
    suite = _named(folder.name, "ours", {})
    suite = "ours" if suite in TAKEN else suite
    project, suites = folder / "pyproject.toml", folder / "benchmarks" / "suites"
    before, configured = _project(project)
    corpus, (counted, ks, faulty) = _chosen([*found.corpora, *found.inside] or [EMBEDDED])
    models = found.models or {"stand-in": STAND_IN}
    files = {
        suites / f"{suite}.toml": _suite_text(suite, corpus, models, ks, suites, found.unsure),
        folder / "benchmarks" / "test_retrieval.py": TESTS,
        folder / ".github" / "workflows" / "occlusion.yml": _workflow(corpus),
    }
    there = [str(path) for path in files if path.exists()]
    there += [f"{project}: a table [tool.occlusion]"] * configured
    if there:
        raise OcclusionError(
            f"{folder} is set up already, and nothing was written:\n{listed(there)}",
            remedy="edit these, or remove them and begin again",
        )
    joint = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    addition = f'{joint}[tool.occlusion]\nsuite = "{suite}"\n'
    addition = addition.replace("\n", "\r\n") if "\r\n" in before else addition
    return Start(suite, corpus, counted, faulty, files, project, addition)


def _project(path: Path) -> tuple[str, bool]:
    """The text of a ``pyproject.toml``, if there is one, and whether it configures us.

    Raises:
        OcclusionError: It cannot be read, is no TOML, or has no room for a table of ours.
    """
    if not path.exists():
        return "", False
    try:
        text = path.read_bytes().decode("utf-8")
        tool = tomllib.loads(text).get("tool", {})
        if "occlusion" not in tool:
            tomllib.loads(f"{text}\n[tool.occlusion]\n")
    except (OSError, ValueError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else fault
        raise OcclusionError(
            f"{path}: a table [tool.occlusion] cannot be added ({reason})",
            remedy="correct that file first; nothing was written",
        ) from fault
    return text, "occlusion" in tool


def _chosen(specs: Sequence[str]) -> tuple[str, tuple[str, list[int], bool]]:
    """The first corpus that can be read, else the first, with what :func:`_counted` says of it."""
    first = None
    for spec in specs:
        told = _counted(spec)
        if not told[2]:
            return spec, told
        first = first or (spec, told)
    assert first  # there is one
    return first


def _counted(spec: str) -> tuple[str, list[int], bool]:
    """What a corpus holds in words, the ks that fit it, and whether it cannot be read."""
    usual: list[int] = SETTINGS["ks"].default
    try:
        corpus = load_corpus(spec, contents=False)
    except OcclusionError as fault:
        return str(fault), usual, True
    rule, candidates = SETTINGS["text-rule"].default, SETTINGS["candidates"].default
    task = task_of(corpus, rule, candidates)
    if task is None:
        return f"no study has a text under the rule {rule!r}", usual, True
    texts = len(task.candidate_text)
    ks = [k for k in usual if 2 * k <= texts] or [1]
    return f"{len(task.radiographs):,} radiographs, {texts:,} distinct reports", ks, False


def _suite_text(
    suite: str,
    corpus: str,
    models: Mapping[str, Mapping[str, Any]],
    ks: list[int],
    base: Path,
    unsure: Collection[str],
) -> str:
    tolerance = SETTINGS["tolerance"].default
    kind, colon, place = corpus.partition(":")
    spec = f"{kind}:{_relative(place, base)}" if colon else kind
    lines = [
        "# What is measured, and on what. Paths are relative to this file and may hold environment",
        '# variables, as in "$DATA/reports.csv".',
        f"suite = {_text(suite)}",
        f"corpus = {_text(spec)}" + "  # synthetic; yours: manifest:TABLE" * (spec == EMBEDDED),
        f"ratios = {SETTINGS['ratios'].default}",
        f"ks = {ks}",
        'occluders = ["block"]  # patches, pixels, center, border, or corruptions',
        f"tolerance = {tolerance}  # share of a cell's queries that may change, or a number",
    ]
    for name, own in models.items():
        lines += ["", f"[models.{name}]"]
        if own is STAND_IN:
            lines.append("# A tiny one that was trained on synthetic radiographs: put yours here.")
        lines += [f"# {UNSURE}"] * (name in unsure)
        for key, value in own.items():
            here = key == "checkpoint" and Path(str(value)).is_absolute()
            lines.append(f"{key} = {_text(_relative(value, base) if here else value)}")
    return "\n".join([*lines, ""])


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _relative(place: str, base: Path) -> str:
    path, question, options = place.partition("?")
    return Path(os.path.relpath(path, base)).as_posix() + question + options


def _workflow(corpus: str) -> str:
    where = "ubuntu-latest" if corpus == EMBEDDED else "self-hosted  # a machine that has the data"
    return f"""name: occlusion
on: [pull_request]
jobs:
  retrieval:
    runs-on: {where}
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with: {{python-version: "3.12"}}
      - run: pip install pytest-occlusion
      - run: pytest benchmarks/ --occlusion-markdown "$GITHUB_STEP_SUMMARY"
"""


def write_start(start: Start) -> None:
    """Write all files; the project's own at last, which makes the others count.

    Raises:
        OcclusionError: A folder that cannot be written.
    """
    made: list[Path] = []
    try:
        for path, text in start.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                made.append(path)
                file.write(text)
        with start.project.open("a", encoding="utf-8", newline="") as file:
            file.write(start.addition)
    except OSError as fault:
        for path in made:
            path.unlink(missing_ok=True)
        raise OcclusionError(
            f"{fault.filename}: {fault.strerror}",
            remedy="choose a folder that can be written; nothing was written",
        ) from None


def start_lines(start: Start, found: Found, here: Path) -> Iterator[str]:
    """What was found and written, and what to do next."""
    yield "found"
    yield f"  corpus  {_near(start.corpus, here)}" + " (none was found)" * (not found.corpora)
    if not start.faulty:
        yield f"          {start.counted}"
    for spec in found.corpora:
        if spec != start.corpus:
            yield f"          not taken: {_near(spec, here)}"
    for name, table in found.models.items():
        yield f"  model   {name}: {_near(table['checkpoint'], here)}"
    yield from (f"          {name} {UNSURE}" for name in found.unsure)
    if not found.models:
        yield "  model   none; a tiny one stands in"
    yield from (f"  passed over: {_near(text, here)}" for text in found.passed)
    yield "written"
    yield from (f"  {_near(str(path), here)}" for path in start.files)
    yield f"  {_near(str(start.project), here)}: [tool.occlusion] suite"
    if start.faulty:
        yield "the corpus cannot be read yet:"
        yield from (f"  {line}" for line in start.counted.splitlines())
    yield "next"
    if start.project.parent != here:
        yield f"  cd {_near(str(start.project.parent), here)}"
    yield "  python -m pytest_occlusion plan         what it will cost"
    yield "  pytest benchmarks/ --snapshot-update    measure, and accept what came"
    yield "  pytest benchmarks/                      from then on: red when it changes"


def _near(text: str, here: Path) -> str:
    return printable(text.replace(f"{here}{os.sep}", ""))
