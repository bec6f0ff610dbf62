"""What changed since the baselines were accepted, and the cells that moved most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from pytest_occlusion.gate.verdicts import IMPROVED, NEW, REGRESSED
from pytest_occlusion.reporting import views
from pytest_occlusion.reporting.page.pieces import p_text, percent, signed, table, verdict_mark
from pytest_occlusion.reporting.views import Cell, Results

LISTED = 25
"""Cells of one verdict that the verdict list names; the cell table has all."""


def verdicts_section(document: Results) -> Iterator[str]:
    """What changed, and what it did to the cells."""
    changes = views.changes_of(document)
    if not changes:
        yield '<p class="note">No cell has a baseline to compare with.</p>'
    else:
        yield table(
            "What changed since the baselines were accepted",
            ["model", "cells", "changed", "unchanged"],
            [
                [
                    escape(one.model),
                    f"{one.cells:,}",
                    "<br>".join(
                        f"<b>{escape(name)}</b> {escape(old)} \u2192 {escape(new)}"
                        for name, old, new in one.changed
                    )
                    or ("nothing recorded" if one.known else "the baseline does not say"),
                    escape(", ".join(one.unchanged)),
                ]
                for one in sorted(changes.values(), key=lambda one: one.known and not one.changed)
            ],
            numeric=(1,),
        )
    for kind in (REGRESSED, IMPROVED):
        found = [cell for cell in document["cells"] if cell["verdict"] == kind]
        yield f"<h3>{verdict_mark(kind)}: {len(found):,} of {len(document['cells']):,} cells</h3>"
        if found:
            yield _change_list(kind, found, changes)
    new = sum(cell["verdict"] == NEW for cell in document["cells"])
    if new:
        yield f"<h3>{verdict_mark(NEW)}: {new:,} cells have no baseline</h3>"
    drifted = [cell for cell in document["cells"] if cell["drift"]]
    if drifted:
        far = max(drifted, key=lambda cell: abs(cell["drift"]))
        yield (
            f'<p class="note">{len(drifted):,} cells have drifted beyond the tolerance since they '
            f"were first accepted, {escape(far['id'])} furthest ({signed(far['drift'], 0)} hits)."
            "</p>"
        )


def _change_list(
    kind: str,
    found: Sequence[Cell],
    changes: Mapping[tuple[str, str | None], views.Change],
) -> str:
    """The cells that changed most, with what changed under them."""

    def difference(cell: Cell) -> float:
        before = views.baseline_recall(cell)
        return 0.0 if before is None else float(cell["recall"] - before)

    ranked = sorted(found, key=lambda cell: -abs(difference(cell)))
    rows = []
    for cell in ranked[:LISTED]:
        cause = changes.get((cell["model"], cell["baseline_from"]))
        flips = "" if cell["lost"] is None else f"{cell['lost']:,} / {cell['gained']:,}"
        rows.append(
            [
                f"<code>{escape(cell['id'])}</code>",
                percent(views.baseline_recall(cell)),
                percent(cell["recall"]),
                signed(100 * difference(cell)),
                flips,
                p_text(cell["p_value"]),
                p_text(cell["p_adjusted"]),
                escape(cause.suggests if cause else ""),
            ]
        )
    more = len(found) - LISTED
    rest = (
        f'<p>And {more:,} more: see <a href="#cells">all cells</a>, by verdict and change.</p>'
        if more > 0
        else ""
    )
    shown = table(
        f"Cells that {kind}, largest change first",
        [
            *("cell", "baseline, %", "now, %", "points", "lost / gained"),
            *("p", "p (Holm)", "what changed"),
        ],
        rows,
        numeric=range(1, 7),
    )
    return shown + rest
