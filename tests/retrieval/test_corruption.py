"""Corruption errors, by hand and against the published normalisation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_occlusion.retrieval.corruption import Recalls, corruption_errors

MODEL = Recalls(0.5, {("noise", 1): 0.4, ("noise", 2): 0.2, ("blur", 1): 0.5, ("blur", 2): 0.3})
REFERENCE = Recalls(0.4, {("noise", 1): 0.3, ("noise", 2): 0.1, ("blur", 1): 0.3, ("blur", 2): 0.3})


def test_by_hand() -> None:
    mean, (blur, noise) = corruption_errors(MODEL, REFERENCE)
    assert (blur.corruption, noise.corruption, mean.corruption) == ("blur", "noise", "")
    assert noise.mmi == pytest.approx((0.1 / 0.5 + 0.3 / 0.5) / 2)
    assert blur.mmi == pytest.approx((0.0 + 0.2 / 0.5) / 2)
    assert noise.ce == pytest.approx((0.6 + 0.8) / (0.7 + 0.9))
    assert blur.ce == pytest.approx((0.5 + 0.7) / (0.7 + 0.7))
    assert noise.relative_ce == pytest.approx((0.1 + 0.3) / (0.1 + 0.3))
    assert blur.relative_ce == pytest.approx((0.0 + 0.2) / (0.1 + 0.1))
    for name in ("mmi", "ce", "relative_ce"):
        parts = [getattr(one, name) for one in (blur, noise)]
        assert getattr(mean, name) == pytest.approx(sum(parts) / 2)


def test_without_a_reference() -> None:
    mean, parts = corruption_errors(MODEL)
    assert mean.mmi == pytest.approx(0.3)
    for one in (mean, *parts):
        assert one.mmi is not None
        assert one.ce is one.relative_ce is None


RECALL = st.integers(1, 63).map(lambda n: n / 64)


@given(RECALL, st.dictionaries(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), RECALL))
def test_a_model_is_as_good_as_itself(
    clean: float, corrupted: dict[tuple[str, int], float]
) -> None:
    one = Recalls(clean, corrupted or {("a", 1): 0.5})
    mean, parts = corruption_errors(one, one)
    assert mean.ce == pytest.approx(1.0)
    for part in parts:
        lost = sum(clean - r for (name, _), r in one.corrupted.items() if name == part.corruption)
        assert part.relative_ce == (pytest.approx(1.0) if lost > 0 else None)
    defined = all(part.relative_ce is not None for part in parts)
    assert mean.relative_ce == (pytest.approx(1.0) if defined else None)


@pytest.mark.parametrize(
    ("model", "reference", "undefined"),
    [
        # A reference that gains under one corruption, or only seems to lose by rounding.
        (MODEL, Recalls(0.3, REFERENCE.corrupted), {"relative_ce"}),
        (MODEL, Recalls(0.1 + 0.2, dict.fromkeys(MODEL.corrupted, 0.3)), {"relative_ce"}),
        (MODEL, Recalls(1.0, dict.fromkeys(MODEL.corrupted, 1.0)), {"ce", "relative_ce"}),
        (Recalls(0.0, MODEL.corrupted), REFERENCE, {"mmi"}),
    ],
)
def test_undefined(model: Recalls, reference: Recalls, undefined: set[str]) -> None:
    mean, parts = corruption_errors(model, reference)
    names = ("mmi", "ce", "relative_ce")
    assert {name for name in names if getattr(mean, name) is None} == undefined
    for name in undefined:
        assert None in [getattr(one, name) for one in parts]


@pytest.mark.parametrize("missing", [("noise", 1), ("blur", 2)])
def test_other_corruptions_are_not_compared(missing: tuple[str, int]) -> None:
    fewer = {key: value for key, value in REFERENCE.corrupted.items() if key != missing}
    with pytest.raises(ValueError, match="of the model and the reference differ"):
        corruption_errors(MODEL, Recalls(0.4, fewer))


def test_nothing_measured() -> None:
    with pytest.raises(ValueError, match="no corruption"):
        corruption_errors(Recalls(0.5, {}))
