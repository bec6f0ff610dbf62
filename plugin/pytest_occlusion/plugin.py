"""The roof: pytest hooks, options and fixtures. Nothing else, and nothing heavy at import."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_occlusion.checks import CellCheck, CurveCheck
    from pytest_occlusion.grid import Cell
    from pytest_occlusion.reporting.record import Record
    from pytest_occlusion.session import Session
    from pytest_occlusion.settings import Settings

CELL, CURVE, MODEL = "occlusion_cell", "occlusion_curve", "occlusion_model"
"""Fixtures that are parametrized over the cells, curves and models of the suite."""

SETTINGS_KEY: pytest.StashKey[Settings] = pytest.StashKey()
SESSION_KEY: pytest.StashKey[Session] = pytest.StashKey()
RECORDS_KEY: pytest.StashKey[list[Record]] = pytest.StashKey()

# (setting, type of a comma-separated list's items or None, help)
SETTING_OPTIONS: tuple[tuple[str, type | None, str], ...] = (
    ("ratios", float, "blocked shares in [0, 1), e.g. 0,0.25,0.5"),
    ("ks", int, "list lengths of Recall@k, e.g. 5,10"),
    ("occluders", str, "block, patches, pixels, center, border"),
    ("fill", None, "black, white, mean or noise"),
    ("seed", int, "mask seed; several are pooled, e.g. 0,1,2"),
    ("corpus", None, "embedded, open-i[:FOLDER], manifest:FILE"),
    ("candidates", None, "texts (distinct reports) or studies"),
    ("text-rule", None, "findings+impression, longest, impression, findings or full"),
    ("direction", None, "image-to-text or both"),
    ("tolerance", None, "queries of a cell that may change, or a share of them below 1"),
    ("fail-on", None, "any, regression or significant-regression"),
    ("device", None, "auto, cpu, cuda or cuda:N"),
    ("precision", None, "fp32, bf16 or fp16"),
    ("batch-size", None, "radiographs per forward pass"),
)


MISSING = "occlusion: missing"
"""Begins the reason of a test that is skipped for want of a checkpoint or corpus."""

JUNIT = ("recall", "ci_low", "ci_high", "hits", "queries", "baseline_hits", "verdict")
"""Fields of a cell that are also properties of their own, for readers of JUnit XML."""

OUTPUTS = ("json", "csv", "markdown")


def pytest_addoption(parser: pytest.Parser) -> None:
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


def _option(config: pytest.Config, name: str) -> Any:
    return config.getoption(f"occlusion_{name.replace('-', '_')}")


def _is_controller(config: pytest.Config) -> bool:
    return not hasattr(config, "workerinput")


def _settings(config: pytest.Config) -> Settings:
    """The settings of this run, read at first use.

    Raises:
        OcclusionError: The suite or the command line is at fault.
    """
    if SETTINGS_KEY not in config.stash:
        from pytest_occlusion.settings import build_settings
        from pytest_occlusion.store import default_root
        from pytest_occlusion.suites import find_suite

        suite = find_suite(_option(config, "suite"), config.rootpath)
        models = _option(config, "models")
        store = _option(config, "store")
        settings = build_settings(
            suite.table,
            origin=suite.origin,
            base=suite.base,
            command_line=_given(config),
            selected=[name.strip() for name in models.split(",")] if models else None,
            store=None
            if _option(config, "no-store")
            else Path(store).expanduser().absolute()
            if store
            else default_root(),
            outputs={
                name: Path(path).expanduser().absolute()
                for name in OUTPUTS
                if (path := _option(config, name))
            },
            allow_missing=bool(_option(config, "allow-missing")),
        )
        config.stash[SETTINGS_KEY] = replace(
            settings,
            calibrate=_calibrate(config),
            show_queries=bool(_option(config, "show-queries")),
        )
    return config.stash[SETTINGS_KEY]


def _calibrate(config: pytest.Config) -> int:
    runs = int(_option(config, "calibrate"))
    if runs and not config.getoption("update_snapshots", False):
        raise pytest.UsageError(
            "--occlusion-calibrate stores what it finds\n  -> give --snapshot-update with it"
        )
    if runs < 0 or runs == 1:
        raise pytest.UsageError(
            f"--occlusion-calibrate {runs}: a spread needs 2 runs or more\n  -> 6 is a good start"
        )
    return runs


def _given(config: pytest.Config) -> dict[str, Any]:
    from pytest_occlusion.settings import parse_list

    given: dict[str, Any] = {}
    for name, kind, _ in SETTING_OPTIONS:
        text = _option(config, name)
        if text is None:
            continue
        if kind is not None:
            given[name] = parse_list(text, kind)
        elif name in ("tolerance", "batch-size"):
            number = int if name == "batch-size" or "." not in text else float
            given[name] = parse_list(text, number)[0]
        else:
            given[name] = text
    return given


def _in_use(config: pytest.Config) -> bool:
    """Whether this run asks for occlusion at all; other projects must notice nothing of us."""
    asked = ("suite", "models", "store", "no-store", "allow-missing", *OUTPUTS)
    if any(_option(config, name) for name in (*asked, *(name for name, _, _ in SETTING_OPTIONS))):
        return True
    # Looked for as bytes: other projects' runs should not even import our settings.
    table = config.rootpath / "pyproject.toml"
    return table.is_file() and b"tool.occlusion" in table.read_bytes()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Check options at once, and set up what belongs to the process that reports."""
    config.stash[RECORDS_KEY] = []
    if _is_controller(config):
        config.pluginmanager.register(Collector(config), "occlusion-collector")
    with _usage_errors():
        if not _in_use(config):
            return
        settings = _settings(config)
    if config.pluginmanager.hasplugin("xdist"):
        config.pluginmanager.register(XdistHooks(settings), "occlusion-xdist")


