"""The collector: gathers what tests send, writes result files, prints the summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_occlusion.options import settings_of

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_occlusion.reporting.record import Record

MISSING = "occlusion: missing"
"""Begins the reason of a test that is skipped for want of a checkpoint or corpus."""

UNTIMED = "occlusion: not timed: "
"""Begins the reason of a timing that is skipped; the rest of it is said in the summary."""

GATE, RECORD, CLAIM, MAP = "occlusion_gate", "occlusion", "occlusion_claim", "occlusion_map"
"""Properties of a test that are meant for the summary: that it holds a cell, and its records."""


class Collector:
    """Gathers the records that tests send, in the process that reports."""

    def __init__(self, config: pytest.Config) -> None:
        """Start with nothing."""
        self.config = config
        self.records: list[Record] = []
        self.claims: list[Record] = []
        self.maps: list[Record] = []
        self.cells: set[str] = set()
        self.executed: set[str] = set()
        self.untimed: dict[str, set[str]] = {}
        self.written: list[tuple[Path, Record]] = []
        self.unwritten: list[str] = []

    def results(self) -> Record | None:
        """The results document, once there is anything to say."""
        if not self.records:
            return None
        from pytest_occlusion.reporting.record import document

        settings = settings_of(self.config)
        return document(
            self.records,
            self.claims,
            self.maps,
            suite=settings.suite,
            protocol=settings.protocol(),
        )

    def notes(self) -> list[str]:
        """What is worth saying once, besides the numbers."""
        settings = settings_of(self.config)
        notes = [note for record in self.records for note in record["damaged"]]
        if lacking := len(self.cells - self.executed):
            notes.append(
                f"{lacking} cells were skipped or failed before they were measured: this run says "
                "nothing about them"
            )
        if settings.ad_hoc:
            notes.append(
                f"no baseline applies: the command line changed {', '.join(settings.ad_hoc)}. To "
                "gate such a run, write it as a suite of its own."
            )
        if settings.map_grid and not self.maps:
            notes.append("no map: no test that asks for occlusion_map was run, or none passed")
        for reason, tests in self.untimed.items():
            notes.append(f"{len(tests)} timings were not taken: {reason}")
        return list(dict.fromkeys(notes))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what comes with a report, from whichever worker.

        Taken off it: other readers (JUnit XML) would write whole records as text.
        """
        own: dict[str, Any] = {
            name: value
            for name, value in report.user_properties
            if name in (GATE, RECORD, CLAIM, MAP)
        }
        report.user_properties = [
            (name, value) for name, value in report.user_properties if name not in own
        ]
        if GATE in own:
            self.cells.add(report.nodeid)
        if report.skipped and isinstance(report.longrepr, tuple):
            _, marked, reason = report.longrepr[2].partition(UNTIMED)
            if marked:
                self.untimed.setdefault(reason, set()).add(report.nodeid)
        if report.when != "call":
            return
        if isinstance(record := own.get(RECORD), dict):
            self.executed.add(report.nodeid)
            if record["cell"]["written"]:
                module = self.config.rootpath / report.nodeid.partition("::")[0]
                self.written.append((module.parent, record["cell"]))
        kept = {RECORD: self.records, CLAIM: self.claims, MAP: self.maps}
        for name, records in kept.items():
            if isinstance(own.get(name), dict):
                records.append(own[name])

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the files that were asked for; refuse to be green when nothing was measured."""
        self._check_written()
        failed = self.unwritten or (self.cells and not self.records)
        if failed and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if results := self.results():
            from pytest_occlusion.reporting.files import write_results

            write_results(settings_of(self.config).outputs, results)

    def _check_written(self) -> None:
        """Look whether what was to be stored was: a worker that dies at the end fails no test."""
        if not self.written:
            return
        from pytest_occlusion.snapshots import snapshot_file, stored_hits

        suite = settings_of(self.config).suite
        places = [snapshot_file(folder, suite, cell["model"]) for folder, cell in self.written]
        stored = {file: stored_hits(file) for file in set(places)}
        for file, (_, cell) in zip(places, self.written, strict=True):
            if stored[file].get(cell["id"]) != cell["hits"]:
                cell["written"] = False
                self.unwritten.append(cell["id"])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the degradation, and what regressed last."""
        results = self.results()
        if not results:
            if self.cells:
                terminalreporter.section("occlusion")
                terminalreporter.write_line(
                    f"no cell was executed, {len(self.cells)} were skipped: -rs says why",
                    red=True,
                )
            elif self.maps or self.claims:
                what = "maps were measured" if self.maps else "claims were judged"
                terminalreporter.section("occlusion")
                terminalreporter.write_line(
                    f"{what}, but no cell: result files and summary need cells too, "
                    "which the store makes quick",
                    yellow=True,
                )
            return
        from pytest_occlusion.reporting.terminal import summary

        encoding = getattr(terminalreporter._tw._file, "encoding", None) or "ascii"
        lines = summary(
            results,
            width=terminalreporter._tw.fullwidth,
            unicode=encoding.lower().startswith("utf"),
            notes=self.notes(),
            unwritten=self.unwritten,
        )
        terminalreporter.section("occlusion")
        for line in lines:
            terminalreporter.write_line(line.text, **dict(line.markup or {}))
