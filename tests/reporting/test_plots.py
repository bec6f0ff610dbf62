"""Figures: which ones there are, the same bytes every time, faults in words."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pytest_occlusion.__main__ import main
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.reporting.plots import FORMATS, plot
from tests.reporting.fabricated import earlier, results

pytest.importorskip("matplotlib")

PDF, PNG = b"%PDF-", b"\x89PNG\r\n\x1a\n"


def small(models: int = 2, **changes: Any) -> dict[str, Any]:
    given = {"occluders": ("block",), "ratios": (0.0, 0.25, 0.81), "ks": (5, 10), **changes}
    return results(models, **given)


def saved(folder: Path, name: str, document: dict[str, Any]) -> str:
    path = folder / name
    path.write_text(json.dumps(document))
    return str(path)


def drawn(folder: Path, *runs: dict[str, Any], formats: tuple[str, ...] = ("svg",)) -> set[str]:
    return {path.name for path in plot(runs, folder, formats)}


def test_every_figure_in_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path, "r.json", small(2, occluders=("block", "center"), maps=1))
    out = tmp_path / "figures"
    assert main(["plot", path, "--out", str(out)]) == 0
    figures = ("recall-block", "retention-block", "recall-center", "retention-center")
    expected = {
        f"{name}.{kind}"
        for name in (*figures, "occluders", "accuracy", "map-clip", "worst-place")
        for kind in FORMATS
    }
    assert {one.name for one in out.iterdir()} == expected
    assert {Path(line).name for line in capsys.readouterr().out.splitlines()} == expected
    for one in out.iterdir():
        content = one.read_bytes()
        if one.suffix == ".svg":
            assert ElementTree.fromstring(content).tag.endswith("svg")
        assert one.suffix != ".pdf" or content.startswith(PDF)
        assert one.suffix != ".png" or content.startswith(PNG)
        dated = rb"<dc:date>|/CreationDate|/ModDate|/Producer|tEXtSoftware"
        assert not re.search(dated, content), one.name
        assert b"matplotlib.org" not in content.replace(b"http://www.w3.org", b""), one.name
    assert drawn_elsewhere(path, tmp_path) == {one.name: one.read_bytes() for one in out.iterdir()}


def drawn_elsewhere(path: str, folder: Path) -> dict[str, bytes]:
    """The same figures of a process with another order of sets, for a user with a style."""
    (folder / "matplotlibrc").write_text("lines.linewidth: 7\nfont.size: 20\n")
    out = folder / "elsewhere"
    subprocess.run(
        [sys.executable, "-m", "pytest_occlusion", "plot", path, "--out", str(out)],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": "2", "MPLCONFIGDIR": str(folder)},
    )
    return {one.name: one.read_bytes() for one in out.iterdir()}


def test_figures_of_what_is_measured_beside_recall(tmp_path: Path) -> None:
    names = drawn(tmp_path, small(3, findings=47))
    assert names == {
        *("recall-block.svg", "retention-block.svg", "accuracy.svg"),
        *("groups-block-finding.svg", "groups-block-sex.svg", "groups-block-view.svg"),
        *("relevance-block.svg", "risk-coverage-block.svg"),
    }
    said = {
        name: set(re.findall(r"<!-- (.*?) -->", (tmp_path / f"{name}.svg").read_text()))
        for name in ("groups-block-sex", "groups-block-finding", "relevance-block")
    }
    assert {"F", "M", "clip", "medclip", "chance", "R@10, %"} <= said["groups-block-sex"]
    assert "finding 7" in said["groups-block-finding"]
    assert "finding 8" not in said["groups-block-finding"], "eight lines can be told apart"
    assert {"P same", "nDCG", "chance", "constant", "clip"} <= said["relevance-block"]


def test_two_runs_overlaid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = saved(tmp_path, "before.json", small(3))
    second = saved(tmp_path, "after.json", small(2, ks=(5, 10, 20)))
    out = tmp_path / "out"
    code = main(["plot", first, second, "--out", str(out), "--formats", "svg"])
    assert code == 0
    assert capsys.readouterr().out == f"{out / 'overlay-block.svg'}\n"
    comments = re.findall(r"<!-- (.*?) -->", (out / "overlay-block.svg").read_text())
    assert {"before", "after", "clip", "cxr-repair", "R@10, %", "chance", "constant"} <= set(
        comments
    )
    assert "medclip" not in comments


def test_files_may_stand_on_both_sides_of_options(tmp_path: Path) -> None:
    first, second = saved(tmp_path, "a.json", small()), saved(tmp_path, "b.json", small())
    out = tmp_path / "out"
    assert main(["plot", first, "--out", str(out), second, "--formats", "svg"]) == 0
    assert [one.name for one in out.iterdir()] == ["overlay-block.svg"]
    assert main(["compare", first, "--format", "json", second]) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["compare", "a", "b", "--format", "json", "c"], "one result file, or two; 3 were given"),
        (["plot", "a", "--out", "x", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["plot", "--out", "x"], "arguments are required"),
    ],
)
def test_arguments_that_are_refused(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert says in capsys.readouterr().err


def test_both_directions(tmp_path: Path) -> None:
    document = small()
    other = [
        {**cell, "id": f"r-{cell['id']}", "direction": "text-to-image"}
        for cell in document["cells"]
    ]
    document["cells"] += other
    assert drawn(tmp_path, document) == {
        "recall-block-image-to-text.svg",
        "recall-block-text-to-image.svg",
        "retention-block-image-to-text.svg",
        "retention-block-text-to-image.svg",
        "accuracy.svg",
        "accuracy-text-to-image.svg",
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ratios": (0.0,)}, {"accuracy.svg"}),
        ({"ratios": (0.25, 0.5)}, {"recall-block.svg"}),
        ({"models": 1, "ks": (7,)}, {"recall-block.svg", "retention-block.svg", "accuracy.svg"}),
    ],
    ids=["nothing-blocked", "nothing-whole", "one-model"],
)
def test_only_what_there_is(changes: dict[str, Any], expected: set[str], tmp_path: Path) -> None:
    assert drawn(tmp_path, small(**changes)) == expected


def test_a_run_with_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(OcclusionError, match="nothing to draw") as fault:
        drawn(tmp_path / "out", small(ratios=(0.25,)))
    assert fault.value.remedy
    assert not (tmp_path / "out").exists()


def test_an_earlier_file_and_a_hole_in_it(tmp_path: Path) -> None:
    document = earlier(small(3))
    document["cells"] = [
        cell
        for cell in document["cells"]
        if not (cell["model"] == "clip" and cell["k"] == 5)
        and (cell["model"], cell["ratio"]) != ("medclip", 0.0)
    ]
    drawn(tmp_path, document, document)
    drawn(tmp_path, document)
    comments = re.findall(r"<!-- (.*?) -->", (tmp_path / "recall-block.svg").read_text())
    assert {"clip", "cxr-repair", "medclip"} <= set(comments), "the legend has who is in any panel"


@pytest.mark.filterwarnings("ignore:Glyph")
def test_odd_names(tmp_path: Path) -> None:
    text = json.dumps(small()).replace("cxr-repair", "_$x^{<&>$ \\\\frac").replace("block", "../up")
    names = drawn(tmp_path / "out", json.loads(text), formats=("svg", "png"))
    assert "recall----up.svg" in names
    assert {one.name for one in (tmp_path / "out").iterdir()} == names
    assert list(tmp_path.iterdir()) == [tmp_path / "out"]
    ElementTree.parse(tmp_path / "out" / "recall----up.svg")


def test_twenty_models(tmp_path: Path) -> None:
    names = drawn(tmp_path, small(20, occluders=("block", "center")), formats=("png",))
    assert "accuracy.png" in names


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--formats", "gif,svg"], "unknown format gif"),
        (["--formats", ","], "none given"),
        (["nowhere.json"], "nowhere.json: no such file"),
    ],
)
def test_faults(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path, "r.json", small())
    assert main(["plot", path, *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "->" in error
    assert not (tmp_path / "out").exists()


def test_runs_that_share_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = saved(tmp_path, "a.json", small())
    second = saved(tmp_path, "b.json", small(occluders=("center",)))
    assert main(["plot", first, second, "--out", str(tmp_path / "out")]) == 2
    assert "no model, occluder and k in common" in capsys.readouterr().err


def test_a_folder_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path, "r.json", small())
    assert main(["plot", path, "--out", f"{path}/figures", "--formats", "svg"]) == 2
    assert "another folder with --out" in capsys.readouterr().err


def test_without_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(tmp_path, "r.json", small())
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["plot", path, "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'pytest-occlusion[plots]'" in capsys.readouterr().err
    assert main(["html", path, "--out", str(tmp_path / "page.html")]) == 0
