"""What follows the kind in a corpus specification: ``PLACE?name=value&name=value``."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_occlusion.corpora.images import LARGEST
from pytest_occlusion.errors import OcclusionError

MAX_PIXELS = "max-pixels"
"""Option of every corpus with image files: the largest picture that is decoded."""


def split_options(
    kind: str, place: str, known: Sequence[str], *, example: str
) -> tuple[str, dict[str, str]]:
    """Take a specification apart.

    Args:
        kind: Kind of corpus, for messages.
        place: What follows the colon.
        known: Names of the options that there are.
        example: A specification that is right.

    Returns:
        What stands before the question mark, and name -> value.

    Raises:
        OcclusionError: An option that is unknown, given twice, or without a value.
    """
    root, _, query = place.partition("?")
    values: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        if name not in known:
            raise OcclusionError(
                f"corpus '{kind}': unknown option {name!r}",
                remedy=f"known: {', '.join(known)}; for example {example}",
            )
        if name in values or not value:
            raise OcclusionError(
                f"corpus '{kind}': option {name} is given {'twice' if value else 'no value'}",
                remedy=f"once each, for example {example}",
            )
        values[name] = value
    return root, values


def check_value(kind: str, name: str, value: str, known: Sequence[str]) -> str:
    """The value, if it is a known one.

    Raises:
        OcclusionError: It is not.
    """
    if value not in known:
        raise OcclusionError(
            f"corpus '{kind}': {name} is {value!r}", remedy=f"known: {', '.join(known)}"
        )
    return value


def read_allowance(kind: str, text: str) -> float:
    """How many files may be missing: a share below 1, or a whole number.

    Raises:
        OcclusionError: Anything else.
    """
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e9 or (number >= 1 and number != int(number)):
        raise OcclusionError(
            f"corpus '{kind}': missing is {text!r}",
            remedy="a share below 1 (missing=0.1) or a whole number of files (missing=25)",
        )
    return number


def may_be_missing(allowance: float, count: int, total: int) -> bool:
    """Whether so many of so many may be missing."""
    return count <= (allowance if allowance >= 1 else allowance * total)


def read_max_pixels(kind: str, text: str | None) -> int:
    """The most pixels that a picture may have; the default where nobody says.

    Raises:
        OcclusionError: Not a whole number above 0.
    """
    if text is None:
        return LARGEST
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text) > 0):
        raise OcclusionError(
            f"corpus '{kind}': {MAX_PIXELS} is {text!r}",
            remedy=f"a whole number of pixels, for example {MAX_PIXELS}=400000000",
        )
    return int(text)
