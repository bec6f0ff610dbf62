"""What each subcommand of ``python -m pytest_occlusion`` does with its parsed options."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    from pytest_occlusion.corpora.base import Corpus
    from pytest_occlusion.suite.settings import Settings


def init(options: argparse.Namespace) -> int:
    """Write a suite, its tests and a workflow for what a folder holds."""
    from pytest_occlusion.suite.starting import look, plan_start, start_lines, write_start

    folder = options.folder
    if not folder.is_dir():
        raise OcclusionError(f"{folder}: no such folder", remedy="make it, or name another")
    found = look(folder.resolve())
    start = plan_start(folder, found)
    write_start(start)
    for line in start_lines(start, found, Path.cwd()):
        print(line)  # noqa: T201
    return 0


def plan(options: argparse.Namespace) -> int:
    """Say what a run would cost."""
    from pytest_occlusion.engine.session import Session
    from pytest_occlusion.engine.store import default_root
    from pytest_occlusion.reporting.plan import plan_lines
    from pytest_occlusion.suite.grid import cells
    from pytest_occlusion.suite.merge import read_settings

    given = {"corpus": options.corpus, "device": options.device}
    settings = read_settings(options.suite, Path.cwd(), given, options.models)
    settings = replace(settings, store=(options.store or default_root()).expanduser().absolute())
    with closing(Session(settings, say=_to_stderr)) as session:
        for line in plan_lines(session, cells(settings.grid)):
            print(line, flush=True)  # noqa: T201
    return 0


def inspect(options: argparse.Namespace) -> int:
    """Say what a checkpoint file holds."""
    from pytest_occlusion.encoders.inspect import describe, inspect_checkpoint

    found = inspect_checkpoint(options.file, options.weights)
    print(describe(found))  # noqa: T201
    return 0 if found.loads else 1


def corpus(options: argparse.Namespace) -> int:
    """Count a corpus step by step; with a suite, also the texts that its tokenizers truncate."""
    from pytest_occlusion.corpora.summary import summary_lines, task_of
    from pytest_occlusion.suite.merge import read_settings
    from pytest_occlusion.suite.suites import DEFAULT

    if options.suite is None and options.models:
        raise OcclusionError("--models without --suite", remedy="name the suite of the models")
    if options.suite is None and options.corpus is None:
        raise OcclusionError(
            "neither a corpus nor a suite is named",
            remedy="for example corpus manifest:reports.csv, or corpus --suite paper",
        )
    own = ("corpus", "split", "text-rule", "candidates")
    given = {name: getattr(options, name.replace("-", "_")) for name in own}
    settings = read_settings(options.suite or DEFAULT, Path.cwd(), given, options.models)
    if options.suite and settings.corpus_missing:
        names = ", ".join(f"${name}" for name in settings.corpus_missing)
        raise OcclusionError(
            f"the suite's corpus needs the environment variable {names}, which is not set",
            remedy="export it, or name another corpus: corpus SPEC --suite SUITE",
        )
    rule, candidates = settings.text_rule, settings.candidates
    corpus = _corpus_of(settings, contents=options.fingerprint)
    for line in summary_lines(corpus, text_rule=rule, candidates=candidates):
        print(line)  # noqa: T201
    if options.suite and (task := task_of(corpus, rule, candidates)):
        from pytest_occlusion.engine.models import truncation_lines

        models = [settings.model(name) for name in settings.grid.models]
        print()  # noqa: T201
        for line in truncation_lines(task.texts, models):
            print(line, flush=True)  # noqa: T201
    if options.fingerprint:
        print(f"fingerprint {corpus.fingerprint}")  # noqa: T201
    return 0


def _corpus_of(settings: Settings, *, contents: bool = False) -> Corpus:
    from pytest_occlusion.corpora import load_corpus
    from pytest_occlusion.engine.store import Store, default_root

    return load_corpus(
        settings.corpus,
        base=settings.base,
        split=settings.split,
        memory=Store(default_root()),
        contents=contents,
        say=_to_stderr,
    )


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def models(options: argparse.Namespace) -> int:
    """Tell what is known of published models; with a corpus, also how many reports they cut."""
    from pytest_occlusion.corpora.summary import task_of
    from pytest_occlusion.encoders.register import find_model, known_models
    from pytest_occlusion.reporting import register
    from pytest_occlusion.suite.merge import read_settings
    from pytest_occlusion.suite.suites import DEFAULT

    entries = [find_model(options.name)] if options.name else known_models()
    if options.markdown:
        sys.stdout.write(register.as_markdown(entries))
        return 0
    show = register.sheet_lines(entries[0]) if options.name else register.table_lines(entries)
    for line in show:
        print(line)  # noqa: T201
    if options.corpus is None:
        return 0
    given = {"corpus": options.corpus, "split": options.split, "text-rule": options.text_rule}
    settings = read_settings(DEFAULT, Path.cwd(), given, None)
    task = task_of(_corpus_of(settings), settings.text_rule, settings.candidates)
    if task is None:
        raise OcclusionError(
            f"no study has a text under the rule {settings.text_rule!r}",
            remedy="choose another with --text-rule",
        )
    from pytest_occlusion.engine.limits import limit_lines

    print()  # noqa: T201
    for line in limit_lines(task.texts, entries):
        print(line, flush=True)  # noqa: T201
    return 0


def try_(options: argparse.Namespace) -> int:
    """Load a model, and try it on a few radiographs."""
    from pytest_occlusion.engine.trial import first_contact
    from pytest_occlusion.reporting.trial import trial_lines
    from pytest_occlusion.suite.merge import build_settings
    from pytest_occlusion.suite.suites import Suite

    name, table = _asked_model(options)
    asked = {"corpus": options.corpus, "split": options.split, "text-rule": options.text_rule}
    asked |= {"device": options.device, "models": {name: table}, "suite": "try"}
    given = {key: value for key, value in asked.items() if value is not None}
    settings = build_settings(Suite(given, "try", Path.cwd()), command_line={})
    trial = first_contact(settings, _corpus_of(settings), lambda line: None)
    for line in trial_lines(trial):
        print(line)  # noqa: T201
    return 1 if trial.at_chance or trial.too_few else 0


def _asked_model(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The name of a model that is to be tried, and its table: of a file, an id or the register."""
    from pytest_occlusion.encoders import is_remote
    from pytest_occlusion.encoders.inspect import family_of
    from pytest_occlusion.encoders.register import find_model
    from pytest_occlusion.suite.table import parse_value

    model, table = options.model, {}
    for item in options.set:
        key, equals, value = item.partition("=")
        if not (equals and key.strip()):
            raise OcclusionError(f"--set {item}: no value", remedy="write --set OPTION=VALUE")
        table[key.strip()] = parse_value(value.strip())
    if options.tokenizer:
        table["tokenizer"] = options.tokenizer
    here = Path(model).expanduser()
    if not here.exists() and not is_remote(model):
        entry = find_model(model)
        own = {"family": options.family} if options.family else {}
        return entry.name, {"model": entry.name, **own, **table}
    family = options.family
    if not family and here.exists():
        family = family_of(here, str(table.get("weights", "")))
    if not family:
        raise OcclusionError(
            f"{model}: of which family it is cannot be told", remedy="name it with --family"
        )
    place = model if is_remote(model) else str(here.resolve())
    return family, {"family": family, "checkpoint": place, **table}


