"""What reports say: as varied and as repetitive as a department's, and true of the study."""

from __future__ import annotations

import re
import statistics
from collections import Counter

import pytest

from pytest_occlusion_fixtures.findings import BOTH, LEFT, RIGHT, Finding, SyntheticStudy
from pytest_occlusion_fixtures.grammar import write_report
from pytest_occlusion_fixtures.sampler import evaluation_studies, training_studies

# The checker reads reports with words of its own: it knows nothing of the grammar's templates.
MENTIONS = {
    "cardiomegaly": r"cardiomegaly|(heart|cardiac silhouette|heart size) is .*enlarged|"
    r"enlarged heart|cardiac enlargement",
    "tortuous aorta": r"tortuous",
    "aortic calcification": r"(athero|calcif).*aort|aort.*(athero|calcif)",
    "wide mediastinum": r"widen(ed|ing)|mediastinal widening",
    "hilar enlargement": r"enlargement of .*hil|hilar (enlarg|promin|fullness|lymphaden)",
    "hiatal hernia": r"hernia",
    "hypoinflation": r"low lung volumes|volumes are .*low|hypoinflated|decreased lung volumes|"
    r"(low|decreased) lung",
    "hyperinflation": r"hyperinflated|hyperexpanded",
    "congestion": r"congestion|engorgement|engorged",
    "edema": r"edema|kerley",
    "opacity": r"(?<!airspace )(?<!linear )(?<!bandlike )(?<!perihilar )\bopacit",
    "airspace disease": r"airspace (disease|opacities)",
    "consolidation": r"consolidation|pneumonia\b(?<!for pneumonia)",
    "atelectasis": r"atelectasis|(linear|bandlike) (opacities|densities)",
    "scar": r"scarring",
    "interstitial markings": r"(interstitial|bronchovascular|reticular) markings|coarsened",
    "emphysema": r"emphysema|lucency",
    "granuloma": r"granulomas?\b",
    "nodule": r"\bnodul(e|ar)",
    "mass": r"\bmass\b",
    "hilar calcification": r"hilar (lymph )?(node )?(nodes|calcifications)|calcified .*hilar",
    "effusion": r"effusion",
    "blunted angle": r"blunting",
    "pneumothorax": r"pneumothorax",
    "pleural thickening": r"pleural thickening",
    "elevated diaphragm": r"(hemi)?diaphragm.* elevation|elevation of the",
    "degenerative spine": r"degenerative|spondylosis|osteophyt",
    "scoliosis": r"scoliosis|curvature",
    "kyphosis": r"kyphosis",
    "compression deformity": r"compression deformity",
    "rib fracture": r"rib fracture",
    "central line": r"central (line|venous)|picc|port\b|port-a-cath",
    "pacemaker": r"pacemaker|pacer",
    "valve prosthesis": r"valve",
    "sternotomy": r"sternotomy",
    "abdominal clips": r"clips|cholecystectomy",
    "cervical hardware": r"cervical",
    "endotracheal tube": r"endotracheal",
    "enteric tube": r"enteric|nasogastric",
    "chest tube": r"chest tube",
}
# Words that come with a finding without being one of their own.
HARMLESS = {
    "opacity": {"edema"},
    "atelectasis": {"opacity"},
    "airspace disease": {"opacity", "consolidation"},
    "consolidation": {"airspace disease"},
    "granuloma": {"hilar calcification"},
    "scar": {"blunted angle"},
}
DENIED = {
    r"effusion": {"effusion", "blunted angle"},
    r"pneumothorax": {"pneumothorax"},
    r"focal (airspace )?consolidation|infiltrate|focal air ?space": {
        "consolidation", "airspace disease", "opacity", "mass",
    },
    r"edema": {"edema"},
    r"congestion": {"congestion"},
    r"nodule": {"nodule", "mass"},
    r"\bmass": {"mass"},
    r"heart failure": {"congestion", "edema"},
    r"not widened": {"wide mediastinum"},
    r"acute (bony|osseous)": {"compression deformity", "rib fracture"},
    r"acute (?!bony|osseous)|active": {
        "consolidation", "airspace disease", "edema", "congestion", "pneumothorax", "effusion",
        "mass", "nodule", "endotracheal tube", "wide mediastinum",
    },
    r"free air": set(),
}  # fmt: skip
LUNG = {
    "opacity", "airspace disease", "consolidation", "atelectasis", "scar", "granuloma", "nodule",
    "mass", "interstitial markings", "emphysema", "edema", "congestion",
}  # fmt: skip
OUTLINE = {
    "cardiomegaly",
    "tortuous aorta",
    "wide mediastinum",
    "hilar enlargement",
    "hiatal hernia",
}
BONES = {
    "degenerative spine", "scoliosis", "kyphosis", "compression deformity", "rib fracture",
    "cervical hardware",
}  # fmt: skip
ASSERTED = {
    r"lungs (are |)(normally inflated and |)clear|clear lungs": LUNG,
    r"well expanded|normally inflated": {"hypoinflation", "hyperinflation", "atelectasis"},
    r"heart (size |)(is |)(within normal|normal)|normal heart|heart size and": {"cardiomegaly"},
    r"silhouette|mediastinum (is|are) unremarkable|mediastinal contours|and mediastinum": OUTLINE,
    r"vascula(rity|ture) is (within |)normal": {"congestion", "edema"},
    r"costophrenic angles are sharp": {"effusion", "blunted angle"},
    r"osseous structures are|bony (structures|thorax)|skeletal structures": BONES,
    r"trachea is midline": {"scoliosis", "pneumothorax"},
    r"hila are unremarkable": {"hilar enlargement", "hilar calcification"},
    r"diaphragm is normal": {"elevated diaphragm", "hyperinflation", "effusion"},
    r"upper abdomen is unremarkable": {"abdominal clips", "enteric tube"},
    r"normal chest|negative chest|negative for": LUNG | OUTLINE | BONES | {"effusion"},
    r"soft tissues are unremarkable": set(),
}
BOILERPLATE = r"views? of the chest|portable ap chest|compar"
GRADES = {
    1: r"mild(ly)?|minimal|slight(ly)?|small|tiny|subtle|faint|borderline|a few|two|"
    r"subcentimeter|3 cm|somewhat",
    2: r"moderate(ly|-sized)?|1 cm|medium-sized|three|4 cm",
    3: r"severe(ly)?|marked(ly)?|massive(ly)?|large|extensive|numerous|2 cm|6 cm|four|exaggerated|"
    r"very",
}