class _usage_errors:  # noqa: N801 - a context manager
    """Turn our errors into pytest's usage errors: a message and exit status 4, no traceback."""

    def __enter__(self) -> None:
        """Nothing to set up."""

    def __exit__(self, kind: object, value: BaseException | None, trace: object) -> None:
        if value is None:
            return
        from pytest_occlusion.errors import OcclusionError

        if isinstance(value, OcclusionError):
            raise pytest.UsageError(str(value)) from None


class XdistHooks:
    """Hooks that exist only when xdist does."""

    def __init__(self, settings: Settings) -> None:
        """Keep the settings: workers are handed cells of the grid."""
        self.settings = settings
        self.checked = False

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Give whole models to workers, unless the user chose a distribution."""
        if config.getoption("dist") != "load":
            return None
        from pytest_occlusion.scheduling import model_scheduler

        return model_scheduler(config, log, self.settings.grid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell workers how the user called pytest, so that failures name the right command."""
        node.workerinput["occlusion_args"] = [str(a) for a in node.config.invocation_params.args]

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: Any, ids: list[str]) -> None:
        """Check data and checkpoints once, here: in workers a fault would repeat for every cell."""
        if self.checked:
            return
        self.checked = True
        from pytest_occlusion.errors import OcclusionError
        from pytest_occlusion.grid import cells
        from pytest_occlusion.session import Session

        brackets = {nodeid.rpartition("[")[2].rstrip("]") for nodeid in ids if "[" in nodeid}
        models = {cell.model for cell in cells(self.settings.grid) if cell.id in brackets}
        if models:
            try:
                Session(self.settings).preflight(sorted(models))
            except OcclusionError as fault:
                _expect_no_worker_reports(node.config)
                pytest.exit(str(fault), returncode=pytest.ExitCode.USAGE_ERROR)


