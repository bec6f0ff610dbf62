"""The tables of the docs, as Markdown, from a run's results.

    python benchmarks/tables.py RESULTS.json [-k 10] [--models NAME,NAME,...]

The file is written by ``--occlusion-json``. Curves under blocks, areas under retention where there
are several occluders or corruptions, the recall of the best model under each corruption, claims,
groups: each where the run has it. ``docs/embedded.md`` and ``docs/corruptions.md`` hold what this
printed; ``tests/test_docs.py`` compares them with the baselines.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.insight.claims import told_of
from pytest_occlusion.occlusion.levels import level_text
from pytest_occlusion.occlusion.names import CORRUPTIONS
from pytest_occlusion.occlusion.registry import OCCLUDERS
from pytest_occlusion.reporting.reading import read_results

Results = dict[str, Any]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are numbers, except for the first."""

    def line(cells: Sequence[str]) -> str:
        return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)

    rule = f"|---|{'---:|' * (len(head) - 1)}"
    return "\n".join([line(head), rule, *map(line, rows)])


def recalls(results: Results, model: str, occluder: str, k: int) -> dict[float, Results]:
    """Cells of a curve by their level."""
    return {
        cell["ratio"]: cell
        for cell in results["cells"]
        if (cell["model"], cell["occluder"], cell["k"]) == (model, occluder, k)
        and cell["direction"] == "image-to-text"
    }


def area(results: Results, model: str, occluder: str, k: int) -> str:
    """Under the retention curve."""
    for curve in results["curves"]:
        found = (curve["model"], curve["occluder"], curve["k"], curve["direction"])
        if found == (model, occluder, k, "image-to-text"):
            return "" if curve["area"] is None else f"{curve['area']:.2f}"
    return ""


def curves(results: Results, models: Sequence[str], k: int) -> str:
    """Multiples of chance at every ratio of ``block``."""
    levels = sorted(recalls(results, models[0], "block", k))
    rows = []
    for model in models:
        cells = recalls(results, model, "block", k)
        shown = [f"{cells[level]['recall'] / cells[level]['chance']:.1f}" for level in levels]
        rows.append([f"`{model}`", *shown, area(results, model, "block", k)])
    return table(["", *(level_text("block", level) for level in levels), "area"], rows)


def areas(results: Results, models: Sequence[str], occluders: Sequence[str], k: int) -> str:
    """Areas under retention, an occluder a row."""
    rows = [
        [f"`{occluder}`", *(area(results, model, occluder, k) for model in models)]
        for occluder in occluders
    ]
    return table(["", *(f"`{model}`" for model in models)], rows)


def best_of(results: Results, models: Sequence[str], occluder: str, k: int) -> str:
    """The model with the highest recall at the lowest level."""

    def recall(model: str) -> float:
        cells = recalls(results, model, occluder, k)
        return float(cells[min(cells)]["recall"])

    return max(models, key=recall)


def severities(results: Results, model: str, occluders: Sequence[str], k: int) -> str:
    """Recall in percent of one model at every severity."""
    rows, levels = [], sorted(recalls(results, model, occluders[0], k))
    for occluder in occluders:
        cells = recalls(results, model, occluder, k)
        rows.append([f"`{occluder}`", *(f"{100 * cells[level]['recall']:.1f}" for level in levels)])
    return table(["severity", *(level_text(occluders[0], level) for level in levels)], rows)


def claims(results: Results) -> str:
    """Outcome and numbers of every claim."""
    lines = ["| claim | outcome | numbers, 95 % intervals |", "|---|---|---|"]
    for claim in results["claims"]:
        numbers = "; ".join(told_of(claim))
        notes = "".join(f"; {note}" for note in claim["notes"])
        lines.append(
            f"| {claim['statement']} | {claim['outcome']} | {claim['unit']}: {numbers}{notes} |"
        )
    return "\n".join(lines)


