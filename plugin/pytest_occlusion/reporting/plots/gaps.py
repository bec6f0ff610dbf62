"""Domain gap: what each model retrieves from untouched radiographs of several corpora.

The first experiment of Deanda et al. 2025 (arXiv 2501.09134), for any corpora: a model that was
trained on one may retrieve worse from another before anything is blocked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.reporting.plots.style import (
    BARS,
    draw_bars,
    in_grid,
    legend,
    legend_rows,
    panels,
)
from pytest_occlusion.reporting.views import Cell, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Corpora = Mapping[str, Mapping[tuple[str, int], Cell]]
"""Name of a corpus -> (model, k) -> its cell with nothing blocked."""


def several_corpora(runs: Sequence[Results]) -> bool:
    """Whether the runs are of different corpora."""
    return len({run["corpus"]["fingerprint"] for run in runs}) > 1


def gap_figure(runs: Sequence[Results]) -> Figure:
    """Recall at ratio 0, a group of bars per model and a bar per corpus; a panel per k.

    Args:
        runs: Complete results documents, each of a corpus of its own.

    Raises:
        OcclusionError: Two runs of one corpus, or no model and k that was measured at ratio 0 in
            two of them.
    """
    corpora = _corpora(runs)
    found = [place for cells in corpora.values() for place in cells]
    shared = [place for place in dict.fromkeys(found) if found.count(place) > 1]
    if not shared:
        raise OcclusionError(
            "no model was measured with the same k and nothing blocked on two of the corpora",
            remedy="give runs of the same models that have ratio 0",
        )
    models = list(dict.fromkeys(model for model, _ in shared))
    ks = sorted({k for _, k in shared})
    figure, axes = panels(len(ks), legend_rows(len(corpora) + 2))
    for place, (k, panel) in enumerate(zip(ks, axes, strict=True)):
        _bars(panel, corpora, models, k)
        panel.set_title(f"R@{k}")
        panel.set_ylim(bottom=0)
        panel.grid(axis="x", visible=False)
        panel.set_xticks(range(len(models)), models, rotation=25, ha="right")
        if in_grid(place, len(ks))["first"]:
            panel.set_ylabel("recall with nothing blocked, %")
    legend(figure, axes)
    return figure


def _corpora(runs: Sequence[Results]) -> Corpora:
    names = [run["corpus"]["name"] or "corpus" for run in runs]
    found: dict[str, dict[tuple[str, int], Cell]] = {}
    prints = [run["corpus"]["fingerprint"] for run in runs]
    for run, name, print_ in zip(runs, names, prints, strict=True):
        if prints.count(print_) > 1:
            raise OcclusionError(
                f"two of the runs are of the same corpus, {name} {print_[:8]}",
                remedy="give one run per corpus; two runs of one corpus are laid over each other",
            )
        label = name if names.count(name) == 1 else f"{name} {print_[:8]}"
        found[label] = {}
        for cell in run["cells"]:
            if cell["ratio"] == 0 and cell["direction"] == "image-to-text":
                found[label].setdefault((cell["model"], cell["k"]), cell)
    return found


def _bars(panel: Axes, corpora: Corpora, models: Sequence[str], k: int) -> None:
    width = BARS / len(corpora)
    for number, (corpus, cells) in enumerate(corpora.items()):
        groups = [cells.get((model, k)) for model in models]
        own = [cell for cell in groups if cell is not None]
        places = draw_bars(panel, groups, corpus, place=number, count=len(corpora), pattern=number)
        # Floors differ from corpus to corpus: more candidates, and texts that repeat less.
        for name, line in (("chance", (0, (1, 1))), ("constant", (0, (6, 2, 1, 2)))):
            panel.hlines(
                [100 * cell[name] for cell in own],
                [place - width / 2 for place in places],
                [place + width / 2 for place in places],
                color="black",
                linewidth=1,
                linestyle=line,
                label=name,
            )