def fetch(options: argparse.Namespace) -> int:
    """Fetch published weights."""
    from pytest_occlusion.encoders.fetch import fetch
    from pytest_occlusion.encoders.register import find_model, known_models

    if options.name is None:
        for entry in known_models():
            print(f"{entry.name:<24} {entry.source:<8} {entry.where}")  # noqa: T201
        return 0
    entry = find_model(options.name)
    print(f"{entry.name}: {entry.where}\nlicence: {entry.terms} {entry.page}")  # noqa: T201
    if entry.gated:
        print(f"gated: accept the terms on {entry.where}, then `hf auth login`")  # noqa: T201
    sys.stdout.flush()
    print(fetch(entry, options.folder, options.revision))  # noqa: T201
    return 0


def compare(options: argparse.Namespace) -> int:
    """Set two runs side by side."""
    from pytest_occlusion.gate import compare as comparison
    from pytest_occlusion.reporting.reading import completed, read_results

    if (len(options.files) == 1) == (options.against is None):
        raise OcclusionError(
            "compare needs a second result file or --against DIR, and not both",
            remedy="compare A.json B.json, or compare A.json --against benchmarks/baselines",
        )
    first = completed(read_results(options.files[0]))
    if options.against is not None:
        old, new = comparison.against_baselines(first, options.against), first["cells"]
        second, same = first, True
    else:
        second = completed(read_results(options.files[1]))
        old, new = first["cells"], second["cells"]
        same = first["corpus"]["fingerprint"] == second["corpus"]["fingerprint"] != ""
    if options.models:
        before, _, after = options.models.partition("=")
        old = comparison.renamed(old, before, after)
    found = comparison.compare(old, new, tolerance=options.tolerance, same_queries=same)
    groups = comparison.compare_groups(
        old if same else [],
        new,
        (first["members"], second["members"]),
        tolerance=options.tolerance,
        gated=comparison.gated_groups(first, second),
    )
    sys.stdout.write(comparison.FORMATS[options.format](found, groups))
    if not found:
        raise OcclusionError(
            "the two runs have no cell in common",
            remedy="give runs of the same suite, or name the models with --models OLD=NEW",
        )
    judged = [*found, *(one for one in groups if one["gated"])]
    return 1 if comparison.is_red(judged, options.fail_on) else 0


