"""What tests and workers send to the collector, by name: properties of tests, begins of reasons."""

from __future__ import annotations

MISSING = "occlusion: missing"
"""Begins the reason of a test that is skipped for want of a checkpoint or corpus."""

UNTIMED = "occlusion: not timed: "
"""Begins the reason of a timing that is skipped; the rest of it is said in the summary."""

CELL, RECORD, CLAIM, MAP, CURVE, GROUPS, STORES, SAID = OWN = tuple(
    f"pytest_occlusion.{name}"
    for name in ("cell", "record", "claim", "map", "curve", "groups", "stores", "said")
)
"""Properties of a test that are meant for the summary: the id of its cell, records of what was
measured, what of it syrupy was told to store, and a line of a worker to show at once."""
