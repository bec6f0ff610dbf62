"""``--occlusion-map``: the option, the suite's setting, every output."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.plugin.conftest import Project

MAP_TEST = """
def test_map(occlusion_map):
    assert occlusion_map.view("unknown").losses["rank"].value.shape == (4, 4)
"""


@pytest.fixture
def mapping(project: Project) -> Project:
    project.pytester.makepyfile(test_map=MAP_TEST)
    return project


def read(project: Project) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((project.path / "r.json").read_text())
    return content


def test_without_the_option_nothing_is_measured(mapping: Project) -> None:
    mapping.accept()
    result = mapping.run("--occlusion-json", "r.json", "-rs", expect=0)
    result.assert_outcomes(passed=18, skipped=1)
    result.stdout.fnmatch_lines(["*maps are measured with --occlusion-map N*"])
    result.stdout.no_fnmatch_line("*places*")
    assert read(mapping)["maps"] == []


def test_the_map_of_every_model(mapping: Project) -> None:
    mapping.accept()
    outputs = ("--occlusion-json", "r.json", "--occlusion-html", "p.html")
    asked = ("--occlusion-map", "4", "--occlusion-map-ratios", "0.25")
    result = mapping.run(*asked, *outputs, expect=0)
    result.assert_outcomes(passed=20)
    result.stdout.fnmatch_lines(
        [
            "occlusion: map of 4 x 4 places x 2 tile sizes: 32 forward passes per radiograph and "
            "model, 10.7 times its curves",
            "good - map: 4 x 4 places, 6.2 % of the image each",
            "unknown, 60 radiographs, most is lost at",
            "  row ?, column ?*similarity lost: *",
            "R@5 * whole; 25 % blocked: * on average, * at worst",
        ]
    )
    lines = result.stdout.lines
    start = lines.index("good - map: 4 x 4 places, 6.2 % of the image each")
    assert max(map(len, lines[start : start + 12])) <= 80
    found = read(mapping)
    assert [one["model"] for one in found["maps"]] == ["good", "other"]
    (view,) = found["maps"][0]["views"]
    assert (view["queries"], view["patients"]) == (60, 30)
    assert (view["picture"]["width"], view["picture"]["height"]) == (16, 16)
    for one in found["maps"][0]["placements"]:
        assert one["worst_rank"]["value"] <= one["worst_similarity"]["value"] + 1e-9
        assert one["worst_similarity"]["value"] <= one["mean"]["value"] + 1e-9
    text = (mapping.path / "p.html").read_text()
    assert "Where the models look" in text
    assert "secret" not in text + (mapping.path / "r.json").read_text()


def test_a_warm_run_gives_the_same_map(mapping: Project) -> None:
    asked = ("--occlusion-map", "4", "--occlusion-json", "r.json")
    mapping.run(*asked, "--occlusion-no-store")
    first = read(mapping)["maps"]
    mapping.run(*asked)
    assert read(mapping)["maps"] == first
    result = mapping.run(*asked)
    assert read(mapping)["maps"] == first
    result.stdout.no_fnmatch_line("good: map of*")  # said only when something is to be encoded


def test_the_cost_is_said_before_the_work(mapping: Project) -> None:
    result = mapping.run("--occlusion-map", "4")
    lines = result.stdout.lines
    told = next(at for at, line in enumerate(lines) if line.startswith("occlusion: map of 4 x 4"))
    collected = next(at for at, line in enumerate(lines) if line.startswith("collected"))
    assert told < collected
    result.stdout.fnmatch_lines(["good: map of 4 x 4 places: 16 forward passes*"])


def test_a_suite_may_ask_for_it(mapping: Project) -> None:
    suite = mapping.path / "suite.toml"
    suite.write_text('map = 4\nmap-ratios = "all"\n' + suite.read_text())
    mapping.run("--occlusion-json", "r.json")
    shares = [one["ratio"] for one in read(mapping)["maps"][0]["placements"]]
    assert shares == [0.0625, 0.25, 0.49, 0.81]
    mapping.run("--occlusion-json", "r.json", "--occlusion-map", "0")
    assert read(mapping)["maps"] == []


def test_few_patients_are_not_shown(mapping: Project) -> None:
    mapping.write_rows(mapping.rows()[:58])  # 29 patients
    mapping.run("--occlusion-json", "r.json", "--occlusion-map", "4", "--occlusion-html", "p.html")
    assert read(mapping)["maps"][0]["views"][0]["picture"] is None
    assert "data:image" not in (mapping.path / "p.html").read_text()


def test_a_map_without_cells_and_cells_without_a_map(mapping: Project) -> None:
    result = mapping.run("--occlusion-map", "4", "test_map.py", expect=0)
    result.stdout.fnmatch_lines(["maps were measured, but no cell*"])
    result = mapping.run("--occlusion-map", "4", "test_toy.py")
    result.stdout.fnmatch_lines(["no map: no test that asks for occlusion_map*"])


def test_a_missing_checkpoint_stops_or_skips_a_map(mapping: Project) -> None:
    (mapping.path / "good.safetensors").unlink()
    asked = ("--occlusion-map", "4", "test_map.py")
    result = mapping.run(*asked, expect=4)
    assert "good.safetensors" in result.stdout.str() + result.stderr.str()
    result = mapping.run(*asked, "--occlusion-allow-missing", "-rs")
    result.assert_outcomes(passed=1, skipped=1)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--occlusion-map", "1"), "--occlusion-map is 1: a map has 2 to 64 places per side"),
        (("--occlusion-map", "x"), "--occlusion-map is 'x': a map has 2 to 64 places"),
        (("--occlusion-map-ratios", "0"), "--occlusion-map-ratios holds 0, which blocks nothing"),
        (("--occlusion-map-ratios", "x"), "--occlusion-map-ratios is not a list of numbers"),
    ],
)
def test_faults(mapping: Project, args: tuple[str, ...], says: str) -> None:
    assert says in mapping.run(*args, expect=4).stderr.str()