def _expect_no_worker_reports(config: pytest.Config) -> None:
    """Keep syrupy's warning about workers that did not report from hiding our message.

    Under ``-W error`` it would end the run with syrupy's traceback instead.
    """
    quiet = "ignore:syrupy:UserWarning"  # a colon cannot be written in a filter
    config.addinivalue_line("filterwarnings", quiet)
    given = getattr(config.known_args_namespace, "pythonwarnings", None)
    if given:
        given.append(quiet)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize tests that ask for a cell, a curve or a model."""
    asked = [name for name in (CELL, CURVE, MODEL) if name in metafunc.fixturenames]
    if not asked:
        return
    from pytest_occlusion.errors import OcclusionError
    from pytest_occlusion.grid import cells, curves

    try:
        grid = _settings(metafunc.config).grid
    except OcclusionError as fault:
        raise pytest.Collector.CollectError(str(fault)) from None
    for name in asked:
        if name == MODEL:
            metafunc.parametrize(name, grid.models, ids=grid.models, indirect=True)
            continue
        items: list[Any] = cells(grid) if name == CELL else list(curves(grid))
        metafunc.parametrize(name, items, ids=[item.id for item in items], indirect=True)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which cells were selected, and check their data before the first test starts."""
    config = session.config
    wanted = [cell for item in session.items if (cell := _cell_of(item)) is not None]
    if not wanted or config.option.collectonly:
        return
    work = _session(config)
    work.wanted = wanted
    models = list(dict.fromkeys(cell.model for cell in wanted))
    if _is_controller(config) or work.settings.allow_missing:
        with _usage_errors():
            absent = work.preflight(models)
        for item in session.items:
            model = _model_of(item)
            if model in absent:
                item.add_marker(pytest.mark.skip(reason=f"{MISSING}: {absent[model]}"))


def _cell_of(item: pytest.Item) -> Cell | None:
    callspec: Any = getattr(item, "callspec", None)
    return callspec.params.get(CELL) if callspec is not None else None


def _model_of(item: pytest.Item) -> str | None:
    """The model that a test of ours needs."""
    callspec: Any = getattr(item, "callspec", None)
    params = callspec.params if callspec is not None else {}
    for name in (CELL, CURVE):
        if name in params:
            return str(params[name].model)
    return str(params[MODEL]) if MODEL in params else None


def _session(config: pytest.Config) -> Session:
    if SESSION_KEY not in config.stash:
        from pytest_occlusion.session import Session

        workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
        config.stash[SESSION_KEY] = Session(
            _settings(config), workers=workers, say=_speaker(config)
        )
    return config.stash[SESSION_KEY]


def _speaker(config: pytest.Config) -> Callable[[str], None]:
    """Write whole lines past pytest's capture; from a worker with its name, to standard error."""
    capture = config.pluginmanager.getplugin("capturemanager")
    terminal = config.pluginmanager.getplugin("terminalreporter")
    worker = getattr(config, "workerinput", {}).get("workerid")

    def say(line: str) -> None:
        with capture.global_and_fixture_disabled():
            if worker is not None:
                sys.stderr.write(f"[{worker}] {line}\n")
                sys.stderr.flush()
            elif terminal is not None:
                terminal.ensure_newline()
                terminal.write_line(line)

    return say


@pytest.fixture
def occlusion_cell(request: pytest.FixtureRequest, snapshot: Any) -> CellCheck:
    """One cell of the suite; parametrized.

    ``occlusion_cell.assert_accepted()`` is the regression test; ``occlusion_cell.result`` has the
    numbers for assertions of your own.
    """
    from pytest_occlusion.checks import CellCheck
    from pytest_occlusion.errors import OcclusionError
    from pytest_occlusion.snapshots import RecallSnapshot

    assertion = snapshot.use_extension(RecallSnapshot)
    check = CellCheck(
        cell=request.param,
        session=_session(request.config),
        folder=request.path.parent,
        matches=lambda data, name: bool(assertion(name=name) == data),
        updating=bool(request.config.getoption("update_snapshots", False)),
        accept=_accept(request.config, request.param.model),
    )
    try:
        record = _cell_record(check)
    except OcclusionError as fault:
        raise pytest.fail.Exception(str(fault), pytrace=False) from None
    # Not record_property: it warns, and under "-W error" fails, where --junitxml is given.
    properties = request.node.user_properties
    properties.append(("occlusion", record))
    properties += [(name, record["cell"][name]) for name in JUNIT]
    return check


