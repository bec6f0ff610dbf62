"""xdist: whole models to workers, checks before they start. Imported only when xdist is there.

Groups (``--dist loadgroup``) would be the ready-made way, but with pytest 9.2 and xdist 3.8 they
are silently ignored (xdist issue 1386): the group is written where pytest no longer reads it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import parse_tx_spec_config

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.hooks.options import is_updating, option
from pytest_occlusion.suite.grid import cells, scope_of
from pytest_occlusion.suite.settings import Settings


def auto_workers(settings: Settings) -> int | None:
    """Workers that ``-n auto`` comes to: one per GPU; ``None`` on a CPU, where xdist knows best.

    More workers on one GPU would each hold a model in its memory and wait for one another.
    """
    if settings.engine != "local":  # one process talks to the cluster
        return 1
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:  # the user's word, which xdist reads
        return None
    from pytest_occlusion.encoders.devices import visible_gpus

    if settings.device.startswith("cuda:"):
        return 1
    return (visible_gpus() or None) if settings.device in ("auto", "cuda") else None


def check_workers(config: pytest.Config, settings: Settings) -> None:
    """See that one process alone talks to a cluster, or measures for a plan.

    Raises:
        OcclusionError: There are to be more, of which each would ask for all of a cluster's nodes,
            or none would run a test.
    """
    if config.getoption("dist") == "no" or not config.getoption("tx"):
        return
    if option(config, "plan"):
        raise OcclusionError("a plan is made by one process", remedy="use -n 0")
    if settings.engine == "local":
        return
    if (count := len(parse_tx_spec_config(config))) > 1:
        raise OcclusionError(
            f"engine {settings.engine!r} with {count} workers of xdist: "
            "one process talks to the cluster",
            remedy="use -n 0, -n 1 or -n auto; for tests that need no cluster, give "
            "--occlusion-engine local",
        )


class ModelScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist is not typed
    """Sends all tests of one scope to one worker; see ``suite.grid.scope_of``."""

    def __init__(self, config: Any, log: Any, settings: Settings) -> None:
        """Keep the grid, and count the workers that will share it."""
        super().__init__(config, log)
        self.grid = settings.grid
        # A sample is of a whole model.
        self.workers = 1 if settings.quick else len(parse_tx_spec_config(config))

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid, self.grid, self.workers)


@dataclass(eq=False)
class XdistHooks:
    """The controller's hooks."""

    settings: Settings  # workers are handed cells of their grid
    checked: bool = False

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Give whole models to workers, unless the user chose a distribution."""
        if config.getoption("dist") != "load":
            return None
        return ModelScheduling(config, log, self.settings)

    def pytest_configure_node(self, node: Any) -> None:
        """Tell workers how the user called pytest, for failures."""
        node.workerinput["occlusion_args"] = [str(a) for a in node.config.invocation_params.args]

    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """Check data and checkpoints once, here: in workers a fault would repeat for every cell."""
        if self.checked:
            return
        self.checked = True
        from pytest_occlusion.engine.session import Session
        from pytest_occlusion.gate.snapshots import check_folder
        from pytest_occlusion.hooks.speaking import speaker

        inside = {nodeid: nodeid.rpartition("[")[2].rstrip("]") for nodeid in ids if "[" in nodeid}
        model_of = {cell.id: cell.model for cell in cells(self.settings.grid)}
        held = [nodeid for nodeid, name in inside.items() if name in model_of]
        models = {model_of[inside[nodeid]] for nodeid in held}
        if self.settings.map_grid:
            models |= set(inside.values()) & set(self.settings.grid.models)
        folders = {(node.config.rootpath / one.partition("::")[0]).parent for one in held}
        try:
            if models:
                Session(self.settings, say=speaker(node.config)).preflight(sorted(models))
            if is_updating(node.config):
                for folder in folders:
                    check_folder(folder, self.settings.suite)
        except OcclusionError as fault:
            # Syrupy warns of workers that did not report, which under "-W error" would end the run
            # with a traceback instead.
            quiet = "ignore:syrupy:UserWarning"  # a colon cannot be written in a filter
            node.config.addinivalue_line("filterwarnings", quiet)
            if given := getattr(node.config.known_args_namespace, "pythonwarnings", None):
                given.append(quiet)
            pytest.exit(str(fault), returncode=pytest.ExitCode.USAGE_ERROR)
