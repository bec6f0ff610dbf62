"""Plain rows of what stands beside recall, and of groups: what workers send, and how it is merged.

Rows of one kind come from several tests or workers; they are told apart by what they are about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.corpora.groups import Grouping
from pytest_occlusion.engine.job import Measured
from pytest_occlusion.engine.results import CellResult
from pytest_occlusion.engine.session import Session
from pytest_occlusion.gate.groups import Judgement
from pytest_occlusion.gate.snapshots import pack_bits
from pytest_occlusion.insight.groups import GroupResult
from pytest_occlusion.insight.retrieved import SHOWN, labelled_of, retrieved_of, selective_of
from pytest_occlusion.occlusion.levels import is_corruption, severity_of
from pytest_occlusion.reporting.schema import (
    AGREEMENT,
    CORRUPTIONS,
    GROUP,
    GROUP_CURVE,
    LABELS,
    RANKING,
    RELEVANCE,
    SELECTIVE,
    Record,
    plain,
)
from pytest_occlusion.reporting.views import grouped
from pytest_occlusion.retrieval.corruption import Recalls, corruption_errors
from pytest_occlusion.retrieval.intervals import Spread
from pytest_occlusion.retrieval.selective import Selective
from pytest_occlusion.suite.grid import REVERSE, Cell, Curve, GroupedCurve, cells_of_curve, focus_k

ROWS = 1
"""Bumped whenever what is worked out of the same ranks changes; part of every key."""

KEYS: dict[str, tuple[str, ...]] = {
    "rankings": ("model", "direction", "occluder", "ratio"),
    "relevance": ("model", "direction", "occluder", "ratio", "k"),
    "agreement": ("model", "direction", "occluder", "ratio"),
    "selective": ("model", "direction", "occluder", "ratio"),
    "groups": ("attribute", "model", "direction", "occluder", "ratio", "k"),
    "group_curves": ("attribute", "model", "direction", "occluder", "k"),
    "vanished": ("model", "attribute", "group"),
}
"""Section of the document -> what its rows are about, and their order."""

GROUPS_STAND = ("groups", "group_curves")
"""Sections whose rows differ by their group too, and keep the order of groups."""


def beside_recall(session: Session, result: CellResult) -> dict[str, list[Record]]:
    """The rows that belong to a measured cell, by section."""
    cell = result.cell
    rows = session.once((cell.curve, cell.ratio), lambda: _beside(session, result))
    own = [row for row in rows["relevance"] if row["k"] == cell.k]
    return {**rows, "relevance": own}


def _beside(session: Session, result: CellResult) -> dict[str, list[Record]]:
    """The rows of a condition, for all list lengths."""

    def work_out() -> dict[str, list[Record]]:
        found = retrieved_of(session, result.cell)
        relevance = [
            plain(RELEVANCE, k=k, measures=measures, **place)
            for k, measures in (found.relevance or {}).items()
        ]
        agreement = [plain(AGREEMENT, found.agreement, **place)] if found.agreement else []
        return {
            "rankings": [plain(RANKING, found.ranking, result, **place)],
            "relevance": relevance,
            "agreement": agreement,
            "selective": _selective(session, found.selective, place),
        }

    place = _place(result.cell)
    return _remembered(session, session.measured(result.cell), place, work_out)


def _selective(session: Session, found: Selective | None, place: Record) -> list[Record]:
    k = focus_k(session.settings.grid.ks)
    return [plain(SELECTIVE, found, **place, k=k)] if found else []


def _remembered(
    session: Session,
    measured: Sequence[Measured],
    place: Record,
    work_out: Callable[[], dict[str, list[Record]]],
) -> dict[str, list[Record]]:
    """Rows that an earlier run worked out of the same ranks and labels: intervals take long."""
    labels, settings = session.labels, session.settings
    told = labels and [labels.digest, settings.uncertain]
    key = settings_digest(
        [ROWS, place, [one.key for one in measured], told, list(settings.grid.ks)]
    )
    if (entry := session.store.read("beside", key)) is not None:
        kept: dict[str, list[Record]] = entry.fields["rows"]
        return kept
    rows = work_out()
    session.store.write("beside", key, {}, {"rows": rows})
    return rows


def _place(cell: Cell) -> dict[str, Any]:
    names = ("model", "direction", "occluder", "ratio")
    return {name: getattr(cell, name) for name in names}


def labels_record(session: Session) -> Record:
    """What is known of the labels; empty where there are none."""
    labelled, labels = labelled_of(session), session.labels
    if labelled is None or labels is None:
        return {}
    return plain(
        LABELS,
        labels,
        uncertain=session.settings.uncertain,
        prevalence=labelled.prevalence,
        missing=int((~labels.known).sum()),
    )


def curve_record(session: Session, curve: Curve) -> dict[str, list[Record]]:
    """The rows that are about all levels of a curve, by section."""
    if curve.direction == REVERSE:
        return {}
    cells = [
        cell
        for cell in cells_of_curve(session.settings.grid, curve)
        if cell.k == focus_k(session.settings.grid.ks)
    ]
    for cell in cells:
        session.result(cell)
    measured = [one for cell in cells for one in session.measured(cell)]
    place = {**_place(cells[0]), "ratio": None}

    def work_out() -> dict[str, list[Record]]:
        found = selective_of(session, measured, cells[0].k)
        return {"selective": _selective(session, found, place)}

    return _remembered(session, measured, place, work_out)


def group_record(
    session: Session,
    asked: GroupedCurve,
    grouping: Grouping,
    results: Sequence[GroupResult],
    judgement: Judgement,
) -> Record:
    """Everything the controller needs to know of the groups by an attribute, of one curve."""
    smallest = session.settings.smallest_group * len(session.settings.seeds)
    curve = asked.curve
    place = {"model": curve.model, "direction": curve.direction, "occluder": curve.occluder}
    rows = []
    for result, verdict in zip(results, judgement.cells, strict=True):
        spreads = {
            **_ends("", result.recall, value="recall", low="ci_low", high="ci_high"),
            **_ends("gap", result.gap),
            **_ends("widening", result.widening),
        }
        rows.append(
            plain(
                GROUP,
                verdict or (),
                result,
                **_place(result.cell),
                **spreads,
                k=result.cell.k,
                judged=result.queries >= smallest,
                verdict="" if verdict is None else verdict.kind,
            )
        )
    return {
        "groups": rows,
        "group_curves": [
            plain(GROUP_CURVE, one, **place, attribute=asked.attribute, verdict=one.kind)
            for one in judgement.curves
        ],
        "vanished": [
            {"model": curve.model, "attribute": asked.attribute, "group": name, "queries": size}
            for name, size in judgement.vanished.items()
        ],
        "notes": list(grouping.notes),
        "members": {
            asked.attribute: {
                name: pack_bits(np.tile(own, len(session.settings.seeds)))
                for name, own in grouping.members.items()
            }
        },
    }


def _ends(
    name: str, spread: Spread | None, value: str = "", low: str = "", high: str = ""
) -> dict[str, float | None]:
    names = (value or name, low or f"{name}_low", high or f"{name}_high")
    numbers = (None,) * 3 if spread is None else (spread.value, spread.low, spread.high)
    return dict(zip(names, numbers, strict=True))


def merged_rows(records: Iterable[Mapping[str, Sequence[Record]]]) -> dict[str, list[Record]]:
    """The rows of every section, each once, in an order that does not depend on workers."""
    found: dict[str, dict[tuple[Any, ...], Record]] = {name: {} for name in KEYS}
    for record in records:
        for section, keys in KEYS.items():
            own = (*keys, "group") if section in GROUPS_STAND else keys
            for row in record.get(section, ()):
                found[section][tuple(row[name] for name in own)] = dict(row)
    return {
        section: sorted(rows.values(), key=lambda row: _order(row, KEYS[section]))
        for section, rows in found.items()
    }


def _order(row: Record, keys: Sequence[str]) -> tuple[Any, ...]:
    """All levels together come after each of them."""
    return tuple(2.0 if row[name] is None else row[name] for name in keys)


def with_rsum(rankings: Sequence[Record]) -> list[Record]:
    """Rankings with R@1, R@5 and R@10 in percent summed over the directions that were measured."""
    about = "model", "occluder", "ratio"
    sums = {}
    for place, ways in grouped(rankings, *about).items():
        parts = [row[f"recall_{k}"] for row in ways for k in SHOWN]
        sums[place] = len(ways), None if None in parts else 100 * sum(parts)
    both = [sums[tuple(row[name] for name in about)] for row in rankings]
    return [{**row, "ways": n, "rsum": rsum} for row, (n, rsum) in zip(rankings, both, strict=True)]


def corruption_rows(cells: Sequence[Record], reference: str) -> list[Record]:
    """What corruptions cost every model, beside a reference where one was measured as well."""
    own = [cell for cell in cells if is_corruption(cell["occluder"])]
    recalls: dict[tuple[str, str, int], Recalls] = {}
    for (model, direction, k), found in grouped(own, "model", "direction", "k").items():
        clean = [cell["recall"] for cell in found if not cell["ratio"]]
        hurt = {
            (cell["occluder"], severity_of(cell["occluder"], cell["ratio"]) or 0): cell["recall"]
            for cell in found
            if cell["ratio"]
        }
        if clean and hurt:
            recalls[model, direction, k] = Recalls(float(np.mean(clean)), hurt)
    rows = []
    for (model, direction, k), one in recalls.items():
        other = recalls.get((reference, direction, k))
        alike = other is not None and other.corrupted.keys() == one.corrupted.keys()
        mean, parts = corruption_errors(one, other if alike else None)
        told = {"model": model, "direction": direction, "k": k}
        rows.append(
            plain(
                CORRUPTIONS,
                **told,
                reference=reference if alike else None,
                mmi=mean.mmi,
                mce=mean.ce,
                relative_mce=mean.relative_ce,
                parts=parts,
            )
        )
    return rows
