"""Failures that have one reason are told once: pytest's own report of them, shortened.

What is counted, the exit status, JUnit's file and every other reader of reports stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_occlusion.reporting.reds import Red

CATEGORIES = ("failed", "error")
"""Those of pytest's terminal reporter that print a report whole and a line for it."""

WHOLE = 2
"""From this verbosity on (``-vv``) everything is told."""

BRIEF = ("no", "line")
"""Styles of tracebacks (``--tb``) that leave no room for what stands for the others."""


class Folding:
    """Around the terminal's summary, in the process that reports."""

    def __init__(self, reds: Callable[[], Mapping[str, Red]]) -> None:
        """Take what gives, by the ids of tests, why they are red."""
        self.reds = reds

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, None, None]:
        """Hide the others of every reason while pytest prints; it counts them afterwards."""
        stats = terminalreporter.stats
        kept = {name: stats[name] for name in CATEGORIES if name in stats}
        config = terminalreporter.config
        whole = config.get_verbosity() >= WHOLE or config.option.tbstyle in BRIEF
        if kept and not whole:
            hidden = self._hidden(kept, terminalreporter._tw.fullwidth)
            for name, reports in kept.items():
                stats[name] = [report for report in reports if id(report) not in hidden]
        try:
            return (yield)
        finally:
            stats.update(kept)

    def _hidden(self, kept: Mapping[str, list[Any]], width: int) -> set[int]:
        """Reports not to print; a table is added to the one of each reason that is."""
        from pytest_occlusion.reporting.reds import others, told

        reds = self.reds()
        reasons: dict[Hashable, list[tuple[Any, Red]]] = {}
        for report in [report for name in CATEGORIES for report in kept.get(name, ())]:
            if red := reds.get(report.nodeid):
                reasons.setdefault(red.reason, []).append((report, red))
        hidden: set[int] = set()
        for reason in reasons.values():
            if len(reason) < 2:
                continue
            own = [red for _, red in reason]
            shown = told(own)
            add = getattr(reason[shown][0].longrepr, "addsection", None)
            if add is None:  # another plugin has put something else in its place
                continue
            title, lines = others(own, width)
            add(title, "\n".join(lines), "-")
            if crash := getattr(reason[shown][0].longrepr, "reprcrash", None):
                crash.message = f"1 of {len(own)}: {crash.message}"
            hidden |= {id(report) for at, (report, _) in enumerate(reason) if at != shown}
        return hidden
