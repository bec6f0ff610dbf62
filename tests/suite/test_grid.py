"""The grid: order, ids that cannot collide, and which worker takes what."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.occlusion import OCCLUDERS
from pytest_occlusion.occlusion.levels import ratio_tag
from pytest_occlusion.suite.grid import (
    Cell,
    Curve,
    Grid,
    cells,
    cells_of_curve,
    curves,
    grouped_curves,
    scope_of,
    takes_whole_models,
)
from pytest_occlusion.suite.table import DIRECTIONS, KS, RATIOS, SETTINGS, attribute_tag

FORWARD, REVERSE = DIRECTIONS["both"]

names = st.from_regex(r"[a-z0-9][a-z0-9_+-]{0,8}", fullmatch=True)


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    return Grid(
        models=tuple(draw(st.lists(names, min_size=1, max_size=3, unique=True))),
        directions=draw(st.sampled_from(sorted(DIRECTIONS.values()))),
        occluders=tuple(
            draw(st.lists(st.sampled_from(sorted(OCCLUDERS)), min_size=1, max_size=3, unique=True))
        ),
        ratios=tuple(
            draw(
                st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4).filter(
                    lambda given: SETTINGS["ratios"].check(given) is None
                )
            )
        ),
        ks=tuple(draw(st.lists(st.integers(1, 2000), min_size=1, max_size=3, unique=True))),
    )


def default(*models: str) -> Grid:
    return Grid(models or ("a", "b", "c", "d"), (FORWARD,), ("block",), RATIOS, KS)


def test_the_default_suite_has_192_cells() -> None:
    assert len(cells(default())) == 4 * 8 * 6
    assert len(curves(default())) == 4


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        (Cell("clip", FORWARD, "block", 0.49, 5), "clip-block-r49-k005"),
        (Cell("clip", FORWARD, "block", 0.0, 100), "clip-block-r00-k100"),
        (Cell("cxr-clip", FORWARD, "patches", 0.09, 1000), "cxr-clip-patches-r09-k1000"),
        (Cell("m", REVERSE, "center", 0.125, 10), "m-center-r12p5-k010-t2i"),
    ],
)
def test_ids(cell: Cell, name: str) -> None:
    assert cell.id == name


def test_curve_ids() -> None:
    assert Curve("clip", FORWARD, "block").id == "clip-block"
    assert Curve("clip", REVERSE, "block").id == "clip-block-t2i"
    assert Cell("clip", REVERSE, "block", 0.25, 5).curve == Curve("clip", REVERSE, "block")


@pytest.mark.parametrize(
    ("ratio", "tag"),
    [
        (0, "r00"),
        (0.01, "r01"),
        (0.1, "r10"),
        (0.07, "r07"),
        (0.29, "r29"),
        (0.57, "r57"),
        (0.005, "r0p5"),
        (0.1225, "r12p25"),
        (0.999, "r99p9"),
        (1 / 3, "r33p3333"),
    ],
)
def test_ratio_tags(ratio: float, tag: str) -> None:
    assert ratio_tag(ratio) == tag


@given(st.floats(0, 1, exclude_max=True))
def test_ratio_tags_have_no_dot_and_no_dash(ratio: float) -> None:
    """syrupy splits at dots, and the scheduler finds the tag between dashes."""
    assert re.fullmatch(r"r\d+(p\d+)?", ratio_tag(ratio))


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=2))
def test_ratios_that_are_accepted_have_tags_of_their_own(pair: list[float]) -> None:
    if SETTINGS["ratios"].check(pair) is None:
        assert ratio_tag(pair[0]) != ratio_tag(pair[1])


@pytest.mark.parametrize("pair", [[0.0, 1e-9], [1e-9, 2e-9], [0.12345678, 0.12345679]])
def test_ratios_too_close_to_tell_apart_are_refused(pair: list[float]) -> None:
    assert SETTINGS["ratios"].check(pair) == "names a ratio twice"


@given(grids())
def test_ids_are_unique_and_parse_back(grid: Grid) -> None:
    everything = cells(grid)
    ids = [cell.id for cell in everything]
    assert len(set(ids)) == len(ids)
    assert not any(set(".[]/ :") & set(name) for name in ids)
    assert len({curve.id for curve in curves(grid)}) == len(curves(grid))


@given(grids())
def test_every_combination_once_with_models_together(grid: Grid) -> None:
    everything = cells(grid)
    expected = len(grid.models) * len(grid.directions) * len(grid.occluders)
    expected *= len(grid.ratios) * len(grid.ks)
    assert len(everything) == len(set(everything)) == expected
    assert list(dict.fromkeys(cell.model for cell in everything)) == list(grid.models)
    seen = [cell.model for cell in everything]
    assert seen == sorted(seen, key=grid.models.index)
    assert list(dict.fromkeys(cell.curve for cell in everything)) == curves(grid)


@given(grids())
def test_a_curve_holds_its_own_cells(grid: Grid) -> None:
    found = [cells_of_curve(grid, curve) for curve in curves(grid)]
    assert [cell for own in found for cell in own] == cells(grid)
    assert all({cell.curve for cell in own} == {own[0].curve} for own in found)


@given(grids())
def test_groups_are_asked_of_every_curve_from_image_to_report(grid: Grid) -> None:
    asked = grouped_curves(grid, ["view", "age/20"])
    forward = [curve for curve in curves(grid) if curve.direction == FORWARD]
    assert [one.curve for one in asked] == [curve for curve in forward for _ in range(2)]
    assert [one.id for one in asked[:2]] == [
        f"{forward[0].id}-by-{tag}" for tag in ("view", "age-20")
    ]
    assert len({one.id for one in asked}) == len(asked)
    assert grouped_curves(grid, []) == []
    for one in asked:
        assert one.model == one.curve.model
        assert scope_of(f"t.py::test_group[{one.id}]", grid, 1) == f"occlusion {one.model}"


@pytest.mark.parametrize(
    ("attribute", "tag"),
    [("age/20", "age-20"), ("Pleural Effusion", "pleural-effusion"), (" sex_", "sex"), ("é1", "1")],
)
def test_tags_of_attributes(attribute: str, tag: str) -> None:
    assert attribute_tag(attribute) == tag


@pytest.mark.parametrize(("workers", "whole"), [(1, True), (4, True), (5, False)])
def test_more_workers_than_models_split_models(workers: int, whole: bool) -> None:
    assert takes_whole_models(default(), workers) is whole


def scope(name: str, workers: int, *models: str) -> str:
    return scope_of(f"benchmarks/test_recall.py::test_recall[{name}]", default(*models), workers)


def test_scopes_of_whole_models() -> None:
    assert scope("clip-block-r49-k005", 2, "clip", "other") == "occlusion clip"
    assert scope("clip-block-r49-k005-t2i", 2, "clip", "other") == "occlusion clip"
    assert scope("clip-block", 2, "clip", "other") == "occlusion clip"


def test_a_map_goes_where_its_model_goes() -> None:
    assert scope("clip", 2, "clip", "other") == "occlusion clip"
    alone = "benchmarks/test_recall.py::test_recall[clip]"
    assert scope("clip", 3, "clip", "other") == alone, "workers to spare"


def test_scopes_of_split_models() -> None:
    assert scope("clip-block-r49-k005", 3, "clip", "other") == "occlusion clip r49"
    assert scope("clip-block-r12p5-k1000-t2i", 3, "clip", "other") == "occlusion clip r12p5"


def test_the_longest_model_name_wins() -> None:
    assert scope("clip-b-block-r49-k005", 2, "clip", "clip-b") == "occlusion clip-b"
    assert scope("clip-block-r49-k005", 2, "clip-b", "clip") == "occlusion clip"


@pytest.mark.parametrize(
    "nodeid",
    [
        "tests/test_x.py::test_plain",
        "tests/test_x.py::test_other[1-2]",
        "tests/test_x.py::test_other[clipper-block-r49-k005]",
        "tests/test_x.py::test_other[a]b",
    ],
)
def test_other_tests_are_scopes_of_their_own(nodeid: str) -> None:
    assert scope_of(nodeid, default("clip"), 1) == nodeid


@given(grids(), st.integers(1, 6))
def test_a_condition_is_never_split_between_workers(grid: Grid, workers: int) -> None:
    """Cells of one (model, ratio) come from one pass, whatever their k."""
    places: dict[tuple[str, str, str, float], set[str]] = {}
    for cell in cells(grid):
        found = scope_of(f"t.py::test_recall[{cell.id}]", grid, workers)
        assert found.startswith("occlusion ")
        condition = (cell.model, cell.direction, cell.occluder, cell.ratio)
        places.setdefault(condition, set()).add(found)
    assert all(len(scopes) == 1 for scopes in places.values())
