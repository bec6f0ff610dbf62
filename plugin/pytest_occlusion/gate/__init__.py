"""The gate: baselines, verdicts, and why a number moved.

Recall meets what was accepted (``snapshots``) and becomes a verdict (``verdicts``), with where it
comes from (``provenance``), how much it moves by itself (``calibration``) and how two runs differ
(``compare``). May import ``insight`` and the rooms below it. ``judging`` is its door.
"""
