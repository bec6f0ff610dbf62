"""The gate: baselines, verdicts, and why a number moved.

Recall meets what was accepted (``snapshots``) and becomes a verdict (``verdicts``), with where it
comes from (``provenance``) and how two runs differ (``compare``). ``judging`` is its door, and
knows how much recall moves by itself. May import ``insight`` and the rooms below it.
"""
