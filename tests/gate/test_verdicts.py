"""Verdicts: the rule, the test behind it, and every word of the explanation."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.gate.provenance import DIGEST_FIELDS, Provenance, changes
from pytest_occlusion.gate.verdicts import (
    IMPROVED,
    NEW,
    REGRESSED,
    SAME,
    WITHIN,
    Baseline,
    Verdict,
    allowed_flips,
    drift,
    explain,
    judge,
    judge_curve,
    triage,
    turns_red,
    within,
)
from pytest_occlusion.retrieval.significance import mcnemar
from pytest_occlusion.suite.table import FAIL_ON

from .results import PROVENANCE, result

ACCEPT = "pytest benchmarks --occlusion-models clip --snapshot-update"


def baseline(hits: int, queries: int = 100, known: bool = True) -> Baseline:
    bits = np.arange(queries) < hits
    return Baseline(hits, queries, bits if known else None, PROVENANCE if known else None)


# Tolerance ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tolerance", "queries", "flips"),
    [
        (0, 1770, 0),
        (0.0, 1770, 0),
        (0.002, 1770, 4),  # 3.54
        (0.002, 1000, 2),
        (0.002, 5, 1),
        (1, 1770, 1),
        (3.0, 1770, 3),
        (0.07, 100, 7),  # 7.000000000000001 in floating point
        (0.14, 50, 7),
        (0.29, 100, 29),  # 28.999999999999996
        (0.999, 1000, 999),
    ],
)
def test_allowed_flips(tolerance: float, queries: int, flips: int) -> None:
    assert allowed_flips(tolerance, queries) == flips


@given(st.integers(1, 99), st.integers(1, 5000))
def test_shares_round_up_as_whole_numbers_do(percents: int, queries: int) -> None:
    assert allowed_flips(percents / 100, queries) == -(-percents * queries // 100)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 10))
def test_within(hits: int, before: int, flips: int) -> None:
    assert within(hits, 50, before, 50, flips) == (-flips <= hits - before <= flips)
    assert not within(hits, 50, before, 51, flips)


# Judging -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "before", "kind"),
    [
        (40, 40, SAME),
        (38, 40, WITHIN),
        (42, 40, WITHIN),
        (37, 40, REGRESSED),
        (43, 40, IMPROVED),
        (0, 100, REGRESSED),
        (40, None, NEW),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_kinds(hits: int, before: int | None, kind: str, known: bool) -> None:
    old = None if before is None else baseline(before, known=known)
    verdict = judge(result(hits, 100), old, tolerance=0.02)
    assert verdict.kind == kind
    assert verdict.tolerance == 2
    assert verdict.baseline is old
    if old is not None and known:
        assert verdict.lost == max(0, old.hits - hits)
        assert verdict.gained == max(0, hits - old.hits)
        assert verdict.p_value == mcnemar(verdict.lost, verdict.gained)
    else:
        assert (verdict.lost, verdict.gained, verdict.p_value) == (None, None, None)


def test_same_hits_by_other_queries_is_the_same_and_says_so() -> None:
    now = result([True] * 30 + [False] * 60 + [True] * 10)
    verdict = judge(now, baseline(40), tolerance=0)
    assert (verdict.kind, verdict.lost, verdict.gained) == (SAME, 10, 10)
    assert verdict.p_value == 1.0


@pytest.mark.parametrize(
    ("hits", "queries", "kind"),
    [
        (40, 99, IMPROVED),
        (39, 98, REGRESSED),
        (80, 200, REGRESSED),
        (30, 60, IMPROVED),
        (60, 200, REGRESSED),
    ],
)
def test_another_number_of_queries_never_passes(hits: int, queries: int, kind: str) -> None:
    verdict = judge(result(hits, queries), baseline(40), tolerance=0.5)
    assert verdict.kind == kind
    assert verdict.lost is None
    assert verdict.p_value is None


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_lost_and_gained_are_counted_query_by_query(pairs: list[tuple[bool, bool]]) -> None:
    before, now = (np.array(side) for side in zip(*pairs, strict=True))
    old = Baseline(int(before.sum()), len(pairs), before, PROVENANCE)
    verdict = judge(result(now.tolist()), old, tolerance=1)
    assert verdict.lost == sum(b and not n for b, n in pairs)
    assert verdict.gained == sum(n and not b for b, n in pairs)


@pytest.mark.parametrize(
    ("kind", "p_adjusted", "red"),
    [
        (SAME, 1.0, (False, False, False)),
        (WITHIN, 0.001, (False, False, False)),
        (IMPROVED, 0.001, (True, False, False)),
        (REGRESSED, 0.2, (True, True, False)),
        (REGRESSED, 0.001, (True, True, True)),
        (REGRESSED, None, (True, True, True)),
        (IMPROVED, None, (True, False, False)),
        (NEW, None, (True, True, True)),
    ],
)
def test_what_turns_red(kind: str, p_adjusted: float | None, red: tuple[bool, ...]) -> None:
    found = [turns_red(kind, p_adjusted, fail_on) for fail_on in FAIL_ON]
    assert found == list(red)
    assert tuple(FAIL_ON) == ("any", "regression", "significant-regression")


def test_drift_since_the_first_accepted_value() -> None:
    now = result(34, 100)
    old = replace(baseline(36), first=40)
    verdict = judge(now, old, tolerance=0.02)
    assert verdict.kind == WITHIN
    assert drift(now, verdict) == -6
    assert drift(now, judge(now, replace(old, first=36), tolerance=0.02)) is None
    assert drift(now, judge(now, None, tolerance=0.02)) is None
    assert drift(now, judge(now, baseline(36, 99), tolerance=0.02)) is None


# McNemar -----------------------------------------------------------------------------------------


def test_mcnemar_equals_counting_every_sequence_of_coins() -> None:
    for flipped in range(11):
        sequences = [sum(coins) for coins in product((0, 1), repeat=flipped)]
        for lost in range(flipped + 1):
            fewer = min(lost, flipped - lost)
            tail = sum(heads <= fewer for heads in sequences) / len(sequences)
            assert mcnemar(lost, flipped - lost) == pytest.approx(min(1.0, 2 * tail))


@given(st.integers(0, 120), st.integers(0, 120))
def test_mcnemar_equals_binomials(lost: int, gained: int) -> None:
    flipped = lost + gained
    tail = sum(comb(flipped, i) * 0.5**flipped for i in range(min(lost, gained) + 1))
    assert mcnemar(lost, gained) == pytest.approx(min(1.0, 2 * tail), rel=1e-9)
    assert mcnemar(lost, gained) == mcnemar(gained, lost)


def test_mcnemar_of_a_large_corpus() -> None:
    assert mcnemar(6000, 6000) == 1.0
    assert mcnemar(0, 5000) == 0.0
    assert mcnemar(2400, 2600) == pytest.approx(0.00490, rel=0.01)  # z = 2.814, by its tail


# Explaining --------------------------------------------------------------------------------------


def explained(hits: int, before: int, **given: object) -> str:
    now = result(hits, 100)
    verdict = judge(now, baseline(before), tolerance=0.02)
    return "\n".join(explain(now, verdict, replace(PROVENANCE, **given), accept=ACCEPT))  # type: ignore[arg-type]


def test_a_regression_is_explained() -> None:
    text = explained(31, 40, weights="91cc" * 16)
    assert text.splitlines() == [
        "Recall@10 of clip at 25 % blocked (block) fell beyond the tolerance",
        f"  accept: {ACCEPT}",
        "",
        "                  recall     hits   queries",
        "  baseline        40.0 %       40       100",
        "  this run        31.0 %       31       100",
        "  difference     -9.0 pt       -9   (tolerance 2)",
        "  flipped     9 queries lost, 0 gained; exact McNemar p = 0.0039",
        "",
        "  weights changed     3f2a3f2a -> 91cc91cc",
        "  unchanged           corpus, protocol, precision, device, code, libraries",
        "  suggests            the new weights retrieve differently: nothing else changed",
    ]


def test_an_improvement_is_explained() -> None:
    text = explained(45, 40)
    assert "rose beyond the tolerance" in text
    assert "+5.0 pt       +5   (tolerance 2)" in text
    assert "0 queries lost, 5 gained" in text


def test_a_new_cell_is_explained() -> None:
    now = result(1234, 1770, ratio=0.125)
    lines = explain(now, Verdict(NEW, 4), PROVENANCE, accept=ACCEPT)
    assert lines == [
        "Recall@10 of clip at 12.5 % blocked (block) has no baseline: measured 69.7 % "
        "(1,234 of 1,770 queries)",
        f"  accept: {ACCEPT}",
    ]


def test_without_queries_in_the_snapshot_nothing_is_said_of_flips() -> None:
    now = result(31, 100)
    verdict = judge(now, baseline(40, known=False), tolerance=0)
    text = "\n".join(explain(now, verdict, PROVENANCE, accept=ACCEPT))
    assert "flipped" not in text
    assert "the snapshot does not say what it was measured with" in text


def test_a_baseline_without_queries_is_not_divided_by() -> None:
    now = result(3, 10)
    verdict = judge(now, Baseline(0, 0, None, None), tolerance=0)
    assert "0.0 %" in "\n".join(explain(now, verdict, PROVENANCE, accept=ACCEPT))


@pytest.mark.parametrize("name", [field.name for field in fields(Provenance)])
def test_every_field_of_the_provenance_is_named_when_it_alone_changes(name: str) -> None:
    new = "f" * 64 if name in DIGEST_FIELDS else "something new"
    after = replace(PROVENANCE, **{name: new})
    lines = triage(PROVENANCE, after)
    at = next(place for place, line in enumerate(lines) if line.startswith("  suggests"))
    *first, unchanged = lines[:at]
    changed = " ".join([first[0], *(line.strip() for line in first[1:])])
    assert changed.startswith(f"  {name} changed")
    old = getattr(PROVENANCE, name)
    if name in DIGEST_FIELDS:
        assert changed.split("changed")[1].split() == [old[:8], "->", "ffffffff"]
    elif name == "code":
        assert changed.endswith("-> something new")
    elif name != "libraries":
        assert changed.endswith(f"{old} -> something new")
    others = [field.name for field in fields(Provenance) if field.name != name]
    assert unchanged.split("unchanged")[1].strip() == ", ".join(others)
    assert PROVENANCE.id != after.id
    parts = ", ".join(sorted(old.split(", "))) if name in ("code", "libraries") else old
    shown = (old[:8], new[:8]) if name in DIGEST_FIELDS else (parts, new)
    assert changes(asdict(PROVENANCE), asdict(after))[0] == [(name, *shown)]


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (["weights"], "the new weights retrieve differently: nothing else changed"),
        (["corpus"], "another corpus: the two numbers do not answer one question"),
        (["weights", "protocol"], "another protocol: the two numbers do not answer one question"),
        (["corpus", "protocol", "device"], "another corpus and protocol: the two numbers do not"),
        (["precision"], "the model is the same: look for the cause in what computes it"),
        (["device", "code", "libraries"], "the model is the same"),
        (["weights", "libraries"], "measure the old weights here to tell"),
    ],
)
def test_what_the_changes_suggest(changed: list[str], says: str) -> None:
    after = replace(PROVENANCE, **dict.fromkeys(changed, "f" * 64))
    lines = triage(PROVENANCE, after)
    assert says in " ".join(" ".join(lines).split())
    assert "".join(lines).count("suggests") == 1
    at = next(place for place, line in enumerate(lines) if line.startswith("  suggests"))
    assert all(len(line) <= 80 for line in lines[at:])


def test_only_the_libraries_that_differ_are_named() -> None:
    after = replace(PROVENANCE, libraries="python 3.11.7, torch 2.7.0, pillow 11.0")
    line = triage(PROVENANCE, after)[0]
    assert line.endswith("numpy 2.1.0, torch 2.6.0 -> pillow 11.0, torch 2.7.0")
    fewer = replace(PROVENANCE, libraries="python 3.11.7, torch 2.6.0")
    assert triage(PROVENANCE, fewer)[0].endswith("numpy 2.1.0 -> none")
    assert triage(fewer, PROVENANCE)[0].endswith("none -> numpy 2.1.0")


def test_what_does_not_fit_into_a_line_goes_on_in_the_next() -> None:
    code = "pytest-occlusion 0.1.0, engine {}, a-family-of-ours revision {}"
    before = replace(PROVENANCE, code=code.format(1, 2))
    first, second, *_ = triage(before, replace(PROVENANCE, code=code.format(2, 31)))
    assert first == "  code changed        a-family-of-ours revision 2, engine 1"
    assert second == "                      -> a-family-of-ours revision 31, engine 2"


def test_everything_changed() -> None:
    after = Provenance(*("x" for _ in fields(Provenance)))
    lines = triage(PROVENANCE, after)
    assert sum(" changed " in line for line in lines) == len(fields(Provenance))
    assert not any("unchanged" in line for line in lines)
    assert lines[-2].startswith("  suggests            another corpus and protocol: ")


def test_nothing_changed() -> None:
    text = " ".join(line.strip() for line in triage(PROVENANCE, replace(PROVENANCE)))
    assert text.startswith("nothing recorded has changed (weights, corpus, protocol, environment)")
    assert "not deterministic" in text


# Curves ------------------------------------------------------------------------------------------


def curve(changes_in_hits: list[int], tolerance: float, queries: int = 100) -> tuple[str, float]:
    results = [
        result(40 + change, queries, ratio=at / 10) for at, change in enumerate(changes_in_hits)
    ]
    verdict = judge_curve(results, [baseline(40, queries)] * len(results), tolerance=tolerance)
    return verdict.kind, verdict.difference


def test_curve_kinds() -> None:
    assert curve([0, 0, 0], 0.04) == (SAME, 0)
    assert curve([2, -2, 0], 0.04) == (WITHIN, 0)
    assert curve([-2, -2, -2], 0.04) == (WITHIN, -2)
    assert curve([-3, -2, -2], 0.04) == (REGRESSED, -7 / 3)
    assert curve([3, 2, 2], 0.04) == (IMPROVED, 7 / 3)


def test_a_curve_catches_what_no_cell_shows() -> None:
    now, old = result(37, 100), baseline(40)
    assert judge(now, old, tolerance=0.04).kind == WITHIN
    assert curve([-3] * 8, 0.04) == (REGRESSED, -3)


def test_a_curve_may_always_move_by_one_query() -> None:
    verdict = judge_curve(
        [result(39, 100, ratio=at) for at in (0.0, 0.5)], [baseline(40)] * 2, tolerance=0
    )
    assert (verdict.kind, verdict.tolerance) == (WITHIN, 1.0)


def test_a_curve_needs_every_baseline() -> None:
    results = [result(40, 100)] * 3
    for missing in range(3):
        known: list[Baseline | None] = [baseline(90)] * 3
        known[missing] = None
        assert judge_curve(results, known, tolerance=0.02).kind == NEW
    other = [baseline(40), baseline(40), baseline(40, 99)]
    assert judge_curve(results, other, tolerance=0.02).kind == NEW
