"""What tests and workers send to the collector, by name: properties of tests, begins of reasons."""

from __future__ import annotations

MISSING = "occlusion: missing"
"""Begins the reason of a test that is skipped for want of a checkpoint or corpus."""

UNTIMED = "occlusion: not timed: "
"""Begins the reason of a timing that is skipped; the rest of it is said in the summary."""

CELL, RECORD, CLAIM, MAP, CURVE, GROUPS, STORES, SAID, RED, QUICK = OWN = tuple(
    f"pytest_occlusion.{name}"
    for name in (
        *("cell", "record", "claim", "map", "curve", "groups", "stores", "said", "red"),
        "quick",
    )
)
"""Properties of a test that are meant for the summary: the id of its cell, records of what was
measured, what of it syrupy was told to store, a line of a worker to show at once, why the test is
red where we said why, and the quick verdict on its model."""


def sent_of(fault: BaseException) -> dict[str, str]:
    """Why a test is red, as plain text that a worker can send."""
    model, brief = getattr(fault, "model", ""), getattr(fault, "brief", "")
    return {"model": model, "text": brief if model else str(fault)}
