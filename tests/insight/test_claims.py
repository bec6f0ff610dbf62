"""Claims: judged from recalls whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_occlusion.errors import UnacceptedError
from pytest_occlusion.hooks.checks import ClaimCheck
from pytest_occlusion.insight.claims import (
    CLAIMS,
    CONTRADICTED,
    NO_POWER,
    SUPPORTED,
    Estimate,
    Finding,
    combined,
    described,
    region_cells,
)
from pytest_occlusion.insight.evidence import Evidence, UnaskableError, cells_of, region_ratio
from pytest_occlusion.retrieval.degradation import (
    area_under,
    degradation,
    line_through,
    retained,
)
from pytest_occlusion.suite.grid import Cell
from pytest_occlusion.suite.merge import build_settings
from pytest_occlusion.suite.settings import Settings
from pytest_occlusion.suite.suites import Suite
from pytest_occlusion.suite.table import CLAIM_NAMES, ROLES

RATIOS = [0.0, 0.25, 0.36, 0.81]
CHANCE = 0.01


def settings(*families: str, **changes: Any) -> Settings:
    models = {family: {"family": family, "checkpoint": "x.pt"} for family in families or ROLES}
    suite = {"suite": "s", "ratios": RATIOS, "ks": [5, 10], "models": models, **changes}
    return build_settings(Suite(suite, "s.toml", Path()), command_line={})


def evidence(
    recall: Callable[[Cell], float], noise: float = 0.002, chosen: Settings | None = None
) -> Evidence:
    """Recalls as given; resamples spread around them, independently for every cell."""

    def sampled(cell: Cell) -> NDArray[np.float64]:
        draw = np.random.default_rng(crc32(cell.id.encode()))
        value = recall(cell)
        return np.concatenate([[value], value + noise * draw.standard_normal(200)])

    return Evidence(chosen or settings(), sampled, lambda _: CHANCE)


LEVEL = {"clip": 0.01, "cxr-repair": 0.3, "medclip": 0.15, "cxr-clip": 0.4}


def straight(cell: Cell) -> float:
    """Falls along a line to chance at full blocking; the order of models is the paper's."""
    level = LEVEL[cell.model]
    return level - (level - 0.01) * cell.ratio + (0.001 * cell.k if cell.model != "clip" else 0)


def outcome(name: str, recall: Callable[[Cell], float], noise: float = 0.002) -> str:
    return CLAIMS[name].judge(evidence(recall, noise)).outcome


def test_every_claim_has_a_name_in_settings() -> None:
    assert tuple(CLAIMS) == CLAIM_NAMES


def test_the_order_of_models() -> None:
    assert outcome("best", straight) == SUPPORTED
    assert outcome("second", straight) == SUPPORTED

    def swapped(cell: Cell) -> float:
        other = {"cxr-clip": "cxr-repair", "cxr-repair": "cxr-clip"}
        return straight(replace(cell, model=other.get(cell.model, cell.model)))

    assert outcome("best", swapped) == CONTRADICTED
    assert outcome("second", swapped) == CONTRADICTED
    assert outcome("best", lambda cell: 0.2, noise=0.05) in (NO_POWER, CONTRADICTED)


def test_best_counts_cells_as_one_would_by_hand() -> None:
    def some(cell: Cell) -> float:
        lead = cell.ratio in (0.0, 0.25, 0.36)
        return 0.3 if (cell.model == "cxr-clip") == lead else 0.2

    (estimate,) = CLAIMS["best"].judge(evidence(some)).estimates
    assert estimate.value == 6 / 8  # three of four ratios, two ks each


def test_flattest() -> None:
    def flat(cell: Cell) -> float:
        loss = {"medclip": 0.3, "cxr-clip": 0.8, "cxr-repair": 0.8}.get(cell.model, 0)
        return LEVEL[cell.model] - (LEVEL[cell.model] - CHANCE) * loss * cell.ratio

    found = CLAIMS["flattest"].judge(evidence(flat))
    assert found.outcome == SUPPORTED
    assert found.notes == ("without clip: near chance at 0 %",)
    assert [one.label for one in found.estimates] == ["medclip - cxr-repair", "medclip - cxr-clip"]
    assert outcome("flattest", straight, noise=0.05) == NO_POWER


