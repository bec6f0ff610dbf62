"""The roof: pytest hooks, options and fixtures. Nothing else, and nothing heavy at import."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from pytest_occlusion.hooks import collector
from pytest_occlusion.hooks.collector import MISSING, Collector
from pytest_occlusion.hooks.options import (
    add_options,
    in_use,
    is_controller,
    is_updating,
    settings_of,
    usage_errors,
)

if TYPE_CHECKING:
    from pytest_occlusion.engine.session import Session
    from pytest_occlusion.gate.judging import Gate
    from pytest_occlusion.hooks.checks import CellCheck, ClaimCheck, CurveCheck
    from pytest_occlusion.insight.sensitivity import SensitivityMap
    from pytest_occlusion.reporting.record import Record
    from pytest_occlusion.suite.grid import Cell

CELL, CURVE, MODEL, CLAIM, MAP = (
    "occlusion_cell",
    "occlusion_curve",
    "occlusion_model",
    "occlusion_claim",
    "occlusion_map",
)
"""Fixtures that are parametrized over the cells, curves, models of the suite, the claims, and the
models again for their maps."""

MODELS = "--occlusion-models"

GATE_KEY: pytest.StashKey[Gate] = pytest.StashKey()


JUNIT = ("recall", "ci_low", "ci_high", "hits", "queries", "baseline_hits", "verdict")
"""Fields of a cell that are also properties of their own, for readers of JUnit XML."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the group ``occlusion``."""
    add_options(parser)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Check options at once, and set up what belongs to the process that reports."""
    if is_controller(config):
        config.pluginmanager.register(Collector(config), "occlusion-collector")
    with usage_errors():
        if not in_use(config):
            return
        settings = settings_of(config)
    if is_controller(config) and config.pluginmanager.hasplugin("xdist"):
        from pytest_occlusion.hooks.scheduling import XdistHooks

        config.pluginmanager.register(XdistHooks(settings), "occlusion-xdist")


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Answer ``-n auto`` with one worker per GPU; asked before :func:`pytest_configure`."""
    if not in_use(config):
        return None
    from pytest_occlusion.hooks.scheduling import auto_workers

    with usage_errors():
        return auto_workers(settings_of(config))


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what a map costs before anything long starts."""
    if not in_use(config) or not settings_of(config).map_grid:
        return None
    from pytest_occlusion.insight.maps import map_cost

    return f"occlusion: {map_cost(settings_of(config))}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take progress off the terminal and let go of what is open, however the run ended."""
    if GATE_KEY in config.stash:
        config.stash[GATE_KEY].session.close()
    if "pytest_occlusion.hooks.speaking" in sys.modules:  # else nothing was ever shown
        from pytest_occlusion.hooks.speaking import end

        end(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests that ask for a cell, a curve, a model, a claim or a map."""
    asked = [name for name in (CELL, CURVE, MODEL, MAP) if name in metafunc.fixturenames]
    if CLAIM in metafunc.fixturenames:
        from pytest_occlusion.suite.settings import CLAIM_NAMES

        metafunc.parametrize(CLAIM, CLAIM_NAMES, indirect=True)
    if not asked:
        return
    from pytest_occlusion.errors import OcclusionError
    from pytest_occlusion.suite.grid import cells, curves

    try:
        grid = settings_of(metafunc.config).grid
        mapped = settings_of(metafunc.config).map_grid
    except OcclusionError as fault:
        raise pytest.Collector.CollectError(str(fault)) from None
    for name in asked:
        if name == MAP and not mapped:
            reason = pytest.mark.skip(reason="maps are measured with --occlusion-map N")
            metafunc.parametrize(name, [pytest.param(None, marks=reason)], ids=["none"])
            continue
        if name in (MODEL, MAP):
            metafunc.parametrize(name, grid.models, ids=grid.models, indirect=True)
            continue
        items: list[Any] = cells(grid) if name == CELL else list(curves(grid))
        metafunc.parametrize(name, items, ids=[item.id for item in items], indirect=True)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which cells were selected, and check their data before the first test starts."""
    config = session.config
    held: list[tuple[pytest.Item, Cell]] = [
        (item, p[CELL]) for item in session.items if CELL in (p := _params(item))
    ]
    for item, cell in held:
        item.user_properties.append((collector.CELL, cell.id))
    wanted = [cell for _, cell in held]
    claims: list[str] = [p[CLAIM] for item in session.items if CLAIM in (p := _params(item))]
    mapped: list[str] = [p[MAP] for item in session.items if (p := _params(item)).get(MAP)]
    if not (wanted or claims or mapped) or config.option.collectonly:
        return
    work = _gate(config).session
    if claims:
        from pytest_occlusion.insight.claims import asked_later
        from pytest_occlusion.insight.evidence import cells_of

        wanted = list(dict.fromkeys([*wanted, *cells_of(work.settings)]))
        work.later = asked_later(work, claims)
    work.wanted = wanted
    models = list(dict.fromkeys([*(cell.model for cell in wanted), *mapped]))
    if is_controller(config) or work.settings.allow_missing:
        with usage_errors():
            absent = work.preflight(models)
            if is_controller(config) and is_updating(config):
                from pytest_occlusion.gate.snapshots import check_folder

                for folder in {item.path.parent for item, _ in held}:
                    check_folder(folder, work.settings.suite)
        for item in session.items:
            model = _model_of(item)
            if model in absent:
                item.add_marker(pytest.mark.skip(reason=f"{MISSING}: {absent[model]}"))


def _params(item: pytest.Item) -> Mapping[str, Any]:
    callspec: Any = getattr(item, "callspec", None)
    return callspec.params if callspec is not None else {}


def _model_of(item: pytest.Item) -> str | None:
    """The model that a test of ours needs."""
    params = _params(item)
    for name in (CELL, CURVE):
        if name in params:
            return str(params[name].model)
    return next((str(params[name]) for name in (MODEL, MAP) if params.get(name)), None)


def _gate(config: pytest.Config) -> Gate:
    if GATE_KEY not in config.stash:
        from pytest_occlusion.engine.session import Session
        from pytest_occlusion.gate.judging import Gate
        from pytest_occlusion.hooks.speaking import speaker

        workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
        session = Session(settings_of(config), workers=workers, say=speaker(config))
        config.stash[GATE_KEY] = Gate(session)
    return config.stash[GATE_KEY]


@pytest.fixture
def occlusion_cell(request: pytest.FixtureRequest, snapshot: Any) -> CellCheck:
    """One cell of the suite; parametrized.

    ``occlusion_cell.assert_accepted()`` is the regression test; ``occlusion_cell.result`` has the
    numbers for assertions of your own.
    """
    from pytest_occlusion.errors import OcclusionError
    from pytest_occlusion.gate.snapshots import RecallSnapshot
    from pytest_occlusion.hooks.checks import CellCheck

    assertion = snapshot.use_extension(RecallSnapshot)
    properties = request.node.user_properties

    def matches(data: dict[str, Any], name: str) -> bool:
        if check.writes:
            properties.append((collector.STORES, check.stored(data)))
        return bool(assertion(name=name) == data)

    check = CellCheck(
        cell=request.param,
        gate=_gate(request.config),
        folder=request.path.parent,
        matches=matches,
        updating=is_updating(request.config),
        accept=_accept(request.config, request.param.model),
    )
    try:
        record = _cell_record(check)
    except OcclusionError as fault:
        raise pytest.fail.Exception(str(fault), pytrace=False) from None
    # Not record_property: it warns, and under "-W error" fails, where --junitxml is given.
    properties.append((collector.RECORD, record))
    properties += [(name, record["cell"][name]) for name in JUNIT]
    return check


def _cell_record(check: CellCheck) -> Record:
    from pytest_occlusion.reporting.record import cell_record

    return cell_record(check.gate.session, check.result, check.verdict, check.provenance)


@pytest.fixture
def occlusion_curve(request: pytest.FixtureRequest) -> CurveCheck:
    """One curve (model, direction, occluder) of the suite; parametrized."""
    from pytest_occlusion.hooks.checks import CurveCheck

    return CurveCheck(
        curve=request.param,
        gate=_gate(request.config),
        folder=request.path.parent,
        accept=_accept(request.config, request.param.model),
        updating=is_updating(request.config),
    )


@pytest.fixture
def occlusion_claim(request: pytest.FixtureRequest) -> ClaimCheck:
    """One finding of the paper, judged on this suite; parametrized.

    Skipped, with the reason, where the suite cannot say: a model is not there, or nothing blocked.
    """
    from pytest_occlusion.errors import OcclusionError
    from pytest_occlusion.hooks.checks import ClaimCheck
    from pytest_occlusion.insight.claims import CLAIMS
    from pytest_occlusion.insight.evidence import UnaskableError, evidence_of
    from pytest_occlusion.reporting.record import claim_record

    session = _gate(request.config).session
    try:
        finding = CLAIMS[request.param].judge(evidence_of(session))
    except UnaskableError as reason:
        pytest.skip(str(reason))
    except OcclusionError as fault:
        raise pytest.fail.Exception(str(fault), pytrace=False) from None
    check = ClaimCheck(session.settings, finding)
    request.node.user_properties.append((collector.CLAIM, claim_record(finding, check.expected)))
    return check


@pytest.fixture
def occlusion_map(request: pytest.FixtureRequest) -> SensitivityMap:
    """Where one model of the suite looks; parametrized, and skipped without ``--occlusion-map``.

    The map goes into the summary and the result files; it is there for assertions of your own.
    """
    from pytest_occlusion.errors import OcclusionError
    from pytest_occlusion.insight.maps import session_map
    from pytest_occlusion.reporting.map_record import map_record

    session = _gate(request.config).session
    try:
        found, measured = session_map(session, request.param)
    except OcclusionError as fault:
        raise pytest.fail.Exception(str(fault), pytrace=False) from None
    request.node.user_properties.append((collector.MAP, map_record(session, found, measured)))
    return found


@pytest.fixture
def occlusion_model(request: pytest.FixtureRequest) -> str:
    """Name of one model of the suite; parametrized."""
    return str(request.param)


@pytest.fixture
def occlusion_session(request: pytest.FixtureRequest) -> Session:
    """What this process holds open: corpus, task, encoders, results."""
    return _gate(request.config).session


def _accept(config: pytest.Config, model: str) -> str:
    """The command line of this run, narrowed to the model, with the flag that accepts."""
    given = getattr(config, "workerinput", {}).get("occlusion_args")
    args = given if given is not None else [str(arg) for arg in config.invocation_params.args]
    kept = [
        arg
        for before, arg in pairwise(["", *args])
        if arg not in ("--snapshot-update", MODELS)
        and before != MODELS
        and not arg.startswith(f"{MODELS}=")
    ]
    return shlex.join(["pytest", *kept, MODELS, model, "--snapshot-update"])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Show our verdicts and errors as they are written, without a traceback."""
    if {CELL, CURVE, MODEL, CLAIM, MAP} & set(getattr(item, "fixturenames", ())):
        from pytest_occlusion.errors import OcclusionError
        from pytest_occlusion.hooks.checks import UnacceptedError

        try:
            return (yield)
        except (UnacceptedError, OcclusionError) as fault:
            raise pytest.fail.Exception(str(fault), pytrace=False) from None
    return (yield)
