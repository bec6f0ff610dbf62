"""The roof: pytest hooks, options and fixtures. Nothing else, and nothing heavy at import."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_occlusion.hooks import properties
from pytest_occlusion.hooks.collector import Collector
from pytest_occlusion.hooks.options import (
    SETTINGS_KEY,
    add_options,
    explained,
    in_use,
    is_configured,
    is_controller,
    is_updating,
    option,
    settings_of,
)

if TYPE_CHECKING:
    from pytest_occlusion.engine.session import Session
    from pytest_occlusion.gate.judging import Gate
    from pytest_occlusion.gate.quick import QuickGate
    from pytest_occlusion.hooks.checks import CellCheck, ClaimCheck, CurveCheck, GroupCheck
    from pytest_occlusion.hooks.quick import QuickCellCheck, QuickCurveCheck
    from pytest_occlusion.insight.sensitivity import SensitivityMap
    from pytest_occlusion.suite.settings import Settings

PARAMETRIZED = CLAIM, CELL, CURVE, GROUP, MODEL, MAP = tuple(
    f"occlusion_{name}" for name in ("claim", "cell", "curve", "group", "model", "map")
)
"""Fixtures that are parametrized over the claims, the cells and curves of the suite, the curves
again for every attribute of groups, the models, and the models again for their maps."""

STORED = (CELL, GROUP)
"""Those that compare with what is stored, through syrupy."""

MODELS, QUICK = "--occlusion-models", "--occlusion-quick"

STOPPING = ("-x", "--exitfirst", "--maxfail")
"""Options that would end an update at another test's failure."""

GATE_KEY: pytest.StashKey[Gate] = pytest.StashKey()
QUICK_KEY: pytest.StashKey[QuickGate] = pytest.StashKey()

