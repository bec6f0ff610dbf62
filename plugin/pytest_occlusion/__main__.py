"""``python -m pytest_occlusion``: look at checkpoints and corpora, fetch, compare runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_occlusion.corpora.task import CANDIDATES, TEXT_RULES
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.reporting import commands
from pytest_occlusion.suite.settings import TOLERANCE

if TYPE_CHECKING:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Returns:
        0 when all is well, 1 when a checkpoint would not load or a comparison is red, 2 for any
        fault that is explained.
    """
    options = _parse(arguments)
    try:
        code: int = options.run(options)
    except OcclusionError as fault:
        print(f"error: {fault}", file=sys.stderr)  # noqa: T201 this is a command line
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        return 130
    return code


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse; result files may stand before and after options.

    argparse fills an optional or repeated positional at the first place where any stands, and
    refuses what comes after an option.
    """
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    files: list[Path] | None = getattr(options, "files", None)
    if rest and (files is None or any(one.startswith("-") for one in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if files is not None:
        files += map(Path, rest)
        if options.run is commands.compare and len(files) > 2:
            parser.error(f"one result file, or two; {len(files)} were given")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pytest_occlusion", description=__doc__)
    known = parser.add_subparsers(required=True, metavar="COMMAND")
    inspect = known.add_parser("inspect", help="say what a checkpoint file holds")
    inspect.add_argument("file", type=Path, metavar="FILE", help="weights file or directory")
    inspect.add_argument("--weights", default="", metavar="NAME", help="which of its weights files")
    inspect.set_defaults(run=commands.inspect)
    fetch = known.add_parser("fetch", help="bring a published checkpoint into the cache")
    fetch.add_argument("name", nargs="?", metavar="FAMILY[:VARIANT]", help="none: list them")
    fetch.add_argument("--folder", type=Path, metavar="DIR", help="keep it there instead")
    fetch.set_defaults(run=commands.fetch)
    corpus = known.add_parser(
        "corpus",
        help="count what a corpus holds, filter by filter",
        description="Count studies, radiographs and texts, filter by filter; with a suite also "
        "how many texts each of its models' tokenizers would truncate.",
    )
    corpus.add_argument(
        "spec",
        nargs="?",
        metavar="SPEC",
        help="as --occlusion-corpus, e.g. mimic-cxr:ROOT; without, the suite's",
    )
    corpus.add_argument(
        "--suite",
        metavar="NAME|FILE",
        help="as --occlusion-suite: its models open their tokenizers and count truncated texts, "
        "and what is not given here is the suite's",
    )
    corpus.add_argument("--models", metavar="LIST", help="only these models of the suite")
    corpus.add_argument("--split", metavar="NAME", help="train, validate or test")
    corpus.add_argument("--text-rule", choices=TEXT_RULES)
    corpus.add_argument("--candidates", choices=CANDIDATES)
    corpus.add_argument(
        "--fingerprint", action="store_true", help="read every image that is new, and say it"
    )
    corpus.set_defaults(run=commands.corpus)
    compare = known.add_parser("compare", help="set two runs side by side")
    compare.add_argument(
        "files", type=Path, nargs="+", metavar="A.json [B.json]", help="results, and later ones"
    )
    compare.add_argument("--against", type=Path, metavar="DIR", help="compare A with baselines")
    compare.add_argument("--models", metavar="OLD=NEW", help="compare model OLD of A with NEW of B")
    compare.add_argument("--tolerance", type=float, default=TOLERANCE, help="queries, or a share")
    compare.add_argument(
        "--fail-on", choices=("any", "regression", "significant-regression"), default="any"
    )
    compare.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    compare.set_defaults(run=commands.compare)
    page = known.add_parser("html", help="render a results file as one page")
    page.add_argument(
        "results", type=Path, metavar="RESULTS.json", help="--occlusion-json wrote it"
    )
    page.add_argument("--out", type=Path, required=True, metavar="PAGE.html", help="file to write")
    page.add_argument(
        "--gallery",
        type=Path,
        metavar="SHEET.png",
        help="put a sheet that 'gallery' drew into the page: it SHOWS RADIOGRAPHS OF PATIENTS, to "
        "everybody who gets the page",
    )
    page.set_defaults(run=commands.html)
    plot = known.add_parser("plot", help="draw figures for papers (needs matplotlib)")
    plot.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="RESULTS.json [MORE.json ...]",
        help="--occlusion-json wrote it; more of them: a second run of the same corpus to lay over "
        "it, or runs of other corpora",
    )
    plot.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    plot.add_argument("--formats", default="svg,pdf,png", metavar="LIST", help="of svg, pdf, png")
    plot.set_defaults(run=commands.plot)
    shown = known.add_parser(
        "gallery",
        help="draw what an encoder is shown; the picture SHOWS RADIOGRAPHS OF PATIENTS",
        description="Draw radiographs of the corpus under every occluder at every ratio, and every "
        "corruption at every severity, as the encoder is shown them. The picture SHOWS RADIOGRAPHS "
        "OF PATIENTS: keep it where the data may be kept.",
    )
    shown.add_argument("--out", type=Path, required=True, metavar="SHEET.png", help="file to write")
    shown.add_argument("--suite", metavar="NAME|FILE", help="as --occlusion-suite")
    shown.add_argument("--corpus", metavar="SPEC", help="as --occlusion-corpus")
    shown.add_argument("--model", metavar="NAME", help="whose preprocessing (default: the first)")
    shown.add_argument("--occluders", metavar="LIST", help="default: the suite's")
    shown.add_argument("--ratios", metavar="LIST", help="default: the suite's")
    shown.add_argument("--key", action="append", default=[], metavar="KEY", help="this radiograph")
    shown.add_argument("--count", type=int, default=2, metavar="N", help="else N chosen at random")
    shown.add_argument("--seed", type=int, default=0, metavar="N", help="seed of that choice")
    shown.set_defaults(run=commands.gallery)
    return parser


if __name__ == "__main__":
    sys.exit(main())
