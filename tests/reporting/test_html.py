"""The page: one well-formed file without any outside reference, the same from the same document."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pytest_occlusion.__main__ import main
from pytest_occlusion.reporting import beside, html, views
from pytest_occlusion.reporting.files import as_html
from pytest_occlusion.reporting.page import HEAT
from tests.plugin.conftest import Project, forks, pictures, project  # noqa: F401 - fixtures
from tests.reporting.fabricated import map_record, results

VOID = {"meta", "input", "br", "path", "hr", "img", "link"}
EVIL = "</script><script>alert('1')</script><img src=x onerror=alert(1)>\"'&"


class Page(HTMLParser):
    """Elements, attributes and text; an element that is closed out of turn is a fault."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.parts: dict[str, str] = {}
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> out of turn"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            found = self.elements[-1]
            self.parts[found[1].get("id") or found[0]] = data
        else:
            self.text.append(data)

    @property
    def words(self) -> str:
        """All that is read."""
        return " ".join(" ".join(self.text).split())

    def every(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]

    def document(self) -> dict[str, Any]:
        """What the download gives."""
        packed = json.loads(self.parts["results"])
        tables = {
            name: [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
            for name, table in packed["tables"].items()
        }
        return {**packed["document"], **tables}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return results(5, occluders=("block", "center"))


@pytest.fixture(scope="module")
def page(document: dict[str, Any]) -> Page:
    return Page(as_html(document))


def test_every_section_is_there(page: Page, document: dict[str, Any]) -> None:
    sections = [attributes["id"] for attributes in page.every("section")]
    assert sections == [name for name in html.SECTIONS if name not in html.OPTIONAL]
    targets = [attributes["href"] for attributes in page.every("a")]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {f"#{name}" for name in sections} <= set(targets)
    assert all(str(target)[1:] in ids for target in targets)
    assert views.headline(document) in page.words


def test_every_recall_is_in_a_table(page: Page, document: dict[str, Any]) -> None:
    words = set(page.words.replace("\u25bc", " ").replace("\u25b2", " ").split())
    assert {f"{100 * cell['recall']:.1f}" for cell in document["cells"]} <= words
    tables = [attributes for attributes in page.every("table") if attributes.get("class") == "heat"]
    assert len(tables) == 5 * 2


def test_a_chart_per_k_and_condition(page: Page, document: dict[str, Any]) -> None:
    labels = [
        str(attributes["aria-label"]) for attributes in page.every("svg") if "role" in attributes
    ]
    for k in (5, 10, 20, 30, 50, 100):
        assert sum(label.startswith(f"Recall at {k} against") for label in labels) == 2
    assert sum(label.startswith("Retention of ") for label in labels) == 5 * 2
    assert sum(label.startswith("Accuracy against robustness") for label in labels) == 2


def test_curves_bear_intervals_floors_and_the_baseline_behind(document: dict[str, Any]) -> None:
    text = as_html(document)
    chart = text[text.index('aria-label="Recall at 5 ') : text.index('aria-label="Recall at 10 ')]
    assert chart.count('class="band"') == 5
    assert chart.count('class="ghost"') == 4, "the fifth model never had a baseline"
    assert chart.count('class="line"') == 5
    assert chart.rindex('class="ghost"') < chart.index('class="line"')
    assert 'class="floor chance"' in chart
    assert 'class="floor constant"' in chart
    without = as_html(results(5, occluders=("block",), baselines=False))
    assert 'class="ghost"' not in without
    assert "No cell has a baseline to compare with." in without


def test_what_changed_is_said(page: Page) -> None:
    assert "weights 3f2a3f2a \u2192 01cc01cc" in page.words
    assert "libraries torch 2.6.0 \u2192 torch 2.15.0" in page.words
    assert "regressed : 72 of 480 cells" in page.words
    assert "improved : 48 of 480 cells" in page.words
    assert "And 47 more: see" in page.words


def test_claims_timings_and_provenance(page: Page) -> None:
    assert "CXR-CLIP retrieves best in most cells" in page.words
    assert "\u2717 contradicted" in page.words
    assert "medclip - cxr-clip: -0.33 [-0.39, -0.28]; compared with 0" in page.words
    assert "from the store" in page.words
    for value in ("c0" * 32, "01cc" * 16, "python 3.11.7, torch 2.15.0, numpy 2.4.6", "quick-gelu"):
        assert value in page.words


def test_the_page_carries_the_document(page: Page, document: dict[str, Any]) -> None:
    assert page.document() == document
    assert "It is complete." in page.words


def test_bits_of_large_runs_are_left_out_and_that_is_said() -> None:
    large = results(4)
    page = Page(as_html(large))
    for cell in large["cells"]:
        del cell["hit_queries"]
    assert page.document() == large
    assert "Left out, for size: hit_queries" in page.words


def outside(text: str) -> list[str]:
    """References that a browser would follow."""
    patterns = ("[Hh][Tt][Tt][Pp][Ss]?:", "//[a-z]", "@import", r"\bsrc\s*=", "<link", r"\burl\(")
    return [found for pattern in patterns for found in re.findall(pattern, text)]


def test_nothing_outside_is_referred_to(page: Page, document: dict[str, Any]) -> None:
    text = as_html(document)
    script = page.parts["script"]
    assert outside(re.sub(r"^\s*//.*$|// .*$", "", text, flags=re.MULTILINE)) == []
    assert not re.search(r"fetch\(|XMLHttp|WebSocket|import\(|eval\(|innerHTML", script)
    for tag, attributes in page.elements:
        assert not {"src", "srcset", "action", "style", "background"} & set(attributes), tag
        assert not any(name.startswith("on") for name in attributes), tag
        assert str(attributes.get("href", "#")).startswith("#")
    policy = next(a["content"] for a in page.every("meta") if "http-equiv" in a)
    assert str(policy).startswith("default-src 'none'; style-src 'sha256-")


def test_for_keyboard_and_screen_reader(page: Page) -> None:
    assert page.every("html") == [{"lang": "en"}]
    tables, captions = page.every("table"), page.every("caption")
    assert len(tables) == len(captions)
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.every("th"))
    for attributes in page.every("svg"):
        assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
    for attributes in page.every("div"):
        if attributes.get("class") == "scroll":
            assert attributes["tabindex"] == "0"
            assert attributes["role"] == "region"
            assert attributes["aria-label"]
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))
    assert ":focus-visible" in page.parts["style"]


