"""What is measured beside recall, as tables: groups, relevance by label, the field's own measures.

Each table is described once, from the results document to texts; terminal, Markdown and page differ
only in how they set it. A brief table has nothing blocked and one blocked level, a full one all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pytest_occlusion.gate.verdicts import ALPHA
from pytest_occlusion.occlusion.levels import axis_name, is_corruption, level_text
from pytest_occlusion.reporting import views
from pytest_occlusion.reporting.views import Condition, Results

Record = Mapping[str, Any]

MEASURES = {
    "precision_same": "P same",
    "precision_shared": "P shared",
    "hit_same": "Hit same",
    "hit_shared": "Hit shared",
    "map": "mAP",
    "ndcg": "nDCG",
}
"""Measure of relevance -> its heading; same: equal label sets, shared: a positive in common."""

SCORES = {"micro": "micro", "macro": "macro", "micro_5": "micro, 5", "macro_5": "macro, 5"}
"""Of agreement, over all labels and over CheXpert's five."""

GROUPS_SHOWN = 8
"""Groups of an attribute that a brief table has."""


class Entry(NamedTuple):
    """A number as text."""

    text: str
    small: str = ""  # below it where there is room: its interval


class Row(NamedTuple):
    """A row of a table."""

    keys: Sequence[str]  # what it is of
    entries: Sequence[Entry]
    group: str = ""  # to filter by: ``sex=F``


class Table(NamedTuple):
    """One table."""

    title: str
    heads: Sequence[str]  # of keys and entries
    rows: Sequence[Row]
    condition: Condition | None = None  # what it is of; ``None``: of all
    notes: Sequence[str] = ()

    @property
    def keys(self) -> int:
        """Columns that say what a row is of."""
        return len(self.rows[0].keys)

    @property
    def numeric(self) -> range:
        """Columns of numbers."""
        return range(self.keys, len(self.heads))


class Section(NamedTuple):
    """The tables of one part of the document."""

    heading: str
    key: str  # how to read them
    tables: Callable[[Results, bool], Iterator[Table]]  # of a document, brief or not


def tables(results: Results, name: str, *, brief: bool) -> list[Table]:
    """The tables of a section; none where the document has nothing of it."""
    found = SECTIONS[name].tables(results, brief) if results.get(name) else ()
    return [_trimmed(table) for table in found if table.rows]


def _trimmed(table: Table) -> Table:
    """Without the columns that nobody measured."""
    rows, keys = table.rows, table.keys
    kept = [at for at in range(len(rows[0].entries)) if any(row.entries[at].text for row in rows)]
    heads = [*table.heads[:keys], *(table.heads[keys + at] for at in kept)]
    shown = [row._replace(entries=[row.entries[at] for at in kept]) for row in rows]
    return table._replace(heads=heads, rows=shown)


def notes(results: Results) -> Iterator[str]:
    """What is to be said once: where labels come from, groups left out, groups that are gone."""
    labels = results.get("labels") or {}
    if labels.get("names"):
        missing = f"; {labels['missing']:,} studies have none" if labels["missing"] else ""
        yield (
            f"{len(labels['names'])} labels from {labels['origin']}, uncertain counted as "
            f"{labels['uncertain']}{missing}"
        )
        yield from labels["notes"]
    yield from results.get("group_notes", ())
    for row in results.get("group_curves", ()):
        yield (
            f"{row['model']}: the group {row['attribute']}={row['group']} has {row['verdict']} at "
            f"R@{row['k']} over all levels of {row['occluder']} ({row['difference']:+.1f} hits on "
            f"average, p {row['p_adjusted']:.1g} after Holm)"
        )
    for gone in results.get("vanished", ()):
        yield (
            f"{gone['model']}: the group {gone['attribute']}={gone['group']} of the baseline "
            f"({gone['queries']:,} queries) is gone"
        )