JUNIT = ("recall", "ci_low", "ci_high", "hits", "queries", "baseline_hits", "verdict")
"""Fields of a cell that are also properties of their own, for readers of JUnit XML."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the group ``occlusion``."""
    add_options(parser)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Check options at once, and set up what belongs to the process that reports."""
    if is_controller(config):
        collector = Collector(config)
        config.pluginmanager.register(collector, "occlusion-collector")
    if not in_use(config):
        return
    if is_controller(config):
        from pytest_occlusion.hooks.folding import Folding

        config.pluginmanager.register(Folding(collector.why_red), "occlusion-folding")
        if not (is_configured(config) or config.getoption("tx", None)):
            return  # test modules below may know the suite; workers have to be told
    with explained(pytest.UsageError):
        settings = settings_of(config)
    if is_controller(config) and config.pluginmanager.hasplugin("xdist"):
        from pytest_occlusion.hooks.scheduling import XdistHooks, check_workers

        with explained(pytest.UsageError):
            check_workers(config, settings)
        config.pluginmanager.register(XdistHooks(settings), "occlusion-xdist")


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Answer ``-n auto`` with one worker per GPU; asked before :func:`pytest_configure`."""
    if not in_use(config):
        return None
    from pytest_occlusion.hooks.scheduling import auto_workers

    with explained(pytest.UsageError):
        return auto_workers(settings_of(config))


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say what a map costs before anything long starts."""
    settings = config.stash.get(SETTINGS_KEY, None)
    if settings is None or settings.quick or not settings.map_grid:
        return None
    from pytest_occlusion.insight.maps import map_cost

    return f"occlusion: {map_cost(settings)}"


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go of what is open, however the run ended."""
    if GATE_KEY in config.stash:
        config.stash[GATE_KEY].session.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests that ask for a cell, a curve, a model, a claim or a map."""
    asked = [name for name in PARAMETRIZED if name in metafunc.fixturenames]
    if not asked:
        return
    with explained(pytest.Collector.CollectError):
        settings = settings_of(metafunc.config, metafunc.definition.path)
    stored = [name for name in STORED if name in asked]
    if stored and not metafunc.config.pluginmanager.hasplugin("syrupy"):
        raise pytest.Collector.CollectError(
            f"{stored[0]} compares with baselines through the plugin syrupy, which is not there\n"
            "  -> run without '-p no:syrupy', or install it: pip install syrupy"
        )
    for name in asked:
        items = _parameters(name, settings)
        ids = [str(getattr(item, "id", item)) for item in items]
        metafunc.parametrize(name, items, ids=ids, indirect=True)


def _parameters(name: str, settings: Settings) -> list[Any]:
    from pytest_occlusion.suite.grid import cells, curves, grouped_curves
    from pytest_occlusion.suite.table import CLAIM_NAMES

    lacking = {
        MAP: "" if settings.map_grid else "maps are measured with --occlusion-map N",
        GROUP: "" if settings.group_by else "groups are measured with --occlusion-group-by NAMES",
    }
    if reason := lacking.get(name):
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="none")]
    grid = settings.grid
    known: dict[str, Sequence[Any]] = {
        CLAIM: CLAIM_NAMES,
        CELL: cells(grid),
        CURVE: curves(grid),
        GROUP: grouped_curves(grid, settings.group_by),
    }
    return list(known.get(name, grid.models))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which cells were selected, and check their data before the first test starts."""
    config = session.config
    params = {item: _params(item) for item in session.items}
    wanted, claims, mapped, grouped = (
        [asked[name] for asked in params.values() if asked.get(name)]
        for name in (CELL, CLAIM, MAP, GROUP)
    )
    held = [item for item, asked in params.items() if CELL in asked]
    for item, cell in zip(held, wanted, strict=True):
        item.user_properties.append((properties.CELL, cell.id))
    if option(config, "quick"):
        from pytest_occlusion.suite.grid import cells_of_curve

        # A curve is judged by the sample itself, where others look up what their cells measured.
        grouped, claims, mapped = [], [], []
        curves = [asked[CURVE] for asked in params.values() if asked.get(CURVE)]
        beside = (cells_of_curve(settings_of(config).grid, one) for one in curves)
        wanted = list(dict.fromkeys([*wanted, *chain.from_iterable(beside)]))
    if not (wanted or claims or mapped or grouped) or config.option.collectonly:
        return
    if option(config, "plan"):
        _gate(config).session.wanted = wanted
        return
    work = _gate(config).session
    if grouped:
        from pytest_occlusion.suite.grid import cells_of_curve

        asked_of = [cells_of_curve(work.settings.grid, one.curve) for one in grouped]
        wanted = list(dict.fromkeys([*wanted, *chain.from_iterable(asked_of)]))
    if claims:
        from pytest_occlusion.insight.claims import asked_later, cells_of

        wanted = list(dict.fromkeys([*wanted, *cells_of(work.settings)]))
        work.later = asked_later(work, claims)
    work.wanted = wanted
    models = list(dict.fromkeys([*(cell.model for cell in wanted), *mapped]))
    if is_controller(config) or work.settings.allow_missing:
        with explained(pytest.UsageError):
            absent = work.preflight(models)
            if is_controller(config) and is_updating(config):
                from pytest_occlusion.gate.snapshots import check_folder

                stores = [item for item in params if not params[item].keys().isdisjoint(STORED)]
                for folder in {item.path.parent for item in stores}:
                    check_folder(folder, work.settings.suite)
        for item, asked in params.items():
            about = (CELL, CURVE, GROUP, MODEL, MAP)
            needed = next((asked[name] for name in about if asked.get(name)), None)
            model = getattr(needed, "model", needed)
            if model in absent:
                item.add_marker(pytest.mark.skip(reason=f"{properties.MISSING}: {absent[model]}"))
                if work.settings.quick:
                    record = {"model": model, "fault": "its tests were skipped, as it is missing"}
                    item.user_properties.append((properties.QUICK, record))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """With ``--occlusion-plan`` say what the run would cost, and run nothing."""
    config = session.config
    if not in_use(config) or not option(config, "plan") or not is_controller(config):
        return None
    from pytest_occlusion.reporting.plan import plan_lines

    reporter = config.pluginmanager.getplugin("terminalreporter")
    with explained(pytest.UsageError):
        work = _gate(config).session
        reporter.section("plan")
        nothing = ["no test that asks for a cell is selected: nothing is planned"]
        for line in plan_lines(work, work.wanted) if work.wanted else nothing:
            reporter.write_line(line)
    return True


def _params(item: pytest.Item) -> Mapping[str, Any]:
    return getattr(getattr(item, "callspec", None), "params", {})


