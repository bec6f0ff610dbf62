"""The retrieval task of a corpus: which text belongs to a study, who queries what.

Decided here and nowhere else: the text rule, what counts as a candidate, and which candidates are
positives of a radiograph.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from pytest_occlusion.corpora.base import Corpus, Study
from pytest_occlusion.corpora.digests import settings_digest
from pytest_occlusion.errors import OcclusionError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def _findings_and_impression(study: Study) -> str:
    # Under one heading for both they are the same text, which is not said twice.
    return "\n".join(filter(None, dict.fromkeys((study.findings, study.impression))))


TEXT_RULES: dict[str, Callable[[Study], str]] = {
    "findings+impression": lambda study: _findings_and_impression(study) or study.report,
    "longest": lambda study: max(study.findings, study.impression, key=len) or study.report,
    "impression": lambda study: study.impression,
    "findings": lambda study: study.findings,
    "full": lambda study: study.report,
}
"""Rule -> the text that stands for a study.

``longest`` is CXR-CLIP's own rule (its issue 10), ``impression`` CXR-RePaiR's. The first two use
the whole report of a study that has neither section.
"""

CANDIDATES: dict[str, str] = {
    "texts": "distinct reports after whitespace and case folding; the positive is one's own text",
    "studies": "one report per study, taken literally: the same text of another study is a miss",
}


@dataclass(frozen=True)
class Task:
    """What is retrieved from what.

    Attributes:
        radiographs: int64 ``[N]``, positions of the query radiographs in the corpus.
        texts: Distinct texts to embed.
        candidate_text: int64 ``[M]``, the text of each candidate.
        radiograph_group: int64 ``[N]``, the candidate that is each radiograph's positive.
        radiograph_patient: The patient of each radiograph, for intervals.
        candidate_patient: The patient of each candidate (of its first study).
        candidate_study: int64 ``[M]``, position of that study in the corpus.
        dropped: Radiographs left out because their study has no text under the rule.
    """

    radiographs: NDArray[np.int64]
    texts: tuple[str, ...]
    candidate_text: NDArray[np.int64]
    radiograph_group: NDArray[np.int64]
    radiograph_patient: tuple[str, ...]
    candidate_patient: tuple[str, ...]
    candidate_study: NDArray[np.int64]
    dropped: int

    @cached_property
    def digest(self) -> str:
        """Digest (hex) of the texts and of what is positive for what."""
        rows = (self.radiographs, self.candidate_text, self.radiograph_group)
        return settings_digest([list(self.texts), *(row.tolist() for row in rows)])

    def asked_by(self, places: NDArray[np.int64]) -> Task:
        """The task with these of its radiographs, in this order, and all of its candidates."""
        return replace(
            self,
            radiographs=self.radiographs[places],
            radiograph_group=self.radiograph_group[places],
            radiograph_patient=tuple(self.radiograph_patient[place] for place in places),
        )


def folded(text: str) -> str:
    """Whitespace and case folding: what makes two reports the same text."""
    return re.sub(r"\s+", " ", text).strip().casefold()


def build_task(corpus: Corpus, *, text_rule: str, candidates: str) -> Task:
    """Choose texts, candidates and positives, by names of the two tables above.

    Raises:
        OcclusionError: A corpus from which nothing is left.
    """
    import numpy as np

    shown = {radiograph.study for radiograph in corpus.radiographs}
    numbers: dict[str, int] = {}
    texts: list[str] = []
    group_of_study: dict[int, int] = {}
    candidate_text: list[int] = []
    candidate_patient: list[str] = []
    candidate_study: list[int] = []
    for index, study in enumerate(corpus.studies):
        text = TEXT_RULES[text_rule](study).strip()
        if not text or index not in shown:
            continue
        number = group_of_study[index] = numbers.setdefault(folded(text), len(texts))
        if new := number == len(texts):
            texts.append(text)
        if new or candidates == "studies":
            group_of_study[index] = len(candidate_text)
            candidate_text.append(number)
            candidate_patient.append(study.patient)
            candidate_study.append(index)
    kept = [at for at, one in enumerate(corpus.radiographs) if one.study in group_of_study]
    if not kept:
        raise OcclusionError(
            f"corpus {corpus.name!r} is empty: none of its {len(corpus.radiographs)} radiographs "
            f"has a text under the rule {text_rule!r}",
            remedy=f"choose another text rule ({', '.join(TEXT_RULES)}) or another corpus",
        )
    studies = [corpus.radiographs[at].study for at in kept]
    return Task(
        radiographs=np.asarray(kept, dtype=np.int64),
        texts=tuple(texts),
        candidate_text=np.asarray(candidate_text, dtype=np.int64),
        radiograph_group=np.asarray([group_of_study[s] for s in studies], dtype=np.int64),
        radiograph_patient=tuple(corpus.studies[s].patient for s in studies),
        candidate_patient=tuple(candidate_patient),
        candidate_study=np.asarray(candidate_study, dtype=np.int64),
        dropped=len(corpus.radiographs) - len(kept),
    )
