"""The collector: gathers what tests send, writes result files, prints the summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_occlusion.options import settings_of

if TYPE_CHECKING:
    from pytest_occlusion.reporting.record import Record

MISSING = "occlusion: missing"
"""Begins the reason of a test that is skipped for want of a checkpoint or corpus."""


class Collector:
    """Gathers the records that tests send, in the process that reports."""

    def __init__(self, config: pytest.Config) -> None:
        """Start with nothing."""
        self.config = config
        self.records: list[Record] = []
        self.claims: list[Record] = []
        self.maps: list[Record] = []
        self.skipped = 0

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
        if settings.ad_hoc:
            notes.append(
                f"no baseline applies: the command line changed {', '.join(settings.ad_hoc)}. To "
                "gate such a run, write it as a suite of its own."
            )
        if settings.map_grid and not self.maps:
            notes.append("no map: no test that asks for occlusion_map was run, or none passed")
        return list(dict.fromkeys(notes))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the record of a cell or claim; it comes with the report, from whichever worker."""
        if report.when == "setup" and report.skipped and str(report.longrepr).count(MISSING):
            self.skipped += 1
        if report.when != "call":
            return
        for name, value in report.user_properties:
            if name == "occlusion" and isinstance(value, dict):
                self.records.append(value)
            if name == "occlusion_claim" and isinstance(value, dict):
                self.claims.append(value)
            if name == "occlusion_map" and isinstance(value, dict):
                self.maps.append(value)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the files that were asked for; refuse to be green when nothing was measured."""
        if self.skipped and not self.records and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if results := self.results():
            from pytest_occlusion.reporting.files import write_results

            write_results(settings_of(self.config).outputs, results)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the degradation, and what regressed last."""
        results = self.results()
        if not results:
            if self.skipped:
                terminalreporter.section("occlusion")
                terminalreporter.write_line(
                    "no cell was executed: everything it needs is missing on this machine", red=True
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
        )
        terminalreporter.section("occlusion")
        for line in lines:
            terminalreporter.write_line(line.text, **dict(line.markup or {}))
