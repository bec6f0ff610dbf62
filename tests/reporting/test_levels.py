"""Levels of corruptions are severities wherever people read them, those of occluders shares."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest

from pytest_occlusion.reporting import views
from pytest_occlusion.reporting.files import as_csv, as_markdown
from pytest_occlusion.reporting.html import as_html
from pytest_occlusion.reporting.plots import plot
from pytest_occlusion.reporting.terminal import summary
from tests.reporting.fabricated import results

SEVERITIES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


@pytest.fixture(scope="module")
def blurred() -> dict[str, Any]:
    return results(2, occluders=("blur", "jpeg"), ratios=SEVERITIES, ks=(5, 10))


@pytest.fixture(scope="module")
def mixed(blurred: dict[str, Any]) -> dict[str, Any]:
    document = results(2, occluders=("block", "center"), ratios=(0.0, 0.2, 0.49), ks=(5, 10))
    both = {name: [*document[name], *blurred[name]] for name in ("cells", "curves")}
    return {**document, **both}


def lines_of(document: dict[str, Any]) -> list[str]:
    return [line.text for line in summary(document, width=80, unicode=True, notes=[])]


def test_terminal(blurred: dict[str, Any], mixed: dict[str, Any]) -> None:
    lines = lines_of(blurred)
    assert not any(line.startswith("blocked") for line in lines)
    start = next(i for i, line in enumerate(lines) if line.startswith("severity "))
    assert [line[:9] for line in lines[start + 1 : start + 7]] == [f"{s:>9}" for s in range(6)]
    assert any(re.search(r"half gone at severity \d\.\d", line) for line in lines)
    assert not any("half gone at" in line and "%" in line for line in lines)
    heads = [line.split()[0] for line in lines_of(mixed) if re.match("(blocked|severity) ", line)]
    assert heads.count("blocked") == heads.count("severity") == 2 * 2 + 2
    assert all(len(line) <= 80 for line in lines_of(mixed))


def test_csv(mixed: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(mixed))))
    for row in rows:
        corrupted = row["occluder"] in ("blur", "jpeg")
        assert (row["ratio"] == "") == corrupted
        assert (row["achieved"] == "") == corrupted
        assert (row["severity"] != "") == corrupted
    assert {row["severity"] for row in rows} == {"", *"012345"}


def test_markdown(mixed: dict[str, Any]) -> None:
    text = as_markdown(mixed)
    assert text.count("| blocked | R@5 |") == text.count("| severity | R@5 |") == 4
    assert text.count("| 20 % |") == 4
    assert text.count("\n| 5 |") == 4


def test_html(blurred: dict[str, Any], mixed: dict[str, Any]) -> None:
    page = as_html(blurred)
    visible = page.partition("<body>")[2].partition('<script type="application/json"')[0]
    for words in (">blocked, %", ">blocked<", "blocked share"):
        assert words not in visible, words
    assert visible.count(">severity, 0 to 5<") == 2 * 2 + 2 * 2  # a chart per k, one per model
    assert visible.count('<th scope="col" class="n">severity</th>') == 2 * 2
    assert "6 severities" in visible
    assert "<dt>severities</dt><dd>0, 1, 2, 3, 4, 5</dd>" in visible
    both = as_html(mixed)
    assert "blocked, % of the image" in both
    assert "severity, 0 to 5" in both
    assert "3 blocked shares, 6 severities" in both
    assert '<option value="0.2">20 %, severity 1</option>' in both


def test_figures(mixed: dict[str, Any], tmp_path: Path) -> None:
    names = {path.name for path in plot([mixed], tmp_path, ["svg"])}
    assert {"occluders.svg", "corruptions.svg", "recall-blur.svg", "recall-block.svg"} <= names

    def words(name: str) -> set[str]:
        return set(re.findall(r"<!-- (.*?) -->", (tmp_path / name).read_text()))

    for name in ("recall-blur.svg", "retention-jpeg.svg", "corruptions.svg"):
        assert "severity, 0 to 5" in words(name)
        assert "blocked, % of the image" not in words(name)
    assert "blocked, % of the image" in words("occluders.svg")
    assert {"blur", "jpeg"} <= words("corruptions.svg")
    assert "blur" not in words("occluders.svg")


def test_one_of_each_is_counted_in_the_singular() -> None:
    cells = [{"occluder": "blur", "ratio": 0.2}, {"occluder": "block", "ratio": 0.2}]
    assert views.counted(cells) == "1 blocked share, 1 severity"
    assert views.half_text("blur", None) == ""
