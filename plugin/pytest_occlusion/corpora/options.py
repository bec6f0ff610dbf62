"""What follows the kind in a corpus specification: ``PLACE?name=value&name=value``.

Values are percent-decoded, as those of web addresses are: ``%20`` is a blank, ``%26`` an ``&``.

A kind of corpus declares its options as fields of a dataclass with defaults; how the value of one
is read follows from its type.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import unquote

from pytest_occlusion.corpora.base import Request
from pytest_occlusion.corpora.files import expanded
from pytest_occlusion.corpora.images import LARGEST
from pytest_occlusion.errors import OcclusionError


@dataclass(frozen=True)
class Options:
    """What every corpus with files takes: the largest picture that is decoded."""

    max_pixels: int = LARGEST


@dataclass(frozen=True)
class CollectionOptions(Options):
    """What to take of a published collection, how much may be missing, and where reports lie."""

    views: Literal["all", "frontal"] = "all"
    missing: float = 0.0
    reports: Path | None = None


@dataclass(frozen=True)
class SplitOptions(Options):
    """Which split to take of a collection that has several: all of it where none is named."""

    split: str = ""


Known = TypeVar("Known", bound=Options)


def read_options(
    asked: Request, known: type[Known], example: str, *, needs: str = ""
) -> tuple[Path, Known]:
    """The place before the question mark, and the options; ``per_study`` is ``per-study``.

    Raises:
        OcclusionError: No place where one is needed; an option that is unknown, given twice,
            without a value or with a wrong one.
    """
    kind = example.partition(":")[0]
    place, _, query = asked.place.partition("?")
    types = {name.replace("_", "-"): of for name, of in get_type_hints(known).items()}
    values: dict[str, Any] = {}

    def refuse(problem: str, remedy: str = f"for example {example}") -> OcclusionError:
        return OcclusionError(f"corpus '{kind}'{problem}", remedy=remedy)

    if needs and not place:
        raise refuse(f" names no {needs}")
    for pair in filter(None, query.split("&")):
        name, _, text = pair.partition("=")
        if name not in types:
            known_names = f"known: {', '.join(types)}; for example {example}"
            raise refuse(f": unknown option {name!r}", known_names)
        if name in values or not text:
            how = "twice" if text else "no value"
            raise refuse(f": option {name} is given {how}", f"once each, for example {example}")
        try:
            values[name] = _read(types[name], text, asked.base)
        except ValueError as fault:
            raise refuse(f": {name} is {text!r}", str(fault)) from None
    if asked.split and "split" not in types:
        raise no_splits(kind, asked.split)
    if asked.split and values.setdefault("split", asked.split) != asked.split:
        problem = f": the split is {values['split']!r} here, and {asked.split!r} beside it"
        raise refuse(problem, "name it once")
    given = {name.replace("-", "_"): value for name, value in values.items()}
    return asked.base / expanded(place), known(**given)


def no_splits(kind: str, split: str) -> OcclusionError:
    """What to say where a split is asked for of a collection without any."""
    problem = f"corpus {kind!r} has no splits, but {split!r} is asked for"
    return OcclusionError(problem, remedy="leave the split out")


def _read(of: Any, text: str, base: Path) -> object:
    """A value of a type; a :class:`ValueError` says what would be right."""
    if get_origin(of) is tuple:
        names = [unquote(name) for name in text.split(",") if name]
        return tuple(base / expanded(name) if Path in get_args(of) else name for name in names)
    text = unquote(text)
    if of is str:
        return text
    if get_origin(of) is Literal:
        if text not in get_args(of):
            raise ValueError(f"known: {', '.join(get_args(of))}")
        return text
    if of is int:
        if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text) > 0):
            raise ValueError("a whole number of pixels, for example max-pixels=400000000")
        return int(text)
    if of is float:  # how many may be missing
        with contextlib.suppress(ValueError):
            if 0 <= (number := float(text)) < 1e9 and (number < 1 or number.is_integer()):
                return number
        raise ValueError("a share below 1 (missing=0.1) or a whole number of files (missing=25)")
    return base / expanded(text)
