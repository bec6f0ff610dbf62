"""``python -m pytest_occlusion``: look at checkpoints and corpora, fetch, compare runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_occlusion.corpora.task import CANDIDATES, TEXT_RULES
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.settings import TOLERANCE
from pytest_occlusion.validation import SETTINGS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Returns:
        0 when all is well, 1 when a checkpoint would not load or a comparison is red, 2 for any
        fault that is explained.
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except OcclusionError as fault:
        print(f"error: {fault}", file=sys.stderr)  # noqa: T201 this is a command line
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pytest_occlusion", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    inspect = commands.add_parser("inspect", help="say what a checkpoint file holds")
    inspect.add_argument("file", type=Path, metavar="FILE", help="weights file or directory")
    inspect.set_defaults(run=_inspect)
    fetch = commands.add_parser("fetch", help="bring a published checkpoint into the cache")
    fetch.add_argument("name", nargs="?", metavar="FAMILY[:VARIANT]", help="none: list them")
    fetch.add_argument("--folder", type=Path, metavar="DIR", help="keep it there instead")
    fetch.set_defaults(run=_fetch)
    corpus = commands.add_parser("corpus", help="count what a corpus holds, filter by filter")
    corpus.add_argument("spec", metavar="SPEC", help="as --occlusion-corpus, e.g. mimic-cxr:ROOT")
    corpus.add_argument("--split", default="", metavar="NAME", help="train, validate or test")
    corpus.add_argument("--text-rule", choices=TEXT_RULES, default=SETTINGS["text-rule"].default)
    corpus.add_argument("--candidates", choices=CANDIDATES, default=SETTINGS["candidates"].default)
    corpus.add_argument(
        "--fingerprint", action="store_true", help="read every image that is new, and say it"
    )
    corpus.set_defaults(run=_corpus)
    compare = commands.add_parser("compare", help="set two runs side by side")
    compare.add_argument("before", type=Path, metavar="A.json", help="results, or the only ones")
    compare.add_argument("after", type=Path, nargs="?", metavar="B.json", help="later results")
    compare.add_argument("--against", type=Path, metavar="DIR", help="compare A with baselines")
    compare.add_argument("--models", metavar="OLD=NEW", help="compare model OLD of A with NEW of B")
    compare.add_argument("--tolerance", type=float, default=TOLERANCE, help="queries, or a share")
    compare.add_argument(
        "--fail-on", choices=("any", "regression", "significant-regression"), default="any"
    )
    compare.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    compare.set_defaults(run=_compare)
    page = commands.add_parser("html", help="render a results file as one page")
    page.add_argument(
        "results", type=Path, metavar="RESULTS.json", help="--occlusion-json wrote it"
    )
    page.add_argument("--out", type=Path, required=True, metavar="PAGE.html", help="file to write")
    page.set_defaults(run=_html)
    plot = commands.add_parser("plot", help="draw figures for papers (needs matplotlib)")
    plot.add_argument(
        "results", type=Path, metavar="RESULTS.json", help="--occlusion-json wrote it"
    )
    plot.add_argument(
        "others",
        type=Path,
        nargs="*",
        metavar="MORE.json",
        help="a second run of the same corpus to lay over it, or runs of other corpora",
    )
    plot.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    plot.add_argument("--formats", default="svg,pdf,png", metavar="LIST", help="of svg, pdf, png")
    plot.set_defaults(run=_plot)
    return parser


def _inspect(options: argparse.Namespace) -> int:
    from pytest_occlusion.encoders.inspect import describe, inspect_checkpoint

    found = inspect_checkpoint(options.file)
    print(describe(found))  # noqa: T201
    return 0 if found.loads else 1


def _corpus(options: argparse.Namespace) -> int:
    from pytest_occlusion.corpora import load_corpus
    from pytest_occlusion.corpora.summary import summary_lines
    from pytest_occlusion.store import Store, default_root

    corpus = load_corpus(
        options.spec,
        split=options.split,
        memory=Store(default_root()),
        contents=options.fingerprint,
    )
    for line in summary_lines(corpus, text_rule=options.text_rule, candidates=options.candidates):
        print(line)  # noqa: T201
    if options.fingerprint:
        print(f"fingerprint {corpus.fingerprint}")  # noqa: T201
    return 0


def _fetch(options: argparse.Namespace) -> int:
    from pytest_occlusion.encoders.fetch import fetch
    from pytest_occlusion.encoders.published import PUBLISHED, find_published

    if options.name is None:
        for entry in PUBLISHED:
            print(f"{entry.name:<22} {entry.how:<8} {entry.url}")  # noqa: T201
        return 0
    entry = find_published(options.name)
    print(f"{entry.name}: {entry.url}\nlicence: {entry.licence}", flush=True)  # noqa: T201
    place = fetch(entry, options.folder, progress=_Bar())
    print(place)  # noqa: T201
    return 0


def _compare(options: argparse.Namespace) -> int:
    from pytest_occlusion.reporting import compare as comparison
    from pytest_occlusion.reporting.reading import read_results

    if (options.after is None) == (options.against is None):
        raise OcclusionError(
            "compare needs a second result file or --against DIR, and not both",
            remedy="compare A.json B.json, or compare A.json --against benchmarks/baselines",
        )
    first = read_results(options.before)
    if options.against is not None:
        old, new = comparison.against_baselines(first, options.against), first["cells"]
        same = True
    else:
        second = read_results(options.after)
        old, new = first["cells"], second["cells"]
        same = first["corpus"]["fingerprint"] == second["corpus"]["fingerprint"]
    if options.models:
        before, _, after = options.models.partition("=")
        old = comparison.renamed(old, before, after)
    found = comparison.compare(old, new, tolerance=options.tolerance, same_queries=same)
    sys.stdout.write(comparison.FORMATS[options.format](found))
    if not found:
        raise OcclusionError(
            "the two runs have no cell in common",
            remedy="give runs of the same suite, or name the models with --models OLD=NEW",
        )
    return 1 if comparison.is_red(found, options.fail_on) else 0


def _html(options: argparse.Namespace) -> int:
    from pytest_occlusion.reporting.files import write_results
    from pytest_occlusion.reporting.reading import read_checked

    results = read_checked(options.results)
    try:
        write_results({"html": options.out}, results)
    except OSError as fault:
        raise OcclusionError(
            f"{options.out}: {fault.strerror}", remedy="give another file with --out"
        ) from None
    print(options.out)  # noqa: T201
    return 0


def _plot(options: argparse.Namespace) -> int:
    from pytest_occlusion.reporting.plots import plot
    from pytest_occlusion.reporting.reading import read_checked

    paths = [options.results, *options.others]
    formats = [name for item in options.formats.split(",") if (name := item.strip().lower())]
    names = [path.stem for path in paths]
    labels = names if len(set(names)) == len(names) else ("first", "second")
    for path in plot([read_checked(path) for path in paths], options.out, formats, labels):
        print(path)  # noqa: T201
    return 0


class _Bar:
    """A progress bar on a terminal; a line for each tenth anywhere else."""

    def __init__(self) -> None:
        self.shown = -1

    def __call__(self, done: int, total: int) -> None:
        terminal = sys.stderr.isatty()
        tenths = done * (100 if terminal else 10) // total if total else done // (100 << 20)
        if tenths == self.shown:
            return
        self.shown = tenths
        size = f"{done / 2**20:,.0f} of {total / 2**20:,.0f} MiB" if total else f"{done >> 20} MiB"
        if terminal:
            bar = "#" * (tenths * 40 // 100 if total else 0)
            end = "\n" if done == total else ""
            sys.stderr.write(f"\r[{bar:<40}] {size}{end}")
        else:
            sys.stderr.write(f"{size}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
