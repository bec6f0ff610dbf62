"""The collector: gathers what tests send, writes result files, prints the summary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_occlusion.hooks.options import settings_of
from pytest_occlusion.hooks.properties import (
    CELL,
    CLAIM,
    CURVE,
    GROUPS,
    MAP,
    OWN,
    QUICK,
    RECORD,
    RED,
    SAID,
    STORES,
    UNTIMED,
)

if TYPE_CHECKING:
    from pytest_occlusion.reporting.reds import Red
    from pytest_occlusion.reporting.schema import Record
    from pytest_occlusion.suite.settings import Settings


class Collector:
    """Gathers what tests send, in the process that reports."""

    def __init__(self, config: pytest.Config) -> None:
        """Start with nothing."""
        self.config = config
        self.module: Path | None = None  # one of those whose tests are ours
        self.records: list[Record] = []  # measured cells
        self.claims: list[Record] = []
        self.maps: list[Record] = []
        self.groups: list[Record] = []
        self.curves: list[Record] = []
        self.cells: set[str] = set()  # ids of cells whose tests were run or skipped
        self.judged: set[str] = set()  # those of them that a test passed or failed on
        self.stores: list[Record] = []  # what was to be stored, and where
        self.unwritten: list[str] = []  # ids of cells that were not stored all the same
        self.reds: dict[str, Record] = {}  # by test, why it is red where we said why
        self.quick: dict[tuple[str, str], Record] = {}  # by folder and model, quick verdicts
        self.encoded: dict[tuple[str, str, str], int] = {}  # by these and worker, passes made
        self.untimed: dict[str, set[str]] = {}  # tests that took no timing, by the reason

    @property
    def settings(self) -> Settings:
        """The run's; a controller of workers may learn only here which module they are for."""
        return settings_of(self.config, self.module)

    def results(self) -> Record | None:
        """The results document, once there is anything to say."""
        if not self.records:
            return None
        from pytest_occlusion.reporting.record import document

        measured = self.records, self.claims, self.maps, self.groups, self.curves
        settings = self.settings
        return document(
            *measured,
            suite=settings.suite,
            protocol=settings.protocol(),
            reference=settings.reference,
        )

    def notes(self) -> list[str]:
        """What is worth saying once, besides the numbers."""
        settings = self.settings
        notes = [note for record in self.records for note in record["notes"]]
        if lacking := len(self.cells - self.judged):
            notes.append(
                f"{lacking} cells were skipped, or failed before they were measured: this run says "
                "nothing about them"
            )
        if settings.ad_hoc:
            notes.append(
                f"no baseline applies: the command line changed {', '.join(settings.ad_hoc)}. To "
                "gate such a run, write it as a suite of its own."
            )
        if settings.map_grid and not self.maps:
            notes.append("no map: no test that asks for occlusion_map was run, or none passed")
        return [*dict.fromkeys(notes), *self._untimed()]

    def _untimed(self) -> list[str]:
        return [f"{len(t)} timings were not taken: {reason}" for reason, t in self.untimed.items()]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what comes with a report, from whichever worker.

        Taken off it: other readers (JUnit XML) would write whole records as text.
        """
        own: dict[str, Any] = {name: value for name, value in report.user_properties if name in OWN}
        report.user_properties = [one for one in report.user_properties if one[0] not in OWN]
        if own:
            self.module = self.config.rootpath / report.nodeid.partition("::")[0]
        if SAID in own:
            from pytest_occlusion.hooks.speaking import speaker

            speaker(self.config)(own[SAID])
        if QUICK in own:
            place = str(Path(report.nodeid.partition("::")[0]).parent), own[QUICK]["model"]
            self.quick[place] = own[QUICK]
            worker = getattr(report, "worker_id", "")
            self.encoded[*place, worker] = own[QUICK].get("encoded", 0)
        if RED in own and report.failed:
            self.reds[report.nodeid] = own
            if crash := getattr(report.longrepr, "reprcrash", None):
                # In one line: pytest's short summary, and JUnit's attribute beside the text.
                crash.message = crash.message.partition("\n")[0].removeprefix("Failed: ")
        if report.skipped and isinstance(report.longrepr, tuple):
            _, marked, reason = report.longrepr[2].partition(UNTIMED)
            if marked:
                self.untimed.setdefault(reason, set()).add(report.nodeid)
        if CELL in own and (report.when == "call" or not report.passed):
            self.cells.add(own[CELL])
        if report.when != "call":
            return
        if CELL in own and (not report.skipped or hasattr(report, "wasxfail")):
            self.judged.add(own[CELL])
        kept = {
            RECORD: self.records,
            CLAIM: self.claims,
            MAP: self.maps,
            GROUPS: self.groups,
            CURVE: self.curves,
            STORES: self.stores,
        }
        for name, records in kept.items():
            if name in own:
                records.append(own[name])

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the files that were asked for; refuse to be green when nothing was gated."""
        if self.stores:
            self._check_stored()
        failed = self.unwritten or (self.cells and not self.judged)
        if failed and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self.quick:
            from pytest_occlusion.reporting.quick import write_quick

            write_quick(self.settings.outputs, *self._quick)
        if results := self.results():
            from pytest_occlusion.reporting.files import write_results

            write_results(self.settings.outputs, results)

    @property
    def _quick(self) -> tuple[list[Record], str, str]:
        """Verdicts in the order of the suite, the suite's name, what was asked.

        Tests of several folders have baselines of their own; then models are named with theirs.
        """
        from pytest_occlusion.suite.grid import model_of

        grid, several = self.settings.grid, len({folder for folder, _ in self.quick}) > 1
        records = []
        for model in grid.models:
            own = {place: one for place, one in self.quick.items() if place[1] == model}
            for place, one in own.items():
                made = sum(n for key, n in self.encoded.items() if key[:2] == place)
                name = f"{model} ({place[0]})" if several else model
                records.append({**one, "encoded": made, "model": name})
            if not own and any(model_of(cell, grid) == model for cell in self.cells - self.judged):
                records.append({"model": model, "fault": "none of its tests was run"})
        return records, self.settings.suite, str(self.config.getoption("occlusion_quick"))

    def _check_stored(self) -> None:
        """Look whether what was to be stored was: a worker that dies at the end fails no test."""
        from pytest_occlusion.gate.snapshots import stored_lines

        files = {store["file"]: stored_lines(Path(store["file"])) for store in self.stores}
        lost = [
            store["cell"]
            for store in self.stores
            if not store["line"].items() <= files[store["file"]].get(store["cell"], {}).items()
        ]
        self.unwritten = list(dict.fromkeys(lost))
        written = {store["cell"] for store in self.stores}.difference(lost)
        for record in self.records:
            record["cell"]["written"] = record["cell"]["id"] in written

    def why_red(self) -> dict[str, Red]:
        """By the ids of tests, what they are told with."""
        from pytest_occlusion.reporting.reds import red_of

        return {
            test: red_of(own[RED], own[RECORD]["cell"] if RECORD in own else None)
            for test, own in self.reds.items()
        }

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the degradation, and what regressed last."""
        if lines := self._lines(terminalreporter._tw):
            terminalreporter.section("occlusion")
            for text, markup in lines:
                terminalreporter.write_line(text, **markup)

    def _lines(self, writer: Any) -> list[tuple[str, dict[str, bool]]]:
        if results := self.results():
            from pytest_occlusion.reporting.terminal import summary

            encoding = getattr(writer._file, "encoding", None) or "ascii"
            lines = summary(
                results,
                width=writer.fullwidth,
                unicode=encoding.lower().startswith("utf"),
                notes=self.notes(),
                unwritten=self.unwritten,
            )
            return [(line.text, dict(line.markup)) for line in lines]
        untimed = [(note, {"yellow": True}) for note in self._untimed()]
        if self.quick:
            from pytest_occlusion.reporting.quick import summary as quick_summary

            records, _, asked = self._quick
            kept = self.settings.store is not None
            told = quick_summary(records, asked, writer.fullwidth, kept=kept)
            return [*((line.text, dict(line.markup)) for line in told), *untimed]
        if self.cells:
            many = f"{len(self.cells)} were skipped, or failed before they were measured"
            return [(f"no cell was executed: {many}", {"red": True}), *untimed]
        if self.maps or self.claims:
            what = "maps were measured" if self.maps else "claims were judged"
            needed = "result files and summary need cells too, which the store makes quick"
            return [(f"{what}, but no cell: {needed}", {"yellow": True}), *untimed]
        return untimed
