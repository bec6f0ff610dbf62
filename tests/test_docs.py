"""The documentation: examples run or parse; options, commands, suites and links exist."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pytest_occlusion.__main__ import _parser, main
from pytest_occlusion.engine.session import Session
from pytest_occlusion.gate.snapshots import unpack_bits
from pytest_occlusion.hooks.options import OUTPUTS, add_options
from pytest_occlusion.occlusion import CORRUPTIONS, OCCLUDERS
from pytest_occlusion.retrieval.degradation import degradation
from pytest_occlusion.suite.merge import build_settings
from pytest_occlusion.suite.suites import Suite, find_suite
from pytest_occlusion.suite.table import SETTINGS, SMALLEST_GROUP

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

RUNNABLE = ("from pytest_occlusion import corrupt", "from pytest_occlusion.corpora import CORPORA")
"""Python examples that need nothing but this package; others are compiled."""


class Example(NamedTuple):
    """A fenced block."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def examples() -> Iterator[Example]:
    fence = re.compile(r"^( *)```(\w+)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in fence.finditer(text):
            indent = len(found[1])
            body = "\n".join(line[indent:] for line in found[3].splitlines())
            line = text[: found.start()].count("\n") + 1
            yield Example(page.name, line, found[2], body)


EXAMPLES = list(examples())


def of(*languages: str) -> list[Any]:
    return [pytest.param(one, id=str(one)) for one in EXAMPLES if one.language in languages]


def our_options() -> set[str]:
    parser = pytest.Parser(_ispytest=True)
    add_options(parser)
    (group,) = [one for one in parser._groups if one.name == "occlusion"]
    return {name for option in group.options for name in option.names()}


OPTIONS = our_options()


def commands_of(example: Example) -> list[list[str]]:
    """The words of every command of a shell or YAML example, without comments."""
    found = []
    for line in example.text.splitlines():
        line = re.sub(r"^\s*- run: ", "", line)
        for part in re.split(r"&&|\|\|", line):
            words = shlex.split(part, comments=True)
            if words:
                found.append(words)
    return found


def tail_after(words: list[str], *start: str) -> list[str] | None:
    """What follows these words in a command."""
    for at in range(len(words) - len(start) + 1):
        if words[at : at + len(start)] == list(start):
            return words[at + len(start) :]
    return None


def test_there_are_examples_of_every_kind() -> None:
    assert {"python", "toml", "sh", "yaml", "text"} <= {one.language for one in EXAMPLES}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_of_ours_exists(page: Path) -> None:
    named = set(re.findall(r"--occlusion-[a-z][a-z-]*[a-z]", page.read_text(encoding="utf-8")))
    assert named <= OPTIONS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_ours_exists(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(page.read_text(encoding="utf-8").split())
    for command in sorted(set(re.findall(r"-m pytest_occlusion ([a-z]+)", text))):
        with pytest.raises(SystemExit) as ended:
            _parser().parse_args([command, "--help"])
        assert ended.value.code == 0, command


def test_the_readme_lists_every_option() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## Options")[2].partition("\n## ")[0]
    listed = set(re.findall(r"`(?:--occlusion)?-([a-z][a-z-]*[a-z])", section))
    assert {name.removeprefix("--occlusion-") for name in OPTIONS} == listed


@pytest.mark.parametrize("example", of("sh", "yaml"))
def test_commands_of_ours_are_understood(
    example: Example, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in commands_of(example):
        given = tail_after(words, "-m", "pytest_occlusion")
        if given is None:
            continue
        try:
            _parser().parse_args(given)
        except SystemExit:
            pytest.fail(f"{shlex.join(words)}: {capsys.readouterr().err}")


@pytest.mark.parametrize("example", of("sh", "yaml", "text"))
def test_suites_corruptions_and_files_of_pytest_commands_exist(example: Example) -> None:
    known = {"benchmarks", "benchmarks/", "tests", "tests/"}
    lines = example.text.splitlines()
    for line in lines if example.language != "text" else []:
        words = shlex.split(re.sub(r"^\s*- run: ", "", line), comments=True)
        if "pytest" not in words:
            continue
        for word in words[words.index("pytest") + 1 :]:
            if word.startswith(("benchmarks/", "tests/")):
                assert word in known or (ROOT / word.partition("::")[0]).exists(), word
    for name in re.findall(r"--occlusion-suite ([\w-]+)(?![\w.-])", example.text):
        if name != "ours":
            find_suite(name, ROOT)
    for names in re.findall(r"--occlusion-occluders ([\w,-]+)", example.text):
        assert set(names.split(",")) <= {*OCCLUDERS, *CORRUPTIONS}


@pytest.mark.parametrize("example", of("toml"))
def test_suites_parse(example: Example, tmp_path: Path) -> None:
    table = tomllib.loads(example.text)
    if "project" in table:  # an entry point of somebody else's package
        assert table["project"]["entry-points"]["pytest_occlusion.encoders"]
        return
    suite = table.get("tool", {}).get("occlusion", table)
    if "columns" in suite and "models" not in suite:  # a part of one
        suite = {"suite": "part", "models": {"m": {"family": "clip", "checkpoint": "x"}}, **suite}
    if "models" not in suite:  # only names one
        assert list(suite) == ["suite"]
        return
    settings = build_settings(Suite(suite, str(example), tmp_path), command_line={})
    assert settings.suite == suite["suite"]


@pytest.mark.parametrize("example", of("python"))
def test_python_runs_or_compiles(example: Example) -> None:
    code = compile(example.text, str(example), "exec")
    for module, names in re.findall(
        r"^from (pytest_occlusion\S*) import (.+)$", example.text, re.M
    ):
        found = __import__(module, fromlist=["_"])
        for name in names.split(","):
            assert hasattr(found, name.strip()), f"{module}.{name}"
    if any(start in example.text for start in RUNNABLE):
        from pytest_occlusion import corpora

        before = dict(corpora.CORPORA)
        try:
            exec(code, {"__name__": "example"})
            if "ours" in corpora.CORPORA:
                assert len(corpora.load_corpus("ours").radiographs) == 2
        finally:
            corpora.CORPORA.clear()
            corpora.CORPORA.update(before)


def test_settings_of_the_protocol_page_exist_with_their_defaults() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| `([\w-]+)` \| ([^|]+) \|", text, re.M)
    assert {name for name, _ in rows} <= set(SETTINGS)
    for name, said in rows:
        default = SETTINGS[name].default
        if isinstance(default, str) and default:
            assert said.startswith(f"`{default}`"), name
        if isinstance(default, list) and default and isinstance(default[0], str):
            assert said.strip() == f"`{default[0]}`"
    ratios = ", ".join(
        f"{r:.2f}".lstrip("0").rstrip(".") or "0" for r in SETTINGS["ratios"].default
    )
    assert ratios.replace(".00", "0", 1) in text
    assert ", ".join(map(str, SETTINGS["ks"].default)) in text


def test_corruptions_and_their_figures() -> None:
    """The table of strengths says what the code has; the table of areas has every row."""
    from pytest_occlusion.occlusion.corruptions import CORRUPT

    text = (ROOT / "docs" / "corruptions.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([\w-]+)` \| ([^|]+) \| (?:[A-Z]|five)", text, re.M))
    assert set(rows) == set(CORRUPTIONS)
    for name, (_, strengths) in CORRUPT.items():
        values = [str(one).removeprefix("0") for one in strengths]
        assert ", ".join(values) in rows[name], name
    for name in CORRUPTIONS:
        assert re.search(rf"^\| `{name}`( \| -?\d\.\d\d){{4}} \|$", text, re.M), name


CANDIDATES = 858
"""Candidate texts of the embedded suite."""

FOUR = ["clip", "cxr-repair", "medclip", "cxr-clip"]


def stored_recalls(suite: str, model: str, occluder: str) -> list[float]:
    """Recall@10 over the levels of a curve, as the baselines have it."""
    file = ROOT / "benchmarks" / "baselines" / suite / f"{model}.json"
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    start = f"{model}-{occluder}-"
    names = sorted(n for n in cells if n.startswith(start) and n.endswith("k010"))
    return [cells[name]["hits"] / cells[name]["queries"] for name in names]


def stored_multiples(suite: str, model: str) -> list[str]:
    """The same under blocks, in multiples of chance as tables show them."""
    return [f"{recall * CANDIDATES / 10:.1f}" for recall in stored_recalls(suite, model, "block")]


@pytest.mark.parametrize(
    ("suite", "heading", "models"),
    [
        ("embedded", "## What comes out", FOUR),
        (
            "augmentation",
            "## Random erasing in training",
            [name + end for name in FOUR for end in ("", "-plain")],
        ),
    ],
)
def test_curves_of_the_docs_are_those_of_the_baselines(
    suite: str, heading: str, models: list[str]
) -> None:
    """What weights come to changes with them, in the baselines and in the docs alike."""
    text = (ROOT / "docs" / "embedded.md").read_text(encoding="utf-8").partition(heading)[2]
    rows = re.findall(r"^\| `([\w-]+)` ((?:\| \d+\.\d ){8})\|", text, re.M)[: len(models)]
    assert [name for name, _ in rows] == models
    for name, shown in rows:
        assert shown.replace("|", " ").split() == stored_multiples(suite, name), name


@pytest.mark.parametrize("model", ["cxr-clip", "cxr-repair"])
def test_groups_of_the_docs_are_those_of_the_baselines(model: str) -> None:
    """Numbers of queries, recalls and what is left, from the stored bits of the queries."""
    text = (ROOT / "docs" / "embedded.md").read_text(encoding="utf-8")
    rows = text.partition(f"\n| {model}, R@10 in percent |")[2].split("\n\n")[0].splitlines()[2:]
    session = Session(build_settings(find_suite("embedded", ROOT), command_line={}))
    file = ROOT / "benchmarks" / "baselines" / "embedded" / f"{model}.json"
    stored = json.loads(file.read_text(encoding="utf-8"))["hit_queries"]
    bits = [
        unpack_bits(stored[f"{model}-block-r{level}-k010"], len(session.task.radiographs))
        for level in ("00", "25", "49")
    ]
    expected = []
    for attribute in ("age/20", "finding", "sex", "view"):
        for group, own in session.grouping(attribute).members.items():
            recalls = [hit[own].mean() for hit in bits]
            shown = [f"{attribute}: {group}", f"{own.sum()}", *(f"{100 * r:.1f}" for r in recalls)]
            if own.sum() >= SMALLEST_GROUP:
                expected.append([*shown, f"{100 * recalls[1] / recalls[0]:.0f} %"])
    cells = [[cell.split(" [")[0].strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert sorted(cells) == sorted(expected)


def test_the_readme_shows_the_baselines() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    head, *rows = text.partition("all models - block:")[2].split("\n\n")[0].splitlines()[1:]
    columns = list(zip(*(row.split("%")[1].split() for row in rows), strict=True))
    for name, shown in zip(head.split()[1:], columns, strict=True):
        assert list(shown) == stored_multiples("embedded", name), name


def test_corruptions_of_the_docs_are_those_of_the_baselines() -> None:
    text = (ROOT / "docs" / "corruptions.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` ((?:\| \d+\.\d ){6})\|$", text, re.M)
    assert [name for name, _ in rows] == list(CORRUPTIONS)
    for name, shown in rows:
        stored = stored_recalls("corruptions", "cxr-repair", name)
        assert shown.replace("|", " ").split() == [f"{100 * recall:.1f}" for recall in stored], name
    areas = re.findall(r"^\| `([\w-]+)` ((?:\| \d\.\d\d ){4})\|$", text, re.M)
    assert [name for name, _ in areas] == ["block", *CORRUPTIONS]
    for name, shown in areas:
        for model, value in zip(FOUR, shown.replace("|", " ").split(), strict=True):
            recalls = stored_recalls("corruptions", model, name)
            levels = sorted(SETTINGS["ratios"].default) if name == "block" else range(6)
            kept = degradation(list(levels), recalls, chance=10 / CANDIDATES).area
            assert kept == pytest.approx(float(value), abs=0.00501), (name, model)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        place, _, anchor = target.partition("#")
        linked = page.parent / place if place else page
        assert linked.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.M)
            assert anchor in {
                re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in heads
            }


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    named = set(re.findall(r"([\w-]+\.md)$", navigation, re.M))
    assert named == {page.name for page in (ROOT / "docs").glob("*.md")}


def test_the_page_of_models_is_the_register(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--markdown"]) == 0
    assert (ROOT / "docs" / "models.md").read_text(encoding="utf-8") == capsys.readouterr().out


def test_documented_objects_exist() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    names = re.findall(r"^::: ([\w.]+)$", text, re.M)
    assert names
    for name in names:
        module, _, attribute = name.rpartition(".")
        found = __import__(module, fromlist=["_"])
        assert getattr(found, attribute).__doc__, name


def test_the_checks_can_fail() -> None:
    """Each of them, on a page that is wrong."""
    assert "--occlusion-blocked" not in OPTIONS
    with pytest.raises(SystemExit):
        _parser().parse_args(["draw", "results.json"])
    assert tail_after(["python", "-m", "pytest_occlusion", "plot"], "-m", "pytest_occlusion") == [
        "plot"
    ]
    assert isinstance(_parser(), argparse.ArgumentParser)
    assert {f"--occlusion-{name}" for name, one in SETTINGS.items() if one.help} <= OPTIONS
    assert {f"--occlusion-{name}" for name in OUTPUTS} <= OPTIONS
    assert "pytest_occlusion" in sys.modules