def test_near_chance_is_a_band() -> None:
    assert outcome("near-chance", straight) == SUPPORTED
    assert outcome("near-chance", lambda _: 0.04, noise=0.0005) == CONTRADICTED
    assert outcome("near-chance", lambda _: 0.03, noise=0.005) == NO_POWER
    (estimate,) = CLAIMS["near-chance"].judge(evidence(lambda _: 0.03)).estimates
    assert estimate.value == pytest.approx(3.0)
    assert estimate.low < 3.0 < estimate.high


def test_proportional() -> None:
    assert outcome("proportional", straight) == SUPPORTED

    def cliff(cell: Cell) -> float:
        return LEVEL[cell.model] if cell.ratio == 0 else CHANCE

    assert outcome("proportional", cliff) == CONTRADICTED


def test_regions_and_scattering() -> None:
    cost = {"center": 0.1, "block": 0.06, "border": 0.02, "patches": 0.01}

    def regional(cell: Cell) -> float:
        return LEVEL[cell.model] - (cost[cell.occluder] if cell.ratio else 0)

    for name in ("center", "border", "scattered"):
        assert outcome(name, regional) == SUPPORTED
    cost["patches"] = 0.2
    found = CLAIMS["scattered"].judge(evidence(regional))
    assert found.outcome == CONTRADICTED
    by_label = {one.label: one for one in found.estimates}
    assert by_label["cxr-clip, patches - block"].value == pytest.approx(-14.0)


def test_one_pass_can_measure_all_that_claims_look_at() -> None:
    asked: set[Cell] = set()

    def noted(cell: Cell) -> float:
        asked.add(cell)
        return straight(replace(cell, occluder="block"))

    for claim in CLAIMS.values():
        claim.judge(evidence(noted))
    assert evidence(straight).sees("cxr-repair")
    assert not evidence(straight).sees("clip")
    seeing = [model for model in settings().grid.models if model != "clip"]
    regions = [one for model in seeing for one in region_cells(settings(), model, CLAIM_NAMES)]
    assert len(regions) == 3 * 4  # the block as well, which may not be the suite's own
    assert asked == {*cells_of(settings()), *regions}
    assert len(cells_of(settings())) == 4 * 4 * 2


@pytest.mark.parametrize(
    ("names", "chosen", "model"),
    [
        (("best", "proportional"), settings(), "cxr-clip"),
        (("center",), settings(ratios=[0.0]), "cxr-clip"),
        (("center",), settings(occluders=["blur"]), "cxr-clip"),
        (("center",), settings(), "no-role"),
    ],
    ids=["no claim asks", "nothing blocked", "no occluder", "no role"],
)
def test_regions_that_no_claim_compares(
    names: tuple[str, ...], chosen: Settings, model: str
) -> None:
    assert region_cells(chosen, model, names) == []


@pytest.mark.parametrize(
    ("name", "chosen", "reason"),
    [
        ("best", settings("clip", "medclip"), "no model of family, or with the role, cxr-clip"),
        ("best", settings("cxr-clip"), "no other model with a role"),
        ("flattest", settings("clip", "medclip"), "no other model than medclip"),
        ("proportional", settings(ratios=[0.0, 0.25]), "ratio 0 and at least two others"),
        ("near-chance", settings(ratios=[0.25, 0.36]), "no ratio 0"),
        ("center", settings(ratios=[0.0]), "blocks nothing"),
        ("center", settings("clip"), "every model is near chance"),
    ],
)
def test_what_a_suite_cannot_say(name: str, chosen: Settings, reason: str) -> None:
    with pytest.raises(UnaskableError, match=reason):
        CLAIMS[name].judge(evidence(straight, chosen=chosen))


@pytest.mark.parametrize("name", ["best", "second"])
def test_nobody_leads_where_every_model_is_near_chance(name: str) -> None:
    def recall(cell: Cell) -> float:
        return CHANCE * (2 if cell.model == "cxr-clip" else 1)

    with pytest.raises(UnaskableError, match="every model is near chance at 0 %"):
        CLAIMS[name].judge(evidence(recall))


