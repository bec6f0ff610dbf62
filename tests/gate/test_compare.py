"""Groups of two runs side by side: by the bits of the queries that hit and of those in a group."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pytest_occlusion.__main__ import main
from pytest_occlusion.errors import OcclusionError
from pytest_occlusion.gate.compare import compare_groups
from pytest_occlusion.gate.snapshots import pack_bits
from pytest_occlusion.gate.verdicts import Baseline
from tests.reporting.fabricated import QUERIES, results

Document = dict[str, Any]
LATERAL = np.arange(QUERIES) % 3 == 0
BEFORE = np.arange(QUERIES) % 2 == 0


@pytest.fixture
def before() -> Document:
    """One cell that half of the queries hit; views are gated, findings are not."""
    document = results(2, occluders=("block",), ratios=(0.0,), ks=(10,), findings=2)
    document["members"] = {
        "view": {"PA": pack_bits(~LATERAL), "lateral": pack_bits(LATERAL)},
        "finding": {"Edema": pack_bits(LATERAL)},
    }
    for cell in document["cells"]:
        hit(cell, BEFORE)
    return document


def hit(cell: Document, hits: Any) -> None:
    cell.update(
        hits=int(hits.sum()), recall=float(hits.mean()), hit_queries=pack_bits(hits), verdict="same"
    )


@pytest.fixture
def after(before: Document) -> Document:
    """The second model lost 60 lateral queries and gained as many others."""
    document = copy.deepcopy(before)
    moved = BEFORE.copy()
    moved[np.flatnonzero(BEFORE & LATERAL)[:60]] = False
    moved[np.flatnonzero(~BEFORE & ~LATERAL)[:60]] = True
    hit(document["cells"][1], moved)
    return document


def run(folder: Path, *documents: Document, given: tuple[str, ...] = ()) -> int:
    paths = []
    for number, document in enumerate(documents):
        paths.append(folder / f"{number}.json")
        paths[-1].write_text(json.dumps(document))
    return main(["compare", *map(str, paths), "--tolerance", "0.02", *given])


def test_a_group_is_red_where_the_whole_holds(
    before: Document, after: Document, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, before, after) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 cells compared: 2 same; 0 significant"
    assert lines[1] == (
        "6 numbers of groups compared: 3 same, 1 improved, 2 regressed; 3 significant; "
        "2 changed are gated"
    )
    assert lines[2].split() == ["group", "before", "after", "hits", "p", "p", "Holm"]
    name = "cxr-repair-block-r00-k010 view=lateral"
    assert lines[lines.index(name) + 1].split() == ["50.0", "39.8", "-60", "2e-18", "5e-18"]
    assert max(map(len, lines[2:])) <= 80
    assert run(tmp_path, before, before) == 0


def test_as_json_with_every_group(
    before: Document, after: Document, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, before, after, given=("--format", "json")) == 1
    groups = json.loads(capsys.readouterr().out)["groups"]
    found = {(one["model"], one["attribute"], one["group"]): one for one in groups}
    assert len(found) == 6
    lateral = found["cxr-repair", "view", "lateral"]
    assert lateral["hits_before"] - lateral["hits_after"] == lateral["lost"] == 60
    assert (lateral["queries"], lateral["gained"]) == (590, 0)
    assert lateral["p_value"] == pytest.approx(2 * 0.5**60)
    assert (lateral["verdict"], lateral["gated"]) == ("regressed", True)
    assert found["cxr-repair", "view", "PA"]["verdict"] == "improved"
    assert found["cxr-repair", "finding", "Edema"]["gated"] is False
    assert found["clip", "view", "lateral"]["verdict"] == "same"


def test_markdown(
    before: Document, after: Document, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, before, after, given=("--format", "markdown")) == 1
    text = capsys.readouterr().out
    assert "### 6 numbers of groups compared: " in text
    assert (
        "| cxr-repair-block-r00-k010 view=lateral | 50.0 % | 39.8 % | -60 | 60 / 0 | 2e-18 |"
        in text
    )


def test_a_group_that_is_not_gated_turns_nothing_red(
    before: Document, after: Document, tmp_path: Path
) -> None:
    for document in (before, after):
        for row in document["groups"]:
            row["verdict"] = ""
    assert run(tmp_path, before, after) == 0


def test_a_group_too_small_to_be_judged_turns_nothing_red(
    before: Document, after: Document, tmp_path: Path
) -> None:
    for row in after["groups"] + before["groups"]:
        row["judged"] = False
    assert run(tmp_path, before, after) == 0


def test_fail_on_a_regression_only(before: Document, after: Document, tmp_path: Path) -> None:
    del before["members"]["view"]["lateral"]  # only the improvement is left
    assert run(tmp_path, before, after) == 1
    assert run(tmp_path, before, after, given=("--fail-on", "regression")) == 0


@pytest.mark.parametrize("what", ["another corpus", "schema 1", "other members"])
def test_other_queries_are_not_compared(
    what: str, before: Document, after: Document, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if what == "another corpus":
        before["corpus"]["fingerprint"] = "d1" * 32
    elif what == "schema 1":
        del before["members"]
        before["schema"] = 1
    else:
        before["members"] = {"view": {"lateral": pack_bits(~LATERAL)}}
    assert run(tmp_path, before, after) == 0
    assert "groups" not in capsys.readouterr().out


def test_within_chance_is_within_the_tolerance(before: Document) -> None:
    after = copy.deepcopy(before)
    moved = BEFORE.copy()
    moved[np.flatnonzero(BEFORE & LATERAL)[:5]] = False
    hit(after["cells"][1], moved)
    found = compare_groups(
        before["cells"],
        after["cells"],
        (before["members"], after["members"]),
        tolerance=0.001,
        gated={("view", "lateral")},
    )
    assert {one["verdict"] for one in found} == {"same", "within-tolerance"}
    assert all(one["p_adjusted"] > 0.05 for one in found)


def test_members_that_cannot_be_read(before: Document) -> None:
    members = {"view": {"lateral": pack_bits(LATERAL[:80])}}
    with pytest.raises(OcclusionError, match="which queries are in view=lateral cannot be read"):
        compare_groups(
            before["cells"], before["cells"], (members, members), tolerance=0.01, gated=set()
        )


def test_stored_baselines_tell_groups_too(before: Document, after: Document) -> None:
    stored = [
        {**cell, "hit_queries": None, "stored": Baseline(int(BEFORE.sum()), QUERIES, BEFORE, None)}
        for cell in before["cells"]
    ]
    members = (after["members"], after["members"])
    given: dict[str, Any] = {"tolerance": 0.02, "gated": set()}
    found = compare_groups(stored, after["cells"], members, **given)
    assert found == compare_groups(before["cells"], after["cells"], members, **given)
    assert [one["verdict"] for one in found].count("regressed") == 2


def test_only_queries_that_are_radiographs_have_groups(before: Document) -> None:
    for cell in before["cells"]:
        cell["direction"] = "text-to-image"
    members = (before["members"], before["members"])
    cells = before["cells"]
    assert compare_groups(cells, cells, members, tolerance=0.01, gated=set()) == []
