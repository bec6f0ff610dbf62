"""A corpus in numbers: what every filter left, which sections it has, how many distinct texts."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from pytest_occlusion.corpora.base import Corpus, Step
from pytest_occlusion.corpora.task import Task, build_task
from pytest_occlusion.errors import OcclusionError

WIDTH = 79
"""Columns of a terminal that nobody has widened."""


def summary_lines(corpus: Corpus, *, text_rule: str, candidates: str) -> Iterator[str]:
    """Lines to print; counts only, never a text or an identifier.

    Args:
        corpus: Any corpus.
        text_rule: A name of :data:`TEXT_RULES`.
        candidates: A name of :data:`CANDIDATES`.
    """
    named = [name for name in ("split", "views") if name in corpus.fields]
    yield ", ".join([f"corpus {corpus.name}", *(f"{name} {corpus.fields[name]}" for name in named)])
    for note in corpus.notes:
        yield from wrap(f"note: {note}", WIDTH, subsequent_indent="  ")
    yield ""
    yield f"{'':<32}{'studies':>10}{'radiographs':>13}"
    sections = any(study.findings or study.impression for study in corpus.studies)
    for step in _steps(corpus):
        if sections or step.radiographs:
            yield _line(step)
    task = task_of(corpus, text_rule, candidates)
    yield ""
    yield f"{'patients':<32}{len({study.patient for study in corpus.studies}):>10,}"
    if "without_headings" in corpus.fields:
        yield f"{'reports without headings, left':<32}{corpus.fields['without_headings']:>10,}"
    if task is None:
        yield f"no study has a text under the rule {text_rule!r}"
    else:
        yield f"{'queries (radiographs)':<32}{len(task.radiographs):>10,}"
        yield f"{'distinct texts':<32}{len(task.texts):>10,}  (rule {text_rule})"
        yield f"{'candidates':<32}{len(task.candidate_text):>10,}  ({candidates})"
    yield from _paper_lines(corpus)


def _line(step: Step) -> str:
    return f"{step.name:<32}{step.studies:>10,}{step.radiographs:>13,}"


def _steps(corpus: Corpus) -> Iterator[Step]:
    if corpus.steps:
        yield from corpus.steps
        return
    images: dict[int, int] = {}
    for radiograph in corpus.radiographs:
        images[radiograph.study] = images.get(radiograph.study, 0) + 1
    studies = corpus.studies
    having = {
        "all": list(images),
        "  with findings": [at for at in images if studies[at].findings],
        "  with impression": [at for at in images if studies[at].impression],
    }
    for name, kept in having.items():
        yield Step(name, len(kept), sum(images[at] for at in kept))


def task_of(corpus: Corpus, text_rule: str, candidates: str) -> Task | None:
    """The task of a corpus, or ``None`` where no study has a text."""
    try:
        return build_task(corpus, text_rule=text_rule, candidates=candidates)
    except OcclusionError:
        return None


def _paper_lines(corpus: Corpus) -> Iterator[str]:
    """Our count of the paper's selection beside the paper's own."""
    from pytest_occlusion.corpora import mimic_cxr

    if corpus.name != mimic_cxr.NAME or corpus.fields.get("split") != "validate":
        return
    studies, radiographs = mimic_cxr.PAPER
    ours = (len(corpus.studies), len(corpus.radiographs))
    yield ""
    yield f"{'Deanda et al. 2025, validate':<32}{studies:>10,}{radiographs:>13,}"
    yield f"{'this selection':<32}{ours[0]:>10,}{ours[1]:>13,}"
    if ours == (studies, radiographs):
        yield "The counts agree."
    else:
        yield from wrap(
            f"The counts differ by {ours[0] - studies:+,} studies and "
            f"{ours[1] - radiographs:+,} radiographs: the paper does not say which views, which "
            "sections or which part of the split it kept. Numbers of this corpus are not those of "
            "the paper's table.",
            WIDTH,
        )
