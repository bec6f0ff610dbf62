"""A corpus in numbers: what every filter left, which sections it has, how many distinct texts."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from pytest_occlusion.corpora.base import Corpus, Step
from pytest_occlusion.corpora.groups import known_attributes
from pytest_occlusion.corpora.task import Task, build_task
from pytest_occlusion.errors import OcclusionError

WIDTH = 79  # columns of a terminal that nobody has widened


def summary_lines(corpus: Corpus, *, text_rule: str, candidates: str) -> Iterator[str]:
    """Lines to print of a corpus; counts only, never a text or an identifier."""
    named = [name for name in ("split", "views") if name in corpus.fields]
    yield ", ".join([f"corpus {corpus.name}", *(f"{name} {corpus.fields[name]}" for name in named)])
    for note in corpus.notes:
        yield from wrap(f"note: {note}", WIDTH, subsequent_indent="  ")
    yield ""
    yield f"{'':<32}{'studies':>10}{'radiographs':>13}"
    shown = [corpus.studies[one.study] for one in corpus.radiographs]
    steps = corpus.steps or (
        Step.of("all", shown),
        Step.of("  with findings", [study for study in shown if study.findings]),
        Step.of("  with impression", [study for study in shown if study.impression]),
    )
    sections = any(study.findings or study.impression for study in corpus.studies)
    for step in steps:
        if sections or step.radiographs:
            yield _line(step)
    task = task_of(corpus, text_rule, candidates)
    counts = [("patients", len({study.patient for study in corpus.studies}), "")]
    if "without_headings" in corpus.fields:
        headless = corpus.fields["without_headings"]
        counts.append(("reports without headings, left", int(headless), ""))
    if task is not None:
        counts += [
            ("queries (radiographs)", len(task.radiographs), ""),
            ("distinct texts", len(task.texts), f"  (rule {text_rule})"),
            ("candidates", len(task.candidate_text), f"  ({candidates})"),
        ]
    yield ""
    yield from (f"{name:<32}{count:>10,}{more}" for name, count, more in counts)
    if known := known_attributes(corpus):
        yield from wrap(f"{'group-by knows':<32}{', '.join(known)}", WIDTH, subsequent_indent="  ")
    if task is None:
        yield f"no study has a text under the rule {text_rule!r}"
    yield from _published_lines(corpus)


def _line(step: Step) -> str:
    return f"{step.name:<32}{step.studies:>10,}{step.radiographs:>13,}"


def task_of(corpus: Corpus, text_rule: str, candidates: str) -> Task | None:
    """The task of a corpus, or ``None`` where no study has a text."""
    try:
        return build_task(corpus, text_rule=text_rule, candidates=candidates)
    except OcclusionError:
        return None


def _published_lines(corpus: Corpus) -> Iterator[str]:
    """Our count of a paper's selection beside the paper's own."""
    theirs = corpus.published
    if theirs is None:
        return
    ours = Step("this selection", len(corpus.studies), len(corpus.radiographs))
    more, radiographs = ours.studies - theirs.studies, ours.radiographs - theirs.radiographs
    yield from ("", _line(theirs), _line(ours))
    if not more and not radiographs:
        yield "The counts agree."
    else:
        yield from wrap(
            f"The counts differ by {more:+,} studies and {radiographs:+,} radiographs: the paper "
            "does not say which views, which sections or which part of the split it kept. Numbers "
            "of this corpus are not those of the paper's table.",
            WIDTH,
        )
