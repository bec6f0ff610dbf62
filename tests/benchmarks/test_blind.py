"""What rankings come to that cannot know the radiograph, against the dumb way."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.scripts import load_script


@pytest.fixture(scope="module")
def blind() -> ModuleType:
    return load_script("blind")


@given(st.integers(2, 12), st.integers(1, 9), st.data())
def test_every_ranking_is_asked_for_every_other_report(
    blind: ModuleType, queries: int, texts: int, data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, texts))
    draw = np.random.default_rng(data.draw(st.integers(0, 99)))
    images = torch.from_numpy(draw.integers(-1, 2, (queries, 3)).astype(np.float32))
    reports = torch.from_numpy(draw.integers(-1, 2, (texts, 3)).astype(np.float32))
    positives = draw.integers(0, texts, queries)
    found = blind.exchanged(images, reports, positives, k)

    def hit(query: int, report: int) -> float:
        scores: list[float] = (images[query] @ reports.T).tolist()
        above = sum(score > scores[report] for score in scores)
        level = sum(score == scores[report] for score in scores)
        return min(1.0, max(0.0, (k - above) / level))

    own = np.mean([hit(q, positives[q]) for q in range(queries)])
    pairs = [(q, o) for q in range(queries) for o in range(queries) if q != o]
    others = np.mean([hit(q, positives[o]) for q, o in pairs])
    assert found.own == pytest.approx(own * texts / k)
    assert found.others == pytest.approx(others * texts / k)


def test_one_ranking_for_all_is_as_good_for_others(blind: ModuleType) -> None:
    """A quarter of the reports are one and the same, and it comes first."""
    positives = np.array([0] * 25 + list(range(1, 76)))
    reports = torch.eye(76)
    images = reports[:1].expand(100, -1)
    found = blind.exchanged(images, reports, positives, 1)
    assert found.own == pytest.approx(0.25 * 76)
    assert found.others == pytest.approx(found.own)


def test_who_sees_is_better_than_with_others_reports(blind: ModuleType) -> None:
    found = blind.exchanged(torch.eye(50), torch.eye(50), np.arange(50), 1)
    assert found.own == pytest.approx(50)
    assert found.others == 0


def test_the_table(blind: ModuleType) -> None:
    rows = [("a", [blind.Recalls(2.0, 1.0), blind.Recalls(1.0, 1.5)])]
    assert blind.table(rows).splitlines()[-1] == "| `a` | 2.00 | 1.00 | 1.50 | 1.25 |"
