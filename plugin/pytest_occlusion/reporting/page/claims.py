"""The findings of the paper, with their numbers as bars on one scale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from pytest_occlusion.reporting import svg
from pytest_occlusion.reporting.page.pieces import plain, table
from pytest_occlusion.reporting.views import Results


def claims_section(document: Results) -> Iterator[str]:
    """What every claim came to."""
    if not document["claims"]:
        yield '<p class="note">No claim was asked of this run.</p>'
        return
    signs = {"supported": "\u2713", "contradicted": "\u2717"}
    rows = []
    for claim in document["claims"]:
        outcome = claim["outcome"]
        expected = claim["expected"]
        state = f"{signs.get(outcome, '?')} {escape(outcome)}"
        if expected is not None:
            same = "as expected" if expected == outcome else f"expected: {expected}"
            state += f"<br><small>{escape(plain(same))}</small>"
        notes = "".join(
            f"<br><small>{escape(plain(one))}</small>" for one in (claim["unit"], *claim["notes"])
        )
        rows.append([escape(claim["statement"]) + notes, state, _estimates(claim["estimates"])])
    yield table(
        "Claims of Deanda et al. 2025, with 95 % intervals over patients; the upright line is what "
        "an interval is compared with",
        ["claim", "outcome", "estimates"],
        rows,
    )


def _estimates(estimates: Sequence[Mapping[str, Any]]) -> str:
    """Each number in words, and beside it as a bar on one scale."""
    if not estimates:
        return ""
    ends = [one[name] for one in estimates for name in ("low", "high", "threshold", "value")]
    scale = (min(ends), max(ends))
    return "".join(
        '<div class="estimate">'
        f"{svg.interval_bar(one['value'], one['low'], one['high'], one['threshold'], scale)}"
        f"<span>{escape(plain(one.get('label')))}: {one['value']:.2f} "
        f"[{one['low']:.2f}, {one['high']:.2f}]; compared with {one['threshold']:g}</span></div>"
        for one in estimates
    )