def colours(name: str) -> list[dict[str, str]]:
    """The themes of the style sheet: variable -> colour."""
    text = Page(as_html(results(1, occluders=("block",)))).parts["style"]
    blocks = re.findall(r"--bg:[^}]*", text)
    assert len(blocks) == 3
    assert blocks[1] == blocks[2], "by the system and by hand, dark is the same"
    return [dict(re.findall(r"--([a-z0-9]+):(#[0-9a-f]{3,6})", block)) for block in blocks[:2]]


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("place", [0, 1], ids=["light", "dark"])
def test_contrast(place: int) -> None:
    theme = colours("style")[place]
    for step in range(HEAT):
        text = theme["low"] if step < 6 else theme["high"]
        assert contrast(text, theme[f"h{step}"]) >= 4.5, step
    for name in ("text", "faint", "link", "good", "bad", "warn"):
        for ground in ("bg", "panel"):
            assert contrast(theme[name], theme[ground]) >= 4.5, (name, ground)
    for series in range(8):
        assert contrast(theme[f"s{series}"], theme["bg"]) >= 3, series
    steps = [luminance(theme[f"h{step}"]) for step in range(HEAT)]
    ordered = sorted(steps, reverse=place == 0)
    assert steps == ordered, "lightness alone orders the heat scale, whatever colours one sees"


