"""How long it took, and under what it was measured."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from pytest_occlusion.reporting import levels, views
from pytest_occlusion.reporting.page.pieces import listing, plain, table
from pytest_occlusion.reporting.views import Results


def timings_section(document: Results) -> Iterator[str]:
    """Every pass and what it took."""
    if not document["timings"]:
        yield '<p class="note">No timings were recorded.</p>'
        return

    def seconds(value: float | None) -> str:
        return "" if value is None else f"{value:,.2f}"

    rows = []
    for one in document["timings"]:
        speed = one["images_per_second"]
        rows.append(
            [
                escape(str(one["model"])),
                escape(str(one["pass"])),
                "measured" if one["fresh"] else "from the store",
                *(seconds(one[f"{name}_seconds"]) for name in ("draw", "text", "encode", "rank")),
                f"{one['encoded_images'] or 0:,}",
                "" if speed is None else f"{speed:,.0f}",
            ]
        )
    yield table(
        "Every pass; what comes from the store shows the times of when it was measured",
        [
            *("model", "pass", "source", "draw, s", "texts, s", "encode, s", "rank, s"),
            *("images", "images/s"),
        ],
        rows,
        numeric=range(3, 9),
    )


def provenance_section(document: Results) -> Iterator[str]:
    """Corpus, protocol, models and baselines, as recorded."""
    corpus = {name: value for name, value in document["corpus"].items() if name != "notes"}
    yield "<h3>Corpus</h3>"
    yield listing((name, plain(value)) for name, value in corpus.items())
    yield "<h3>Protocol</h3>"
    measured = {
        **levels.measured(document["cells"]),
        "ks": ", ".join(map(str, views.ks_of(document["cells"]))),
        "occluders": ", ".join(dict.fromkeys(cell["occluder"] for cell in document["cells"])),
    }
    protocol = {**document["protocol"], **measured}
    yield listing((name, plain(value)) for name, value in protocol.items())
    yield "<h3>Models</h3>"
    for name, model in document["models"].items():
        yield f"<details><summary>{escape(name)}: {escape(plain(model['family']))}, weights "
        yield f"<code>{escape(plain(model['weights'])[:8])}</code></summary>"
        yield listing((field, plain(value)) for field, value in model.items())
        yield "</details>"
    if document["baselines"]:
        yield "<h3>Baselines</h3>"
    for name, origin in document["baselines"].items():
        yield f"<details><summary>accepted under <code>{escape(name)}</code></summary>"
        yield listing((field, plain(value)) for field, value in origin.items())
        yield "</details>"