def levels_of(rows: Iterable[Record]) -> list[float]:
    """Every level of rows of one occluder, ascending."""
    return sorted({row["ratio"] for row in rows} - {None})


def told_levels(rows: Iterable[Record]) -> list[float]:
    """Nothing blocked, and the strongest level below a half: what a reader wants first."""
    known = levels_of(rows)
    below = [level for level in known if 0 < level < 0.5]
    return [level for level in known if level == 0] + below[-1:] or known[:1]


def focused(rows: Sequence[Record]) -> list[Record]:
    """Those at the k of everything that is about one k."""
    k = views.focus_k(rows)
    return [row for row in rows if row["k"] == k]


Ends = tuple[float | None, float | None]


def _entry(
    value: float | None, form: str = ".1f", scale: float = 100, ends: Ends = (None, None)
) -> Entry:
    """A number with its interval; empty where there is none."""
    if value is None:
        return Entry("")
    small = [f"{scale * end:{form}}" for end in ends if end is not None]
    text = f"{scale * value:{form}}"
    zero = not float(text.replace(",", ""))
    return Entry(text.lstrip("-+") if zero else text, " to ".join(small))


def _part(row: Record | None, name: str = "value", form: str = ".1f") -> Entry:
    """A part of a record in percent; what it has as its ends is its interval."""
    if row is None:
        return Entry("")
    own = {"value": "", "recall": "ci_"}.get(name, f"{name}_")
    return _entry(row[name], form, ends=(row.get(f"{own}low"), row.get(f"{own}high")))


def _of_levels(
    rows: Sequence[Record],
    title: str,
    heads: Iterable[str],
    entries: Callable[[Record], list[Entry]],
    *,
    brief: bool,
) -> Iterator[Table]:
    """A table per condition, a row per model and level; ``all`` are those over every level."""
    for condition in views.conditions(rows):
        own, name = views.of_condition(rows, condition), condition.occluder
        at = {(row["model"], row["ratio"]): row for row in own}
        levels = [*(told_levels(own) if brief else levels_of(own)), None]
        places = [(model, level) for model in views.every(own, "model") for level in levels]
        shown = [
            Row(
                (model, "all" if level is None else level_text(name, level)),
                entries(at[model, level]),
            )
            for model, level in places
            if (model, level) in at
        ]
        columns = ["model", axis_name(name), *heads]
        yield Table(f"{title} - {condition.short}", columns, shown, condition)


def _floors(scores: Mapping[str, Record | None], names: Iterable[str]) -> list[Row]:
    """What a ranking without the image comes to."""
    known = [scores[name] for name in names]
    return [
        Row((floor, ""), [_entry(None if score is None else score[floor]) for score in known])
        for floor in views.FLOORS
    ]


def rankings(results: Results, brief: bool) -> Iterator[Table]:
    """The columns that retrieval is reported in."""

    def entries(row: Record) -> list[Entry]:
        return [
            *(_entry(row[name]) for name in ("recall_1", "recall_5", "recall_10")),
            *(_entry(row[name], ",.1f", 1) for name in ("mean_rank", "median_rank")),
            _entry(row["mrr"], ".3f", 1),
            _entry(row["rsum"], ".1f", 1),
        ]

    heads = ("R@1", "R@5", "R@10", "mean", "median", "MRR", "RSUM")
    yield from _of_levels(results["rankings"], "rankings", heads, entries, brief=brief)


def relevance(results: Results, brief: bool) -> Iterator[Table]:
    """What was retrieved, by its labels."""
    rows = focused(results["relevance"])
    title = f"relevance by label, the first {rows[0]['k']}, %"

    def entries(row: Record) -> list[Entry]:
        return [_part(row["measures"][name]) for name in MEASURES]

    for table in _of_levels(rows, title, MEASURES.values(), entries, brief=brief):
        first = next(row for row in rows if (row["direction"], row["occluder"]) == table.condition)
        yield table._replace(rows=[*table.rows, *_floors(first["measures"], MEASURES)])
    if not brief and results["labels"]["prevalence"]:
        shares = results["labels"]["prevalence"].items()
        listed = [Row((name,), [_entry(share)]) for name, share in shares]
        yield Table("Labels", ("label", "% of the queries"), listed)