def test_the_same_bytes_from_the_same_document(document: dict[str, Any]) -> None:
    first = as_html(document)
    again = json.loads(json.dumps(document))
    assert as_html(again) == first
    code = (
        "import json, sys, hashlib; from pytest_occlusion.reporting.files import as_html\n"
        "page = as_html(json.load(sys.stdin))\n"
        "print(hashlib.sha256(page.encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(document),
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_the_document_is_not_touched(document: dict[str, Any]) -> None:
    before = copy.deepcopy(document)
    as_html(document)
    assert document == before


def test_twenty_models_stay_small() -> None:
    large = results(20)
    assert len(large["cells"]) == 20 * 8 * 6 * 5
    text = as_html(large)
    assert len(text.encode()) < 5_000_000
    assert len(text.encode()) < 3_500_000, "what it was, and a little more"
    Page(text)


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """With all that is measured beside recall."""
    return results(4, occluders=("block", "blur"), ratios=(0.0, 0.2, 0.4), ks=(5, 10), findings=5)


def test_a_section_for_all_that_is_measured_beside_recall(whole: dict[str, Any]) -> None:
    page = Page(as_html(whole))
    shown = [attributes["id"] for attributes in page.every("section")]
    assert shown == [name for name in html.SECTIONS if name != "maps"]
    for name in beside.SECTIONS:
        for table in beside.tables(whole, name, brief=False):
            assert table.title in page.words
            numbers = {entry.text.strip() for row in table.rows for entry in row.entries}
            assert numbers <= {text.strip() for text in page.text}
    labels = [str(one["aria-label"]) for one in page.every("svg") if "role" in one]
    for start, count in (
        ("nDCG of the first 10 by the", 2),
        ("Risk by coverage, all levels", 2),
        ("Recall at 10 of medclip by sex", 2),
    ):
        assert sum(label.startswith(start) for label in labels) == count
    assert "clip: the group sex=O of the baseline (12 queries) is gone" in page.words
    assert page.document() == whole


def test_a_regression_in_a_group_is_in_headline_and_verdicts(whole: dict[str, Any]) -> None:
    document = copy.deepcopy(whole)
    for cell in document["cells"]:
        cell["verdict"] = "same"
    page = Page(as_html(document))
    assert "all 48 cells hold; 2 groups regressed; 1 group vanished." in page.words
    assert {"class": "headline regressed"} in page.every("p")
    assert "regressed : 12 of 192 numbers of groups" in page.words
    assert "cxr-repair-block-r00-k005 view=lateral 570" in page.words
    for section in ("groups", "group_curves", "vanished"):
        assert {"class": "headline regressed"} in Page(as_html(document)).every("p")
        del document[section][:]
    assert {"class": "headline same"} in Page(as_html(document)).every("p")


def test_groups_are_filtered_by_name(whole: dict[str, Any]) -> None:
    page = Page(as_html(whole))
    named = {f"{row['attribute']}={row['group']}" for row in whole["groups"]}
    assert {row["data-group"] for row in page.every("tr") if "data-group" in row} == named
    assert {line["data-group"] for line in page.every("g") if "data-group" in line} == named
    assert named < set(page.text)


def evil_document() -> dict[str, Any]:
    text = json.dumps(results(3, occluders=("block", "center"), ks=(5, 10), maps=2, findings=3))
    document: dict[str, Any] = json.loads(text.replace("cxr-repair", json.dumps(EVIL)[1:-1]))
    document["suite"] = EVIL
    document["corpus"]["notes"] = [EVIL]
    document["corpus"][EVIL] = EVIL
    document["protocol"]["fill"] = EVIL
    document["models"]["clip"].update(device=EVIL, family=EVIL, weights=EVIL, settings={EVIL: EVIL})
    document["baselines"]["base0"].update(libraries=EVIL, device=EVIL, weights=EVIL)
    document["claims"][0].update(statement=EVIL, unit=EVIL, notes=[EVIL], outcome=EVIL)
    document["claims"][0].update(expected=EVIL)
    document["claims"][0]["estimates"][0]["label"] = EVIL
    document["timings"][0].update({"pass": EVIL, "model": EVIL})
    document["curves"][0]["flags"] = [EVIL]
    document["maps"][0].update(fill=EVIL)
    document["maps"][0]["views"][0]["view"] = EVIL
    document["labels"].update(origin=EVIL, uncertain=EVIL, notes=[EVIL], prevalence={EVIL: 0.1})
    document["group_notes"], document["vanished"][0]["group"] = [EVIL], EVIL
    for row in document["groups"]:
        row.update(attribute=EVIL, group=EVIL, verdict="regressed")
    for row in document["agreement"]:
        row["classes"][0]["label"] = EVIL
    for cell in document["cells"]:
        if cell["occluder"] == "center":
            cell.update(occluder=EVIL, direction=EVIL, verdict=EVIL)
        else:
            cell["verdict"] = "regressed"
    return document


def test_hostile_names_are_only_text() -> None:
    document = evil_document()
    text = as_html(document)
    page = Page(text)
    assert len(page.every("script")) == 2
    assert page.every("img") == []
    assert page.every("iframe") == []
    assert all(not name.startswith("on") for _, a in page.elements for name in a)
    assert page.document() == document
    assert page.words.count("alert('1')") > 20


def test_pages_need_no_torch_and_other_files_no_page() -> None:
    code = (
        "import sys\n"
        "import pytest_occlusion.reporting.files as files\n"
        "assert 'pytest_occlusion.reporting.html' not in sys.modules\n"
        "import pytest_occlusion.reporting.html\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "open_clip", "matplotlib"} & set(done.stdout.split())


def test_nothing_of_this_machine(document: dict[str, Any]) -> None:
    text = as_html(document)
    for private in (str(Path.home()), str(Path.cwd()), sys.prefix):
        assert private not in text


@pytest.mark.parametrize(
    "changes",
    [
        {"models": 1, "maps": 1, "ks": (7,)},
        {"models": 1},
        {"models": 1, "ratios": (0.0,)},
        {"models": 2, "ratios": (0.25, 0.5)},
        {"models": 1, "ratios": (0.5,), "ks": (7,)},
        {"models": 3, "claims": False, "baselines": False},
    ],
    ids=str,
)
def test_small_runs(changes: dict[str, Any]) -> None:
    Page(as_html(results(**{"occluders": ("block",), "ks": (5, 10), **changes})))


def test_a_model_without_any_hit_and_odd_cells() -> None:
    document = results(2, occluders=("block",), ks=(5, 10))
    document["cells"] = [
        {**cell, "recall": 0.0, "hits": 0, "ci_low": 0.0} if cell["model"] == "clip" else cell
        for cell in document["cells"]
        if (cell["model"], cell["ratio"], cell["k"]) != ("cxr-repair", 0.25, 10)
    ]
    page = Page(as_html(document))
    assert "No recall at 0 % to retain." in page.words


def test_the_pareto_front_leaves_out_who_sees_nothing() -> None:
    document = results(20, occluders=("block",))
    condition = views.conditions(document["cells"])[0]
    standing = {one.model: one for one in views.standings(document, condition)}
    assert not standing["clip"].clears
    assert not standing["clip"].front
    front = [one for one in standing.values() if one.front]
    assert front
    for one in front:
        assert not any(
            other.accuracy > one.accuracy and other.robustness > one.robustness
            for other in standing.values()
            if other.clears
        )
    for other in standing.values():
        if other.clears and not other.front:
            assert any(
                one.accuracy >= other.accuracy and one.robustness >= other.robustness
                for one in front
            )


@pytest.fixture(scope="module")
def mapped() -> dict[str, Any]:
    return results(3, occluders=("block",), ks=(5, 10), maps=2)


def test_maps_over_the_mean_radiograph(mapped: dict[str, Any]) -> None:
    text = as_html(mapped)
    page = Page(text)
    shown = [a["id"] for a in page.every("section")]
    assert shown == [name for name in html.SECTIONS if name not in beside.SECTIONS]
    charts = [a for a in page.every("svg") if a.get("class") == "map"]
    assert len(charts) == 2 * 2 * 3, "two models, two views, three quantities"
    images = [str(a["href"]) for a in page.every("image")]
    assert len(images) == 2 * 3, "one view has too few patients to show"
    assert all(one.startswith("data:image/png;base64,") for one in images)
    assert "similarity lost, clip, PA: most at row 3, column 2, 0.050" in str(
        charts[0]["aria-label"]
    )
    assert "nobody's radiograph" in page.words
    assert "worst place by similarity" in page.words
    policy = next(a["content"] for a in page.every("meta") if "http-equiv" in a)
    assert "img-src data:;" in str(policy)
    assert page.document() == mapped
    assert as_html(json.loads(json.dumps(mapped))) == text


def test_every_loss_of_a_map_is_in_a_table(mapped: dict[str, Any]) -> None:
    words = Page(as_html(mapped)).words
    for record in mapped["maps"]:
        for view in record["views"]:
            for value in view["losses"]["rank"]["value"]:
                assert f" {value:.1f} " in words
        for one in record["placements"]:
            assert f"{100 * one['worst_rank']['value']:.1f}" in words
    large = results(1, occluders=("block",))
    large["maps"] = [map_record(0, "clip", grid=20)]
    text = as_html(large)
    assert "the 30 largest" in Page(text).words
    assert len(text) < 1_200_000


def test_a_map_of_nothing_and_of_help_only() -> None:
    document = results(1, occluders=("block",), ks=(5, 10), maps=1)
    losses = document["maps"][0]["views"][0]["losses"]
    losses["rank"] = {name: [0.0] * 16 for name in ("value", "low", "high")}
    losses["recall"] = {name: [-0.01] * 16 for name in ("value", "low", "high")}
    text = as_html(document)
    Page(text)
    assert 'class="cold8"' in text


def test_through_pytest(project: Project) -> None:  # noqa: F811
    project.accept()
    project.checkpoint("good", noise=3.0)
    files = ("--occlusion-html", "out/page.html", "--occlusion-json", "r.json")
    project.run(*files, expect=1)
    text = (project.path / "out" / "page.html").read_text()
    page = Page(text)
    written = json.loads((project.path / "r.json").read_text())
    assert page.document() == written
    assert views.headline(written) in page.words
    digests = written["models"]["good"]["weights"], written["baselines"]
    assert digests[0][:8] in page.words
    assert re.search(rf"weights [0-9a-f]{{8}} \u2192 {digests[0][:8]}", page.words)
    assert "secret" not in text
    assert str(project.path) not in text
    assert main(["html", str(project.path / "r.json"), "--out", str(project.path / "b.html")]) == 0
    assert (project.path / "b.html").read_text() == text
