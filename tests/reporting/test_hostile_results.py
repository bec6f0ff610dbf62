"""Results files with anything in them: read, or refused in words; never a traceback."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pytest_occlusion.__main__ import main
from tests.reporting.fabricated import results

SMALL = results(2, occluders=("block",), ratios=(0.0, 0.25), ks=(5,), findings=1, maps=1)

ODD: list[Any] = [
    *(None, True, 0, -1, 10**30, 1e308, -0.5, "", "x", "\x1b[31m", "\ud800", [], {}, [None]),
    *([[]], {"": None}, {"a": {"b": []}}, [1] * 50, "9" * 500),
]


def places(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every part of a document."""
    inner: list[tuple[Any, Any]] = [*content.items()] if isinstance(content, dict) else []
    if isinstance(content, list):
        inner = [*enumerate(content[:3])]
    return [path, *(found for key, one in inner for found in places(one, (*path, key)))]


PLACES = places(SMALL)[1:]


def changed(changes: list[tuple[tuple[Any, ...], Any]]) -> Any:
    """The document with other things at some places; ``...`` takes one away."""
    content = copy.deepcopy(SMALL)
    for path, value in changes:
        inside: Any = content
        try:
            for key in path[:-1]:
                inside = inside[key]
            if value is ...:
                del inside[path[-1]]
            else:
                inside[path[-1]] = copy.deepcopy(value)
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took it away
    return content


CHANGES = st.lists(
    st.tuples(st.sampled_from(PLACES), st.sampled_from([*ODD, ...])), min_size=1, max_size=3
)


def told(*arguments: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with a result or with an error in words."""
    code = main(arguments)
    said = capsys.readouterr()
    assert code in (0, 1, 2)
    assert said.err.startswith("error: ") == (code == 2)
    assert "Traceback" not in said.err
    assert "\x1b" not in said.err + said.out


FUZZ = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=60,
)


@FUZZ
@given(CHANGES)
@example([(("cells",), [])])
@example([(("models",), {})])
@example([(("cells", 0, "hits"), 10**30)])
def test_any_document_is_compared_and_rendered_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[Any]
) -> None:
    whole, odd = tmp_path / "whole.json", tmp_path / "odd.json"
    whole.write_text(json.dumps(SMALL))
    odd.write_text(json.dumps(changed(changes)))
    out = str(tmp_path / "page.html")
    for files in ((whole, odd), (odd, whole)):
        told("compare", *map(str, files), capsys=capsys)
        told("html", *map(str, files), "--out", out, capsys=capsys)
    told("html", str(odd), "--out", out, capsys=capsys)


@settings(FUZZ, max_examples=10)
@given(CHANGES)
def test_any_document_is_drawn_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: list[Any]
) -> None:
    pytest.importorskip("matplotlib")
    odd = tmp_path / "odd.json"
    odd.write_text(json.dumps(changed(changes)))
    told("plot", str(odd), "--out", str(tmp_path), "--formats", "svg", capsys=capsys)


@FUZZ
@given(st.data())
def test_any_bytes_are_refused_or_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    content = bytearray(json.dumps(SMALL).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    odd = tmp_path / "odd.json"
    odd.write_bytes(bytes(content))
    told("compare", str(odd), str(odd), capsys=capsys)
    told("html", str(odd), "--out", str(tmp_path / "page.html"), capsys=capsys)