def sentences(text: str) -> list[str]:
    return [s.lower() for s in re.split(r"(?<=\.)\s+(?:\d\.\s)?|^1\.\s", text) if s.strip(" .")]


def contradictions(sentence: str, study: SyntheticStudy) -> list[str]:
    """What a sentence claims that the study does not bear out; empty for a true one."""
    kinds = {finding.kind for finding in study.findings}
    # "unchanged, as before" and what is only suspected say nothing that can be seen.
    claim = re.split(
        r", (?:infection|concerning|consistent with|compatible|which may|suggesting|neoplasm|ct |"
        r"recommend|further|unchanged|stable|as before|old gran|from prior|chronic lung|scarring)",
        sentence,
    )[0]
    if re.search(r"\b(no|not|without|negative|free)\b", claim):
        denied = {k for pattern, ks in DENIED.items() if re.search(pattern, claim) for k in ks}
        known = any(re.search(p, claim) for p in (*DENIED, *ASSERTED))
        wrong = [f"denies {kind}" for kind in denied & kinds]
        return wrong if known else ["is not understood"]
    asserted = [ks for pattern, ks in ASSERTED.items() if re.search(pattern, claim)]
    mentioned = [k for k, p in MENTIONS.items() if re.search(p, claim)]
    if asserted and not (set(mentioned) & kinds):
        return [f"hides {kind}" for ks in asserted for kind in ks & kinds]
    if not mentioned:
        return [] if re.search(BOILERPLATE, claim) else ["is not understood"]
    drawn = [f for f in study.findings if f.kind in mentioned]
    extra = set(mentioned) - kinds
    extra -= {other for f in drawn for other in HARMLESS.get(f.kind, ())}
    if not drawn or extra:
        return [f"claims {kind}" for kind in extra or mentioned]
    return [] if any(agrees(claim, f) for f in drawn) else [f"misstates {drawn[0]}"]


