"""Options: what the command line offers, and the settings that a run is given by it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_occlusion.suite.settings import Settings

SETTINGS_KEY: pytest.StashKey[Settings] = pytest.StashKey()

# (setting, type of a comma-separated list's items or None, help)
SETTING_OPTIONS: tuple[tuple[str, type | None, str], ...] = (
    ("ratios", float, "blocked shares in [0, 1), e.g. 0,0.25,0.5"),
    ("ks", int, "list lengths of Recall@k, e.g. 5,10"),
    ("severities", int, "of corruptions, 0 to 5, e.g. 0,3,5"),
    (
        "occluders",
        str,
        "block, patches, pixels, center, border; or corruptions: gaussian-noise, blur, "
        "motion-blur, jpeg, contrast, brightness, down-sampling, rotation",
    ),
    ("fill", None, "black, white, mean or noise"),
    ("seed", int, "mask seed; several are pooled, e.g. 0,1,2"),
    ("corpus", None, "embedded, open-i[:ROOT], manifest:FILE, mimic-cxr:ROOT"),
    ("candidates", None, "texts (distinct reports) or studies"),
    ("text-rule", None, "findings+impression, longest, impression, findings or full"),
    ("direction", None, "image-to-text or both"),
    ("tolerance", None, "queries of a cell that may change, or a share of them below 1"),
    ("fail-on", None, "any, regression or significant-regression"),
    ("device", None, "auto, cpu, cuda or cuda:N"),
    ("precision", None, "fp32, bf16 or fp16"),
    ("batch-size", None, "radiographs per forward pass"),
    (
        "map",
        None,
        "slide a tile over N x N places: where does retrieval suffer? costs N^2 passes",
    ),
    ("map-ratios", float, "further tile sizes for the worst placement: blocked shares, or all"),
)

OUTPUTS = ("json", "csv", "markdown", "html")
"""Kinds of result files, as their options are called."""


def add_options(parser: pytest.Parser) -> None:
    """Add the group ``occlusion``."""
    group = parser.getgroup("occlusion", "report retrieval from occluded radiographs")
    group.addoption(
        "--occlusion-suite",
        metavar="NAME|FILE",
        help="suite to run: a .toml file, or one by name (default: pyproject.toml, or embedded)",
    )
    group.addoption("--occlusion-models", metavar="LIST", help="only these models of the suite")
    for name, _, text in SETTING_OPTIONS:
        group.addoption(f"--occlusion-{name}", metavar="VALUE", help=text)
    group.addoption(
        "--occlusion-store", metavar="DIR", help="where embeddings and ranks are kept between runs"
    )
    group.addoption(
        "--occlusion-no-store", action="store_true", help="keep nothing, read nothing stored"
    )
    group.addoption(
        "--occlusion-allow-missing",
        action="store_true",
        help="skip models and corpora that are not on this machine instead of failing",
    )
    group.addoption(
        "--occlusion-calibrate",
        metavar="N",
        type=int,
        default=0,
        help="with --snapshot-update: repeat N times and store how far each cell moves by itself",
    )
    group.addoption(
        "--occlusion-show-queries",
        action="store_true",
        help="name the radiographs that flipped; what they are called may identify patients",
    )
    for name in OUTPUTS:
        group.addoption(f"--occlusion-{name}", metavar="PATH", help=f"write results as {name}")


def option(config: pytest.Config, name: str) -> Any:
    """The value of ``--occlusion-<name>``."""
    return config.getoption(f"occlusion_{name.replace('-', '_')}")


def is_controller(config: pytest.Config) -> bool:
    """Whether this process reports (a serial run, or xdist's controller)."""
    return not hasattr(config, "workerinput")


def is_updating(config: pytest.Config) -> bool:
    """Whether ``--snapshot-update`` was given; without syrupy nobody knows the option."""
    return bool(config.getoption("update_snapshots", False))


def settings_of(config: pytest.Config) -> Settings:
    """The settings of this run, read at first use.

    Raises:
        OcclusionError: The suite or the command line is at fault.
    """
    if SETTINGS_KEY not in config.stash:
        from pytest_occlusion.engine.store import default_root
        from pytest_occlusion.suite.merge import build_settings, parse_list
        from pytest_occlusion.suite.suites import find_suite

        models = option(config, "models")
        store = option(config, "store")
        settings = build_settings(
            find_suite(option(config, "suite"), config.rootpath),
            command_line=_given(config),
            selected=parse_list(models, str) if models else None,
            store=None
            if option(config, "no-store")
            else Path(store).expanduser().absolute()
            if store
            else default_root(),
            outputs={
                name: Path(path).expanduser().absolute()
                for name in OUTPUTS
                if (path := option(config, name))
            },
            allow_missing=bool(option(config, "allow-missing")),
        )
        config.stash[SETTINGS_KEY] = replace(
            settings,
            calibrate=_calibrate(config),
            show_queries=bool(option(config, "show-queries")),
        )
    return config.stash[SETTINGS_KEY]


def _calibrate(config: pytest.Config) -> int:
    runs = int(option(config, "calibrate"))
    if runs and not is_updating(config):
        raise pytest.UsageError(
            "--occlusion-calibrate stores what it finds\n  -> give --snapshot-update with it"
        )
    if runs < 0 or runs == 1:
        raise pytest.UsageError(
            f"--occlusion-calibrate {runs}: a spread needs 2 runs or more\n  -> 6 is a good start"
        )
    return runs


def _given(config: pytest.Config) -> dict[str, Any]:
    from pytest_occlusion.suite.merge import parse_list

    given: dict[str, Any] = {}
    for name, kind, _ in SETTING_OPTIONS:
        text = option(config, name)
        if text is None:
            continue
        if kind is not None:
            given[name] = parse_list(text, kind)
        elif name in ("tolerance", "batch-size", "map"):
            value = parse_list(text, int)[0]
            given[name] = parse_list(text, float)[0] if isinstance(value, str) else value
        else:
            given[name] = text
    return given


def in_use(config: pytest.Config) -> bool:
    """Whether this run asks for occlusion at all; other projects must notice nothing of us."""
    asked = ("suite", "models", "store", "no-store", "allow-missing", *OUTPUTS)
    if any(option(config, name) for name in (*asked, *(name for name, _, _ in SETTING_OPTIONS))):
        return True
    # Looked for as bytes: other projects' runs should not even import our settings.
    table = config.rootpath / "pyproject.toml"
    return table.is_file() and b"tool.occlusion" in table.read_bytes()


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Turn our errors into pytest's usage errors: a message and exit status 4, no traceback."""
    try:
        yield
    except Exception as fault:
        from pytest_occlusion.errors import OcclusionError

        if isinstance(fault, OcclusionError):
            raise pytest.UsageError(str(fault)) from None
        raise