def html(options: argparse.Namespace) -> int:
    """Render a results file as one page, or several side by side."""
    from pytest_occlusion.reporting.board import names_of_files
    from pytest_occlusion.reporting.html import as_board, as_html, read_sheet
    from pytest_occlusion.reporting.reading import read_results

    given = [*options.files, *([options.gallery] if options.gallery else [])]
    if options.out.resolve() in [path.resolve() for path in given]:
        raise OcclusionError(
            f"{options.out}: the page would replace what it is made of",
            remedy="give another file with --out",
        )
    if len(options.files) > 1:
        if options.gallery is not None:
            raise OcclusionError(
                "--gallery belongs to the page of one run",
                remedy="leave it out, or give one results file",
            )
        runs = [*map(read_results, options.files)]
        return _write_out(options.out, as_board(runs, names_of_files(options.files)).encode())
    sheet = None if options.gallery is None else read_sheet(options.gallery)
    return _write_out(options.out, as_html(read_results(options.files[0]), sheet).encode())


def plot(options: argparse.Namespace) -> int:
    """Draw figures."""
    from pytest_occlusion.reporting.plots import plot
    from pytest_occlusion.reporting.reading import read_results

    formats = [name for item in options.formats.split(",") if (name := item.strip().lower())]
    names = [path.stem for path in options.files]
    labels = names if len(set(names)) == len(names) else ()
    for path in plot([*map(read_results, options.files)], options.out, formats, labels):
        print(path)  # noqa: T201
    return 0


def gallery(options: argparse.Namespace) -> int:
    """Draw what an encoder is shown."""
    from io import BytesIO

    from pytest_occlusion.engine.session import Session
    from pytest_occlusion.engine.store import default_root
    from pytest_occlusion.reporting.gallery import chosen_rows
    from pytest_occlusion.reporting.gallery import gallery as contact_sheet
    from pytest_occlusion.suite.merge import read_settings

    given = {"corpus": options.corpus, "occluders": options.occluders, "ratios": options.ratios}
    settings = read_settings(options.suite, Path.cwd(), given, options.model)
    picture = BytesIO()
    with closing(
        Session(replace(settings, store=default_root()), say=lambda line: None)
    ) as session:
        rows = chosen_rows(session, options.key, count=options.count, seed=options.seed)
        contact_sheet(session, settings.grid.models[0], rows).save(picture, format="png")
    return _write_out(options.out, picture.getvalue(), mode=0o600)


def _write_out(path: Path, payload: bytes, *, mode: int = 0o666) -> int:
    from pytest_occlusion.engine.store import write_atomically

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, payload, mode=mode)
    except OSError as fault:
        raise OcclusionError(
            f"{path}: {fault.strerror}", remedy="give another file with --out"
        ) from None
    print(path)  # noqa: T201
    return 0
