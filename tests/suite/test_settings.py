"""Settings: who overrides whom, which cells have a baseline, and every fault in one message."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.occlusion.levels import SEVERITIES
from pytest_occlusion.suite.grid import Cell, Grid
from pytest_occlusion.suite.merge import IN_GRID, MODEL_KEYS, build_settings
from pytest_occlusion.suite.settings import RaySettings, Settings, attribute
from pytest_occlusion.suite.suites import Suite, read_suite
from pytest_occlusion.suite.table import KS, RATIOS, SETTINGS, names_of

MODELS: dict[str, Any] = {
    "first": {"family": "clip", "checkpoint": "first.pt"},
    "second": {"family": "cxr-repair", "checkpoint": "second.pt"},
}
SUITE: dict[str, Any] = {"suite": "team", "models": MODELS}


def build(
    suite: dict[str, Any] | None = None, base: Path = Path("/suites"), **given: Any
) -> Settings:
    """Settings of the suite, with what the command line gave."""
    selected = given.pop("selected", None)
    command_line = {name.replace("_", "-"): value for name, value in given.items()}
    return build_settings(
        Suite(SUITE if suite is None else suite, "team.toml", base),
        command_line=command_line,
        selected=selected,
    )


def fault(suite: dict[str, Any] | None = None, **given: Any) -> str:
    with pytest.raises(OcclusionError) as caught:
        build(suite, **given)
    assert caught.value.remedy
    return str(caught.value)


def test_columns_are_options_of_the_suites_own_corpus() -> None:
    columns = {"image": "Path", "report": "Report & Impression", "keep": ["sex", "a,b"]}
    suite = {**SUITE, "corpus": "manifest:t.csv", "columns": {**columns, "split_column": "fold"}}
    told = "image=Path&report=Report%20%26%20Impression&keep=sex,a%2Cb&split-column=fold"
    assert build(suite).corpus == f"manifest:t.csv?{told}"
    assert build({**suite, "corpus": "manifest:t.csv?root=x"}).corpus.endswith(f"?root=x&{told}")
    assert build(suite, corpus="manifest:other.csv").corpus == "manifest:other.csv"
    assert not build(suite).ad_hoc
    for wrong in (3, "", [3], [""], {"a": "b"}):
        text = fault({**suite, "columns": {"image": wrong}})
        assert "team.toml: columns.image is" in text
        assert "the name of a column is needed" in text
    assert "columns is not a table" in fault({**suite, "columns": "image"})


# What comes of it --------------------------------------------------------------------------------


def test_defaults() -> None:
    found = build()
    assert (found.suite, found.origin) == ("team", "team.toml")
    assert found.grid == found.suite_grid
    assert found.grid == Grid(("first", "second"), ("image-to-text",), ("block",), RATIOS, KS)
    assert (found.corpus, found.fill, found.seeds) == ("embedded", "black", (0,))
    assert (found.text_rule, found.candidates) == ("findings+impression", "texts")
    assert (found.store, found.ad_hoc, found.outputs) == (None, (), {})


def test_the_table_holds_together() -> None:
    """Defaults pass their checks, help names what the ground floor knows, and all is recorded."""
    for name, setting in SETTINGS.items():
        assert setting.check(setting.default) is None
        assert name in IN_GRID or hasattr(build(), attribute(name))
    for name in ("text-rule", "candidates", "fill", "occluders"):
        assert all(known in SETTINGS[name].help for known in names_of(name))
    assert SETTINGS["severities"].default == list(SEVERITIES)


def test_the_command_line_wins_over_the_suite_over_the_defaults() -> None:
    suite = {**SUITE, "ks": [1, 2], "fill": "mean", "batch-size": 8}
    found = build(suite, ks=[7, 3], batch_size=4)
    assert found.grid.ks == (3, 7)
    assert found.suite_grid.ks == (1, 2)
    assert found.fill == "mean"
    assert found.batch_size == 4
    assert found.precision == "fp32"


def test_underscores_are_hyphens() -> None:
    model = {"family": "clip", "checkpoint": "a.pt", "fp16_rounded": True}
    suite = {"suite": "team", "models": {"a": model}, "text_rule": "full", "batch_size": 3}
    found = build(suite)
    assert (found.text_rule, found.batch_size) == ("full", 3)
    assert found.model("a").options == {"fp16-rounded": True}


def test_ratios_and_ks_are_sorted() -> None:
    found = build({**SUITE, "ratios": [0.5, 0, 0.25], "ks": [10, 5]})
    assert found.grid.ratios == (0.0, 0.25, 0.5)
    assert all(type(ratio) is float for ratio in found.grid.ratios)
    assert found.grid.ks == (5, 10)


def test_a_single_seed_or_several() -> None:
    assert build({**SUITE, "seed": 7}).seeds == (7,)
    assert build({**SUITE, "seed": [1, 2]}).seeds == (1, 2)
    assert build(seed=[3]).seeds == (3,)


def test_both_directions() -> None:
    both = ("image-to-text", "text-to-image")
    found = build(direction="both")
    assert (found.grid.directions, found.suite_grid.directions) == (both, both[:1])
    assert build({**SUITE, "direction": "both"}).grid.directions == both


def test_selected_models_keep_the_order_of_the_suite() -> None:
    found = build(selected=["second", "first"])
    assert found.grid.models == ("first", "second")
    found = build(selected=["second"])
    assert found.grid.models == ("second",)
    assert found.suite_grid.models == ("first", "second")
    assert found.model("first").family == "clip"


def test_precision_of_a_model_overrides_the_suite() -> None:
    models = {**MODELS, "first": {**MODELS["first"], "precision": "bf16"}}
    found = build({**SUITE, "models": models, "precision": "fp16"})
    assert found.precision_of(found.model("first")) == "bf16"
    assert found.precision_of(found.model("second")) == "fp16"


def test_tolerances_from_the_special_to_the_general() -> None:
    models = {**MODELS, "second": {**MODELS["second"], "tolerance": 5}}
    found = build(
        {
            **SUITE,
            "models": models,
            "tolerance": 2,
            "tolerances": {"*-r8?-*": 9, "first-block-r81-*": 10},
        }
    )
    assert found.tolerance_of("first-block-r25-k010", "first") == 2
    assert found.tolerance_of("second-block-r25-k010", "second") == 5
    assert found.tolerance_of("second-block-r25-k010", "second", calibrated=3) == 3
    assert found.tolerance_of("second-block-r25-k010", "second", calibrated=0) == 1
    assert found.tolerance_of("second-block-r81-k010", "second", calibrated=3) == 9
    assert found.tolerance_of("first-block-r81-k010", "first") == 10


def test_protocol_is_what_a_number_depends_on() -> None:
    def changed(**settings: Any) -> bool:
        return build({**SUITE, **settings}).protocol() != build().protocol()

    assert changed(fill="mean")
    assert changed(seed=[0, 1])
    assert changed(candidates="studies")
    assert changed(split="test")
    assert changed(**{"text-rule": "full"})
    assert not changed(**{"batch-size": 2, "device": "cuda", "tolerance": 9, "ks": [3]})


# Places ------------------------------------------------------------------------------------------


def checkpoint(place: str, base: Path, **more: str) -> Any:
    models = {"a": {"family": "clip", "checkpoint": place, **more}}
    return build({"suite": "team", "models": models}, base=base).model("a")


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("weights/a.pt", "{suite}/weights/a.pt"),
        ("../a.pt", "{above}/a.pt"),
        ("./a", "{suite}/a"),
        ("folder", "{suite}/folder"),
        ("~/a.pt", "/home/me/a.pt"),
        ("/elsewhere/a.pt", "/elsewhere/a.pt"),
        ("openai/clip-vit", "openai/clip-vit"),  # no path: left alone
        ("tag:laion", "tag:laion"),
    ],
)
def test_places(place: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "folder").mkdir()
    found = checkpoint(place, tmp_path, tokenizer=place)
    expected = expected.format(suite=tmp_path, above=tmp_path.parent)
    assert (found.checkpoint, found.tokenizer) == (expected, expected)
    assert checkpoint(place, tmp_path).tokenizer is None


@pytest.mark.parametrize(
    ("place", "reason"),
    [("~nobody-of-that-name/a.pt", "home directory"), ("a\0.pt", "embedded null")],
)
@pytest.mark.parametrize("key", ["checkpoint", "tokenizer"])
def test_places_that_no_file_can_have(key: str, place: str, reason: str) -> None:
    text = fault({"suite": "team", "models": {"a": {**MODELS["first"], key: place}}})
    assert f"models.a: {key} cannot be a path" in text
    assert reason in text
    assert "no checkpoint" not in text


def test_environment_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHTS", str(tmp_path / "w"))
    monkeypatch.delenv("NOT_SET", raising=False)
    monkeypatch.delenv("NOR_THIS", raising=False)
    found = checkpoint("$WEIGHTS/a.pt", Path("/x"), tokenizer="${WEIGHTS}/vocabulary.txt")
    assert found.checkpoint == str(tmp_path / "w" / "a.pt")
    assert found.tokenizer == str(tmp_path / "w" / "vocabulary.txt")
    assert found.missing == ()
    found = checkpoint("$NOT_SET/a.pt", Path("/x"), tokenizer="${NOR_THIS}/$WEIGHTS")
    assert found.missing == ("NOT_SET", "NOR_THIS")


def test_the_corpus_may_hold_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/data")
    found = build({**SUITE, "corpus": "manifest:$DATA/m.csv"})
    assert found.corpus == "manifest:/data/m.csv"
    assert found.base == Path("/suites")
    assert build(corpus="manifest:m.csv").base == Path.cwd()
    assert found.corpus_missing == ()
    monkeypatch.delenv("DATA")
    assert build({**SUITE, "corpus": "manifest:$DATA/m.csv"}).corpus_missing == ("DATA",)


# Which cells have a baseline ---------------------------------------------------------------------

CELL = Cell("first", "image-to-text", "block", 0.25, 10)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"selected": ["first"]},
        {"ratios": [0.25], "ks": [10]},
        {"device": "cuda", "precision": "fp16", "batch_size": 1, "tolerance": 5},
    ],
)
def test_cells_of_the_suite_are_gated(given: dict[str, Any]) -> None:
    assert CELL in build(**given).gated


@pytest.mark.parametrize(
    "cell",
    [
        ("other", "image-to-text", "block", 0.25, 10),
        ("first", "text-to-image", "block", 0.25, 10),
        ("first", "image-to-text", "pixels", 0.25, 10),
        ("first", "image-to-text", "block", 0.26, 10),
        ("first", "image-to-text", "block", 0.25, 11),
    ],
)
def test_cells_that_the_suite_does_not_hold_are_not_gated(cell: Any) -> None:
    found = build(ratios=[0.25, 0.26], ks=[10, 11], occluders=["block", "pixels"], direction="both")
    assert CELL in found.gated
    assert Cell(*cell) not in found.gated


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("corpus", "open-i"),
        ("split", "test"),
        ("text-rule", "full"),
        ("candidates", "studies"),
        ("fill", "mean"),
        ("seed", [1]),
    ],
)
def test_a_changed_protocol_has_no_baseline(name: str, value: Any) -> None:
    found = build(**{name: value})
    assert found.ad_hoc == (name,)
    assert CELL not in found.gated
    same = build({**SUITE, name: value}, **{name: value})
    assert same.ad_hoc == ()
    assert CELL in same.gated


@pytest.mark.parametrize(
    ("corpus", "split"), [("manifest:x.csv", ""), ("embedded", ""), ("mimic-cxr:other", "test")]
)
def test_a_split_belongs_to_its_kind_of_corpus(corpus: str, split: str) -> None:
    suite = {**SUITE, "corpus": "mimic-cxr:root", "split": "test"}
    assert build(suite, corpus=corpus).split == split
    assert build(suite, corpus=corpus, split="train").split == "train"


def test_several_changes_are_all_named() -> None:
    assert build(fill="white", seed=[4], ks=[3]).ad_hoc == ("fill", "seed")


# Faults ------------------------------------------------------------------------------------------

NUMBERS = "is not a list of numbers: "
WHOLE = "is not a list of whole numbers: "
ENGINES = "local, ray, ray://auto or ray://HOST:PORT, the address of the head, is needed"
SHARE = ": a share of the queries below 1, or a whole number of them, is needed"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("corpus", "", "is '': a text is needed"),
        ("corpus", 3, "is 3: a text is needed"),
        ("split", 3, "is 3: a text is needed"),
        ("text-rule", "best", "is 'best'; known: findings+impression, longest"),
        ("candidates", "all", "is 'all'; known: texts, studies"),
        ("candidates", "study", "is 'study'; known: texts, studies; did you mean studies?"),
        ("direction", "up", "is 'up'; known: image-to-text, both"),
        ("ratios", 0.25, NUMBERS + "0.25"),
        ("ratios", [], NUMBERS + "[]"),
        ("ratios", [True], NUMBERS + "[True]"),
        ("ratios", ["a"], NUMBERS + "['a']"),
        ("ratios", [0.5, 1.0, -0.1], "holds 1.0, -0.1, outside [0, 1): 0.25 blocks a quarter"),
        ("ratios", [25], "holds 25, outside [0, 1)"),
        ("ratios", [math.nan], "holds nan, outside [0, 1)"),
        ("ratios", [math.inf], "holds inf, outside [0, 1)"),
        ("ratios", [10**400], "holds 100000000000000000...0000000000000000000, outside [0, 1)"),
        ("ratios", [0.25, 0.25], "names a ratio twice"),
        ("severities", [3, 6], "holds 6; severities are 0 to 5"),
        ("severities", [3, 3], "names a severity twice"),
        ("ks", [5.0], WHOLE + "[5.0]"),
        ("ks", "5", WHOLE + "'5'"),
        ("ks", [], WHOLE + "[]"),
        ("ks", [5, 0], "holds 0; a k is 1 or more"),
        ("ks", [5, 5], "names a k twice"),
        ("occluders", "block", "is not a list of names: 'block'"),
        ("occluders", [], "is not a list of names: []"),
        ("occluders", ["blob", "block"], "holds unknown blob; known: block, patches, pixels"),
        ("occluders", [{}, ["block"]], "holds unknown {}, ['block']; known"),
        ("occluders", ["block", "block"], "names an occluder twice"),
        ("fill", "pink", "is 'pink'; known: black, white, mean, noise"),
        ("fill", ["black"], "is ['black']; known: black"),
        ("seed", [], WHOLE + "[]"),
        ("seed", [0.5], WHOLE + "[0.5]"),
        ("seed", [True], WHOLE + "[True]"),
        ("seed", [1, 1], "names a seed twice"),
        ("tolerance", "two", "is 'two'" + SHARE),
        ("tolerance", -1, "is -1" + SHARE),
        ("tolerance", True, "is True" + SHARE),
        ("tolerance", math.nan, "is nan" + SHARE),
        ("tolerance", math.inf, "is inf" + SHARE),
        ("tolerance", 10**400, "is 100000000000000000...0000000000000000000" + SHARE),
        ("tolerance", 1.5, "is 1.5" + SHARE),
        ("fail-on", "never", "is 'never'; known: any, regression, significant-regression"),
        ("device", "", "is '': a text is needed"),
        ("precision", "int8", "is 'int8'; known: fp32, bf16, fp16"),
        ("batch-size", 0, "is 0: a positive whole number is needed"),
        ("batch-size", 2.5, "is 2.5: a positive whole number is needed"),
        ("batch-size", True, "is True: a positive whole number is needed"),
        ("map", 1, "is 1: a map has 2 to 64 places per side, or 0 for none"),
        ("map", 65, "is 65: a map has 2 to 64 places"),
        ("map", True, "is True: a map has 2 to 64 places"),
        ("map", 8.5, "is 8.5: a map has 2 to 64 places"),
        ("map-ratios", "some", NUMBERS + "'some'; or say all"),
        ("map-ratios", [0.25, 1.0], "holds 1.0, outside [0, 1)"),
        ("map-ratios", [0.0, 0.25], "holds 0, which blocks nothing"),
        ("engine", "dask", f"is 'dask': {ENGINES}"),
        ("engine", "ray://", f"is 'ray://': {ENGINES}"),
        ("engine", "ray://head", f"is 'ray://head': {ENGINES}"),
        ("engine", "ray://head:port", f"is 'ray://head:port': {ENGINES}"),
        ("engine", "ray://:6379", f"is 'ray://:6379': {ENGINES}"),
        ("engine", "ray://a b:6379", f"is 'ray://a b:6379': {ENGINES}"),
        ("engine", "ray://fd00::1:6379", f"is 'ray://fd00::1:6379': {ENGINES}"),
        ("engine", "head:6379", f"is 'head:6379': {ENGINES}"),
        ("engine", "", f"is '': {ENGINES}"),
        ("engine", 3, f"is 3: {ENGINES}"),
    ],
)
def test_faults_of_settings(name: str, value: Any, words: str) -> None:
    assert f"team.toml: {name} {words}" in fault({**SUITE, name: value})
    on_command_line = fault(**{name: value})
    assert f"--occlusion-{name} {words}" in on_command_line
    assert "nothing was run" in on_command_line


NAME = "a name of letters, digits, - and _ is needed"


@pytest.mark.parametrize(
    ("suite", "words"),
    [
        ({"models": MODELS}, f"suite is '': {NAME}"),
        ({"models": MODELS, "suite": "a.b"}, f"suite is 'a.b': {NAME}"),
        ({"models": MODELS, "suite": "../x"}, f"suite is '../x': {NAME}"),
        ({"models": MODELS, "suite": 3}, f"suite is 3: {NAME}"),
        ({"suite": "t"}, "no models; give each a table [models.NAME]"),
        ({"suite": "t", "models": {}}, "no models"),
        ({"suite": "t", "models": [1]}, "no models"),
        ({"suite": "t", "models": {"a": 3}}, "models.a is not a table: 3"),
        ({**SUITE, "ratio": [0.1]}, "unknown setting 'ratio'; known: ratios, ks, severities"),
        ({**SUITE, "tolerances": 3}, "tolerances is not a table: 3"),
        ({**SUITE, "tolerances": {"*": "x"}}, f"tolerances.* is 'x'{SHARE}"),
        ({**SUITE, "claims": {"worst": "supported"}}, "unknown claim 'worst'; known: best, second"),
        ({**SUITE, "text_rule": "full", "text-rule": "full"}, "text-rule is given twice, with -"),
    ],
)
def test_faults_of_suites(suite: dict[str, Any], words: str) -> None:
    assert f"team.toml: {words}" in fault(suite)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("a/b", {}, "a name holds letters, digits, -, + and _ only"),
        ("a.b", {}, "a name holds letters"),
        ("", {}, "a name holds letters"),
        ("a", {"family": "blip"}, "family is 'blip'; known: clip, cxr-repair"),
        ("a", {"family": None}, "family is None; known: clip"),
        ("a", {"family": ["clip"]}, "family is ['clip']; known: clip"),
        ("a", {"checkpoint": ""}, "no checkpoint"),
        ("a", {"checkpoint": 3}, "checkpoint is 3: a text is needed"),
        ("a", {"tokenizer": ["x"]}, "tokenizer is ['x']: a text is needed"),
        ("a", {"precision": "int8"}, "precision is 'int8'; known: fp32, bf16, fp16"),
        ("a", {"precision": {}}, "precision is {}; known: fp32, bf16, fp16"),
        ("a", {"role": "dog"}, "role is 'dog'; known: clip, cxr-repair, medclip, cxr-clip"),
        ("a", {"tolerance": -1}, f"tolerance is -1{SHARE}"),
        ("a", {"tolerance": 1.5}, f"tolerance is 1.5{SHARE}"),
        ("a", {"a_b": 1, "a-b": 2}, "a-b is given twice, with - and with _"),
    ],
)
def test_faults_of_models(name: str, changes: dict[str, Any], words: str) -> None:
    model = {"family": "clip", "checkpoint": "a.pt", **changes}
    model = {key: value for key, value in model.items() if value is not None}
    text = fault({"suite": "team", "models": {name: model}})
    assert f"team.toml: models.{name}: {words}" in text


def test_the_nearest_name_is_told_where_one_is_misspelt() -> None:
    models = {"a": {"family": "cxrclip", "checkpoint": "a.pt", "role": "cxr-repare"}}
    suite = {"suite": "t", "models": models, "sevreity": [1], "claims": {"fatest": "supportd"}}
    text = fault(suite, fill="blck", occluders=["blok", "pixles"])
    lines = [line for line in text.splitlines() if line.startswith("  - ")]
    meant = [line.rpartition("did you mean ")[2].rstrip("?") for line in lines]
    assert sorted(meant) == sorted(
        ["cxr-clip", "cxr-repair", "severities", "flattest", "supported", "black", "block, pixels"]
    )


def test_unknown_models_on_the_command_line() -> None:
    text = fault(selected=["first", "third", "fourth"])
    expected = "--occlusion-models: unknown model third, fourth; the suite 'team' has first, second"
    assert expected in text
    assert "has none" in fault({"suite": "team"}, selected=["a"])


def test_all_faults_come_at_once() -> None:
    suite = {
        "suite": "a b",
        "fil": "x",
        "ks": [0],
        "models": {"a": {"family": "x", "checkpoint": "a"}, "b": {"family": "clip"}},
    }
    text = fault(suite, selected=["c"], ratios=[2.0], fill="x")
    for words in (
        "unknown setting 'fil'",
        "team.toml: ks holds",
        "--occlusion-ratios holds 2.0",
        "--occlusion-fill is 'x'",
        "suite is 'a b'",
        "models.a: family is 'x'",
        "models.b: no checkpoint",
        "unknown model c",
    ):
        assert words in text
    assert text.count("\n  - ") == 8


# Reading -----------------------------------------------------------------------------------------


def test_reading_a_suite(tmp_path: Path) -> None:
    path = tmp_path / "team.toml"
    path.write_text('suite = "ß"\n[tool.occlusion]\nks = [1]\n', encoding="utf-8")
    assert read_suite(path)["suite"] == "ß"
    assert read_suite(path, table=("tool", "occlusion")) == {"ks": [1]}
    assert read_suite(path, table=("tool", "other")) == {}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"suite = \n", "not TOML"),
        (b"suite = 'a'\nsuite = 'b'\n", "not TOML"),
        (b"\xff\xfe", "not TOML"),
        (b"k = " + b"1" * 5000, "not TOML"),
        (b"k = " + b"[" * 5000, "not TOML"),
    ],
)
def test_files_that_are_not_toml(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "team.toml"
    path.write_bytes(content)
    with pytest.raises(OcclusionError) as caught:
        read_suite(path)
    assert f"{path}: {reason}" in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("name", "words"), [("none.toml", "no suite file {path}"), (".", "{path}: cannot be read")]
)
def test_a_missing_file_and_a_folder(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(OcclusionError) as caught:
        read_suite(tmp_path / name)
    assert words.format(path=tmp_path / name) in str(caught.value)
    assert ".toml file" in caught.value.remedy


@pytest.mark.parametrize("content", ["tool = 3", "[tool]\nocclusion = 'x'", "tool = [1]"])
def test_a_table_that_is_no_table(tmp_path: Path, content: str) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(content)
    with pytest.raises(OcclusionError) as caught:
        read_suite(path, table=("tool", "occlusion"))
    assert f"{path}: " in str(caught.value)
    assert "is not a table" in str(caught.value)
    assert "[tool.occlusion]" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("ratios", "0,0.25", [0.0, 0.25]),
        ("ks", " 5, 10 ", [5, 10]),
        ("occluders", "block", ["block"]),
        ("ks", "5,x,", [5, "x", ""]),
        ("seed", "0.5", ["0.5"]),
        ("map-ratios", "0.5", [0.5]),
        ("map-ratios", "all", ["all"]),
        ("tolerance", "9", 9),
        ("tolerance", "0.02", 0.02),
        ("tolerance", "1,2", "1,2"),
        ("batch-size", "many", "many"),
        ("fill", "white", "white"),
    ],
)
def test_texts_of_the_command_line(name: str, text: str, value: Any) -> None:
    parsed = SETTINGS[name].parse(text)
    assert (parsed, type(parsed)) == (value, type(value))
    if isinstance(value, list):
        assert list(map(type, parsed)) == list(map(type, value))


# Anything at all ---------------------------------------------------------------------------------

values = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=6),
        st.sampled_from([10**400, "~nobody/x.pt", "$", "${", "block", "clip", "both", 0.25, 1]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)
model_tables = st.dictionaries(
    st.sampled_from([*MODEL_KEYS, "image_size", "image-size"]),
    values,
)
suites = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(SETTINGS, values),
        "suite": values,
        "text_rule": values,
        "groups": st.one_of(
            values, st.dictionaries(st.sampled_from(["gate", "minimum"]), values, max_size=2)
        ),
        "ray": st.one_of(
            values, st.dictionaries(st.sampled_from(["cpus", "gpus", "workers"]), values)
        ),
        "tolerances": st.one_of(values, st.dictionaries(st.text(max_size=3), values, max_size=2)),
        "models": st.one_of(
            values,
            st.just(MODELS),
            st.dictionaries(st.text(max_size=4), st.one_of(values, model_tables), max_size=2),
        ),
    },
)


@example({"suite": "team", "models": {"a": {"family": "clip", "checkpoint": "~nobody/x.pt"}}}, {})
@example({"suite": "team", "models": {"a": {"family": "clip", "checkpoint": "x" * 5000}}}, {})
@example({**SUITE, "tolerance": math.inf}, {})
@given(suites, st.dictionaries(st.sampled_from(sorted(SETTINGS)), values, max_size=3))
def test_only_our_errors_escape(suite: dict[str, Any], command_line: dict[str, Any]) -> None:
    for table in (suite, {**SUITE, **suite}):
        try:
            found = build(table, **command_line)
        except OcclusionError as error:
            assert error.remedy  # noqa: PT017
        else:
            assert found.suite
            assert isinstance(found.gated, frozenset)
            assert found.protocol()


def test_maps_and_their_further_tile_sizes() -> None:
    found = build()
    assert (found.map_grid, found.map_ratios) == (0, ())
    found = build({**SUITE, "map": 8, "map-ratios": [0.25, 0.09]})
    assert (found.map_grid, found.map_ratios) == (8, (0.09, 0.25))
    assert build({**SUITE, "map-ratios": "all"}).map_ratios == RATIOS[1:]
    narrowed = build(map=4, map_ratios=["all"], ratios=[0.0, 0.5])
    assert (narrowed.map_grid, narrowed.map_ratios) == (4, (0.5,))
    assert narrowed.ad_hoc == (), "a map changes no number that has a baseline"


def test_a_model_of_the_register_needs_only_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    models: dict[str, Any] = {
        "a": {"model": "siglip2", "tolerance": 3},
        "b": {"model": "cxr-clip:swint_mc", "max_tokens": 77},
        "c": {"model": "chexzero", "checkpoint": "best.pt"},
    }
    hub, direct, by_hand = build({"suite": "team", "models": models}).models
    assert (hub.family, hub.checkpoint) == ("hf", "hf-hub:google/siglip2-base-patch16-224")
    assert set(hub.options) == {"revision"}
    assert hub.tolerance == 3
    place = "/cache/pytest-occlusion/checkpoints/cxr-clip/swint_mc.tar"
    assert (direct.model, direct.checkpoint) == ("cxr-clip-swint-mc", place)
    assert direct.options == {"max-tokens": 77}
    assert (by_hand.family, by_hand.checkpoint) == ("cxr-repair", "/suites/best.pt")


def test_every_fault_of_a_model_of_the_register_is_told() -> None:
    models: dict[str, Any] = {
        "a": {"model": "biovilt", "precision": "int8"},
        "b": {"model": "clip", "family": "hf"},
        "c": {"model": "chexzero"},
        "d": {"model": "whyxrayclip"},
        "e": {"model": "clip", "tolerance": -1},
    }
    said = fault({"suite": "team", "models": models})
    for line in (
        "models.a: no published model is known as 'biovilt' (near: biovil-t, biovil",
        "models.a: precision is",
        "models.b: model = 'clip' is of family 'clip', and family = 'hf' contradicts it",
        "models.c: chexzero: its authors publish it on a page that only a browser can use; open "
        "https://drive.google.com/",
        "give its path as the checkpoint.",
        "models.d: whyxrayclip: no commit of hf-hub:yyupenn/whyxrayclip is known here; choose one "
        "on https://huggingface.co/yyupenn/whyxrayclip/commits/main, and give it as revision.",
        "models.e: tolerance is",
    ):
        assert line in said


# Groups, labels, the reference -------------------------------------------------------------------


def test_groups_that_are_shown_and_groups_that_are_judged() -> None:
    found = build()
    assert (found.group_by, found.gated_by, found.smallest_group) == ((), (), 30)
    groups = {"gate": ["sex", "view"], "minimum": 10}
    found = build({**SUITE, "group-by": ["age/20", "view"], "groups": groups})
    assert found.group_by == ("age/20", "view", "sex")
    assert found.gated_by == ("sex", "view")
    assert found.smallest_group == 10
    narrowed = build({**SUITE, "groups": groups}, group_by=["finding"])
    assert narrowed.group_by == ("finding", "sex", "view"), "what is gated comes along"
    assert not narrowed.ad_hoc
    other = build({**SUITE, "groups": groups}, corpus="open-i", group_by=["view"])
    assert (other.group_by, other.gated_by) == (("view",), ()), "which may not know the others"
    assert build({**SUITE, "groups": groups}, fill="mean").gated_by == ("sex", "view")


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (3, "groups is not a table: 3"),
        ({"gates": []}, "groups holds unknown gates; known: gate, minimum; did you mean gate?"),
        ({"gate": "sex"}, "groups gate is not a list of names: 'sex'"),
        ({"gate": ["sex", 3]}, "groups gate holds 3; an attribute is NAME, or NAME/20 for bands"),
        ({"gate": ["age/0"]}, "groups gate holds 'age/0'"),
        ({"gate": ["age/-5"]}, "groups gate holds 'age/-5'"),
        ({"gate": ["a/b/20"]}, "groups gate holds 'a/b/20'"),
        ({"gate": ["--"]}, "groups gate holds '--'"),
        ({"gate": [["sex"]]}, "groups gate holds ['sex']"),
        ({"gate": ["sex", "Sex"]}, "groups gate names an attribute twice"),
        ({"minimum": 0}, "groups minimum is 0: a positive whole number"),
        ({"minimum": True}, "groups minimum is True: a positive whole number"),
    ],
)
def test_faults_of_groups(groups: Any, words: str) -> None:
    assert f"team.toml: {words}" in fault({**SUITE, "groups": groups})


def test_attributes_that_ids_of_tests_cannot_tell_apart() -> None:
    suite = {**SUITE, "group-by": ["age/20"], "groups": {"gate": ["age-20"]}}
    said = "team.toml: group-by with gate of groups names an attribute twice"
    assert said in fault(suite)
    assert said in fault({**suite, "group-by": []}, group_by=["Age 20"])
    assert build({**suite, "group-by": ["age-20"]}).group_by == ("age-20",)


@pytest.mark.parametrize("value", ["sex", ["sex", ""], [3.0], ["age/1.5"], ["sex", "sex"]])
def test_faults_of_what_is_grouped_by(value: Any) -> None:
    assert "team.toml: group-by " in fault({**SUITE, "group-by": value})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("view,sex", ["view", "sex"]), (" age/20 ", ["age/20"]), ("", [""]), ("7", [7.0])],
)
def test_the_command_lines_groups(text: str, expected: list[Any]) -> None:
    assert SETTINGS["group-by"].parse(text) == expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("auto", ("auto",)),
        ("none", ("none",)),
        ("Edema, Pneumonia", ("Edema", "Pneumonia")),
        (["Edema", "a,b"], ("Edema", "a,b")),
        ("chexpert.csv.gz", ("/suites/chexpert.csv.gz",)),
        (["a,b.CSV"], ("/suites/a,b.CSV",)),
        ("/elsewhere/l.tsv", ("/elsewhere/l.tsv",)),
        ("$LABELS/l.csv", ("/labels/l.csv",)),
        ("$NOT_SET/l.csv", ("/suites/$NOT_SET/l.csv",)),
        ("l.parquet", ("l.parquet",)),
    ],
)
def test_places_and_names_of_labels(
    labels: Any, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELS", "/labels")
    monkeypatch.delenv("NOT_SET", raising=False)
    assert build({**SUITE, "labels": labels}).labels == expected


def test_labels_of_the_command_line_lie_where_it_is_typed() -> None:
    assert build(labels="l.csv").labels == (str(Path.cwd() / "l.csv"),)
    assert not build(labels="l.csv", uncertain="negative", reference="first").ad_hoc


@pytest.mark.parametrize("labels", ["", " ", [], ["a", ""], 3, [3], True])
def test_faults_of_labels(labels: Any) -> None:
    said = "a table's path or names of attributes are needed"
    assert said in fault({**SUITE, "labels": labels})


def test_the_uncertain_rule_and_the_reference() -> None:
    found = build({**SUITE, "uncertain": "negative", "reference": "second"})
    assert (found.uncertain, found.reference) == ("negative", "second")
    assert build({**SUITE, "reference": "second"}, selected=["first"]).reference == "second"
    assert (build().uncertain, build().reference) == ("positive", "")
    said = fault({**SUITE, "uncertain": "maybe", "reference": "frist"})
    assert "uncertain is 'maybe'; known: positive, negative" in said
    assert (
        "team.toml: reference is 'frist', no model of the suite; known: first, second; did" in said
    )
    assert "--occlusion-reference is 'third', no model of the suite" in fault(reference="third")
    assert "reference is ['first']: a text is needed" in fault({**SUITE, "reference": ["first"]})


# Engines -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "engine",
    [
        "local",
        "ray",
        "ray://auto",
        "ray://head:6379",
        "ray://10.0.0.1:6379",
        "ray://[fd00::1]:6379",
    ],
)
def test_engines(engine: str) -> None:
    for found in (build({**SUITE, "engine": engine}), build(engine=engine)):
        assert found.engine == engine
        assert found.ray == RaySettings(cpus=1, gpus=None, workers=0)


def test_who_works_changes_no_number() -> None:
    found = build({**SUITE, "engine": "ray", "ray": {"cpus": 8, "gpus": 1}})
    assert found.protocol() == build().protocol()
    assert build(engine="ray://head:6379").ad_hoc == ()
    assert CELL in build(engine="ray").gated


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        ({}, RaySettings()),
        ({"cpus": 8}, RaySettings(cpus=8)),
        ({"gpus": 0}, RaySettings(gpus=0)),
        ({"gpus": 0.25, "workers": 6}, RaySettings(gpus=0.25, workers=6)),
        ({"gpus": 2, "workers": 0}, RaySettings(gpus=2)),
    ],
)
def test_what_a_worker_on_a_cluster_is_given(table: dict[str, Any], wanted: RaySettings) -> None:
    assert build({**SUITE, "ray": table}).ray == wanted


GPUS = ": a whole number of GPUs or a share of one is needed"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (3, "is not a table: 3"),
        ("auto", "is not a table: 'auto'"),
        ({"cpu": 1}, "has an unknown setting cpu; known: cpus, gpus, workers; did you mean cpus?"),
        ({"a": 1, "b": 2}, "has an unknown setting a, b; known: cpus, gpus, workers"),
        ({"cpus": 0}, "cpus is 0: a positive whole number is needed"),
        ({"cpus": 0.5}, "cpus is 0.5: a positive whole number is needed"),
        ({"cpus": True}, "cpus is True: a positive whole number is needed"),
        ({"gpus": -1}, f"gpus is -1{GPUS}"),
        ({"gpus": 1.5}, f"gpus is 1.5{GPUS}"),
        ({"gpus": 0.0}, f"gpus is 0.0{GPUS}"),
        ({"gpus": math.nan}, f"gpus is nan{GPUS}"),
        ({"gpus": True}, f"gpus is True{GPUS}"),
        ({"gpus": "all"}, f"gpus is 'all'{GPUS}"),
        ({"workers": -1}, "workers is -1: a whole number is needed"),
        ({"workers": 2.0}, "workers is 2.0: a whole number is needed"),
        ({"workers": True}, "workers is True: a whole number is needed"),
    ],
)
def test_faults_of_what_a_worker_is_given(table: Any, words: str) -> None:
    assert f"team.toml: ray {words}" in fault({**SUITE, "ray": table})


def test_the_table_of_workers_is_for_suites_alone() -> None:
    assert "ray" not in SETTINGS
    assert "unknown setting 'rai'" in fault({**SUITE, "rai": {}})


def test_a_path_that_starts_where_pytest_was_started_is_corrected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "benchmarks" / "suites"
    base.mkdir(parents=True)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "best.pt").touch()
    monkeypatch.chdir(tmp_path)
    table = {"suite": "x", "models": {"m": {"family": "clip", "checkpoint": "weights/best.pt"}}}
    with pytest.raises(OcclusionError) as caught:
        build_settings(Suite(table, "x.toml", base), command_line={})
    assert (
        "x.toml: models.m: checkpoint = 'weights/best.pt' is not there; paths start at the suite's "
        "folder: write '../../weights/best.pt'"
    ) in str(caught.value)
    (base / "weights").mkdir()
    (base / "weights" / "best.pt").touch()
    build_settings(Suite(table, "x.toml", base), command_line={})