def agreement(results: Results, brief: bool) -> Iterator[Table]:
    """Labels of the first report against the true ones."""
    rows, title = results["agreement"], "clinical agreement of the first report, F1 in %"

    def entries(row: Record) -> list[Entry]:
        return [_part(row["scores"][name]) for name in SCORES]

    for table in _of_levels(rows, title, SCORES.values(), entries, brief=brief):
        own = [row for row in rows if (row["direction"], row["occluder"]) == table.condition]
        yield table._replace(rows=[*table.rows, *_floors(own[0]["scores"], SCORES)])
        if not brief:
            yield _classes([row for row in own if row["ratio"] in told_levels(own)], table)


def _classes(rows: Sequence[Record], beside: Table) -> Table:
    heads = [*beside.heads[:2], "label", "queries", "precision", "recall", "F1"]
    shown = [
        Row(
            (row["model"], level_text(row["occluder"], row["ratio"]), one["label"]),
            [
                _entry(one["positives"], ",.0f", 1),
                *(_entry(one[name]) for name in ("precision", "recall", "f1")),
            ],
        )
        for row in rows
        for one in row["classes"]
    ]
    return beside._replace(title=f"{beside.title}, by label", heads=heads, rows=shown)


def selective(results: Results, brief: bool) -> Iterator[Table]:
    """Risk by confidence."""
    rows = focused(results["selective"])
    title = f"selective retrieval at R@{rows[0]['k']}"
    heads = ("confidence", "AURC", "random", "best", "gain, %")

    def entries(row: Record) -> list[Entry]:
        return [
            _entry(row["confidence"], ".4f", 1),
            _entry(row["area"], ".3f", 1, (row["low"], row["high"])),
            *(_entry(row[part], ".3f", 1) for part in ("random", "best")),
            _entry(row["gain"], ".0f"),
        ]

    yield from _of_levels(rows, title, heads, entries, brief=brief)


def told_groups(rows: Iterable[Record], count: int) -> list[str]:
    """The groups of an attribute to tell first, in the order of the document.

    Those that blocking widens the gap of for certain, then the largest.
    """
    every = views.grouped(rows, "group")

    def order(name: tuple[str]) -> tuple[bool, int]:
        return not any(map(widens, every[name])), -every[name][0]["queries"]

    kept = set(sorted(every, key=order)[:count])
    return [name for (name,) in every if (name,) in kept]


def widens(row: Record) -> bool:
    """Whether blocking widens or narrows the gap of a group, Holm-adjusted over the groups."""
    return row["widening_p_adjusted"] is not None and row["widening_p_adjusted"] < ALPHA


def groups(results: Results, brief: bool) -> Iterator[Table]:
    """Recall of each group, its gap to all others, and how blocking widens it."""
    for (attribute,), rows in views.grouped(focused(results["groups"]), "attribute").items():
        for condition in views.conditions(rows):
            own = views.of_condition(rows, condition)
            yield _groups(attribute, own, condition, brief=brief)