def agrees(claim: str, finding: Finding) -> bool:
    """Whether side, place and degree in the words are the finding's."""
    words = claim.replace("right upper quadrant", "").replace("right upper abdomen", "")
    both = re.search(r"\b(bilateral|bilaterally|both|bibasilar|biapical|bases|apices)\b", words)
    left = re.search(r"\bleft(ward)?\b|lingula|levo", words)
    right = re.search(r"\bright(ward)?\b|dextro", words)
    if finding.side == BOTH and (left or right):
        return False
    if finding.side == LEFT and (right or both or not left):
        return False
    if finding.side == RIGHT and (left or both or not right):
        return False
    place = {
        "apex": r"apex|apic",
        "upper lobe": r"upper|apic",
        "middle": r"mid|lingul",
        "lower lobe": r"lower",
        "base": r"bas",
    }.get(finding.site)
    if finding.kind in ("granuloma", "interstitial markings", "emphysema"):
        place = None  # several granulomas are scattered; the others are worded as wholes
    if place and not re.search(place, words):
        return False
    grades = {g for g, pattern in GRADES.items() if re.search(rf"\b({pattern})(?!\w)", words)}
    return not grades or finding.severity in grades or finding.kind in ("granuloma", "pacemaker")


@pytest.fixture(scope="module")
def evaluation() -> list[SyntheticStudy]:
    return evaluation_studies()


def test_every_sentence_is_true(evaluation: list[SyntheticStudy]) -> None:
    wrong = []
    for study in [*evaluation, *training_studies(1500)]:
        report = write_report(study)
        for sentence in [*sentences(report.findings), *sentences(report.impression)]:
            wrong += [
                f"{sentence!r} {fault}: {study.findings}"
                for fault in contradictions(sentence, study)
            ]
    assert not wrong, f"{len(wrong)} sentences\n" + "\n".join(wrong[:20])


@pytest.mark.parametrize(
    ("sentence", "fault"),
    [
        ("there is a small right pleural effusion.", "misstates"),
        ("large left pleural effusion.", "misstates"),
        ("no pleural effusion or pneumothorax.", "denies"),
        ("there is a nodule in the left upper lobe.", "claims"),
        ("small left pleural effusion.", ""),
        ("the weather was fine.", "understood"),
    ],
)
def test_the_checker_would_notice(sentence: str, fault: str) -> None:
    study = SyntheticStudy(0, 0, "", "", findings=(Finding("effusion", LEFT, "", 1),))
    found = contradictions(sentence, study)
    assert fault in "".join(found) if fault else not found


def test_what_a_report_leaves_out_of_the_impression_is_in_the_findings(
    evaluation: list[SyntheticStudy],
) -> None:
    for study in evaluation:
        report = write_report(study)
        text = (report.findings or report.impression).lower()
        for finding in study.findings:
            assert re.search(MENTIONS[finding.kind], text), (finding, text)


def test_reports_repeat_as_in_a_department(evaluation: list[SyntheticStudy]) -> None:
    texts = Counter(write_report(study).text for study in evaluation)
    assert 800 <= len(texts) <= 900
    assert max(texts.values()) <= 40
    normal = [write_report(study).text for study in evaluation if not study.findings]
    assert len(set(normal)) < 0.75 * len(normal)


def test_lengths_and_sections(evaluation: list[SyntheticStudy]) -> None:
    reports = [write_report(study) for study in evaluation]
    assert 28 <= statistics.median(len(report.text.split()) for report in reports) <= 42
    without = sum(not report.findings for report in reports) / len(reports)
    assert 0.05 < without < 0.20
    assert all(report.findings or report.impression for report in reports)


def test_reports_are_well_formed_and_deterministic(evaluation: list[SyntheticStudy]) -> None:
    for study in evaluation:
        report = write_report(study)
        assert report == write_report(study)
        for part in (report.findings, report.impression):
            assert part == part.strip()
            assert not re.search(r"[\[\]{}|]|  | \.|\.\.|,\.|\ba [aeio]\w", part), part
            for sentence in re.split(r"(?<=\.) ", part):
                assert not sentence or sentence[0].isupper() or sentence[0].isdigit(), part
