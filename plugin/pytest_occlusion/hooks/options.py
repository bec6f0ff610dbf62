"""Options: what the command line offers, and the settings that a run is given by it.

Read at the start of every run of pytest: it imports the light table of settings and nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_occlusion.suite.table import SETTINGS

if TYPE_CHECKING:
    from pytest_occlusion.suite.settings import Quick, Settings

SETTINGS_KEY: pytest.StashKey[Settings] = pytest.StashKey()
PROJECT_KEY: pytest.StashKey[tuple[Path | None, bool]] = pytest.StashKey()
"""Folder whose ``pyproject.toml`` configures the run, and whether a test module has agreed."""

OUTPUTS = ("json", "csv", "markdown", "html")
"""Kinds of result files, as their options are called."""

OPTIONS: dict[str, dict[str, Any]] = {
    "suite": {
        "metavar": "NAME|FILE",
        "help": "suite to run: a .toml file, or one by name (default: of pyproject.toml)",
    },
    "models": {"metavar": "LIST", "help": "only these models of the suite"},
    **{name: {"metavar": "VALUE", "help": s.help} for name, s in SETTINGS.items() if s.help},
    "store": {"metavar": "DIR", "help": "where embeddings and ranks are kept between runs"},
    "no-store": {"action": "store_true", "help": "keep nothing, read nothing stored"},
    "allow-missing": {
        "action": "store_true",
        "help": "skip models and corpora that are not on this machine instead of failing",
    },
    "calibrate": {
        "metavar": "N",
        "type": int,
        "default": 0,
        "help": "with --snapshot-update: repeat N times and store how far each cell moves by "
        "itself",
    },
    "plan": {
        "action": "store_true",
        "help": "measure nothing: say what the run needs, what is stored, and how long it takes",
    },
    "quick": {
        "metavar": "SHARE|SECONDS",
        "help": "look for losses in a sample: 0.1 is a tenth of the forward passes, 60s a minute; "
        "nothing is accepted",
    },
    "show-queries": {
        "action": "store_true",
        "help": "name the radiographs that flipped; what they are called may identify patients",
    },
    **{name: {"metavar": "PATH", "help": f"write results as {name}"} for name in OUTPUTS},
}
"""Options by their names after ``--occlusion-``."""


def add_options(parser: pytest.Parser) -> None:
    """Add the group ``occlusion``."""
    group = parser.getgroup("occlusion", "report retrieval from occluded radiographs")
    for name, given in OPTIONS.items():
        group.addoption(f"--occlusion-{name}", **given)


def option(config: pytest.Config, name: str) -> Any:
    """The value of ``--occlusion-<name>``."""
    return config.getoption(f"occlusion_{name.replace('-', '_')}")


def is_controller(config: pytest.Config) -> bool:
    """Whether this process reports (a serial run, or xdist's controller)."""
    return not hasattr(config, "workerinput")


def is_updating(config: pytest.Config) -> bool:
    """Whether ``--snapshot-update`` was given; without syrupy nobody knows the option."""
    return bool(config.getoption("update_snapshots", False))


def in_use(config: pytest.Config) -> bool:
    """Whether this run asks for occlusion at all; other projects must notice nothing of us."""
    return any(option(config, name) for name in OPTIONS) or bool(_projects(config))


def is_configured(config: pytest.Config) -> bool:
    """Whether a suite is named before any test module is known."""
    return option(config, "suite") is not None or bool(_projects(config))


def _projects(config: pytest.Config, places: Iterable[Path] | None = None) -> list[Path]:
    """Folders whose ``pyproject.toml`` configures us, each the nearest above one of the places.

    Without places, above what pytest was told to collect.
    """
    root, start = config.rootpath, config.invocation_params.dir
    if places is None:
        given = (os.path.normpath(start / arg.partition("::")[0]) for arg in config.args)
        places = dict.fromkeys(map(Path, given))
    configures = functools.cache(_configures)
    found: dict[Path, None] = {}
    for place in places:
        above = (place, *place.parents)
        inside = [one for one in above if one.is_relative_to(root) or one.is_relative_to(start)]
        found |= dict.fromkeys(list(filter(configures, (*inside, root)))[:1])
    return list(found)


def _configures(folder: Path) -> bool:
    # Looked for as bytes: other projects' runs should not even import our settings.
    with contextlib.suppress(OSError, ValueError):
        return b"tool.occlusion" in (folder / "pyproject.toml").read_bytes()
    return False


def settings_of(config: pytest.Config, module: Path | None = None) -> Settings:
    """The settings of this run, read at first use.

    Args:
        config: pytest's.
        module: The test module that asks: what configures it has to configure the run.

    Raises:
        OcclusionError: The suite or the command line is at fault.
    """
    stash = config.stash
    if module is not None or PROJECT_KEY not in stash:
        near = _projects(config, None if module is None else [module.parent])
        found = near[0] if near else None
        used, agreed = stash.get(PROJECT_KEY, (None, False))
        if option(config, "suite") is None:
            rivals = {used, found, *near} if used or agreed else {found, *near}
            if len(rivals) > 1:
                _refuse(config, rivals)
            if found != used and SETTINGS_KEY in stash:  # until now nothing configured the run
                del stash[SETTINGS_KEY]
        told = "occlusion_args" in getattr(config, "workerinput", {})  # xdist's controller is sure
        stash[PROJECT_KEY] = found, told or module is not None
    if SETTINGS_KEY not in stash:
        stash[SETTINGS_KEY] = _settings(config)
    return stash[SETTINGS_KEY]


def _refuse(config: pytest.Config, projects: Iterable[Path | None]) -> None:
    from pytest_occlusion.errors import OcclusionError

    none = f"nothing (no [tool.occlusion] up to {config.rootpath})"
    said = sorted(str(folder / "pyproject.toml") if folder else none for folder in projects)
    raise OcclusionError(
        f"tests of this run are configured by {' and by '.join(said)}",
        remedy="start pytest with the tests of one of them, as in: pytest FOLDER, or name the "
        "suite of all with --occlusion-suite",
    )


def _settings(config: pytest.Config) -> Settings:
    from pytest_occlusion.engine.store import default_root
    from pytest_occlusion.suite.merge import read_settings

    given = {name: option(config, name) for name in OPTIONS}
    folder, root = config.stash[PROJECT_KEY][0], config.rootpath
    texts = {name: given[name] for name in SETTINGS if name in given}
    place = root if given["suite"] else folder or root
    settings = read_settings(given["suite"], place, texts, given["models"])
    runs = given["calibrate"]
    if runs and not is_updating(config):
        raise pytest.UsageError(
            "--occlusion-calibrate stores what it finds\n  -> give --snapshot-update with it"
        )
    if runs < 0 or runs == 1:
        raise pytest.UsageError(
            f"--occlusion-calibrate {runs}: a spread needs 2 runs or more\n  -> 6 is a good start"
        )
    quick = _quick(config, settings)
    named = ("store", *OUTPUTS)
    paths = {n: Path(given[n]).expanduser().absolute() for n in named if given[n]}
    store = paths.pop("store", None) or default_root()
    return replace(
        settings,
        store=None if given["no-store"] else store,
        outputs=paths,
        allow_missing=given["allow-missing"],
        calibrate=runs,
        quick=quick,
        show_queries=given["show-queries"],
    )


def _quick(config: pytest.Config, settings: Settings) -> Quick | None:
    """How much a quick run may do; ``None`` where none is asked for."""
    from pytest_occlusion.suite.settings import Quick

    text = option(config, "quick")
    if text is None:
        return None
    found = re.fullmatch(r"(\d*\.?\d+)(s?)", text.strip())
    number = float(found[1]) if found else 0.0
    if not found or not number or (number < 1) == bool(found[2]):
        raise pytest.UsageError(
            f"--occlusion-quick {text}: a share of the forward passes below 1 is needed, or seconds"
            "\n  -> 0.1 is a tenth of a full run, 60s a minute"
        )
    refused = {
        "--snapshot-update": (is_updating(config), "a sample accepts nothing"),
        "--occlusion-plan": (option(config, "plan"), "a plan is of a full run"),
        "--occlusion-csv": (option(config, "csv"), "a sample has no cells to list"),
        "--occlusion-html": (option(config, "html"), "a sample has no curves to draw"),
        "--occlusion-map": (option(config, "map") and settings.map_grid, "a sample has no map"),
        "--occlusion-engine": (settings.engine != "local", "this process measures a sample"),
    }
    for name, (given, why) in refused.items():
        if given:
            raise pytest.UsageError(
                f"--occlusion-quick with {name}: {why}\n  -> leave one of them out"
                + (", or give --occlusion-engine local" if name.endswith("engine") else "")
            )
    if settings.ad_hoc:
        raise pytest.UsageError(
            "--occlusion-quick compares with baselines, and none applies: the command line "
            f"changed {', '.join(settings.ad_hoc)}\n  -> leave that out, or write it as a suite "
            "of its own"
        )
    return Quick(share=number) if number < 1 else Quick(seconds=number)


@contextlib.contextmanager
def explained(become: Callable[[Exception], BaseException]) -> Iterator[None]:
    """Turn our errors into one of pytest's that shows the message without a traceback."""
    try:
        yield
    except Exception as fault:
        from pytest_occlusion.errors import OcclusionError, UnacceptedError

        if isinstance(fault, OcclusionError | UnacceptedError):
            raise become(fault) from None
        raise
