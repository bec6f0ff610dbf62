"""The head of the page: what became of the cells, and what they were measured on."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from pytest_occlusion.gate.verdicts import IMPROVED, NEW, REGRESSED, SAME
from pytest_occlusion.reporting import levels, views
from pytest_occlusion.reporting.files import headline
from pytest_occlusion.reporting.page.pieces import ORDER, SIGNS, counted, plain, verdict_mark
from pytest_occlusion.reporting.views import Results


def summary_section(document: Results) -> Iterator[str]:
    """Headline, counts, size and what has to be known."""
    cells, corpus = document["cells"], document["corpus"]
    counts: dict[str, int] = {}
    for cell in cells:
        counts[cell["verdict"]] = counts.get(cell["verdict"], 0) + 1
    worst = next((kind for kind in (REGRESSED, IMPROVED, NEW) if counts.get(kind)), SAME)
    sign = "\u2713" if worst == SAME else SIGNS[worst]
    yield (
        f'<p class="headline {worst}"><span aria-hidden="true">{sign}</span> '
        f"{escape(headline(document))}.</p>"
    )
    tiles = "".join(
        f"<li><strong>{count:,}</strong>{verdict_mark(kind)}</li>"
        for kind, count in views.ordered(ORDER, counts)
    )
    yield f'<ul class="tiles" aria-label="Cells by verdict">{tiles}</ul>'
    yield (
        f"<p>{corpus['radiographs']:,} radiographs of {corpus['studies']:,} studies against "
        f"{corpus['candidates']:,} candidates; {counted(len(document['models']), 'model')}, "
        f"{counted(len(views.conditions(cells)), 'condition')}, "
        f"{levels.counted(cells)}, "
        f"{counted(len(views.ks_of(cells)), 'list length')}.</p>"
    )
    yield from (f'<p class="note">{escape(plain(note))}</p>' for note in corpus["notes"])
    for name, model in document["models"].items():
        if model["truncated"]:
            yield (
                f'<p class="note">{escape(name)}: {model["truncated"]:,} of {corpus["texts"]:,} '
                f"texts were cut to {model['token_limit']} tokens.</p>"
            )
    written = sum(bool(cell["written"]) for cell in cells)
    if written:
        yield f'<p class="note">{written:,} baselines were written by this run.</p>'
