"""Who is sampled, how often what is found, and that nobody is in two splits."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from pytest_occlusion_fixtures.findings import KINDS, LEFT, RIGHT, SyntheticStudy
from pytest_occlusion_fixtures.sampler import (
    EVALUATION_SEED,
    TRAINING_SEED,
    VALIDATION_SEED,
    evaluation_studies,
    sample_study,
    training_studies,
    validation_studies,
)


@pytest.fixture(scope="module")
def evaluation() -> list[SyntheticStudy]:
    return evaluation_studies()


def test_evaluation_has_the_scale_of_the_paper(evaluation: list[SyntheticStudy]) -> None:
    assert len(evaluation) == 994
    assert sum(len(study.views) for study in evaluation) == 1770
    patients = {study.patient_key for study in evaluation}
    assert 800 <= len(patients) <= 900
    assert len({study.key for study in evaluation}) == 994


def test_sampling_is_deterministic_in_any_order(evaluation: list[SyntheticStudy]) -> None:
    for index in (993, 500, 0, 501):
        assert sample_study(EVALUATION_SEED, index) == evaluation[index]


def test_no_split_shares_a_seed_a_study_or_a_patient(evaluation: list[SyntheticStudy]) -> None:
    splits = {
        EVALUATION_SEED: evaluation,
        TRAINING_SEED: training_studies(6000),
        VALIDATION_SEED: validation_studies(2000),
    }
    assert len(splits) == 3
    keys: Counter[str] = Counter()
    for seed, studies in splits.items():
        assert {study.seed for study in studies} == {seed}
        keys.update({study.key for study in studies})
        keys.update({study.patient_key for study in studies})
        keys.update({f"anatomy {study.patient.shape}" for study in studies})
    assert max(keys.values()) == 1, [key for key, count in keys.items() if count > 1]


def test_no_two_splits_draw_the_same_sequence(evaluation: list[SyntheticStudy]) -> None:
    drawn = [[s.findings for s in training_studies(200)], [s.findings for s in evaluation[:200]]]
    assert sum(a == b != () for a, b in zip(*drawn, strict=True)) < 5


def test_findings_are_as_common_as_in_open_i() -> None:
    studies = training_studies(4000)
    normal = sum(not study.findings for study in studies) / len(studies)
    assert 0.30 <= normal <= 0.40
    seen = Counter(f.kind for study in studies for f in study.findings)
    for kind, record in KINDS.items():
        share = 1000 * seen[kind] / len(studies)
        assert record.rate / 3 < share < record.rate * 3 + 2, (kind, share, record.rate)


def test_every_finding_is_one_that_its_kind_allows(evaluation: list[SyntheticStudy]) -> None:
    for study in evaluation:
        assert len({f.kind for f in study.findings}) == len(study.findings)
        for finding in study.findings:
            record = KINDS[finding.kind]
            assert finding.side in record.sides
            assert finding.site in record.sites
            assert record.severities[finding.severity - 1]
            assert "lateral" in study.views or not record.lateral_only


def test_what_goes_together_does_and_what_cannot_does_not() -> None:
    studies = training_studies(4000)

    def share(kind: str, among: list[SyntheticStudy]) -> float:
        return sum(study.has(kind) for study in among) / len(among)

    assert share("effusion", [s for s in studies if s.has("edema")]) > 4 * share(
        "effusion", studies
    )
    assert share("sternotomy", [s for s in studies if s.has("valve prosthesis")]) > 0.8
    old = [s for s in studies if s.patient.age > 70]
    young = [s for s in studies if s.patient.age < 35]
    assert share("tortuous aorta", old) > 5 * share("tortuous aorta", young)
    for study in studies:
        assert not (study.has("hypoinflation") and study.has("hyperinflation"))
        sides = {f.kind: f.side for f in study.findings}
        if "effusion" in sides and "blunted angle" in sides:
            assert {sides["effusion"], sides["blunted angle"]} == {LEFT, RIGHT}


def test_chronic_findings_stay_with_the_patient(evaluation: list[SyntheticStudy]) -> None:
    followed = 0
    for before, after in pairwise(evaluation):
        if before.patient_key != after.patient_key:
            assert not after.carried
            continue
        followed += 1
        assert after.compared
        assert after.patient == before.patient
        for finding in before.findings:
            if KINDS[finding.kind].chronic and not KINDS[finding.kind].lateral_only:
                assert finding in after.carried
    assert followed > 80