BLOCKED = (0.0, 0.25, 0.49)
"""Levels of ``block`` at which groups are shown."""


def groups(results: Results, model: str, k: int) -> str:
    """Recall in percent of every group with enough queries, and what blocking a quarter leaves."""
    rows: dict[tuple[str, str], dict[float, Results]] = {}
    for one in results["groups"]:
        found = (one["model"], one["occluder"], one["k"], one["direction"])
        if found == (model, "block", k, "image-to-text") and one["judged"]:
            rows.setdefault((one["attribute"], one["group"]), {})[one["ratio"]] = one
    there = {level for levels in rows.values() for level in levels}
    shown = [level for level in BLOCKED if level in there]
    head = [f"{model}, R@{k} in percent", "n", *(level_text("block", level) for level in shown)]
    lines = []
    for (attribute, group), levels in rows.items():
        kept = levels[0.25]["retention"] if 0.25 in levels else None
        recall = [_interval(levels[level]) for level in shown]
        left = "" if kept is None else f"{100 * kept:.0f} %"
        lines.append([f"{attribute}: {group}", f"{levels[shown[0]]['queries']:,}", *recall, left])
    return table([*head, "left at 25 %"], lines)


def _interval(one: Results) -> str:
    value, low, high = (100 * one[name] for name in ("recall", "ci_low", "ci_high"))
    return f"{value:.1f} [{low:.0f}, {high:.0f}]"


def sections(results: Results, models: Sequence[str], k: int) -> Iterator[tuple[str, str]]:
    """Title and table of everything that the run has."""
    found = {cell["occluder"] for cell in results["cells"]}
    occluders = [name for name in (*OCCLUDERS, *CORRUPTIONS) if name in found]
    corrupted = [name for name in occluders if name in CORRUPTIONS]
    first = next(cell for cell in results["cells"] if cell["k"] == k)
    if "block" in occluders:
        floor = first["constant"] / first["chance"]
        yield (
            f"R@{k} in multiples of chance ({100 * first['chance']:.2f} %, "
            f"{results['corpus']['candidates']:,} candidate texts; the best ranking that ignores "
            f"the image: {floor:.1f})",
            curves(results, models, k),
        )
        yield (
            "at the highest ratio, with intervals",
            "\n".join(
                f"- `{model}`: {highest(recalls(results, model, 'block', k))}" for model in models
            ),
        )
    if len(occluders) > 1:
        yield f"area under the retention of R@{k}", areas(results, models, occluders, k)
    if corrupted:
        best = best_of(results, models, corrupted[0], k)
        yield f"R@{k} in percent of {best}", severities(results, best, corrupted, k)
    if results.get("claims"):
        yield "claims", claims(results)
    for model in models if results.get("groups") else ():
        yield f"groups of {model}", groups(results, model, k)


def highest(cells: dict[float, Results]) -> str:
    """Multiples of chance at the highest level: ``1.95 [1.31, 2.60]``."""
    cell = cells[max(cells)]
    value, low, high = (cell[name] / cell["chance"] for name in ("recall", "ci_low", "ci_high"))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    """Print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="file of --occlusion-json")
    parser.add_argument("-k", type=int, default=10)
    parser.add_argument("--models", help="in this order (default: as in the file)")
    options = parser.parse_args()
    try:
        results = read_results(options.results)
    except OcclusionError as fault:
        parser.error(str(fault))
    known = list(dict.fromkeys(cell["model"] for cell in results["cells"]))
    models = options.models.split(",") if options.models else known
    if unknown := set(models) - set(known):
        parser.error(f"not in the file: {', '.join(sorted(unknown))}; there: {', '.join(known)}")
    if all(cell["k"] != options.k for cell in results["cells"]):
        parser.error(f"the file has no cell at k = {options.k}")
    for title, text in sections(results, models, options.k):
        print(f"{title}\n\n{text}\n")


if __name__ == "__main__":
    main()
