"""What may follow a corpus's place: options, allowances, the largest picture."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.corpora.choices import (
    check_value,
    may_be_missing,
    read_allowance,
    read_max_pixels,
    split_options,
)
from pytest_occlusion.corpora.images import LARGEST
from pytest_occlusion.errors import OcclusionError

EXAMPLE = "kind:PLACE?one=1"


def split(place: str) -> tuple[str, dict[str, str]]:
    return split_options("kind", place, ("one", "two"), example=EXAMPLE)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("", ("", {})),
        ("a/b.csv", ("a/b.csv", {})),
        ("a?one=1", ("a", {"one": "1"})),
        ("a?one=1&two=b=c?d&", ("a", {"one": "1", "two": "b=c?d"})),
    ],
)
def test_options_are_split(place: str, expected: tuple[str, dict[str, str]]) -> None:
    assert split(place) == expected


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("a?three=1", "corpus 'kind': unknown option 'three'\n  -> known: one, two; for example"),
        ("a?one", "option one is given no value"),
        ("a?one=", "option one is given no value"),
        ("a?one=1&one=2", "option one is given twice"),
    ],
)
def test_faulty_options(place: str, said: str) -> None:
    with pytest.raises(OcclusionError) as caught:
        split(place)
    assert said in str(caught.value)
    assert EXAMPLE in caught.value.remedy


@given(st.text(max_size=30))
def test_only_our_errors_escape(text: str) -> None:
    for read in (split, lambda t: read_allowance("kind", t), lambda t: read_max_pixels("kind", t)):
        try:
            read(text)
        except OcclusionError as error:
            assert error.remedy  # noqa: PT017


def test_values_are_checked() -> None:
    assert check_value("kind", "views", "all", ("all", "frontal")) == "all"
    with pytest.raises(OcclusionError, match=r"views is 'x'\n  -> known: all, frontal"):
        check_value("kind", "views", "x", ("all", "frontal"))


def test_allowances() -> None:
    assert may_be_missing(read_allowance("kind", "0"), 0, 10)
    assert not may_be_missing(0.0, 1, 10)
    assert may_be_missing(read_allowance("kind", "0.1"), 1, 10)
    assert not may_be_missing(0.1, 2, 10)
    assert may_be_missing(read_allowance("kind", "3"), 3, 10)
    assert not may_be_missing(3, 4, 1000)
    for wrong in ("-1", "x", "1.5", "nan", "inf", ""):
        with pytest.raises(OcclusionError, match="missing is"):
            read_allowance("kind", wrong)


def test_the_largest_picture() -> None:
    assert read_max_pixels("kind", None) == LARGEST
    assert read_max_pixels("kind", "400000000") == 400_000_000
    for wrong in ("0", "-5", "1e9", "", "\u0664", "9" * 13):
        with pytest.raises(OcclusionError, match="a whole number of pixels"):
            read_max_pixels("kind", wrong)