def _cell_record(check: CellCheck) -> Record:
    from pytest_occlusion.reporting.record import cell_record

    return cell_record(
        check.session, check.result, check.verdict, check.provenance, writes=check.writes
    )


@pytest.fixture
def occlusion_curve(request: pytest.FixtureRequest) -> CurveCheck:
    """One curve (model, direction, occluder) of the suite; parametrized."""
    from pytest_occlusion.checks import CurveCheck

    return CurveCheck(
        curve=request.param,
        session=_session(request.config),
        folder=request.path.parent,
        accept=_accept(request.config, request.param.model),
        updating=bool(request.config.getoption("update_snapshots", False)),
    )


@pytest.fixture
def occlusion_model(request: pytest.FixtureRequest) -> str:
    """Name of one model of the suite; parametrized."""
    return str(request.param)


@pytest.fixture
def occlusion_session(request: pytest.FixtureRequest) -> Session:
    """What this process holds open: corpus, task, encoders, results."""
    return _session(request.config)


def _accept(config: pytest.Config, model: str) -> str:
    """The command line of this run, narrowed to the model, with the flag that accepts."""
    given = getattr(config, "workerinput", {}).get("occlusion_args")
    args = given if given is not None else [str(arg) for arg in config.invocation_params.args]
    kept = [arg for arg in args if arg != "--snapshot-update"]
    return shlex.join(["pytest", *kept, "--occlusion-models", model, "--snapshot-update"])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Show our verdicts and errors as they are written, without a traceback."""
    if {CELL, CURVE, MODEL} & set(getattr(item, "fixturenames", ())):
        from pytest_occlusion.checks import UnacceptedError
        from pytest_occlusion.errors import OcclusionError

        try:
            return (yield)
        except (UnacceptedError, OcclusionError) as fault:
            raise pytest.fail.Exception(str(fault), pytrace=False) from None
    return (yield)


class Collector:
    """Gathers the records that tests send, in the process that reports."""

    def __init__(self, config: pytest.Config) -> None:
        """Start with nothing."""
        self.config = config
        self.skipped = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the record of a cell; it comes with the report, from whichever worker."""
        if report.when == "setup" and report.skipped and str(report.longrepr).count(MISSING):
            self.skipped += 1
        if report.when != "call":
            return
        for name, value in report.user_properties:
            if name == "occlusion" and isinstance(value, dict):
                self.config.stash[RECORDS_KEY].append(value)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the files that were asked for; refuse to be green when nothing was measured."""
        if self.skipped and not self.config.stash[RECORDS_KEY] and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if results := _results(self.config):
            from pytest_occlusion.reporting.files import write_results

            write_results(_settings(self.config).outputs, results)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the degradation, and what regressed last."""
        results = _results(self.config)
        if not results:
            if self.skipped:
                terminalreporter.section("occlusion")
                terminalreporter.write_line(
                    "no cell was executed: everything it needs is missing on this machine", red=True
                )
            return
        from pytest_occlusion.reporting.terminal import summary

        encoding = getattr(terminalreporter._tw._file, "encoding", None) or "ascii"
        lines = summary(
            results,
            width=terminalreporter._tw.fullwidth,
            unicode=encoding.lower().startswith("utf"),
            notes=_notes(self.config),
        )
        terminalreporter.section("occlusion")
        for line in lines:
            terminalreporter.write_line(line.text, **dict(line.markup or {}))


def _results(config: pytest.Config) -> Record | None:
    records = config.stash[RECORDS_KEY]
    if not records:
        return None
    from pytest_occlusion.reporting.record import document

    settings = _settings(config)
    return document(records, suite=settings.suite, protocol=settings.protocol())


def _notes(config: pytest.Config) -> list[str]:
    settings = _settings(config)
    notes = []
    if settings.ad_hoc:
        notes.append(
            f"no baseline applies: the command line changed {', '.join(settings.ad_hoc)}. To gate "
            "such a run, write it as a suite of its own."
        )
    if SESSION_KEY in config.stash:
        notes += config.stash[SESSION_KEY].store.damaged
    return notes
