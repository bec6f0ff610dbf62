"""The page in a real browser: quiet, sorting, filtering, downloading, asking for nothing else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_occlusion.reporting.files import as_html
from pytest_occlusion.reporting.html import as_board
from tests.reporting.browser import Browser, chromium, running
from tests.reporting.fabricated import results
from tests.reporting.test_html import evil_document

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium on PATH")

ROWS = "[...document.querySelectorAll('#cell-table tbody tr')]"
COUNT = "document.getElementById('cell-count').textContent"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return results(5, occluders=("block", "center"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = chromium()
    assert program
    with running(program, tmp_path_factory.mktemp("profile")) as found:
        found.size(1280, 900)
        yield found


@pytest.fixture
def page(browser: Browser, document: dict[str, Any], tmp_path: Path) -> Iterator[Browser]:
    """The page, freshly opened; afterwards nothing may have been said or asked for."""
    yield from opened(browser, document, tmp_path)


def opened(browser: Browser, document: dict[str, Any], folder: Path) -> Iterator[Browser]:
    yield from shown(browser, as_html(document), folder)


def shown(browser: Browser, text: str, folder: Path) -> Iterator[Browser]:
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    browser.events.clear()
    browser.open(path)
    yield browser
    browser.evaluate("new Promise((done) => setTimeout(done, 50))")
    assert browser.complaints() == []
    inside = ("blob:", "data:image/png;base64,")  # what the page itself holds
    asked = [address for address in browser.requests() if not address.startswith(inside)]
    assert asked == [path.as_uri()]


def column(page: Browser, name: str) -> list[str]:
    """What stands in a column of the cell table."""
    found: list[str] = page.evaluate(
        "(() => { const at = [...document.querySelectorAll('#cell-table th button')]"
        f".findIndex((b) => b.textContent === {json.dumps(name)});"
        f"return {ROWS}.map((row) => row.cells[at].textContent); }})()"
    )
    return found


def press(page: Browser, name: str) -> str:
    """Press a heading of the cell table; how it says that it is sorted."""
    found: str = page.evaluate(
        "(() => { const button = [...document.querySelectorAll('#cell-table th button')]"
        f".find((b) => b.textContent === {json.dumps(name)}); button.click();"
        "return button.parentElement.getAttribute('aria-sort'); })()"
    )
    return found


def choose(page: Browser, selector: str, value: str, event: str = "change") -> None:
    page.evaluate(
        f"(() => {{ const part = document.querySelector({json.dumps(selector)});"
        f"part.value = {json.dumps(value)}; part.dispatchEvent(new Event('{event}')); }})()"
    )


def test_it_opens_quietly(page: Browser) -> None:
    assert page.evaluate(COUNT) == "480 of 480 cells, the first 100 shown"
    assert len(column(page, "model")) == 100
    hidden = page.evaluate("document.querySelectorAll('.needs-script[hidden]').length")
    assert hidden == 0


def test_sorting(page: Browser, document: dict[str, Any]) -> None:
    recalls = sorted(cell["recall"] for cell in document["cells"])
    assert press(page, "recall %") == "ascending"
    assert column(page, "recall %") == [f"{100 * recall:.1f}" for recall in recalls[:100]]
    assert press(page, "recall %") == "descending"
    assert column(page, "recall %") == [f"{100 * r:.1f}" for r in recalls[::-1][:100]]
    assert press(page, "verdict") == "ascending"
    assert set(column(page, "verdict")[:72]) == {"\u25bc regressed"}
    others = page.evaluate(
        "document.querySelectorAll('#cell-table thead th:not([aria-sort=none])').length"
    )
    assert others == 1


def test_cells_without_a_value_come_last(page: Browser) -> None:
    choose(page, "[data-filter=k]", "5")
    for _ in range(2):
        press(page, "baseline %")
        assert column(page, "baseline %")[-16:] == [""] * 16
        assert "" not in column(page, "baseline %")[:64]


def test_filtering(page: Browser) -> None:
    choose(page, "[data-filter=model]", "medclip")
    choose(page, "[data-filter=ratio]", "0.0")
    choose(page, "[data-filter=occluder]", "center")
    assert page.evaluate(COUNT) == "6 of 480 cells"
    assert column(page, "k") == ["5", "10", "20", "30", "50", "100"]
    assert page.evaluate("document.getElementById('cell-more').hidden") is True
    choose(page, "[data-filter=verdict]", "regressed")
    assert page.evaluate(COUNT) == "0 of 480 cells"
    choose(page, "[data-filter=model]", "")
    assert set(column(page, "model")) == {"cxr-repair"}
    choose(page, "#contains", "K005", "input")
    assert page.evaluate(COUNT) == "1 of 480 cells"


def test_one_group_at_a_time(browser: Browser, tmp_path: Path) -> None:
    document = results(2, occluders=("block",), ratios=(0.0, 0.25), ks=(5, 10), findings=3)
    for page in opened(browser, document, tmp_path):
        seen = (
            "[...document.querySelectorAll('#groups [data-group]')]"
            ".filter((part) => part.getClientRects().length).map((part) => part.dataset.group)"
        )
        tables = (
            "[...document.querySelectorAll('#groups table')]"
            ".filter((part) => part.getClientRects().length).length"
        )
        assert len(set(page.evaluate(seen))) == 7
        assert page.evaluate(tables) == 3
        choose(page, "#group", "sex=F")
        assert set(page.evaluate(seen)) == {"sex=F"}
        assert page.evaluate(tables) == 1, "a table without rows is not there"
        choose(page, "#group", "")
        assert len(set(page.evaluate(seen))) == 7


def test_more_rows(page: Browser) -> None:
    page.evaluate("document.getElementById('cell-more').click()")
    assert page.evaluate(COUNT) == "480 of 480 cells"
    assert len(column(page, "model")) == 480


def test_one_condition_at_a_time_and_only_chosen_models(page: Browser) -> None:
    # What lies below the window is laid out late, so it is looked at where it stands.
    visible = (
        "(() => {{ const all = [...document.querySelectorAll('{}')];"
        "return all.filter((part) => {{ part.scrollIntoView();"
        "return part.getBoundingClientRect().width > 0; }}).length; }})()"
    )
    charts, lines = visible.format(".charts svg"), visible.format("#curves .charts g[data-m] .line")
    assert page.evaluate(charts) == 6
    assert page.evaluate(lines) == 6 * 5
    choose(page, "#condition", "all")
    assert page.evaluate(charts) == 12
    choose(page, "#condition", "1")
    headings = visible.format("#tables h3")
    assert page.evaluate(headings) == 1
    page.evaluate("document.querySelector('[data-models=none]').click()")
    assert page.evaluate(lines) == 0
    page.evaluate("document.querySelector('input[data-model=\"2\"]').click()")
    assert page.evaluate(lines) == 6
    assert page.evaluate(visible.format("table.heat")) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_themes(page: Browser, scheme: str) -> None:
    light, dark = "rgb(255, 255, 255)", "rgb(17, 23, 29)"
    page.scheme(scheme)
    ground = "getComputedStyle(document.body).backgroundColor"
    press_theme = "document.getElementById('theme').click()"
    assert page.evaluate(ground) == (light if scheme == "light" else dark)
    page.evaluate(press_theme)
    assert page.evaluate(ground) == light
    page.evaluate(press_theme)
    assert page.evaluate(ground) == dark
    assert page.evaluate("document.getElementById('theme').textContent") == "Theme: dark"
    page.evaluate(press_theme)
    assert page.evaluate(ground) == (light if scheme == "light" else dark)


def test_the_download_is_the_document(
    page: Browser, document: dict[str, Any], tmp_path: Path
) -> None:
    page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    page.evaluate("document.getElementById('download').click()")
    target, end = tmp_path / "results.json", time.monotonic() + 20
    while not target.exists() and time.monotonic() < end:
        page.evaluate("new Promise((done) => setTimeout(done, 50))")
    assert json.loads(target.read_text()) == document


def test_everything_is_reached_by_keyboard(page: Browser) -> None:
    focused = "document.activeElement.id || document.activeElement.textContent.slice(0, 40)"
    page.evaluate("document.activeElement.blur()")
    seen = []
    for _ in range(60):
        for kind in ("keyDown", "keyUp"):
            page.send("Input.dispatchKeyEvent", type=kind, key="Tab", windowsVirtualKeyCode=9)
        seen.append(page.evaluate(focused))
    assert seen[0] == "Skip to the summary"
    assert {"theme", "condition", "Summary", "Data"} <= set(seen)


def test_hostile_names_do_nothing(browser: Browser, tmp_path: Path) -> None:
    for page in opened(browser, evil_document(), tmp_path):
        assert page.evaluate("document.scripts.length") == 2
        assert page.evaluate("document.images.length") == 0
        assert "<img src=x" in page.evaluate("document.body.innerText")
        choose(page, "[data-filter=model]", evil_document()["cells"][-1]["model"])
        assert "of 96 cells" in page.evaluate(COUNT)


def test_a_narrow_window_does_not_scroll_sideways(page: Browser) -> None:
    page.size(400, 800)
    wide = page.evaluate("document.documentElement.scrollWidth")
    page.size(1280, 900)
    assert wide <= 400


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_maps(browser: Browser, tmp_path: Path, scheme: str) -> None:
    document = results(3, occluders=("block",), ks=(5, 10), maps=2)
    browser.scheme(scheme)
    for page in opened(browser, document, tmp_path):
        page.evaluate("document.querySelector('#maps').scrollIntoView()")
        loaded = (
            "(async () => { const i = new Image(); i.src = document.querySelector('#maps image')"
        )
        loaded += ".getAttribute('href'); await i.decode(); return [i.width, i.height]; })()"
        assert page.evaluate(loaded) == [12, 8]
        style = "getComputedStyle(document.querySelector('#maps .{}')).{}"
        assert page.evaluate(style.format("hot8", "fill")) == "rgb(255, 122, 26)"
        assert page.evaluate(style.format("peak", "fill")) == "none"
        shown = "[...document.querySelectorAll('#maps [data-m]')].filter((p) => !p.hidden).length"
        assert page.evaluate(shown) == 2
        page.evaluate("document.querySelector('input[data-model=\"0\"]').click()")
        assert page.evaluate(shown) == 1
        page.size(400, 800)
        wide = page.evaluate("document.documentElement.scrollWidth")
        page.size(1280, 900)
        assert wide <= 400
    browser.scheme("light")


def test_twenty_models_open_soon(browser: Browser, tmp_path: Path) -> None:
    for page in opened(browser, results(20), tmp_path):
        ready = page.evaluate("performance.getEntriesByType('navigation')[0].domInteractive")
        assert page.evaluate(COUNT) == "4800 of 4800 cells, the first 100 shown"
        assert ready < 10_000, "0.3 to 0.5 s on a busy machine; this only catches what explodes"


def test_the_page_of_several_runs_sorts_and_hides(browser: Browser, tmp_path: Path) -> None:
    runs = [results(3, occluders=("block",)), results(2, occluders=("block",))]
    column = (
        "[...document.querySelectorAll('#models tbody tr')].map((r) => r.cells[{}].textContent)"
    )
    press = (
        "(() => {{ const head = document.querySelectorAll('#models th[aria-sort]')[{}];"
        "head.querySelector('button').click(); return head.getAttribute('aria-sort'); }})()"
    )
    for page in shown(browser, as_board(runs, ["june", "july"]), tmp_path):
        assert page.evaluate(press.format(0)) == "ascending"
        names = page.evaluate(column.format(0))
        assert names == sorted(names)
        assert page.evaluate(press.format(4)) == "descending"
        recalls = [float(text[:4]) for text in page.evaluate(column.format(4))]
        assert recalls == sorted(recalls, reverse=True)
        assert page.evaluate(press.format(4)) == "ascending"
        recalls = [float(text[:4]) for text in page.evaluate(column.format(4))]
        assert recalls == sorted(recalls)
        page.evaluate("document.querySelector('input[data-model=\"0\"]').click()")
        visible = "[...document.querySelectorAll('#models tbody tr')].filter((r) => !r.hidden)"
        assert page.evaluate(f"{visible}.length") == 3
        page.size(400, 800)
        wide = page.evaluate("document.documentElement.scrollWidth")
        page.size(1280, 900)
        assert wide <= 400