def _gate(config: pytest.Config, module: Path | None = None) -> Gate:
    if GATE_KEY not in config.stash:
        from pytest_occlusion.engine.session import Session
        from pytest_occlusion.gate.judging import Gate
        from pytest_occlusion.hooks.speaking import speaker

        workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
        session = Session(settings_of(config, module), workers=workers, say=speaker(config))
        config.stash[GATE_KEY] = Gate(session)
    return config.stash[GATE_KEY]


def _quick(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What checks of a quick run have in common; the verdict goes with the test's report."""
    from pytest_occlusion.reporting.quick import quick_record

    gate, model = _quick_gate(request.config), request.param.model
    record = {"model": model, "fault": "its measurement failed"}
    try:
        verdict = gate.verdict(request.path.parent, model)
        record = quick_record(verdict)
    finally:
        request.node.user_properties.append((properties.QUICK, record))
    return {
        "gate": gate,
        "folder": request.path.parent,
        "full": _command(request.config, model),
        "accept": _accept(request.config, model),
    }


def _quick_gate(config: pytest.Config) -> QuickGate:
    if QUICK_KEY not in config.stash:
        from pytest_occlusion.gate.quick import QuickGate

        config.stash[QUICK_KEY] = QuickGate(_gate(config))
    return config.stash[QUICK_KEY]


def _skip_if_quick(config: pytest.Config) -> None:
    if option(config, "quick"):
        from pytest_occlusion.hooks.quick import WHOLE

        pytest.skip(WHOLE)


def _compare(snapshot: Any) -> Callable[[dict[str, Any], str], bool]:
    """Syrupy's part: plain data against the stored snapshot of a name."""
    from pytest_occlusion.gate.snapshots import RecallSnapshot

    assertion = snapshot.use_extension(RecallSnapshot)
    return lambda data, name: bool(assertion(name=name) == data)


def _common(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What checks of cells and curves have in common."""
    return {
        "gate": _gate(request.config),
        "folder": request.path.parent,
        "updating": is_updating(request.config),
        "accept": _accept(request.config, request.param.model),
    }


@pytest.fixture
def occlusion_cell(request: pytest.FixtureRequest, snapshot: Any) -> CellCheck | QuickCellCheck:
    """One cell of the suite; parametrized.

    ``occlusion_cell.assert_accepted()`` is the regression test; ``occlusion_cell.result`` has the
    numbers for assertions of your own.
    """
    if option(request.config, "quick"):
        from pytest_occlusion.hooks.quick import QuickCellCheck

        quick = QuickCellCheck(**_quick(request), cell=request.param)
        if quick.looked_at:
            request.node.user_properties.append(("verdict", quick.quick_verdict.kind(quick.cell)))
        return quick
    from pytest_occlusion.hooks.checks import CellCheck
    from pytest_occlusion.reporting.record import cell_record

    sent, compare = request.node.user_properties, _compare(snapshot)

    def matches(data: dict[str, Any], name: str) -> bool:
        if check.writes:
            sent.append((properties.STORES, check.stored(data)))
        return compare(data, name)

    check = CellCheck(**_common(request), cell=request.param, matches=matches)
    record = cell_record(check.gate.session, check.result, check.verdict, check.provenance)
    # Not record_property: it warns, and under "-W error" fails, where --junitxml is given.
    sent.append((properties.RECORD, record))
    sent += [(name, record["cell"][name]) for name in JUNIT]
    return check


@pytest.fixture
def occlusion_curve(request: pytest.FixtureRequest) -> CurveCheck | QuickCurveCheck:
    """One curve (model, direction, occluder) of the suite; parametrized."""
    if option(request.config, "quick"):
        from pytest_occlusion.hooks.quick import QuickCurveCheck

        return QuickCurveCheck(**_quick(request), curve=request.param)
    from pytest_occlusion.hooks.checks import CurveCheck
    from pytest_occlusion.reporting.rows import curve_record

    check = CurveCheck(**_common(request), curve=request.param)
    record = curve_record(check.gate.session, check.curve)
    request.node.user_properties.append((properties.CURVE, record))
    return check


@pytest.fixture
def occlusion_group(request: pytest.FixtureRequest, snapshot: Any) -> GroupCheck:
    """The groups by one attribute, of one curve of the suite; parametrized.

    Skipped where neither the suite nor the command line names an attribute (``group-by``).
    ``occlusion_group.assert_accepted()`` is the regression test of those that the suite gates;
    ``occlusion_group.results`` has the numbers for assertions of your own.
    """
    _skip_if_quick(request.config)
    from pytest_occlusion.hooks.checks import GroupCheck
    from pytest_occlusion.reporting.rows import group_record

    sent, compare = request.node.user_properties, _compare(snapshot)

    def matches(data: dict[str, Any], name: str, stored: dict[str, Any]) -> bool:
        sent.append((properties.STORES, stored))
        return compare(data, name)

    check = GroupCheck(**_common(request), asked=request.param, matches=matches)
    given = check.grouping, check.results, check.judgement
    sent.append((properties.GROUPS, group_record(check.gate.session, request.param, *given)))
    return check


@pytest.fixture
def occlusion_claim(request: pytest.FixtureRequest) -> ClaimCheck:
    """One finding of the paper, judged on this suite; parametrized.

    Skipped, with the reason, where the suite cannot say: a model is not there, or nothing blocked.
    """
    _skip_if_quick(request.config)
    from pytest_occlusion.hooks.checks import ClaimCheck
    from pytest_occlusion.insight.claims import CLAIMS, UnaskableError, evidence_of
    from pytest_occlusion.reporting.record import claim_record

    session = _gate(request.config).session
    try:
        finding = CLAIMS[request.param].judge(evidence_of(session))
    except UnaskableError as reason:
        pytest.skip(str(reason))
    check = ClaimCheck(session.settings, finding)
    request.node.user_properties.append((properties.CLAIM, claim_record(finding, check.expected)))
    return check


@pytest.fixture
def occlusion_map(request: pytest.FixtureRequest) -> SensitivityMap:
    """Where one model of the suite looks; parametrized, and skipped without ``--occlusion-map``.

    The map goes into the summary and the result files; it is there for assertions of your own.
    """
    _skip_if_quick(request.config)
    from pytest_occlusion.insight.maps import session_map
    from pytest_occlusion.reporting.record import map_record

    session = _gate(request.config).session
    found, measured = session_map(session, request.param)
    request.node.user_properties.append((properties.MAP, map_record(session, found, measured)))
    return found


@pytest.fixture
def occlusion_model(request: pytest.FixtureRequest) -> str:
    """Name of one model of the suite; parametrized."""
    return str(request.param)


@pytest.fixture
def occlusion_session(request: pytest.FixtureRequest) -> Session:
    """What this process holds open: corpus, task, encoders, results."""
    return _gate(request.config, request.path).session


def _accept(config: pytest.Config, model: str) -> str:
    """The command line of this run, narrowed to the model, with the flag that accepts."""
    return f"{_command(config, model)} --snapshot-update"


def _command(config: pytest.Config, model: str) -> str:
    """The command line of this run, narrowed to the model; of a quick run, that of a full one."""
    own = map(str, config.invocation_params.args)
    args = getattr(config, "workerinput", {}).get("occlusion_args", own)
    valued = (MODELS, "--maxfail", QUICK)
    kept = [
        arg
        for before, arg in pairwise(["", *args])
        if arg not in ("--snapshot-update", MODELS, QUICK, *STOPPING)
        and before not in valued
        and not arg.startswith(tuple(f"{name}=" for name in valued))
    ]
    return shlex.join(["pytest", *kept, MODELS, model])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Show errors of ours as they are written, without a traceback: those of the fixtures."""
    with _shown_plainly(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """The same for those of the tests, and for verdicts."""
    with _shown_plainly(item):
        return (yield)


@contextmanager
def _shown_plainly(item: pytest.Item) -> Iterator[None]:
    if set(PARAMETRIZED).isdisjoint(getattr(item, "fixturenames", ())):
        yield
        return

    def plain(fault: Exception) -> BaseException:
        item.user_properties.append((properties.RED, properties.sent_of(fault)))
        return pytest.fail.Exception(str(fault), pytrace=False)

    with explained(plain):
        yield