def _groups(attribute: str, rows: Sequence[Record], condition: Condition, *, brief: bool) -> Table:
    name, told = condition.occluder, told_levels(rows)
    shown = told if brief else levels_of(rows)
    groups = told_groups(rows, GROUPS_SHOWN if brief else len(rows))
    starred = any(widens(row) for row in rows if row["ratio"] == told[-1])
    found, said = [], []
    for (model, group), own in views.grouped(rows, "model", "group").items():
        if group not in groups:
            continue
        at = {row["ratio"]: row for row in own}
        first, last = at.get(0.0), at.get(told[-1]) if told[-1] else None
        one = own[0]
        count = f"{one['queries']:,}" if one["judged"] else f"({one['queries']:,})"
        entries = [
            Entry(count),
            *(_part(at.get(level), "recall") for level in shown),
            _part(last, "retention", ".0f"),
            _part(first, "gap", "+.1f"),
            _part(last, "widening", "+.1f"),
        ]
        if starred:
            mark = " *" if last is not None and widens(last) else "  "
            entries[-1] = entries[-1]._replace(text=f"{entries[-1].text}{mark}")
        found.append(Row((model, group), entries, f"{attribute}={group}"))
    if left := len(views.every(rows, "group")) - len(groups):
        said.append(f"... and {left:,} more groups")
    if any(row.entries[0].text.startswith("(") for row in found):
        said.append("(n): too few to be judged")
    if starred:
        said.append(f"*: p < {ALPHA} after Holm over the groups")
    heads = [
        *("model", attribute, "n"),
        *(level_text(name, level) for level in shown),
        *("left, %", "gap", "wider"),
    ]
    where = "severity " * is_corruption(name) + level_text(name, told[-1])
    title = f"groups by {attribute} - {condition.short}: R@{rows[0]['k']}; left, wider at {where}"
    return Table(title, heads, found, condition, said)


def corruptions(results: Results, brief: bool) -> Iterator[Table]:
    """The measures of robustness to corruptions; a full table has each corruption."""
    for (direction,), rows in views.grouped(focused(results["corruptions"]), "direction").items():
        found = []
        for row in rows:
            own = (row["model"], row["reference"] or "")
            numbers = [_entry(row[name]) for name in ("mmi", "mce", "relative_mce")]
            found.append(Row(own if brief else (*own, "all"), numbers))
            for one in () if brief else row["parts"]:
                numbers = [_entry(one[name]) for name in ("mmi", "ce", "relative_ce")]
                found.append(Row((*own, one["corruption"]), numbers))
        heads = [
            "model",
            "reference",
            *["corruption"][brief:],
            "MMI, %",
            "mCE, %",
            "relative mCE, %",
        ]
        title = Condition(direction, "corruptions").short
        yield Table(f"{title}: R@{rows[0]['k']}", heads, found)


SECTIONS = {
    "rankings": Section(
        "Rankings",
        "Recall in percent, mean and median of the ranks, which count from 1. RSUM: the sum of "
        "R@1, R@5 and R@10 over the directions that were asked.",
        rankings,
    ),
    "relevance": Section(
        "Relevance by label",
        "Not whether the one right report was retrieved, but whether those that were say the same: "
        "P and Hit by equal sets of labels (same) and by a positive label in common (shared), mAP "
        "by the latter, nDCG by overlap. Chance: a random ranking; constant: one list for all.",
        relevance,
    ),
    "agreement": Section(
        "Clinical agreement",
        "F1 of the labels of the first report against the true ones, over all labels and over "
        "CheXpert's five.",
        agreement,
    ),
    "selective": Section(
        "Selective retrieval",
        "Does a model know when it is blind? Confidence: the gap of its two best scores. AURC: the "
        "area under the risk of a miss over the share of queries that are answered, the most "
        "confident first; gain: how much of the way from a random to the best order that is.",
        selective,
    ),
    "groups": Section(
        "Groups",
        "Queries of one group against the same candidates. Left: share of the recall with nothing "
        "blocked; gap: points of recall above all other queries, nothing blocked; wider: by how "
        "many points blocking moves that gap.",
        groups,
    ),
    "corruptions": Section(
        "Robustness to corruptions",
        "MMI: the share of recall that is lost, on average; mCE: the error relative to the "
        "reference's, 100 % being as much; relative mCE: the error that corruption adds, likewise.",
        corruptions,
    ),
}
"""Part of the document -> what is shown of it, in the order of summary and page."""
