"""The house in numbers: lines and modules per room, floors of imports, circles, unused names.

    python benchmarks/rooms.py [PACKAGE FOLDER]

Imports inside functions and under ``TYPE_CHECKING`` count like any other. The floor of a module is
the length of the longest chain of imports that ends at it; modules of one circle share a floor.
``tests/test_rooms.py`` holds the package to its layout with what is read here.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeGuard

PACKAGE = Path(__file__).parents[1] / "plugin" / "pytest_occlusion"

LOOSE = "(loose)"
"""What modules are called that lie in no room."""


@dataclass(frozen=True)
class House:
    """A package, read but not run.

    Attributes:
        folder: Where it lies.
        files: Module, without the package's own name (``""`` is its ``__init__``) -> its file.
    """

    folder: Path
    files: Mapping[str, Path]

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """Module -> its syntax."""
        return {name: parsed(path) for name, path in self.files.items()}

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """Module -> the others of the package that it imports, wherever in its text."""
        found = {name: set(self.used_in(tree)) for name, tree in self.trees.items()}
        return {name: used - {name} for name, used in found.items()}

    @cached_property
    def reach(self) -> dict[str, set[str]]:
        """Module -> everything that it imports directly or through others."""
        found = {name: set(used) for name, used in self.imports.items()}
        for through in found:
            for name, reached in found.items():
                if through in reached:
                    found[name] = reached | found[through]
        return found

    @property
    def circles(self) -> list[list[str]]:
        """Modules that import each other, directly or through others."""
        inside = sorted(name for name, reached in self.reach.items() if name in reached)
        groups = {
            tuple(o for o in inside if o in self.reach[name] and name in self.reach[o])
            for name in inside
        }
        return sorted(map(list, groups))

    @cached_property
    def floors(self) -> dict[str, int]:
        """Module -> its floor, the lowest being 1."""
        found: dict[str, int] = {}

        def floor(name: str) -> int:
            if name not in found:
                below = (o for o in self.reach[name] if name not in self.reach[o])
                found[name] = 1 + max(map(floor, below), default=0)
            return found[name]

        return {name: floor(name) for name in self.files}

    def used_in(self, tree: ast.Module) -> dict[str, set[str]]:
        """Module of the package -> names of it that a syntax tree asks for."""
        found: dict[str, set[str]] = {}
        for node in ast.walk(tree):
            for module, name in _imported(node, self.folder.name):
                if f"{module}.{name}".strip(".") in self.files and name:
                    found.setdefault(f"{module}.{name}".strip("."), set())
                elif module in self.files:
                    found.setdefault(module, set()).add(name)
        attributes = set(_names(tree, ast.Attribute))
        return {module: names | attributes for module, names in found.items()}


def read(folder: Path = PACKAGE) -> House:
    """Find every module of a package."""
    files = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return House(folder, files)


def parsed(path: Path) -> ast.Module:
    """The syntax of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def room_of(house: House, module: str) -> str:
    """The folder that a module lies in; modules beside the folders lie loose."""
    first = module.partition(".")[0]
    lies = first and house.files.get(first) == house.folder / first / "__init__.py"
    return first if lies else LOOSE


def lines_of(path: Path) -> int:
    """As ``wc -l`` counts."""
    return path.read_bytes().count(b"\n")


def unused(house: House, *elsewhere: Path) -> list[str]:
    """Functions, classes and methods that nothing but themselves asks for.

    What pytest, Python or a page's template calls is left out, and methods of classes that stand
    on others.

    Args:
        house: Whose.
        elsewhere: Folders and files whose Python may use them; tests are none of them.
    """
    outside = [
        path for one in elsewhere for path in ([one] if one.is_file() else one.rglob("*.py"))
    ]
    trees = [*house.trees.values(), *map(parsed, outside)]
    asked = [house.used_in(tree) for tree in trees]
    templates = " ".join(path.read_text(encoding="utf-8") for path in house.folder.rglob("*.html"))
    named = set(re.findall(r"\w+", templates))
    attributes = set().union(*(_names(tree, ast.Attribute) for tree in trees))
    found = []
    for module, tree in house.trees.items():
        imported = set().union(*(used.get(module, ()) for used in asked))
        here = _names(tree, ast.Name, ast.Attribute)
        for node in filter(_is_definition, tree.body):
            within = _names(node, ast.Name, ast.Attribute)
            if node.name not in imported | named and here[node.name] == within[node.name]:
                found.append(f"{module}.{node.name}")
            if isinstance(node, ast.ClassDef) and not node.bases:
                methods = {inner.name for inner in filter(_is_definition, node.body)}
                found += [f"{module}.{node.name}.{name}" for name in methods - attributes - named]
    return sorted(found)


def _names(tree: ast.AST, *kinds: type[ast.AST]) -> Counter[str]:
    """Names that a syntax tree asks for, and how often."""
    found = (node for node in ast.walk(tree) if isinstance(node, kinds))
    return Counter(getattr(node, "id", "") or getattr(node, "attr", "") for node in found)


def _is_definition(node: ast.AST) -> TypeGuard[ast.FunctionDef | ast.ClassDef]:
    """Whether it is a function or class that neither pytest nor Python calls."""
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return False
    fixture = any("fixture" in ast.unparse(one) for one in node.decorator_list)
    return not fixture and not node.name.startswith(("pytest_", "__"))


def _imported(node: ast.AST, package: str) -> Iterator[tuple[str, str]]:
    """(module, name) for every import of the package; a registry's ``"module:name"`` is one too."""
    asked: list[tuple[str, str]] = []
    if isinstance(node, ast.Import):
        asked = [(alias.name, "") for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        asked = [(node.module or "", alias.name) for alias in node.names]
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and ":" in node.value:
        module, _, name = node.value.partition(":")
        asked = [(module, name)] if name.isidentifier() else []
    for module, name in asked:
        if module == package or module.startswith(f"{package}."):
            yield module[len(package) + 1 :], name


def report(house: House) -> Iterator[str]:
    """Lines for people."""
    rooms: dict[str, list[str]] = {}
    for module in house.files:
        rooms.setdefault(room_of(house, module), []).append(module)
    yield f"{'room':<12}{'lines':>8}{'modules':>9}{'highest floor':>15}"
    for room, modules in sorted(rooms.items(), key=lambda one: -_highest(house, one[1])):
        lines = sum(lines_of(house.files[module]) for module in modules)
        yield f"{room:<12}{lines:>8,}{len(modules):>9}{_highest(house, modules):>15}"
    lines = sum(map(lines_of, house.files.values()))
    yield f"{'all':<12}{lines:>8,}{len(house.files):>9}{_highest(house, house.files):>15}"
    yield f"circles: {len(house.circles)}"
    yield from (f"  {', '.join(circle)}" for circle in house.circles)


def _highest(house: House, modules: Mapping[str, Path] | list[str]) -> int:
    return max(house.floors[module] for module in modules)


if __name__ == "__main__":
    for line in report(read(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE)):
        print(line)
