"""What pytest sees: options, what a test holds in its hands, the collector, xdist, progress.

Hooks are thin: they turn pytest's questions into those of the rooms below. May import every other
room; only ``plugin.py`` imports this one. Gives: ``options``, ``checks``, ``collector``,
``scheduling`` (only where xdist is), ``speaking``.
"""
