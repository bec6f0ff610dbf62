"""``python -m pytest_occlusion``: begin, look at checkpoints and corpora, fetch, compare runs."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.reporting import commands
from pytest_occlusion.suite.table import FAIL_ON, TOLERANCE, names_of

EXITS = (
    "exit status: 0 all is well, 1 a checkpoint would not load or a comparison is\n"
    "red, 2 a fault that is explained"
)


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
    """Parse; result files may stand before and after options, which argparse alone refuses."""
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
    parser = argparse.ArgumentParser(
        prog="python -m pytest_occlusion",
        description="Begin a suite, look at checkpoints and corpora, fetch models, compare runs.",
        epilog=f"{EXITS}\nAll about one of them: python -m pytest_occlusion COMMAND --help",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = importlib.metadata.version("pytest-occlusion")
    parser.add_argument("--version", action="version", version=f"pytest-occlusion {version}")
    known = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        run: Callable[..., int], usage: str, example: str, told: str, more: str = ""
    ) -> Callable[..., argparse.Action]:
        name = run.__name__.rstrip("_")
        start = f"{parser.prog} {name}"
        made = known.add_parser(
            name,
            help=told,
            usage=textwrap.fill(f"{start} {usage}", 72, subsequent_indent=" " * 8),
            description=textwrap.fill(f"{told[0].upper()}{told[1:]}. {more}".strip(), 79),
            epilog=f"example: {start} {example}\n{EXITS}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(run=run)
        return made.add_argument

    add = command(
        commands.init,
        "[DIR]",
        "my-project",
        "write a suite and its tests for what a folder holds",
        "It looks for tables, published collections and checkpoints in the folder and two levels "
        "below it, and writes benchmarks/, a workflow for GitHub and a line of pyproject.toml; "
        "nothing that is there is replaced.",
    )
    add("folder", nargs="?", type=Path, default=Path(), metavar="DIR", help="default: this one")
    add = command(
        commands.plan,
        "[--suite NAME|FILE] [OPTION ...]",
        "--suite paper",
        "say what a run needs, what is stored, and how long it takes",
        "Loads each model and measures two batches of it on this device. The same as pytest "
        "--occlusion-plan, which takes all other options of a run.",
    )
    add("--suite", metavar="NAME|FILE", help="as --occlusion-suite")
    add("--models", metavar="LIST", help="only these models of the suite")
    add("--corpus", metavar="SPEC", help="as --occlusion-corpus")
    add("--device", help="auto, cpu, cuda or cuda:N")
    add("--store", type=Path, metavar="DIR", help="as --occlusion-store")
    add = command(
        commands.inspect,
        "FILE [--weights NAME]",
        "candidate.pt",
        "say what a checkpoint file holds",
    )
    add("file", type=Path, metavar="FILE", help="weights file or directory")
    add("--weights", default="", metavar="NAME", help="which of its weights files")
    add = command(
        commands.models,
        "[MODEL] [--corpus SPEC] [OPTION ...]",
        "cxr-clip",
        "tell what is known of published models",
        "Where they are, licences, limits, training sets; with a corpus, the share of its reports "
        "that each token limit cuts.",
    )
    add("name", nargs="?", metavar="MODEL", help="all of this one; none: a table")
    add("--corpus", metavar="SPEC", help="as --occlusion-corpus")
    _add_texts(add)
    add("--markdown", action="store_true", help="as docs/models.md")
    add = command(
        commands.fetch,
        "[MODEL] [--folder DIR] [--revision COMMIT]",
        "biovil-t",
        "bring a published model into the cache",
    )
    add("name", nargs="?", metavar="MODEL", help="as 'models' lists them; none: list them")
    add("--folder", type=Path, metavar="DIR", help="keep it there instead")
    add("--revision", default="", metavar="COMMIT", help="of a model on the hub: this one")
    add = command(
        commands.try_,
        "MODEL|FILE --corpus SPEC [OPTION ...]",
        "candidate.pt --corpus embedded",
        "load a model, and try it on 64 radiographs",
        "Shows it 64 radiographs of a corpus whole and with 25 % blocked, and prints what a "
        "careful person checks first. Nothing is kept. Exits with 1 where it retrieves no better "
        "than chance.",
    )
    add("model", metavar="MODEL|FILE", help="as 'models' lists them, a checkpoint, or hf-hub:ID")
    add("--corpus", required=True, metavar="SPEC", help="as --occlusion-corpus")
    _add_texts(add)
    add("--family", default="", help="of a checkpoint whose names do not tell")
    add("--tokenizer", metavar="PATH|ID", help="where the checkpoint brings none")
    add("--set", action="append", default=[], metavar="OPTION=VALUE", help="of the family")
    add("--device", help="auto, cpu, cuda or cuda:N")
    add = command(
        commands.corpus,
        "[SPEC] [--suite NAME|FILE] [OPTION ...]",
        "manifest:reports.csv",
        "count what a corpus holds, filter by filter",
        "Studies, radiographs and texts; with a suite also how many texts each of its models' "
        "tokenizers would truncate.",
    )
    spec = "as --occlusion-corpus, e.g. mimic-cxr:ROOT; without, the suite's"
    add("corpus", nargs="?", metavar="SPEC", help=spec)
    suite = (
        "as --occlusion-suite: its models open their tokenizers and count truncated texts, and "
        "what is not given here is the suite's"
    )
    add("--suite", metavar="NAME|FILE", help=suite)
    add("--models", metavar="LIST", help="only these models of the suite")
    _add_texts(add)
    add("--candidates", choices=names_of("candidates"))
    add("--fingerprint", action="store_true", help="read every image that is new, and say it")
    add = command(
        commands.compare,
        "A.json [B.json] [--against DIR] [OPTION ...]",
        "before.json after.json",
        "set two runs side by side",
        "Exits with 1 where the later one is red.",
    )
    add("files", type=Path, nargs="+", metavar="A.json [B.json]", help="results, and later ones")
    add("--against", type=Path, metavar="DIR", help="compare A with baselines")
    add("--models", metavar="OLD=NEW", help="compare model OLD of A with NEW of B")
    add("--tolerance", type=float, default=TOLERANCE, help="queries, or a share")
    add("--fail-on", choices=tuple(FAIL_ON), default="any")
    add("--format", choices=("text", "markdown", "json"), default="text")
    add = command(
        commands.html,
        "RESULTS.json [MORE.json ...] --out PAGE.html [--gallery SHEET.png]",
        "may.json june.json --out record.html",
        "render a results file as one page, or several side by side",
        "Of several, the oldest first, it has the models of all runs in one table that can be "
        "sorted, a curve per run, and the verdicts of every cell through the runs.",
    )
    add("files", type=Path, nargs="+", metavar="RESULTS.json", help="--occlusion-json wrote it")
    add("--out", type=Path, required=True, metavar="PAGE.html", help="file to write")
    sheet = (
        "put a sheet that 'gallery' drew into the page: it SHOWS RADIOGRAPHS OF PATIENTS, to "
        "everybody who gets the page"
    )
    add("--gallery", type=Path, metavar="SHEET.png", help=sheet)
    add = command(
        commands.plot,
        "RESULTS.json [MORE.json ...] --out DIR [--formats LIST]",
        "results.json --out figures",
        "draw figures for papers (needs matplotlib)",
    )
    runs = (
        "--occlusion-json wrote it; more of them: a second run of the same corpus to lay over it, "
        "or runs of other corpora"
    )
    add("files", type=Path, nargs="+", metavar="RESULTS.json", help=runs)
    add("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    add("--formats", default="svg,pdf,png", metavar="LIST", help="of svg, pdf, png")
    add = command(
        commands.gallery,
        "--out SHEET.png [--suite NAME|FILE] [OPTION ...]",
        "--out sheet.png --count 3",
        "draw what an encoder is shown; the picture SHOWS RADIOGRAPHS OF PATIENTS",
        "Radiographs of the corpus under every occluder at every ratio, and every corruption at "
        "every severity. Keep the picture where the data may be kept.",
    )
    add("--out", type=Path, required=True, metavar="SHEET.png", help="file to write")
    add("--suite", metavar="NAME|FILE", help="as --occlusion-suite")
    add("--corpus", metavar="SPEC", help="as --occlusion-corpus")
    add("--model", metavar="NAME", help="whose preprocessing (default: the first)")
    add("--occluders", metavar="LIST", help="default: the suite's")
    add("--ratios", metavar="LIST", help="default: the suite's")
    add("--key", action="append", default=[], metavar="KEY", help="this radiograph")
    add("--count", type=int, default=2, metavar="N", help="else N chosen at random")
    add("--seed", type=int, default=0, metavar="N", help="seed of that choice")
    return parser


def _add_texts(add: Callable[..., argparse.Action]) -> None:
    """Which texts of a corpus."""
    add("--split", metavar="NAME", help="train, validate or test")
    add("--text-rule", choices=names_of("text-rule"))


if __name__ == "__main__":
    sys.exit(main())
