"""The register of known models in words: as a table, one model on a screen, and a page of docs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from textwrap import wrap

from pytest_occlusion.encoders.register import Known

WIDTH = 80
"""Columns of a terminal that nobody has widened."""

UNKNOWN, UNPINNED = "not known", "hub (?)"
LEGEND = f"? {UNKNOWN}; {UNPINNED} no commit is known: choose one, and give it as revision"


def size_of(entry: Known) -> str:
    """Megabytes of all files that a model needs."""
    return f"{entry.size / 1e6:,.0f} MB" if entry.size else UNKNOWN


def source_of(entry: Known) -> str:
    """How it is fetched, in a column's width."""
    return UNPINNED if entry.hub and not entry.revision else entry.source


def table_lines(entries: Sequence[Known]) -> Iterator[str]:
    """All of them, one a line."""
    row = "{:<23}{:<12}{:>4}{:>7}{:>11}  {:<8}{}"
    yield row.format("model", "family", "px", "tokens", "size", "from", "licence")
    for one in entries:
        told = (one.side or "?", one.tokens or "?", size_of(one), source_of(one), one.licence)
        yield row.format(one.name, one.family, *told)
    yield from ("", LEGEND)
    yield "`models NAME` tells the rest: terms, training sets, what to write in a suite."


def sheet_lines(entry: Known) -> Iterator[str]:
    """One of them, with all that is known and the lines of a suite that name it."""
    fetched = f"python -m pytest_occlusion fetch {entry.name}"
    if entry.how == "by hand":
        fetched = "by hand: save the file, and give its path as checkpoint"
    pinned = entry.revision or f"{UNKNOWN}; choose one on {entry.where}/commits/main"
    told = {
        "model": f"{entry.name}: {entry.title}",
        "family": entry.family,
        "where": entry.where,
        "commit": pinned if entry.hub else "",
        "fetched": fetched,
        "gated": f"accept the terms on {entry.where}, then `hf auth login`" * entry.gated,
        "files": ", ".join(entry.files).replace("|", " or ") or entry.file,
        "size": size_of(entry),
        "checksum": entry.sha256 and f"SHA-256 {entry.sha256}, enforced",
        "licence": entry.terms,
        "input": f"{entry.side or UNKNOWN} px, {entry.tokens or UNKNOWN} tokens",
        "trained on": "; ".join(entry.trained),
        "not held out": "; ".join(entry.unheld) or "nothing that is known",
        "paper": entry.paper,
        "page": entry.page,
        "note": " ".join(entry.notes),
        "beware": entry.mistake,
    }
    for name, said in told.items():
        lines = wrap(said, WIDTH - 14, break_long_words=False, break_on_hyphens=False)
        yield from (f"{name * (not n):<14}{line}" for n, line in enumerate(lines))
    table = entry.table()
    own = {} if "checkpoint" in table else {"checkpoint": "..."}
    own |= {"revision": "..."} if entry.hub and not entry.revision else {}
    yield from ("", "In a suite:", "", f"[models.{entry.name}]", f'model = "{entry.name}"')
    yield from _toml(own)
    yield from ("", "which stands for", "", *_toml(table | own))


def _toml(table: Mapping[str, object]) -> list[str]:
    return [f"{name} = {json.dumps(value)}" for name, value in table.items()]


HEAD = """\
# Known models

<!-- Written by `python -m pytest_occlusion models --markdown` from encoders/register.toml. -->

What is known of published models, and of each what to write in a suite: its name, as `model`.

```toml
suite = "ours"
corpus = "open-i"

[models.candidate]
model = "siglip2-b-16"
```

This fills in the family, the checkpoint and the family's options; whatever is written beside it
wins. Hub models are loaded at the commit given here from the hub's cache, others from where `fetch`
keeps them; of one that is fetched by hand, give the path as `checkpoint` as well.

```sh
python -m pytest_occlusion models biovil-t
python -m pytest_occlusion models --corpus open-i --text-rule impression
python -m pytest_occlusion fetch clip-vit-b-32
```

`models NAME` shows one model on a screen; with `--corpus`, how many of the reports its token limit
cuts. `fetch` shows the licence first. A download that breaks off is resumed, the file appears under
its name only when it is whole, and a checksum that is not published is written down at the first
download and enforced after. Hub models go to the hub's own cache.

What is not known is left open. A commit that is not known has to be chosen on the model's page, and
given as `revision`: in a suite, and to `fetch` as `--revision`.
"""


def as_markdown(entries: Sequence[Known]) -> str:
    """The page ``docs/models.md``."""
    tables = (*_table(entries, WEIGHTS), *_table(entries, TRAINING))
    return "\n".join([HEAD, *tables, *_texts(entries)])


def _weights(one: Known) -> str:
    if one.how == "by hand":
        return f"[by hand]({one.where})"
    at = f" `{one.revision[:12]}`" if one.revision else f", commit {UNKNOWN}" * bool(one.hub)
    return f"[{one.hub or one.file}]({one.where}){at}"


Columns = dict[str, Callable[[Known], object]]

WEIGHTS: Columns = {
    "model": lambda one: f"`{one.name}`",
    "family": lambda one: f"`{one.family}`",
    "weights": _weights,
    "size": size_of,
    "px": lambda one: one.side or UNKNOWN,
    "tokens": lambda one: one.tokens or UNKNOWN,
    "licence": lambda one: one.licence + ", gated" * one.gated,
}
TRAINING: Columns = {
    "model": lambda one: f"`{one.name}`",
    "trained on": lambda one: "; ".join(one.trained),
    "not held out, or perhaps not": lambda one: "; ".join(one.unheld),
    "paper": lambda one: one.paper,
}


def _table(entries: Sequence[Known], columns: Columns) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|---" * len(columns) + "|"
    for one in entries:
        yield f"| {' | '.join(str(cell(one)) for cell in columns.values())} |"
    yield ""


def _texts(entries: Sequence[Known]) -> Iterator[str]:
    """What several models share is said once."""
    parts: dict[str, Callable[[Known], Sequence[str]]] = {
        "Terms": lambda one: [f"{one.terms} <{one.page}>"],
        "Notes": lambda one: one.notes,
        "Usually loaded wrongly": lambda one: [one.mistake] if one.mistake else [],
    }
    for heading, told in parts.items():
        shared: dict[str, list[str]] = {}
        for one in entries:
            for text in told(one):
                shared.setdefault(text, []).append(f"`{one.name}`")
        yield from (f"## {heading}", "")
        yield from (f"- {', '.join(names)}: {text}" for text, names in shared.items())
        yield ""
