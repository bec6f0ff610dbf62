"""What a user may write: every setting with its default, its check, and whether it is protocol.

Checks touch no data and import nothing heavy; each says what is wrong in a few words.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pytest_occlusion.corpora.task import CANDIDATES, TEXT_RULES
from pytest_occlusion.occlusion.levels import SEVERITIES
from pytest_occlusion.occlusion.names import CORRUPTIONS, FILLS, OCCLUDERS
from pytest_occlusion.suite.settings import DIRECTIONS, FAIL_ON, KS, PRECISIONS, RATIOS, TOLERANCE

Check = Callable[[object], str | None]


def _numbers(value: object, kind: type) -> list[Any] | None:
    if not isinstance(value, list) or not value:
        return None
    good = all(
        isinstance(item, (int, float) if kind is float else int) and not isinstance(item, bool)
        for item in value
    )
    try:
        return [kind(item) for item in value] if good else None
    except OverflowError:  # a whole number beyond every float
        return None


def _check_ratios(value: object) -> str | None:
    numbers = _numbers(value, float)
    if numbers is None:
        return "is not a list of numbers"
    outside = [number for number in numbers if not 0 <= number < 1]
    if outside:
        return f"holds {', '.join(map(str, outside))}, outside [0, 1): 0.25 blocks a quarter"
    if len({f"{100 * number:.4f}" for number in numbers}) != len(numbers):  # as ids spell them
        return "names a ratio twice"
    return None


def _check_severities(value: object) -> str | None:
    numbers = _numbers(value, int)
    if numbers is None:
        return "is not a list of whole numbers"
    outside = [number for number in numbers if number not in SEVERITIES]
    if outside:
        return f"holds {', '.join(map(str, outside))}; severities are 0 to {max(SEVERITIES)}"
    return "names a severity twice" if len(set(numbers)) != len(numbers) else None


def _check_ks(value: object) -> str | None:
    numbers = _numbers(value, int)
    if numbers is None:
        return "is not a list of whole numbers"
    if min(numbers) < 1:
        return "holds a k below 1"
    return "names a k twice" if len(set(numbers)) != len(numbers) else None


def _check_seeds(value: object) -> str | None:
    numbers = _numbers(value, int)
    if numbers is None:
        return "is not a list of whole numbers"
    return "names a seed twice" if len(set(numbers)) != len(numbers) else None


def _check_occluders(value: object) -> str | None:
    if not isinstance(value, list) or not value:
        return "is not a list of names"
    known = {**OCCLUDERS, **CORRUPTIONS}
    unknown = [str(n) for n in value if not isinstance(n, str) or n not in known]
    if unknown:
        return f"holds unknown {', '.join(unknown)}; known: {', '.join(known)}"
    return "names an occluder twice" if len(set(value)) != len(value) else None


def _one_of(known: Iterable[str]) -> Any:
    names = tuple(known)

    def check(value: object) -> str | None:
        return None if value in names else f"is {value!r}; known: {', '.join(names)}"

    return check


def _check_text(value: object) -> str | None:
    return None if isinstance(value, str) and value.strip() else "is not a text"


def _check_batch_size(value: object) -> str | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return None if whole and value > 0 else "is not a positive whole number"  # type: ignore[operator]


LARGEST_MAP = 64
"""Placements per side of a map: 4,096 forward passes per radiograph are a slip of the finger."""


def _check_map(value: object) -> str | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not (value == 0 or 2 <= value <= LARGEST_MAP):  # type: ignore[operator]
        return f"is {value!r}: a map has 2 to {LARGEST_MAP} places per side, or 0 for none"
    return None


def _check_map_ratios(value: object) -> str | None:
    if value in ([], "all", ["all"]):
        return None
    if wrong := _check_ratios(value):
        return f"{wrong}; or say all"
    return "holds 0, which blocks nothing" if 0 in value else None  # type: ignore[operator]


def check_tolerance(value: object) -> str | None:
    """What is wrong with a tolerance, or ``None``; patterns and models have some of their own."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= sys.maxsize:  # type: ignore[operator]
        return "is neither a number of queries nor a share below 1"
    if value >= 1 and value != int(value):  # type: ignore[operator,call-overload]
        return f"is {value}: from 1 on it counts queries and must be whole"
    return None


@dataclass(frozen=True)
class Setting:
    """One line of the table below: a setting that suites and command lines may give.

    Attributes:
        default: Value where nobody gives one.
        check: Value -> what is wrong with it, or ``None``.
        protocol: Whether it changes what is measured (and so has a baseline of its own).
    """

    default: Any
    check: Any
    protocol: bool = False


SETTINGS: dict[str, Setting] = {
    "corpus": Setting("embedded", _check_text, protocol=True),
    "split": Setting("", lambda value: None if isinstance(value, str) else "is not a text", True),
    "text-rule": Setting("findings+impression", _one_of(TEXT_RULES), protocol=True),
    "candidates": Setting("texts", _one_of(CANDIDATES), protocol=True),
    "direction": Setting("image-to-text", _one_of(DIRECTIONS)),
    "ratios": Setting(list(RATIOS), _check_ratios),
    "severities": Setting(list(SEVERITIES), _check_severities),
    "ks": Setting(list(KS), _check_ks),
    "occluders": Setting(["block"], _check_occluders),
    "fill": Setting("black", _one_of(FILLS), protocol=True),
    "seed": Setting([0], _check_seeds, protocol=True),
    "tolerance": Setting(TOLERANCE, check_tolerance),
    "fail-on": Setting("any", _one_of(FAIL_ON)),
    "device": Setting("auto", _check_text),
    "precision": Setting("fp32", _one_of(PRECISIONS)),
    "batch-size": Setting(64, _check_batch_size),
    "map": Setting(0, _check_map),
    "map-ratios": Setting([], _check_map_ratios),
}
"""Setting -> default, check, and whether it belongs to the protocol."""
