"""What may follow a corpus's place: names of options, and values by their type."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.corpora.base import Request
from pytest_occlusion.corpora.images import LARGEST
from pytest_occlusion.corpora.options import Options, read_options
from pytest_occlusion.errors import OcclusionError

EXAMPLE = "kind:PLACE?views=all"


@dataclass(frozen=True)
class Some(Options):
    views: Literal["all", "frontal"] = "all"
    missing: float = 0.0
    faults_file: Path | None = None
    files: tuple[Path, ...] = ()
    part: str = ""


def read(place: str, needs: str = "") -> tuple[str, Some]:
    path, options = read_options(Request(place, Path("/base")), Some, EXAMPLE, needs=needs)
    return str(path.relative_to("/base")).removeprefix("."), options


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("", ("", Some())),
        ("a/b.csv", ("a/b.csv", Some(max_pixels=LARGEST, views="all", missing=0.0))),
        ("a?views=frontal", ("a", Some(views="frontal"))),
        ("a?faults-file=b=c?d&", ("a", Some(faults_file=Path("/base/b=c?d")))),
        ("?faults-file=/x&missing=0.1", ("", Some(faults_file=Path("/x"), missing=0.1))),
        ("a?part=test", ("a", Some(part="test"))),
        ("a?files=b,/c,", ("a", Some(files=(Path("/base/b"), Path("/c"))))),
        ("a?max-pixels=400000000&missing=25", ("a", Some(max_pixels=400_000_000, missing=25.0))),
    ],
)
def test_options_are_read_by_their_type(place: str, expected: tuple[str, Some]) -> None:
    assert read(place) == expected


@pytest.mark.parametrize(
    ("query", "said", "remedy"),
    [
        ("three=1", "unknown option 'three'", "known: max-pixels, views, missing, "),
        ("faults_file=1", "unknown option 'faults_file'", EXAMPLE),
        ("views", "option views is given no value", EXAMPLE),
        ("views=", "option views is given no value", EXAMPLE),
        ("views=all&views=all", "option views is given twice", EXAMPLE),
        ("views=lateral", "views is 'lateral'", "known: all, frontal"),
        *((f"missing={wrong}", f"missing is '{wrong}'", "a share below 1 (missing=0.1) or a whole")
          for wrong in ("-1", "x", "1.5", "nan", "inf", "1e9")),
        *((f"max-pixels={wrong}", f"max-pixels is '{wrong}'", "a whole number of pixels")
          for wrong in ("0", "-5", "1e9", "\u0664", "9" * 13)),
    ],
)  # fmt: skip
def test_faulty_options(query: str, said: str, remedy: str) -> None:
    with pytest.raises(OcclusionError) as caught:
        read(f"a?{query}")
    assert caught.value.problem == f"corpus 'kind': {said}"
    assert remedy in caught.value.remedy


def test_a_place_that_is_needed() -> None:
    assert read("a", needs="file")[0] == "a"
    with pytest.raises(OcclusionError, match=r"'kind' names no file\n  -> for example kind:"):
        read("?views=all", needs="file")


@given(st.text(max_size=30), st.sampled_from(["", "views=", "missing=", "max-pixels="]))
def test_only_our_errors_escape(text: str, name: str) -> None:
    try:
        read(f"a?{name}{text}")
    except OcclusionError as error:
        assert error.remedy  # noqa: PT017
