"""The rooms: who may import whom, nothing loose, nothing unused, and how large it may get."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pytest_occlusion
from pytest_occlusion.corpora import CORPORA
from tests.scripts import load_script

ROOT = Path(__file__).parents[1]

STOREYS = ("hooks", "reporting", "gate", "insight", "engine", "suite")
"""From the top; each may import those after it, and the ground."""

GROUND = ("corpora", "encoders", "occlusion", "retrieval")
"""Libraries on their own: none imports another room."""

ROOF = ("", "__main__", "errors", "plugin")
"""All that lies beside the rooms; ``""`` is the package's ``__init__``."""

MOST_LINES = 30_000
"""What there is, and a little to spare: whoever adds a reader or a family moves it on purpose."""

ASKED_FROM_OUTSIDE = {
    # the registry of corpora, by the module's name
    *(f"corpora.{kind.replace('-', '_')}.load" for kind in CORPORA),
}
"""Functions that nothing in this repository but tests calls, and who does."""

rooms = load_script("rooms")
HOUSE = rooms.read()


def below(room: str) -> set[str]:
    """What a room may import beside itself."""
    if room in GROUND:
        return {"errors"}
    return {*STOREYS[STOREYS.index(room) + 1 :], *GROUND, "errors"}


def test_nothing_lies_loose() -> None:
    loose = {module for module in HOUSE.files if rooms.room_of(HOUSE, module) == rooms.LOOSE}
    assert loose == set(ROOF)
    assert {module.partition(".")[0] for module in HOUSE.files} - loose == {*STOREYS, *GROUND}


@pytest.mark.parametrize("room", [*STOREYS, *GROUND])
def test_a_room_imports_only_rooms_below_it(room: str) -> None:
    upward = [
        f"{module} imports {used or 'the package itself'}"
        for module, imports in HOUSE.imports.items()
        if module.partition(".")[0] == room
        for used in sorted(imports)
        if used.partition(".")[0] not in {room, *below(room)}
    ]
    assert not upward


def test_errors_stand_on_nothing() -> None:
    assert not HOUSE.imports["errors"]


def test_nothing_imports_in_a_circle() -> None:
    assert not HOUSE.circles


@pytest.mark.parametrize("room", [*STOREYS, *GROUND])
def test_a_room_says_what_it_may_import(room: str) -> None:
    """The topmost, every other; the next, the one below by name; the ground, none."""
    told = ast.get_docstring(HOUSE.trees[room]) or ""
    assert "import" in told
    if room in STOREYS[1:-1]:
        assert f"``{STOREYS[STOREYS.index(room) + 1]}``" in told


def test_nothing_is_there_for_tests_alone() -> None:
    others = (ROOT / name for name in ("fixtures", "benchmarks", "conftest.py"))
    public = {f"{home}.{name}".strip(".") for name, home in pytest_occlusion._HOMES.items()}
    assert set(rooms.unused(HOUSE, *others)) - public == ASKED_FROM_OUTSIDE


def test_the_plugin_stays_small_enough_to_be_read() -> None:
    lines = sum(map(rooms.lines_of, HOUSE.files.values()))
    assert lines <= MOST_LINES


@pytest.fixture
def crooked(tmp_path: Path) -> Path:
    """A package with every fault that the tests above are there to find."""
    package = tmp_path / "crooked"
    files = {
        "__init__": "",
        "upper/__init__": '"""Imports ``lower``."""\nfrom crooked.lower import plain\n',
        "upper/named": "REGISTRY = {'a': 'crooked.lower.plain:named'}\n",
        "lower/__init__": "",
        "lower/plain": "def dead():\n    dead()\ndef alive(): ...\ndef named(): ...\n",
        "lower/one": "def inside():\n    from crooked.lower import two\n    two.inside()\n",
        "lower/two": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    import crooked.lower.three\ndef inside(): ...\n",
        "lower/three": "from crooked.lower.one import inside\n"
        "from crooked.lower.plain import alive\n"
        "class Own:\n    def used(self): self.used()\n    def never(self): ...\nOwn()\n",
        "loose": "import crooked.upper\n",
    }
    for name, text in files.items():
        path = package / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return package


def test_the_checks_can_fail(crooked: Path) -> None:
    house = rooms.read(crooked)
    assert house.circles == [["lower.one", "lower.three", "lower.two"]]
    assert house.imports["upper"] == {"lower.plain"}
    assert house.imports["upper.named"] == {"lower.plain"}
    assert house.floors == {
        "": 1, "lower": 1, "lower.plain": 1, "lower.one": 2, "lower.two": 2, "lower.three": 2,
        "upper": 2, "upper.named": 2, "loose": 3,
    }  # fmt: skip
    assert rooms.room_of(house, "loose") == rooms.room_of(house, "") == rooms.LOOSE
    assert rooms.unused(house) == ["lower.plain.dead", "lower.three.Own.never"]
    report = list(rooms.report(house))
    assert report[1].split() == ["(loose)", "1", "2", "3"]
    assert report[-1] == "  lower.one, lower.three, lower.two"
