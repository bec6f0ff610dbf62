"""Code that a model brings: what runs is what was digested, and it is all in one pinned place.

transformers copies such code into a cache of its own, under the name of the model's folder, where
another model's of that name may lie, or its own of before. It is shown a folder that is named by
the digest of the code in it, so that no two codes can meet there, nor among imported modules.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pytest_occlusion.encoders.files import folder_files, read_json
from pytest_occlusion.errors import OcclusionError


@contextlib.contextmanager
def staged(place: Path, what: str) -> Iterator[tuple[Path, str]]:
    """A folder with a copy of a model's code and links to its other files; and its digest.

    Args:
        place: The model's directory.
        what: The model, for messages.

    Yields:
        The folder, and SHA-256 (hex) of names and bytes of all ``.py`` files in it.

    Raises:
        OcclusionError: Its configuration names code that is elsewhere or missing.
    """
    files = {file.relative_to(place): file for file in folder_files(place)}
    code = {name: file.read_bytes() for name, file in files.items() if name.suffix == ".py"}
    told = [[name.as_posix(), hashlib.sha256(text).hexdigest()] for name, text in code.items()]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, f"code_{digest}")
        folder.mkdir()
        for name, file in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if name in code:
                (folder / name).write_bytes(code[name])
            else:
                (folder / name).symlink_to(file.resolve())
        _check(folder, what, {name.as_posix() for name in code})
        yield folder, digest


def _check(folder: Path, what: str, code: Collection[str]) -> None:
    """Refuse code that is not all in the folder: elsewhere nothing pins it, or it is not there."""
    lacking = []
    for file in sorted(folder.glob("*config.json")):
        codes = list(_named(read_json(file), f"{what}: {file.name}"))
        if elsewhere := [one for one in codes if not re.fullmatch(r"[^\W\d]\w*(\.\w+)*", one)]:
            raise OcclusionError(
                f"{what}: {file.name}: its code is in another repository or folder ("
                f"{', '.join(elsewhere)}), where it could change unseen",
                remedy="put that code into a directory of the model, and name it there without "
                "'REPOSITORY--'.",
            )
        lacking += [
            f"{name}, which {file.name} asks for as {module}"
            for module in dict.fromkeys(one.partition(".")[0] for one in codes)
            for name in _needed(folder, module, what)
            if name not in code
        ]
    if lacking:
        raise OcclusionError(
            f"{what}: {len(lacking)} files of its code are missing: {'; '.join(lacking)}",
            remedy="put them beside its configuration; a repository without them needs another "
            "revision.",
        )


def _needed(folder: Path, module: str, what: str) -> list[str]:
    """Names of a module's file and of those that it imports, up to the first that is missing."""
    from transformers.dynamic_module_utils import get_relative_import_files

    first = folder / f"{module}.py"
    try:
        found = [first, *get_relative_import_files(first)]
    except FileNotFoundError as fault:
        found = [first, fault.filename]
    except ValueError as fault:
        raise OcclusionError(
            f"{what}: {module}.py or what it imports is no text ({fault})",
            remedy="download the repository again.",
        ) from fault
    return list(
        dict.fromkeys(Path(str(one).removeprefix(f"{folder}/")).as_posix() for one in found)
    )


def _named(found: Any, where: str) -> Iterator[str]:
    """The ``module.Class`` of every ``auto_map`` in a configuration, however deep."""
    if isinstance(found, dict):
        told = found.get("auto_map") or {}
        values = [*told.values()] if isinstance(told, dict) else [told]
        for value in values:
            for one in value if isinstance(value, list) else [value]:
                if not isinstance(told, dict) or not isinstance(one, str | None):
                    raise OcclusionError(
                        f"{where}: its auto_map is not a table of names of classes",
                        remedy="correct it, or download the repository again.",
                    )
                yield from filter(None, [one])
        for value in found.values():
            yield from _named(value, where)
