"""Suites: where the TOML of a suite comes from."""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_occlusion.corpora.files import expanded, is_file
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.suite.table import known

DEFAULT = "embedded"

EMBEDDED = "embedded:"
"""What the checkpoint of a tiny model begins with that comes with the tool."""

NO_SUITE = (
    "write a suite and its tests with `python -m pytest_occlusion init`, or name the one that "
    "comes with the tool: --occlusion-suite embedded"
)


@dataclass(frozen=True)
class Suite:
    """A suite as it was found."""

    table: Mapping[str, Any]  # its settings, unchecked
    origin: str  # what messages call it
    base: Path  # folder that its relative paths start from


def find_suite(asked: str | None, root: Path) -> Suite:
    """Find a suite by its ``.toml`` file, or by name in ``benchmarks/suites`` or among our own.

    ``None`` asks for what ``[tool.occlusion]`` in the root's ``pyproject.toml`` says.

    Raises:
        OcclusionError: There is no such suite; the known ones are listed. Or none is asked for.
    """
    base = Path.cwd()
    if asked is None:
        table, base = configured(root), root
        if "models" in table:
            return Suite({"suite": root.name, **table}, "pyproject.toml [tool.occlusion]", root)
        if not table:
            raise OcclusionError(
                f"no suite is configured: no [tool.occlusion] in a pyproject.toml up to {root}",
                remedy=NO_SUITE,
            )
        asked = str(table.pop("suite", DEFAULT))
        if table:
            raise OcclusionError(
                f"{root / 'pyproject.toml'} [tool.occlusion] sets {', '.join(sorted(table))} but "
                "has no models",
                remedy=f'either define a whole suite there, or only name one: suite = "{asked}"',
            )
    if asked.endswith(".toml"):
        path = base / expanded(asked)
        return Suite(read_suite(path), path.name, path.parent)
    folders = [root / "benchmarks" / "suites", *(place / "suites" for place in _fixtures())]
    for folder in folders:
        path = folder / f"{asked}.toml"
        if is_file(path):
            return Suite(read_suite(path), path.name, folder)
    names = sorted({path.stem for folder in folders for path in folder.glob("*.toml")})
    raise OcclusionError(
        f"unknown suite {asked!r}; {known(names, asked)}",
        remedy=f"name one of them, or a .toml file of your own; looked in {folders[0]}",
    )


def _fixtures() -> list[Path]:
    """Where what comes with the tool lies."""
    found = importlib.util.find_spec("pytest_occlusion_fixtures")
    return [Path(place) for place in (found and found.submodule_search_locations) or ()]


def embedded_checkpoint(name: str) -> Path:
    """The folder of a tiny model that comes with the tool.

    Raises:
        OcclusionError: There is no such one; the known ones are listed.
    """
    there = {path.name: path for place in _fixtures() for path in place.glob("checkpoints/*")}
    if name not in there:
        said = known(sorted(there), name)
        raise OcclusionError(f"checkpoint {EMBEDDED}{name} does not exist", remedy=said)
    return there[name]


def configured(root: Path) -> dict[str, Any]:
    """What ``[tool.occlusion]`` in a folder's ``pyproject.toml`` says, if anything."""
    path = root / "pyproject.toml"
    return read_suite(path, table=("tool", "occlusion")) if path.is_file() else {}


def read_suite(path: Path, *, table: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read the TOML of a suite, or of the table of a file that holds one.

    Raises:
        OcclusionError: A missing file or one that is not TOML.
    """
    try:
        with path.open("rb") as file:
            content: Any = tomllib.load(file)
    except FileNotFoundError:
        raise OcclusionError(
            f"no suite file {path}", remedy="name a .toml file, or a suite that comes with the tool"
        ) from None
    except OSError as fault:
        raise OcclusionError(
            f"{path}: cannot be read ({fault.strerror})", remedy="name the .toml file itself"
        ) from fault
    except (ValueError, RecursionError) as fault:
        raise OcclusionError(f"{path}: not TOML ({fault})", remedy="correct that line") from fault
    for name in table:
        content = content.get(name, {})
        if not isinstance(content, dict):
            raise OcclusionError(
                f"{path}: {name} is not a table",
                remedy=f"write the settings below a line [{'.'.join(table)}]",
            )
    return dict(content)
