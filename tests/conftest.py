"""What all tests share: hypothesis without clocks, and runs of pytest that know of no outer one."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("repository", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("explore", deadline=None, max_examples=500)
settings.load_profile("repository")


@pytest.fixture(autouse=True)
def _no_outer_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under ``-n`` a run of pytest inside a test would take itself for an outer worker."""
    for name in ("WORKER", "WORKER_COUNT", "TESTRUNUID"):
        monkeypatch.delenv(f"PYTEST_XDIST_{name}", raising=False)
    monkeypatch.delenv("OCCLUSION_STORE", raising=False)
