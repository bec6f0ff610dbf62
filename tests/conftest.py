"""What all unit tests share: hypothesis without clocks, and the same examples everywhere."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repository", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("explore", deadline=None, max_examples=500)
settings.load_profile("repository")
