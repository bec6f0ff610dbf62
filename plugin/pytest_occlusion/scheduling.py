"""xdist scheduling: whole models to workers. Imported only when xdist is there.

Groups (``--dist loadgroup``) would be the ready-made way, but with pytest 9.2 and xdist 3.8 they
are silently ignored (xdist issue 1386): the group is written where pytest no longer reads it.
"""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import parse_tx_spec_config

from pytest_occlusion.grid import scope_of
from pytest_occlusion.settings import Grid


class ModelScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist is not typed
    """Sends all tests of one scope to one worker; see :func:`pytest_occlusion.grid.scope_of`."""

    def __init__(self, config: Any, log: Any, grid: Grid) -> None:
        """Keep the grid, and count the workers that will share it."""
        super().__init__(config, log)
        self.grid = grid
        self.workers = len(parse_tx_spec_config(config))

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid, self.grid, self.workers)


def model_scheduler(config: Any, log: Any, grid: Grid) -> ModelScheduling:
    """The scheduler for ``pytest_xdist_make_scheduler``."""
    return ModelScheduling(config, log, grid)