def test_a_model_at_chance_has_nothing_to_retain() -> None:
    def recall(cell: Cell) -> float:
        return CHANCE if cell.model == "medclip" else straight(cell)

    with pytest.raises(UnaskableError, match="medclip is near chance at 0 %"):
        CLAIMS["flattest"].judge(evidence(recall))


def test_a_role_can_be_given() -> None:
    models = {
        "ours": {"family": "hf", "checkpoint": "x", "role": "cxr-clip"},
        "clip": {"family": "clip", "checkpoint": "x"},
        "again": {"family": "clip", "checkpoint": "x"},
    }
    found = evidence(straight, chosen=settings(models=models)).roles
    assert found == {"clip": "clip", "cxr-clip": "ours"}


def test_the_ratio_for_regions_is_the_nearest() -> None:
    assert region_ratio(settings(ratios=[0.0, 0.3, 0.9]).grid) == 0.3


def test_helpers_agree_with_the_degradation_of_one_curve() -> None:
    recalls = [0.4, 0.33, 0.2, 0.05]
    whole = degradation(RATIOS, recalls, chance=CHANCE)
    curves = np.array(recalls)[:, None].repeat(3, 1)
    line = line_through(RATIOS, curves)[1]
    assert line == pytest.approx([whole.r_squared] * 3)
    area = area_under(RATIOS, retained(curves, CHANCE))
    above = whole.above_chance
    by_hand = sum((above[i] + above[i + 1]) / 2 * (RATIOS[i + 1] - RATIOS[i]) for i in range(3))
    assert area == pytest.approx([by_hand / 0.81] * 3)
    assert line_through(RATIOS, np.full((4, 2), 0.3))[1] == pytest.approx([1, 1])


def test_combined() -> None:
    yes, no = Estimate("a", 1, 0.5, 2, 0), Estimate("b", -1, -2, -0.5, 0)
    open_ = Estimate("c", 0.1, -1, 1, 0)
    assert combined([yes, yes]) == SUPPORTED
    assert combined([yes, open_]) == NO_POWER
    assert combined([yes, open_, no]) == CONTRADICTED


@pytest.mark.parametrize(
    ("expected", "found", "fails"),
    [
        ("supported", SUPPORTED, False),
        ("supported", NO_POWER, False),
        ("supported", CONTRADICTED, True),
        ("contradicted", SUPPORTED, True),
        ("no power", CONTRADICTED, False),
        (None, CONTRADICTED, False),
    ],
)
def test_only_the_opposite_of_what_is_expected_fails(
    expected: str | None, found: str, fails: bool
) -> None:
    claims = {"best": expected} if expected else {}
    expecting = settings(claims=claims)
    finding = Finding("best", found, "share of 8 cells", (Estimate("x leads", 0.2, 0.1, 0.3, 0.5),))
    check = ClaimCheck(expecting, finding)
    if not fails:
        check.assert_expected()
        return
    with pytest.raises(UnacceptedError) as told:
        check.assert_expected()
    assert f"expects it to be {expected}" in str(told.value)
    assert "x leads 0.20 [0.10, 0.30]" in str(told.value)
    assert "change best under [claims] in s.toml" in str(told.value)
    assert described(finding)[0] == "(share of 8 cells)"


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"claims": {"worst": "supported"}}, "unknown claim 'worst'; known: best, second"),
        ({"claims": {"best": "yes"}}, "claims.best is 'yes'; known: supported"),
        ({"claims": 3}, "claims is not a table"),
        (
            {"models": {"a": {"family": "clip", "checkpoint": "x", "role": "boss"}}},
            "models.a: role is 'boss'; known: clip",
        ),
    ],
)
def test_faults_in_the_suite(table: dict[str, Any], text: str) -> None:
    from pytest_occlusion.errors import OcclusionError

    with pytest.raises(OcclusionError, match="cannot be run as given") as told:
        settings(**table)
    assert text in str(told.value)
