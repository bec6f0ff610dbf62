"""Suites: where the TOML of a suite comes from."""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_occlusion.corpora.paths import expanded, is_file
from pytest_occlusion.errors import OcclusionError

DEFAULT = "embedded"


@dataclass(frozen=True)
class Suite:
    """A suite as it was found.

    Attributes:
        table: Its settings, unchecked.
        origin: What messages call it.
        base: Folder its relative paths start from.
    """

    table: Mapping[str, Any]
    origin: str
    base: Path


def find_suite(asked: str | None, root: Path) -> Suite:
    """Find the suite to run.

    Args:
        asked: ``--occlusion-suite``: a ``.toml`` file, or the name of a suite in
            ``benchmarks/suites/`` or of one that comes with the tool. ``None``: what
            ``[tool.occlusion]`` in the root's ``pyproject.toml`` says, or the embedded suite.
        root: pytest's root folder.

    Raises:
        OcclusionError: There is no such suite; the known ones are listed.
    """
    if asked is None:
        table = configured(root)
        if table is not None and "models" in table:
            named = {"suite": root.name, **table}
            return Suite(named, "pyproject.toml [tool.occlusion]", root)
        asked = str((table or {}).get("suite", DEFAULT))
        if extra := sorted(set(table or {}) - {"suite"}):
            raise OcclusionError(
                f"pyproject.toml [tool.occlusion] sets {', '.join(extra)} but has no models",
                remedy=f'either define a whole suite there, or only name one: suite = "{asked}"',
            )
    if asked.endswith(".toml"):
        path = expanded(asked)
        path = path if path.is_absolute() else Path.cwd() / path
        return Suite(read_suite(path), path.name, path.parent)
    folders = [root / "benchmarks" / "suites", *_built_in()]
    for folder in folders:
        path = folder / f"{asked}.toml"
        if is_file(path):
            return Suite(read_suite(path), path.name, folder)
    known = sorted({path.stem for folder in folders for path in folder.glob("*.toml")})
    raise OcclusionError(
        f"unknown suite {asked!r}",
        remedy=f"name one of {', '.join(known)}, or a .toml file of your own",
    )


def configured(root: Path) -> dict[str, Any] | None:
    """The table ``[tool.occlusion]`` of the root's ``pyproject.toml``, if there is one."""
    path = root / "pyproject.toml"
    if not path.is_file():
        return None
    return read_suite(path, table=("tool", "occlusion")) or None


def _built_in() -> list[Path]:
    spec = importlib.util.find_spec("pytest_occlusion_fixtures")
    places = spec.submodule_search_locations if spec else None
    return [Path(place) / "suites" for place in places or ()]


def read_suite(path: Path, *, table: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read a suite's TOML table.

    Args:
        path: The file.
        table: Where in the file the suite lies, e.g. ``("tool", "occlusion")``.

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
