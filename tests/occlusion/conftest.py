"""All tests here work on small tensors."""

from __future__ import annotations

from tests.threads import one_thread  # noqa: F401 - a fixture
